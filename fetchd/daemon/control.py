"""The service's ear: a UNIX socket in the data folder, on which commands ask it.

Who may ask: the user the service runs as, and root; the socket's mode says so, and the
kernel's word of who connected. What is asked, and the answers, are in `messages`.

Nobody who connects can hurt the service: a line has a size and a time in which to come, a
peer that does not read is hung up on, and so many may be connected at once. A sync goes on
when whoever asked for it has gone: who comes later sees its outcome in `fetchd status`.
"""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fetchd import __version__
from fetchd.daemon.holder import ServiceLock
from fetchd.daemon.messages import (
    EVERY,
    REQUEST_LIMIT,
    Answer,
    Beat,
    Done,
    Failed,
    Hello,
    Moved,
    Refused,
    Reload,
    Reloaded,
    Request,
    Resume,
    Resumed,
    State,
    Status,
    Sync,
    line,
    request,
)
from fetchd.daemon.sockets import bound, forget, peer_uid
from fetchd.errors import FetchdError, ServiceError, SettingsError, UsageError
from fetchd.pipeline.round import Round
from fetchd.pipeline.snapshot import Snapshot
from fetchd.pipeline.tools import Progress
from fetchd.telemetry import log

T = TypeVar("T")

CLIENTS = 32  # at once; `fetchd top` is one
ASKING = 10.0  # seconds for the request to come
READING = 10.0  # seconds for the answers to be read
ACTING = 120.0  # seconds for what is no sync
BEAT = 5.0  # seconds of silence at most
PACE = 0.1  # seconds between two lines about one account: nobody reads faster
FAREWELL = 5.0  # seconds for last answers to be read
ACCEPTING = 8  # turns of the event loop, from accept() to our knowing of it; three as of 3.11


class Handler(Protocol):
    """What the service does when it is asked. FetchdError is told to whoever asked."""

    async def sync(
        self, accounts: Sequence[str], confirm_retire: bool, progress: Progress
    ) -> Round:
        """Sync these accounts, or all, now; UsageError for a name that is none."""

    async def reload(self) -> Sequence[str]:
        """What is wrong with the settings; empty: they are applied."""

    def snapshot(self) -> Snapshot:
        """What the service is doing now."""

    async def resume(self, accounts: Sequence[str]) -> None:
        """Try these again, or all that are halted; UsageError for a name that is none."""


class Control:
    """The listening socket and whoever is connected; from `open` to `close`."""

    def __init__(self, data_dir: Path, lock: ServiceLock, handler: Handler) -> None:
        # The lock is wanted since a socket that is there already is then nobody's.
        assert lock.path.parent == data_dir
        self._folder, self._handler = data_dir, handler
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._acts = _Acts()

    async def open(self) -> None:
        """Listen from now on; ServiceError says why that cannot be."""
        plug = bound(self._folder)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=plug, limit=REQUEST_LIMIT, backlog=CLIENTS
        )

    async def close(self) -> None:
        """Listen no more, let the last answers be read, and end what is left.

        Call it when the syncs have come to their end: whoever waits for one hears of it.
        """
        if self._server is not None:
            forget(self._folder)
            await self._accept_no_more()
            self._server.close()
        if self._acts.askers:
            await asyncio.wait({*self._acts.askers}, timeout=FAREWELL)
        await _ended([*self._clients, *self._acts.tasks])
        await asyncio.sleep(0)  # in which their sockets are closed

    async def _accept_no_more(self) -> None:
        """asyncio loses what it accepts in the moment in which its server is closed."""
        assert self._server is not None
        for plug in self._server.sockets:
            asyncio.get_running_loop().remove_reader(plug.fileno())
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await _Client(reader, writer, self._handler, self._acts).serve(len(self._clients))
        except (OSError, asyncio.CancelledError) as error:
            log().debug("control.ended", reason=repr(error))  # its peer has gone, or shall go
        finally:
            self._clients.discard(task)
            writer.transport.abort()


