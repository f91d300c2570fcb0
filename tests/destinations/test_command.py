"""Messages handed to programs: what these are given, what becomes of it, and that nobody hangs."""

import asyncio
import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations import command, running
from fetchd.destinations.command import CommandCarrier
from fetchd.errors import AccountRefused, FetchdError, Remedy, Scope, ServerUnavailable
from fetchd.settings import CommandDestination
from fetchd.telemetry import conceal
from fetchd.values import replace
from tests.destinations.outgoing import outgoing

DATA = b"Return-Path: <alice@example.org>\r\nFrom: bob@example.org\r\n\r\nText.\r\n"


@pytest.fixture
def program(tmp_path: Path):
    """Makes a program of a shell's lines."""

    def make(lines: str, interpreter: str = "/bin/sh", mode: int = 0o755) -> str:
        path = tmp_path / "program"
        path.write_text(f"#!{interpreter}\n{lines}\n")
        path.chmod(mode)
        return str(path)

    return make


def settings(*arguments: str, **others: object) -> CommandDestination:
    made = CommandDestination(kind="command", command=arguments, **others)
    made._name = "filter"
    return made


def carry(wanted: CommandDestination, *letters: Outgoing) -> Sequence[Settled]:
    async def main() -> Sequence[Settled]:
        courier = await CommandCarrier(wanted).open()
        try:
            return await courier.carry(letters)
        finally:
            await courier.close()

    return asyncio.run(main())


def lives(pid: int) -> bool:
    """Whether it runs: one that has ended and waits for nobody but init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Once it has ended, which it is told to."""
    for _ in range(2_000):
        if not lives(pid):
            return True
        threading.Event().wait(0.01)
    return False


# -- What the program is given ----------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("newline", "data", "given"),
    [
        ("lf", b"A: b\r\n\r\ntext\r\n", b"A: b\n\ntext\n"),
        ("crlf", b"A: b\r\n\r\ntext\r\n", b"A: b\r\n\r\ntext\r\n"),
        ("lf", b"A: b\r\n\r\nbare\nLF\r\n", b"A: b\r\n\r\nbare\nLF\r\n"),
        ("lf", b"", b""),
        ("crlf", bytes(range(256)) * 2_000, bytes(range(256)) * 2_000),
    ],
)
def test_the_message_is_standard_input(
    tmp_path: Path, program, newline: str, data: bytes, given: bytes, in_file: bool
) -> None:
    source, got = tmp_path / "body", tmp_path / "got"
    source.write_bytes(data)
    letter = outgoing(1, data, path=source if in_file else None)
    [settled] = carry(settings(program(f"cat > {got}"), newline=newline), letter)
    assert settled == Settled(1, Outcome.DELIVERED)
    assert got.read_bytes() == given


def test_arguments_are_passed_as_they_are_and_no_shell_reads_them(tmp_path: Path, program) -> None:
    got = tmp_path / "got"
    hostile = ("$(touch x)", "a b", "; rm -rf", "'", "*")
    carry(settings(program(f'printf "%s\\n" "$@" > {got}'), *hostile), outgoing(1))
    assert tuple(got.read_text().splitlines()) == hostile


