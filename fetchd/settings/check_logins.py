"""Who logs in says who it is and has one source of its password, on a line that may carry it."""

from collections.abc import Iterator
from typing import Any

from fetchd.settings.server import SECRETS

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
    given = [key for key in SECRETS if key in table]
    if not needed and "username" not in table:
        if given:
            yield (*path, "username"), f"missing, and needed with {given[0]}"
        return
    yield from exactly_one(path, given, SECRETS, "" if needed else " with username")
    if table.get("tls", tls) == "none" and not is_true(table.get("allow_plaintext_auth")):
        yield (*path, "tls" if "tls" in table else "username"), PLAINTEXT


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
