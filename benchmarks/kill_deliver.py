"""What the kill loop strikes at with `--deliver`: three destinations at once, of three kinds.

Mail of POP3 accounts goes into a Maildir, by IMAP into a mailbox of a private Dovecot, and
by SMTP to a private Postfix over CONNECTIONS lines. What must hold at the end, beyond what
a `Home` asks for: in that mailbox is every message once; at Postfix is every message, and
where one came again it is the same under the same Resent-Message-ID, and there are at most
as many of these as could be under way at the kills: CONNECTIONS for each.

Only mail that every server keeps octet by octet is sent: no lone CR or LF, no NUL, and no
line in a header that is no field.
"""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import HOST, PASSWORD, Task, fetchd_settings, fetchd_sync
from benchmarks.kill_home import MEAN_SIZE, POLL, Home, files
from benchmarks.kill_loop import CALM, MESSAGES, USERS, strike_often
from benchmarks.kill_report import Report
from tests import corpus
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.receivers import Arrival, arrival

CONNECTIONS = 4
DESTINATIONS = ("home", "box", "relay")
# By default it cuts the largest headers of the corpus.
POSTFIX = {"header_size_limit": "1000000"}
TO_ALL = "every message once in archive, Maildir and IMAP mailbox, and at Postfix; server empty"
ACCEPTED = "(queue active)"  # in Postfix's log, once a message
QUEUES = ("maildrop", "incoming", "active", "deferred")
QUEUE_DEADLINE = 120.0  # seconds for Postfix to file what it has accepted

# What fetchd puts on top of a message, up to the message's own first field.
BLOCK = re.compile(rb"(?:(?:X-Fetchd-Trace|Resent-[A-Za-z-]+):.*\r\n(?:[ \t].*\r\n)*)+")
SENT_AS = re.compile(rb"^Resent-Message-ID: (.*)\r\n", re.MULTILINE)
RETURN_PATH = re.compile(rb"\AReturn-Path:.*\r\n")  # the last server writes its own
FIELDS = re.compile(rb"(?:[!-9;-~]+:.*\r\n(?:[ \t].*\r\n)*)+\r\n")

Copy = tuple[bytes, str]  # the name under which it was sent on, and the digest below that