def test_of_our_environment_only_what_is_harmless(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = tmp_path / "got"
    for name in ("FETCHD_ACCOUNTS__WORK__PASSWORD", "AWS_SECRET", "LD_PRELOAD_", "FETCHD_FOLDER"):
        monkeypatch.setenv(name, "sesame")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("HOME", "/home/me")
    letter = replace(
        outgoing(7, DATA, key="01JKEY", mailbox="A\nFETCHD_X=y\x1b[2J\ud800"), folder="Lists"
    )
    carry(settings(program(f"env -0 > {got}; pwd >> {got}")), replace(letter, attempts=2))
    *variables, folder = got.read_bytes().decode().split("\0")
    shown = dict(one.split("=", 1) for one in variables)
    for noise in ("PWD", "SHLVL", "_", "OLDPWD"):
        shown.pop(noise, None)
    assert "sesame" not in str(shown)
    assert shown.pop("PATH")
    inherited = {name for name in shown if not name.startswith("FETCHD_")}
    assert {"LC_TIME", "HOME"} <= inherited
    assert all(name in command.INHERITED or name.startswith("LC_") for name in inherited)
    assert {name: shown[name] for name in shown if name not in inherited} == {
        "FETCHD_ACCOUNT": "work",
        "FETCHD_MAILBOX": "A\\nFETCHD_X=y\\x1b[2J\\ud800",
        "FETCHD_SENDER": "alice@example.org",
        "FETCHD_DIGEST": letter.digest.hex(),
        "FETCHD_DELIVERY": "01JKEY",
        "FETCHD_DESTINATION": "filter",
        "FETCHD_FOLDER": "Lists",
        "FETCHD_ATTEMPT": "3",
    }
    assert folder == "/\n"


def test_nothing_else_that_is_open_is_open_there(tmp_path: Path, program) -> None:
    got = tmp_path / "got"
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        carry(settings(program(f"readlink /proc/$$/fd/* > {got} 2>/dev/null")), outgoing(1))
    opened = got.read_text()
    assert "secret" not in opened
    assert "/dev/null" in opened


# -- What it says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (0, Outcome.DELIVERED, ""),
        (1, Outcome.DEFERRED, "ended with 1 (not a status of sysexits.h)"),
        (64, Outcome.DEFERRED, "EX_USAGE"),
        (65, Outcome.FAILED, "EX_DATAERR"),
        (66, Outcome.FAILED, "EX_NOINPUT"),
        (67, Outcome.FAILED, "EX_NOUSER"),
        (68, Outcome.FAILED, "EX_NOHOST"),
        (69, Outcome.FAILED, "EX_UNAVAILABLE"),
        (70, Outcome.DEFERRED, "EX_SOFTWARE"),
        (71, Outcome.DEFERRED, "EX_OSERR"),
        (72, Outcome.DEFERRED, "EX_OSFILE"),
        (73, Outcome.DEFERRED, "EX_CANTCREAT"),
        (74, Outcome.DEFERRED, "EX_IOERR"),
        (75, Outcome.DEFERRED, "EX_TEMPFAIL"),
        (76, Outcome.FAILED, "EX_PROTOCOL"),
        (77, Outcome.FAILED, "EX_NOPERM"),
        (78, Outcome.DEFERRED, "EX_CONFIG"),
        (255, Outcome.DEFERRED, "ended with 255"),
    ],
)
def test_the_exit_status_decides(program, status: int, outcome: Outcome, words: str) -> None:
    [settled] = carry(settings(program(f"exit {status}")), outgoing(1))
    assert (settled.outcome, settled.doubtful) == (outcome, False)
    assert words in settled.reply


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ("echo one >&2; echo two >&2; exit 75", "two"),
        ("printf 'no end' >&2; exit 75", "no end"),
        ("printf 'last\\n\\n  \\n' >&2; exit 75", "last"),
        ("printf '\\033[2Jred\\a\\377\\n' >&2; exit 75", "\\x1b[2Jred\\x07\ufffd"),
        ("echo 'password opensesame!' >&2; exit 75", "password ***"),
        ("echo out; exit 75", None),
    ],
)
def test_the_last_line_of_standard_error_is_the_reply(
    program, lines: str, reply: str | None
) -> None:
    conceal("opensesame!")
    [settled] = carry(settings(program(lines)), outgoing(1))
    said = settled.reply.partition("EX_TEMPFAIL, later)")[2]
    assert said == (f": {reply}" if reply is not None else ".")


