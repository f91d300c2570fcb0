"""The programs that the bench runs: their packages in Debian and their versions.

`missing()` names what is not installed, `advice()` says in one sentence how to
install it. To add a program, add a row to PACKAGES.
"""

import re
import subprocess
from collections.abc import Iterable

from tests.servers.dovecot import find_program

PACKAGES = {
    "cc": "gcc libc6-dev",
    "zstd": "zstd",
    "mpop": "mpop",
    "fetchmail": "fetchmail",
    "procmail": "procmail",
    "getmail": "getmail6",
    "fdm": "fdm",
    "mbsync": "isync",
    "offlineimap": "offlineimap3",
}
ASKED = {
    "dovecot": "--version",
    "mpop": "--version",
    "fetchmail": "--version",
    "procmail": "-v",
    "getmail": "--version",
    "mbsync": "--version",
    "offlineimap": "--version",
}


def missing(programs: Iterable[str]) -> list[str]:
    """Those that are not installed, each once."""
    return [name for name in dict.fromkeys(programs) if find_program(name) is None]


def advice(names: Iterable[str]) -> str:
    """One sentence: what is missing and the command that installs it."""
    names = list(names)
    packages = " ".join(PACKAGES[name] for name in names)
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names)} {verb} not installed: sudo apt-get install {packages}"


def versions() -> dict[str, str]:
    """The version of every program that is there."""
    found = {name: version(name, option) for name, option in ASKED.items()}
    found["fdm"] = package_version("fdm")  # it cannot say it
    return {name: said for name, said in found.items() if said}


def version(name: str, option: str) -> str:
    """The first thing in a program's words that looks like a version; empty if absent."""
    path = find_program(name)
    if path is None:
        return ""
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return match[0] if match else "?"


def package_version(package: str) -> str:
    """What the package is called; empty where nobody knows."""
    query = find_program("dpkg-query")
    if query is None:
        return ""
    done = subprocess.run(
        [query, "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
