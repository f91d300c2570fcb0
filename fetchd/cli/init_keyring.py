"""`fetchd init` and the keyring of this machine: whether it can be used, and what goes into it.

`auth.secrets` reads it afterwards. The package is an extra and slow to import.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from fetchd.errors import SecretUnavailable


def is_usable() -> bool:
    """Whether the package is installed and has found a keyring; many servers have none."""
    if importlib.util.find_spec("keyring") is None:
        return False
    try:
        return float(import_module("keyring").get_keyring().priority) > 0
    except Exception:  # a backend's own, of any kind
        return False


@contextlib.contextmanager
def kept_in_keyring(service: str, username: str, secret: str) -> Iterator[None]:
    """Put it there; what was there before returns if the rest fails."""
    before = _ask("get_password", service, username)
    _ask("set_password", service, username, secret)
    try:
        yield
    except BaseException:
        with contextlib.suppress(SecretUnavailable):
            if before is None:
                _ask("delete_password", service, username)
            else:
                _ask("set_password", service, username, before)
        raise


def _ask(what: str, *arguments: str) -> Any:
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise SecretUnavailable(
            "the package keyring is not installed",
            advice="Install it: pip install 'fetchd[keyring]', or keep the password elsewhere.",
        ) from None
    try:
        return getattr(keyring, what)(*arguments)
    except errors.KeyringError:
        raise SecretUnavailable(
            "the keyring cannot be used", advice="Unlock it, or keep the password elsewhere."
        ) from None
