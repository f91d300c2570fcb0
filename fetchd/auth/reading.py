"""Reading a secret from where it lies: a file, the environment, a credential of systemd.

What is read is one line of text, within limits. `lack` begins every sentence of what
fails: whose secret it is, and that there is none.
"""

import stat
from collections.abc import Mapping
from pathlib import Path

from fetchd.errors import SecretUnavailable

MAX_SECRET = 64 * 1024  # octets; longer than any token, shorter than a wrong file


def from_file(lack: str, file: Path) -> str:
    """What a file holds that others may not read."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise _unreadable(lack, file, error) from None
    if stat.S_ISDIR(mode):
        raise unavailable(lack, f"{file} is a folder", "Name the file in it.")
    if mode & stat.S_IROTH:
        raise unavailable(lack, f"{file} is readable by others", f"Run: chmod 600 {file}")
    return _read(lack, file)


def from_environment(lack: str, name: str, environ: Mapping[str, str]) -> str:
    """A variable's value."""
    if name not in environ:
        raise unavailable(lack, f"{name} is not in the environment", f"Set {name}.")
    return environ[name]


def from_credential(lack: str, name: str, environ: Mapping[str, str]) -> str:
    """systemd puts the files of LoadCredential= into a folder that only the service reads."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        advice = f"Run fetchd by systemd, with LoadCredential={name}:FILE in its unit."
        raise unavailable(lack, "CREDENTIALS_DIRECTORY is not set", advice)
    return _read(lack, Path(folder) / name)


def clean(lack: str, text: str, source: str) -> str:
    """One line: a line break inside would end the command that carries it (RFC 1939 §3)."""
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise unavailable(lack, f"{source} gave nothing", f"Check what {source} names.")
    if any(mark in secret for mark in "\r\n\0"):
        advice = f"Let {source} give the secret alone, on one line."
        raise unavailable(lack, f"{source} gave more than one line", advice)
    return secret


def decoded(lack: str, octets: bytes, source: str) -> str:
    """As text, if it is text of a bearable length."""
    if len(octets) <= MAX_SECRET:
        try:
            return octets.decode()
        except UnicodeDecodeError:
            pass  # told below, without the octets
    advice = "Check that it gives the secret alone, as UTF-8 text."
    raise unavailable(lack, f"{source} gave no readable text", advice)


def unavailable(lack: str, what: str, advice: str) -> SecretUnavailable:
    """The error: who lacks what, why, and what to do."""
    return SecretUnavailable(f"{lack}: {what}", advice=advice)


def _read(lack: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return decoded(lack, opened.read(MAX_SECRET + 1), str(file))
    except OSError as error:
        raise _unreadable(lack, file, error) from None


def _unreadable(lack: str, file: Path, error: OSError) -> SecretUnavailable:
    advice = f"Create {file} with the secret in it, readable by you alone (chmod 600)."
    return unavailable(lack, f"{file} cannot be read: {error.strerror}", advice)
