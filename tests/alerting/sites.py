"""Settings with channels, an open data folder, and receivers, for the tests of alerts."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fetchd.alerting.message import Message
from fetchd.catalog.alerts import Kind, raise_alert
from fetchd.errors import ChannelFailed
from fetchd.pipeline.storage import Storage, open_storage
from fetchd.settings import Settings, load

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
ACCOUNT = """
[accounts.work]
protocol = "imap"
host = "imap.example.org"
username = "me"
password = "open sesame"
"""


def settings_of(folder: Path, alerts: str = "", more: str = "") -> Settings:
    """As from a file, with this in [alerts]."""
    file = folder / "fetchd.toml"
    zone = '[service]\ntimezone = "UTC"\n'
    lines = f'data_dir = "{folder}/data"\n{ACCOUNT}{more}\n{zone}[alerts]\n{alerts}\n'
    file.write_text(lines)
    file.chmod(0o600)
    return load(file, {})


@contextmanager
def opened(settings: Settings) -> Iterator[Storage]:
    """Its storage."""
    with open_storage(settings) as storage:
        yield storage


def trouble(
    storage: Storage, subject: str = "work", kind: Kind = Kind.AUTHENTICATION, at: datetime = NOW
) -> None:
    """Something that the owner must hear of."""
    raise_alert(storage.catalog, kind, subject, f"{subject} said no.", "Do something.", at)


@dataclass
class Recorder:
    """A channel that keeps what it is given, or fails."""

    name: str = "recorder"
    destination: str = ""
    failing: bool = False
    sent: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if self.failing:
            raise ChannelFailed("It is out.")
        self.sent.append(message)

    @property
    def told(self) -> list[str]:
        """What each message was about."""
        return [str(one.about) for one in self.sent]


@dataclass
class Hook:
    """A receiver of HTTP; `answers` are the statuses it gives, the last one for ever."""

    answers: Sequence[int] = (200,)
    bodies: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    location: str = ""

    def __enter__(self) -> "Hook":
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                number = min(len(hook.bodies), len(hook.answers) - 1)
                hook.bodies.append(json.loads(octets))
                hook.paths.append(self.path)
                self.send_response(hook.answers[number])
                if hook.location:
                    self.send_header("Location", hook.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]


def ran(coroutine: Any) -> Any:
    """Its result; no test waits for ever."""

    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(bounded())
