"""SMTP transcripts, played whole and in pieces, must give the same events.

Written as those of POP3 (test_transcripts); what follows DATA is left out but for the dot,
and chunks are of as many "x" as their BDAT says. A first line that says LMTP means it.
"""

import re

import pytest

from fetchd.protocol.smtp import Challenge, Command, Event, Farewell, Greeting, SmtpProtocol
from tests.protocol.test_transcripts import FOLDER, octets, turns

PATHS = sorted((FOLDER.parent / "smtp").glob("*.txt"))


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 1 << 16])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_transcript_gives_its_events_in_any_cutting(path, piece: int) -> None:
    protocol = SmtpProtocol(lmtp="LMTP" in path.read_text().splitlines()[0])
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
        else:
            assert [shown(event) for event in events] == expected
            speak(protocol, line)
    assert [shown(event) for event in events] == expected
    assert expected


def test_there_are_transcripts() -> None:
    assert len(PATHS) >= 7


def speak(protocol: SmtpProtocol, line: str) -> None:
    if line == ".":
        protocol.end_data()
        return
    if protocol.pending and protocol.pending[0].verb == "AUTH":
        assert protocol.respond(line.encode()) == octets(line)
        return
    verb, _, argument = line.partition(" ")
    chunk = b"x" * int(argument.split()[0]) if verb == "BDAT" else b""
    found = re.search("<(.*)>", argument) if verb == "RCPT" else None
    command = Command(verb, argument.encode(), chunk, found[1] if found else "")
    assert protocol.send(command) == octets(line) + chunk


def shown(event: Event) -> str:
    match event:
        case Greeting(reply):
            return f"greeting {reply}"
        case Farewell(reply):
            return f"farewell {reply}"
        case Challenge(data):
            return f"challenge {data!r}"
        case _:
            words = (event.command.verb, event.recipient, str(event.reply))
            return " ".join(word for word in words if word)
