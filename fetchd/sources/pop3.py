"""A POP3 account as a Session: what the maildrop means (RFC 1939, RFC 2449).

Who is a message? Its unique-id. Where that fails, in this order:

* a unique-id given twice: token NUL header-digest (RFC 1939 §7 only says "should
  be unique"), marked ambiguous and never deleted;
* no UIDL: `header:` and the header's digest, by TOP n 0;
* no TOP either: `content:` and the digest of the whole message. Every poll then
  reads every message, for nothing less can tell them apart.

Whatever still coincides is numbered and marked ambiguous. DELE is a fact only
after +OK to QUIT; RSET is never sent.
"""

import hashlib
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from fetchd.clients.pop3 import Ask, Pop3Client, Transcript, refusal, response_code
from fetchd.clients.stream import Stream, TlsMode, TlsSettings, open_stream
from fetchd.contracts import Body, Credentials, Fetched, HeaderDigest, ServerFacts, Unavailable
from fetchd.errors import (
    ArchiveError,
    AuthenticationFailed,
    ConnectionFailed,
    LocalProtocolError,
    PlaintextRefused,
    TlsFailed,
)
from fetchd.message import HEADER_LIMIT, header_digest, header_of
from fetchd.policy.plan import Listing, RemoteMessage
from fetchd.protocol.pop3 import BodyChunk, BodyEnd, Reply, parse_listing
from fetchd.protocol.sasl import MECHANISMS, Login

MAILBOX = "INBOX"
SPILL_SIZE = 1 << 20  # octets of a body kept in memory
HEADER_ESTIMATE = 4096  # octets expected in answer to TOP n 0
_TIMESTAMP = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")  # RFC 1939 §7 APOP; CVE-2007-1558: no junk
_STRONG = ("SCRAM-SHA-256", "SCRAM-SHA-1")


@dataclass(frozen=True, slots=True)
class Pop3Access:
    """Where the account is and how to get in."""

    host: str
    username: str
    port: int = 995
    tls: TlsSettings = field(default_factory=TlsSettings)
    auth: str = "auto"  # or "USER", "APOP", or a SASL mechanism
    allow_plaintext_auth: bool = False
    connect_timeout: float = 30.0  # seconds
    read_timeout: float = 60.0
    max_message_size: int | None = None  # octets; larger ones stay where they are
    gmail_recent: bool = False  # Gmail: all of the last 30 days, whoever took them before


async def open_pop3(
    access: Pop3Access,
    credentials: Credentials,
    spill_dir: Path,
    transcript: Transcript | None = None,
) -> "Pop3Session":
    """Connect, encrypt, log in."""
    if access.tls.mode is TlsMode.NONE and not access.allow_plaintext_auth:
        raise PlaintextRefused(
            "allow_plaintext_auth = true is needed to send a password over an unencrypted line"
        )
    stream = await open_stream(access.host, access.port, access.tls, access.connect_timeout)
    try:
        return await _log_in(stream, access, credentials, spill_dir, transcript)
    except BaseException:
        stream.abort()
        raise


async def _log_in(
    stream: Stream,
    access: Pop3Access,
    credentials: Credentials,
    spill_dir: Path,
    transcript: Transcript | None,
) -> "Pop3Session":
    client = Pop3Client(stream, access.read_timeout, transcript)
    greeting = await client.greeting()
    if access.tls.mode is TlsMode.STARTTLS:
        reply = await client.ask("STLS")
        if not reply.ok:
            raise TlsFailed(
                f"{access.host} refuses STLS: {reply.text}",
                advice='Use tls = "implicit" if the provider offers it.',
            )
        await stream.start_tls(access.tls, access.connect_timeout)
    capabilities = await _capabilities(client)
    if "UTF8" in capabilities:
        await client.ask("UTF8")  # RFC 6856 §2; a refusal harms nobody
    await _authenticate(client, access, credentials, capabilities, greeting)
    capabilities = await _capabilities(client) or capabilities  # RFC 2449 §5: may differ now
    client.pipelining = "PIPELINING" in capabilities
    return Pop3Session(client, access, spill_dir, _facts(capabilities, stream.tls))


async def _capabilities(client: Pop3Client) -> dict[str, str]:
    """Name -> arguments; empty where the server knows no CAPA."""
    reply = await client.ask("CAPA")
    found: dict[str, str] = {}
    for line in reply.block.decode("ascii", "backslashreplace").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name:
            found[name.upper()] = arguments.strip()
    return found


