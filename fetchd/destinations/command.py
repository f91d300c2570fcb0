"""Hands each message to a program of the owner's choice, on its standard input.

The program is started by its arguments, never by a shell, in the folder "/" and with
nothing of our environment but `INHERITED`, to which `_environment` adds what is known of
the message. Its standard input is a file that holds the whole message: it may leave it
unread, and whatever becomes of us, it never takes half of one for all of it.

`sysexits` says what its exit status means. A program that is not there, cannot be started,
or says so of another that it needs (126, 127), puts the whole destination out of reach.

Delivery is at-least-once: a program that was ended because its time was up, or whose end
we did not live to see, may have done its work and gets the message again, with
FETCHD_ATTEMPT counted up. FETCHD_DELIVERY is the same at every attempt, so a program that
must do things once can tell.

`running` starts and ends it, in a thread for each courier, because the message is read
from a disk there as well. That costs what asyncio's own children cost (measured, for a
message of 3 KB to /bin/true: 1.0 ms by thread, 1.0 ms by asyncio with its default
watcher, which makes a thread per child, 0.9 ms with the one that uses pidfds; 0.6 ms are
the program's) and asks nothing of the event loop, whose watcher is the process's own.
"""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from fetchd.contracts import Outcome, Outgoing, Settled, Terms, Watch, unwatched
from fetchd.destinations.newlines import written
from fetchd.destinations.running import Ended, Interrupt, run
from fetchd.destinations.sender import sender_of
from fetchd.destinations.sysexits import verdict
from fetchd.errors import AccountRefused, FetchdError, ServerUnavailable
from fetchd.policy.retry import RELAY
from fetchd.settings import CommandDestination
from fetchd.telemetry import printable, redact
from fetchd.values import replace

INHERITED = ("PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME")  # and LC_*
LONGEST = 4_000  # characters of a variable: a mailbox may be called anything

_SEARCHED = "/usr/local/bin:/usr/bin:/bin"  # where we were started without PATH
_REPAIR = "Correct command in the settings of this destination."
_TWICE = "it gets the message again"


class CommandCarrier:
    """A program (contracts.Carrier)."""

    def __init__(self, settings: CommandDestination) -> None:
        self._settings = settings
        self.terms = Terms(
            connections=settings.max_connections,
            per_minute=settings.max_per_minute,
            schedule=replace(RELAY, give_up_after=settings.give_up_after),
        )

    async def open(self, watch: Watch = unwatched) -> "CommandCourier":
        await self.probe(watch)
        return CommandCourier(self._settings)

    async def probe(self, watch: Watch = unwatched) -> None:
        """Whether the program is there and may be run; it is not run."""
        watch("program", await asyncio.to_thread(find_program, self._settings.command[0]))


class CommandCourier:
    """Runs the program, once for each message (contracts.Courier)."""

    def __init__(self, settings: CommandDestination) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetchd-command")
        self._interrupt = Interrupt()
        self._running = False

    @property
    def in_doubt(self) -> bool:
        """A running program has all of the message, and may be done with it any moment."""
        return self._running

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        settled: list[Settled] = []
        for number, letter in enumerate(letters):
            try:
                settled.append(await self._hand_over(letter))
            except FetchdError as trouble:
                if not settled:
                    raise
                reply = f"{trouble} {trouble.advice}"
                left = letters[number:]
                return [*settled, *(Settled(one.id, Outcome.DEFERRED, reply) for one in left)]
        return settled

    async def close(self) -> None:
        self._thread.shutdown(wait=False)
        self._interrupt.close()

    async def _hand_over(self, letter: Outgoing) -> Settled:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, self._run, letter)
        self._running = True
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._interrupt.set()  # nothing that we started outlives us
            with suppress(FetchdError):
                await running
            raise
        finally:
            self._running = False

    def _run(self, letter: Outgoing) -> Settled:
        program = find_program(self._settings.command[0])
        try:
            environment = _environment(letter, self._settings.name, os.environ)
            message = self._message(letter)
        except OSError as error:
            reply = f"The message cannot be made ready for {_name(program)}: {error.strerror}."
            return Settled(letter.id, Outcome.DEFERRED, f"{reply} Free space for temporary files.")
        with message:
            arguments = (program, *self._settings.command[1:])
            limit = self._settings.timeout.total_seconds()
            try:
                ended = run(arguments, message.fileno(), environment, limit, self._interrupt)
            except OSError as error:
                raise _cannot_start(program, error) from None
        return _settled(letter.id, program, ended, limit)

    def _message(self, letter: Outgoing) -> IO[bytes]:
        """A file without a name, which is read from its beginning."""
        _, octets = written(letter.body, self._settings.newline)
        file = TemporaryFile()  # noqa: SIM115  # the caller closes it
        try:
            file.writelines(octets)
            file.flush()
            file.seek(0)
        except OSError:
            file.close()
            raise
        return file


