"""From a maildrop to real receivers: Postfix by every way in, Dovecot by LMTP.

What arrives is compared octet by octet, below the block of fields that fetchd puts on top.
"""

import asyncio
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.demo.server import PASSWORD, USERNAME, Maildrop, serve
from fetchd.pipeline.check_destination import check_destination
from tests import corpus
from tests.destinations.test_letter_dkim import SHAPES, key, record, signed, verified  # noqa: F401
from tests.lacking import lacking
from tests.pipeline.home import Home, _table
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix, postfix_available
from tests.servers.processes import free_ports

pytestmark = pytest.mark.live

# What fetchd puts on top: each field on lines of its own, up to the message's own first one.
BLOCK = re.compile(rb"(?:(?:X-Fetchd-Trace|Resent-[A-Za-z-]+):.*\r\n(?:[ \t].*\r\n)*)+")
MANY = 200
HEAD = (
    b"From:  Alice\r\n\t<alice@example.net>\r\nTo: me@example.org\r\nSUBJECT:   Greetings \r\n"
    b"Date: Mon, 2 Nov 2026 11:00:00 +0100\r\nMessage-ID: <%d@example.net>\r\n\r\n"
)


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    if reason := postfix_available():
        lacking(reason)
    # The odd mail of the corpus: headers of 60 KB, lone CRs.
    extra = {"header_size_limit": "1000000", "cleanup_replace_stray_cr_lf": "no"}
    with Postfix(extra=extra) as server:
        yield server


def tables(**named: Mapping[str, object]) -> str:
    """These destinations, as TOML."""
    found = ((f"[destinations.{name}]", *_table(table)) for name, table in named.items())
    return "\n".join(line for lines in found for line in lines)


class Forwarder(Home):
    """A home whose mail goes to servers, and to no Maildir."""

    def __init__(self, folder: Path, drop: Maildrop, **named: dict[str, object]) -> None:
        super().__init__(
            folder, drop.port, "work", username=USERNAME, password=PASSWORD,
            deliver_to=list(named), first_sync="deliver",
        )  # fmt: skip
        self.more = tables(**named)

    def check(self, name: str) -> list[str]:
        """What `check` finds wrong there."""
        found = asyncio.run(check_destination(self.settings().destinations[name]))
        return [f"{one.sentence} {one.advice}" for one in found if one.level == "error"]

    def states(self) -> list[tuple[str, str]]:
        """State and reply of each, as the outbox has them."""
        with closing(sqlite3.connect(self.data / "catalog.sqlite")) as db:
            return list(db.execute("SELECT state, last_reply FROM delivery ORDER BY id"))


def relay(postfix: Postfix, user: str, **more: object) -> dict[str, object]:
    return {
        "kind": "smtp", "host": postfix.host, "port": postfix.port, "tls": "none",
        "helo": "me.example.org", "recipients": [postfix.add_user(user)], **more,
    }  # fmt: skip


def below(octets: bytes) -> bytes:
    """A message without our block."""
    found = BLOCK.match(octets)
    assert found is not None, octets[:200]
    return octets[found.end() :]


def digests(messages: Sequence[bytes]) -> Counter[str]:
    return Counter(hashlib.sha256(one).hexdigest() for one in messages)


def as_sent(message: bytes) -> bytes:
    """Without what the last server writes anew, and ended as SMTP ends a line."""
    message = re.sub(rb"\AReturn-Path:.*\r\n", b"", message)
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def test_odd_mail_arrives_once_octet_by_octet_at_postfix_and_dovecot(
    postfix: Postfix, dovecot: Dovecot, tmp_path: Path
) -> None:
    # A lone CR may not be sent at all (RFC 5321 §2.3.8), and NUL is for BDAT only.
    messages = [one for one in corpus.realistic(MANY, total=2_000_000) if lines_end_well(one)]
    assert len(messages) > MANY * 0.9
    dovecot.add_user("forwarded", "secret")
    lmtp = {
        "kind": "lmtp", "host": dovecot.host, "port": dovecot.lmtp_port,
        "recipients": ["forwarded"],
    }  # fmt: skip
    with serve(messages) as drop:
        here = Forwarder(tmp_path, drop, relay=relay(postfix, "many"), local=lmtp)
        report = here.sync()
        assert report.ok, report.sentence()
        at_postfix = postfix.arrivals("many", len(messages), timeout=60)
        at_dovecot = dovecot.arrivals("forwarded", len(messages))
        here.sync()
    expected = digests([as_sent(one) for one in messages])
    # Where a line of the header is no field, Postfix ends the header with an empty line.
    ended = [as_sent(one).replace(b"\r\nX-Gr\xf6", b"\r\n\r\nX-Gr\xf6") for one in messages]
    assert digests([below(one.octets) for one in at_postfix]) == digests(ended)
    assert digests([below(one.octets) for one in at_dovecot]) == expected
    assert {state for state, _ in here.states()} == {"delivered"}
    assert len(postfix.arrived("many")) == len(messages)


