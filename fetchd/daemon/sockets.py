"""Where the control socket is, and how one gets there from both sides.

A socket's path has to fit in some hundred octets (sockaddr_un), a data folder's need not:
a longer one is reached through /proc/self/fd of the folder.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fetchd.errors import ServiceError

NAME = "control.sock"
PAUSE = 0.02  # seconds
LONGEST = 100  # octets of a path; Linux takes 107, others 103
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred


def bound(folder: Path) -> socket.socket:
    """A socket under its name in the folder, for this user alone; nobody listens yet.

    The name of a socket that a killed service left is taken over: the folder must be ours.
    """
    path = folder / NAME
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with _near(path) as near:
            plug.bind(near)
        # Nobody can have connected in between: that needs listen().
        path.chmod(0o600)
    except OSError as error:
        plug.close()
        raise ServiceError(
            f"{path} cannot be made: {error.strerror or error}.",
            advice="Put data_dir on a file system that has sockets, and let fetchd write there.",
        ) from error
    return plug


def connected(folder: Path, patience: float) -> socket.socket:
    """A connection to who listens there; OSError where nobody does."""
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plug.settimeout(patience)
    try:
        with _near(folder / NAME) as near:
            _connect(plug, near, patience)
    except OSError:
        plug.close()
        raise
    return plug


def _connect(plug: socket.socket, near: str, patience: float) -> None:
    """A queue of callers that is full is told at once (EAGAIN), however patient the socket is."""
    until = time.monotonic() + patience
    while True:
        try:
            plug.connect(near)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE)


def forget(folder: Path) -> None:
    """Take the name away: nobody listens there any more."""
    with suppress(OSError):
        (folder / NAME).unlink()


def peer_uid(plug: socket.socket) -> int | None:
    """Who is at the other end, by the kernel's word; None where it has none."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    octets = plug.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(octets)[1])


@contextmanager
def _near(path: Path) -> Iterator[str]:
    """The path, or a shorter one to the same place while this lasts."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
