"""`fetchd sync` as it is watched, interrupted and told."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.conftest import MESSAGES, Run, command, spawn
from tests.pipeline.home import PASSWORD, Home
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3, Talk

COUNT = len(MESSAGES)


@dataclass
class Gate:
    """Says its octets when the test opens it; `reached` when somebody waits for that."""

    octets: bytes
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    async def say(self, talk: Talk) -> None:
        self.reached.set()
        await asyncio.to_thread(self.opened.wait, 20)
        talk.writer.write(self.octets)


def test_what_came_is_summed_up_and_nothing_new_is_well(run: Run) -> None:
    first, second = run("sync"), run("sync")
    assert (first.code, second.code) == (0, 0)
    assert re.fullmatch(rf"work: {COUNT} new messages \(.* kB\), {COUNT} delivered\n", first.out)
    assert '"event": "sync.fetching"' in first.err
    assert '"event": "sync.finished"' in first.err
    assert second.out == f"work: nothing new ({COUNT} on the server)\n"
    assert second.err == ""


@pytest.mark.parametrize(
    ("answers", "told", "advice"),
    [
        ({"greeting": HANG_UP}, "hung up while we waited for a greeting", "Check host and port"),
        ({"PASS": b"-ERR [AUTH] no\r\n"}, "refuses the login", "Check username and password"),
        ({"STAT": b"-ERR [SYS/TEMP] later\r\n"}, "later", "tries again"),
        ({"greeting": b"220 smtp\r\n"}, "220 smtp", "Check that host and port name a server"),
    ],
)
def test_a_failure_is_a_sentence_with_what_to_do(
    run: Run, server: ScriptedPop3, answers: dict[str, object], told: str, advice: str
) -> None:
    server.answers |= answers
    ran = run("sync")
    assert ran.code == 1
    assert re.search(rf"^work: failed\n  .*{told}.*\n    .*{advice}", ran.out)
    assert '"event": "sync.failed"' in ran.err
    status = run("status").out
    assert re.search(rf"^work: .*{told}", status, re.MULTILINE)
    assert re.search(rf"^  .*{advice}", status, re.MULTILINE)


def test_a_quarantined_message_is_a_failure_and_the_rest_comes(
    run: Run, server: ScriptedPop3
) -> None:
    server.answers["RETR 3"] = b"-ERR damaged here\r\n"
    ran = run("sync")
    assert ran.code == 1
    assert f"work: {COUNT - 1} new messages" in ran.out
    assert "1 would not come" in ran.out
    assert '"event": "message.quarantined"' in ran.err
    plan = run("plan")
    assert (plan.code, "refused before: damaged here" in plan.out) == (0, True)
    assert "1 message in quarantine" in run("status").out


def test_one_account_fails_and_the_others_do_not(tmp_path: Path, server: ScriptedPop3) -> None:
    here = Home(tmp_path, server.port, "good", "bad")
    server.answers["USER bad"] = b"-ERR [AUTH] go away\r\n"
    done = subprocess.run(command(here, "sync"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"good: {COUNT} new messages" in done.stdout
    assert "bad: failed" in done.stdout
    assert re.search(
        r"^2 accounts in .* s: 12 new messages .*, 1 with trouble$", done.stdout, re.MULTILINE
    )
    assert subprocess.run(command(here, "sync", "good"), check=False).returncode == 0


def test_a_spent_disk_or_a_folder_that_is_none_ends_the_command_in_a_sentence(
    run: Run, here: Home
) -> None:
    here.data.write_text("not a folder")
    ran = run("sync", "--json")
    assert ran.code == 1
    assert re.match(r"fetchd: .*data.*\n  Free space or repair", ran.err)
    assert ran.document["error"]["sentence"]


def test_nothing_is_open_to_others_whatever_the_umask(here: Home) -> None:
    subprocess.run(command(here, "sync"), check=True, umask=0, capture_output=True)
    made = [here.data, *here.data.rglob("*"), *here.maildir.rglob("*")]
    assert len(made) > COUNT
    assert [path for path in made if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_well(here: Home, server: ScriptedPop3, number: int) -> None:
    gate = Gate(b"+OK at last\r\n")
    server.answers["greeting"] = gate
    with spawn(here, "sync", text=True) as process:
        assert gate.reached.wait(20)
        process.send_signal(number)
        assert "finishing the batch in flight" in process.stderr.readline()
        gate.opened.set()
        out, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert out.endswith("Stopped before the end, as asked; the next sync goes on from here.\n")
    assert server.heard[-1] == "QUIT"
    assert not any(line.startswith("RETR") for line in server.heard)
    assert out.startswith(f"work: stopped early ({COUNT} on the server)\n")
    status = subprocess.run(command(here, "status"), capture_output=True, text=True, check=True)
    assert re.search(r"^work +never ", status.stdout, re.MULTILINE)
    history = subprocess.run(command(here, "history"), capture_output=True, text=True, check=True)
    assert " interrupted " in history.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_it_at_once(
    here: Home, server: ScriptedPop3, number: int, code: int
) -> None:
    gate = Gate(b"+OK never\r\n")
    server.answers["greeting"] = gate
    with spawn(here, "sync", text=True) as process:
        assert gate.reached.wait(20)
        process.send_signal(number)
        assert "finishing the batch in flight" in process.stderr.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    gate.opened.set()
    assert (process.returncode, out, err) == (code, "", "")


Watch = Callable[[bytes, "subprocess.Popen[bytes]"], None]


def on_a_terminal(here: Home, *words: str, watch: Watch = lambda _seen, _process: None) -> bytes:
    """What a terminal gets as standard error; standard output goes elsewhere."""
    parent, child = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "100"}
    process = spawn(here, *words, stderr=child, environment=environment)
    os.close(child)
    seen = b""
    # EIO: the other side of the terminal is closed.
    with suppress(OSError):
        while piece := os.read(parent, 1 << 16):
            seen += piece
            watch(seen, process)
    process.communicate(timeout=20)
    os.close(parent)
    return seen


def test_a_terminal_sees_it_live_and_is_given_back(here: Home) -> None:
    seen = on_a_terminal(here, "sync")
    assert b"work" in seen
    assert f"{COUNT}/{COUNT}".encode() in seen
    assert b'"event"' not in seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")


@pytest.mark.parametrize("twice", [False, True])
def test_a_terminal_is_given_back_after_a_signal(
    here: Home, server: ScriptedPop3, twice: bool
) -> None:
    gate = Gate(b"+OK at last\r\n")
    server.answers["greeting"] = gate
    sent = 0

    def interrupt(seen: bytes, process: "subprocess.Popen[bytes]") -> None:
        """The display moves all the time, so this is called until it is noticed."""
        nonlocal sent
        noticed = b"finishing the batch in flight" in seen
        if sent == 0 and gate.reached.is_set():
            process.send_signal(signal.SIGINT)
            sent = 1
        elif noticed and twice and sent == 1:
            process.send_signal(signal.SIGINT)
            sent = 2
        elif noticed and not twice:
            gate.opened.set()

    seen = on_a_terminal(here, "sync", watch=interrupt)
    gate.opened.set()
    assert sent == 1 + twice
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")


def test_no_secret_is_shown_with_a_whole_transcript(here: Home, server: ScriptedPop3) -> None:
    server.answers["USER"] = f"-ERR your password {PASSWORD} is not your name\r\n".encode()
    line = command(here, "sync", "--json")
    file = here.folder / "fetchd.toml"
    file.write_text('log = { level = "debug", transcript = true }\n' + file.read_text())
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert '"event": "protocol"' in done.stderr
    assert "*** is not your name" in done.stdout
    for spelling in (PASSWORD, PASSWORD.replace(" ", "%20"), PASSWORD.encode().hex()):
        assert spelling not in done.stdout + done.stderr
