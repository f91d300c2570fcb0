"""What the service's tables must agree on with the rest: alerts, schedules, secrets in the file."""

from collections.abc import Iterator
from typing import Any

from fetchd.settings.check_logins import Found, Path
from fetchd.settings.check_routes import names, unknown
from fetchd.settings.server import KEYS

_CHANNELS = ("destinations", "apprise", "apprise_file", "webhooks", "webhooks_file", "command")


def of_account(path: Path, account: dict[str, Any]) -> Found:
    """A POP3 server tells nothing by itself."""
    if account.get("protocol") == "pop3" and account.get("schedule") == "idle":
        yield (*path, "schedule"), 'found "idle", allowed with pop3: an interval, a crontab line'


def of_alerts(alerts: object, destinations: dict[str, Any]) -> Found:
    """Who is named is there, and a digest goes to somebody."""
    if not isinstance(alerts, dict):
        return
    for name in names(alerts.get("destinations")):
        if name not in destinations:
            yield ("alerts", "destinations"), unknown(name, destinations)
    if "digest" in alerts and not any(alerts.get(key) for key in _CHANNELS):
        yield ("alerts", "digest"), f"goes to nobody: set one of {', '.join(_CHANNELS)}"


def of_tokens(tokens: object) -> Found:
    """One key at most."""
    keys = [key for key in KEYS if key in _table(tokens)]
    if len(keys) > 1:
        yield ("tokens", keys[1]), f"found {', '.join(keys)}, allowed: one of them"


def written_secrets(data: dict[str, Any]) -> Iterator[str]:
    """What else in the file nobody should read, in a word each."""
    for section in ("accounts", "destinations"):
        for table in _table(data.get(section)).values():
            if "client_secret" in _table(_table(table).get("oauth2")):
                yield "secret"
            if "@" in str(_table(table).get("proxy", "")):
                yield "password"
    if _table(data.get("alerts")).keys() & {"apprise", "webhooks"}:
        yield "secret"


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
