"""A data folder, a Maildir and a settings file, with the rounds as functions.

Everything goes the way of the command: settings are read from a file, the
storage is opened and recovered for each round and closed behind it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import mail
from fetchd.pipeline.planning import AccountPlan, plan_round
from fetchd.pipeline.rebuild import RebuildReport, rebuild
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.round import Round, sync_round
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from fetchd.pipeline.verify import VerifyReport, verify
from fetchd.settings import Settings, load

PASSWORD = "open sesame"
HOST = "127.0.0.1"


class Home:
    """One user of fetchd."""

    def __init__(self, folder: Path, port: int, *users: str, **account: object) -> None:
        self.folder = folder
        self.port = port
        self.users = users or ("work",)
        self.account = account
        self.destination: dict[str, object] = {}
        self.archive_settings: dict[str, object] = {}
        self.more = ""  # tables beyond these, as TOML
        self.offset = datetime.now(UTC) - datetime.now(UTC)  # of our clock

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def maildir(self) -> Path:
        return self.folder / "Maildir"

    def settings(self) -> Settings:
        """Written and read anew each time."""
        lines = [f"data_dir = {json.dumps(str(self.data))}", "[archive]"]
        lines += _table(self.archive_settings)
        for user in self.users:
            lines += [f"[accounts.{user}]", *_table(self._account(user))]
        home = {"kind": "maildir", "path": str(self.maildir), **self.destination}
        lines += ["[destinations.home]", *_table(home)]
        file = self.folder / "fetchd.toml"
        file.write_text("\n".join([*lines, self.more]))
        file.chmod(0o600)
        return load(file, {})

    def _account(self, user: str) -> Mapping[str, object]:
        return {
            "protocol": "pop3",
            "host": HOST,
            "port": self.port,
            "tls": "none",
            "allow_plaintext_auth": True,
            "username": user,
            "password": PASSWORD,
            "deliver_to": ["home"],
            "timeouts": {"connect": "5s", "read": "5s"},
            **self.account,
        }

    def round(self, *names: str, confirm_retire: bool = False, stopped: bool = False) -> Round:
        """One round over all or the named accounts."""

        async def run() -> Round:
            stop = asyncio.Event()
            if stopped:
                stop.set()
            settings = self.settings()
            with open_storage(settings) as storage:
                return await sync_round(
                    settings, names, storage, progress=Unwatched(), stop=stop,
                    confirm_retire=confirm_retire, now=lambda: datetime.now(UTC) + self.offset,
                )  # fmt: skip

        return asyncio.run(run())

    def sync(self, *, confirm_retire: bool = False) -> RunReport:
        """A round of the one account."""
        (report,) = self.round(confirm_retire=confirm_retire).reports
        return report

    def plan(self) -> list[AccountPlan]:
        async def run() -> list[AccountPlan]:
            settings = self.settings()
            with open_storage(settings, read_only=True) as storage:
                return await plan_round(settings, (), storage)

        return asyncio.run(run())

    def verify(self) -> VerifyReport:
        with open_storage(self.settings()) as storage:
            return verify(storage)

    def rebuild(self) -> RebuildReport:
        return rebuild(self.settings())

    def archived(self) -> Counter[str]:
        """Digests of what a stranger's tar finds in the archive."""
        return mail.in_archive(self.data)

    def delivered(self) -> Counter[str]:
        """Digests of what lies in the Maildir."""
        return mail.in_maildir(self.maildir)

    def holds(self, messages: Sequence[bytes]) -> None:
        """Assert that archive and Maildir hold exactly these."""
        expected = mail.Expected.of(messages)
        assert self.archived() == expected.crlf
        assert self.delivered() == expected.lf


def _table(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)
