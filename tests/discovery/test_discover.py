"""From an address to its servers, in a world of the test's own."""

import asyncio

import pytest

from fetchd.discovery.candidate import Candidate, Source
from fetchd.discovery.discover import discover, domain_of
from fetchd.errors import UsageError
from tests.discovery.world import DIRECTORY, World, autoconfig

ME = "me@example.org"
OWN = "https://autoconfig.example.org/mail/config-v1.1.xml"
WELL_KNOWN = "https://example.org/.well-known/autoconfig/mail/config-v1.1.xml"
PLAIN = "http://autoconfig.example.org/mail/config-v1.1.xml"
IMAP = ("imap", "imap.example.org", 993, "SSL")


def find(world: World, address: str = ME) -> list[Candidate]:
    return asyncio.run(discover(address, world.means, world.watch))


def brief(found: list[Candidate]) -> list[tuple[str, str, int, str]]:
    return [(one.protocol, one.host, one.port, str(one.source)) for one in found]


def test_a_known_domain_needs_nobody_else() -> None:
    world = World()
    found = find(world, "me@gmail.com")
    assert brief(found) == [
        ("imap", "imap.gmail.com", 993, "preset"),
        ("pop3", "pop.gmail.com", 995, "preset"),
        ("smtp", "smtp.gmail.com", 465, "preset"),
    ]
    assert {one.preset for one in found} == {"gmail"}
    assert not world.asked
    assert not world.probed


def test_where_one_logs_in_with_the_local_part_it_is_proposed() -> None:
    assert {one.username for one in find(World(), "me@web.de")} == {"me"}


@pytest.mark.parametrize("url", [OWN, WELL_KNOWN, PLAIN])
def test_the_domains_own_file_is_found_in_each_place(url: str) -> None:
    world = World(files={url: autoconfig(IMAP)})
    (found,) = find(world)
    assert (found.host, found.source, found.where) == (
        "imap.example.org", Source.AUTOCONFIG, url,
    )  # fmt: skip
    assert not found.outside
    assert not world.probed


def test_the_plain_file_is_asked_for_only_if_there_is_none_by_https() -> None:
    world = World(files={OWN: autoconfig(IMAP), PLAIN: autoconfig(IMAP)})
    find(world)
    assert PLAIN not in world.asked


def test_the_address_goes_to_its_own_domain_alone_and_only_by_https() -> None:
    world = World(mx={"example.org": [(10, "mx.hoster.test")]})
    find(world)
    told = [url for url in world.asked if "me" in url.partition("?")[2]]
    assert told
    assert all(url.startswith((f"{OWN}?", f"{WELL_KNOWN}?")) for url in told)
    assert f"{DIRECTORY}/example.org" in world.asked
    assert f"{DIRECTORY}/hoster.test" in world.asked


def test_srv_records_of_both_kinds_are_taken_in_their_order() -> None:
    world = World(
        srv={
            "_imap._tcp.example.org": [(0, 1, 143, "mail.example.org")],
            "_imaps._tcp.example.org": [
                (20, 0, 993, "second.example.org"), (10, 0, 993, "first.example.org"),
            ],
            "_pop3s._tcp.example.org": [(0, 1, 995, "mail.example.org")],
            "_submissions._tcp.example.org": [(0, 1, 465, "mail.example.org")],
        }
    )  # fmt: skip
    assert brief(find(world)) == [
        ("imap", "first.example.org", 993, "srv"),
        ("imap", "second.example.org", 993, "srv"),
        ("imap", "mail.example.org", 143, "srv"),
        ("pop3", "mail.example.org", 995, "srv"),
        ("smtp", "mail.example.org", 465, "srv"),
    ]


def test_who_leads_out_of_the_domain_to_a_stranger_is_marked() -> None:
    world = World(
        srv={
            "_imaps._tcp.example.org": [(0, 1, 993, "imap.stranger.test")],
            "_pop3s._tcp.example.org": [(0, 1, 995, "pop.fastmail.com")],
        }
    )
    stranger, known = find(world)
    assert (stranger.outside, stranger.preset) == (True, "")
    assert (known.outside, known.preset) == (False, "fastmail")
    # A name that only begins or ends alike is not within the domain.
    near = World(srv={"_imaps._tcp.example.org": [(0, 1, 993, "imap.evilexample.org")]})
    assert find(near)[0].outside


