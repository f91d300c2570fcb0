"""The secret by which senders that we rewrote (SRS) are known as ours."""

import asyncio
import stat
from pathlib import Path

from fetchd.errors import SecretUnavailable
from fetchd.settings import LmtpDestination, SmtpDestination
from fetchd.telemetry import conceal

MAX_SECRET = 64 * 1024  # octets; as auth.secrets


async def read_srs_secret(settings: SmtpDestination | LmtpDestination) -> str:
    """ "" where senders are not rewritten."""
    if isinstance(settings, LmtpDestination) or settings.srs_domain is None:
        return ""
    if settings.srs_secret is not None:
        secret = settings.srs_secret.get_secret_value()
    elif settings.srs_secret_file is not None:
        secret = await asyncio.to_thread(_read, settings.name, settings.srs_secret_file)
    else:
        raise _unavailable(settings.name, "none is set", "Set srs_secret or srs_secret_file.")
    conceal(secret)
    return secret


def _read(name: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            if stat.S_IMODE(file.stat().st_mode) & stat.S_IROTH:
                raise _unavailable(name, f"{file} is readable by others", f"Run: chmod 600 {file}")
            text = opened.read(MAX_SECRET + 1).decode()
    except OSError as error:
        advice = f"Create {file} with the secret in it, readable by you alone (chmod 600)."
        raise _unavailable(name, f"{file} cannot be read: {error.strerror}", advice) from None
    except UnicodeDecodeError:
        raise _unavailable(name, f"{file} holds no text", "Put the secret there alone.") from None
    secret = text.strip()
    if not secret or len(text) > MAX_SECRET:
        raise _unavailable(name, f"{file} holds no secret", "Put the secret there alone.")
    return secret


def _unavailable(name: str, what: str, advice: str) -> SecretUnavailable:
    return SecretUnavailable(f"{name}: no SRS secret: {what}", advice=advice)
