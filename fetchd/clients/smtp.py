"""An SMTP or LMTP connection: commands go out in flights, their answers are read in order.

`post` sends, `answer` waits for what is due first; how a message is handed over with them
is `smtp_transfer`. The peer may speak at any time: what it says while we send is read, and
a peer that objects and takes no more ends the sending instead of blocking it.

Deadlines: the settings' read timeout for each answer and for each pause of a peer that
takes no more octets; FINAL_WAIT for the answer to a message, since whoever hangs up before
it sends the message twice. A peer that takes octets too slowly to be serious is left.

Transcripts show commands and replies, of a message's octets and of a login nothing.
"""

import asyncio
from collections import deque
from contextlib import suppress

from fetchd.clients.conversation import Conversation, Turns
from fetchd.clients.pace import MIN_RATE, Pace
from fetchd.clients.smtp_refusals import refusal
from fetchd.clients.stream import Stream, TlsSettings
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
from fetchd.protocol.sasl import Mechanism
from fetchd.protocol.smtp import (
    CLOSING,
    Answer,
    Challenge,
    Command,
    Event,
    Farewell,
    Greeting,
    SmtpProtocol,
    State,
)
from fetchd.protocol.smtp_replies import Features, Reply
from fetchd.telemetry import Transcript

FINAL_WAIT = 600.0  # seconds; RFC 5321 §4.5.3.2.6
QUIT_PATIENCE = 5.0  # seconds for a farewell that nobody needs
MAX_AUTH_LINE = 512  # octets of AUTH with its first response (RFC 4954 §4.2)


