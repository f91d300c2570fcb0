"""How the tests of tokens have an account at a provider, and a person who consents there."""

import asyncio
import os
import urllib.request
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from fetchd.auth.client import client_of
from fetchd.auth.flows import Asked, by_code, by_device
from fetchd.auth.token import Token
from fetchd.auth.tokens import login_command, store_of
from fetchd.settings import ImapAccount, Pop3Account, Server, Settings, Tokens
from tests.servers.oauth2 import Provider

USER = "me"


def settings(folder: Path, oauth2: dict[str, Any], **tables: Any) -> Settings:
    """One account `work`, and what else the test has."""
    account = {"protocol": "imap", "host": "127.0.0.1", "username": USER, "oauth2": oauth2}
    return Settings(
        data_dir=folder / "data",
        accounts={"work": account | tables.pop("account", {})},
        **tables,
    )


def owner(folder: Path, oauth2: dict[str, Any], **tables: Any) -> ImapAccount | Pop3Account:
    """The account alone."""
    return settings(folder, oauth2, **tables).accounts["work"]


class Consenting:
    """A person whose browser does all by itself; or who pastes, or types a code elsewhere."""

    def __init__(self, provider: Provider, *, pastes: bool = False, action: str = "accept") -> None:
        self.visited: list[str] = []
        self.landed = ""
        self.page = b""
        self._provider, self._pastes, self._action = provider, pastes, action
        self._tasks: list[asyncio.Task[None]] = []

    def visit(self, url: str, *, listening: bool) -> None:
        self.visited.append(url)
        self._tasks.append(asyncio.create_task(self._go(url, listening=listening)))

    def enter_code(self, url: str, code: str, complete: str) -> None:
        self.visited.append(url)
        work = asyncio.to_thread(self._provider.approve_device, code, self._action)
        self._tasks.append(asyncio.create_task(work))  # type: ignore[arg-type]

    def paste(self) -> Awaitable[str] | None:
        return self._paste() if self._pastes else None

    async def _paste(self) -> str:
        await self._tasks[0]
        return self.landed

    async def _go(self, url: str, *, listening: bool) -> None:
        self.landed = await asyncio.to_thread(self._provider.consent, url)
        if listening and not self._pastes:
            self.page = await asyncio.to_thread(_get, self.landed)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def asked(server: Server) -> Asked:
    return Asked(server.called, server.username or "", login_command(server))


def log_in(server: Server, provider: Provider, *, device: bool = False) -> Token:
    """A first login, stored as `fetchd login` does."""
    person = Consenting(provider)

    async def main() -> Token:
        client = client_of(server)
        if device:
            return await by_device(client, asked(server), person)
        return await by_code(client, asked(server), person)

    token = asyncio.run(main())
    store = store_of(server, os.environ)
    with store.locked(server):
        store.save(server, token)
    return token


def stored(server: Server) -> Token:
    token = store_of(server, os.environ).load(server)
    assert token is not None
    return token


__all__ = ["USER", "Consenting", "Tokens", "asked", "log_in", "owner", "settings", "stored"]
