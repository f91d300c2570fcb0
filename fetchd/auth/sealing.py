"""Encryption of tokens at rest: AES-256-GCM under a key that scrypt makes of the owner's.

What stands before the sealed octets is readable: a mark, the salt, the nonce. The name
under which a token lies is authenticated with it, so that nobody can give one account the
token of another. Without a key a token lies as plain JSON.

scrypt takes 50 ms, so the salt is shared by all tokens that one process seals anew, and
what it makes of key and salt is remembered.
"""

import base64
import hashlib
import os
from functools import lru_cache

from fetchd.errors import SecretUnavailable

MARK = "fetchd-sealed-1:"
SALT, NONCE = 16, 12  # octets
_COST = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}  # 16 MB; OWASP's floor for an owner's words


def seal(text: str, key: str, name: str) -> str:
    """The text as it may lie on a disk."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # slow to import

    salt, nonce = _own_salt(), os.urandom(NONCE)
    sealed = AESGCM(_derived(key, salt)).encrypt(nonce, text.encode(), name.encode())
    return MARK + base64.b64encode(salt + nonce + sealed).decode()


def is_sealed(text: str) -> bool:
    """Whether a key is needed to read it."""
    return text.startswith(MARK)


def unseal(text: str, key: str, name: str, lack: str) -> str:
    """What was sealed; SecretUnavailable where this is not the key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        octets = base64.b64decode(text.removeprefix(MARK), validate=True)
        salt, nonce, sealed = octets[:SALT], octets[SALT : SALT + NONCE], octets[SALT + NONCE :]
        return AESGCM(_derived(key, salt)).decrypt(nonce, sealed, name.encode()).decode()
    except (ValueError, InvalidTag):
        raise SecretUnavailable(
            f"{lack}: the key of [tokens] is not the one that it was encrypted with",
            advice="Give the old key back, or make a new token: fetchd login",
        ) from None


@lru_cache(maxsize=1)
def _own_salt() -> bytes:
    return os.urandom(SALT)


@lru_cache(maxsize=1024)
def _derived(key: str, salt: bytes) -> bytes:
    return hashlib.scrypt(key.encode(), salt=salt, maxmem=64 << 20, **_COST)
