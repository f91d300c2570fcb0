"""An SMTP or LMTP server that misbehaves on purpose, for what a real one will not do on demand.

    with ScriptedSmtp(answers={"RCPT TO:<bob@x>": b"550 5.1.1 unknown\\r\\n"}) as server:
        server.port, server.heard, server.accepted

It serves RFC 5321 (`lmtp`: RFC 2033) with what `features` offer of PIPELINING, SIZE,
8BITMIME, SMTPUTF8, CHUNKING, AUTH and STARTTLS, takes any password but for SCRAM's, and
departs from it where told to. `answers` gives, for a command line or its verb, what is said
instead of the right answer: octets; a fault of scripted.py (HANG_UP, SILENCE, Endless, Drip,
Turns), or Hold or Deaf; a list of these; or `InTurn`, an answer for each time. Besides verbs
there are

    "greeting"    on connection
    "."           to a message that is whole, after DATA or BDAT
    ". bob@x"     the same with LMTP, for that recipient
    "octets"      after 354, before the message is read

What is refused or not answered is not accepted, unless the answer is `Taken(...)`: then the
message is, and what is said stays what it is. `accepted` has every message with its envelope
and octets, and `copies(recipient)` how many of them one got. `eager`: 354 also where there is
no recipient. `path` listens on a UNIX socket.
"""

import asyncio
import base64
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.servers.closing import close_server
from tests.servers.scripted import (
    HANG_UP,
    SILENCE,
    Answer,
    Drip,
    Endless,
    Part,
    Scripted,
    Talk,
    Turns,
)
from tests.servers.scripted_imap import RIGHT, InTurn

__all__ = [
    "FEATURES", "HANG_UP", "RIGHT", "SILENCE", "Accepted", "Deaf", "Drip", "Endless", "Hold",
    "InTurn", "ScriptedSmtp", "Taken", "Turns",
]  # fmt: skip

FEATURES = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "CHUNKING")
LINE_LIMIT = 1 << 20
HOLD = 30.0  # seconds, lest a test that fails waits for ever


class Accepted(NamedTuple):
    """One message and its envelope; `arguments` are all of MAIL."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes
    arguments: str


class Hold:
    """Goes on only when it is told to; both events may be waited for in any thread."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    async def say(self, _talk: Talk) -> None:
        """Say nothing."""
        self.reached.set()
        await asyncio.to_thread(self.go_on.wait, HOLD)


class Deaf:
    """Keeps the connection and reads nothing any more."""

    async def say(self, _talk: Talk) -> None:
        """Say nothing."""
        await asyncio.Event().wait()


class Taken:
    """The message is accepted, and this is said of it."""

    def __init__(self, *parts: Part) -> None:
        self.parts = list(parts)


Said = Answer | Taken
Script = Mapping[str, "Said | InTurn"]


class ScriptedSmtp(Scripted):
    """One listening port or socket; see the module."""

    def __init__(
        self,
        *,
        lmtp: bool = False,
        features: Sequence[str] | None = FEATURES,
        secure: Sequence[str] | None = None,
        answers: Script | None = None,
        eager: bool = False,
        password: str = "",
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        path: Path | None = None,
    ) -> None:
        """`features` None: no EHLO; `secure`: those behind STARTTLS; `password`: for SCRAM."""
        super().__init__(tls=tls, line_limit=LINE_LIMIT)
        self.lmtp, self.features, self.eager = lmtp, features, eager
        self.secure = features if secure is None else secure
        self.answers = dict(answers or {})
        self.password, self.starttls, self.path = password, starttls, path
        self.heard: list[str] = []
        self.accepted: list[Accepted] = []

    def verbs(self) -> list[str]:
        """The commands heard, without their arguments."""
        return [line.split(" ")[0].upper() for line in self.heard]

    def copies(self, recipient: str) -> int:
        """How many messages that one got."""
        return sum(one.recipients.count(recipient) for one in self.accepted)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.LimitOverrunError, ConnectionError):
            await _Session(self, reader, writer).run()

    async def _run(self) -> None:
        if self.path is None:
            await super()._run()
            return
        server = await asyncio.start_unix_server(self._accept, self.path, limit=LINE_LIMIT)
        self._ready.set()
        await self._stop.wait()
        await close_server(server, self._tasks)


