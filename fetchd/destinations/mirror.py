"""Keeps a Maildir++ tree for each account, as it is on the server.

`PATH/<account>/` is INBOX, every other mailbox a folder in it (`mirror_names` says
which). Delivery is that of `maildir`; on top of it a message with flags goes to cur/
with their letters, and its file's mtime is when it arrived at the server, which
Dovecot and mbsync take for the internal date.

`follow` does what was done on the server: it finds files by the key of their
delivery, in one listing of a mailbox, gives them the letters of their flags now and
does with those that vanished what `removed` says: "keep" nothing, "trash" moves them
to the account's `.Removed.<mailbox>`, "remove" unlinks them. All of it may be repeated,
and a file that is not there is none of our business: its owner moved or deleted it.

Flags that have no letter are not shown; letters that are no flag's stay as they are,
since a local reader's keywords are among them (a-z). The server's word is the last
on the others. Nothing is followed or written through a symbolic link below PATH.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path

from fetchd.contracts import Change, Outgoing, Settled
from fetchd.destinations.maildir import MaildirSession, Place, Target, stem_of
from fetchd.destinations.maildir_flags import LETTERS, letters
from fetchd.destinations.maildir_folder import Folder, Maildir, exists, open_folder
from fetchd.destinations.maildir_trouble import AGAIN, trouble
from fetchd.destinations.mirror_names import account_folder, mailbox_folder, removed_folder
from fetchd.errors import DeliveryDeferred

LOOKS = 3  # at a folder in which a reader renames files meanwhile

_OURS = frozenset(LETTERS.values())
_Wanted = Mapping[str, str | None]  # flags by key, None: it vanished


class MirrorSession(MaildirSession):
    """Open Maildirs, one for each account (contracts.DeliverySession)."""

    _links = False
    _everywhere = False  # a mailbox holds what is in it; what its owner moved away is his

    def __init__(
        self,
        path: Path,
        newline: str = "lf",
        removed: str = "keep",
        executor: Executor | None = None,
    ) -> None:
        super().__init__(path, newline, executor)
        self._removed = removed

    async def follow(self, changes: Sequence[Change]) -> None:
        await self._blocking(lambda: self._follow(changes))

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        return await self._blocking(lambda: self._held(account, mailbox, keys))

    def _target(self, item: Outgoing) -> Target:
        place = self._place(item.account, item.mailbox)
        return Target(place, letters(item.flags), item.arrived)

    def _place(self, account: str, mailbox: str) -> Place:
        folder = mailbox_folder(mailbox, trash=self._removed == "trash")
        return Place(account_folder(account), folder)

    def _settle(self) -> list[Settled]:
        settled = super()._settle()
        self._let_go()  # many accounts would be many descriptors
        return settled

    # -- follow ------------------------------------------------------------------

    def _follow(self, changes: Sequence[Change]) -> None:
        """All of them, whatever happens to some; then the first trouble."""
        mailboxes: dict[tuple[str, str], dict[str, str | None]] = {}
        for one in changes:
            if one.flags is not None or self._removed != "keep":
                mailboxes.setdefault((one.account, one.mailbox), {})[one.key] = one.flags
        troubles: list[tuple[Path, OSError]] = []
        for (account, mailbox), wanted in mailboxes.items():
            place = self._place(account, mailbox)
            try:
                self._follow_in(place, mailbox, wanted)
            except OSError as error:
                troubles.append((self._where(place), error))
        if troubles:
            path, cause = troubles[0]
            told, remedy = trouble(path, cause)
            raise DeliveryDeferred(told, advice=f"{remedy} {AGAIN}") from cause

    def _follow_in(self, place: Place, mailbox: str, wanted: _Wanted) -> None:
        home = open_folder(self._path)  # not there: a mount may be lost, so this is trouble
        try:
            if not exists(place.maildir, home):
                return
            with closing(Maildir(place.maildir, home, make=True)) as maildir:
                if not maildir.has(place.folder):
                    return
                with maildir.folder(place.folder, make=True) as folder:
                    for _ in range(LOOKS):
                        wanted = self._look(maildir, folder, mailbox, wanted)
                        if not wanted:
                            break
                    folder.sync()
        finally:
            os.close(home)

    def _held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        place = self._place(account, mailbox)
        try:
            home = open_folder(self._path)
            try:
                if not exists(place.maildir, home):
                    return frozenset()
                with closing(Maildir(place.maildir, home, make=True)) as maildir:
                    if not maildir.has(place.folder):
                        return frozenset()
                    with maildir.folder(place.folder, make=True) as folder:
                        return frozenset(_key(name) for _, name in folder.files()) & {*keys}
            finally:
                os.close(home)
        except OSError as error:
            told, remedy = trouble(self._where(place), error)
            raise DeliveryDeferred(told, advice=f"{remedy} {AGAIN}") from error

    def _look(self, maildir: Maildir, folder: Folder, mailbox: str, wanted: _Wanted) -> _Wanted:
        """List and act; gives back what concerns files that a reader moved meanwhile."""
        files = {key: file for file in folder.files() if (key := _key(file[1])) in wanted}
        vanished = any(wanted[key] is None for key in files)
        missed: dict[str, str | None] = {}
        with self._trash(maildir, mailbox, wanted=vanished) as trash:
            for key, (part, name) in files.items():
                flags = wanted[key]
                try:
                    if flags is not None:
                        _reflag(folder, part, name, flags)
                    elif trash is not None:
                        to = trash.new if part == folder.new else trash.cur
                        os.rename(name, name, src_dir_fd=part, dst_dir_fd=to)
                    else:
                        os.unlink(name, dir_fd=part)
                except FileNotFoundError:
                    missed[key] = flags
        return missed

    @contextmanager
    def _trash(self, maildir: Maildir, mailbox: str, *, wanted: bool) -> Iterator[Folder | None]:
        """Durable before the folder is from which they came: nothing is lost in between."""
        if not wanted or self._removed != "trash":
            yield None
            return
        with maildir.folder(removed_folder(mailbox), make=True) as trash:
            yield trash
            trash.sync()


def _key(name: str) -> str:
    """The key of the delivery that made this file; "" if none did."""
    stem = stem_of(name).split(".")
    return stem[1] if len(stem) == 3 and stem[2] == "fetchd" else ""


def _reflag(folder: Folder, part: int, name: str, flags: str) -> None:
    base, _, info = name.partition(":2,")
    theirs = set(info) - _OURS
    wanted = "".join(sorted(theirs.union(letters(flags))))
    if wanted != info:  # so a message without letters stays in new/
        os.rename(name, f"{base}:2,{wanted}", src_dir_fd=part, dst_dir_fd=folder.cur)
