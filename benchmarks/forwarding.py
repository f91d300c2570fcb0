"""Forwarding measured: `python -m benchmarks.forwarding`, beside fetchmail and a bare aiosmtplib.

Mail of a POP3 maildrop goes to one receiver: by SMTP to a private Postfix, which files it
into a Maildir, and by LMTP to a private Dovecot. Every run has a recipient of its own
there, and counts only if the command ended well and each message arrived, once: with its
octets below what was put on top, of fetchmail, which adds and changes fields, with those of
its body. The clock stops when the command has ended. A run that fails is no figure.

The limit is a bare loop over aiosmtplib with as many connections as fetchd has, which
reads its messages from memory, keeps nothing, and remembers nothing. It knows no LMTP.

FORWARDING.md beside this file gets what was measured.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.contestants import HOST, PASSWORD, fetchd_command
from benchmarks.mail import compare, digest
from benchmarks.programs import advice, missing
from benchmarks.scenarios import USERS
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.mail import Mail
from tests.servers.postfix import Postfix, postfix_available

RESULTS = Path(__file__).with_name("FORWARDING.md")
CONNECTIONS = 4  # fetchd's default
AIM = 10  # times as fast as fetchmail
PATIENCE = 120.0  # seconds for the last message to be filed
USER = "small"


@dataclass(frozen=True)
class Receiver:
    """Where mail goes: its protocol, port, and how to make and read a recipient."""

    protocol: str
    port: int
    add: Callable[[str], str]
    arrived: Callable[[str, int], Sequence[bytes]]


@dataclass
class Runs:
    """One contestant at one receiver."""

    name: str
    protocol: str
    seconds: list[float] = field(default_factory=list)  # of the good ones
    problems: list[str] = field(default_factory=list)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forwarding", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    lacking = dovecot_available() or postfix_available()
    if absent := missing(("fetchmail",)):
        lacking = lacking or advice(absent)
    if lacking:
        print(f"The bench cannot run: {lacking}.", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source, postfix, lmtp = (
            stack.enter_context(each) for each in (Dovecot(), Postfix(), Dovecot())
        )
        source.add_user(USER, PASSWORD)
        messages = [octets for mails in USERS[USER]().values() for octets in mails]
        messages = messages[: given.messages]
        source.fill(USER, [Mail(octets) for octets in messages])
        with source.session(USER) as session:
            served = list(session.messages())
        receivers = (_postfix(postfix), _lmtp(lmtp))
        runs = measure(folder, source.port.pop3, receivers, served, given.rounds)
    report = written(runs, len(served), given.rounds)
    print(report)
    whole = given.messages >= 2000 and given.rounds >= 3
    if whole:
        RESULTS.write_text(report, "utf-8")
    return int(any(one.problems for one in runs) or (whole and not met(runs)))


def _postfix(server: Postfix) -> Receiver:
    def arrived(address: str, count: int) -> list[bytes]:
        return [one.octets for one in server.arrivals(address, count, PATIENCE)]

    return Receiver("smtp", server.port, server.add_user, arrived)


def _lmtp(server: Dovecot) -> Receiver:
    def add(name: str) -> str:
        server.add_user(name, PASSWORD)
        return name

    def arrived(name: str, count: int) -> list[bytes]:
        return [one.octets for one in server.arrivals(name, count)]

    return Receiver("lmtp", server.lmtp_port, add, arrived)


def measure(
    folder: Path, pop3: int, receivers: Sequence[Receiver], served: Sequence[bytes], rounds: int
) -> list[Runs]:
    """All contestants at all receivers, by turns; fetchmail once, since it takes minutes."""
    made: dict[tuple[str, str], Runs] = {}
    for number in range(rounds):
        for receiver in receivers:
            for name, command in CONTESTANTS.items():
                if (name == "fetchmail" and number) or receiver.protocol not in command[1]:
                    continue
                runs = made.setdefault((name, receiver.protocol), Runs(name, receiver.protocol))
                address = receiver.add(f"{name}-{receiver.protocol}-{number}")
                seconds, problem = once(name, folder, pop3, receiver, address, served)
                if problem:
                    runs.problems.append(problem)
                else:
                    runs.seconds.append(seconds)
                print(f"{name:12} {receiver.protocol} {seconds:8.2f} s {problem}", flush=True)
    return list(made.values())


def once(
    name: str,
    folder: Path,
    pop3: int,
    receiver: Receiver,
    address: str,
    served: Sequence[bytes],
) -> tuple[float, str]:
    """Seconds of one run, and what was wrong with it; "" if nothing was."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            seconds = CONTESTANTS[name][0](Path(own), pop3, receiver, address, served)
            found = receiver.arrived(address, len(served))
        except (RuntimeError, AssertionError) as error:  # the latter: it says how many came
            return 0.0, str(error).partition("\n")[0].rstrip(":")
    return seconds, amiss(found, served, below=below_header if name == "fetchmail" else below_block)


def amiss(
    found: Sequence[bytes], served: Sequence[bytes], *, below: Callable[[bytes], bytes]
) -> str:
    """What is wrong with what arrived; "" if nothing is."""
    met = compare(
        Counter(digest(below(octets)) for octets in served),
        Counter(digest(below(octets)) for octets in found),
    )
    if met.found == met.exact == met.expected:
        return ""
    return f"{met.exact} of {met.expected} arrived, {met.twice} twice, {met.foreign} changed"


def below_block(octets: bytes) -> bytes:
    """Without the block that a forwarder put on top, and a Return-Path that it left out."""
    lines = octets.split(b"\r\n")
    at = 0
    for at, line in enumerate(lines):  # noqa: B007
        if not line.startswith((b"X-Fetchd-Trace:", b"Resent-", b"Return-Path:", b" ", b"\t")):
            break
    return b"\r\n".join(lines[at:])


