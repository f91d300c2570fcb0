"""A mark of a login, by which one that was refused is known again and not tried once more.

It tells nobody the password: it is a slow hash (scrypt) over where, who and what.
"""

import hashlib

from fetchd.contracts import Credentials
from fetchd.errors import FetchdError
from fetchd.settings import Server

_COST = 1 << 14  # some 50 ms, which a thief pays for each guess


def login_mark(server: Server, credentials: Credentials | None) -> str:
    """Another one whenever address, TLS, user, way or secret are; blocking.

    Tokens change by themselves: with OAuth2 it is the client, and what the last `fetchd login`
    gave, that count.
    """
    way = f"{server.host}:{server.port} {server.tls} {server.username} {auth_of(server)}"
    secret = "" if credentials is None else credentials.secret
    if server.oauth2 is not None:
        secret = f"{server.oauth2.client_id} {_client_secret(server)} {_granted_at(server)}"
    salt = hashlib.sha256(way.encode()).digest()
    return hashlib.scrypt(secret.encode(), salt=salt, n=_COST, r=8, p=1, dklen=16).hex()


def auth_of(server: Server) -> str:
    """Its `auth`, which each protocol has in its own words."""
    return str(getattr(server, "auth", ""))


def _client_secret(server: Server) -> str:
    """It may lie in a file, which can be put right without a word to us."""
    from fetchd.auth.client import client_of

    try:
        return client_of(server).secret
    except FetchdError:
        return ""


def _granted_at(server: Server) -> str:
    """What cannot be read counts as absent: a login that makes it readable is another one."""
    from fetchd.auth.tokens import token_state  # its imports are dear without OAuth2

    try:
        state = token_state(server)
    except FetchdError:
        return ""
    return "" if state is None else state.granted_at.isoformat()
