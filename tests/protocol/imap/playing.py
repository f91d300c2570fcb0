"""Transcripts as sessions: what is said, what must be sent, what must have been understood.

`S:` is a line of the server, `s:` octets of it without a line's end, `C:` what the
client must say, `E:` an event that must have come by then; `\\xHH` escapes an octet.
The first line says what is shown; a second one, `# quirks:`, names the sins that
are counted, and without it the transcript is correct and holds in strict mode too.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from fetchd.protocol.imap.events import BodyChunk, Event
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.sequence import UidSet, write_sets
from fetchd.protocol.imap.session import ImapProtocol
from fetchd.protocol.imap.types import NO_EXTRA, Fetched

FOLDER = Path(__file__).parents[2] / "transcripts" / "imap"
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))

Cut = Callable[[bytes], Iterable[bytes]]


def play(path: Path, cut: Cut, *, strict: bool) -> ImapProtocol:
    """The whole session, its octets cut by `cut`; asserts everything but the quirks."""
    protocol = ImapProtocol(strict=strict)
    events: list[Event] = []
    said, expected = b"", list[str]()
    for who, line in turns(path):
        if who in "Ss":
            said += octets(line) + b"\r\n" * (who == "S")
            continue
        for piece in cut(said):
            events += protocol.receive(piece)
        said = b""
        if who == "E":
            expected.append(line)
            continue
        assert shown(events) == expected
        assert speak(protocol, octets(line)) == octets(line) + b"\r\n"
    assert shown(events) == expected
    assert not protocol.pending
    return protocol


def turns(path: Path) -> Iterator[tuple[str, str]]:
    """Who, and what; the line's own end is not part of it."""
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            yield line[0], line[3:]


def declared_quirks(path: Path) -> set[str]:
    mark, _, quirks = path.read_text().splitlines()[1].partition(":")
    return set(quirks.split()) if mark == "# quirks" else set()


def longest_turn(path: Path) -> int:
    """Octets that the server says at most in one go."""
    longest = current = 0
    for who, line in turns(path):
        current = current + len(octets(line)) + 2 if who in "Ss" else 0
        longest = max(longest, current)
    return longest


def octets(line: str) -> bytes:
    return line.encode().decode("unicode_escape").encode("latin-1")


def speak(protocol: ImapProtocol, line: bytes) -> bytes:
    """The octets of what a C: line says, as the engine would send it."""
    if line == b"DONE":
        return protocol.done()
    tag, _, rest = line.partition(b" ")
    if not rest:
        return protocol.respond(tag)
    verb, _, arguments = rest.partition(b" ")
    if verb == b"UID":
        second, _, arguments = arguments.partition(b" ")
        verb += b" " + second
    sent = protocol.send(Command(verb.decode(), (arguments,) if arguments else ()))
    assert protocol.tag.encode() == tag
    return sent


def joined(events: Iterable[Event]) -> list[Event]:
    """The chunks of one body as one."""
    whole: list[Event] = []
    for event in events:
        match event, whole[-1:]:
            case BodyChunk(more), [BodyChunk(before)]:
                whole[-1] = BodyChunk(before + more)
            case _:
                whole.append(event)
    return whole


def shown(events: Iterable[Event]) -> list[str]:
    """One line for each event: its name and the fields that say something."""
    return [_value(event) for event in joined(events)]


def _value(value: Any) -> str:
    match value:
        case Command():
            return repr(value)
        case UidSet():
            return b",".join(write_sets(value)).decode() or "nothing"
        case Enum():
            return str(value)
        case frozenset():
            return "{" + " ".join(sorted(value)) + "}"
        case bytes() | str() | int() | None:
            return repr(value)
        case Fetched() | tuple() if hasattr(value, "_fields"):
            pairs = [(name, getattr(value, name)) for name in value._fields]
        case tuple():
            return "(" + " ".join(map(_value, value)) + ")"
        case _:
            pairs = [(name, getattr(value, name)) for name in type(value).__match_args__]
    told = [
        f"{name}={_value(field)}"
        for name, field in pairs
        if field is not None
        and field not in (frozenset(), NO_EXTRA)
        and not (name == "raw" and (not field or getattr(value, "value", None) is not None))
    ]
    return " ".join([type(value).__name__, *told])
