"""SIGKILL and SIGTERM at `fetchd serve` at random instants while mail arrives.

    python -m benchmarks.kill_serve --kills 100 --seed 1

Two POP3 and two IMAP accounts of a private Dovecot are served (`leave_on_server = "none"`):
polled, watched, and asked for by the control socket as soon as it answers, so that a kill has
something to hit. Mail comes by LMTP all the while, also between two services. One kill in ten
falls into the start-up; one end in five is a SIGTERM, which must give exit code 0.

At the end a service is left alone until all is home and the server empty. What must then hold
is in `violations`: each message once in the archive, by `tar`, once in the Maildir, nothing
else there, the server empty. Nothing of fetchd is used but its command.
"""

import argparse
import json
import random
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import HOST, PASSWORD, fetchd_command
from benchmarks.kill_home import end, files
from benchmarks.kill_report import Report
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.processes import free_ports

USERS = {"pop-a": "pop3", "pop-b": "pop3", "imap-a": "imap", "imap-b": "imap"}
BURST = 40  # messages to an account at a time, at most
LONGEST = 5.0  # seconds of a service that is killed
START_UP = 0.8  # seconds: about as long as one needs to be ready
PATIENCE = 120.0  # seconds for the last service to bring everything home
DRAIN = 60.0  # seconds for a SIGTERM
SUBJECT = re.compile(rb"^Subject: (.*?)\r?$", re.MULTILINE)
FAULTS = (b"Traceback", b"service.fault")
SYNC = b'{"is": "sync"}\n'


class Site:
    """The accounts, the mail they were sent, and where it must be."""

    def __init__(self, server: Dovecot, directory: Path) -> None:
        self._server, self._directory = server, directory
        self._sent: list[bytes] = []
        directory.mkdir(parents=True, exist_ok=True)
        for user in USERS:
            server.add_user(user, PASSWORD)
        self._settings = directory / "fetchd.toml"
        self._settings.write_text("\n".join(_settings(server, directory)))
        self._settings.chmod(0o600)

    @property
    def sent(self) -> int:
        return len(self._sent)

    def send(self, user: str, count: int, rng: random.Random) -> None:
        """So many new messages, by LMTP."""
        with smtplib.LMTP(HOST, self._server.lmtp_port) as client:
            for _ in range(count):
                subject = f"{user} {len(self._sent)}".encode()
                text = b"Subject: %s\r\n\r\n%s\r\n" % (subject, b"%x\r\n" % rng.getrandbits(4000))
                client.sendmail("a@example.org", [user], text)
                self._sent.append(subject)

    def start(self) -> "subprocess.Popen[bytes]":
        """A service; what it says is kept."""
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*fetchd_command(), "--config", str(self._settings), "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def ask_to_sync(self) -> bool:
        """By the control socket; whether somebody listened."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as plug:
            plug.settimeout(5.0)
            plug.connect(str(self._directory / "data" / "control.sock"))
            plug.sendall(SYNC)
            return b"hello" in plug.recv(4096)  # it goes on when we have gone
        return False

    def traces(self) -> tuple[int, int]:
        """What a service changes, and nobody else."""
        stored = sum(path.stat().st_size for path in mail.segments(self._directory / "data"))
        return stored, self.delivered()

    def delivered(self) -> int:
        return sum(1 for _ in mail.messages(self._directory / "Maildir"))

    def on_server(self) -> int:
        return sum(
            files(self._server.maildir(user) / part) for user in USERS for part in ("new", "cur")
        )

    def violations(self) -> list[str]:
        """Promises 1 and 2, for when no service runs."""
        archive = mail.in_archive(self._directory / "data")
        paths = mail.messages(self._directory / "Maildir")
        maildir = Counter(_subject(path.read_bytes()) for path in paths)
        found = []
        met = mail.compare(Counter(map(bytes.decode, self._sent)), maildir)
        for count, what in (
            (met.missing, "missing"), (met.twice, "there more than once"), (met.foreign, "foreign"),
        ):  # fmt: skip
            if count:
                found.append(f"Maildir: {count} messages {what}, of {met.expected}")
        if archive.total() != self.sent or len(archive) != self.sent:
            found.append(
                f"archive: {archive.total()} messages, {len(archive)} different, of {self.sent}"
            )
        if left := self.on_server():
            found.append(f"server: {left} messages left")
        said = (self._directory / "log").read_bytes()
        found += [f"the log has: {word.decode()}" for word in FAULTS if word in said]
        return found


def kill_serve(
    server: Dovecot,
    directory: Path,
    *,
    kills: int,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Kill, restart, let the last one finish, and judge; the server has no such users yet."""
    rng, report = random.Random(seed), Report()
    site, began = Site(server, directory), time.monotonic()
    with _postman(site, seed) as bursts:
        while report.kills < kills and not report.violations:
            strike(site, report, rng)
            if report.kills % 20 == 0:
                say(f"{report.kills} kills, {site.sent} messages so far")
    report.fillings, report.messages = bursts[0], site.sent
    report.violations += finish(site)
    report.seconds = time.monotonic() - began
    return report


