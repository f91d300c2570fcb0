"""Mail to test and measure with: seeded, so that every run sees the same octets.

    small(2000)        3 KB each, plain text
    realistic(5000)    about 200 MB: sizes spread log-normally from 1 KB to a 5 MB
                       attachment, and every shape of `SHAPES` among them
    large(10)          30 MB each, one attachment
    tiny(100_000)      for listings only

Every message is bytes with CRLF and differs from every other in more than its
trace headers. Attachments are base64 of fresh random octets and texts are drawn
from a vocabulary by Zipf's law, so that they compress as mail does and nothing
long is repeated between messages.

To add a kind of odd mail, write a function (rng, number) -> bytes and put it in
SHAPES. What a server makes of it is the server's business: see `Dovecot.served`.
"""

import binascii
import math
import random
from collections.abc import Callable, Iterator
from itertools import accumulate, cycle

LARGEST_ATTACHMENT = 5_000_000  # octets as attached; a third more on the wire
MEDIAN, SPREAD = 6_000, 1.9  # of the log-normal sizes, before scaling to the total
SHAPE_EVERY = 12  # one message in twelve is odd
BASE64_LINE = 76
EPOCH_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
VOCABULARY_SIZE = 4_000


def small(count: int = 2_000, *, size: int = 3_000, seed: int = 1) -> list[bytes]:
    """Plain texts of about `size` octets."""
    rng = random.Random(seed)
    return [plain(rng, number, size) for number in range(count)]


