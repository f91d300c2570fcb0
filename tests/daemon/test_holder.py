"""One service for a data folder, and a sentence for the second."""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fetchd import __version__
from fetchd.daemon import holder
from fetchd.daemon.holder import NAME, Holder, ServiceLock, holder_of
from fetchd.errors import CatalogError, ServiceError

HOLD = (
    "import sys, pathlib, time\n"
    "from fetchd.daemon.holder import ServiceLock\n"
    "lock = ServiceLock(pathlib.Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "time.sleep(60)\n"
)


def test_the_second_says_who_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(ServiceError) as caught:
            ServiceLock(tmp_path, patience=0.1)
        found = holder_of(tmp_path)
        first.send_signal(signal.SIGKILL)
    said = re.escape(f"A service runs for {tmp_path} already: process {first.pid}, since ")
    assert re.fullmatch(said + r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\.", str(caught.value))
    assert "systemctl stop fetchd" in caught.value.advice
    assert found is not None
    assert (found.pid, found.version, found.host) == (first.pid, __version__, os.uname().nodename)
    # It was killed, and so nobody holds it.
    assert holder_of(tmp_path) is None
    ServiceLock(tmp_path).close()


def test_who_holds_it_on_another_host_is_told_with_the_host() -> None:
    assert str(Holder(7, "elsewhere")) == "process 7 on the host elsewhere"
    assert str(Holder(7, os.uname().nodename)) == "process 7"
    assert str(Holder()) == "another process"


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        lock = ServiceLock(tmp_path / "new" / "data")
    finally:
        os.umask(before)
    assert lock.path.stat().st_mode & 0o777 == 0o600
    assert lock.path.parent.stat().st_mode & 0o777 == 0o700
    lock.close()
    assert lock.path.read_bytes() == b""


def test_where_none_ever_ran_none_is_made(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "absent") is None
    assert holder_of(tmp_path) is None
    (tmp_path / "file").touch()
    assert holder_of(tmp_path / "file") is None
    assert not (tmp_path / NAME).exists()


def test_who_only_asks_keeps_no_service_from_starting(tmp_path: Path) -> None:
    ServiceLock(tmp_path).close()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            holder_of(tmp_path)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(50):
            ServiceLock(tmp_path, patience=10).close()
    finally:
        over.set()
        for thread in asking:
            thread.join()


def test_somebody_who_asks_at_the_moment_of_the_start_is_waited_for(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        end = threading.Timer(0.2, fcntl.flock, [asked, fcntl.LOCK_UN])
        end.start()
        ServiceLock(tmp_path, patience=20).close()
        end.join()


@pytest.mark.parametrize("written", [b"", b"{", b"[1]", b'{"pid": "x"}', b"\xff" * 5000])
def test_a_lock_that_says_nothing_is_still_one(tmp_path: Path, written: bytes) -> None:
    lock = ServiceLock(tmp_path)
    lock.path.write_bytes(written)
    assert holder_of(tmp_path) == Holder()
    with pytest.raises(ServiceError, match="already: another process"):
        ServiceLock(tmp_path, patience=0)
    lock.close()


def test_a_folder_that_was_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    folder, aside = tmp_path / "data", tmp_path / "aside"
    with closing(ServiceLock(folder)) as lock:
        lock.require()
        folder.rename(aside)
        with pytest.raises(CatalogError, match="removed, replaced or unmounted"):
            lock.require()
        with closing(ServiceLock(folder)), pytest.raises(CatalogError):
            lock.require()
        shutil.rmtree(folder)
        aside.rename(folder)
        lock.require()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(ServiceError, match="cannot be used"):
        ServiceLock(tmp_path)
    with pytest.raises(ServiceError, match="cannot be used"):
        holder_of(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    ("number", "said", "advice"),
    [
        (errno.ENOLCK, "takes no locks", "local file system"),
        (errno.EOPNOTSUPP, "takes no locks", "local file system"),
        (errno.EACCES, "cannot be used", "Run it as the user"),
        (errno.EIO, "cannot be used", "Free space or repair"),
    ],
)
def test_an_odd_file_system_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, advice: str
) -> None:
    def flock(_file: int, _kind: int) -> None:
        raise OSError(number, os.strerror(number))

    ServiceLock(tmp_path).close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(holder.fcntl, "flock", flock)
    with pytest.raises(ServiceError, match=said) as caught:
        ServiceLock(tmp_path)
    assert advice in caught.value.advice
    with pytest.raises(ServiceError, match=said):
        holder_of(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(ServiceError, match="cannot be used"):
        ServiceLock(tmp_path / "data")
