"""The outbox in the owner's hands: deliveries, deliver, redeliver, test-delivery."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import MESSAGES, Run
from tests.cli.test_commands import documented, is_told, paths
from tests.lacking import lacking
from tests.pipeline.home import Home
from tests.servers.postfix import Postfix, postfix_available
from tests.servers.scripted_smtp import ScriptedSmtp

COUNT = len(MESSAGES)
BOB = "bob@example.org"


@pytest.fixture
def smtp() -> Iterator[ScriptedSmtp]:
    with ScriptedSmtp() as scripted:
        yield scripted


def relay(here: Home, port: int, recipient: str = BOB, *, own: bool = False) -> None:
    """There is a mail server too; `own`: it is where the account's mail goes."""
    here.more = f"""
        [destinations.relay]
        kind = "smtp"
        host = "127.0.0.1"
        port = {port}
        tls = "none"
        recipients = ["{recipient}"]
        address = "{recipient}"
        """
    if own:
        here.account |= {"deliver_to": ["relay"], "first_sync": "deliver"}


def database(here: Home) -> sqlite3.Connection:
    return sqlite3.connect(here.data / "catalog.sqlite", isolation_level=None)


def states(here: Home) -> dict[str, int]:
    with closing(database(here)) as db:
        return dict(db.execute("SELECT state, count(*) FROM delivery GROUP BY state"))


def change(here: Home, sql: str) -> None:
    with closing(database(here)) as db:
        db.execute(sql)


def away(here: Home) -> Path:
    """The Maildir's parent is absent."""
    path = here.folder / "absent" / "Maildir"
    here.destination["path"] = str(path)
    return path


# -- deliveries --------------------------------------------------------------------


def test_a_doubtful_delivery_may_have_arrived(run: Run, here: Home) -> None:
    away(here)
    run("sync")
    change(here, "UPDATE delivery SET doubtful = 1 WHERE id = 1")
    assert run("deliveries").out.count("deferred, may have arrived") == 1
    told = run("deliveries", "--json").document["deliveries"]
    assert [one["id"] for one in told if one["doubtful"]] == [1]


def test_a_destination_out_of_reach_is_told_and_retry_forgives_it(
    run: Run, here: Home, smtp: ScriptedSmtp
) -> None:
    relay(here, 1, own=True)
    assert run("sync").code == 1
    shown = run("deliveries").out
    assert re.search(r"^relay is out of reach, 1 failure in a row: ", shown, re.MULTILINE)
    assert re.search(r"^  Tried again not before 20", shown, re.MULTILINE)
    document = run("deliveries", "--json").document
    assert [one["destination"] for one in document["out_of_reach"]] == ["relay"]
    assert {p for p in paths(document) if not is_told(p, documented()["deliveries"])} == set()
    relay(here, smtp.port, own=True)
    waits = run("deliver")
    assert (waits.code, "not before" in waits.out, smtp.accepted) == (1, True, [])
    first = str(document["deliveries"][-1]["id"])
    assert run("deliveries", "retry", first).code == 0
    assert run("deliver").code == 0
    assert len(smtp.accepted) == 1
    assert run("deliveries", "retry", "--destination", "relay").code == 0
    assert run("deliver").out == f"home: nothing is due\nrelay: {COUNT - 1} delivered\n"
    assert len(smtp.accepted) == COUNT
    assert run("deliveries", "--json").document == {"deliveries": [], "out_of_reach": []}


def test_retry_ends_the_alert_and_keeps_who_has_it(run: Run, here: Home) -> None:
    away(here)
    run("sync")
    change(here, "UPDATE delivery SET state = 'failed', done = 'eve@example.org' WHERE id = 1")
    change(
        here,
        "INSERT INTO alert (kind, subject, times, raised_at, last_at, sentence, advice)"
        " VALUES ('delivery failed', 'home', 1, 1, 1, 'no', '')",
    )
    assert "ALERT" in run("status").out
    assert run("deliveries", "retry", "1").code == 0
    assert "ALERT" not in run("status").out
    with closing(database(here)) as db:
        (row,) = db.execute("SELECT state, done, not_before FROM delivery WHERE id = 1")
    assert row == ("pending", "eve@example.org", 0)


def test_what_was_dropped_is_not_owed_again_by_a_rebuild(run: Run, here: Home) -> None:
    path = away(here)
    run("sync")
    assert run("deliveries", "drop", "1", "2").code == 0
    assert states(here) == {"deferred": COUNT - 2, "dropped": 2}
    assert run("rebuild").code == 0
    path.parent.mkdir()
    assert run("deliver").code == 0
    assert len(list((path / "new").iterdir())) == COUNT - 2


# -- deliver -----------------------------------------------------------------------


def test_the_outbox_goes_out_without_fetching(run: Run, here: Home) -> None:
    path = away(here)
    run("sync")
    late = run("deliver", "home")
    assert late.code == 1
    assert re.search(rf"^home: {COUNT} to be delivered later\n  .*cannot be made", late.out)
    path.parent.mkdir()
    done = run("deliver", "--json")
    (home,) = done.document["destinations"]
    assert (done.code, home["delivered"], home["trouble"]) == (0, COUNT, None)
    assert {p for p in paths(done.document) if not is_told(p, documented()["deliver"])} == set()
    assert run("deliver").out == "home: nothing is due\n"
    assert len(run("history", "--json").document["runs"]) == 1


# -- redeliver ---------------------------------------------------------------------


