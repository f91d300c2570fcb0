"""A home with an archive of one server, and another server to put it back on."""

import asyncio
from collections import Counter
from pathlib import Path

from fetchd.pipeline.restore import RestoreReport, Wish, restore
from fetchd.pipeline.restore_mailbox import MailboxReport
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from tests.pipeline.home import Home
from tests.servers.mail import Served


class RestoreHome(Home):
    """Accounts `old`, archived, and `new`, the target; each has its port and its user."""

    def __init__(self, folder: Path, old: tuple[int, str], new: tuple[int, str]) -> None:
        super().__init__(folder, old[0], "old", "new", protocol="imap")
        self.at = {"old": old, "new": new}
        self.of_old: dict[str, object] = {}

    def _account(self, user: str) -> dict[str, object]:
        port, username = self.at[user]
        account = {**super()._account(user), "port": port, "username": username, "deliver_to": []}
        return account | self.of_old if user == "old" else account

    def archive(self) -> None:
        """Bring all of `old` home."""
        done = self.round("old")
        assert done.ok, done.reports[0].sentence()

    def restore(self, *, stopped: bool = False, **wish: object) -> RestoreReport:
        """Put `old` back at `new`, or as `wish` says."""

        async def run() -> RestoreReport:
            stop = asyncio.Event()
            if stopped:
                stop.set()
            settings = self.settings()
            wished = Wish(**{"source": "old", "to": "new", **wish})  # type: ignore[arg-type]
            with open_storage(settings, read_only=wished.dry_run) as storage:
                return await restore(settings, wished, storage, progress=Unwatched(), stop=stop)

        return asyncio.run(run())

    def restored(self, **wish: object) -> dict[str, MailboxReport]:
        """The same, all well; by mailbox."""
        report = self.restore(**wish)
        assert report.ok, [report.failure, *report.mailboxes]
        return {one.mailbox: one for one in report.mailboxes}


def bag(messages: dict[int, Served]) -> Counter[Served]:
    """What stands in a mailbox, whatever its UIDs."""
    return Counter(messages.values())
