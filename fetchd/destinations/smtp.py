"""Hands mail to a server by SMTP (RFC 5321) or LMTP (RFC 2033), a message at a time.

What is sent and from whom, `letter` decides; what was said of it becomes an outcome in
`smtp_outcome`. Promises:

- A recipient who has the message is not sent it again, but for one case: where the line
  breaks between our last octet and the server's answer, nobody can know, and it is sent
  again (RFC 5321 §4.5.3.2.6). Such a delivery is doubtful until then.
- A refusal of one message stands in nobody's way. What is about the server, such as a
  greeting or a login refused, is raised instead, with nothing accepted.
- `fallback_recipient` gets, in the same session, what LMTP refuses for good for others.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fetchd.auth.secrets import read_credentials
from fetchd.clients.smtp import SmtpClient
from fetchd.clients.smtp_refusals import is_about_login, is_about_server, refusal
from fetchd.clients.smtp_transfer import Envelope, Verdicts, transfer
from fetchd.contracts import (
    Courier,
    Credentials,
    Outcome,
    Outgoing,
    Settled,
    Terms,
    Watch,
    unwatched,
)
from fetchd.destinations.letter import Letter, Receiver, compose
from fetchd.destinations.letter_envelope import own_address
from fetchd.destinations.smtp_login import addresses, enter
from fetchd.destinations.smtp_outcome import Tally
from fetchd.destinations.smtp_probe import ask_for_all, on_the_wire
from fetchd.destinations.srs_secret import read_srs_secret
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    DeliveryDeferred,
    DeliveryRefused,
    FetchdError,
    LocalProtocolError,
)
from fetchd.policy.retry import RELAY
from fetchd.settings import LmtpDestination, SmtpDestination
from fetchd.telemetry import Transcript, conceal_of
from fetchd.values import replace

AT_ONCE = 64 << 10  # octets that are looked through without a thread


class SmtpCarrier:
    """A destination of this kind (contracts.Carrier)."""

    def __init__(
        self,
        settings: SmtpDestination | LmtpDestination,
        instance: str,
        *,
        environ: Mapping[str, str] | None = None,
        transcript: Transcript | None = None,
        final_wait: float | None = None,
    ) -> None:
        """`final_wait`: seconds for the answer to a message, instead of the settings'."""
        self.terms = Terms(
            connections=settings.max_connections,
            per_minute=settings.max_per_minute,
            schedule=replace(RELAY, give_up_after=settings.give_up_after),
        )
        self._settings, self._instance = settings, instance
        self._environ = os.environ if environ is None else environ
        self._transcript = transcript
        final = settings.timeouts.final.total_seconds()
        self._final_wait = final if final_wait is None else final_wait
        self._credentials: Credentials | None = None
        self._reading = asyncio.Lock()

    async def open(self, watch: Watch = unwatched) -> Courier:
        """`watch` hears of password, connect, tls, capabilities, login."""
        client = await self._enter(watch)
        try:
            await self._check_addresses(client)
            srs_secret = await read_srs_secret(self._settings)
        except BaseException:
            client.break_off()
            raise
        return SmtpCourier(client, self._settings, self._instance, srs_secret)

    async def probe(self, watch: Watch = unwatched) -> None:
        """The same behind `resolve`, and then sender and recipients, without a message."""
        if not (isinstance(self._settings, LmtpDestination) and self._settings.socket):
            watch("resolve", await addresses(self._settings))
        await read_srs_secret(self._settings)
        client = await self._enter(watch)
        try:
            await ask_for_all(client, self._settings, watch)
        finally:
            await client.quit()

    async def _check_addresses(self, client: SmtpClient) -> None:
        """One of the settings that this server cannot be told: no message would fare better."""
        utf8 = client.features.utf8 and client.features.eight_bit  # RFC 6531 §3.1
        try:
            await asyncio.to_thread(on_the_wire, self._settings, utf8=utf8)
        except DeliveryRefused as error:
            raise AccountRefused(str(error), advice=error.advice) from None

    async def _enter(self, watch: Watch) -> SmtpClient:
        """A password that has served is remembered; once refused, it is read anew.

        A token is not: who keeps tokens knows when one is to be renewed.
        """
        remembered = self._credentials is not None
        credentials = self._credentials or await self._read()
        try:
            return await self._try_to_enter(credentials, watch)
        except AuthenticationFailed:
            self._credentials = None
            if credentials is None or not (remembered or credentials.token):
                raise
        return await self._try_to_enter(await self._read(refused=credentials), watch)

    async def _try_to_enter(self, credentials: Credentials | None, watch: Watch) -> SmtpClient:
        if credentials is not None:
            watch("password", "")
        client = await enter(self._settings, credentials, watch, self._transcript, self._final_wait)
        if credentials is not None and not credentials.token:
            self._credentials = credentials
        return client

    async def _read(self, refused: Credentials | None = None) -> Credentials | None:
        if self._settings.username is None:
            return None
        async with self._reading:  # a command that asks the owner asks once
            found = self._credentials
            if found is None or found == refused:
                found = await read_credentials(self._settings, self._environ, refused=refused)
        conceal_of(self._settings.called, found.secret)
        return found


