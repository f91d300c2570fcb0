"""Transcripts, played whole and in pieces, must give the same events.

`S:` is what the server says, `C:` what the client must say, `E:` an event that
must have come by then; `\\xHH` escapes an octet. The first line says what is shown.
"""

from pathlib import Path

import pytest

from fetchd.protocol.pop3 import (
    RULES,
    BodyChunk,
    BodyEnd,
    Continuation,
    Event,
    Farewell,
    Greeting,
    Pop3Protocol,
    Reply,
    Shape,
)

FOLDER = Path(__file__).parents[1] / "transcripts" / "pop3"


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 1 << 16])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_a_transcript_gives_its_events_in_any_cutting(path: Path, piece: int) -> None:
    protocol = Pop3Protocol()
    events: list[Event] = []
    said, expected = b"", []
    for who, line in turns(path):
        if who == "S":
            said += octets(line)
            continue
        for start in range(0, len(said), piece):
            events += protocol.receive(said[start : start + piece])
        said = b""
        if who == "E":
            expected.append(line)
            continue
        assert shown(events) == expected
        assert speak(protocol, octets(line)) == octets(line)
    assert shown(events) == expected
    assert expected


def turns(path: Path) -> list[tuple[str, str]]:
    """Who, and what; the line's own end is not part of it."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    return [(line[0], line[3:]) for line in lines[1:]]


def octets(line: str) -> bytes:
    return line.encode().decode("unicode_escape").encode("latin-1") + b"\r\n"


def speak(protocol: Pop3Protocol, line: bytes) -> bytes:
    verb, _, argument = line.strip(b"\r\n").partition(b" ")
    if protocol.pending and protocol.pending[0].verb == "AUTH":
        return protocol.respond(verb)
    return protocol.send(verb.decode(), argument)


def shown(events: list[Event]) -> list[str]:
    """One line for each event, the chunks of one body joined."""
    lines: list[str] = []
    body = b""
    for event in events:
        match event:
            case BodyChunk(data):
                body += data
                continue
            case Greeting(text):
                lines.append(f"greeting {text}")
            case Farewell(text):
                lines.append(f"farewell {text}")
            case Continuation(challenge):
                lines.append(f"challenge {challenge!r}")
            case Reply(command, True, _, block) if RULES[command.verb].shape is Shape.BLOCK:
                lines.append(f"block {command.verb} {block!r}")
            case Reply(command, ok, text):
                lines.append(f"{'ok' if ok else 'err'} {command.verb} {text}")
            case BodyEnd(command):
                lines += [f"body {body!r}"] if body else []
                lines.append(f"end {command!r}")
                body = b""
    return [line.rstrip() for line in lines]