def find_program(program: str) -> str:
    """Its whole path; raises AccountRefused where it is not there or may not be run."""
    if "/" not in program:
        found = shutil.which(program, path=os.environ.get("PATH") or _SEARCHED)
        if found is None or not Path(found).is_absolute():
            told = f"The program {program} is not in PATH."
            raise AccountRefused(told, advice="Install it, or name its whole path in command.")
        return found
    path = Path(program)
    if not path.is_absolute():
        told = f"The program {program} is named by a relative path."
        raise AccountRefused(told, advice="Name its whole path in command.")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        told = f"The program {program} cannot be run: {error.strerror}."
        raise AccountRefused(told, advice=f"Install it. {_REPAIR}") from None
    if not stat.S_ISREG(mode):
        raise AccountRefused(f"{program} is not a program.", advice=_REPAIR)
    if not os.access(path, os.X_OK):
        told = f"{program} may not be run by fetchd's user."
        raise AccountRefused(told, advice=f"Run: chmod +x {program}")
    return program


def _environment(
    letter: Outgoing, destination: str, inherited: Mapping[str, str]
) -> Mapping[str, str]:
    """What the program is told; strangers' words in it hold no control characters."""
    ours = {
        "FETCHD_ACCOUNT": letter.account,
        "FETCHD_MAILBOX": letter.mailbox,
        "FETCHD_SENDER": sender_of(letter.body),
        "FETCHD_DIGEST": letter.digest.hex(),
        "FETCHD_DELIVERY": letter.key,
        "FETCHD_DESTINATION": destination,
        "FETCHD_FOLDER": letter.folder,
        "FETCHD_ATTEMPT": str(letter.attempts + 1),
    }
    kept = {k: v for k, v in inherited.items() if k in INHERITED or k.startswith("LC_")}
    kept.setdefault("PATH", _SEARCHED)
    return kept | {name: printable(value)[:LONGEST] for name, value in ours.items()}


def _settled(id_: int, program: str, ended: Ended, limit: float) -> Settled:
    said = redact(printable(ended.said))
    name = _name(program)
    match ended:
        case Ended(by_us=True):  # if it was for want of our patience, nobody reads this
            reply = f"{name} took over {limit:g} s and was ended; {_TWICE}"
            return Settled(id_, Outcome.DEFERRED, _told(reply, said), doubtful=True)
        case Ended(status=int(status)) if status < 0:
            reply = f"{name} was killed by signal {-status}; {_TWICE}"
            return Settled(id_, Outcome.DEFERRED, _told(reply, said), doubtful=True)
        case Ended(status=0):
            return Settled(id_, Outcome.DELIVERED, said)
        case Ended(status=126 | 127 as status):
            told = _told(f"{name} ended with {status}: a program that it needs cannot be run", said)
            raise AccountRefused(told, advice="Run the command by hand to see what is missing.")
        case Ended(status=status):
            outcome, meaning = verdict(status)
            return Settled(id_, outcome, _told(f"{name} ended with {status} ({meaning})", said))


def _told(reply: str, said: str) -> str:
    return f"{reply}: {said}" if said else f"{reply}."


def _name(program: str) -> str:
    return Path(program).name


def _cannot_start(program: str, error: OSError) -> FetchdError:
    """`find_program` found it, so it is about what it is or about the machine."""
    told = f"The program {program} cannot be started: {error.strerror}."
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        advice = "See how many processes and how much memory fetchd's user may have."
        return ServerUnavailable(told, advice=advice)
    advice = "See that this program and the interpreter in its first line (#!) are there."
    return AccountRefused(told, advice=advice)
