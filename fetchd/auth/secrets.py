"""Where passwords come from: settings, file, command, environment, systemd, keyring.

`read_secret` asks the one source that an account or a destination names and returns the
password; `read_srs_secret` does so for the key that rewritten senders are signed with.
Errors say whose it is, which source failed and what to do, never what was in it: neither
the secret nor a word of a command's output.
"""

import asyncio
import stat
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from fetchd.contracts import Credentials
from fetchd.errors import SecretUnavailable
from fetchd.settings import Server, SmtpDestination

COMMAND_TIMEOUT = 60.0  # seconds: long enough to touch a key, short enough for a round
MAX_SECRET = 64 * 1024  # octets; longer than any token, shorter than a wrong file


async def read_secret(
    owner: Server, environ: Mapping[str, str], *, patience: float = COMMAND_TIMEOUT
) -> str:
    """The password of this account or destination, without its final newline."""
    lack = f"{owner.called}: no password"
    if owner.password is not None:
        return _clean(lack, owner.password.get_secret_value(), "password")
    if owner.password_file is not None:
        text = await asyncio.to_thread(_from_file, lack, owner.password_file)
        return _clean(lack, text, "password_file")
    if owner.password_command is not None:
        text = await _from_command(lack, owner.password_command, environ, patience)
        return _clean(lack, text, "password_command")
    if owner.password_env is not None:
        text = _from_environment(lack, owner.password_env, environ)
        return _clean(lack, text, "password_env")
    if owner.password_credential is not None:
        file = _credential(lack, owner.password_credential, environ)
        text = await asyncio.to_thread(_read, lack, file)
        return _clean(lack, text, "password_credential")
    if owner.password_keyring is not None:
        user = owner.username or ""
        text = await asyncio.to_thread(_from_keyring, lack, owner.password_keyring, user)
        return _clean(lack, text, "password_keyring")
    raise _unavailable(lack, "none is set", "Set one of the password_ settings.")


async def read_credentials(
    owner: Server, environ: Mapping[str, str], *, refused: Credentials | None = None
) -> Credentials:
    """Who logs in and with what: a password, or a token where the settings say so.

    `refused` is what the server has just said no to: of a token that means a fresh one.
    """
    secret = await read_secret(owner, environ)
    return Credentials(owner.username or "", secret)


async def read_srs_secret(destination: SmtpDestination) -> str:
    """The key of its rewritten senders (SRS); empty where it rewrites none."""
    lack = f"{destination.called}: no secret for SRS"
    if destination.srs_secret is not None:
        return _clean(lack, destination.srs_secret.get_secret_value(), "srs_secret")
    if destination.srs_secret_file is not None:
        text = await asyncio.to_thread(_from_file, lack, destination.srs_secret_file)
        return _clean(lack, text, "srs_secret_file")
    return ""


def _from_file(lack: str, file: Path) -> str:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise _unreadable(lack, file, error) from None
    if stat.S_ISDIR(mode):
        raise _unavailable(lack, f"{file} is a folder", "Name the file in it.")
    if mode & stat.S_IROTH:
        raise _unavailable(lack, f"{file} is readable by others", f"Run: chmod 600 {file}")
    return _read(lack, file)


def _read(lack: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return _decoded(lack, opened.read(MAX_SECRET + 1), str(file))
    except OSError as error:
        raise _unreadable(lack, file, error) from None


async def _from_command(
    lack: str, argv: tuple[str, ...], environ: Mapping[str, str], patience: float
) -> str:
    """Standard output of the command; no shell, and only its program's name is ever shown."""
    program = Path(argv[0]).name
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=null, stdout=pipe, stderr=null, env=dict(environ)
        )
    except (OSError, ValueError):
        advice = "Check that the program of password_command exists and may be run."
        raise _unavailable(lack, f"{program} cannot be started", advice) from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        advice = "Run the command by hand: it may be waiting for a passphrase."
        raise _unavailable(lack, f"{program} took over {patience:g} s", advice) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        advice = "Run the command by hand to see what it says."
        raise _unavailable(lack, f"{program} ended with {process.returncode}", advice)
    return _decoded(lack, output, program)


def _from_environment(lack: str, name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise _unavailable(lack, f"{name} is not in the environment", f"Set {name}.")
    return environ[name]


def _credential(lack: str, name: str, environ: Mapping[str, str]) -> Path:
    """systemd puts the files of LoadCredential= into a folder that only the service reads."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        advice = f"Run fetchd by systemd, with LoadCredential={name}:FILE in its unit."
        raise _unavailable(lack, "CREDENTIALS_DIRECTORY is not set", advice)
    return Path(folder) / name


def _from_keyring(lack: str, service: str, user: str) -> str:
    try:
        keyring = import_module("keyring")  # an extra; slow to import, and rarely wanted
        errors = import_module("keyring.errors")
    except ImportError:
        advice = "Install it: pip install 'fetchd[keyring]'"
        raise _unavailable(lack, "the package keyring is not installed", advice) from None
    try:
        secret = keyring.get_password(service, user)
    except errors.KeyringError:
        advice = "Unlock the keyring, or name the password in another way."
        raise _unavailable(lack, "the keyring cannot be opened", advice) from None
    if secret is None:
        advice = f"Run: keyring set {service} {user}"
        raise _unavailable(lack, f"the keyring holds nothing for {service}", advice)
    return str(secret)


def _clean(lack: str, text: str, source: str) -> str:
    """One line: a line break inside would end the command that carries it (RFC 1939 §3)."""
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise _unavailable(lack, f"{source} gave nothing", f"Check what {source} names.")
    if any(mark in secret for mark in "\r\n\0"):
        advice = f"Let {source} give the secret alone, on one line."
        raise _unavailable(lack, f"{source} gave more than one line", advice)
    return secret


def _decoded(lack: str, octets: bytes, source: str) -> str:
    if len(octets) <= MAX_SECRET:
        try:
            return octets.decode()
        except UnicodeDecodeError:
            pass  # told below, without the octets
    advice = "Check that it gives the secret alone, as UTF-8 text."
    raise _unavailable(lack, f"{source} gave no readable text", advice)


def _unreadable(lack: str, file: Path, error: OSError) -> SecretUnavailable:
    advice = f"Create {file} with the secret in it, readable by you alone (chmod 600)."
    return _unavailable(lack, f"{file} cannot be read: {error.strerror}", advice)


def _unavailable(lack: str, what: str, advice: str) -> SecretUnavailable:
    return SecretUnavailable(f"{lack}: {what}", advice=advice)