def kill_deliver(
    server: Dovecot,
    directory: Path,
    *,
    kills: int,
    seed: int,
    messages: int = MESSAGES,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Measure, kill, restart until done, and judge; the server has no such users yet."""
    report = Report(done=TO_ALL)
    with Postfix(extra=POSTFIX) as postfix:
        calm = ForwardingHome(server, postfix, directory / "calm", CALM, "calm-box")
        home = ForwardingHome(server, postfix, directory / "killed", USERS, "box")
        strike_often(calm, home, report, kills=kills, seed=seed, messages=messages, say=say)
        report.violations += home.finish()
        violated, again = home.received()
    report.violations += [*violated, *too_often(again, report.kills)]
    most = CONNECTIONS * report.kills
    report.notes.append(f"{again} further copies by SMTP, each the same, of {most} at most")
    return report


class ForwardingHome(Home):
    """Accounts whose mail goes to all three; `box` is the user and recipient it is sent to."""

    def __init__(
        self,
        server: Dovecot,
        postfix: Postfix,
        directory: Path,
        users: tuple[str, ...],
        box: str,
    ) -> None:
        self._postfix, self._box = postfix, box
        server.add_user(box, PASSWORD)
        self._address = postfix.add_user(box)
        self._as_sent: Counter[str] = Counter()  # digests
        super().__init__(server, directory, users, self._sync)

    def _sync(self, task: Task) -> list[str]:
        box = {
            "kind": "imap", "host": HOST, "port": self._server.port.imap, "tls": "none",
            "allow_plaintext_auth": True, "username": self._box, "password": PASSWORD,
        }  # fmt: skip
        relay = {
            "kind": "smtp", "host": HOST, "port": self._postfix.port, "tls": "none",
            "recipients": [self._address], "first_sync": "deliver",
            "max_connections": CONNECTIONS,
        }  # fmt: skip
        accounts = {"leave_on_server": "none", "deliver_to": list(DESTINATIONS)}
        settings = fetchd_settings(
            task, deliver=True, accounts=accounts, more=tables({"box": box, "relay": relay})
        )
        return fetchd_sync(settings)

    def mail(self, messages: int, rng: random.Random) -> list[bytes]:
        """What every server on the way keeps as it is."""
        total = messages * MEAN_SIZE
        mixed = corpus.realistic(messages, total=total, seed=rng.getrandbits(32))
        return [one for one in mixed if kept_by_all(one)]

    def expect(self, message: bytes, place: str) -> None:
        """By SMTP without what the last server writes anew."""
        super().expect(message, place)
        self._as_sent[mail.digest(RETURN_PATH.sub(b"", message))] += 1

    def waiting(self) -> int:
        """How many messages are not in the Maildir, or not in the mailbox."""
        return max(super().waiting(), self.expected.crlf.total() - self._in_box())

    def traces(self) -> tuple[int, ...]:
        """Postfix files at some later time what it accepted: its log tells of that at once."""
        return (*super().traces(), self._in_box(), self._postfix.log().count(ACCEPTED))

    def received(self) -> tuple[list[str], int]:
        """What is violated at the servers, and how often SMTP brought what had come before.

        For when all runs have ended.
        """
        with self._server.client(self._box) as client:
            box = Counter(mail.digest(octets) for octets in client.octets("INBOX").values())
        await_empty_queue(self._postfix)
        copies = [sent(arrival(octets)) for octets in self._postfix.arrived(self._box)]
        found = in_box(self.expected.crlf, box)
        violated, again = by_smtp(self._as_sent, copies)
        return [*found, *violated], again

    def _in_box(self) -> int:
        box = self._server.maildir(self._box)
        return sum(files(box / part) for part in ("new", "cur"))


def kept_by_all(message: bytes) -> bool:
    """Whether it comes through POP3, IMAP and SMTP alike."""
    ends = {message.count(end) for end in (b"\r", b"\n", b"\r\n")}
    return len(ends) == 1 and b"\0" not in message and bool(FIELDS.match(message))


def tables(named: Mapping[str, Mapping[str, object]]) -> str:
    """Destinations as TOML."""
    lines = []
    for name, table in named.items():
        lines.append(f"[destinations.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines)


def sent(one: Arrival) -> Copy:
    """What arrived by SMTP, as far as two copies may be told apart; no name without our block."""
    block = BLOCK.match(one.octets)
    name = SENT_AS.search(block[0]) if block else None
    return name[1] if name else b"", mail.digest(one.octets[block.end() if block else 0 :])


def in_box(expected: Counter[str], found: Counter[str]) -> list[str]:
    """What is violated of: every message once, and nothing else."""
    met = mail.compare(expected, found)
    said = (
        (met.missing, "missing"),
        (met.twice, "there more than once"),
        (met.foreign, "there that no server held"),
    )
    return [f"IMAP: {count} messages {what}, of {met.expected}" for count, what in said if count]


def by_smtp(expected: Counter[str], copies: Iterable[Copy]) -> tuple[list[str], int]:
    """What is violated of: every message under a name of its own; and further copies of that."""
    found = Counter(copies)
    once = Counter(digest for _, digest in found)
    met = mail.compare(expected, once)
    unnamed = sum(count for (name, _), count in found.items() if not name)
    names = Counter(name for name, _ in found)
    said = (
        (met.missing, "missing"),
        (met.twice, "sent again under another Resent-Message-ID"),
        (met.foreign, "there that no server held"),
        (unnamed, "without Resent-Message-ID"),
        (sum(count - 1 for count in names.values()), "changed under the same Resent-Message-ID"),
    )
    violated = [
        f"SMTP: {count} messages {what}, of {met.expected}" for count, what in said if count
    ]
    return violated, found.total() - len(found)


def too_often(again: int, kills: int) -> list[str]:
    """What is violated if more was repeated than could be under way at the kills."""
    most = CONNECTIONS * kills
    return [f"SMTP: {again} copies too many, {most} at most"] if again > most else []


def await_empty_queue(postfix: Postfix) -> None:
    """Return when Postfix has filed all that it accepted."""
    deadline = time.monotonic() + QUEUE_DEADLINE
    while queued := sum(
        path.is_file()
        for name in QUEUES
        for path in (postfix.directory / "queue" / name).rglob("*")
    ):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Postfix still has {queued} messages in its queue")
        time.sleep(POLL)  # a server tells nobody that it has delivered
