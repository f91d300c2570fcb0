"""`[alerts]`: who hears of trouble, and what counts as trouble."""

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from fetchd.settings.running import TimeOfDay
from fetchd.settings.values import NOT_EMPTY, Duration, FilePath, Size, Table, Text

Trouble = Literal[
    "authentication", "no success", "account", "delivery failed", "destination", "brake",
    "quarantine", "disk", "damage", "certificate", "token",
]  # fmt: skip


def _https(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not text.isprintable() or " " in text:
        raise ValueError('a URL such as "https://hooks.example.org/fetchd"')
    return url


Webhook = Annotated[SecretStr, AfterValidator(_https)]


class Alerts(Table):
    """One message for each trouble and one when it is over, to all that are named here.

    `destinations` get a letter; `apprise` and `webhooks` are URLs, which hold secrets
    (the files have one a line); `command` reads the letter from standard input.
    """

    destinations: tuple[Text, ...] = ()
    apprise: tuple[SecretStr, ...] = ()
    apprise_file: FilePath | None = None
    webhooks: tuple[Webhook, ...] = ()
    webhooks_file: FilePath | None = None
    command: Annotated[tuple[str, ...], NOT_EMPTY] | None = None
    ignore: tuple[Trouble, ...] = ()
    no_success_for: Duration = timedelta(days=1)
    disk_free: Size = 1_000_000_000
    expiry: Duration = timedelta(days=14)
    digest: TimeOfDay | None = None
