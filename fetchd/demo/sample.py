"""Sample mail: what real maildrops hold, the same octets at every run.

Text, HTML with attachments, raw 8-bit, several charsets, lines of dots, very
long lines, no final line end, no Message-ID. No two messages are equal. To add
a kind: a function from a number to octets, and its name in `KINDS`.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

COUNT = 200
_FIRST = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def messages(count: int = COUNT) -> tuple[bytes, ...]:
    """The sample, each message with CRLF line ends."""
    return tuple(KINDS[number % len(KINDS)](number) for number in range(count))


def plain(number: int) -> bytes:
    return _head(number, f"Minutes of meeting {number}") + _crlf(
        "Hello,\n\nthese are the minutes.\n", *(f"{n}. agreed\n" for n in range(number % 40))
    )


def eight_bit(number: int) -> bytes:
    """UTF-8 as it is, in header and body (RFC 6532, 8BITMIME)."""
    head = _head(number, f"Grüße Nr. {number}", charset="utf-8", encoding="8bit")
    return head + _crlf("Schöne Grüße aus Köln — €5, 你好, привет.\n" * (1 + number % 5))


def encoded_words(number: int) -> bytes:
    """A subject in ISO-2022-JP or GB18030, and a body in the same charset."""
    charset, text = ("iso-2022-jp", "今日の会議") if number % 2 else ("gb18030", "今天的会议安排")
    subject = Header(f"{text} {number}", charset).encode()
    body = f"{text}\r\n".encode(charset) * 3
    return _head(number, subject, charset=charset, encoding="8bit") + body


def attachment(number: int) -> bytes:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "Ada Example <ada@example.org>"
    mail["To"] = "me@example.org"
    mail["Date"] = format_datetime(_date(number))
    mail["Message-ID"] = f"<sample-{number}@example.org>"
    mail["Subject"] = f"Photograph {number}"
    mail.set_content("See the photograph.\n")
    mail.add_alternative("<p>See the <b>photograph</b>.</p>\n", subtype="html")
    mail.add_attachment(
        _noise(number, 2_000 + number * 300),
        maintype="image",
        subtype="jpeg",
        filename=f"photo-{number}.jpg",
    )
    # The package's boundaries are random; ours are not.
    mail.set_boundary(f"=outer-{number}=")
    for part in mail.iter_parts():
        if part.is_multipart():
            part.set_boundary(f"=inner-{number}=")
    return mail.as_bytes()


def dots(number: int) -> bytes:
    """Lines that RFC 1939 §3 stuffs."""
    lines = (".\n", "..\n", ".hidden\n", "...three\n", "end.\n", "\n")
    return _head(number, f"Dots {number}") + _crlf(*(lines[number % 3 :] + lines))


def long_line(number: int) -> bytes:
    """A line beyond what RFC 5322 §2.1.1 allows."""
    return _head(number, f"Log {number}") + _crlf("x" * (2_000 + number), "\nshort\n")


def unfinished(number: int) -> bytes:
    """Ends without a line end; over POP3 it arrives with one."""
    return _head(number, f"Cut off {number}") + b"the last line has no end"


def no_message_id(number: int) -> bytes:
    return b"From: <>\r\nSubject: undelivered %d\r\n\r\nReturned.\r\n" % number


KINDS: tuple[Callable[[int], bytes], ...] = (
    plain,
    eight_bit,
    encoded_words,
    attachment,
    dots,
    plain,
    long_line,
    unfinished,
    no_message_id,
    plain,
)


def _head(number: int, subject: str, charset: str = "us-ascii", encoding: str = "7bit") -> bytes:
    return _crlf(
        "Received: from mail.example.org by pop.example.org;\n",
        f"\t{format_datetime(_date(number))}\n",
        "From: Ada Example <ada@example.org>\n",
        "To: me@example.org\n",
        f"Date: {format_datetime(_date(number))}\n",
        f"Message-ID: <sample-{number}@example.org>\n",
        f"Subject: {subject}\n",
        "MIME-Version: 1.0\n",
        f"Content-Type: text/plain; charset={charset}\n",
        f"Content-Transfer-Encoding: {encoding}\n",
        "\n",
    )


def _date(number: int) -> datetime:
    return _FIRST + timedelta(hours=7 * number)


def _crlf(*lines: str) -> bytes:
    return "".join(lines).replace("\n", "\r\n").encode()


def _noise(number: int, size: int) -> bytes:
    """Octets that do not compress, from the number alone."""
    seed = str(number).encode()
    blocks = (hashlib.sha256(seed + b":%d" % n).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]