def lines_end_well(message: bytes) -> bool:
    ends = {message.count(end) for end in (b"\r", b"\n", b"\r\n")}
    return len(ends) == 1 and b"\0" not in message


@pytest.mark.parametrize("kind", [b"simple", b"relaxed"])
def test_signatures_hold_behind_postfix(
    postfix: Postfix,
    tmp_path: Path,
    kind: bytes,
    key: Path,  # noqa: F811
    record: bytes,  # noqa: F811
) -> None:
    messages = [
        signed(HEAD % number + body, key, kind) for number, body in enumerate(SHAPES.values())
    ]
    user = f"signed-{kind.decode()}"
    with serve(messages) as drop:
        here = Forwarder(tmp_path, drop, relay=relay(postfix, user))
        report = here.sync()
        assert report.ok, report.sentence()
        arrived = postfix.arrivals(user, len(messages))
    assert [verified(one.octets, record) for one in arrived] == [True] * len(SHAPES)
    assert not verified(arrived[0].octets.replace(b"Greetings", b"greetings"), record)


@pytest.mark.parametrize("way", ["starttls", "implicit"])
def test_submission_logs_in_behind_tls(postfix: Postfix, tmp_path: Path, way: str) -> None:
    port = postfix.submission_port if way == "starttls" else postfix.tls_port
    with serve(corpus.small(3)) as drop:
        here = Forwarder(tmp_path, drop, out=relay(postfix, way, **login(postfix, port, way)))
        assert here.check("out") == []
        assert here.sync().ok
    arrived = postfix.arrivals(way, 3)
    assert all(" with ESMTPSA " in one.received for one in arrived)


def login(postfix: Postfix, port: int, tls: str) -> dict[str, object]:
    return {
        "host": "localhost", "port": port, "tls": tls, "ca_file": str(postfix.ca_file),
        "username": postfix.user, "password": postfix.password,
    }  # fmt: skip


@pytest.mark.parametrize("trouble", ["password", "recipient", "unreachable"])
def test_trouble_is_one_clear_sentence_in_check_and_deliveries(
    postfix: Postfix, tmp_path: Path, trouble: str
) -> None:
    table = relay(postfix, "troubled")
    wanted, state = "", "deferred"
    match trouble:
        case "password":
            table |= login(postfix, postfix.submission_port, "starttls") | {"password": "wrong"}
            wanted = "password"
        case "recipient":
            table["recipients"], wanted, state = ["nobody@example.org"], "550", "failed"
        case _:
            (port,) = free_ports(1)
            table["port"], wanted = port, "127.0.0.1"
    with serve(corpus.small(2)) as drop:
        here = Forwarder(tmp_path, drop, out=table)
        (found,) = here.check("out")
        report = here.sync()
    assert not report.ok
    for state_there, reply in here.states():
        assert state_there == state
        assert wanted in reply
        assert "Traceback" not in reply
        assert "\n" not in reply
    assert wanted in found
    assert "\n" not in found


def test_what_was_refused_for_now_goes_out_later_and_once(postfix: Postfix, tmp_path: Path) -> None:
    with serve(corpus.small(2)) as drop:
        here = Forwarder(tmp_path, drop, out=relay(postfix, "grey"))
        postfix.reply("grey", "450 4.2.0 Greylisted")
        assert not here.sync().ok
        assert {state for state, _ in here.states()} == {"deferred"}
        postfix.reply("grey", None)
        here.offset += timedelta(hours=1)
        here.sync()
    assert len(postfix.arrivals("grey", 2)) == 2
    assert {state for state, _ in here.states()} == {"delivered"}