def test_what_a_domain_does_not_offer_is_not_probed_either() -> None:
    world = World(
        srv={
            "_imaps._tcp.example.org": [(0, 0, 0, "")],
            "_imap._tcp.example.org": [(0, 0, 0, "")],
        },
        there=[("imap", "imap.example.org", 993), ("pop3", "mail.example.org", 995)],
    )
    assert brief(find(world)) == [("pop3", "mail.example.org", 995, "probe")]
    assert {one.protocol for one in world.probed} == {"pop3"}


@pytest.mark.parametrize(
    ("exchanger", "preset", "host"),
    [
        ("aspmx.l.google.com", "google-workspace", "imap.gmail.com"),
        ("example-org.mail.protection.outlook.com", "microsoft365", "outlook.office365.com"),
        ("mx.zoho.eu", "zoho", "imappro.zoho.eu"),
        ("in1-smtp.messagingengine.com", "fastmail", "imap.fastmail.com"),
        ("spool.mail.gandi.net", "gandi", "mail.gandi.net"),
        ("mx1.mail.ovh.net", "ovh", "ssl0.ovh.net"),
    ],
)
def test_who_takes_the_domains_mail_may_have_it(exchanger: str, preset: str, host: str) -> None:
    world = World(mx={"example.org": [(1, exchanger)]})
    first = find(world)[0]
    assert (first.protocol, first.host, first.preset, first.source) == (
        "imap", host, preset, Source.MX,
    )  # fmt: skip
    assert first.username == ME
    assert not first.outside


@pytest.mark.parametrize("zone", ["mail.hoster.test", "hoster.test"])
def test_the_directory_is_asked_for_the_exchangers_domain_too(zone: str) -> None:
    file = autoconfig(("imap", "imap.hoster.test", 993, "SSL"))
    world = World(
        mx={"example.org": [(1, "mx7.mail.hoster.test")]}, files={f"{DIRECTORY}/{zone}": file}
    )
    (found,) = find(world)
    assert (found.host, found.source, found.outside) == ("imap.hoster.test", Source.MX, True)


def test_probing_comes_last_and_starttls_behind_tls() -> None:
    world = World(there=[("imap", "mail.example.org", 143), ("pop3", "pop.example.org", 110)])
    assert brief(find(world)) == [
        ("imap", "mail.example.org", 143, "probe"),
        ("pop3", "pop.example.org", 110, "probe"),
    ]
    tried = [one.tls for one in world.probed]
    assert tried == sorted(tried)  # all with TLS first
    secure = World(there=[("imap", "example.org", 993), ("imap", "mail.example.org", 143)])
    assert brief(find(secure)) == [("imap", "example.org", 993, "probe")]


def test_only_an_exchanger_within_the_domain_is_probed() -> None:
    world = World(
        mx={"example.org": [(1, "mx.example.org")]}, there=[("imap", "mx.example.org", 993)]
    )
    assert brief(find(world)) == [("imap", "mx.example.org", 993, "probe")]
    foreign = World(mx={"example.org": [(1, "mx.foreign.test")]})
    assert find(foreign) == []
    assert {one.host.partition("example.org")[1] for one in foreign.probed} == {"example.org"}


def test_a_way_that_does_not_answer_leaves_the_others() -> None:
    world = World(
        srv={"_imaps._tcp.example.org": None, "_pop3s._tcp.example.org": None},
        mx={"example.org": None},
        files={OWN: autoconfig(IMAP)},
    )
    assert brief(find(world)) == [("imap", "imap.example.org", 993, "autoconfig")]
    assert ("srv", "_imaps._tcp.example.org: the DNS does not answer") in world.heard
    assert ("mx", "example.org: the DNS does not answer") in world.heard


def test_a_server_that_two_name_is_there_once_by_the_surer_one() -> None:
    world = World(
        srv={"_imaps._tcp.example.org": [(0, 1, 993, "imap.example.org")]},
        files={OWN: autoconfig(IMAP)},
    )
    assert brief(find(world)) == [("imap", "imap.example.org", 993, "autoconfig")]


def test_nothing_anywhere_is_nothing_and_every_step_says_so() -> None:
    world = World()
    assert find(world) == []
    assert {step for step, _ in world.heard} == {
        "preset", "autoconfig", "srv", "directory", "mx", "probe",
    }  # fmt: skip


def test_a_domain_in_any_script_is_asked_for_as_the_dns_has_it() -> None:
    assert domain_of("me@MÜNCHEN.example.") == "xn--mnchen-3ya.example"


@pytest.mark.parametrize("address", ["me", "", "me@", "me@a..b", "me@" + "x" * 70 + ".org"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        asyncio.run(discover(address, World().means))