def below_header(octets: bytes) -> bytes:
    """The body."""
    return octets.partition(b"\r\n\r\n")[2]


# -- Contestants ------------------------------------------------------------------


def fetchd(
    folder: Path, pop3: int, receiver: Receiver, address: str, served: Sequence[bytes]
) -> float:
    """One sync: POP3, archive, catalog, and on to the receiver."""
    settings = folder / "fetchd.toml"
    account = {
        "protocol": "pop3", "host": HOST, "port": pop3, "tls": "none", "auth": "user",
        "allow_plaintext_auth": True, "username": USER, "password": PASSWORD,
        "deliver_to": ["there"],
    }  # fmt: skip
    there = {
        "kind": receiver.protocol, "host": HOST, "port": receiver.port, "tls": "none",
        "recipients": [address], "first_sync": "deliver", "max_connections": CONNECTIONS,
    }  # fmt: skip
    lines = [f"data_dir = {json.dumps(str(folder / 'data'))}", "[accounts.source]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in account.items()]
    lines += ["[destinations.there]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in there.items()]
    settings.write_text("\n".join(lines))
    settings.chmod(0o600)
    return timed([*fetchd_command(), "--config", str(settings), "sync"], folder)


def fetchmail(
    folder: Path, pop3: int, receiver: Receiver, address: str, served: Sequence[bytes]
) -> float:
    """A message at a time."""
    name = f'smtpname "{address}"'
    way = f'smtphost "{HOST}/{receiver.port}" {name}'
    if receiver.protocol == "lmtp":
        way += " lmtp"
    rules = (
        f'set idfile "{folder}/ids"\nset no bouncemail\n'
        f'poll "{HOST}" protocol pop3 service {pop3} auth password uidl user "{USER}" '
        f'password "{PASSWORD}" keep sslproto "" no rewrite pass8bits {way}\n'
    )
    file = folder / "fetchmailrc"
    file.write_text(rules)
    file.chmod(0o600)
    return timed(
        ["fetchmail", "-f", str(file), "--nodetach", "--silent", "--nosyslog", "--invisible",
         "--pidfile", str(folder / "pid")],
        folder,
    )  # fmt: skip


def bare(
    folder: Path, pop3: int, receiver: Receiver, address: str, served: Sequence[bytes]
) -> float:
    """aiosmtplib alone."""
    import aiosmtplib

    async def carry(part: Sequence[bytes]) -> None:
        smtp = aiosmtplib.SMTP(hostname=HOST, port=receiver.port, start_tls=False)
        async with smtp:
            for octets in part:
                await smtp.sendmail(address, [address], octets)

    async def everything() -> None:
        await asyncio.gather(*(carry(served[n::CONNECTIONS]) for n in range(CONNECTIONS)))

    began = time.monotonic()
    asyncio.run(everything())
    return time.monotonic() - began


CONTESTANTS = {
    "fetchd": (fetchd, ("smtp", "lmtp")),
    "aiosmtplib": (bare, ("smtp",)),
    "fetchmail": (fetchmail, ("smtp", "lmtp")),
}


def timed(command: Sequence[str], folder: Path) -> float:
    """Seconds of a process; RuntimeError, with what it said last, if it fails."""
    environment = {**os.environ, "HOME": str(folder), "FETCHMAILHOME": str(folder)}
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise RuntimeError(f"exit {done.returncode}: {said}")
    return seconds


# -- The report ----------------------------------------------------------------------


def met(runs: Sequence[Runs]) -> bool:
    """Whether fetchd is as many times as fast as fetchmail as was aimed for."""
    found = dict(ratios(runs))
    return len(found) == 2 and min(found.values()) >= AIM


def ratios(runs: Sequence[Runs]) -> Iterator[tuple[str, float]]:
    """How many times as fast as fetchmail fetchd is, by protocol."""
    by = {(one.name, one.protocol): statistics.median(one.seconds) for one in runs if one.seconds}
    for protocol in ("smtp", "lmtp"):
        if ("fetchmail", protocol) in by and ("fetchd", protocol) in by:
            yield protocol, by["fetchmail", protocol] / by["fetchd", protocol]


def written(runs: Sequence[Runs], messages: int, rounds: int) -> str:
    """As Markdown."""
    here = machine.describe(Path.cwd())
    lines = [
        "# Forwarding",
        "",
        (
            f"{messages} messages of 3 KB from a POP3 maildrop, by SMTP to Postfix and by LMTP "
            f"to Dovecot, each once and with its octets (of fetchmail: those of the body); seconds "
            f"of the whole process, medians of {rounds} runs, of fetchmail one."
        ),
        "",
        (
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {here['processor']}, "
            f"{here['file system'].split()[0]}, fetchmail {here['fetchmail']}, "
            f"Dovecot {here['dovecot']}."
        ),
        "",
        "| | SMTP, seconds | LMTP, seconds |",
        "|---|---|---|",
    ]
    names = dict.fromkeys(one.name for one in runs)
    by = {(one.name, one.protocol): one for one in runs}
    for name in names:
        cells = []
        for protocol in ("smtp", "lmtp"):
            one = by.get((name, protocol))
            cells.append(_cell(one) if one else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    lines += [
        f"{protocol.upper()}: fetchd is {ratio:.1f} times as fast as fetchmail (aim: {AIM})."
        for protocol, ratio in ratios(runs)
    ]
    return "\n".join([*lines, ""])


def _cell(one: Runs) -> str:
    shown = f"{statistics.median(one.seconds):.2f}" if one.seconds else "failed"
    return f"{shown} ({'; '.join(one.problems)})" if one.problems else shown


if __name__ == "__main__":
    sys.exit(main())
