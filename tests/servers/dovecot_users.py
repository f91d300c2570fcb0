"""The users of a private Dovecot: a file for each, read by its login and its delivery.

A file for each, since Dovecot looks for changes in a file it has read only once a
second, and then only at its size and whole seconds of mtime.

`full` is for a user whose quota is spent from the first day, as LMTP sees it: "refuse"
is answered 552, "defer" 452, after the message and for this recipient alone.
"""

import itertools
import os
from pathlib import Path

FIRST_STAMP = 1_600_000_000
FULL = {
    None: "",
    "refuse": "userdb_quota_rule=*:bytes=1",
    "defer": "userdb_quota_rule=*:bytes=1 userdb_quota_full_tempfail=yes",
}


class Users:
    """Names and passwords, below one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._passwords: dict[str, str] = {}
        self._stamps = itertools.count(FIRST_STAMP)

    def write(self, name: str, password: str, full: str | None) -> bool:
        """Add a user or change one; whether the password is another than it was."""
        new = self._folder / f".{name}.new"
        new.write_text(f"{name}:{{PLAIN}}{password}::::::{FULL[full]}\n")
        stamp = next(self._stamps)
        os.utime(new, (stamp, stamp))
        new.rename(self._folder / name)
        changed = self._passwords.get(name, password) != password
        self._passwords[name] = password
        return changed

    def password(self, name: str) -> str:
        """What this user logs in with."""
        return self._passwords[name]
