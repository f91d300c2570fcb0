"""Procmail as the program of a command destination: a real mail delivery agent on a pipe.

    procmail = Procmail(folder)
    procmail.command          # what to run with a message on standard input
    procmail.arrived()        # each message's octets as procmail filed them

It files into a Maildir of its own below the folder. A message with the field
`X-Exit: 75` (EX_TEMPFAIL) or another number is not filed: procmail ends with that
status. With `-t` it says 75 itself where it cannot file, as to a full disk.

Its octets are what came, but that it drops a "From " line at the head, as test_procmail.py
shows. `procmail_available()` says what is missing, or None; the package is among the
Makefile's RIVALS.
"""

import shutil
from pathlib import Path

RC = """\
MAILDIR={folder}
DEFAULT={folder}/Maildir/
ORGMAIL={folder}/Maildir/
LOGFILE={folder}/procmail.log
LOCKFILE=
SHELL=/bin/sh

:0
* ^X-Exit: \\/[0-9]+
{{
  EXITCODE=$MATCH
  HOST=_stop_here_
}}
"""


def procmail_available() -> str | None:
    """None when procmail can run here, else the reason why not."""
    if shutil.which("procmail") is None:
        return "procmail is not installed: sudo apt-get install --no-install-recommends procmail"
    return None


class Procmail:
    """One folder that procmail files into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rc = self.folder / "procmailrc"
        self._rc.write_text(RC.format(folder=self.folder))

    @property
    def command(self) -> tuple[str, ...]:
        """`-t`: what fails may succeed later. `-Y`: Content-Length is none of its business."""
        return (str(shutil.which("procmail")), "-t", "-Y", str(self._rc))

    def arrived(self) -> list[bytes]:
        """Every message as it was filed, in no order that means anything."""
        return [path.read_bytes() for path in sorted((self.folder / "Maildir").glob("new/*"))]

    def log(self) -> str:
        """All that procmail has logged."""
        path = self.folder / "procmail.log"
        return path.read_text(errors="replace") if path.exists() else ""
