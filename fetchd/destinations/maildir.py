"""Delivers into a Maildir, exactly once.

A message is written to tmp/ under a name derived from its delivery; `settle`
makes everything that was put durable together, renames it to new/ and syncs
that folder once. A delivery whose earlier attempt is in doubt is looked for in
new/ and cur/ first, so a crash at any point repeats nothing. Trouble with the
folder or the disk defers the messages it touches, in a sentence with the
remedy; it is never raised. `durable` says how files are made durable and what
that costs, `newlines` when CRLF becomes LF, `mirror` what a tree of many
Maildirs adds: it overrides `_target` and `follow`.

A message goes to the Maildir++ folder that its route wants, else to the one of the
settings, else to the Maildir itself, and with flags to cur/. What is in doubt is looked
for in all its folders: settings may have changed since, and most readers (Dovecot between
folders of equal permissions, mu, a script) move files under the names that they have. Who
renames what he moves, before its delivery was recorded, gets it again.

The folder is created (0700) when absent, its parent never: a lost mount must
not be mistaken for an empty Maildir. Names carry S=<octets written>, as
Dovecot and Courier read it; a retry recognises its file by the part before it.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations.durable import Flush, syncfs
from fetchd.destinations.maildir_flags import SEEN, letters
from fetchd.destinations.maildir_folder import Folder, Maildir, exists, open_folder
from fetchd.destinations.maildir_trouble import sentences
from fetchd.destinations.mirror_names import mailbox_folder
from fetchd.destinations.newlines import written
from fetchd.destinations.on_disk import OnDisk
from fetchd.policy.routing import folder_of
from fetchd.values import Struct

LOOKS = 2  # at the folders, among which a reader moves files meanwhile

_KEY = re.compile(r"[0-9A-Za-z-]{1,128}")

_T = TypeVar("_T")


class Place(NamedTuple):
    """A Maildir below the destination's path, "." being the path itself, and a folder in it."""

    maildir: str = "."
    folder: str = ""


class Target(Struct, frozen=True):
    """Where a message goes, and how: with `letters` to cur/, without to new/."""

    place: Place
    letters: str = ""
    arrived: datetime | None = None


class Seen(NamedTuple):
    """What a look at some folders found: files by their stems, and what cannot be entered."""

    places: dict[str, Place]
    closed: dict[Place, OSError]


