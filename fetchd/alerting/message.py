"""What a channel is given: one message about any number of troubles, in words and as values."""

import hashlib
import socket
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from fetchd.alerting.words import Clock, lasted, titled
from fetchd.catalog.alerts import Alert
from fetchd.catalog.telling import Event, Owed
from fetchd.telemetry import printable, redact
from fetchd.values import Struct

LONGEST_SUBJECT = 160  # characters
LONGEST_WORDS = 2000  # of what a server said, too
TOLD_IN_FULL = 50  # troubles of one message; of the others only how many they are

_LAST_LINE = "'fetchd alerts' shows what lasts; 'fetchd alerts dismiss ID' says no more of one."


class About(StrEnum):
    """What a message is about."""

    RAISED = "raised"
    OVER = "over"
    BOTH = "raised and over"
    DIGEST = "digest"
    TEST = "test"


class Message(Struct, frozen=True):
    """One message. `key` is the same whenever the same is told, so that a copy can be known."""

    about: About
    subject: str
    text: str
    at: datetime
    key: str
    raised: tuple[Alert, ...] = ()
    over: tuple[Alert, ...] = ()


def here() -> str:
    """This machine's name, since one person may run several."""
    return socket.gethostname() or "localhost"


def plain(about: About, subject: str, lines: Iterable[str], at: datetime, key: str) -> Message:
    """A message that is about no trouble in particular."""
    return Message(about, _subject(subject), _text(lines), at, _key(about, key))


def of_alerts(owed: Sequence[Owed], at: datetime, clock: Clock) -> Message:
    """All that is owed, as one message."""
    raised = tuple(one.alert for one in owed if one.event is Event.RAISED)
    over = tuple(one.alert for one in owed if one.event is Event.OVER)
    about = About.BOTH if raised and over else About.RAISED if raised else About.OVER
    lines = [f"fetchd on {here()} says:", ""]
    for number, one in enumerate([*raised, *over]):
        if number < TOLD_IN_FULL:
            lines += [*_told(one, clock), ""]
    if (left := len(owed) - TOLD_IN_FULL) > 0:
        lines += [f"And {left} more.", ""]
    # Ids alone would repeat after the catalog was made anew.
    key = [f"{o.alert.id} {o.event} {o.alert.raised_at.isoformat()}" for o in owed]
    return Message(
        about, _subject(_summary(raised, over)), _text([*lines, _LAST_LINE]), at,
        _key(about, *sorted(key)), raised, over,
    )  # fmt: skip


def _summary(raised: Sequence[Alert], over: Sequence[Alert]) -> str:
    """The subject without its beginning."""
    if len(raised) == 1 and not over:
        return titled(raised[0])
    if len(over) == 1 and not raised:
        return f"over: {titled(over[0])}"
    parts = [f"{len(raised)} trouble{'s' if len(raised) > 1 else ''}"] if raised else []
    parts += [f"{len(over)} over"] if over else []
    return ", ".join(parts)


def _told(one: Alert, clock: Clock) -> list[str]:
    """A few lines about one trouble."""
    if one.over_at is not None:
        span = f"from {clock.instant(one.raised_at)} to {clock.instant(one.over_at)}"
        how_long = lasted(one.over_at - one.raised_at)
        return [f"OVER: {titled(one)}", f"  It lasted {how_long}, {span}."]
    times = f", {one.times} times" if one.times > 1 else ""
    words = [f"  {said[:LONGEST_WORDS]}" for said in (one.sentence, one.advice) if said]
    return [titled(one), f"  Since {clock.instant(one.raised_at)}{times}.", *words]


def _subject(text: str) -> str:
    """One line for a header, whatever servers and mailboxes are called."""
    line = printable(redact(f"fetchd: {text}"))
    return line if len(line) <= LONGEST_SUBJECT else line[: LONGEST_SUBJECT - 3] + "..."


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{printable(redact(line))}\n" for line in lines)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join((here(), *parts)).encode()).hexdigest()[:32]
