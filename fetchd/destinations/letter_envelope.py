"""Addresses of a message that is sent on: who sends it, as far as the next server is told.

The envelope sender gets the bounces, and is what SPF is about. Which one it is, the owner
chose (`sender`); but a message that has the null sender itself, a bounce or a receipt,
keeps it whatever was chosen (RFC 5321 §4.5.5): an answer to it could go round for ever.

Every address is validated, those of strangers and of the owner alike, and none of them
holds a control character afterwards. A domain that is not ASCII goes as its A-labels
(RFC 5890); a local part that is not needs SMTPUTF8. Where the server does not offer that,
an address of the owner's is refused, and a stranger's is done without.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from fetchd.errors import DeliveryDeferred, DeliveryRefused
from fetchd.message import Value, addresses
from fetchd.policy.srs import rewrite
from fetchd.settings import LmtpDestination, SmtpDestination
from fetchd.settings.values import address

NULL = ""
LONGEST = 254  # RFC 5321 §4.5.3.1.3, without the angle brackets

Fields = Mapping[str, Sequence[Value]]

# How servers write the null sender into Return-Path: nearly all the first, some by whom
# they call it, qmail for a bounce of a bounce.
_NULLS = frozenset(("<>", "<mailer-daemon>", "mailer-daemon", "<#@[]>"))


def wire_address(text: str) -> str:
    """An address as it goes on the wire, its domain in ASCII; ValueError where it is none."""
    checked = address(text, local=True)
    if checked.isascii() or "@" not in checked:
        return checked
    from email_validator import validate_email  # slow to import

    found = validate_email(
        checked, check_deliverability=False, globally_deliverable=False, allow_quoted_local=True
    )
    return f"{found.local_part}@{found.ascii_domain}"


def own_address(text: str, *, utf8: bool) -> str:
    """An address of the settings; `utf8`: the server takes one that is not ASCII."""
    try:
        found = wire_address(text)
    except ValueError as error:
        told = f"{text!a} cannot be written to: it is no address."
        raise DeliveryRefused(told, advice=f"Write {error} into the settings.") from None
    if not utf8 and not found.isascii():
        told = f"The server does not offer SMTPUTF8, without which {found} cannot be named to it."
        raise DeliveryRefused(told, advice="Use an address with an ASCII local part.")
    return found


def envelope_sender(
    fields: Fields,
    settings: SmtpDestination | LmtpDestination,
    *,
    utf8: bool,
    srs_secret: str,
    now: datetime,
) -> str:
    """Who gets the bounces; "" is the null sender. `fields` are those of the original."""
    if settings.sender == "null" or has_null_sender(fields):
        return NULL
    if settings.sender == "original":
        original = original_sender(
            fields, utf8=utf8, sent_out=isinstance(settings, SmtpDestination)
        )
        return _rewritten(original, settings, srs_secret, now)
    chosen = settings.sender
    if chosen == "address":
        chosen = settings.address or settings.recipients[0]
    sender = own_address(chosen, utf8=utf8)
    return sender if "@" in sender else NULL  # LMTP knows users, and no bounces to them


def has_null_sender(fields: Fields) -> bool:
    """A bounce or receipt; where no server noted the sender, its type tells (RFC 6522)."""
    if path := fields.get("return-path"):
        return "".join(path[0].lower().split()) in _NULLS
    kinds = fields.get("content-type", ())[:1]
    return any(kind.lower().startswith("multipart/report") for kind in kinds)


def original_sender(fields: Fields, *, utf8: bool, sent_out: bool) -> str:
    """The first usable of the topmost Return-Path and the author; "" where none is.

    `sent_out`: the address must mean something elsewhere, or servers there refuse it.
    """
    for name in ("return-path", "from"):
        for candidate in addresses(fields.get(name, ())[:1])[:1]:
            if found := _usable(candidate, utf8=utf8, sent_out=sent_out):
                return found
    return NULL


def answerable(fields: Fields, limit: int) -> tuple[str, ...]:
    """Where an answer to the original goes, in ASCII."""
    listed = addresses(fields.get("reply-to", ())) or addresses(fields.get("from", ()))
    usable = (_usable(each, utf8=False, sent_out=False) for each in listed[:limit])
    return tuple(dict.fromkeys(each for each in usable if each))


def _usable(candidate: str, *, utf8: bool, sent_out: bool) -> str:
    """A stranger's address as it goes on the wire, "" where it does not."""
    try:
        found = wire_address(candidate)
    except ValueError:
        return ""
    domain = found.rpartition("@")[2]
    known = "." in domain or ":" in domain or not sent_out
    fits = "@" in found and (utf8 or found.isascii())
    return found if known and fits else ""


def _rewritten(
    sender: str, settings: SmtpDestination | LmtpDestination, secret: str, now: datetime
) -> str:
    domain = settings.srs_domain if isinstance(settings, SmtpDestination) else None
    if not sender or not domain:
        return sender
    if not secret:
        told = "The sender cannot be rewritten: there is no secret for it."
        raise DeliveryDeferred(told, advice="Set srs_secret or srs_secret_file.")
    rewritten = rewrite(sender, domain, secret, now)
    return rewritten if len(rewritten) <= LONGEST else NULL
