"""Puts mail into a mailbox on an IMAP server, by APPEND (RFC 9051 §6.3.12): contracts.Carrier.

Which mailbox and which flags, `imap_places` says; what is looked up before a delivery is
repeated, `imap_sightings`; what becomes of each message, `imap_courier`. The way in, TLS
and login, is that of an account (`sources.imap`).

`probe` logs in and opens the mailbox as any mail program would, and creates nothing. A
mailbox that is not there yet is made with the first message for it.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fetchd.auth.secrets import read_credentials
from fetchd.clients.meter import Meter
from fetchd.contracts import Credentials, Terms, Watch, unwatched
from fetchd.destinations.imap_boxes import Boxes
from fetchd.destinations.imap_courier import BATCH_MESSAGES, ImapCourier
from fetchd.destinations.imap_places import Wish, is_template, place_for
from fetchd.errors import AuthenticationFailed
from fetchd.policy.retry import RELAY
from fetchd.settings import ImapDestination
from fetchd.sources.imap import ImapSession, open_imap
from fetchd.sources.imap_login import ImapAccess
from fetchd.sources.imap_upload import ImapTarget, open_target
from fetchd.sources.login import way_to
from fetchd.telemetry import Transcript, conceal_of
from fetchd.values import replace


class ImapCarrier:
    """A destination of this kind."""

    def __init__(
        self,
        settings: ImapDestination,
        *,
        environ: Mapping[str, str] | None = None,
        transcript: Transcript | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.terms = Terms(
            connections=settings.max_connections,
            per_minute=settings.max_per_minute,
            in_order=True,
            batch=BATCH_MESSAGES,
            schedule=replace(RELAY, give_up_after=settings.give_up_after),
        )
        self._settings, self._transcript = settings, transcript
        self._meter = meter or Meter()
        self._environ = os.environ if environ is None else environ
        self._suspects: set[str] = set()
        self._reading = asyncio.Lock()

    async def open(self, watch: Watch = unwatched) -> ImapCourier:
        """`watch` hears of password, connect, tls, capabilities and login."""
        target = await self._enter(watch)
        settings = self._settings
        wish = Wish(keep=settings.flags == "keep", seen=settings.mark_seen)
        return ImapCourier(target, settings.mailbox, wish, self._suspects)

    async def probe(self, watch: Watch = unwatched) -> None:
        """The same, then mailbox, and what is taken there; MailboxUnavailable if nothing is."""
        target = await self._enter(watch)
        try:
            await self._look(target, watch)
            await target.session.close()
        finally:
            await target.session.abort()

    async def _look(self, target: ImapTarget, watch: Watch) -> None:
        text = self._settings.mailbox
        if is_template(text):
            place_for(text)
            watch("mailbox", f"one for each source, as {text}, made when it is needed")
            watch("append", _facts(target, await target.limit(None)))
            return
        boxes = Boxes(target)
        mailbox, there = boxes.find(place_for(text))
        if not there:
            watch("mailbox", f"{mailbox.name} is not there yet; the first message makes it")
            watch("append", _facts(target, await target.limit(None)))
            return
        terms = await boxes.inspect(mailbox)
        watch("mailbox", mailbox.name)
        watch("append", _facts(target, terms.limit))

    async def _enter(self, watch: Watch) -> ImapTarget:
        session = await self._log_in(watch)
        try:
            return await open_target(session)
        except BaseException:
            await session.abort()
            raise

    async def _log_in(self, watch: Watch) -> ImapSession:
        """A token that the server refuses before its time is renewed once."""
        credentials = await self._read()
        watch("password", "")
        try:
            return await self._open(credentials, watch)
        except AuthenticationFailed:
            if not credentials.token:
                raise
        return await self._open(await self._read(refused=credentials), watch)

    async def _open(self, credentials: Credentials, watch: Watch) -> ImapSession:
        access = replace(access_of(self._settings), meter=self._meter)
        return await open_imap(access, credentials, _SPOOL, self._transcript, watch)

    async def _read(self, refused: Credentials | None = None) -> Credentials:
        async with self._reading:  # a command that asks the owner asks one question at a time
            found = await read_credentials(self._settings, self._environ, refused=refused)
        conceal_of(self._settings.called, found.secret)
        return found


_SPOOL = Path(tempfile.gettempdir())  # for bodies that are fetched, and none is


def access_of(settings: ImapDestination) -> ImapAccess:
    """What the settings say of the way, as the sources call it."""
    return ImapAccess(**way_to(settings), connections=1)


def _facts(target: ImapTarget, limit: int | None) -> str:
    """What a mailbox takes, for people."""
    size = f"messages of up to {limit:,} octets" if limit is not None else "messages of any size"
    at_once = f"{BATCH_MESSAGES} at once" if target.offers("MULTIAPPEND") else "one at a time"
    lacking = "" if target.offers("BINARY") else ", none with NUL octets (no BINARY)"
    return f"{size}, {at_once}{lacking}"