class SmtpClient(Conversation):
    """One session's conversation."""

    def __init__(
        self,
        stream: Stream,
        read_timeout: float,
        transcript: Transcript | None = None,
        *,
        lmtp: bool = False,
        final_wait: float = FINAL_WAIT,
    ) -> None:
        super().__init__(stream, read_timeout, transcript)
        self.protocol = SmtpProtocol(lmtp=lmtp)
        self.in_doubt = False  # the peer has all of a message, and its answer is due
        self.last_words: Reply | None = None  # with which it turned us away, unasked
        self.final_wait = max(final_wait, read_timeout)
        self._events: deque[Event] = deque()
        self._sending = Pace(read_timeout)

    @property
    def features(self) -> Features:
        """What the server offers now."""
        return self.protocol.features

    # -- Getting in --------------------------------------------------------------

    async def greeting(self) -> Reply:
        """The server's first words; raises if they turn us away."""
        with self._greeting_expected():
            event = await self._next("a greeting")
        assert isinstance(event, Greeting)
        if not event.reply.ok:
            raise refusal(event.reply, f"{self.stream.where} turns us away")
        return event.reply

    async def hello(self, name: str) -> None:
        """Say who we are; `features` are known then. Servers without EHLO get HELO."""
        verb = "LHLO" if self.protocol.lmtp else "EHLO"
        reply = await self.ask(Command(verb, name.encode()))
        if 500 <= reply.code < 600 and verb == "EHLO":
            reply = await self.ask(Command("HELO", name.encode()))
        if not reply.ok:
            raise refusal(reply, f"{self.stream.where} refuses our greeting as {name}")

    async def start_tls(self, settings: TlsSettings, timeout: float) -> Reply:  # noqa: ASYNC109
        """STARTTLS, and the handshake if the server agrees; `hello` is due again then."""
        reply = await self.ask(Command("STARTTLS"))
        if reply.ok:
            await self.stream.start_tls(settings, timeout)
        return reply

    async def authenticate(self, name: str, mechanism: Mechanism) -> Reply:
        """AUTH with its turns (RFC 4954)."""
        turns = Turns(name, mechanism)
        argument = name.encode()
        inline = turns.inline(MAX_AUTH_LINE - len("AUTH  \r\n") - len(argument))
        if inline is not None:
            argument += b" " + (inline or b"=")
        self.post(Command("AUTH", argument))
        while True:
            match await self._next("an answer to AUTH"):
                case Challenge(challenge):
                    await self._respond(turns, challenge)
                case Answer(reply=reply):
                    turns.end(ok=reply.ok)
                    return reply

    async def _respond(self, turns: Turns, challenge: bytes) -> None:
        try:
            response = await turns.answer(challenge)
        except RemoteProtocolError:  # RFC 4954 §4: give up in good order
            self._note("C", "*")
            self.stream.write(self.protocol.respond(b"*"))
            with suppress(FetchdError):
                await self._next("an answer to *", QUIT_PATIENCE)
            raise
        self._note("C", "***")
        self.stream.write(self.protocol.respond(response))

    # -- Commands and answers ------------------------------------------------------

    async def ask(self, command: Command) -> Reply:
        """One command; raises where the answer ends the session."""
        self.post(command)
        reply = (await self.answer()).reply
        if reply.code == CLOSING and self._farewell is not None:
            raise self._farewell
        return reply

    def post(self, *commands: Command) -> None:
        """Send them in one flight."""
        if self._farewell is not None:
            raise self._farewell
        octets = [self.protocol.send(command) for command in commands]
        for command in commands:
            self._note("C", repr(command))
            if command.octets:
                self._note("C", f"[{len(command.octets)} octets]")
        self.stream.write(octets[0] if len(octets) == 1 else b"".join(octets))

    def write(self, block: bytes) -> None:
        """Octets of a message, after DATA."""
        self._note("C", f"[{len(block)} octets]")
        self.stream.write(block)

    async def answer(self, timeout: float | None = None) -> Answer:  # noqa: ASYNC109
        """The one that is due first."""
        due = next(iter(self.protocol.pending), None)
        what = "the message" if due is None or due.final else due.verb
        event = await self._next(f"an answer to {what}", timeout)
        assert isinstance(event, Answer)
        return event

    @property
    def answered(self) -> bool:
        """Whether `answer` would not have to wait."""
        return bool(self._events)

    async def listen(self) -> None:
        """Between two messages: raises if the peer has hung up or turned us away meanwhile."""
        if self.stream.heard and self._farewell is None:
            await self._receive("the next message")
        if self._farewell is not None:
            raise self._farewell

    async def room(self, octets: int) -> None:
        """Wait until the peer takes more, of which it has just been given so many.

        Ends early where it has turned us away; `answered` and `last_words` tell.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        roomy = False
        while not roomy and self._farewell is None:
            roomy = await self.stream.room(self._timeout)
            if self.stream.heard:
                await self._receive("room for more octets")
        self._sending.note(clock() - begun, octets)
        if self._sending.too_slow:
            raise ConnectionFailed(
                f"{self.stream.where} takes less than {MIN_RATE} octets a second"
            )

    # -- Parting ---------------------------------------------------------------------

    def break_off(self) -> None:
        """Hang up in the middle of something; nothing more can be asked."""
        self._farewell = self._farewell or ConnectionFailed(
            f"the connection to {self.stream.where} was given up"
        )
        self.stream.abort()

    async def quit(self) -> None:
        """Part in good order where that is possible; never raises a FetchdError."""
        lost = self._farewell is not None or self.protocol.fault is not None or self.stream.ended
        if lost or self.protocol.pending or self.protocol.state not in (State.HELLO, State.READY):
            self.stream.abort()
            return
        try:
            self.post(Command("QUIT"))
            await self.answer(QUIT_PATIENCE)
        except FetchdError:
            self.stream.abort()
            return
        await self.stream.close()

    # -- Reading -----------------------------------------------------------------------

    async def _next(self, purpose: str, timeout: float | None = None) -> Event:  # noqa: ASYNC109
        while not self._events:
            await self._receive(purpose, timeout)
        return self._events.popleft()

    async def _receive(self, purpose: str, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """One read's events; `purpose` is for the sentence if there is none."""
        if (error := self._farewell or self.protocol.fault) is not None:
            raise error
        data = await self._read(purpose, self._timeout if timeout is None else timeout)
        for event in self.protocol.receive(data):
            self._pace.restart()
            self._hear(event)
        self._check_pace(purpose)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Challenge):
            self._note("S", "334 ***")
            self._events.append(event)
            return
        reply = event.reply
        self._note("S", str(reply))
        asked = not isinstance(event, Farewell)
        if asked:
            self._events.append(event)
        else:
            self.last_words = reply
        if not asked or (reply.code == CLOSING and not isinstance(event, Greeting)):
            self._farewell = refusal(reply, f"{self.stream.where} ends the session")