class _Client:
    """One connection."""

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        handler: Handler,
        acts: "_Acts",
    ) -> None:
        self._reader, self._writer, self._handler = reader, writer, handler
        self._acts = acts

    async def serve(self, present: int) -> None:
        """Greet, hear one request, answer it."""
        if not self._may_ask():
            return
        if present > CLIENTS:
            await self._say(Failed(f"{CLIENTS} commands are asking the service already."))
        else:
            await self._say(Hello(__version__, os.getpid()))
            await self._hear()
        self._writer.close()
        async with asyncio.timeout(FAREWELL):
            await self._writer.wait_closed()

    async def _hear(self) -> None:
        try:
            asked = await self._request()
        except (ValueError, asyncio.IncompleteReadError) as error:
            await self._say(Failed(f"That is no request: {error}."))
            return
        try:
            await self._answer(asked)
        except FetchdError as error:
            misused = isinstance(error, UsageError | SettingsError)
            await self._say(Failed(str(error), error.advice, misused))
        except ConnectionError:
            raise
        except Exception as error:  # a bug of ours must cost no more than this answer
            log().error("control.failed", reason=repr(error))
            await self._say(Failed("The service could not do it.", "Its log says why."))

    def _may_ask(self) -> bool:
        """By the kernel's word; a socket's mode may be lost on the way, by a backup say."""
        uid = peer_uid(self._writer.get_extra_info("socket"))
        if uid in (None, 0, os.geteuid()):
            return True
        log().warning("control.refused", uid=uid)
        return False

    async def _request(self) -> Request:
        try:
            async with asyncio.timeout(ASKING):
                return request(await self._reader.readuntil(b"\n"))
        except TimeoutError:
            raise ValueError(f"none came within {ASKING:g} s") from None
        except asyncio.LimitOverrunError:
            raise ValueError(f"it is longer than {REQUEST_LIMIT:,} octets") from None

    async def _answer(self, asked: Request) -> None:
        match asked:
            case Sync():
                await self._sync(asked)
            case Status(every=None):
                await self._say(State(self._handler.snapshot()))
            case Status(every=float(every)):
                await self._report(min(max(every, EVERY[0]), EVERY[1]))
            case Reload():
                problems = await self._at_it(self._handler.reload())
                await self._say(Refused(tuple(problems)) if problems else Reloaded())
            case Resume(accounts):
                await self._at_it(self._handler.resume(accounts))
                await self._say(Resumed())

    async def _at_it(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives, in time; the peer hears that we are at it, whether it listens or not."""
        clock = asyncio.get_running_loop().time
        until = clock() + ACTING
        with self._acts.begin(work) as task:
            while not (await asyncio.wait({task}, timeout=BEAT))[0]:
                if clock() > until:
                    raise ServiceError(
                        f"The service has not done it within {ACTING:g} s, and is still at it."
                    )
                await self._say(Beat())
            return task.result()

    async def _report(self, every: float) -> None:
        gone = asyncio.create_task(self._gone())
        try:
            while not gone.done():
                await self._say(State(self._handler.snapshot()))
                await asyncio.wait({gone}, timeout=every)
        finally:
            await _ended([gone])

    async def _sync(self, asked: Sync) -> None:
        moves = _Moves()
        work = self._handler.sync(asked.accounts, asked.confirm_retire, moves)
        gone = asyncio.create_task(self._gone())
        try:
            with self._acts.begin(work) as task:
                await self._tell_until(task, gone, moves)
                if task.done():
                    await self._say(*moves.take(), Done(task.result()))
        finally:
            await _ended([gone])

    async def _tell_until(
        self, task: "asyncio.Task[Round]", gone: "asyncio.Task[None]", moves: "_Moves"
    ) -> None:
        """What moves, until the sync has ended or the peer has gone."""
        while not (task.done() or gone.done()):
            await moves.wait({task, gone})
            if moved := moves.take():
                await self._say(*moved)
            elif not task.done():
                await self._say(Beat())
            await asyncio.wait({task, gone}, timeout=PACE, return_when=asyncio.FIRST_COMPLETED)

    async def _gone(self) -> None:
        """Returns when the peer has hung up; what it says beyond its request is dropped."""
        with suppress(OSError):
            while await self._reader.read(REQUEST_LIMIT):
                pass

    async def _say(self, *answers: Answer) -> None:
        self._writer.writelines([line(answer) for answer in answers])
        try:
            async with asyncio.timeout(READING):
                await self._writer.drain()
        except TimeoutError:
            raise ConnectionAbortedError("it does not read") from None


class _Acts:
    """What was asked for and goes on, whether its asker is still there or not.

    `askers` are the connections that wait for one.
    """

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.askers: set[asyncio.Task[Any]] = set()

    @contextmanager
    def begin(self, work: Coroutine[Any, Any, T]) -> "Iterator[asyncio.Task[T]]":
        """The work, begun; it is not ended by leaving."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._over)
        asker = asyncio.current_task()
        assert asker is not None
        self.askers.add(asker)
        try:
            yield task
        finally:
            self.askers.discard(asker)

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log().debug("control.act_failed", reason=repr(error))  # its asker may have gone


class _Moves:
    """Progress of a sync (tools.Progress), summed up per account until it is taken."""

    def __init__(self) -> None:
        self._moved: dict[str, Moved] = {}
        self._stirred = asyncio.Event()

    def phase(self, account: str, phase: str) -> None:
        """The account is at this now."""
        self._add(Moved(account, phase))

    def expect(self, account: str, messages: int, octets: int) -> None:
        """So much more is to be fetched."""
        self._add(Moved(account, expected=messages, expected_octets=octets))

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """So much more is committed."""
        self._add(Moved(account, fetched=messages, fetched_octets=octets))

    def _add(self, more: Moved) -> None:
        before = self._moved.get(more.account, Moved(more.account))
        self._moved[more.account] = Moved(
            more.account,
            more.phase or before.phase,
            before.expected + more.expected,
            before.expected_octets + more.expected_octets,
            before.fetched + more.fetched,
            before.fetched_octets + more.fetched_octets,
        )
        self._stirred.set()

    def take(self) -> list[Moved]:
        """All since the last call."""
        taken = list(self._moved.values())
        self._moved.clear()
        self._stirred.clear()
        return taken

    async def wait(self, others: "set[asyncio.Task[Any]]") -> None:
        """Until there is something to take, one of the others ends, or BEAT is over."""
        stirred = asyncio.create_task(self._stirred.wait())
        try:
            await asyncio.wait(
                {stirred, *others}, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _ended([stirred])


async def _ended(tasks: "Sequence[asyncio.Task[Any]]") -> None:
    """End them, whatever they are at; one that will not is left behind."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=FAREWELL)