def realistic(count: int = 5_000, *, total: int = 200_000_000, seed: int = 2) -> list[bytes]:
    """A mailbox as people have them: mostly small, most octets in few attachments."""
    rng = random.Random(seed)
    shapes = cycle(SHAPES)
    sizes = iter(spread_sizes(rng, count - -(-count // SHAPE_EVERY), total))
    return [
        next(shapes)(rng, number)
        if number % SHAPE_EVERY == 0
        else ordinary(rng, number, next(sizes))
        for number in range(count)
    ]


def large(count: int = 10, *, size: int = 30_000_000, seed: int = 3) -> list[bytes]:
    """One attachment each; `size` is the whole message on the wire."""
    rng = random.Random(seed)
    return [with_attachment(rng, number, size) for number in range(count)]


def tiny(count: int = 100_000, *, seed: int = 4) -> Iterator[bytes]:
    """The least that is a message."""
    for number in range(count):
        yield b"Message-ID: <%d.%d@tiny.example>\r\n\r\n%d\r\n" % (number, seed, number)


def spread_sizes(rng: random.Random, count: int, total: int) -> list[int]:
    """Log-normal sizes, the largest an attachment of 5 MB, their sum near `total`."""
    largest = base64_size(LARGEST_ATTACHMENT)
    if total < 2 * largest:  # too small a mailbox for one: keep the proportion
        largest = total // 10
    drawn = [MEDIAN * math.exp(rng.gauss(0, SPREAD)) for _ in range(count)]
    drawn[count // 2] = math.inf
    scale = 1.0
    for _ in range(30):  # each round halves the error that capping makes, or better
        scale *= total / sum(min(one * scale, largest) for one in drawn)
    return [max(900, int(min(one * scale, largest))) for one in drawn]


# -- Ordinary mail ---------------------------------------------------------------


def ordinary(rng: random.Random, number: int, size: int) -> bytes:
    """What a mailbox is full of: texts, HTML newsletters, attachments."""
    if size < 20_000 or (size < 150_000 and rng.random() < 0.3):
        return plain(rng, number, size) if rng.random() < 0.6 else html(rng, number, size)
    return with_attachment(rng, number, size)


def plain(rng: random.Random, number: int, size: int) -> bytes:
    """One text part."""
    head = headers(rng, number)
    return head + b"\r\n" + text(rng, size - len(head))


def html(rng: random.Random, number: int, size: int) -> bytes:
    """A newsletter: HTML whose markup repeats."""
    head = headers(rng, number, b'text/html; charset="utf-8"')
    rows = (
        b'<tr><td style="padding:0 12px;font-family:sans-serif">%s</td></tr>\r\n' % line
        for line in text(rng, int((size - len(head)) * 0.55)).split(b"\r\n")
    )
    return head + b"\r\n<html><body><table>\r\n" + b"".join(rows) + b"</table></body></html>\r\n"


def with_attachment(rng: random.Random, number: int, size: int) -> bytes:
    """A short text and a base64 attachment that fills the message up to `size`."""
    boundary = b"=_%032x" % rng.getrandbits(128)
    head = headers(rng, number, b'multipart/mixed; boundary="%s"' % boundary)
    letter = text(rng, min(2_000, size // 10))
    frame = head + (
        b'\r\n--%s\r\nContent-Type: text/plain; charset="utf-8"\r\n\r\n%s'
        b'\r\n--%s\r\nContent-Type: application/pdf; name="report-%d.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" % (boundary, letter, boundary, number)
    )
    end = b"--%s--\r\n" % boundary
    room = max(0, size - len(frame) - len(end)) // (BASE64_LINE + 2) * (BASE64_LINE // 4 * 3)
    return frame + base64_lines(rng.randbytes(room)) + end


def headers(
    rng: random.Random, number: int, content_type: bytes = b'text/plain; charset="utf-8"'
) -> bytes:
    """The head of an ordinary message, without the empty line."""
    received = b"".join(
        b"Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n"
        b"\tby in%d.example.org (Postfix) with ESMTPS id %X\r\n\tfor <me@example.org>; %s\r\n"
        % (hop, hop, rng.randrange(256), hop, rng.getrandbits(44), date(rng))
        for hop in range(rng.randrange(1, 4))
    )
    signature = binascii.b2a_base64(rng.randbytes(128), newline=False)
    return (
        b"Return-Path: <%s@example.net>\r\n%sDKIM-Signature: v=1; a=rsa-sha256; d=example.net;"
        b"\r\n\ts=s1; h=from:to:subject:date; b=%s\r\nMessage-ID: %s\r\nDate: %s\r\n"
        b"From: %s <%s@example.net>\r\nTo: me@example.org\r\nSubject: %s\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: %s\r\n"
        % (
            word(rng), received, signature, message_id(rng, number), date(rng),
            word(rng).title(), word(rng), subject(rng), content_type,
        )
    )  # fmt: skip


def brief(rng: random.Random, *extra: bytes, subject_line: bytes | None = None) -> bytes:
    """A short head, with further header lines, for mail that is odd elsewhere."""
    lines = [
        b"From: %s@example.net" % word(rng),
        b"To: me@example.org",
        b"Date: " + date(rng),
        b"Subject: " + (subject(rng) if subject_line is None else subject_line),
        *extra,
    ]
    return b"".join(line + b"\r\n" for line in lines)


# -- Odd mail ----------------------------------------------------------------------


def eight_bit(rng: random.Random, number: int) -> bytes:
    """Latin-1 and UTF-8 raw in one body."""
    head = headers(rng, number) + b"Content-Transfer-Encoding: 8bit\r\n\r\n"
    return head + "Grüße aus Köln, naïve café\r\n".encode("latin-1") + "日本語 ✓\r\n".encode()


def every_octet(rng: random.Random, number: int) -> bytes:
    """All octets except NUL, CR and LF, in an order of their own."""
    octets = [octet for octet in range(1, 256) if octet not in b"\r\n"]
    rng.shuffle(octets)
    return headers(rng, number) + b"\r\n" + bytes(octets) + b"\r\n"


def with_nul(rng: random.Random, number: int) -> bytes:
    """NUL alone, in a row, and at both ends of a line."""
    body = b"\r\na\0b\r\n\0\0\0\r\n\0start\r\nend\0\r\n"
    return headers(rng, number) + body + text(rng, 300)


def dot_lines(rng: random.Random, number: int) -> bytes:
    """What byte-stuffing is for (RFC 1939 §3), the last line too."""
    body = b"\r\n.\r\n..\r\n...\r\n.hidden\r\n. \r\nend.\r\n.\r\n\r\n.\r\n"
    return headers(rng, number) + body + b"%d\r\n.\r\n" % number


def long_lines(rng: random.Random, number: int) -> bytes:
    """Lines of 2,000 and of 20,000 octets: RFC 5322 allows 998."""
    lines = [rng.randbytes(size // 2).hex().encode() for size in (2_000, 20_000)]
    return headers(rng, number) + b"\r\n" + b"\r\n".join(lines) + b"\r\n"


def no_final_newline(rng: random.Random, number: int) -> bytes:
    """The last line is not ended; a server ends it."""
    return headers(rng, number) + b"\r\nthe end of %d, without an end" % number


def no_message_id(rng: random.Random, _number: int) -> bytes:
    """Nothing that names it."""
    return brief(rng) + b"\r\n" + text(rng, 500)


def gb18030_subject(rng: random.Random, number: int) -> bytes:
    """Raw GB18030 beside an encoded word of the same."""
    raw = f"会议通知 第{number}号 㐀".encode("gb18030")
    encoded = b"=?gb18030?B?%s?=" % binascii.b2a_base64(raw, newline=False)
    return brief(rng, b"X-Subject: " + encoded, subject_line=raw) + b"\r\n" + text(rng, 200)


def iso2022jp_subject(rng: random.Random, number: int) -> bytes:
    """Raw ISO-2022-JP: escape sequences in a header line."""
    raw = f"会議のお知らせ {number}".encode("iso2022_jp")
    encoded = b"=?ISO-2022-JP?B?%s?=" % binascii.b2a_base64(raw, newline=False)
    body = "こんにちは\r\n".encode("iso2022_jp")
    return brief(rng, b"X-Subject: " + encoded, subject_line=raw) + b"\r\n" + body


def eight_bit_headers(rng: random.Random, number: int) -> bytes:
    """Latin-1 in From and in a header's name, where only ASCII may stand."""
    extra = f"X-Größe: {number}\r\nReply-To: Jörg <j@example.net>".encode("latin-1")
    return brief(rng, extra) + b"\r\n" + text(rng, 200)


def empty_body(rng: random.Random, number: int) -> bytes:
    """A head, the empty line, nothing."""
    return headers(rng, number) + b"\r\n"


def header_only(rng: random.Random, number: int) -> bytes:
    """Not even the empty line."""
    return headers(rng, number)


def no_header(rng: random.Random, number: int) -> bytes:
    """The empty line comes first."""
    return b"\r\nno head at all, %d\r\n" % number + text(rng, 200)


def shared_message_id(rng: random.Random, number: int) -> bytes:
    """One Message-ID for many, each with a text of its own."""
    return brief(rng, b"Message-ID: <always-the-same@example.net>") + b"\r\n%d\r\n" % number


def long_header(rng: random.Random, number: int) -> bytes:
    """A folded header of 60 KB and one line of 9,000 octets."""
    references = b"\r\n ".join(message_id(rng, number) for _ in range(1_500))
    line = b"X-Long: " + rng.randbytes(4_500).hex().encode()
    return brief(rng, b"References: " + references, line) + b"\r\n" + text(rng, 200)


def bare_cr(rng: random.Random, number: int) -> bytes:
    """CR without LF: no line end, and no place for a lone dot to end anything."""
    return headers(rng, number) + b"\r\none\rtwo\r\r.\rthree\r\r\nfour %d\r\n" % number


def trailing_blank_lines(rng: random.Random, number: int) -> bytes:
    """Empty lines at the end belong to the message."""
    return headers(rng, number) + b"\r\n%d\r\n\r\n\r\n\r\n" % number


def from_line(rng: random.Random, number: int) -> bytes:
    """Lines that an mbox would have to quote."""
    body = b"\r\nFrom me@example.org Mon Jan  1 00:00:00 2024\r\n>From nobody\r\n%d\r\n" % number
    return headers(rng, number) + body


SHAPES: tuple[Callable[[random.Random, int], bytes], ...] = (
    eight_bit,
    every_octet,
    with_nul,
    dot_lines,
    long_lines,
    no_final_newline,
    no_message_id,
    gb18030_subject,
    iso2022jp_subject,
    eight_bit_headers,
    empty_body,
    header_only,
    no_header,
    shared_message_id,
    long_header,
    bare_cr,
    trailing_blank_lines,
    from_line,
)


# -- Words -------------------------------------------------------------------------


def make_vocabulary() -> tuple[list[bytes], list[float]]:
    """Words of one to five syllables, and their cumulative weights by Zipf's law."""
    rng = random.Random(0)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "en", "or")]
    words: dict[bytes, None] = {}
    while len(words) < VOCABULARY_SIZE:
        length = 1 + min(int(math.log2(len(words) + 1) / 3), 4)
        words["".join(rng.choices(syllables, k=length)).encode()] = None
        if len(words) < 16:
            words[rng.choice(syllables).encode()] = None
    return list(words), list(accumulate(1 / (rank + 3) for rank in range(len(words))))


WORDS, WEIGHTS = make_vocabulary()


def text(rng: random.Random, size: int) -> bytes:
    """Lines of a dozen words, `size` octets in all, the last line ended."""
    if size <= 2:
        return b""
    words = rng.choices(WORDS, cum_weights=WEIGHTS, k=size // 4 + 12)
    lines = (b" ".join(words[at : at + 12]) for at in range(0, len(words), 12))
    return b"\r\n".join(lines)[: size - 2].rstrip(b"\r\n") + b"\r\n"


def word(rng: random.Random) -> bytes:
    """One word, any as likely as another."""
    return rng.choice(WORDS)


def subject(rng: random.Random) -> bytes:
    """A few words and a number that makes it the only one."""
    return b" ".join((*rng.choices(WORDS, k=5), b"%d" % rng.getrandbits(40)))


def date(rng: random.Random) -> bytes:
    """A date of January 2024, RFC 5322 §3.3."""
    day, hour, minute, second = (
        rng.randrange(1, 32), rng.randrange(24), rng.randrange(60), rng.randrange(60)
    )  # fmt: skip
    weekday = EPOCH_DAYS[(day - 1) % 7]  # 1 January 2024 was a Monday
    return f"{weekday}, {day} Jan 2024 {hour:02}:{minute:02}:{second:02} +0000".encode()


def message_id(rng: random.Random, number: int) -> bytes:
    """One of its own."""
    return b"<%x.%d@mail.example.net>" % (rng.getrandbits(80), number)


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76, every line ended."""
    line = binascii.b2a_base64(octets, newline=False)
    starts = range(0, len(line), BASE64_LINE)
    return b"".join(line[at : at + BASE64_LINE] + b"\r\n" for at in starts)


def base64_size(size: int) -> int:
    """What that many octets take on the wire."""
    encoded = (size + 2) // 3 * 4
    return encoded + 2 * -(-encoded // BASE64_LINE)
