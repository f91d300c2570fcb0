"""Root keeps out of folders that belong to somebody else.

What root writes there (a segment, a token, SQLite's own files) nobody but root can open: the
service, which runs as the folder's owner, would stop at the first of them. So whoever opens a
folder of ours for writing asks here first. Reading leaves nothing behind, and is not asked.
"""

import os
import pwd
from pathlib import Path

from fetchd.errors import WrongUser


def refuse_root(folder: Path) -> None:
    """WrongUser where we are root and the folder, which is there, is another user's."""
    if os.geteuid() != 0:
        return
    try:
        found = folder.stat()
    except OSError:
        return  # absent, so it will be ours; or whoever opens it says what is wrong
    if found.st_uid != 0:
        raise WrongUser(
            f"{folder} belongs to {_named(found.st_uid)}, who could not open what root writes",
            advice=f"Run: {_as_owner(found.st_uid, found.st_gid)} (or, if it is to be root's: "
            f"chown -R root {folder})",
        )


def _named(user: int) -> str:
    name = _name(user)
    return f"the user {name}" if name else f"the user id {user}"


def _as_owner(user: int, group: int) -> str:
    """sudo refuses ids without a name, such as a container's, or systemd's DynamicUser= at rest."""
    if name := _name(user):
        return f"sudo -u {name} fetchd …"
    return f"setpriv --reuid {user} --regid {group} --clear-groups fetchd …"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""
