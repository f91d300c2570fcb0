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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import HOST, PASSWORD, Task, fetchd_settings, fetchd_sync
from benchmarks.kill_home import MEAN_SIZE, POLL, Home, files
from tests import corpus
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.receivers import Arrival, arrival

CONNECTIONS = 4
DESTINATIONS = ("home", "box", "relay")
# Postfix's own limits would cut large headers of the corpus.
POSTFIX = {"header_size_limit": "1000000"}
QUEUES = ("maildrop", "incoming", "active", "deferred")
QUEUE_DEADLINE = 120.0  # seconds for Postfix to file what it has accepted

# What fetchd puts on top of a message, up to the message's own first field.
BLOCK = re.compile(rb"(?:(?:X-Fetchd-Trace|Resent-[A-Za-z-]+):.*\r\n(?:[ \t].*\r\n)*)+")
SENT_AS = re.compile(rb"^Resent-Message-ID: (.*)\r\n", re.MULTILINE)
RETURN_PATH = re.compile(rb"\AReturn-Path:.*\r\n")  # the last server writes its own
FIELDS = re.compile(rb"(?:[!-9;-~]+:.*\r\n(?:[ \t].*\r\n)*)+\r\n")

Copy = tuple[bytes, str]  # the name under which it was sent on, and the digest below that


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

    def waiting(self) -> int:
        """How many messages are not in the Maildir, or not in the mailbox."""
        box = self._server.maildir(self._box)
        there = sum(files(box / part) for part in ("new", "cur"))
        return max(super().waiting(), self.expected.crlf.total() - there)

    def received(self) -> tuple[list[str], int]:
        """What is violated at the servers, and how often SMTP brought what had come before.

        For when all runs have ended.
        """
        with self._server.client(self._box) as client:
            box = Counter(mail.digest(octets) for octets in client.octets("INBOX").values())
        await_empty_queue(self._postfix)
        copies = [sent(arrival(octets)) for octets in self._postfix.arrived(self._box)]
        found = in_box(self.expected.crlf, box)
        violated, again = by_smtp(self._wanted_by_smtp(), copies)
        return [*found, *violated], again

    def _wanted_by_smtp(self) -> Counter[str]:
        return self.as_sent.copy()


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
