"""Mutt reads a mailbox back: what a mail reader that is not ours makes of a Maildir or mbox.

    read_back(path)    # each message's octets as mutt has them, in the mailbox's order

Mutt opens the mailbox read-only, decides by itself what it is and where its messages
begin and end, and pipes each of them, undecoded, to a program that keeps it in a file.
It wants a terminal, so it gets a pseudo-terminal; its screen is thrown away unless it
fails. Of an mbox mutt gives the "From " line too, which is taken off here, and leaves
">From " quoted, as it never undoes that: `unquoted` does (mboxrd). Otherwise the octets
are exact, but that a message without a header gets the empty line which ends one.

Mutt comes from the distribution's package, unpacked rather than installed (see the
Makefile); `mutt_available()` says what is missing, or None.
"""

import os
import pty
import re
import shlex
import subprocess
import tempfile
import threading
from pathlib import Path

from tests.servers.unpacked import Unpacked

PACKAGE = Unpacked("mutt", "usr/bin/mutt")
DEADLINE = 60.0

# A file per message, named by the order in which they come.
KEEP = """\
#!/bin/sh
number=$(ls | wc -l)
exec cat >"$(printf %08d "$number")"
"""
# `unset wait_key` and friends: mutt must never ask anything, nobody would answer.
SETTINGS = """\
set folder="{home}" spoolfile="{home}/spool" record="" postponed="" header_cache=""
set read_only quit=yes confirmappend=no mail_check=0 timeout=1 sleep_time=0 sort=mailbox-order
set pipe_split pipe_sep="" pipe_decode=no wait_key=no auto_tag=no beep=no check_new=no
set charset=utf-8 alias_file=/dev/null history_file=/dev/null
"""
KEYS = "<tag-pattern>~A<enter><tag-prefix><pipe-message>{keep}<enter><exit>"


def mutt_available() -> str | None:
    """None when mutt can run here, else the reason why not."""
    return PACKAGE.missing()


def read_back(path: Path) -> list[bytes]:
    """Each message as mutt finds it; a mailbox that mutt cannot open is an error."""
    with tempfile.TemporaryDirectory(prefix="mutt-") as name:
        home, found = Path(name), Path(name, "found")
        found.mkdir()
        keep = home / "keep"
        keep.write_text(KEEP)
        keep.chmod(0o755)
        (home / "muttrc").write_text(SETTINGS.format(home=home))
        screen = _run(path.absolute(), home, KEYS.format(keep=keep))
        messages = [one.read_bytes() for one in sorted(found.iterdir())]
    if not messages and _holds_something(path):
        raise RuntimeError(f"mutt found nothing in {path}: {screen[-500:]!r}")
    return [_without_separator(octets) for octets in messages]


def unquoted(octets: bytes) -> bytes:
    """The octets as they were before the mbox: one ">" less before "From " (mboxrd)."""
    return re.sub(rb"^>(>*From )", rb"\1", octets, flags=re.MULTILINE)


def _run(path: Path, home: Path, keys: str) -> bytes:
    """Mutt on a pseudo-terminal until it exits; what it drew."""
    ours, theirs = pty.openpty()
    command = [
        PACKAGE.path(PACKAGE.program), "-n", "-F", str(home / "muttrc"),
        "-z",  # an empty mailbox ends it at once, where the keys would find nothing to do
        "-R", "-f", str(path), "-e", f"push {shlex.quote(keys)}",
    ]  # fmt: skip
    environment = PACKAGE.environment() | {"TERM": "vt100", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, cwd=home / "found", env=environment, start_new_session=True,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    drawn = bytearray()
    reader = threading.Thread(target=_drain, args=(ours, drawn))
    reader.start()
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"mutt did not end: {bytes(drawn)[-500:]!r}") from None
    finally:
        reader.join()
        os.close(ours)
    return bytes(drawn)


def _drain(terminal: int, drawn: bytearray) -> None:
    """Read what mutt draws, which would stop it if nobody did, until it has closed."""
    while True:
        try:
            drawn += os.read(terminal, 65536)
        except OSError:  # Linux: EIO once the other end is closed
            return


def _holds_something(path: Path) -> bool:
    if path.is_dir():
        return any(child.is_file() for part in ("new", "cur") for child in (path / part).iterdir())
    return path.stat().st_size > 0


def _without_separator(octets: bytes) -> bytes:
    return re.sub(rb"\AFrom .*\n", b"", octets)