def text(report: Report) -> str:
    """For people."""
    lines = [
        f"{report.kills} ends in {report.seconds:.0f} s, {report.ended} of them by SIGTERM",
        f"{report.at_work} of them after the service had changed something on disk",
        f"{report.messages} messages in {report.fillings} bursts",
        *(f"VIOLATED: {violation}" for violation in report.violations),
    ]
    return "\n".join(lines if report.violations else [*lines, report.done])


def strike(site: Site, report: Report, rng: random.Random) -> None:
    """One service and its end."""
    moment = rng.uniform(0, START_UP if rng.random() < 0.1 else LONGEST)
    gently = rng.random() < 0.2
    before, until = site.traces(), time.monotonic() + moment
    process = site.start()
    try:
        while time.monotonic() < until and not site.ask_to_sync():
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
            report.violations.append(f"a service ended by itself: {process.returncode}")
            return
        if gently and moment > START_UP:
            report.violations += stopped(process)
            report.ended += 1
        report.kills += 1
    finally:
        end(process)
    report.at_work += site.traces() != before


def stopped(process: "subprocess.Popen[bytes]") -> list[str]:
    """What is wrong with how it ends when it is asked to."""
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(DRAIN)
    except subprocess.TimeoutExpired:
        return [f"a service did not end within {DRAIN:g} s of a SIGTERM"]
    # Python's own start-up may not have come as far as our handler.
    return [] if code in (0, -signal.SIGTERM) else [f"SIGTERM gave exit code {code}"]


def finish(site: Site) -> list[str]:
    """A service that is left alone, and what is violated when it has ended."""
    process, until = site.start(), time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until and (site.on_server() or site.delivered() < site.sent):
            time.sleep(0.1)
        time.sleep(1.0)  # were anything to come twice, it would come now
        return [*stopped(process), *site.violations()]
    finally:
        end(process)


@contextmanager
def _postman(site: Site, seed: int) -> Iterator[list[int]]:
    """Mail at random moments, until it is over; how many bursts there were."""
    over, bursts, rng = threading.Event(), [0], random.Random(f"post {seed}")

    def bring() -> None:
        while not over.wait(rng.uniform(0.05, 1.0)):
            site.send(rng.choice([*USERS]), rng.randint(1, BURST), rng)
            bursts[0] += 1

    postman = threading.Thread(target=bring)
    postman.start()
    try:
        yield bursts
    finally:
        over.set()
        postman.join()


def _subject(message: bytes) -> str:
    found = SUBJECT.search(message)
    return found[1].decode() if found else "none"


def _settings(server: Dovecot, directory: Path) -> Iterator[str]:
    [web] = free_ports(1)
    yield f"data_dir = {json.dumps(str(directory / 'data'))}"
    yield f'[web]\nlisten = "{HOST}:{web}"'
    yield '[service]\nschedule = "10s"'
    yield f'[destinations.home]\nkind = "maildir"\npath = "{directory / "Maildir"}"'
    for user, protocol in USERS.items():
        port = server.port.imap if protocol == "imap" else server.port.pop3
        yield f'[accounts.{user}]\nprotocol = "{protocol}"\nhost = "{HOST}"\nport = {port}'
        yield f'tls = "none"\nallow_plaintext_auth = true\nusername = "{user}"'
        yield f'password = "{PASSWORD}"\ndeliver_to = ["home"]\nleave_on_server = "none"'
        if protocol == "imap":
            yield 'schedule = "idle"'


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if reason := dovecot_available():
        print(f"The kill loop cannot run: {reason}.", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="kill-serve-"))
    with Dovecot() as server:
        report = kill_serve(server, directory, kills=given.kills, seed=given.seed, say=print)
    print(text(report))
    if report.violations:
        print(f"Kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
