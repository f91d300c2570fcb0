"""Who holds a data folder: one service at a time, told by a lock on `service.lock`.

The kernel lets the lock go when its process ends, however it ends, so a killed service
holds nobody up. The file says who holds it, for whoever comes second; it is never removed,
since a name that comes and goes could be locked twice. Locks of POSIX (fcntl) would not do:
they go when any file of that name is closed by anybody in the process.

This is asked at every `fetchd sync`, so nothing heavy is imported here.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import json

from fetchd import __version__
from fetchd.errors import CatalogError, ServiceError
from fetchd.ownership import refuse_root
from fetchd.values import Struct

NAME = "service.lock"
LONGEST = 4096  # octets that such a file may have
# Whoever asks who holds it (`holder_of`) has to lock it for some microseconds.
PATIENCE, PAUSE = 1.0, 0.02  # seconds


class Holder(Struct, frozen=True):
    """A running service, by its own words; what it did not say yet is empty."""

    pid: int = 0
    host: str = ""
    since: datetime | None = None
    version: str = ""

    def __str__(self) -> str:
        """process 1234 on the host mail, since 2026-11-25 09:30:00 UTC."""
        who = f"process {self.pid}" if self.pid else "another process"
        where = f" on the host {self.host}" if self.host not in ("", _host()) else ""
        since = f", since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{who}{where}{since}"


class ServiceLock:
    """The data folder is ours, from construction to `close`; ServiceError says whose it is."""

    def __init__(self, data_dir: Path, *, patience: float = PATIENCE) -> None:
        self.path = data_dir / NAME
        refuse_root(data_dir)
        with _explained(self.path):
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            with _explained(self.path):
                self._take(patience)
                self._say_who()
        except BaseException:
            os.close(self._file)
            raise

    def _take(self, patience: float) -> None:
        until = time.monotonic() + patience
        while not _locked(self._file, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise _held(self.path, _read(self._file))
            time.sleep(PAUSE)

    def _say_who(self) -> None:
        us = Holder(os.getpid(), _host(), datetime.now(UTC), __version__)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.encode(us) + b"\n", 0)

    def require(self) -> None:
        """CatalogError unless the folder is still the one that was locked.

        In another one of that name all mail would be new, and what we have open is lost.
        """
        try:
            same = os.path.samestat(os.lstat(self.path), os.fstat(self._file))
        except OSError:
            same = False
        if not same:
            raise CatalogError(
                f"{self.path.parent} is not the folder any more with which the service began: it "
                "was removed, replaced or unmounted.",
                advice="Mount it, or put it back where it was; for a new beginning restart the "
                "service.",
            )

    def close(self) -> None:
        """Let go; who comes next finds nobody's name in it."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def holder_of(data_dir: Path) -> Holder | None:
    """The service that runs for the data folder; None: there is none. Leaves no trace."""
    path = data_dir / NAME
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _of_the_system(path, error) from error
    try:
        with _explained(path):
            return None if _locked(file, fcntl.LOCK_SH) else _read(file)
    finally:
        os.close(file)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Holder:
    """What the file says, if that is what we write; a name is not worth an error."""
    try:
        return json.decode(os.pread(file, LONGEST, 0), type=Holder)
    except (ValueError, OSError):
        return Holder()


def _held(path: Path, holder: Holder) -> ServiceError:
    return ServiceError(
        f"A service runs for {path.parent} already: {holder}.",
        advice="Stop it first ('systemctl stop fetchd', or SIGTERM to that process), or let it do "
        "the work: 'fetchd sync' and 'fetchd reload' ask it.",
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _of_the_system(path, error) from error


_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _of_the_system(path: Path, error: OSError) -> ServiceError:
    if error.errno in _NO_LOCKS:
        return ServiceError(
            f"The file system of {path.parent} takes no locks: {error.strerror}.",
            advice="Put data_dir on a local file system, or mount it with locking (NFS: lockd).",
        )
    advice = "Free space or repair the permissions of the data folder."
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = "Run it as the user whose data folder it is, or repair the permissions."
    return ServiceError(f"{path} cannot be used: {error.strerror}.", advice=advice)


def _host() -> str:
    return os.uname().nodename