def _facts(capabilities: Mapping[str, str], tls: str) -> ServerFacts:
    return ServerFacts(
        capabilities=tuple(f"{name} {rest}".rstrip() for name, rest in capabilities.items()),
        expire_days=_first_number(capabilities.get("EXPIRE", "")),
        login_delay=_first_number(capabilities.get("LOGIN-DELAY", "")),
        unique_ids="UIDL" in capabilities or not capabilities,
        can_preview="TOP" in capabilities or not capabilities,
        pipelining="PIPELINING" in capabilities,
        implementation=capabilities.get("IMPLEMENTATION", ""),
        tls=tls,
    )


def _first_number(arguments: str) -> int | None:
    """RFC 2449 §6.5, §6.7: a number, perhaps with USER behind it, or NEVER."""
    found = re.match(r"[0-9]{1,9}", arguments)
    return int(found[0]) if found else None


# -- Logging in ----------------------------------------------------------------


async def _authenticate(
    client: Pop3Client,
    access: Pop3Access,
    credentials: Credentials,
    capabilities: Mapping[str, str],
    greeting: str,
) -> None:
    if re.search(r"[\x00\r\n]", credentials.username + credentials.secret):
        raise AuthenticationFailed("username or password holds a line break or NUL")
    username = ("recent:" if access.gmail_recent else "") + credentials.username
    login = Login(username, credentials.secret, access.host, access.port)
    delay = _first_number(capabilities.get("LOGIN-DELAY", ""))
    wait = timedelta(seconds=delay) if delay else None
    methods = _methods(access.auth, capabilities)
    for method in methods:
        reply = await _attempt(client, method, login, greeting)
        if reply.ok:
            return
        error = refusal(reply.text, f"{access.host} refuses the login", login=True, wait=wait)
        if not isinstance(error, AuthenticationFailed) or method == methods[-1]:
            raise error


def _methods(auth: str, capabilities: Mapping[str, str]) -> list[str]:
    """What to try: at most one strong mechanism, then one that shows the password.

    The second try serves servers that announce SCRAM and store hashes of another
    kind. More tries would look like an attack. APOP and CRAM-MD5 are never automatic.
    """
    if auth.lower() != "auto":
        return [auth.upper()]
    offered = capabilities.get("SASL", "").upper().split()
    strong = [name for name in _STRONG if name in offered][:1]
    plain = "PLAIN" if "PLAIN" in offered else "USER"
    return [*strong, plain]


async def _attempt(client: Pop3Client, method: str, login: Login, greeting: str) -> Reply:
    if method == "USER":
        reply = await client.ask("USER", login.username.encode())
        return await client.ask("PASS", login.secret.encode()) if reply.ok else reply
    if method == "APOP":
        stamp = _TIMESTAMP.search(greeting)
        if stamp is None:
            raise AuthenticationFailed("the server offers no APOP", advice='Set auth = "auto".')
        digest = hashlib.md5((stamp[0] + login.secret).encode(), usedforsecurity=False)
        return await client.ask("APOP", f"{login.username} {digest.hexdigest()}".encode())
    if method not in MECHANISMS:
        known = ", ".join(["auto", "USER", "APOP", *MECHANISMS])
        raise AuthenticationFailed(f"auth = {method!r} is not known", advice=f"Use one of {known}.")
    return await client.authenticate(method, MECHANISMS[method](login))


# -- The session -----------------------------------------------------------------


