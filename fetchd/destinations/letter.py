"""What is sent of a message, by SMTP and LMTP: the message itself or a new one around it.

    redirect    the original, its octets untouched, below a block of ours (RFC 5322 §3.6.6):
                X-Fetchd-Trace, Resent-Date, Resent-From, Resent-To, Resent-Message-ID
    LMTP        the same below the trace field alone, for it is delivered and not sent on
    attach      a new message of the owner's with the original inside (`letter_attach`)

What stays behind of the original's header `letter_head` says; where nothing does, the
octets below the block are those of the archive. A message that begins with no header
field has all of itself as its body: an empty line below the block says so, as servers and
readers would by themselves, and nothing of it continues a field of ours. Lines of more
than 998 octets go as they are: servers take them, and whoever folds breaks signatures.

What SMTP cannot carry as it is becomes a file in an attached message, or waits, as the
owner chose; NUL leaves no choice. 8-bit octets in a header count as 8-bit content and no
more: by RFC 6531 they would need SMTPUTF8 of every server on the way, which few have, and
which none insists on. It is asked for where an address in the envelope or in our own
fields is not ASCII.

The same delivery gives the same octets at each attempt, and the same Message-ID (as
Resent-Message-ID, or of the new message): whoever gets it twice can tell. Only the day in
a sender that SRS rewrote moves on.
"""

from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime

from fetchd.contracts import Outgoing
from fetchd.destinations.letter_attach import Base64, Cover, attached, listed
from fetchd.destinations.letter_envelope import Fields, envelope_sender, own_address
from fetchd.destinations.letter_head import (
    Edited,
    header_in,
    lacks_field,
    signs_absent,
    stripped,
    without_hidden,
)
from fetchd.destinations.letter_octets import (
    CRLF,
    Content,
    Octets,
    canonical,
    exact,
    examined,
    inside,
    whole,
)
from fetchd.errors import DeliveryDeferred, DeliveryRefused
from fetchd.message import HEADER_LIMIT, envelope_fields
from fetchd.policy.loops import Trace, loop, mark, traces
from fetchd.settings import LmtpDestination, SmtpDestination
from fetchd.values import Struct

Target = SmtpDestination | LmtpDestination

_WHERE = "Find out to whom its recipients send it on; if it only came far, raise max_received."
_RESENT = (b"resent-date", b"resent-from", b"resent-to", b"resent-message-id")


class Receiver(Struct, frozen=True):
    """What the server offers: 8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531)."""

    eight_bit: bool
    utf8: bool


class Letter(Struct, frozen=True):
    """A message made ready. `sender` "" is the null sender; `size` is that of `pieces`.

    `eight_bit`: it has octets above 127, or had them in a field that stayed behind.
    `utf8`: it needs SMTPUTF8.
    """

    sender: str
    size: int
    eight_bit: bool
    utf8: bool
    parts: tuple[bytes | Edited | Base64, ...]

    def pieces(self) -> Iterator[bytes]:
        """CR and LF only as CRLF, which is at the end; not dot-stuffed.

        As often as wanted, the same each time; blocking when the body is in a file.
        """
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.pieces()


class _Original(Struct, frozen=True):
    """What is known of the message: its octets in the form that is sent, and its header."""

    octets: Octets
    content: Content
    header: bytes  # as it is in these octets
    legible: bytes  # its beginning, with lines that end in CRLF
    fields: Fields


class _Parties(Struct, frozen=True):
    """Addresses as they go on the wire: who sends it on, and to whom."""

    author: str
    recipients: tuple[str, ...]


def compose(
    item: Outgoing,
    settings: Target,
    instance: str,
    receiver: Receiver,
    now: datetime,
    *,
    srs_secret: str = "",
) -> Letter:
    """The message for this destination, as the server there can take it. Blocking.

    DeliveryRefused: it goes round in circles, or no server would take it. DeliveryDeferred:
    the owner wants it to wait until this server can, or it cannot be read now.
    """
    try:
        return _composed(item, settings, instance, receiver, now, srs_secret)
    except OSError as error:
        told = f"The message cannot be read: {error.strerror}."
        advice = "See that the folder for temporary files is there and has room."
        raise DeliveryDeferred(told, advice=advice) from None


