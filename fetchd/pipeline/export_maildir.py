"""Export into a Maildir: the way of the destination of that kind, with the date of each message.

A file's name comes from the message's digest, so a message that is there
already, read or not, is recognised and left alone.
"""

import asyncio
import os
from pathlib import Path
from typing import Self

from fetchd.contracts import Body, Outcome, Outgoing
from fetchd.destinations.maildir import MaildirSession
from fetchd.destinations.maildir_trouble import AGAIN
from fetchd.errors import DeliveryDeferred
from fetchd.pipeline.exported import BATCH_MESSAGES, BATCH_OCTETS, Exported


class MaildirWriter:
    """Messages in new/ of a Maildir (exported.Writer)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session = MaildirSession(path)
        self._runner = asyncio.Runner()
        self._waiting: list[Exported] = []
        self._waiting_octets = 0
        self.written = self.octets = self.present = 0
        self.conflicts: list[Path] = []

    def has(self, message: Exported) -> bool:
        return False  # known when it is put: the session looks for it

    def put(self, message: Exported, body: Body) -> None:
        outgoing = Outgoing(
            id=len(self._waiting), key=message.digest.hex(), account="", digest=message.digest,
            size=message.size, queued_at=message.date, attempts=0, doubtful=True, body=body,
        )  # fmt: skip
        self._runner.run(self._session.put([outgoing]))
        self._waiting.append(message)
        self._waiting_octets += message.size
        if len(self._waiting) >= BATCH_MESSAGES or self._waiting_octets >= BATCH_OCTETS:
            self.finish()

    def finish(self) -> None:
        waiting, self._waiting, self._waiting_octets = self._waiting, [], 0
        if not waiting:
            return
        self._date(waiting)
        for settled in self._runner.run(self._session.settle()):
            if settled.outcome is not Outcome.DELIVERED:
                raise DeliveryDeferred(
                    settled.reply.removesuffix(f" {AGAIN}"),
                    advice="Then export again: it goes on from there.",
                )
            if settled.reply:
                self.present += 1
            else:
                self.written += 1
                self.octets += waiting[settled.id].size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._runner.run(self._session.close())
        finally:
            self._runner.close()

    def _date(self, waiting: list[Exported]) -> None:
        """Readers take a file's mtime for the date of arrival."""
        dates = {message.digest.hex(): message.date.timestamp() for message in waiting}
        tmp = self._path / "tmp"
        if not tmp.is_dir():
            return  # which `settle` complains of
        for entry in os.scandir(tmp):
            date = dates.get(entry.name.partition(".")[2].partition(".")[0])
            if date is not None:
                os.utime(entry.path, (date, date))
