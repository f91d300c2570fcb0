"""An IMAP server that misbehaves on purpose, for what a real one will not do on demand.

    with ScriptedImap({"INBOX": messages, "Sent": Box(sent, uids=[7])}) as server:
        server.host, server.port, server.heard, server.boxes[b"INBOX"].messages

It serves RFC 9051 with any credentials and, as far as `capabilities` offers them,
UIDPLUS, MOVE, IDLE, LIST-EXTENDED, LIST-STATUS, SPECIAL-USE, CONDSTORE, QRESYNC,
ESEARCH, MULTIAPPEND, LITERAL+/-, APPENDLIMIT=n, OBJECTID, X-GM-EXT-1, UTF8=ACCEPT;
what is not offered is BAD. It departs from that where told to:

`sins` is a `Sins`: what a server of that kind always does wrong. It may be
replaced while the server runs.

`answers` gives, for a command without its tag ("UID FETCH 2 (FLAGS)"), for a verb
("UID FETCH", "greeting") or for a pattern (`re.Pattern`, searched in the command),
what is said instead of the right answer: octets in which <tag> stands for the
command's tag; a fault of scripted.py (HANG_UP, SILENCE, Endless, Drip, Turns); a
list of these, one after the other; or `InTurn`, an answer for each time:

    answers={"SELECT": InTurn(b"<tag> NO [UNAVAILABLE] later\\r\\n")}   # once, then rightly
    answers={"NOOP": [b"* BYE over\\r\\n", HANG_UP]}
    answers={"STARTTLS": b"<tag> OK\\r\\n* CAPABILITY EVIL\\r\\n"}       # TLS begins after it
    answers={re.compile("BODY"): InTurn(RIGHT, HANG_UP)}              # the second body

`on` gives, for the same keys, a function that is called with the server when the
command has come, before it is answered: mail that comes, vanishes or changes in
the middle of a session. From outside use `change`, which runs a function among
the sessions and tells those in IDLE.

`heard` has every command without its tag, literals as sizes, and every other
line; `verbs()` the verbs. To cut a connection after so many octets or to count
round trips, put a Proxy in front.

A mailbox name given as text is encoded, one given as octets is said as it is.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future

from tests.servers.imap_boxes import Box
from tests.servers.imap_session import Account
from tests.servers.imap_sins import HONEST, Sins
from tests.servers.imap_talk import Talk
from tests.servers.mail import Mail, wire_name
from tests.servers.scripted import Answer, Scripted

CAPABILITIES = (
    "IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "LITERAL+", "ID", "ENABLE", "IDLE", "NAMESPACE",
    "UIDPLUS", "MOVE", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "QRESYNC",
    "ESEARCH", "UNSELECT", "MULTIAPPEND",
)  # fmt: skip
LINE_LIMIT = 1 << 22
RIGHT = None  # in InTurn: the right answer, this time

Key = str | re.Pattern[str]


class InTurn:
    """The first answer for the first time, and so on; the right one ever after."""

    def __init__(self, *answers: Answer | None) -> None:
        self._left = list(answers)

    def take(self) -> Answer | None:
        """The answer for this time."""
        return self._left.pop(0) if self._left else RIGHT


class ScriptedImap(Scripted):
    """One listening port and what it serves; see the module."""

    def __init__(
        self,
        boxes: Mapping[str | bytes, Box | Iterable[bytes | Mail]],
        *,
        sins: Sins = HONEST,
        answers: Mapping[Key, Answer | InTurn] | None = None,
        on: Mapping[Key, Callable[["ScriptedImap"], None]] | None = None,
        capabilities: Sequence[str] = CAPABILITIES,
        inside: Sequence[str] | None = None,
        secure: Sequence[str] | None = None,
        delimiter: bytes | None = b"/",
        preauth: bool = False,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
    ) -> None:
        """`inside`: the capabilities after the login, if others; `secure`: after STARTTLS.

        `delimiter` None is NIL.
        """
        super().__init__(tls=tls, line_limit=LINE_LIMIT)
        self.account = Account(
            {wire_name(n) if isinstance(n, str) else n: _box(b) for n, b in boxes.items()},
            tuple(capabilities),
            tuple(capabilities if inside is None else inside),
            tuple(capabilities if secure is None else secure),
            delimiter,
            sins,
        )
        self.answers, self.on = dict(answers or {}), dict(on or {})
        self._preauth, self._starttls = preauth, starttls

    @property
    def boxes(self) -> dict[bytes, Box]:
        """The mailboxes by their names on the wire."""
        return self.account.boxes

    @property
    def heard(self) -> list[str]:
        """What clients said."""
        return self.account.heard

    @property
    def sins(self) -> Sins:
        """What is done wrong from now on."""
        return self.account.sins

    @sins.setter
    def sins(self, sins: Sins) -> None:
        self.account.sins = sins

    def verbs(self) -> list[str]:
        """The commands heard, without their arguments."""
        words = (line.upper().split(" ") for line in self.heard)
        return [" ".join(w[:2]) if w[0] == "UID" else w[0] for w in words]

    def change(self, deed: Callable[["ScriptedImap"], None]) -> None:
        """Run a function among the sessions, and return when it is done."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                deed(self)
            except BaseException as error:
                done.set_exception(error)
            else:
                self.account.stir()
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(10)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(self.account, self._chosen, self._starttls, reader, writer)
        await talk.run(preauth=self._preauth)

    def _chosen(self, command: str, verb: str) -> Answer | None:
        """What the test wants said, after what it wants done."""
        for key, deed in self.on.items():
            if _fits(key, command, verb):
                deed(self)
        for key, answer in self.answers.items():
            if _fits(key, command, verb):
                said = answer.take() if isinstance(answer, InTurn) else answer
                if said is not None:
                    return said
        return None


def _box(given: Box | Iterable[bytes | Mail]) -> Box:
    return given if isinstance(given, Box) else Box(given)


def _fits(key: Key, command: str, verb: str) -> bool:
    if isinstance(key, re.Pattern):
        return key.search(command) is not None
    return key in (command, verb)