class Pop3Session:
    """An open maildrop; implements contracts.Session."""

    def __init__(
        self, client: Pop3Client, access: Pop3Access, spill_dir: Path, facts: ServerFacts
    ) -> None:
        self.facts = facts
        self._client = client
        self._access = access
        self._spill_dir = spill_dir
        self._listed: dict[int, bytes] = {}
        self._dropped: list[bytes] = []
        self._previews = facts.can_preview

    async def mailboxes(self) -> Sequence[str]:
        """POP3 has one."""
        return (MAILBOX,)

    async def list(self, mailbox: str, unchanged: bytes | None = None) -> Listing | None:
        """STAT, UIDL and, unless nothing changed, LIST."""
        stat, uidl = await self._replies("STAT", "UIDL")
        if not stat.ok:
            raise refusal(stat.text, "STAT failed")
        count = _first_number(stat.text)
        if not uidl.ok:
            _raise_if_passing(uidl)
            return await self._list_without_uidl(mailbox, count, unchanged)
        digest = hashlib.sha256(uidl.block).digest()
        tokens = parse_listing(uidl.block)
        if digest == unchanged and count == len(tokens):
            self._listed = tokens
            return None
        sizes, whole = await self._sizes()
        complete = whole and count == len(tokens) and tokens.keys() == sizes.keys()
        messages = await self._named(tokens, {n: _size(v) for n, v in sizes.items()})
        self._listed = {m.number: m.uid for m in messages}
        return Listing(mailbox, messages, digest, complete)

    async def _sizes(self) -> tuple[dict[int, bytes], bool]:
        (reply,) = await self._replies("LIST")
        if not reply.ok:
            _raise_if_passing(reply)
        return parse_listing(reply.block), reply.ok

    async def _named(
        self, tokens: Mapping[int, bytes], sizes: Mapping[int, int]
    ) -> tuple[RemoteMessage, ...]:
        """Messages by number; what shares a token is told apart by its header."""
        messages = [RemoteMessage(uid, sizes.get(n, 0), n) for n, uid in sorted(tokens.items())]
        if len(set(tokens.values())) == len(tokens):
            return tuple(messages)
        counts = Counter(tokens.values())
        twins = [m for m in messages if counts[m.uid] > 1]
        heads = {h.remote.number: h.digest.hex().encode() async for h in self.headers(twins)}
        names = {m.number: m.uid + b"\0" + heads.get(m.number, b"%d" % m.size) for m in twins}
        names = _distinct(names)
        return tuple(
            RemoteMessage(names[m.number], m.size, m.number, ambiguous=True)
            if m.number in names
            else m
            for m in messages
        )

    async def _list_without_uidl(
        self, mailbox: str, count: int | None, unchanged: bytes | None
    ) -> Listing | None:
        sizes, whole = await self._sizes()
        bare = [RemoteMessage(b"", _size(v), n) for n, v in sorted(sizes.items())]
        self.facts = replace(self.facts, unique_ids=False)
        kind = b"header:"
        found = {h.remote.number: h.digest async for h in self.headers(bare)}
        if not found and bare:
            self.facts = replace(self.facts, can_preview=False)
            kind, found = b"content:", await self._contents(bare)
        names = {number: kind + digest.hex().encode() for number, digest in found.items()}
        counts = Counter(names.values())
        distinct = _distinct(names)
        messages = tuple(
            RemoteMessage(distinct[m.number], m.size, m.number, counts[names[m.number]] > 1)
            for m in bare
            if m.number in names
        )
        self._listed = distinct
        digest = hashlib.sha256(b"\n".join(m.uid for m in messages)).digest()
        complete = whole and count == len(messages)
        return (
            None
            if digest == unchanged and complete
            else Listing(mailbox, messages, digest, complete)
        )

    async def _contents(self, messages: Sequence[RemoteMessage]) -> dict[int, bytes]:
        """Digest of each whole message."""
        digests: dict[int, bytes] = {}
        running = hashlib.sha256()
        async for events in self._client.exchange(_asks("RETR", messages)):
            for event in events:
                match event:
                    case BodyChunk(data):
                        running.update(data)
                    case BodyEnd(command):
                        digests[int(command.argument)] = running.digest()
                        running = hashlib.sha256()
        return digests

    async def headers(self, messages: Sequence[RemoteMessage]) -> AsyncIterator[HeaderDigest]:
        """Header digests by TOP n 0; nothing where the server knows no TOP."""
        if not self._previews or not messages:
            return
        waiting = deque(messages)
        asks = [("TOP", b"%d 0" % m.number, HEADER_ESTIMATE) for m in messages]
        chunks: list[bytes] = []
        size = 0
        async for events in self._client.exchange(asks):
            for event in events:
                match event:
                    case Reply(ok=False):
                        waiting.popleft()
                    case BodyChunk(data) if size < HEADER_LIMIT:
                        chunks.append(data)
                        size += len(data)
                    case BodyEnd():
                        header = header_of(b"".join(chunks))
                        chunks, size = [], 0
                        yield HeaderDigest(waiting.popleft(), header_digest(header))

    async def fetch(
        self, messages: Iterable[RemoteMessage]
    ) -> AsyncIterator[Fetched | Unavailable]:
        """Bodies in the order given; beyond SPILL_SIZE into files of `spill_dir`."""
        waiting: deque[RemoteMessage] = deque()
        limit = self._access.max_message_size
        body = _Incoming(self._spill_dir, limit)
        try:
            async for events in self._client.exchange(self._wanted(messages, waiting)):
                for event in events:
                    for skipped in self._skipped(waiting):
                        yield skipped
                    match event:
                        case Reply(ok=False, text=text):
                            yield Unavailable(waiting.popleft(), text or "refused without a word")
                        case BodyChunk(data):
                            body.add(data)
                        case BodyEnd():
                            yield body.finish(waiting.popleft())
                            body = _Incoming(self._spill_dir, limit)
        finally:
            body.discard()
        for skipped in self._skipped(waiting):
            yield skipped

    def _wanted(
        self, messages: Iterable[RemoteMessage], waiting: deque[RemoteMessage]
    ) -> Iterator[Ask]:
        for message in messages:
            waiting.append(message)
            if not self._too_large(message):
                yield ("RETR", b"%d" % self._number(message), message.size)

    def _skipped(self, waiting: deque[RemoteMessage]) -> Iterator[Unavailable]:
        while waiting and self._too_large(waiting[0]):
            message = waiting.popleft()
            yield Unavailable(message, _too_large_sentence(self._access.max_message_size))

    def _too_large(self, message: RemoteMessage) -> bool:
        limit = self._access.max_message_size
        return limit is not None and message.size > limit

    def _number(self, message: RemoteMessage) -> int:
        """Numbers hold for one session only (RFC 1939 §5): refuse those of another."""
        if self._listed.get(message.number) != message.uid:
            raise LocalProtocolError(f"message {message.number} was not listed in this session")
        return message.number

    async def retire(self, messages: Sequence[RemoteMessage]) -> None:
        """DELE, pipelined; never where it is not certain which message goes."""
        certain = [m for m in messages if not m.ambiguous]
        asks = [("DELE", b"%d" % self._number(m), 0) for m in certain]
        waiting = deque(certain)
        async for events in self._client.exchange(asks):
            for event in events:
                if isinstance(event, Reply):
                    message = waiting.popleft()
                    if event.ok:
                        self._dropped.append(message.uid)

    async def keep_alive(self) -> None:
        """NOOP: RFC 1939 §3 lets a server hang up after ten idle minutes."""
        await self._client.ask("NOOP")

    async def close(self) -> frozenset[bytes]:
        """QUIT; without its +OK nothing is known to be gone, and the next listing tells."""
        try:
            reply = await self._client.ask("QUIT")
        except ConnectionFailed:
            self._client.stream.abort()
            return frozenset()
        await self._client.stream.close()
        return frozenset(self._dropped) if reply.ok else frozenset()

    async def abort(self) -> None:
        """Hang up; RFC 1939 §6: the server then removes nothing."""
        self._client.stream.abort()

    async def _replies(self, *verbs: str) -> Sequence[Reply]:
        asks = [(verb, b"", 0) for verb in verbs]
        return [
            event
            async for events in self._client.exchange(asks)
            for event in events
            if isinstance(event, Reply)
        ]


