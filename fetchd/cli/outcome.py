"""From what a command returns or raises to an exit code: the border to the person.

A command's work returns whether all is well. Exit codes: 0 well, 1 an account,
a delivery, the archive or the disk failed, 2 settings or usage are wrong, 130
interrupted, 141 nobody reads our output any more. An error raised on purpose
leaves as its sentence and its advice on standard error, with --json also as the
document {"error": ...} on standard output. No traceback reaches a person.
"""

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fetchd.errors import FetchdError, SettingsError, UsageError

if TYPE_CHECKING:  # pydantic is imported when a command runs
    from fetchd.settings import Settings

GARBAGE = 20_000  # objects made before cycles are looked for; Python's 700 is for others
WELL, FAILED, MISUSED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141


def carry_out(config: Path | None, json: bool, work: "Callable[[Settings], bool]") -> None:
    """Read the settings, do the work, flush, and exit with the code of what became of it."""

    def with_settings() -> bool:
        settings = _begin(config)
        # What is there now stays; looking through it again and again costs a twentieth.
        gc.freeze()
        gc.set_threshold(GARBAGE)
        gc.enable()
        return work(settings)

    conclude(json, with_settings)


def conclude(json: bool, work: Callable[[], bool]) -> None:
    """Do work that needs no settings, flush, and exit with the code of what became of it."""
    try:
        well = work()
        sys.stdout.flush()
    except FetchdError as error:
        _tell(str(error), error.advice, json=json)
        misused = isinstance(error, SettingsError | UsageError)
        raise typer.Exit(MISUSED if misused else FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _give_up_output()
        raise typer.Exit(UNREAD) from None
    except OSError as error:
        # Most are translated where they arise: what comes here failed while printing,
        # or in a place that nobody thought of.
        _give_up_output()
        _tell(*_of_the_system(error), json=False)
        raise typer.Exit(FAILED) from None
    raise typer.Exit(WELL if well else FAILED)


def _begin(config: Path | None) -> "Settings":
    from fetchd.settings import load
    from fetchd.telemetry import conceal, configure

    settings = load(config, os.environ)
    configure(settings.log.level, settings.log.format)
    conceal(*settings.secrets)
    return settings


def _tell(sentence: str, advice: str, *, json: bool) -> None:
    """What is wrong, what to do, and where a program asks, both as a document."""
    from fetchd.cli.output import complain, emit

    with contextlib.suppress(OSError):  # of a standard error that nobody reads
        first, *others = sentence.split("\n")
        complain(f"fetchd: {first}")
        for line in (*others, *advice.split("\n")):
            if line:
                complain(f"  {line}")
    if json:
        with contextlib.suppress(OSError):
            emit({"error": {"sentence": sentence, "advice": advice}})
            sys.stdout.flush()


def _of_the_system(error: OSError) -> tuple[str, str]:
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Check what it is.")
    if error.filename:
        return f"{error.filename} cannot be used: {reason}", advice
    return f"standard output cannot be written: {reason}", advice


_ADVICE = {
    errno.ENOSPC: "Free space there.",
    errno.EACCES: "Give fetchd's user permission to use it.",
    errno.EPERM: "Give fetchd's user permission to use it.",
    errno.EROFS: "Mount it for writing.",
}


def _give_up_output() -> None:
    """Nothing more can be written: let the flush at the end of the process succeed."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
