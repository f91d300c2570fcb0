"""Transcripts of seven servers: any cutting, fast path or general one, gives the same events."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.imap import session
from fetchd.protocol.imap.types import Quirk
from tests.protocol.imap.playing import TRANSCRIPTS, declared_quirks, longest_turn, play

EACH = pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)


def pieces(size: int) -> Callable[[bytes], Iterator[bytes]]:
    return lambda said: (said[at : at + size] for at in range(0, len(said), size))


@EACH
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1 << 16])
def test_a_transcript_gives_its_events_in_any_cutting(path: Path, size: int) -> None:
    sins = declared_quirks(path)
    protocol = play(path, pieces(size), strict=not sins)
    assert set(protocol.quirks) == sins


@EACH
def test_a_transcript_gives_its_events_cut_at_every_octet(path: Path) -> None:
    for at in range(1, longest_turn(path)):
        play(path, lambda said, at=at: filter(None, (said[:at], said[at:])), strict=False)


@EACH
def test_the_general_way_gives_the_same_events_as_the_fast_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "read_fast", lambda _data, position, _max_body, _events: position)
    assert set(play(path, pieces(1 << 16), strict=False).quirks) == declared_quirks(path)


@EACH
def test_strictness_refuses_what_is_a_quirk(path: Path) -> None:
    if declared_quirks(path):
        with pytest.raises((RemoteProtocolError, AssertionError)):
            play(path, pieces(1 << 16), strict=True)


def test_every_quirk_is_shown_by_a_transcript() -> None:
    assert {quirk for path in TRANSCRIPTS for quirk in declared_quirks(path)} == set(Quirk)