class _Incoming:
    """One body on its way: in memory, then in a file; beyond `limit` not kept at all."""

    def __init__(self, spill_dir: Path, limit: int | None) -> None:
        self._spill_dir, self._limit = spill_dir, limit
        self._size = 0
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._path: Path | None = None

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            self.discard()
            return
        self._chunks.append(data)
        if self._file is not None or self._size > SPILL_SIZE:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = NamedTemporaryFile(  # noqa: SIM115 - closed by finish or discard
                    dir=self._spill_dir, prefix="body-", suffix=".tmp", delete=False
                )
                self._path = Path(self._file.name)
            self._file.writelines(self._chunks)
        except OSError as error:
            raise ArchiveError(f"cannot write to {self._spill_dir}: {error.strerror}") from error
        self._chunks.clear()

    def finish(self, remote: RemoteMessage) -> Fetched | Unavailable:
        """The message; the file, if any, is the receiver's from here on."""
        if self._limit is not None and self._size > self._limit:
            return Unavailable(remote, _too_large_sentence(self._limit))
        if self._file is None:
            return Fetched(remote, Body(self._size, data=b"".join(self._chunks)))
        try:
            self._file.close()
        except OSError as error:
            raise ArchiveError(f"cannot write to {self._spill_dir}: {error.strerror}") from error
        path, self._path = self._path, None
        return Fetched(remote, Body(self._size, path=path))

    def discard(self) -> None:
        """Forget what came."""
        self._chunks.clear()
        if self._path is not None and self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
            self._file = self._path = None


def _too_large_sentence(limit: int | None) -> str:
    return f"larger than max_message_size ({limit} octets)"


def _asks(verb: str, messages: Iterable[RemoteMessage]) -> Iterator[Ask]:
    return ((verb, b"%d" % m.number, m.size) for m in messages)


def _size(value: bytes) -> int:
    found = re.match(rb"[0-9]{1,18}", value)
    return int(found[0]) if found else 0


def _distinct(names: Mapping[int, bytes]) -> dict[int, bytes]:
    """Number what still has the same name, in the order of message numbers."""
    seen: Counter[bytes] = Counter()
    result: dict[int, bytes] = {}
    for number, name in sorted(names.items()):
        seen[name] += 1
        result[number] = name if seen[name] == 1 else b"%b\0%d" % (name, seen[name])
    return result


def _raise_if_passing(reply: Reply) -> None:
    """A listing refused for now is not a listing the server does not know."""
    if response_code(reply.text) in ("SYS/TEMP", "IN-USE"):
        raise refusal(reply.text, f"{reply.command.verb} failed")
