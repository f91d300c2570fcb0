"""Senders rewritten as Mail::SRS rewrites them, and turned around again."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.policy.srs import MAX_AGE, restore, rewrite
from tests.lacking import lacking
from tests.servers.unpacked import Unpacked

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
SECRET = "correct horse"
DAY = timedelta(days=1)

# Made by Mail::SRS 0.31 with this secret at this instant, and understood by it again.
BY_MAIL_SRS = [
    # the sender, and what becomes of it at lists.example.org
    ("alice@example.net", "SRS0=M6HI=IX=example.net=alice"),
    ("Bob.O'Hara+tag@Mail.Example.COM", "SRS0=FgbS=IX=Mail.Example.COM=Bob.O'Hara+tag"),
    ("a=b=c@example.net", "SRS0=sbnX=IX=example.net=a=b=c"),
    ("SRS2=x@example.net", "SRS0=dLq/=IX=example.net=SRS2=x"),
    ("SRS0@example.net", "SRS0=gkJM=IX=example.net=SRS0"),
    ("SRS1@second.example", "SRS0=7rc2=IX=second.example=SRS1"),
    # what others have rewritten is not wrapped again
    (
        "SRS0=abcd=7K=example.net=alice@forward.example.org",
        "SRS1=3sm3=forward.example.org==abcd=7K=example.net=alice",
    ),
    ("SRS0-x@other.example", "SRS1=yQ9U=other.example=-x"),
]
TWICE = (
    "SRS1=wxyz=first.example==abcd=7K=example.net=alice@second.example",
    "SRS1=8Eix=first.example==abcd=7K=example.net=alice",
)


def at_home(sender: str, now: datetime = NOW) -> str:
    return rewrite(sender, "lists.example.org", SECRET, now)


@pytest.mark.parametrize(("sender", "rewritten"), [*BY_MAIL_SRS, TWICE])
def test_a_sender_is_rewritten_as_by_mail_srs(sender: str, rewritten: str) -> None:
    assert at_home(sender) == f"{rewritten}@lists.example.org"


@pytest.mark.parametrize(("sender", "rewritten"), BY_MAIL_SRS)
def test_a_bounce_finds_back(sender: str, rewritten: str) -> None:
    assert restore(f"{rewritten}@lists.example.org", SECRET, NOW) == sender


def test_a_bounce_over_two_forwarders_goes_to_the_first_directly() -> None:
    back = restore(f"{TWICE[1]}@lists.example.org", SECRET, NOW)
    assert back == "SRS0=abcd=7K=example.net=alice@first.example"


def test_the_owners_own_domain_stays() -> None:
    assert at_home("me@LISTS.example.org") == "me@LISTS.example.org"


@pytest.mark.parametrize(
    ("days", "day"),
    [(0, "IX"), (1, "IY"), (-3, "IU"), (1024, "IX")],  # as Mail::SRS counts them
)
def test_the_day_is_counted_as_by_mail_srs(days: int, day: str) -> None:
    assert at_home("alice@example.net", NOW + days * DAY).split("=")[2] == day


def test_servers_on_the_way_may_change_its_case() -> None:
    rewritten = at_home("alice@example.net")
    assert restore(rewritten.lower(), SECRET, NOW) == "alice@example.net"
    assert restore(rewritten.upper(), SECRET, NOW) == "ALICE@EXAMPLE.NET"


@pytest.mark.parametrize("age", [0, 1, MAX_AGE])
def test_a_bounce_may_take_its_time(age: int) -> None:
    for begun in range(0, 1024, 101):  # the count of days begins anew at 1024
        then = NOW + begun * DAY
        assert restore(at_home("a@example.net", then), SECRET, then + age * DAY) == "a@example.net"


@pytest.mark.parametrize("age", [MAX_AGE + 1, 500, 1023])
def test_an_old_address_is_refused(age: int) -> None:
    with pytest.raises(ValueError, match="more than 21 days ago"):
        restore(at_home("alice@example.net"), SECRET, NOW + age * DAY)


@pytest.mark.parametrize(
    "address",
    [
        "SRS0=M6HI=IX=example.net=mallory@lists.example.org",  # another mailbox
        "SRS0=M6HI=IX=example.com=alice@lists.example.org",  # another host
        "SRS0=M6HI=IY=example.net=alice@lists.example.org",  # another day
        "SRS0=M6HH=IX=example.net=alice@lists.example.org",  # another hash
        "SRS0==IX=example.net=alice@lists.example.org",  # none
        "SRS0=M6H=IX=example.net=alice@lists.example.org",  # a part of it
        "SRS0=M6HI=IXe=xample.net=alice@lists.example.org",  # the same octets, cut elsewhere
        "SRS0=M6HI=I=Xexample.net=alice@lists.example.org",
        "SRS1=3sm3=victim.example==abcd=7K=example.net=alice@lists.example.org",
        "SRS0=M6HI@lists.example.org",
        "SRS0@lists.example.org",
        "SRS1=x@lists.example.org",
        "alice@example.net",
        "",
    ],
)
def test_nobody_sends_through_us_by_inventing_an_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"not ours|no rewritten address|is none"):
        restore(address, SECRET, NOW)
    with pytest.raises(ValueError, match=r"not ours|no rewritten address"):
        restore(at_home("alice@example.net"), "another secret", NOW)


@pytest.mark.parametrize("sender", ['"a b\\"c"@example.net', "x@[192.0.2.1]", "SRS1=a@b.example"])
def test_what_mail_srs_would_break_is_an_address(sender: str) -> None:
    from email_validator import validate_email

    rewritten = at_home(sender)
    validate_email(
        rewritten, check_deliverability=False, allow_quoted_local=True, globally_deliverable=False
    )
    assert restore(rewritten, SECRET, NOW) == sender


LOCAL = st.text("abcXYZ012=+-_SR", min_size=1, max_size=40)


@given(LOCAL, st.sampled_from(["example.net", "a.b.example"]))
def test_whatever_is_rewritten_finds_back(local: str, host: str) -> None:
    sender = f"{local}@{host}"
    rewritten = at_home(sender)
    back = restore(rewritten, SECRET, NOW)
    assert back == sender or rewritten.startswith("SRS1=")


def test_mail_srs_turns_our_senders_around() -> None:
    mail_srs = Unpacked("srs", "usr/share/perl5/Mail/SRS.pm")
    if mail_srs.root is None:
        lacking("Mail::SRS is not there: make srs")
    senders = [sender for sender, _ in BY_MAIL_SRS]
    script = (
        "use Mail::SRS; my $srs = Mail::SRS->new(Secret => shift);"
        'print $srs->reverse($_), " ", $srs->forward($_, "lists.example.org"), "\\n" for @ARGV;'
    )
    now = datetime.now(UTC)
    ours = [at_home(sender, now) for sender in senders]
    done = subprocess.run(
        ["perl", f"-I{mail_srs.path('usr/share/perl5')}", "-e", script, SECRET, *ours],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.split()[0] for line in done.stdout.splitlines()] == senders