class MaildirSession(OnDisk):
    """An open Maildir (contracts.DeliverySession).

    `folder` is a template (policy.routing.folder_of), "" the Maildir itself.
    """

    _links = True  # its folders may be links: who made them had a reason
    _everywhere = True  # what is in doubt may be in any of its folders

    def __init__(
        self,
        path: Path,
        newline: str = "lf",
        executor: Executor | None = None,
        *,
        folder: str = "",
        keep_flags: bool = False,
        mark_seen: bool = False,
    ) -> None:
        self._path = path
        self._newline = newline
        self._executor = executor
        self._folder = folder
        self._keep_flags = keep_flags
        self._mark_seen = mark_seen
        self._plain = not (folder or keep_flags or mark_seen)
        self._lock = threading.Lock()  # a cancelled call's thread may still be running
        self._home: int | None = None
        self._flush: Flush | None = None
        self._maildirs: dict[str, Maildir] = {}
        self._present: dict[Place, Seen] = {}
        self._uncertain: set[str] = set()  # perhaps renamed, but not known to be durable
        self._written: dict[int, tuple[Place, str, str]] = {}  # name in tmp/, and letters
        self._settled: list[Settled] = []
        self._found: dict[int, Place] = {}

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        await self._blocking(lambda: self._put(outgoing))

    async def settle(self) -> list[Settled]:
        return await self._blocking(self._settle)

    async def close(self) -> None:
        await self._blocking(self._close)

    # -- put ---------------------------------------------------------------------

    def _put(self, outgoing: Sequence[Outgoing]) -> None:
        for item in outgoing:
            if _KEY.fullmatch(item.key) is None:
                reply = f"{item.key!r} cannot be part of a file name; please report this bug."
                self._settled.append(Settled(item.id, Outcome.FAILED, reply))
                continue
            target = self._target(item)
            try:
                self._write(item, target)
            except OSError as error:
                self._defer([item.id], target.place, error)

    def _target(self, item: Outgoing) -> Target:
        if self._plain and not item.folder:
            return _ITSELF
        folder = item.folder or folder_of(self._folder, item.account, item.mailbox)
        flags = letters(item.flags) if self._keep_flags else ""
        if self._mark_seen and SEEN not in flags:
            flags = "".join(sorted(flags + SEEN))
        return Target(Place(folder=mailbox_folder(folder) if folder else ""), flags)

    def _write(self, item: Outgoing, target: Target) -> None:
        maildir = self._open(target.place.maildir)
        stem = f"{int(item.queued_at.timestamp())}.{item.key}.fetchd"
        doubtful = item.doubtful or stem in self._uncertain
        if doubtful and (place := self._found_in(stem, target.place)):
            self._found[item.id] = place
            return
        size, octets = written(item.body, self._newline)
        name = f"{stem},S={size}"
        maildir.write(name, octets, size, target.arrived)
        self._written[item.id] = target.place, name, target.letters

    def _open(self, name: str) -> Maildir:
        if self._home is None:
            _create(self._path)
            self._home = open_folder(self._path)
            self._flush = Flush(self._home)
        if name not in self._maildirs:
            self._maildirs[name] = Maildir(name, self._home, links=self._links, make=True)
        return self._maildirs[name]

    def _found_in(self, stem: str, target: Place) -> Place | None:
        """Where the file of an earlier attempt is; all are listed once."""
        maildir = self._open(target.maildir)
        around = target._replace(folder="") if self._everywhere else target
        if around not in self._present:
            folders = maildir.folders() if self._everywhere else [target.folder]
            self._present[around] = _look(maildir, [target._replace(folder=f) for f in folders])
        seen = self._present[around]
        if target in seen.closed:
            raise seen.closed[target]
        return seen.places.get(stem)

    # -- settle ------------------------------------------------------------------

    def _settle(self) -> list[Settled]:
        self._confirm_found()
        self._publish()
        settled, self._settled = self._settled, []
        if any(one.outcome is Outcome.DEFERRED for one in settled):
            self._let_go()  # the next put looks at the folder afresh
        return settled

    def _confirm_found(self) -> None:
        """An earlier attempt renamed them; that its folder sync happened is not known."""
        found, self._found = self._found, {}
        for place, ids in _together(found).items():
            try:
                with self._open(place.maildir).folder(place.folder, make=True) as folder:
                    folder.sync()
            except OSError as error:
                self._defer(ids, place, error)
            else:
                self._settled += [Settled(id_, Outcome.DELIVERED, "found there") for id_ in ids]

    def _publish(self) -> None:
        """tmp durable, tmp to new and cur, these durable."""
        pending, self._written = self._written, {}
        if not pending or self._flush is None:
            return
        try:
            self._flush.flush_in(
                [(self._maildirs[place.maildir].tmp, name) for place, name, _ in pending.values()]
            )
        except OSError as error:
            self._give_up(pending, pending, error)
            return
        places = {id_: place for id_, (place, _, _) in pending.items()}
        for place, ids in _together(places).items():
            self._publish_in(place, ids, pending)

    def _publish_in(self, place: Place, ids: Sequence[int], pending: "_Pending") -> None:
        maildir, refused = self._maildirs[place.maildir], set[int]()
        try:
            with maildir.folder(place.folder, make=True) as folder:
                for id_ in ids:
                    _, name, letters = pending[id_]
                    try:
                        _rename(maildir, folder, name, letters)
                    except OSError as error:
                        self._give_up([id_], pending, error)
                        refused.add(id_)
                flagged = {pending[id_][2] != "" for id_ in ids}
                folder.sync(new=False in flagged, cur=True in flagged)
        except OSError as error:
            left = [id_ for id_ in ids if id_ not in refused]
            self._uncertain |= {stem_of(pending[id_][1]) for id_ in left}
            self._give_up(left, pending, error)
        else:
            self._settled += [Settled(i, Outcome.DELIVERED) for i in ids if i not in refused]

    # -- close and trouble ---------------------------------------------------------

    def _close(self) -> None:
        for place, name, _ in self._written.values():
            self._maildirs[place.maildir].discard(name)
        self._written.clear()
        self._settled.clear()
        self._found.clear()
        self._let_go()

    def _let_go(self) -> None:
        for maildir in self._maildirs.values():
            maildir.close()
        if self._home is not None:
            os.close(self._home)
        self._maildirs.clear()
        self._present.clear()
        self._home = self._flush = None

    def _give_up(self, ids: Iterable[int], pending: "_Pending", error: OSError) -> None:
        """Nothing of these stays in tmp/."""
        for id_ in ids:
            place, name, _ = pending[id_]
            self._maildirs[place.maildir].discard(name)
            self._defer([id_], place, error)

    def _defer(self, ids: Iterable[int], place: Place, error: OSError) -> None:
        reply = sentences(self._where(place), error)
        self._settled += [Settled(id_, Outcome.DEFERRED, reply) for id_ in ids]

    def _where(self, place: Place) -> Path:
        return self._path / place.maildir / place.folder


_Pending = Mapping[int, tuple[Place, str, str]]
_ITSELF = Target(Place())


def stem_of(name: str) -> str:
    """A file's name without size and flags, by which its delivery is known."""
    return name.partition(":")[0].partition(",")[0]


def _look(maildir: Maildir, places: Sequence[Place]) -> Seen:
    """At what fetchd put there; a file that is moved once meanwhile is not missed."""
    seen = Seen({}, {})
    for _ in range(LOOKS if len(places) > 1 else 1):
        for place in places:
            try:
                with maildir.folder(place.folder) as folder:
                    stems = [stem_of(name) for _, name in folder.files()]
            except FileNotFoundError:
                continue
            except (NotADirectoryError, PermissionError) as error:
                seen.closed[place] = error  # no place for mail, or none of ours
            else:
                seen.places.update((stem, place) for stem in stems if stem.endswith(".fetchd"))
    return seen


def _together(places: Mapping[int, Place]) -> dict[Place, list[int]]:
    """The ids of each place."""
    found: dict[Place, list[int]] = {}
    for id_, place in places.items():
        found.setdefault(place, []).append(id_)
    return found


def _rename(maildir: Maildir, folder: Folder, name: str, letters: str) -> None:
    part, final = (folder.cur, f"{name}:2,{letters}") if letters else (folder.new, name)
    try:
        os.rename(name, final, src_dir_fd=maildir.tmp, dst_dir_fd=part)
    except FileNotFoundError:
        if not exists(final, part):
            raise
        # another process made the same delivery


def _create(path: Path) -> None:
    """Make the destination's path durably, if it is absent."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync: Callable[[int], None] = os.fsync
    try:
        folder = open_folder(path.parent)
    except PermissionError:  # it may be entered but not read
        folder, sync = open_folder(path), syncfs
    try:
        sync(folder)
    finally:
        os.close(folder)
