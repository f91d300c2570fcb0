"""The second client of an IMAP account: changes things, and says what is there.

    with OtherClient(host, port, "work", "secret") as other:
        other.create("Work"); uid = other.append("Work", octets, ("\\Seen",))
        other.move("Work", [uid], "INBOX")
        other.everything()                     # {mailbox: {uid: Served}}

It stands on imaplib and shares no code with fetchd. Mailbox names are decoded
text. Whatever the server refuses is a RuntimeError with its words. Every call
selects what it needs and leaves nothing selected, so that calls may come in any
order, from a state machine too.
"""

import hashlib
import imaplib
import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self

from tests.servers.mail import Contents, Served, decoded_name, imap_date, quoted, wire_name

AT_ONCE = 1000  # messages in one FETCH: enough for speed, few enough for memory
TIMEOUT = 60
ITEMS = "(UID FLAGS INTERNALDATE BODY.PEEK[])"

_LIST = re.compile(rb'\((?P<attributes>[^)]*)\) (?:"(?:\\.|[^"])*"|NIL) (?P<name>.*)', re.DOTALL)


class OtherClient:
    """One logged-in session."""

    def __init__(
        self, host: str, port: int, user: str, password: str, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` encrypts from the first octet."""
        self._imap = (
            imaplib.IMAP4(host, port, TIMEOUT)
            if tls is None
            else imaplib.IMAP4_SSL(host, port, ssl_context=tls, timeout=TIMEOUT)
        )
        try:
            self._imap.login(user, password)
        except BaseException:
            self._imap.shutdown()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(imaplib.IMAP4.error, OSError):
            self._imap.logout()
        with suppress(OSError):
            self._imap.shutdown()  # which a failed LOGOUT leaves undone

    # -- mailboxes -----------------------------------------------------------------

    def mailboxes(self) -> list[str]:
        """The names of all mailboxes that can be selected."""
        found = []
        for attributes, name in self._listed():
            if not attributes & {b"\\noselect", b"\\nonexistent"}:
                found.append(decoded_name(name))
        return found

    def create(self, mailbox: str) -> None:
        self._done("CREATE", _name(mailbox))

    def rename(self, mailbox: str, to: str) -> None:
        self._done("RENAME", _name(mailbox), _name(to))

    def delete(self, mailbox: str) -> None:
        self._done("DELETE", _name(mailbox))

    # -- messages ------------------------------------------------------------------

    def append(
        self,
        mailbox: str,
        octets: bytes,
        flags: Sequence[str] = (),
        date: datetime | None = None,
    ) -> int | None:
        """Put a message there; its UID where the server says it (UIDPLUS)."""
        self._imap.literal = octets  # imaplib's own append() would change line ends
        stamp = [imap_date(date).decode()] if date is not None else []
        said = self._done("APPEND", _name(mailbox), f"({' '.join(flags)})", *stamp)
        found = re.search(rb"\[APPENDUID \d+ (\d+)\]", said)
        return int(found[1]) if found else None

    def uids(self, mailbox: str) -> list[int]:
        """The UIDs, ascending."""
        with self._selected(mailbox):
            return self._uids()

    def flag(
        self,
        mailbox: str,
        uids: Iterable[int],
        *,
        add: Sequence[str] = (),
        drop: Sequence[str] = (),
    ) -> None:
        """Set some flags and take others away."""
        chosen = _set(uids)
        with self._selected(mailbox):
            for sign, flags in (("+", add), ("-", drop)):
                if chosen and flags:
                    self._done(
                        "UID", "STORE", chosen, f"{sign}FLAGS.SILENT", f"({' '.join(flags)})"
                    )

    def copy(self, mailbox: str, uids: Iterable[int], to: str) -> None:
        self._carry("COPY", mailbox, uids, to)

    def move(self, mailbox: str, uids: Iterable[int], to: str) -> None:
        self._carry("MOVE", mailbox, uids, to)

    def expunge(self, mailbox: str, uids: Iterable[int] | None = None) -> None:
        """Remove these messages, or all."""
        with self._selected(mailbox):
            chosen = _set(self._uids() if uids is None else uids)
            if chosen:
                self._done("UID", "STORE", chosen, "+FLAGS.SILENT", "(\\Deleted)")
                self._done("UID", "EXPUNGE", chosen)

    def _carry(self, verb: str, mailbox: str, uids: Iterable[int], to: str) -> None:
        if chosen := _set(uids):
            with self._selected(mailbox):
                self._done("UID", verb, chosen, _name(to))

    # -- what is there -------------------------------------------------------------

    def everything(self) -> Contents:
        """Every mailbox and every message in it."""
        return {mailbox: self.served(mailbox) for mailbox in self.mailboxes()}

    def served(self, mailbox: str) -> dict[int, Served]:
        """Every message of one mailbox, by UID."""
        return {
            uid: Served(hashlib.sha256(octets).hexdigest(), flags, date)
            for uid, octets, flags, date in self._fetched(mailbox)
        }

    def octets(self, mailbox: str) -> dict[int, bytes]:
        """Every message's octets, by UID."""
        return {uid: octets for uid, octets, _flags, _date in self._fetched(mailbox)}

    def status(self, mailbox: str, item: str) -> int:
        """One number of STATUS: MESSAGES, UIDNEXT, UIDVALIDITY, HIGHESTMODSEQ, …"""
        self._done("STATUS", _name(mailbox), f"({item})")
        said = _flat(self._untagged("STATUS"))
        found = re.search(rb"\(" + item.encode() + rb" (\d+)\)", said)
        if found is None:
            raise RuntimeError(f"the server said {said!r}")
        return int(found[1])

    def _fetched(self, mailbox: str) -> Iterator[tuple[int, bytes, frozenset[str], datetime]]:
        with self._selected(mailbox):
            uids = self._uids()
            for at in range(0, len(uids), AT_ONCE):
                self._done("UID", "FETCH", _set(uids[at : at + AT_ONCE]), ITEMS)
                for words, octets in _replies(self._untagged("FETCH")):
                    yield _uid(words), octets, _flags(words), _date(words)

    def _uids(self) -> list[int]:
        self._done("UID", "SEARCH", "ALL")
        return sorted(int(word) for word in _flat(self._untagged("SEARCH")).split())

    def _listed(self) -> Iterator[tuple[set[bytes], bytes]]:
        self._done("LIST", '""', '"*"')
        for line in self._untagged("LIST"):
            head, literal = line if isinstance(line, tuple) else (line, None)
            found = _LIST.match(head)
            if found is not None:
                name = literal if literal is not None else _unquoted(found["name"])
                yield {word.lower() for word in found["attributes"].split()}, name

    @contextmanager
    def _selected(self, mailbox: str) -> Iterator[None]:
        self._done("SELECT", _name(mailbox))
        self._imap.state = "SELECTED"
        try:
            yield
        finally:
            self._imap.state = "AUTH"
            # An EXAMINE that fails leaves nothing selected (RFC 3501 §6.3.1): unlike
            # CLOSE it expunges nothing, and unlike UNSELECT every server has it.
            with suppress(RuntimeError):
                self._done("EXAMINE", '"no such mailbox here"')

    def _done(self, verb: str, *arguments: str) -> bytes:
        """Say a command and return what came with its OK."""
        self._imap.untagged_responses = {}
        said, words = self._imap._simple_command(verb, *arguments)
        if said != "OK":
            raise RuntimeError(f"the server refused {verb}: {words!r}")
        return words[-1] or b""

    def _untagged(self, kind: str) -> list[Any]:
        lines = self._imap.untagged_responses.pop(kind, [])
        return [line for line in lines if line is not None]


def _name(mailbox: str) -> str:
    return quoted(wire_name(mailbox)).decode()


def _set(uids: Iterable[int]) -> str:
    """A UID set, ascending, with runs as ranges."""
    runs: list[list[int]] = []
    for uid in sorted(set(uids)):
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(f"{a}" if a == b else f"{a}:{b}" for a, b in runs)


def _replies(lines: list[Any]) -> Iterator[tuple[bytes, bytes]]:
    """Each FETCH response: its words around the body, and the body."""
    words, octets = b"", None
    for line in lines:
        if isinstance(line, tuple):
            words, octets = line[0], line[1]
        elif octets is not None:
            yield words + line, octets
            octets = None


def _uid(words: bytes) -> int:
    return int(_found(rb"\bUID (\d+)", words))


def _flags(words: bytes) -> frozenset[str]:
    said = _found(rb"\bFLAGS \(([^)]*)\)", words).decode().split()
    return frozenset(said) - {"\\Recent"}


def _date(words: bytes) -> datetime:
    said = _found(rb'\bINTERNALDATE "([^"]*)"', words).decode().strip()
    return datetime.strptime(said, "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)


def _found(pattern: bytes, words: bytes) -> bytes:
    found = re.search(pattern, words)
    if found is None:
        raise RuntimeError(f"the server said {words!r}")
    return bytes(found[1])


def _flat(lines: list[Any]) -> bytes:
    return b" ".join(b" ".join(line) if isinstance(line, tuple) else line for line in lines)


def _unquoted(name: bytes) -> bytes:
    if name.startswith(b'"'):
        return re.sub(rb"\\(.)", rb"\1", name[1:-1])
    return name
