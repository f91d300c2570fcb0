"""Whether a server would take our mail: MAIL and RCPT for everybody, and then RSET, not DATA."""

import asyncio

from fetchd.clients.smtp import SmtpClient
from fetchd.clients.smtp_refusals import is_about_server, refusal
from fetchd.contracts import Watch
from fetchd.destinations.letter_envelope import own_address
from fetchd.destinations.smtp_outcome import is_passing, told
from fetchd.errors import DeliveryDeferred, DeliveryRefused
from fetchd.protocol.smtp import RSET, mail, rcpt
from fetchd.protocol.smtp_replies import Reply
from fetchd.settings import LmtpDestination, SmtpDestination


async def ask_for_all(
    client: SmtpClient, settings: SmtpDestination | LmtpDestination, watch: Watch
) -> None:
    """`watch` hears of sender and of each recipient; the first refusal is raised."""
    utf8 = client.features.utf8 and client.features.eight_bit  # RFC 6531 §3.1
    # In a thread, since what knows addresses is slow to import.
    wire = await asyncio.to_thread(on_the_wire, settings, utf8=utf8)
    sender, *recipients = wire
    utf8 = not "".join(wire).isascii()
    reply = await client.ask(mail(sender, utf8=utf8))
    if not reply.ok and is_about_server(reply):
        raise refusal(reply, f"{client.stream.where} takes no mail from us")
    _check(reply, settings, f"{client.stream.where} takes no mail from <{sender}>", "sender")
    watch("sender", f"<{sender}>: {told(reply)}")
    for one in recipients:
        reply = await client.ask(rcpt(one, utf8=utf8))
        _check(reply, settings, f"{client.stream.where} takes no mail for {one}", "recipients")
        watch("recipient", f"{one}: {told(reply)}")
    await client.ask(RSET)


def _check(
    reply: Reply, settings: SmtpDestination | LmtpDestination, what: str, setting: str
) -> None:
    if reply.ok:
        return
    if is_passing(reply, settings.passing):
        raise DeliveryDeferred(
            f"{what} for now: {told(reply)}",
            advice="It may be greylisting, which passes by itself: mail is tried again later.",
        )
    advice = f"Check {setting} in the settings, or ask whoever runs that server."
    raise DeliveryRefused(f"{what}: {told(reply)}", advice=advice)


def on_the_wire(settings: SmtpDestination | LmtpDestination, *, utf8: bool) -> list[str]:
    """The sender of a message that has none of its own, and all recipients.

    DeliveryRefused: one of them cannot be named to this server.
    """
    sender = "" if settings.sender == "null" else settings.sender
    if sender in ("original", "address"):
        sender = settings.address or settings.recipients[0]
    fallback = settings.fallback_recipient if isinstance(settings, LmtpDestination) else None
    recipients = dict.fromkeys([*settings.recipients, *([fallback] if fallback else [])])
    wire = [own_address(one, utf8=utf8) for one in recipients]
    return [own_address(sender, utf8=utf8) if "@" in sender else "", *dict.fromkeys(wire)]
