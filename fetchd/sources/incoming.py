"""Bodies on their way in: answers become messages, in memory or beyond SPILL_SIZE in a file.

`Incoming` is one body, filled by IMAP's literals as by POP3's RETR; `Sizes` says which are
wanted.
"""

from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from fetchd.contracts import Body, Fetched, Unavailable
from fetchd.errors import ArchiveError
from fetchd.policy.plan import RemoteMessage
from fetchd.protocol.limits import MAX_BODY
from fetchd.values import replace

SPILL_SIZE = 4 << 20  # octets of a body kept in memory
TOLERANCE = 10  # a tenth more than listed: sizes are told without CRs, or without the last line end
LINE_END = 2  # octets: a server may count one for a message that has none
REFUSALS = 20  # one after another: the trouble is not the messages'


class Incoming:
    """One body; what goes beyond `limit` is not kept."""

    def __init__(self, spill_dir: Path, limit: int | None = None) -> None:
        self._spill_dir, self._limit = spill_dir, limit
        self.size = 0
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._path: Path | None = None

    def add(self, data: bytes) -> None:
        """The next octets."""
        self.size += len(data)
        if self.too_large:
            self.discard()
            return
        self._chunks.append(data)
        if self._file is not None or self.size > SPILL_SIZE:
            self._spill()

    @property
    def too_large(self) -> bool:
        """Whether it went beyond the limit."""
        return self._limit is not None and self.size > self._limit

    def finish(self) -> Body:
        """The whole body; the file, if any, is the receiver's from here on."""
        if self._file is None:
            return Body(self.size, data=b"".join(self._chunks))
        try:
            self._file.close()
        except OSError as error:
            self.discard()
            raise self._failure(error) from error
        path, self._path = self._path, None
        return Body(self.size, path=path)

    def discard(self) -> None:
        """Forget what came."""
        self._chunks.clear()
        if self._path is not None and self._file is not None:
            with suppress(OSError):  # what could not be written is not wanted either
                self._file.close()
            self._path.unlink(missing_ok=True)
            self._file = self._path = None

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = NamedTemporaryFile(  # noqa: SIM115 - closed by finish or discard
                    dir=self._spill_dir, prefix="body-", suffix=".tmp", delete=False
                )
                self._path = Path(self._file.name)
            self._file.writelines(self._chunks)
        except OSError as error:
            raise self._failure(error) from error
        self._chunks.clear()

    def _failure(self, error: OSError) -> ArchiveError:
        return ArchiveError(f"cannot write to {self._spill_dir}: {error.strerror}")


class Sizes:
    """Which messages are wanted, by size.

    One listed as larger than `max_size` is not asked for. One that turns out much
    larger is read and thrown away, unless `keep_all`: where the server deletes what it
    has handed over, even too much must not be lost.
    """

    def __init__(self, spill_dir: Path, max_size: int | None, *, keep_all: bool = False) -> None:
        self._spill_dir, self._max_size = spill_dir, max_size
        limited = max_size is not None and not keep_all
        self._limit = max_size + max_size // TOLERANCE if limited and max_size else None

    def unwanted(self, message: RemoteMessage) -> Unavailable | None:
        """Why it is not to be asked for, if so."""
        if self._max_size is not None and message.size > self._max_size:
            return self._too_large(message)
        if message.size > MAX_BODY:
            return Unavailable(message, f"announced with {message.size} octets: nobody's mail")
        return None

    def new_body(self) -> Incoming:
        """Room for the next one."""
        return Incoming(self._spill_dir, self._limit)

    def received(self, message: RemoteMessage, body: Incoming) -> Fetched | Unavailable:
        """What has come of it."""
        if body.too_large:
            return self._too_large(replace(message, size=body.size))
        if self.is_hollow(message, body):
            return Unavailable(message, f"came empty, though listed with {message.size} octets")
        return Fetched(message, body.finish())

    def is_hollow(self, message: RemoteMessage, body: Incoming) -> bool:
        """Whether nothing came where there is something.

        A first line of one dot, not stuffed, looks like the end: Dovecot 2.3 does that.
        Exchange and Yahoo hand over "" for what they cannot read (quirk 39).
        """
        return body.size == 0 and message.size > LINE_END

    def _too_large(self, message: RemoteMessage) -> Unavailable:
        reason = f"larger than max_message_size ({self._max_size} octets)"
        return Unavailable(message, reason, oversize=True)
