"""How an owner gives fetchd a token: the authorization code with PKCE, and the device flow.

The code flow (RFC 6749 §4.1, RFC 7636, RFC 8252) sends the owner's browser to the issuer
and gets the answer at a loopback port, or from what the owner pastes, whichever is first.
The device flow (RFC 8628) shows a short code to be typed on any other machine. Both end
in a Token that is stored by whoever asked.

The person is spoken to through `Person`; nothing is printed here.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fetchd.auth.client import Client
from fetchd.auth.endpoint import Answer
from fetchd.auth.loopback import Redirected, listening, pasted
from fetchd.auth.refusals import refused
from fetchd.auth.token import Token, token_from
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
    UsageError,
)
from fetchd.telemetry import conceal
from fetchd.values import Struct

CONSENT_PATIENCE = 900.0  # seconds for a person with a browser
DEVICE_INTERVAL = 5.0  # RFC 8628 §3.2, where none is said
SLOWER = 5.0  # RFC 8628 §3.5
LONGEST_INTERVAL = 60.0
_PENDING = {"authorization_pending"}


class Asked(Struct, frozen=True):
    """Whose token: how sentences speak of it, who logs in, and the command that does it again."""

    called: str
    username: str
    command: str


class Person(Protocol):
    """Whoever sits there."""

    def visit(self, url: str, *, listening: bool) -> None:
        """Be sent to this page; `listening`: its answer comes by itself, if it is this machine."""

    def enter_code(self, url: str, code: str, complete: str) -> None:
        """Type this code there; `complete` is an address that holds it already, or empty."""

    def paste(self) -> Awaitable[str] | None:
        """What they paste; None where nobody can."""


async def by_code(
    client: Client,
    asked: Asked,
    person: Person,
    *,
    listen: bool = True,
    patience: float = CONSENT_PATIENCE,
) -> Token:
    """The token of an authorization code; `listen`: by the loopback too."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    conceal(verifier)
    issuer = client.issuer
    if not issuer.authorization:
        raise UsageError(
            f"{asked.called}: there is no authorization_endpoint", advice="Set it, or use --device."
        )
    try:
        async with asyncio.timeout(patience):
            if listen and issuer.redirect:
                async with listening(issuer.redirect, client.redirect_port, state) as loopback:
                    redirect = loopback.redirect
                    person.visit(_address(client, asked, redirect, state, verifier), listening=True)
                    found = await _either(loopback.answer, person, state)
            else:
                redirect = "oob" if issuer.oob else _unheard(client)
                person.visit(_address(client, asked, redirect, state, verifier), listening=False)
                found = await _either(None, person, state)
    except TimeoutError:
        raise ConnectionFailed(
            f"{asked.called}: nobody consented within {patience / 60:g} minutes",
            advice=f"Run again: {asked.command}",
        ) from None
    return await _exchange(client, asked, found, redirect, verifier)


async def by_device(
    client: Client, asked: Asked, person: Person, *, pause: float | None = None
) -> Token:
    """The token of the device flow; `pause` replaces the issuer's interval, in seconds."""
    issuer = client.issuer
    if not issuer.device:
        reason = issuer.no_device or f"{issuer.name} has no device flow"
        raise UsageError(
            f"{asked.called}: {reason}", advice=f"Log in without --device: {asked.command} --paste"
        )
    what = f"{asked.called}: the device flow does not begin"
    answer = await client.ask(issuer.device, {"scope": client.scope})
    if not answer.ok:
        raise refused(answer, what, asked.command)
    device, user, url = (
        _said(answer, what, name) for name in ("device_code", "user_code", "verification_uri")
    )
    conceal(device)
    complete = answer.body.get("verification_uri_complete")
    person.enter_code(url, user, str(complete) if _is_link(complete) else "")
    life = _number(answer.body.get("expires_in"), CONSENT_PATIENCE, CONSENT_PATIENCE)
    interval = _number(answer.body.get("interval"), DEVICE_INTERVAL, LONGEST_INTERVAL)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device}
    return await _poll(client, asked, form, life, interval if pause is None else pause)


# -- The code flow -------------------------------------------------------------------


