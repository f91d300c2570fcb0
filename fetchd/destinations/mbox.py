"""Delivers into an mbox file, exactly once as long as nobody else rewrites it.

`put` forms the entries (`mboxrd`) and keeps them aside, in memory or, beyond SPOOL, in a
file without a name beside the mbox; `settle` takes both locks (`mbox_lock`), appends all
of them at once and makes them durable by one sync (`mbox_file`, `mbox_journal`). Before
that nothing is to be seen, and after a failure nothing is left. A delivery whose earlier
attempt is in doubt is looked up in the journal, which knows what is in the mbox even if
its reader has moved the mail since. So it comes twice only if another program rewrote the
mbox after a crash and before our next delivery there.

The file is created (0600) when absent, its folder never: a lost mount must not be taken
for an empty mailbox. Trouble and locks that others hold for `lock_timeout` defer the
messages, in a sentence with the remedy; it is never raised.
"""

import asyncio
import errno
import os
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import TypeVar

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations import mbox_trouble
from fetchd.destinations.mbox_file import append, recover
from fetchd.destinations.mbox_journal import key_digest
from fetchd.destinations.mbox_lock import Held, Locked, lock
from fetchd.destinations.mboxrd import entry, from_line
from fetchd.destinations.on_disk import OnDisk
from fetchd.destinations.sender import sender_of
from fetchd.settings import MboxDestination
from fetchd.values import Struct

SPOOL = 8 << 20  # octets of entries that are kept in memory
PAUSES = (0.05, 1.0)  # seconds between attempts to lock: the first, and the longest

_KEY = re.compile(r"[0-9A-Za-z-]{1,128}")
_PIECE = 1 << 20

_T = TypeVar("_T")


class _Entry(Struct, frozen=True):
    """A delivery that was put: where its octets are in the spool."""

    id: int
    key: str  # its digest
    doubtful: bool
    begin: int
    end: int


class MboxSession(OnDisk):
    """An open mbox (contracts.DeliverySession)."""

    def __init__(self, settings: MboxDestination, executor: Executor | None = None) -> None:
        self._settings, self._path = settings, settings.path
        super().__init__(executor)
        self._spool: SpooledTemporaryFile[bytes] | None = None
        self._entries: list[_Entry] = []
        self._settled: list[Settled] = []

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        await self._blocking(lambda: self._put(outgoing))

    async def settle(self) -> list[Settled]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._settings.lock_timeout.total_seconds()
        pause, longest = PAUSES
        while (held := await self._blocking(self._append)) is not None:
            left = deadline - clock()
            if left <= 0:
                await self._blocking(partial(self._put_off, held))
                break
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, longest)
        return await self._blocking(self._told)

    async def close(self) -> None:
        await self._blocking(self._close)

    # -- put ---------------------------------------------------------------------

    def _put(self, outgoing: Sequence[Outgoing]) -> None:
        for item in outgoing:
            if _KEY.fullmatch(item.key) is None:
                reply = f"{item.key!r} is no delivery's key; please report this bug."
                self._settled.append(Settled(item.id, Outcome.FAILED, reply))
                continue
            try:
                self._form(item)
            except OSError as error:
                self._defer([item.id], error)

    def _form(self, item: Outgoing) -> None:
        """Add the entry to the spool, or leave it as it is."""
        if self._spool is None:
            # The owner's disk, not the one for temporary files: that may be memory.
            folder = str(self._path.parent)
            self._spool = SpooledTemporaryFile(SPOOL, dir=folder)  # noqa: SIM115
        begin = self._spool.seek(0, os.SEEK_END)
        try:
            if begin + item.size > SPOOL:
                self._spool.rollover()  # before, so that it never grows beyond that in memory
            self._spool.write(from_line(sender_of(item.body), item.arrived or item.queued_at))
            self._spool.writelines(entry(item.body))
            self._spool.flush()
        except OSError:
            self._spool.truncate(begin)
            raise
        key = key_digest(self._settings.name, item.key)
        self._entries.append(_Entry(item.id, key, item.doubtful, begin, self._spool.tell()))

    # -- settle ------------------------------------------------------------------

    def _append(self) -> str | None:
        """Who holds the mbox; None when every entry has an outcome."""
        if not self._entries:
            return None
        try:
            mbox = lock(self._path)
        except OSError as error:
            self._defer([one.id for one in self._take()], error)
            return None
        if isinstance(mbox, Held):
            return mbox.holder
        try:
            self._append_to(mbox)
        finally:
            mbox.release()
        return None

    def _append_to(self, mbox: Locked) -> None:
        entries = self._entries
        try:
            there = recover(mbox)
            known = set(there)
            missing = [one for one in entries if not (one.doubtful and one.key in known)]
            error = self._append_missing(mbox, there, missing)
        except OSError as trouble:
            self._defer([one.id for one in entries], trouble)
        else:
            made = {one.id for one in missing}
            for one in entries:
                if one.id not in made:
                    self._settled.append(Settled(one.id, Outcome.DELIVERED, "found there"))
                elif error is None:
                    self._settled.append(Settled(one.id, Outcome.DELIVERED))
            if error is not None:
                self._defer(made, error, doubtful=True)
        self._take()

    def _append_missing(
        self, mbox: Locked, there: Sequence[str], missing: Sequence[_Entry]
    ) -> OSError | None:
        if not missing:
            return None
        length = sum(one.end - one.begin for one in missing)
        return append(mbox, there, [one.key for one in missing], length, self._octets(missing))

    def _octets(self, entries: Sequence[_Entry]) -> Iterator[bytes]:
        assert self._spool is not None
        for one in entries:
            self._spool.seek(one.begin)
            left = one.end - one.begin
            while left:
                piece = self._spool.read(min(left, _PIECE))
                if not piece:
                    raise OSError(errno.EIO, "the spooled messages are gone")
                yield piece
                left -= len(piece)

    def _told(self) -> list[Settled]:
        settled, self._settled = self._settled, []
        return settled

    # -- close and trouble ---------------------------------------------------------

    def _close(self) -> None:
        self._take()
        self._settled.clear()

    def _take(self) -> list[_Entry]:
        """What was put, which is no longer here."""
        entries, self._entries = self._entries, []
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        return entries

    def _put_off(self, holder: str) -> None:
        reply = mbox_trouble.locked(self._path, holder)
        self._settled += [Settled(one.id, Outcome.DEFERRED, reply) for one in self._take()]

    def _defer(self, ids: Collection[int], error: OSError, *, doubtful: bool = False) -> None:
        reply = mbox_trouble.sentences(self._path, error)
        self._settled += [Settled(id_, Outcome.DEFERRED, reply, doubtful) for id_ in ids]