class SmtpCourier:
    """One connection (contracts.Courier)."""

    def __init__(
        self,
        client: SmtpClient,
        settings: SmtpDestination | LmtpDestination,
        instance: str,
        srs_secret: str = "",
    ) -> None:
        self._client, self._settings, self._instance = client, settings, instance
        self._srs_secret = srs_secret
        self._wire: dict[str, str] = {}
        self._receiver = Receiver(eight_bit=client.features.eight_bit, utf8=client.features.utf8)

    @property
    def in_doubt(self) -> bool:
        """Whether the server has all of a message and owes its answer."""
        return self._client.in_doubt

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        """As contracts.Courier says."""
        settled: list[Settled] = []
        for item in letters:
            try:
                settled.append(await self._carry(item))
            except FetchdError as error:
                if not settled:
                    raise
                settled += [
                    Settled(one.id, Outcome.DEFERRED, error.whole)
                    for one in letters[len(settled) :]
                ]
                break
        return settled

    async def close(self) -> None:
        """QUIT, or hang up."""
        await self._client.quit()

    async def _carry(self, item: Outgoing) -> Settled:
        tally = Tally(self._settings.passing, item.done)
        recipients = tuple(
            dict.fromkeys(one for one in self._settings.recipients if one not in tally.done)
        )
        if not recipients:
            return Settled(item.id, Outcome.DELIVERED, "All recipients have it already.")
        try:
            letter = await self._composed(item)
            self._check_size(letter)
            await self._send(letter, recipients, tally)
        except (DeliveryRefused, LocalProtocolError) as error:  # the latter: a bug, told as one
            return Settled(item.id, Outcome.FAILED, error.whole, done=item.done)
        except DeliveryDeferred as error:
            return Settled(item.id, Outcome.DEFERRED, error.whole, done=item.done)
        except OSError as error:
            why = f"The message could not be read again: {error.strerror or error}."
            return Settled(item.id, Outcome.DEFERRED, why, done=item.done)
        return tally.settled(item.id)

    async def _composed(self, item: Outgoing) -> Letter:
        """A thread costs more than a small message, and a large one more than others can wait."""
        if item.body.data is not None and item.size <= AT_ONCE:
            return self._compose(item)
        return await asyncio.to_thread(self._compose, item)

    def _compose(self, item: Outgoing) -> Letter:
        now = datetime.now(UTC)
        return compose(
            item, self._settings, self._instance, self._receiver, now, srs_secret=self._srs_secret
        )

    def _check_size(self, letter: Letter) -> None:
        limit = self._client.features.size
        if limit and letter.size > limit:  # RFC 1870 §6.1
            raise DeliveryRefused(
                f"{self._client.stream.where} takes messages of at most {limit:,} octets, "
                f"and this one has {letter.size:,}.",
                advice="Route large messages to another destination (larger = ...).",
            )

    async def _send(self, letter: Letter, recipients: tuple[str, ...], tally: Tally) -> None:
        verdicts = await self._transfer(letter, recipients)
        self._raise_if_about_server(recipients, verdicts)
        tally.count(recipients, verdicts)
        fallback = getattr(self._settings, "fallback_recipient", None)
        mail_refused = verdicts.mail is not None and not verdicts.mail.ok
        if fallback is not None and tally.refused and not mail_refused:
            await self._send_to_fallback(letter, fallback, tally)

    async def _send_to_fallback(self, letter: Letter, fallback: str, tally: Tally) -> None:
        if fallback in tally.refused | tally.deferred | tally.doubtful:
            return  # it was asked already
        taken = Tally(self._settings.passing)
        if fallback in tally.done:
            taken.done[fallback] = tally.done[fallback]
        else:
            try:
                taken.count((fallback,), await self._transfer(letter, (fallback,)))
            except FetchdError as error:
                if not (tally.done or tally.doubtful):
                    raise
                tally.put_off(error)
                return
        tally.stand_in(fallback, taken)

    async def _transfer(self, letter: Letter, recipients: tuple[str, ...]) -> Verdicts:
        """Recipients go as they are on the wire, and come back as the owner has them."""
        wire = {one: self._on_the_wire(one) for one in recipients}
        envelope = Envelope(
            letter.sender,
            tuple(dict.fromkeys(wire.values())),
            letter.size,
            eight_bit=letter.eight_bit,
            utf8=letter.utf8 or not all(one.isascii() for one in wire.values()),
        )
        verdicts = await transfer(self._client, envelope, letter.pieces)
        said = {one: verdicts.replies[w] for one, w in wire.items() if w in verdicts.replies}
        return replace(verdicts, replies=said)

    def _on_the_wire(self, recipient: str) -> str:
        if recipient not in self._wire:
            utf8 = self._receiver.utf8 and self._receiver.eight_bit  # RFC 6531 §3.1
            self._wire[recipient] = own_address(recipient, utf8=utf8)
        return self._wire[recipient]

    def _raise_if_about_server(self, recipients: tuple[str, ...], verdicts: Verdicts) -> None:
        """No other message would fare better."""
        where, mail = self._client.stream.where, verdicts.mail
        if mail is not None and not mail.ok and is_about_server(mail):
            raise refusal(mail, f"{where} takes no mail from us")
        said = [verdicts.replies.get(one) for one in recipients]
        if said[0] is not None and all(one is not None and is_about_login(one) for one in said):
            raise refusal(said[0], f"{where} takes no mail from us")