def _composed(
    item: Outgoing,
    settings: Target,
    instance: str,
    receiver: Receiver,
    now: datetime,
    srs_secret: str,
) -> Letter:
    content = examined(item.body)
    as_file = _why_a_file(content, settings, receiver)
    attach = bool(as_file) or (isinstance(settings, SmtpDestination) and settings.mode == "attach")
    original = _read(item, content, attach=attach, as_file=bool(as_file))
    trace = mark(instance, settings.name, item.key)
    if why := loop(original.legible, trace, settings.max_received):
        told = f"This message is not sent, because {why}."
        raise DeliveryRefused(told, advice=_WHERE)
    utf8 = receiver.utf8 and receiver.eight_bit  # RFC 6531 §3.1: there is none without the other
    sender = envelope_sender(original.fields, settings, utf8=utf8, srs_secret=srs_secret, now=now)
    parties = _parties(settings, utf8=utf8)
    parts: tuple[bytes | Edited | Base64, ...] = (
        _attached(item, original, parties, trace, as_file)
        if attach
        else _redirected(item, original, settings, parties, trace)
    )
    return Letter(
        sender=sender,
        size=sum(len(part) if isinstance(part, bytes) else part.size for part in parts),
        eight_bit=(content.eight_bit and not as_file)
        or not all(part.isascii() for part in parts if isinstance(part, bytes)),
        utf8=not all(each.isascii() for each in (sender, parties.author, *parties.recipients)),
        parts=parts,
    )


def _why_a_file(content: Content, settings: Target, receiver: Receiver) -> str:
    """Why the original cannot go as text, "" where it can; DeliveryDeferred where it shall wait."""
    if content.nul:
        return "it holds NUL characters, which mail servers do not carry"
    if content.eight_bit and not receiver.eight_bit:
        if settings.eight_bit == "defer":
            told = "The message has 8-bit octets, and the server does not offer 8BITMIME."
            raise DeliveryDeferred(told, advice='Use another server, or set eight_bit = "attach".')
        return "the mail server takes nothing but 7-bit text"
    if content.bare and settings.bare_newlines == "attach":
        return "it has line ends that mail servers do not carry"
    if content.bare and settings.bare_newlines == "defer":
        told = "The message has a bare CR or LF, which mail servers do not carry."
        raise DeliveryDeferred(told, advice='Set bare_newlines = "convert" or "attach".')
    return ""


def _read(item: Outgoing, content: Content, *, attach: bool, as_file: bool) -> _Original:
    form = whole(item.body, content)
    if attach:
        form = exact(item.body) if as_file else inside(item.body, content)
    header = header_in(form)
    legible = header[:HEADER_LIMIT]
    if content.bare:
        legible = b"".join(canonical((legible,)))
    return _Original(form, content, header, legible, envelope_fields(legible))


def _parties(settings: Target, *, utf8: bool) -> _Parties:
    recipients = tuple(own_address(each, utf8=utf8) for each in settings.recipients)
    author = own_address(settings.address, utf8=utf8) if settings.address else recipients[0]
    return _Parties(author if "@" in author else f"{author}@localhost", recipients)


def _redirected(
    item: Outgoing, original: _Original, settings: Target, parties: _Parties, trace: Trace
) -> tuple[bytes, Edited]:
    header = stripped(original.header, (*settings.recipients, *parties.recipients))
    block = [trace.field()]
    if isinstance(settings, SmtpDestination) and not signs_absent(header, _RESENT):
        block += _resent(item, parties, trace)
    # Where an empty line follows anyway, there is none to add.
    separator = CRLF if lacks_field(header) else b""
    top = CRLF.join(block) + CRLF + separator
    return top, Edited(header, len(original.header), original.octets)


def _resent(item: Outgoing, parties: _Parties, trace: Trace) -> Iterator[bytes]:
    yield f"Resent-Date: {format_datetime(item.queued_at)}".encode("ascii")
    yield f"Resent-From: {parties.author}".encode()
    yield f"Resent-To: {listed(parties.recipients)}".encode()
    yield f"Resent-Message-ID: {_message_id(parties, trace)}".encode("ascii")


def _attached(
    item: Outgoing, original: _Original, parties: _Parties, trace: Trace, as_file: str
) -> tuple[bytes, Edited | Base64, bytes]:
    header = without_hidden(original.header)
    return attached(
        Edited(header, len(original.header), original.octets),
        original.fields,
        Cover(
            trace=trace,
            past=traces(original.legible),
            author=parties.author,
            recipients=parties.recipients,
            message_id=_message_id(parties, trace),
            at=item.queued_at,
        ),
        eight_bit=original.content.eight_bit,
        as_file=as_file,
    )


def _message_id(parties: _Parties, trace: Trace) -> str:
    """One for each delivery: what goes to two destinations is two messages."""
    return f"<{trace.id}.{trace.to}@{parties.author.rpartition('@')[2]}>"
