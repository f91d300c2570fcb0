"""The device flow (RFC 8628) with an issuer that is slow, strange or lost for a while."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from fetchd.auth import flows
from fetchd.auth.client import client_of
from fetchd.auth.flows import by_device
from fetchd.auth.token import Token
from fetchd.errors import AuthenticationFailed, RemoteProtocolError
from tests.auth.at_provider import asked, owner
from tests.auth.scripted import endpoint, told

BEGIN = {
    "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://x.example/device",
    "expires_in": 600, "interval": 5,
}  # fmt: skip
TOKEN = {"access_token": "a", "token_type": "Bearer", "expires_in": 60}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SLOWER", 0.3)


class Reads:
    """Sees the code; somebody else types it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def enter_code(self, url: str, code: str, complete: str) -> None:
        self.seen.append((url, code, complete))

    def visit(self, url: str, *, listening: bool) -> None:
        raise AssertionError(url)

    def paste(self) -> None:
        return None


def run(folder: Path, answers: list[tuple[int, Any]], person: Reads) -> Token:
    """The token after these answers; status 0 hangs up without one."""
    waiting: Iterator[tuple[int, Any]] = iter(answers)

    async def main(url: str) -> Token:
        table = {"client_id": "c", "scopes": ["mail"], "token_endpoint": url}
        server = owner(folder, table | {"authorization_endpoint": url, "device_endpoint": url})
        return await by_device(client_of(server), asked(server), person, pause=0.01)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        status, body = next(waiting)
        if status:
            told(status, json.dumps(body).encode())(handler)

    with endpoint(answer) as url:
        return asyncio.run(asyncio.wait_for(main(url), 30))


PENDING = (400, {"error": "authorization_pending"})


def test_it_goes_on_until_the_person_is_done(tmp_path: Path) -> None:
    person = Reads()
    answers = [
        (200, BEGIN), PENDING, (400, {"error": "slow_down"}), (0, None), (503, {}), PENDING,
        (200, TOKEN),
    ]  # fmt: skip
    token = run(tmp_path, answers, person)
    assert token.access == "a"
    assert person.seen == [("https://x.example/device", "ABCD-EFGH", "")]


def test_googles_spelling_and_a_link_that_saves_the_typing(tmp_path: Path) -> None:
    begin = {key: value for key, value in BEGIN.items() if key != "verification_uri"}
    begin |= {
        "verification_url": "https://g.example/",
        "verification_uri_complete": "https://g/?c=1",
    }
    person = Reads()
    run(tmp_path, [(200, begin), (200, TOKEN)], person)
    assert person.seen == [("https://g.example/", "ABCD-EFGH", "https://g/?c=1")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_code": None},
        {"user_code": "a\x1b[2J"},
        {"user_code": ""},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": None},
        {"device_code": "x" * 5000},
    ],
)
def test_what_is_no_beginning_is_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="holds no"):
        run(tmp_path, [(200, BEGIN | wrong)], Reads())


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "authorization_declined"])
def test_an_end_is_an_end(tmp_path: Path, error: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        run(tmp_path, [(200, BEGIN), PENDING, (400, {"error": error})], Reads())
    assert caught.value.advice == "Run: fetchd login work"


def test_a_code_that_nobody_types_runs_out(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed, match="ran out"):
        run(tmp_path, [(200, BEGIN | {"expires_in": 1}), *[PENDING] * 1000], Reads())
