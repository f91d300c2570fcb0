"""Mail that would come back: a destination that an account of these settings fetches from.

What goes there is fetched again, and sent there again. fetchd knows its own mail by the
trace field and would stop, but with each message refused once; the settings are the place
to say so. Who means it (another user of that server, a filter that sorts it away) writes
confirm_own_address = true.
"""

from collections.abc import Mapping
from typing import Any

from fetchd.settings.check_logins import Found, Path, is_true

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CONFIRM = "mail would go round; confirm_own_address = true says that it does not"
Tables = Mapping[str, dict[str, Any]]


def loops(accounts: Tables, destinations: Tables) -> Found:
    """Each recipient, and each mailbox, that is one of the accounts."""
    for name, destination in destinations.items():
        if is_true(destination.get("confirm_own_address")):
            continue
        path = ("destinations", name)
        if destination.get("kind") in ("smtp", "lmtp"):
            yield from _of_recipients(path, destination, accounts)
        elif destination.get("kind") == "imap":
            yield from _of_mailbox(path, destination, accounts)


def _of_recipients(path: Path, destination: dict[str, Any], accounts: Tables) -> Found:
    wanted = destination.get("recipients")
    recipients = [("recipients", each) for each in (wanted if isinstance(wanted, list) else [])]
    recipients.append(("fallback_recipient", destination.get("fallback_recipient")))
    for key, recipient in recipients:
        if not isinstance(recipient, str):
            continue
        for account, table in accounts.items():
            if _is_fetched(recipient, _text(destination.get("host")) or "localhost", table):
                text = f'found "{recipient}", which account "{account}" fetches from: {_CONFIRM}'
                yield (*path, key), text
                break


def _of_mailbox(path: Path, destination: dict[str, Any], accounts: Tables) -> Found:
    way = _host(destination), _text(destination.get("username"))
    for account, table in accounts.items():
        if all(way) and way == (_host(table), _text(table.get("username"))):
            text = f'host and username are those of account "{account}": {_CONFIRM}'
            yield (*path, "username"), text
            break


def _is_fetched(recipient: str, server: str, account: dict[str, Any]) -> bool:
    """Is mail for this recipient, handed to that server, what the account fetches?"""
    username, host = _text(account.get("username")), _host(account)
    mailbox, at, domain = recipient.casefold().rpartition("@")
    # What follows a "+" is a detail of the same mailbox (RFC 5233).
    local = (mailbox if at else domain).partition("+")[0]
    if not at:  # a user of the server itself
        return username == local and _same_host(host, server)
    if username == f"{local}@{domain}":
        return True
    return username == local and (host == domain or host.endswith(f".{domain}"))


def _same_host(one: str, other: str) -> bool:
    return one == other or (one in _LOOPBACK and other in _LOOPBACK)


def _host(table: dict[str, Any]) -> str:
    return _text(table.get("host")).rstrip(".")


def _text(value: object) -> str:
    return value.casefold() if isinstance(value, str) else ""
