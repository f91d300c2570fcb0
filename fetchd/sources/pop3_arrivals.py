"""Pairs the events of a flight of RETRs with the messages that were asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from fetchd.clients.pop3 import Ask
from fetchd.clients.refusals import refusal
from fetchd.contracts import Fetched, Unavailable
from fetchd.policy.plan import RemoteMessage
from fetchd.protocol.pop3 import BodyChunk, BodyEnd, Event, Reply
from fetchd.sources.incoming import REFUSALS, Sizes


class Arrivals:
    """What a flight of RETRs brings, in the order asked."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._waiting: deque[RemoteMessage] = deque()
        self._body = sizes.new_body()
        self._refusals = 0  # in a row

    def asks(
        self, messages: Iterable[RemoteMessage], number: Callable[[RemoteMessage], int]
    ) -> Iterator[Ask]:
        """The commands, one for each message that is wanted."""
        for message in messages:
            self._waiting.append(message)
            if self._sizes.unwanted(message) is None:
                yield ("RETR", b"%d" % number(message), message.size)

    def take(self, event: Event) -> Iterator[Fetched | Unavailable]:
        """What this event completes."""
        yield from self.skipped()
        match event:
            case Reply(ok=False, text=text):
                self._refusals += 1
                if self._refusals >= REFUSALS:
                    raise refusal(text, f"the server refuses {REFUSALS} messages in a row")
                yield Unavailable(self._waiting.popleft(), text or "refused without a word")
            case BodyChunk(data):
                self._body.add(data)
            case BodyEnd():
                self._refusals = 0
                body, self._body = self._body, self._sizes.new_body()
                yield self._sizes.received(self._waiting.popleft(), body)

    def skipped(self) -> Iterator[Unavailable]:
        """Those next in order that were not asked for."""
        while self._waiting and (unwanted := self._sizes.unwanted(self._waiting[0])):
            self._waiting.popleft()
            yield unwanted

    def discard(self) -> None:
        """Forget a body that was not finished."""
        self._body.discard()
