"""An access token that serves now, renewed where it is due or the server has refused it.

Renewing is done in a thread of its own kind, which no cancellation reaches: an issuer that
rotates refresh tokens has spent the old one when it answers, and who gave up between that
and the disk would have locked the account out. The order:

    lock the token, between processes too
    read it again: another may have renewed it
    write it again: a full disk is found before the old token is spent
    ask the issuer, store what it gave, durably
    unlock, and only then use it
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache

from fetchd.auth.client import Client, client_of
from fetchd.auth.refusals import refused
from fetchd.auth.token import Token, token_from
from fetchd.auth.tokens import login_command, store_of
from fetchd.errors import AuthenticationFailed, SecretUnavailable
from fetchd.settings import Server
from fetchd.telemetry import conceal, forget, log

AT_ONCE = 4  # renewals in one process; others wait, and the pool of the disk is left alone


async def access_token(owner: Server, environ: Mapping[str, str], before: str | None = None) -> str:
    """The token; `before` is one that the server has just refused."""
    token = await asyncio.to_thread(_stored, owner, environ)
    if token.access == before or token.is_due(datetime.now(UTC)):
        work = asyncio.get_running_loop().run_in_executor(
            _renewers(), _renewed, owner, environ, before
        )
        token = await asyncio.shield(work)
    return token.access


def _stored(owner: Server, environ: Mapping[str, str]) -> Token:
    return _fitting(owner, store_of(owner, environ).load(owner))


def _renewed(owner: Server, environ: Mapping[str, str], before: str | None) -> Token:
    store = store_of(owner, environ)
    with store.locked(owner):
        token = _fitting(owner, store.load(owner))
        if token.access != before and not token.is_due(datetime.now(UTC)):
            return token  # by another, while we waited
        if not token.refresh:
            raise _unrenewable(owner)
        store.save(owner, token)
        client = client_of(owner)
        fresh = asyncio.run(_ask(owner, client, token))
        store.save(owner, fresh)
    # Or the list of what is never shown would grow by one each hour.
    forget(*({token.access, token.refresh} - {fresh.access, fresh.refresh, ""}))
    conceal(fresh.access, fresh.refresh)
    log().info("token.renewed", account=owner.called, until=str(fresh.expires_at or "unsaid"))
    return fresh


async def _ask(owner: Server, client: Client, token: Token) -> Token:
    what = f"{owner.called}: the token cannot be renewed"
    conceal(token.access, token.refresh)
    form = {"grant_type": "refresh_token", "refresh_token": token.refresh}
    if client.issuer.scope_on_refresh:
        form["scope"] = client.scope
    answer = await client.ask(client.issuer.token, form)
    if not answer.ok:
        raise refused(answer, what, login_command(owner))
    return token_from(
        answer.body,
        what,
        client=token.client,
        endpoint=token.endpoint,
        username=token.username,
        before=token,
    )


def _fitting(owner: Server, token: Token | None) -> Token:
    """The token, if it is this client's and this user's: a refresh token is shown to no other."""
    command = login_command(owner)
    if token is None:
        raise SecretUnavailable(f"{owner.called}: no token yet", advice=f"Run: {command}")
    client = client_of(owner, secret=False)
    if (token.client, token.endpoint) != (client.id, client.issuer.token):
        sentence = f"{owner.called}: the token is of another client or provider"
        raise SecretUnavailable(sentence, advice=f"Run: {command}")
    if token.username != (owner.username or ""):
        sentence = f"{owner.called}: the token is of another username"
        raise SecretUnavailable(sentence, advice=f"Run: {command}")
    return token


def _unrenewable(owner: Server) -> AuthenticationFailed:
    sentence = f"{owner.called}: the token has ended, and the provider gave none to renew it by"
    return AuthenticationFailed(sentence, advice=f"Run: {login_command(owner)}", certain=True)


@lru_cache(maxsize=1)
def _renewers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "fetchd-tokens")
