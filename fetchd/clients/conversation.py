"""What a client of any protocol does with its line: read in time, note, and take turns in SASL.

Deadlines: one on each read, and one on each answer as a whole (`pace`).
"""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager

from fetchd.clients.pace import MIN_RATE, Pace
from fetchd.clients.stream import Stream
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
from fetchd.protocol.sasl import Mechanism
from fetchd.telemetry import Transcript

MAX_TURNS = 16  # of one AUTH; SCRAM takes three


class Conversation:
    """One connection and how it goes; a protocol's client knows what is said."""

    def __init__(
        self, stream: Stream, read_timeout: float, transcript: Transcript | None = None
    ) -> None:
        self.stream = stream
        self.received = 0  # octets, as they came over the line
        self.waited = 0.0  # seconds, for them
        self._timeout = read_timeout
        self._pace = Pace(read_timeout)
        self._transcript = transcript
        self._farewell: FetchdError | None = None  # why the server turned us away

    async def _read(self, purpose: str, timeout: float) -> bytes:  # noqa: ASYNC109
        """What has come; `purpose` is for the sentence if nothing does."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        data = await self.stream.read(timeout, purpose)
        if not data:
            raise ConnectionFailed(f"{self.stream.where} hung up while we waited for {purpose}")
        waited = clock() - begun
        self.received += len(data)
        self.waited += waited
        self._pace.note(waited, len(data))
        return data

    def _check_pace(self, purpose: str) -> None:
        if self._pace.too_slow:
            raise ConnectionFailed(
                f"{self.stream.where} is too slow: less than {MIN_RATE} octets a second "
                f"while we waited for {purpose}"
            )

    @contextmanager
    def _greeting_expected(self) -> Iterator[None]:
        try:
            yield
        except ConnectionFailed as error:
            if not self.stream.tls and self.stream.tunnel is None:
                error.advice = 'Check host and port; is it the port for tls = "implicit"?'
            raise

    def _note(self, direction: str, line: str) -> None:
        if self._transcript is not None:
            self._transcript(direction, line)


class Turns:
    """Our part of one authentication, whatever protocol carries it."""

    def __init__(self, name: str, mechanism: Mechanism) -> None:
        self._name, self._mechanism = name, mechanism
        self._first = mechanism.initial()
        self._taken = 0

    def inline(self, room: int | None = None) -> bytes | None:
        """The first response in base64, to go with the command, if it may and there is room.

        None also where the server speaks first; an empty response is empty here.
        """
        if self._first is None or not self._mechanism.inline:
            return None
        encoded = base64.b64encode(self._first)
        if room is not None and len(encoded) > room:
            return None
        self._first = None
        return encoded

    async def answer(self, challenge: bytes) -> bytes:
        """The next response in base64; a challenge in plain words is taken as it is."""
        self._taken += 1
        if self._taken > MAX_TURNS:
            raise RemoteProtocolError(f"{self._name} does not come to an end")
        if self._first is not None:
            response, self._first = self._first, None
        else:  # in a thread, since SCRAM computes for long
            response = await asyncio.to_thread(self._respond, challenge)
        return base64.b64encode(response)

    def end(self, *, ok: bool) -> None:
        """The server has decided; RemoteProtocolError if it let us in without its own proof."""
        if ok and not self._mechanism.finished:
            raise RemoteProtocolError("the server did not prove its identity")

    def _respond(self, challenge: bytes) -> bytes:
        try:
            raw = base64.b64decode(challenge, validate=True)
        except ValueError:
            raw = challenge  # `+ Username:` in plain words, which LOGIN need not understand
        return self._mechanism.respond(raw)