def test_an_added_destination_gets_old_mail_once(run: Run, here: Home, smtp: ScriptedSmtp) -> None:
    run("sync")
    relay(here, smtp.port)
    would = run("redeliver", "work", "--to", "relay", "--dry-run")
    assert (would.code, smtp.accepted) == (0, [])
    assert would.out.startswith(f"relay: {COUNT} messages (")
    done = run("redeliver", "work", "--to", "relay", "--json")
    told = documented()["redeliver"]
    assert {path for path in paths(done.document) if not is_told(path, told)} == set()
    assert (done.code, done.document["delivered"]) == (0, COUNT)
    assert len(smtp.accepted) == COUNT
    again = run("redeliver", "work", "--to", "relay")
    assert (again.code, f"{COUNT} delivered there already" in again.out) == (0, True)
    assert len(smtp.accepted) == COUNT
    assert run("redeliver", "work", "--to", "relay", "--again").code == 0
    assert len(smtp.accepted) == 2 * COUNT
    run("rebuild")
    assert run("redeliver", "work", "--to", "relay", "--json").document["present"] == COUNT


def test_again_puts_back_what_a_maildir_has_lost_and_nothing_else(run: Run, here: Home) -> None:
    run("sync")
    files = list((here.maildir / "new").iterdir())
    files[0].unlink()
    assert run("redeliver", "work", "--to", "home", "--again").code == 0
    assert sorted((here.maildir / "new").iterdir()) == sorted(files)


def test_what_is_owed_or_gone_is_not_queued(run: Run, here: Home) -> None:
    away(here)
    run("sync")
    change(here, "UPDATE delivery SET state = 'delivered' WHERE id > 2")
    change(here, "UPDATE delivery SET state = 'dropped' WHERE id = 2")
    change(
        here,
        "UPDATE message SET segment_id = NULL, expired = 1 WHERE digest ="
        " (SELECT digest FROM delivery WHERE id = 2)",
    )
    told = run("redeliver", "work", "--to", "home", "--json").document
    figures = [told[key] for key in ("found", "queued", "present", "owed", "gone")]
    assert figures == [COUNT, 0, COUNT - 2, 1, 1]


def test_only_what_fits_goes(run: Run, here: Home) -> None:
    run("sync")
    change(here, "UPDATE delivery SET destination = 'elsewhere'")
    listed = run("list", "--from", "ada", "--json").document["messages"]
    asked = ("redeliver", "work", "--to", "home", "--from", "ada", "--dry-run", "--json")
    assert 0 < run(*asked).document["queued"] == len(listed) < COUNT
    assert run(*asked, "--mailbox", "Nowhere").code == 2


def test_a_mirror_is_refused(run: Run, here: Home) -> None:
    run("sync")
    here.destination["layout"] = "mirror"
    ran = run("redeliver", "work", "--to", "home")
    assert (ran.code, "is a mirror" in ran.err) == (2, True)


# -- test-delivery -----------------------------------------------------------------


def test_one_message_is_sent_step_by_step_and_leaves_no_trace(
    run: Run, here: Home, smtp: ScriptedSmtp
) -> None:
    relay(here, smtp.port)
    ran = run("test-delivery", "relay")
    assert ran.code == 0
    (letter,) = smtp.accepted
    subject = re.search(r"fetchd test delivery to relay \w{26}", ran.out)
    assert subject
    assert subject[0].encode() in letter.octets
    assert b"Auto-Submitted: auto-generated" in letter.octets
    assert letter.recipients == (BOB,)
    assert re.search(r"^  ok      connect: 127", ran.out, re.MULTILINE)
    assert re.search(r"^  ok      delivered: 250 ", ran.out, re.MULTILINE)
    assert not here.data.exists()
    document = run("test-delivery", "relay", "--json").document
    told = documented()["test-delivery"]
    assert {path for path in paths(document) if not is_told(path, told)} == set()


@pytest.mark.parametrize(
    "answers",
    [
        {f"RCPT TO:<{BOB}>": b"550 5.1.1 nobody here\r\n"},
        {".": b"451 4.3.0 nobody here\r\n"},
        {"greeting": b"554 nobody here\r\n"},
    ],
)
def test_what_the_peer_says_last_is_told(
    run: Run, here: Home, smtp: ScriptedSmtp, answers: dict[str, bytes]
) -> None:
    smtp.answers |= answers
    relay(here, smtp.port)
    ran = run("test-delivery", "relay")
    assert (ran.code, "nobody here" in ran.out) == (1, True)
    assert run("test-delivery", "relay", "--json").document["ok"] is False


def test_a_maildir_is_tried_too(run: Run, here: Home) -> None:
    assert run("test-delivery", "home").code == 0
    (file,) = (here.maildir / "new").iterdir()
    assert b"Subject: fetchd test delivery to home " in file.read_bytes()
    away(here)
    ran = run("test-delivery", "home")
    assert (ran.code, "cannot be made" in ran.out) == (1, True)


def test_a_real_mail_server_takes_all_of_it(run: Run, here: Home) -> None:
    if reason := postfix_available():
        lacking(reason)
    with Postfix() as postfix:
        bob = postfix.add_user("bob")
        run("sync")
        relay(here, postfix.port, bob)
        assert run("test-delivery", "relay").code == 0
        assert run("redeliver", "work", "--to", "relay").code == 0
        assert len(postfix.wait_for("bob", COUNT + 1)) == COUNT + 1