def test_a_flood_on_both_outputs_ends_in_one_short_line(program) -> None:
    flood = "head -c 30000000 /dev/zero | tr '\\0' x"
    [settled] = carry(
        settings(program(f"{flood}; {flood} >&2; echo >&2; echo end >&2")), outgoing(1)
    )
    assert settled == Settled(1, Outcome.DELIVERED, "end")
    [settled] = carry(settings(program(f"{flood} >&2")), outgoing(1))
    assert len(settled.reply) == running.KEPT


def test_a_program_may_leave_its_input_unread(program) -> None:
    large = outgoing(1, b"x" * 3_000_000)
    assert carry(settings(program("exit 0")), large) == [Settled(1, Outcome.DELIVERED)]


# -- What goes wrong ------------------------------------------------------------------------


def test_a_program_killed_by_a_signal_is_asked_again(program) -> None:
    [settled] = carry(settings(program("kill -SEGV $$")), outgoing(1))
    assert (settled.outcome, settled.doubtful) == (Outcome.DEFERRED, True)
    assert f"killed by signal {int(signal.SIGSEGV)}" in settled.reply


@pytest.mark.parametrize("trap", ["", "trap '' TERM"])
def test_when_its_time_is_up_the_program_and_its_children_end(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setattr(running, "GRACE", 0.3)
    pids = tmp_path / "pids"
    lines = f"{trap}\nsleep 1000 & echo $$ $! > {pids}; echo waiting >&2\nwait; wait"
    wanted = settings(program(lines), timeout=timedelta(seconds=0.5))
    [settled] = carry(wanted, outgoing(1))
    assert (settled.outcome, settled.doubtful) == (Outcome.DEFERRED, True)
    assert (
        settled.reply == "program took over 0.5 s and was ended; it gets the message again: waiting"
    )
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_program_may_finish_when_it_is_asked_to_end(tmp_path: Path, program) -> None:
    mark = tmp_path / "mark"
    lines = f"trap 'echo tidy > {mark}; exit 0' TERM\nwhile :; do sleep 0.05; done"
    [settled] = carry(settings(program(lines), timeout=timedelta(seconds=0.5)), outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert mark.read_text() == "tidy\n"


def test_a_child_left_behind_with_our_pipe_keeps_nobody(tmp_path: Path, program) -> None:
    pid = tmp_path / "pid"
    lines = f"setsid sleep 1000 >&2 & echo $! > {pid}; echo done >&2"
    [settled] = carry(settings(program(lines)), outgoing(1))
    assert settled == Settled(1, Outcome.DELIVERED, "done")
    child = int(pid.read_text())
    assert lives(child)
    os.kill(child, signal.SIGKILL)


def test_without_pidfds_it_works_as_well(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_pidfd", lambda _pid: None)
    test_the_exit_status_decides(program, 67, Outcome.FAILED, "EX_NOUSER")
    test_a_child_left_behind_with_our_pipe_keeps_nobody(tmp_path, program)
    test_when_its_time_is_up_the_program_and_its_children_end(tmp_path, program, monkeypatch, "")


def test_nothing_that_we_started_outlives_us(tmp_path: Path, program) -> None:
    pids = tmp_path / "pids"
    lines = f"sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"

    async def main() -> None:
        courier = await CommandCarrier(settings(program(lines))).open()
        assert not courier.in_doubt
        work = asyncio.create_task(courier.carry([outgoing(1)]))
        while not pids.exists():  # noqa: ASYNC110  # it is another process that makes it
            await asyncio.sleep(0.01)
        assert courier.in_doubt
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not lives(int(pids.read_text().split()[0]))
        assert not courier.in_doubt
        await courier.close()

    asyncio.run(main())
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_no_zombie_and_no_descriptor_is_left(program) -> None:
    wanted = settings(program("exit 75"))
    carry(wanted, outgoing(1))
    before = len(list(Path("/proc/self/fd").iterdir()))
    carry(wanted, *(outgoing(n) for n in range(20)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("exec no-such-program", "ended with 127: a program that it needs cannot be run"),
        ("exec /etc/passwd", "ended with 126"),
    ],
)
def test_what_the_program_lacks_is_the_destinations_fault(program, lines: str, words: str) -> None:
    with pytest.raises(AccountRefused) as caught:
        carry(settings(program(lines)), outgoing(1))
    assert words in str(caught.value)
    assert (caught.value.scope, caught.value.remedy) == (Scope.ACCOUNT, Remedy.OWNER)


def test_a_program_that_goes_while_we_work_keeps_what_was_settled(tmp_path: Path, program) -> None:
    name = program('rm "$0"')
    first, second, third = carry(settings(name), outgoing(1), outgoing(2), outgoing(3))
    assert first.outcome is Outcome.DELIVERED
    assert (second.outcome, third.outcome) == (Outcome.DEFERRED, Outcome.DEFERRED)
    assert "cannot be run: No such file" in second.reply


@pytest.mark.parametrize(
    ("name", "words", "advice"),
    [
        ("no-such-program-x", "not in PATH", "whole path"),
        ("/nowhere/program", "No such file", "Install it"),
        ("./program", "relative path", "whole path"),
        ("/etc", "is not a program", "Correct command"),
        ("/etc/passwd", "may not be run", "chmod +x /etc/passwd"),
    ],
)
def test_a_program_that_cannot_be_used_is_told_before_any_mail(
    name: str, words: str, advice: str
) -> None:
    carrier = CommandCarrier(settings(name))
    for asked in (carrier.probe, carrier.open):
        with pytest.raises(AccountRefused, match=words) as caught:
            asyncio.run(asked())
        assert advice in caught.value.advice


def test_probe_says_what_it_found_and_runs_nothing(tmp_path: Path, program) -> None:
    mark = tmp_path / "mark"
    name, steps = program(f"touch {mark}"), []
    asyncio.run(CommandCarrier(settings(name)).probe(lambda *step: steps.append(step)))
    assert steps == [("program", name)]
    asyncio.run(CommandCarrier(settings("sh")).probe(lambda *step: steps.append(step)))
    assert stat.S_ISREG(Path(steps[1][1]).stat().st_mode)
    assert not mark.exists()


@pytest.mark.parametrize("interpreter", ["/nowhere/interpreter", ""])
def test_a_program_that_cannot_be_started(program, interpreter: str) -> None:
    name = program("", interpreter)
    if not interpreter:
        Path(name).write_bytes(b"\x00\x01 neither script nor binary")
    with pytest.raises(AccountRefused, match="cannot be started") as caught:
        carry(settings(name), outgoing(1))
    assert "#!" in caught.value.advice


def test_no_room_for_a_process_passes(program, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(running.subprocess, "Popen", full)
    with pytest.raises(ServerUnavailable) as caught:
        carry(settings(program("exit 0")), outgoing(1))
    assert caught.value.remedy is Remedy.WAIT


def test_a_message_that_cannot_be_read_never_starts_the_program(tmp_path: Path, program) -> None:
    source, mark = tmp_path / "body", tmp_path / "mark"
    source.write_bytes(DATA)
    letter = outgoing(1, path=source)
    source.unlink()
    [settled] = carry(settings(program(f"touch {mark}")), letter)
    assert settled.outcome is Outcome.DEFERRED
    assert "cannot be made ready" in settled.reply
    assert not mark.exists()


def test_the_terms_are_the_settings() -> None:
    terms = CommandCarrier(
        settings("sh", max_connections=3, max_per_minute=9, give_up_after=timedelta(days=1))
    ).terms
    assert (terms.connections, terms.per_minute, terms.batch) == (3, 9, 1)
    assert terms.schedule.give_up_after == timedelta(days=1)


def test_errors_show_no_traceback_and_no_secret() -> None:
    with pytest.raises(FetchdError) as caught:
        carry(settings(sys.executable + "-not-there", "--password", "sesame"), outgoing(1))
    assert "sesame" not in f"{caught.value} {caught.value.advice}"
