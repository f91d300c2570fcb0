"""What `fetchd login` and `fetchd logout` do: a person consents, the token is stored and tried.

What the person is to do goes to standard output, and with --json to standard error, where
the one document leaves room for it.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fetchd.auth.client import Client, client_of
from fetchd.auth.flows import Asked, by_code, by_device
from fetchd.auth.issuers import lacking
from fetchd.auth.revoking import give_back
from fetchd.auth.token import Token
from fetchd.auth.tokens import login_command, store_of
from fetchd.catalog import outbox
from fetchd.catalog.database import Catalog
from fetchd.cli import output
from fetchd.cli.asking import reach
from fetchd.contracts import Carrier
from fetchd.daemon.messages import Resume
from fetchd.destinations import open_destination
from fetchd.errors import FetchdError, RemoteProtocolError, UsageError
from fetchd.pipeline.storage import data_paths
from fetchd.pipeline.untouched import untouched
from fetchd.policy.schedule import Manual
from fetchd.settings import Account, ImapAccount, Pop3Account, Server, Settings
from fetchd.sources import enter
from fetchd.values import Struct, replace

MAX_PASTED = 64 * 1024  # octets


class Wish(Struct, frozen=True):
    """As the command line has it."""

    name: str
    destination: bool = False
    device: bool = False
    browser: bool = True
    paste: bool = False


class Tried(Struct, frozen=True):
    """What the server said to the new token."""

    ok: bool
    sentence: str
    advice: str = ""


def login(settings: Settings, wish: Wish, *, json: bool) -> bool:
    """Whether there is a token that the server takes."""
    if wish.device and wish.paste:
        raise UsageError("--device and --paste exclude each other", advice="Give one of them.")
    owner = owner_called(settings, wish.name, destination=wish.destination)
    client = client_of(owner)
    # A browser may talk on standard output, where the document goes.
    seen = replace(wish, browser=wish.browser and not json)
    person = Terminal(output.complain if json else output.say, seen)
    token, tried = asyncio.run(_login(owner, client, person, wish))
    missing = lacking(client.scope, token.scope)
    if tried.ok:
        _go_on(settings, owner)
    if json:
        output.emit(_document(owner, wish, token, missing, tried))
    else:
        _tell(owner, token, missing, tried)
    return tried.ok


def logout(settings: Settings, name: str, *, destination: bool, json: bool) -> bool:
    """Whether nothing is left of it, here and there."""
    owner = owner_called(settings, name, destination=destination)
    client_of(owner, secret=False)  # says so where it logs in by a password
    farewell = asyncio.run(give_back(owner, os.environ))
    if json:
        output.emit({
            "name": owner.name, "kind": kind_of(owner), "held": farewell.held,
            "revoked": farewell.revoked, "reason": farewell.reason,
        })  # fmt: skip
    elif not farewell.held:
        output.say(f"{owner.called} had no token.")
    elif farewell.revoked:
        output.say(f"{owner.called}: the token is revoked and forgotten.")
    else:
        output.say(f"{owner.called}: the token is forgotten, not revoked: {farewell.reason}")
    return farewell.revoked or not farewell.held


def owner_called(settings: Settings, name: str, *, destination: bool) -> Server:
    """The account of this name, or the destination where no account has it."""
    account = None if destination else settings.accounts.get(name)
    found = account or settings.destinations.get(name)
    if found is None:
        known = ", ".join(sorted({*settings.accounts, *settings.destinations})) or "nothing yet"
        what = "destination" if destination else "account or destination"
        raise UsageError(f"no {what} is called {name}", advice=f"The settings have: {known}.")
    if not isinstance(found, Server):
        raise UsageError(f"{found.called} is no server, and wants no login", advice="")
    return found


def kind_of(owner: Server) -> str:
    """As the document says it."""
    return "account" if isinstance(owner, ImapAccount | Pop3Account) else "destination"


async def _login(
    owner: Server, client: Client, person: "Terminal", wish: Wish
) -> tuple[Token, Tried]:
    asked = Asked(owner.called, owner.username or "", login_command(owner))
    store = await asyncio.to_thread(store_of, owner, os.environ)

    def save(token: Token | None) -> None:
        with store.locked(owner):
            if token is not None:
                store.save(owner, token)

    await asyncio.to_thread(save, None)  # a folder that cannot be used is found before
    if wish.device:
        token = await by_device(client, asked, person)
    else:
        token = await by_code(client, asked, person, listen=not wish.paste)
    await asyncio.to_thread(save, token)
    return token, await _tried(owner)


async def _tried(owner: Server) -> Tried:
    """Log in with it as every sync and every delivery will."""
    heard: dict[str, str] = {}
    try:
        if isinstance(owner, ImapAccount | Pop3Account):
            session = await enter(owner, Path(tempfile.gettempdir()), watch=heard.__setitem__)
            async with untouched(session):
                pass
        else:
            carrier = open_destination(owner, "login")  # type: ignore[arg-type]
            assert isinstance(carrier, Carrier)
            await carrier.probe(heard.__setitem__)
    except FetchdError as error:
        if "login" not in heard:
            return Tried(False, str(error), error.advice)
    where = heard.get("connect", owner.host)
    return Tried(True, f"Logged in at {where} as {owner.username} ({heard.get('login', '')}).")


def _go_on(settings: Settings, owner: Server) -> None:
    """What was given up goes on now; where that is not ours to say, at its next turn."""
    with contextlib.suppress(FetchdError):
        if isinstance(owner, ImapAccount | Pop3Account):
            _sync_again(settings, owner)
        else:
            _deliver_again(settings, owner)


def _sync_again(settings: Settings, account: Account) -> None:
    """A service, where one runs, has halted it, or tries it again in an hour."""
    if isinstance(account.schedule or settings.service.schedule, Manual):
        return
    with reach(settings.data_dir) as asking:
        asking.ask(Resume((account.name,)))
        asking.answer()


def _deliver_again(settings: Settings, destination: Server) -> None:
    catalog_file = data_paths(settings).catalog
    if catalog_file.exists():
        with Catalog(catalog_file) as catalog:
            outbox.hasten(catalog, destination.name)


def _document(
    owner: Server, wish: Wish, token: Token, missing: tuple[str, ...], tried: Tried
) -> dict[str, object]:
    return {
        "ok": tried.ok,
        "name": owner.name,
        "kind": kind_of(owner),
        "flow": "device" if wish.device else "code",
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "renews": bool(token.refresh),
        "missing_scopes": list(missing),
        "login": {"ok": tried.ok, "sentence": tried.sentence, "advice": tried.advice},
    }


def _tell(owner: Server, token: Token, missing: tuple[str, ...], tried: Tried) -> None:
    until = f", valid until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else ""
    renews = "" if token.refresh else "; the provider gave nothing to renew it by"
    output.say(f"{owner.called}: a token is stored{until}{renews}.")
    if missing:
        output.say(f"Not granted: {' '.join(missing)}. Log in again and tick every box.")
    output.say(tried.sentence)
    if tried.advice:
        output.say(tried.advice)


class Terminal:
    """The person at this terminal (auth.flows.Person)."""

    def __init__(self, say: Callable[[str], None], wish: Wish) -> None:
        self._say, self._wish = say, wish

    def visit(self, url: str, *, listening: bool) -> None:
        """By the browser where there is a display, and else by telling the address."""
        if self._wish.browser and has_display(os.environ) and webbrowser.open(url):
            self._say("Consent in the browser. Should it not have opened, this is the page:")
            self._say(url)
            return
        self._say("Open this page in a browser, and consent:")
        self._say(url)
        if listening and self._reads:
            self._say("Its last page does not load on another machine: paste its address here.")
        elif not listening:
            self._say("Paste here the code, or the address of the last page, which may not load:")

    def enter_code(self, url: str, code: str, complete: str) -> None:
        """RFC 8628 §3.3: the person types it; a link that holds it saves the typing."""
        self._say(f"Open {url} on any machine and type: {code}")
        if complete:
            self._say(f"Or open: {complete}")

    def paste(self) -> Awaitable[str] | None:
        """A line of standard input, where somebody may type one."""
        return _line(needed=self._wish.paste) if self._reads else None

    @property
    def _reads(self) -> bool:
        return self._wish.paste or bool(sys.stdin and sys.stdin.isatty())


def has_display(environ: Mapping[str, str]) -> bool:
    """Whether a browser could show itself; a text browser would take the terminal."""
    return sys.platform == "darwin" or bool(
        environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    )


def _line(*, needed: bool) -> Awaitable[str]:
    """The first line that holds something, read by a thread that may be left behind.

    `needed`: there is no other way to the answer, so the end of the input is the end.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        text = _first_line()
        with contextlib.suppress(RuntimeError):  # the answer came otherwise, and all is over
            loop.call_soon_threadsafe(give, text)

    def give(text: str) -> None:
        if line.done():
            return
        if text:
            line.set_result(text)
        elif needed:
            advice = "Run it again, and paste the address or the code."
            line.set_exception(RemoteProtocolError("nothing was pasted", advice=advice))

    threading.Thread(target=read, name="fetchd-paste", daemon=True).start()
    return line


def _first_line() -> str:
    """From the descriptor: who is left behind in sys.stdin ends the process with an abort."""
    text = b""
    with contextlib.suppress(OSError):
        while len(text) < MAX_PASTED and (piece := os.read(0, 4096)):
            text = (text + piece).lstrip()
            if b"\n" in text:
                break
    return text.decode("utf-8", "replace").partition("\n")[0].strip()
