"""Where passwords come from: settings, file, command, environment, systemd, keyring.

`read_credentials` is what logs in: the password, or a token where there is `oauth2` instead
(`access`). `read_secret` asks the one source of a password that an account or a destination
names; `read_srs_secret` does so for the key that rewritten senders are signed with.
Errors say whose it is, which source failed and what to do, never what was in it: neither
the secret nor a word of a command's output.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from fetchd.auth.reading import (
    clean,
    decoded,
    from_credential,
    from_environment,
    from_file,
    unavailable,
)
from fetchd.contracts import Credentials
from fetchd.settings import Server, SmtpDestination

COMMAND_TIMEOUT = 60.0  # seconds: long enough to touch a key, short enough for a round
ENDING = 2.0  # seconds until what was killed is not waited for any longer


async def read_secret(
    owner: Server, environ: Mapping[str, str], *, patience: float = COMMAND_TIMEOUT
) -> str:
    """The password of this account or destination, without its final newline."""
    lack = f"{owner.called}: no password"
    if owner.password is not None:
        return clean(lack, owner.password.get_secret_value(), "password")
    if owner.password_file is not None:
        text = await asyncio.to_thread(from_file, lack, owner.password_file)
        return clean(lack, text, "password_file")
    if owner.password_command is not None:
        text = await _from_command(lack, owner.password_command, environ, patience)
        return clean(lack, text, "password_command")
    if owner.password_env is not None:
        text = from_environment(lack, owner.password_env, environ)
        return clean(lack, text, "password_env")
    if owner.password_credential is not None:
        text = await asyncio.to_thread(from_credential, lack, owner.password_credential, environ)
        return clean(lack, text, "password_credential")
    if owner.password_keyring is not None:
        user = owner.username or ""
        text = await asyncio.to_thread(_from_keyring, lack, owner.password_keyring, user)
        return clean(lack, text, "password_keyring")
    raise unavailable(lack, "none is set", "Set one of the password_ settings.")


async def read_credentials(
    owner: Server, environ: Mapping[str, str], *, refused: Credentials | None = None
) -> Credentials:
    """Who logs in and with what: a password, or a token where the settings say so.

    `refused` is what the server has just said no to: of a token that means a fresh one.
    """
    username = owner.username or ""
    if owner.oauth2 is not None:
        from fetchd.auth.access import access_token  # its imports are dear without OAuth2

        before = refused.secret if refused is not None and refused.token else None
        return Credentials(username, await access_token(owner, environ, before), token=True)
    return Credentials(username, await read_secret(owner, environ))


async def read_srs_secret(destination: SmtpDestination) -> str:
    """The key of its rewritten senders (SRS); empty where it rewrites none."""
    lack = f"{destination.called}: no secret for SRS"
    if destination.srs_secret is not None:
        return clean(lack, destination.srs_secret.get_secret_value(), "srs_secret")
    if destination.srs_secret_file is not None:
        text = await asyncio.to_thread(from_file, lack, destination.srs_secret_file)
        return clean(lack, text, "srs_secret_file")
    return ""


async def _from_command(
    lack: str, argv: tuple[str, ...], environ: Mapping[str, str], patience: float
) -> str:
    """Standard output of the command; no shell, and only its program's name is ever shown."""
    program = Path(argv[0]).name
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        # Where there is a terminal, it may ask there, and Ctrl-C reaches all that it started.
        alone = sys.stdin is None or not sys.stdin.isatty()
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=null, stdout=pipe, stderr=null, env=dict(environ), start_new_session=alone
        )
    except (OSError, ValueError):
        advice = "Check that the program of password_command exists and may be run."
        raise unavailable(lack, f"{program} cannot be started", advice) from None
    heard = False
    try:
        output, _ = await asyncio.wait_for(process.communicate(), patience)
        heard = True
    except TimeoutError:
        advice = "Run the command by hand: it may be waiting for a passphrase."
        raise unavailable(lack, f"{program} took over {patience:g} s", advice) from None
    finally:
        if not heard:
            await _end(process, with_children=alone)
    if process.returncode:
        advice = "Run the command by hand to see what it says."
        raise unavailable(lack, f"{program} ended with {process.returncode}", advice)
    return decoded(lack, output, program)


async def _end(process: asyncio.subprocess.Process, *, with_children: bool) -> None:
    """It, and where we may what it started: a child that holds its output would be waited for."""
    with suppress(ProcessLookupError):
        if with_children:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING):
            await process.wait()


def _from_keyring(lack: str, service: str, user: str) -> str:
    try:
        keyring = import_module("keyring")  # an extra; slow to import, and rarely wanted
        errors = import_module("keyring.errors")
    except ImportError:
        advice = "Install it: pip install 'fetchd[keyring]'"
        raise unavailable(lack, "the package keyring is not installed", advice) from None
    try:
        secret = keyring.get_password(service, user)
    except errors.KeyringError:
        advice = "Unlock the keyring, or name the password in another way."
        raise unavailable(lack, "the keyring cannot be opened", advice) from None
    if secret is None:
        advice = f"Run: keyring set {service} {user}"
        raise unavailable(lack, f"the keyring holds nothing for {service}", advice)
    return str(secret)
