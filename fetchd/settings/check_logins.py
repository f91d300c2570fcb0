"""Who logs in says who it is and has one source of its password, on a line that may carry it."""

from collections.abc import Iterator
from typing import Any

from fetchd.settings.server import CLIENT_SECRETS, SECRETS

Path = tuple[str, ...]
Found = Iterator[tuple[Path, str]]
PLAINTEXT = (
    "allow_plaintext_auth = true is needed to send a password over an unencrypted line "
    "(loopback included)"
)


def of_login(path: Path, table: dict[str, Any], *, needed: bool, tls: str = "implicit") -> Found:
    """A server that always wants a login, or one that has one only where a username is given.

    `tls` is what holds where the table does not say.
    """
    yield from _of_line(path, table)
    sources = (*SECRETS, "oauth2")
    given = [key for key in sources if key in table]
    if not needed and "username" not in table:
        if given:
            yield (*path, "username"), f"missing, and needed with {given[0]}"
        return
    yield from exactly_one(path, given, sources, "" if needed else " with username")
    if isinstance(oauth2 := table.get("oauth2"), dict):
        yield from _of_oauth2((*path, "oauth2"), oauth2, table.get("auth", "auto"))
    if table.get("tls", tls) == "none" and not is_true(table.get("allow_plaintext_auth")):
        yield (*path, "tls" if "tls" in table else "username"), PLAINTEXT


def _of_line(path: Path, table: dict[str, Any]) -> Found:
    """A proxy or a tunnel makes the connection itself."""
    ways = [key for key in ("proxy", "tunnel") if key in table]
    if len(ways) > 1:
        yield (*path, "tunnel"), "found proxy too, allowed: one of proxy, tunnel"
    for key in ("bind_address", "ip"):
        if "tunnel" in table and key in table:
            yield (*path, key), "found tunnel too, which makes the connection itself"
    address, ip = table.get("bind_address"), table.get("ip")
    if isinstance(address, str) and ip in ("4", "6") and (":" in address) != (ip == "6"):
        yield (*path, "ip"), f'found "{ip}", and bind_address = "{address}" is of the other kind'


def _of_oauth2(path: Path, table: dict[str, Any], auth: object) -> Found:
    given = [key for key in CLIENT_SECRETS if key in table]
    if len(given) > 1:
        yield (*path, given[1]), f"found {', '.join(given)}, allowed: one of them"
    if table.get("provider", "custom") == "custom":
        for key in ("authorization_endpoint", "token_endpoint", "scopes"):
            if key not in table and not (key.startswith("auth") and "device_endpoint" in table):
                yield (*path, key), 'missing, and needed with provider = "custom"'
    if auth not in ("auto", "xoauth2", "oauthbearer"):
        yield (*path[:-1], "auth"), 'found oauth2 too, allowed: "auto", "xoauth2", "oauthbearer"'


def exactly_one(path: Path, given: list[str], sources: tuple[str, ...], when: str = "") -> Found:
    """One of the sources of a secret, neither none nor two of them."""
    if len(given) != 1:
        found = f"found {', '.join(given)}" if given else "found none"
        text = f"{found}, allowed{when}: exactly one of {', '.join(sources)}"
        yield (*path, *given[1:2]), text


def is_true(value: object) -> bool:
    """As pydantic will read it: variables are text."""
    text = value.lower() if isinstance(value, str) else value
    return text in (True, "true", "1", "yes", "on", "t", "y")
