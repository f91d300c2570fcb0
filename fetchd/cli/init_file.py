"""Writing what `fetchd init` found out: whole or not at all.

The settings are written beside their place, read back as `fetchd` will read them, and only
then take the place of what was there, which keeps its text, its mode and its owner. A
secret is written before, to a file that did not exist, for the owner's eyes only; if
anything fails or is interrupted behind that, it goes again.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from fetchd.cli.init_answers import Kept
from fetchd.cli.init_keyring import kept_in_keyring
from fetchd.errors import SettingsError, UsageError
from fetchd.settings import load


def put_settings(file: Path, text: str, before: str | None, environ: Mapping[str, str]) -> None:
    """Put this text there, if it loads; `before` is what was read there, None: nothing."""
    file = file.resolve()  # through links, which stay
    file.parent.mkdir(parents=True, exist_ok=True)
    if before is not None and file.read_text("utf-8") != before:
        raise UsageError(f"{file} has been changed meanwhile", advice="Run 'fetchd init' again.")
    mode = stat.S_IMODE(file.stat().st_mode) if before is not None else 0o600
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        _write(beside, text, mode)
        _check_loads(beside, file, text, before, environ)
        if before is not None:
            _give_to_its_owner(beside, file)
            beside.replace(file)
        else:
            _place(beside, file)
    except FileExistsError:
        raise UsageError(f"{file} exists by now", advice="Run 'fetchd init' again.") from None
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def kept_secret(kept: Kept, username: str) -> Iterator[None]:
    """Put the secret where it is to be; it leaves again if the rest fails."""
    if kept.service:
        with kept_in_keyring(kept.service, username, kept.secret):
            yield
    elif kept.file is not None:
        with _in_file(kept.file, kept.secret):
            yield
    else:
        yield


@contextlib.contextmanager
def _in_file(file: Path, secret: str) -> Iterator[None]:
    file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    try:
        _write(file, f"{secret}\n", 0o600)
    except FileExistsError:
        raise UsageError(
            f"{file} exists", advice="Name it by --password-file, or remove it."
        ) from None
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _write(file: Path, text: str, mode: int) -> None:
    """A new file, whole and durable; nobody else can read it at any moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), mode)
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _check_loads(
    beside: Path, file: Path, text: str, before: str | None, environ: Mapping[str, str]
) -> None:
    try:
        load(beside, environ)
    except SettingsError as error:
        problems = [problem.replace(str(beside), str(file)) for problem in error.problems]
        added = text.removeprefix(before or "").strip()
        raise SettingsError(
            *problems,
            advice=f"Nothing was written. This is what was to be written there:\n{added}",
        ) from None


def _place(beside: Path, file: Path) -> None:
    """FileExistsError where somebody has made one meanwhile."""
    try:
        os.link(beside, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if file.exists():
            raise FileExistsError(file) from None
        beside.rename(file)


def _give_to_its_owner(beside: Path, file: Path) -> None:
    """Root may write the file of another user, who must be able to read it afterwards."""
    was = file.stat()
    if (was.st_uid, was.st_gid) != (os.getuid(), os.getgid()):
        with contextlib.suppress(OSError):
            os.chown(beside, was.st_uid, was.st_gid)