class _Session(Talk):
    def __init__(
        self, server: ScriptedSmtp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.ended = False
        self._secure = False
        self._reset()

    def _reset(self) -> None:
        self._from: str | None = None  # all of MAIL
        self._recipients: list[str] = []
        self._octets = bytearray()
        self._spoilt = False  # a chunk was refused

    async def run(self) -> None:
        await self._answer(("greeting",), b"220 scripted ready\r\n")
        while not self.ended:
            if not self.reader._buffer:  # answers to a flight go out together
                await self.writer.drain()
            line = self.hear(await self.reader.readuntil(b"\n"))
            verb = line.split(" ")[0].upper()
            await getattr(self, f"_{verb.lower()}", self._unknown)(line)
        await self.writer.drain()

    def hear(self, line: bytes) -> str:
        text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        self.server.heard.append(text)
        return text

    def _chosen(self, keys: Sequence[str]) -> Said | None:
        for key in keys:
            if key in self.server.answers:
                answer = self.server.answers[key]
                return answer.take() if isinstance(answer, InTurn) else answer
        return RIGHT

    async def _answer(self, keys: Sequence[str], right: bytes) -> bool:
        """Whether it was the right one, or one that counts as such."""
        said = self._chosen(keys)
        if said is None:
            self.writer.write(right)
            return right[:1] in b"23"
        return await self._say(said)

    async def _say(self, said: Said) -> bool:
        parts = _parts(said)
        for part in parts:
            if isinstance(part, bytes):
                self.writer.write(part)
            else:
                await part.say(self)
        return isinstance(said, Taken) or (isinstance(parts[0], bytes) and parts[0][:1] in b"23")

    async def _plain_answer(self, line: str, right: bytes) -> bool:
        return await self._answer((line, line.split(" ")[0].upper()), right)

    # -- Commands ------------------------------------------------------------------

    async def _unknown(self, line: str) -> None:
        await self._plain_answer(line, b"500 5.5.2 unknown command\r\n")

    async def _ehlo(self, line: str) -> None:
        offered = self.server.secure if self._secure else self.server.features
        if offered is None or self.server.lmtp is not line.upper().startswith("LHLO"):
            await self._unknown(line)
            return
        said = ["scripted", *offered]
        if self.server.starttls is not None and not self._secure:
            said.append("STARTTLS")
        lines = [f"250-{one}\r\n" for one in said[:-1]] + [f"250 {said[-1]}\r\n"]
        await self._plain_answer(line, "".join(lines).encode())

    _lhlo = _ehlo

    async def _helo(self, line: str) -> None:
        await self._plain_answer(line, b"250 scripted\r\n")

    async def _starttls(self, line: str) -> None:
        if self.server.starttls is None:
            await self._unknown(line)
        elif await self._plain_answer(line, b"220 2.0.0 go on\r\n") and not self.ended:
            await self.writer.drain()
            await self.writer.start_tls(self.server.starttls)
            self._secure = True

    async def _auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        said = self._chosen((line, "AUTH"))
        if said is not None:
            await self._say(said)
            return
        if mechanism.upper() == "LOGIN":
            await self._turn(b"VXNlcm5hbWU6")
            await self._turn(b"UGFzc3dvcmQ6")
        elif mechanism.upper().startswith("SCRAM"):
            if not await self._scram(mechanism.upper(), initial):
                self.writer.write(b"535 5.7.8 wrong\r\n")
                return
        elif not initial:
            await self._turn(b"")
        self.writer.write(b"235 2.7.0 welcome\r\n")

    async def _turn(self, challenge: bytes) -> str:
        self.writer.write(b"334 " + challenge + b"\r\n")
        return self.hear(await self.reader.readuntil(b"\n"))

    async def _scram(self, name: str, initial: list[str]) -> bool:
        import scramp

        mechanism = scramp.ScramMechanism(name)
        server = mechanism.make_server(lambda _user: mechanism.make_auth_info(self.server.password))
        try:
            first = initial[0] if initial else await self._turn(b"")
            server.set_client_first(base64.b64decode(first).decode())
            final = await self._turn(base64.b64encode(server.get_server_first().encode()))
            server.set_client_final(base64.b64decode(final).decode())
            await self._turn(base64.b64encode(server.get_server_final().encode()))
        except (scramp.ScramException, ValueError):
            return False
        return True

    async def _mail(self, line: str) -> None:
        if self._from is not None:
            await self._plain_answer(line, b"503 5.5.1 nested MAIL\r\n")
        elif await self._plain_answer(line, b"250 2.1.0 ok\r\n"):
            self._from = line

    async def _rcpt(self, line: str) -> None:
        if self._from is None:
            self.writer.write(b"503 5.5.1 MAIL first\r\n")
        elif await self._plain_answer(line, b"250 2.1.5 ok\r\n"):
            self._recipients.append(_address(line))

    async def _data(self, line: str) -> None:
        if self._from is None or not (self._recipients or self.server.eager):
            self.writer.write(b"554 5.5.1 no valid recipients\r\n")
            return
        if not await self._plain_answer(line, b"354 go on\r\n") or self.ended:
            return
        await self.writer.drain()
        if (said := self._chosen(("octets",))) is not None:
            await self._say(said)
            if self.ended:
                return
        while (text := await self.reader.readuntil(b"\n")) != b".\r\n":
            self._octets += text.removeprefix(b".")
        await self._judge()

    async def _bdat(self, line: str) -> None:
        size, last = re.fullmatch(r"BDAT (\d+)( LAST)?", line).groups()
        octets = await self.reader.readexactly(int(size))
        if self._from is None or not self._recipients or self._spoilt:
            self.writer.write(b"503 5.5.1 no chunk wanted\r\n")
            return
        self._octets += octets
        if last:
            await self._judge()
            self._spoilt = False
        else:
            self._spoilt = not await self._plain_answer(line, b"250 2.0.0 chunk\r\n")

    async def _takes(self, recipient: str) -> bool:
        """RFC 2033 §4.2: each is asked, until the session has ended."""
        keys = (f". {recipient}", ".")
        return not self.ended and await self._answer(keys, b"250 2.0.0 ok\r\n")

    async def _judge(self) -> None:
        """The message is whole."""
        takers: list[str] = []
        if not self._recipients:
            self.writer.write(b"554 5.5.1 no valid recipients\r\n")
        elif self.server.lmtp:
            takers = [one for one in self._recipients if await self._takes(one)]
        elif await self._answer((".",), b"250 2.0.0 queued as 42\r\n"):
            takers = self._recipients
        if takers:
            assert self._from is not None
            mail = Accepted(_address(self._from), tuple(takers), bytes(self._octets), self._from)
            self.server.accepted.append(mail)
        self._reset()

    async def _rset(self, line: str) -> None:
        self._reset()
        await self._plain_answer(line, b"250 2.0.0 ok\r\n")

    async def _quit(self, line: str) -> None:
        await self._plain_answer(line, b"221 2.0.0 bye\r\n")
        self.ended = True


def _parts(said: Said) -> Sequence[Part]:
    if isinstance(said, Taken):
        return said.parts
    return said if isinstance(said, list) else [said]


def _address(line: str) -> str:
    """Between the brackets of MAIL or RCPT."""
    return line.partition("<")[2].partition(">")[0]
