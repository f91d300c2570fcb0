"""What a destination sends of a message, for tests."""

from datetime import UTC, datetime
from pathlib import Path

from fetchd.destinations.letter import Letter, Receiver, compose
from fetchd.settings import LmtpDestination, SmtpDestination
from tests.destinations.outgoing import outgoing

NOW = datetime(2026, 11, 2, 13, tzinfo=UTC)
EVERYTHING = Receiver(eight_bit=True, utf8=True)
EIGHT_BIT = Receiver(eight_bit=True, utf8=False)
SEVEN_BIT = Receiver(eight_bit=False, utf8=False)
TRACE = b"X-Fetchd-Trace: home; to=ca8b22d0db83; id=key-1\r\n"
BLOCK = TRACE + (
    b"Resent-Date: Mon, 02 Nov 2026 12:00:00 +0000\r\n"
    b"Resent-From: me@example.org\r\n"
    b"Resent-To: me@example.org\r\n"
    b"Resent-Message-ID: <key-1.ca8b22d0db83@example.org>\r\n"
)


def smtp(**changes: object) -> SmtpDestination:
    table = {"kind": "smtp", "host": "mx.example.org", "recipients": ["me@example.org"]}
    return named(SmtpDestination.model_validate(table | changes))


def lmtp(**changes: object) -> LmtpDestination:
    table = {"kind": "lmtp", "recipients": ["me@example.org"]}
    return named(LmtpDestination.model_validate(table | changes))


def named(settings):
    settings._name = "team"
    return settings


def letter(
    message: bytes | Path,
    settings: SmtpDestination | LmtpDestination | None = None,
    receiver: Receiver = EVERYTHING,
    *,
    key: str | None = None,
    srs_secret: str = "",
) -> Letter:
    if isinstance(message, Path):
        item = outgoing(1, b"", path=message, key=key)
    else:
        item = outgoing(1, message, key=key)
    return compose(item, settings or smtp(), "home", receiver, NOW, srs_secret=srs_secret)


def sent(*args, **kwargs) -> bytes:
    """The octets, when they are what a Letter promises."""
    composed = letter(*args, **kwargs)
    octets = b"".join(composed.pieces())
    assert octets == b"".join(composed.pieces()), "not the same a second time"
    assert len(octets) == composed.size
    assert is_canonical(octets)
    assert composed.eight_bit or octets.isascii()
    return octets


def is_canonical(octets: bytes) -> bool:
    counts = {octets.count(end) for end in (b"\r", b"\n", b"\r\n")}
    return len(counts) == 1 and octets.endswith(b"\r\n")