def _address(client: Client, asked: Asked, redirect: str, state: str, verifier: str) -> str:
    """Where the browser is sent (RFC 6749 §4.1.1, RFC 7636 §4.3)."""
    # Here, since they are slow to import and wanted once in the life of an account.
    from authlib.oauth2.rfc6749.parameters import (  # type: ignore[import-untyped]
        prepare_grant_uri,
    )
    from authlib.oauth2.rfc7636 import (  # type: ignore[import-untyped]
        create_s256_code_challenge,
    )

    extra = {"login_hint": asked.username, **dict(client.issuer.extra)}
    if client.issuer.oob:
        extra.pop("login_hint")
    address: str = prepare_grant_uri(
        client.issuer.authorization,
        client.id,
        "code",
        redirect_uri=redirect,
        scope=client.scope,
        state=state,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
        **extra,
    )
    return address


def _unheard(client: Client) -> str:
    """A redirect where nobody listens: the browser fails to load it, and shows its address."""
    return f"{client.issuer.redirect}:{client.redirect_port or 8400}"


async def _either(
    heard: Callable[[], Awaitable[Redirected]] | None, person: Person, state: str
) -> Redirected:
    """The browser's answer or the person's, whichever comes first."""
    waits = []
    if heard is not None:
        waits.append(asyncio.ensure_future(heard()))
    if (paste := person.paste()) is not None:
        waits.append(asyncio.ensure_future(_pasted(paste, state)))
    if not waits:
        raise UsageError("nobody can paste the answer here", advice="Run it on a terminal.")
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _pasted(paste: Awaitable[str], state: str) -> Redirected:
    return pasted(await paste, state)


async def _exchange(
    client: Client, asked: Asked, found: Redirected, redirect: str, verifier: str
) -> Token:
    what = f"{asked.called}: no token was given"
    if not found.code:
        body = {"error": found.error, "error_description": found.description}
        raise refused(Answer(400, body, client.issuer.name), what, asked.command)
    conceal(found.code)
    form = {
        "grant_type": "authorization_code", "code": found.code, "redirect_uri": redirect,
        "code_verifier": verifier,
    }  # fmt: skip
    answer = await client.ask(client.issuer.token, form)
    if not answer.ok:
        raise refused(answer, what, asked.command)
    return _token(client, asked, answer, what)


# -- The device flow -------------------------------------------------------------------


async def _poll(
    client: Client, asked: Asked, form: dict[str, str], life: float, interval: float
) -> Token:
    what = f"{asked.called}: no token was given"
    clock = asyncio.get_running_loop().time
    end = clock() + life
    while clock() + interval < end:
        await asyncio.sleep(interval)
        try:
            answer = await client.ask(client.issuer.token, form)
        except ConnectionFailed:  # RFC 8628 §3.5: less often, and go on
            interval = min(interval * 2, LONGEST_INTERVAL)
            continue
        if answer.ok:
            return _token(client, asked, answer, what)
        error = answer.body.get("error")
        if error == "slow_down":
            interval += SLOWER
        elif error not in _PENDING:
            trouble = refused(answer, what, asked.command)
            if not isinstance(trouble, ServerUnavailable):
                raise trouble
    raise AuthenticationFailed(
        f"{asked.called}: the code ran out before anybody typed it",
        advice=f"Run again: {asked.command}",
    )


def _token(client: Client, asked: Asked, answer: Answer, what: str) -> Token:
    token = token_from(
        answer.body,
        what,
        client=client.id,
        endpoint=client.issuer.token,
        username=asked.username,
    )
    conceal(token.access, token.refresh)
    return token


def _said(answer: Answer, what: str, name: str) -> str:
    found = answer.body.get(name)
    if name == "verification_uri":
        found = found or answer.body.get("verification_url")  # Google's spelling
    fits = isinstance(found, str) and found.isprintable() and 0 < len(found) <= 4096
    if not fits or (name == "verification_uri" and not _is_link(found)):
        raise _unfit(what, name)
    return str(found)


def _unfit(what: str, name: str) -> FetchdError:
    advice = "Check device_endpoint."
    return RemoteProtocolError(f"{what}: the answer holds no {name}", advice=advice)


def _is_link(found: Any) -> bool:
    return (
        isinstance(found, str)
        and found.isprintable()
        and found.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))
    )


def _number(found: object, default: float, most: float) -> float:
    try:
        return min(max(float(str(found)), 1.0), most)
    except ValueError:
        return default
