"""The straight line on a real server: everything home once, byte-exact, thinned by its window."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fetchd.errors import Remedy
from tests import corpus
from tests.pipeline.conftest import Mailbox
from tests.pipeline.home import HOST, Home
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.live
Homes = Callable[..., Home]
DAY = timedelta(days=1)


def odd() -> list[bytes]:
    """Every shape of odd mail among ordinary ones."""
    return corpus.realistic(60, total=2_000_000)


def test_first_sync_brings_everything_and_the_second_nothing(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(odd())
    served = dovecot.served(user)
    here = home(user)
    report = here.sync()
    assert (report.ok, report.fetched, report.delivered) == (True, 60, 60)
    assert report.octets == sum(map(len, served))
    here.holds(served)
    again = here.sync()
    assert (again.ok, again.fetched, again.delivered, again.on_server) == (True, 0, 0, 60)
    here.holds(served)
    assert dovecot.served(user) == served  # "forever" is the default


def test_after_a_rebuild_nothing_is_fetched_or_delivered(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(odd())
    here = home(user)
    here.sync()
    for file in here.maildir.glob("new/*"):
        file.unlink()  # read and thrown away: the Maildir cannot tell that it was delivered
    report = here.rebuild()
    assert (report.messages, report.remotes, report.damage) == (60, 60, ())
    again = here.sync()
    assert (again.ok, again.fetched, again.delivered) == (True, 0, 0)
    assert here.delivered().total() == 0
    assert here.verify().checked == 60


def test_a_renumbered_server_costs_headers_only(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(40, size=20_000))
    served = dovecot.served(user)
    here = home(user, leave_on_server="none")
    here.account["leave_on_server"] = "forever"
    here.sync()
    dovecot.renumber(user)
    here.account["leave_on_server"] = "none"
    with Proxy(HOST, dovecot.port.pop3) as proxy:
        here.port = proxy.port
        report = here.sync()
        assert proxy.octets < 40 * 4000  # headers, not 800 KB of bodies
    assert (report.ok, report.adopted, report.fetched) == (True, 40, 0)
    assert (report.delivered, report.retired) == (0, 0)
    assert any("renumbered" in notice for notice in report.notices)
    here.holds(served)
    assert len(dovecot.uidls(user)) == 40


def test_leave_none_empties_the_server_and_keeps_what_comes_later(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(30))
    served = dovecot.served(user)
    here = home(user, leave_on_server="none")
    report = here.sync()
    assert (report.ok, report.retired, report.on_server) == (True, 30, 0)
    assert dovecot.uidls(user) == []
    dovecot.fill(user, corpus.small(5, seed=99))
    served += dovecot.served(user)
    assert here.sync().retired == 5
    here.holds(served)


def test_nothing_leaves_before_every_destination_has_taken_it(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(3))
    served = dovecot.served(user)
    here = home(user, leave_on_server="none")
    here.maildir.write_text("not a folder")
    report = here.sync()
    assert (report.ok, report.fetched, report.deferred, report.retired) == (False, 3, 3, 0)
    assert "not a Maildir" in report.troubles["home"]
    assert len(dovecot.uidls(user)) == 3
    here.maildir.unlink()
    healed = here.sync()
    assert (healed.ok, healed.fetched, healed.delivered) == (True, 0, 3)
    assert here.sync().ok
    assert dovecot.uidls(user) == []
    here.holds(served)


def test_the_brake_stops_a_mistyped_window_until_confirmed(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(50, size=500))
    here = home(user)
    here.sync()
    here.account["leave_on_server"] = "none"
    braked = here.sync()
    assert (braked.ok, braked.retired) == (True, 0)
    assert any("--confirm-retire" in notice for notice in braked.notices)
    (plan,) = here.plan()
    assert (len(plan.mailboxes[0].held), len(plan.mailboxes[0].retire)) == (50, 0)
    assert here.sync(confirm_retire=True).retired == 50
    assert dovecot.uidls(user) == []


def test_a_window_of_days_newest_and_size(dovecot: Dovecot, mailbox: Mailbox, home: Homes) -> None:
    user = mailbox(corpus.small(12, size=1000))
    here = home(user, leave_on_server={"days": 14, "newest": 10})
    assert here.sync().retired == 2
    here.offset = 13 * DAY
    assert here.sync().retired == 0
    dovecot.fill(user, corpus.small(1, seed=5))
    assert here.sync().retired == 1  # pushed out by the new one
    here.offset = 14 * DAY
    assert here.sync().retired == 9
    assert len(dovecot.uidls(user)) == 1
    here.account["leave_on_server"] = {"max_size": "1KB"}
    assert here.sync().retired == 1


def test_an_emptied_mailbox_is_reported_and_nothing_is_forgotten(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(5))
    here = home(user, leave_on_server={"days": 7})
    here.sync()
    dovecot.expunge(user)
    report = here.sync()
    assert report.ok
    assert any("suddenly empty" in notice for notice in report.notices)
    assert here.archived().total() == 5


def test_identical_and_lookalike_copies(dovecot: Dovecot, mailbox: Mailbox, home: Homes) -> None:
    body = b"From: a@x\r\nSubject: one\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nbody\r\n"
    other = body.replace(b"body", b"another body")
    copy = b"Received: from elsewhere\r\n" + body
    here = home(mailbox([body, other]), mailbox([body, copy]))
    here.destination = {"duplicates": "skip"}
    assert here.round().ok
    assert here.archived().total() == 3  # the copy's octets are not the same
    assert here.delivered().total() == 2
    assert here.round().ok
    assert here.delivered().total() == 2


def test_duplicates_are_delivered_where_asked(mailbox: Mailbox, home: Homes) -> None:
    body = b"Subject: one\r\n\r\nbody\r\n"
    here = home(mailbox([body]), mailbox([body]))
    here.destination = {"duplicates": "deliver"}
    assert here.round().ok
    assert (here.archived().total(), here.delivered().total()) == (1, 2)


@pytest.mark.parametrize("cut", [4_001, 5_000, 12_345, 40_000])
def test_a_line_cut_after_every_kth_octet_loses_and_repeats_nothing(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes, cut: int
) -> None:
    """Whatever carries a listing, a message and the removals (3.5 KB here) is enough."""
    user = mailbox(corpus.small(40, size=1_000))
    served = dovecot.served(user)
    with Proxy(HOST, dovecot.port.pop3, cut_after=cut) as proxy:
        here = home(user, leave_on_server="none")
        here.port = proxy.port
        for _ in range(40):
            if here.sync().ok and not dovecot.uidls(user):
                break
    assert dovecot.uidls(user) == []
    here.holds(served)


def test_a_line_that_never_carries_a_whole_message_is_a_failure(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(3))
    here = home(user)
    with Proxy(HOST, dovecot.port.pop3, cut_after=200) as proxy:
        here.port = proxy.port
        report = here.sync()
    assert (report.ok, report.fetched) == (False, 0)
    assert report.failures[0].error.remedy is Remedy.WAIT
    here.port = dovecot.port.pop3
    assert here.sync().fetched == 3


def test_one_bad_account_never_stops_the_others(mailbox: Mailbox, home: Homes) -> None:
    here = home(mailbox(corpus.small(3)), "nobody-here")
    done = here.round()
    assert [r.ok for r in done.reports] == [True, False]
    assert done.reports[0].fetched == 3
    assert done.reports[1].failures[0].error.remedy is Remedy.OWNER


def test_damage_is_found_named_and_repaired_from_the_server(mailbox: Mailbox, home: Homes) -> None:
    here = home(mailbox(corpus.small(20)), leave_on_server={"days": 7})
    here.sync()
    (segment,) = here.data.glob("archive/*/*/*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[2000] ^= 0xFF
    segment.write_bytes(octets)
    report = here.verify()
    assert report.complete
    assert report.damaged
    here.offset = 30 * DAY
    repaired = here.sync()
    assert repaired.fetched == len(report.damaged)
    assert repaired.delivered == 0
    assert here.verify().damaged == ()


def test_a_damaged_copy_never_leaves_the_server(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.small(20))
    served = dovecot.served(user)
    here = home(user, leave_on_server={"days": 7})
    here.sync()
    (segment,) = here.data.glob("archive/*/*/*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[2000] ^= 0xFF
    segment.write_bytes(octets)
    here.offset = 30 * DAY
    report = here.sync(confirm_retire=True)  # nobody has verified: the sync itself must look
    left = len(dovecot.uidls(user))
    assert left == 20 - report.retired > 0
    assert any("damaged" in notice for notice in report.notices)
    here.sync(confirm_retire=True)
    here.sync(confirm_retire=True)
    assert dovecot.uidls(user) == []
    assert here.verify().damaged == ()
    assert here.delivered().total() == len(served)


def test_the_plan_is_what_a_sync_then_does(dovecot: Dovecot, mailbox: Mailbox, home: Homes) -> None:
    user = mailbox(corpus.small(6))
    here = home(user, leave_on_server={"newest": 4}, max_message_size="2900B")
    (before,) = here.plan()
    planned = before.mailboxes[0]
    assert not here.data.exists()
    assert len(dovecot.uidls(user)) == 6
    report = here.sync()
    assert (len(planned.fetch), len(planned.retire)) == (report.fetched, report.retired)
    assert len(planned.quarantined) == 6 - report.fetched
    (after,) = here.plan()
    assert after.mailboxes[0].fetch == ()


def test_a_stop_leaves_cleanly(dovecot: Dovecot, mailbox: Mailbox, home: Homes) -> None:
    user = mailbox(corpus.small(3))
    here = home(user)
    done = here.round(stopped=True)
    assert done.reports[0].skipped
    assert here.sync().fetched == 3


def test_a_spool_keeps_only_what_is_not_delivered(
    dovecot: Dovecot, mailbox: Mailbox, home: Homes
) -> None:
    user = mailbox(corpus.realistic(40, total=6_000_000))
    here = home(user)
    here.archive_settings = {"keep": "delivered", "segment_size": "1MiB"}
    assert here.sync().delivered == 40
    segments = list(here.data.glob("archive/*/*/*.tar.zst"))
    assert sum(s.stat().st_size for s in segments) < 1_000_000
    for again in (here.sync(), here.sync()):
        assert (again.ok, again.fetched, again.delivered) == (True, 0, 0)
    here.rebuild()
    after = here.sync()
    assert (after.ok, after.fetched, after.delivered) == (True, 0, 0)


def test_a_half_dead_segment_is_rewritten(mailbox: Mailbox, home: Homes, dovecot: Dovecot) -> None:
    user = mailbox(corpus.realistic(40, total=6_000_000))
    here = home(user, deliver_to=[])
    here.archive_settings = {"keep": "90d", "segment_size": "1MiB"}
    here.sync()
    here.offset = 60 * DAY
    dovecot.fill(user, corpus.small(4, seed=7))
    here.sync()
    here.offset = 100 * DAY
    assert here.sync().fetched == 0
    assert here.archived().total() == 4
    assert here.verify().checked == 4
    here.rebuild()
    assert here.sync().fetched == 0


def test_days_may_count_from_arrival(dovecot: Dovecot, mailbox: Mailbox, home: Homes) -> None:
    fresh = b"Received: by x; " + format_datetime(datetime.now(UTC)).encode() + b"\r\n\r\nnew\r\n"
    user = mailbox([*corpus.small(3), fresh])  # the others are of January 2024
    here = home(user, leave_on_server={"days": 7, "since": "arrival"})
    (plan,) = here.plan()
    assert len(plan.mailboxes[0].retire) == 0  # what is not here yet tells no date
    assert here.sync().retired == 3
    assert len(dovecot.uidls(user)) == 1
    here.offset = 8 * DAY
    assert here.sync().retired == 1
