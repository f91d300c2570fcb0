"""IMAP commands: a constructor for each, which writes the arguments as the grammar wants them.

Mailbox names are wire octets (names.py), sets of UIDs come from sequence.py.
Strings are sent as atoms where nobody could take them for anything else, quoted
where they can be, and else as literals; whether a literal waits for the server is
decided in outgoing.py. A line break or NUL that would end a command early is a
LocalProtocolError.

To add a command, write its constructor here and its row in rules.py.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap.dates import write_date
from fetchd.protocol.imap.rules import Command, Literal, Part, Upload
from fetchd.values import Struct

_PLAIN = re.compile(rb"(?!NIL\Z)[A-Za-z0-9._/$-]{1,200}", re.IGNORECASE)
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]{0,1000}")
_ATOM = re.compile(r"\\?[!#-'+-\[^-z|}~]+")
_SET = re.compile(rb"[1-9][0-9]{0,9}(?::(?:[1-9][0-9]{0,9}|\*))?(?:,[1-9][0-9:]*)*+")


class Message(Struct, frozen=True):
    """What APPEND is told of a message; `utf8` wraps it as RFC 6855 §4 wants it.

    `binary`: it holds NUL octets, for which only literal8 has room (RFC 3516).
    """

    size: int
    flags: tuple[str, ...] = ()
    date: datetime | None = None
    utf8: bool = False
    binary: bool = False


class Known(Struct, frozen=True):
    """What a client remembers of a mailbox, for QRESYNC (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    uids: bytes = b""  # a wire set; without it the server assumes all


# -- Any state ---------------------------------------------------------------------


def capability() -> Command:
    return Command("CAPABILITY")


def noop() -> Command:
    return Command("NOOP")


def logout() -> Command:
    return Command("LOGOUT")


def identify(fields: Mapping[str, str]) -> Command:
    """ID (RFC 2971); an empty mapping tells nothing and asks all the same."""
    if not fields:
        return Command("ID", (b"NIL",))
    texts = [_quoted(text.encode()) for pair in fields.items() for text in pair]
    return _command("ID", *_listed(texts))


# -- Not authenticated ----------------------------------------------------------------


def starttls() -> Command:
    return Command("STARTTLS")


def login(username: str, password: str) -> Command:
    return _command("LOGIN", _string(username.encode()), b" ", _string(password.encode()))


def authenticate(mechanism: str, initial: bytes | None = None) -> Command:
    """`initial` is base64, `=` where it is empty, and needs SASL-IR (RFC 4959)."""
    tail = b"" if initial is None else b" " + (initial or b"=")
    return Command("AUTHENTICATE", (_atom(mechanism) + tail,))


# -- Authenticated ---------------------------------------------------------------------


def enable(names: Sequence[str]) -> Command:
    return Command("ENABLE", (b" ".join(map(_atom, names)),))


def compress() -> Command:
    return Command("COMPRESS", (b"DEFLATE",))


def namespace() -> Command:
    return Command("NAMESPACE")


def list_mailboxes(
    patterns: Sequence[bytes] = (b"*",),
    *,
    reference: bytes = b"",
    selection: Sequence[str] = (),
    returning: Sequence[str] = (),
    status: Sequence[str] = (),
) -> Command:
    """LIST; any option or a second pattern makes it that of RFC 5258 and RFC 5819."""
    extended = bool(selection or returning or status or len(patterns) != 1)
    options = [b"(%b) " % b" ".join(map(_atom, selection))] if selection else []
    quoted = [_quoted(pattern) for pattern in patterns]
    chosen = _listed(quoted) if extended and len(quoted) > 1 else quoted
    wanted = [_atom(option) for option in returning]
    if status:
        wanted.append(b"STATUS (%b)" % b" ".join(map(_atom, status)))
    tail = [b" RETURN (%b)" % b" ".join(wanted)] if wanted else []
    return _command("LIST", *options, _quoted(reference), b" ", *chosen, *tail)


def status(name: bytes, items: Sequence[str]) -> Command:
    return _command("STATUS", _string(name), b" (%b)" % b" ".join(map(_atom, items)))


def create(name: bytes, use: Sequence[str] = ()) -> Command:
    """`use` are special-use attributes (RFC 6154 §3)."""
    tail = b" (USE (%b))" % b" ".join(map(_atom, use)) if use else b""
    return _command("CREATE", _string(name), tail)


def subscribe(name: bytes) -> Command:
    return _command("SUBSCRIBE", _string(name))


def append(name: bytes, messages: Sequence[Message]) -> Command:
    """More than one message needs MULTIAPPEND (RFC 3502)."""
    if not messages:
        raise LocalProtocolError("APPEND of nothing")
    parts: list[Part] = []
    for message in messages:
        head = b" (%b)" % b" ".join(map(_atom, message.flags)) if message.flags else b""
        if message.date is not None:
            head += b" " + write_date(message.date)
        wrapped = b" UTF8 (" if message.utf8 else b" "
        literal = Upload(message.size, message.utf8 or message.binary)
        parts += [head + wrapped, literal, b")" * message.utf8]
    return _command("APPEND", _string(name), *parts)


def notify(events: Sequence[tuple[str, Sequence[str]]], *, status: bool = False) -> Command:
    """RFC 5465: pairs of a mailbox filter and event names; none at all turns it off."""
    if not events:
        return Command("NOTIFY", (b"NONE",))
    groups = [
        b"(%b (%b))" % (filters.encode(), " ".join(names).encode()) for filters, names in events
    ]
    return Command("NOTIFY", (b"SET " + b"STATUS " * status + b" ".join(groups),))


def idle() -> Command:
    return Command("IDLE")


def select(name: bytes, *, condstore: bool = False, known: Known | None = None) -> Command:
    return _open("SELECT", name, condstore, known)


def examine(name: bytes, *, condstore: bool = False, known: Known | None = None) -> Command:
    """SELECT for reading only: nothing that follows changes the mailbox."""
    return _open("EXAMINE", name, condstore, known)


# -- Selected --------------------------------------------------------------------------


def close() -> Command:
    """Expunges what is \\Deleted, whoever marked it: UNSELECT, or EXAMINE first, does not."""
    return Command("CLOSE")


def unselect() -> Command:
    return Command("UNSELECT")


def fetch(
    uids: bytes, items: Sequence[str], *, changed_since: int | None = None, vanished: bool = False
) -> Command:
    """UID is asked for first, so that servers say it before a body (quirk 37)."""
    wanted = " ".join(["UID", *(item for item in items if item != "UID")]).encode()
    modifier = b""
    if changed_since is not None:
        modifier = b" (CHANGEDSINCE %d%b)" % (changed_since, b" VANISHED" * vanished)
    elif vanished:
        raise LocalProtocolError("VANISHED without CHANGEDSINCE")  # RFC 7162 §3.2.6
    return Command("UID FETCH", (_set(uids) + b" (" + wanted + b")" + modifier,))


def search(criteria: bytes, *strings: bytes, returning: Sequence[str] | None = None) -> Command:
    """`criteria` as on the wire; each `%s` in it is an argument of `strings`.

    `returning` makes it ESEARCH (RFC 4731); an empty one is RETURN (), which is ALL.
    """
    head = b"" if returning is None else b"RETURN (%b) " % b" ".join(map(_atom, returning))
    first, *rest = criteria.split(b"%s")
    if len(rest) != len(strings):
        raise LocalProtocolError("as many strings as places for them")
    filled = (
        part for text, tail in zip(strings, rest, strict=True) for part in (_string(text), tail)
    )
    return _command("UID SEARCH", head + first, *filled)


def store(
    uids: bytes,
    action: str,
    flags: Sequence[str],
    *,
    silent: bool = True,
    unchanged_since: int | None = None,
) -> Command:
    """`action` is `FLAGS`, `+FLAGS` or `-FLAGS`."""
    if action not in ("FLAGS", "+FLAGS", "-FLAGS"):
        raise LocalProtocolError(f"no action of STORE: {action}")
    guard = b"" if unchanged_since is None else b" (UNCHANGEDSINCE %d)" % unchanged_since
    what = action.encode() + b".SILENT" * silent
    return Command(
        "UID STORE", (b"%b%b %b (%b)" % (_set(uids), guard, what, b" ".join(map(_atom, flags))),)
    )


def copy(uids: bytes, name: bytes) -> Command:
    return _command("UID COPY", _set(uids) + b" ", _string(name))


def move(uids: bytes, name: bytes) -> Command:
    return _command("UID MOVE", _set(uids) + b" ", _string(name))


def expunge(uids: bytes) -> Command:
    return Command("UID EXPUNGE", (_set(uids),))


# -- Arguments -----------------------------------------------------------------------------


def _open(verb: str, name: bytes, condstore: bool, known: Known | None) -> Command:
    tail = b" (CONDSTORE)" if condstore else b""
    if known is not None:
        uids = b" " + _set(known.uids) if known.uids else b""
        tail = b" (QRESYNC (%d %d%b))" % (known.uidvalidity, known.modseq, uids)
    return _command(verb, _string(name), tail)


def _command(verb: str, *parts: Part) -> Command:
    """Neighbouring octets become one part, empty ones none."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        elif part != b"":
            joined.append(part)
    return Command(verb, tuple(joined))


def _listed(parts: Iterable[Part]) -> list[Part]:
    spaced = [piece for part in parts for piece in (b" ", part)]
    return [b"(", *spaced[1:], b")"]


def _string(octets: bytes) -> Part:
    return octets if _PLAIN.fullmatch(octets) else _quoted(octets)


def _quoted(octets: bytes) -> Part:
    """Always quoted where possible: some servers take an atom `*` or a NIL for what it is not."""
    if not _QUOTABLE.fullmatch(octets):
        return Literal(octets)
    return b'"%b"' % octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _atom(text: str) -> bytes:
    if not _ATOM.fullmatch(text):
        raise LocalProtocolError(f"no atom: {text!r}")
    return text.encode()


def _set(uids: bytes) -> bytes:
    if not _SET.fullmatch(uids):
        raise LocalProtocolError(f"no set of UIDs: {uids[:80]!r}")
    return uids
