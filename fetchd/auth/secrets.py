"""Where passwords come from: settings, file, command, environment, systemd, keyring.

`read_secret` asks the one source an account names and returns the password. Its
errors say which source failed and what to do, never what was in it: neither the
secret nor a word of a command's output.
"""

import asyncio
import stat
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from fetchd.errors import SecretUnavailable
from fetchd.settings import Account

COMMAND_TIMEOUT = 60.0  # seconds: long enough to touch a key, short enough for a round
MAX_SECRET = 64 * 1024  # octets; longer than any token, shorter than a wrong file


async def read_secret(
    account: Account, environ: Mapping[str, str], *, patience: float = COMMAND_TIMEOUT
) -> str:
    """The password of this account, without its final newline."""
    if account.password is not None:
        return _clean(account, account.password.get_secret_value(), "password")
    if account.password_file is not None:
        text = await asyncio.to_thread(_from_file, account, account.password_file)
        return _clean(account, text, "password_file")
    if account.password_command is not None:
        text = await _from_command(account, account.password_command, environ, patience)
        return _clean(account, text, "password_command")
    if account.password_env is not None:
        text = _from_environment(account, account.password_env, environ)
        return _clean(account, text, "password_env")
    if account.password_credential is not None:
        file = _credential(account, account.password_credential, environ)
        text = await asyncio.to_thread(_read, account, file)
        return _clean(account, text, "password_credential")
    if account.password_keyring is not None:
        text = await asyncio.to_thread(_from_keyring, account, account.password_keyring)
        return _clean(account, text, "password_keyring")
    raise _unavailable(account, "no password is set", "Set one of the password_ settings.")


def _from_file(account: Account, file: Path) -> str:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise _unreadable(account, file, error) from None
    if stat.S_ISDIR(mode):
        raise _unavailable(account, f"{file} is a folder", "Name the file in it.")
    if mode & stat.S_IROTH:
        raise _unavailable(account, f"{file} is readable by others", f"Run: chmod 600 {file}")
    return _read(account, file)


def _read(account: Account, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return _decoded(account, opened.read(MAX_SECRET + 1), str(file))
    except OSError as error:
        raise _unreadable(account, file, error) from None


async def _from_command(
    account: Account, argv: tuple[str, ...], environ: Mapping[str, str], patience: float
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
        raise _unavailable(account, f"{program} cannot be started", advice) from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        advice = "Run the command by hand: it may be waiting for a passphrase."
        raise _unavailable(account, f"{program} took over {patience:g} s", advice) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        advice = "Run the command by hand to see what it says."
        raise _unavailable(account, f"{program} ended with {process.returncode}", advice)
    return _decoded(account, output, program)


def _from_environment(account: Account, name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise _unavailable(account, f"{name} is not in the environment", f"Set {name}.")
    return environ[name]


def _credential(account: Account, name: str, environ: Mapping[str, str]) -> Path:
    """systemd puts the files of LoadCredential= into a folder that only the service reads."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        advice = f"Run fetchd by systemd, with LoadCredential={name}:FILE in its unit."
        raise _unavailable(account, "CREDENTIALS_DIRECTORY is not set", advice)
    return Path(folder) / name


def _from_keyring(account: Account, service: str) -> str:
    try:
        keyring = import_module("keyring")  # an extra; slow to import, and rarely wanted
        errors = import_module("keyring.errors")
    except ImportError:
        advice = "Install it: pip install 'fetchd[keyring]'"
        raise _unavailable(account, "the package keyring is not installed", advice) from None
    try:
        secret = keyring.get_password(service, account.username)
    except errors.KeyringError:
        advice = "Unlock the keyring, or name the password in another way."
        raise _unavailable(account, "the keyring cannot be opened", advice) from None
    if secret is None:
        advice = f"Run: keyring set {service} {account.username}"
        raise _unavailable(account, f"the keyring holds nothing for {service}", advice)
    return str(secret)


def _clean(account: Account, text: str, source: str) -> str:
    """One line: a line break inside would end the command that carries it (RFC 1939 §3)."""
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise _unavailable(account, f"{source} gave nothing", f"Check what {source} names.")
    if any(mark in secret for mark in "\r\n\0"):
        advice = f"Let {source} give the password alone, on one line."
        raise _unavailable(account, f"{source} gave more than one line", advice)
    return secret


def _decoded(account: Account, octets: bytes, source: str) -> str:
    if len(octets) <= MAX_SECRET:
        try:
            return octets.decode()
        except UnicodeDecodeError:
            pass  # told below, without the octets
    advice = "Check that it gives the password alone, as UTF-8 text."
    raise _unavailable(account, f"{source} gave no readable password", advice)


def _unreadable(account: Account, file: Path, error: OSError) -> SecretUnavailable:
    advice = f"Create {file} with the password in it, readable by you alone (chmod 600)."
    return _unavailable(account, f"{file} cannot be read: {error.strerror}", advice)


def _unavailable(account: Account, what: str, advice: str) -> SecretUnavailable:
    return SecretUnavailable(f"{account.name}: no password: {what}", advice=advice)
