"""Giving a token back: the issuer forgets it where it can be told (RFC 7009), and we do.

What we hold goes in any case. A refresh token that is revoked ends what was made of it.
"""

import asyncio
from collections.abc import Mapping

from fetchd.auth.client import client_of
from fetchd.auth.refusals import refused
from fetchd.auth.tokens import login_command, store_of
from fetchd.errors import FetchdError, SecretUnavailable
from fetchd.settings import Server
from fetchd.values import Struct


class Farewell(Struct, frozen=True):
    """Whether there was a token, whether the issuer revoked it, and else why not."""

    held: bool
    revoked: bool = False
    reason: str = ""


async def give_back(owner: Server, environ: Mapping[str, str]) -> Farewell:
    """Revoke and forget."""
    return await asyncio.shield(asyncio.to_thread(_give_back, owner, environ))


def _give_back(owner: Server, environ: Mapping[str, str]) -> Farewell:
    store = store_of(owner, environ)
    with store.locked(owner):
        reason = ""
        try:
            token = store.load(owner)
            if token is not None:
                reason = asyncio.run(_revoke(owner, token.refresh or token.access))
        except SecretUnavailable as error:  # what cannot be read can be removed
            reason = error.whole
        held = store.forget(owner)
    return Farewell(held, held and not reason, reason)


async def _revoke(owner: Server, secret: str) -> str:
    """Why it was not revoked; empty where it was."""
    try:
        client = client_of(owner)
        if not client.issuer.revocation:
            return f"{client.issuer.name} has no endpoint for it; take the access back on its page"
        answer = await client.ask(client.issuer.revocation, {"token": secret})
    except FetchdError as error:  # its advice may be to wait, and nobody tries this again
        return f"{error}"
    if answer.status == 200:  # RFC 7009 §2.2, whatever the body
        return ""
    what = f"{owner.called}: the token was not revoked"
    return refused(answer, what, login_command(owner)).whole
