"""The resolver against a real name server on loopback, and the order of SRV records."""

import asyncio
import random
from collections import Counter

import pytest

from fetchd.discovery.dns import MOST_RECORDS, Exchanger, Resolver, Service, by_weight
from tests.discovery.world import Zone, name_server

ZONE: Zone = {
    ("_imaps._tcp.example.org.", "SRV"): ["0 1 993 IMAP.example.org."],
    ("_imap._tcp.example.org.", "SRV"): ["0 0 0 ."],
    ("_pop3s._tcp.example.org.", "SRV"): ["0 1 995 bad_\\032name.example.org."],
    ("example.org.", "MX"): ["20 b.example.net.", "10 a.example.net."],
    ("null.example.", "MX"): ["0 ."],
    ("many.example.", "MX"): [f"{n} mx{n}.example.net." for n in range(1, 25)],
    ("_imaps._tcp.hold.example.", "TXT"): ['"nothing of the kind"'],
}


def services(name: str, port: int) -> list[Service] | None:
    return asyncio.run(Resolver(["127.0.0.1"], port=port, patience=3).services(name))


def exchangers(domain: str, port: int) -> list[Exchanger] | None:
    return asyncio.run(Resolver(["127.0.0.1"], port=port, patience=3).exchangers(domain))


def test_records_are_read_and_their_absence_is_an_answer() -> None:
    with name_server(ZONE) as port:
        assert services("_imaps._tcp.example.org", port) == [Service(0, 1, 993, "imap.example.org")]
        assert services("_imap._tcp.example.org", port) == [Service(0, 0, 0, "")]
        assert services("_imaps._tcp.absent.example", port) == []
        assert services("_imaps._tcp.hold.example", port) == []


def test_a_target_that_is_no_host_name_is_passed_over() -> None:
    with name_server(ZONE) as port:
        assert services("_pop3s._tcp.example.org", port) == []


def test_exchangers_come_in_order_and_a_null_mx_is_none() -> None:
    with name_server(ZONE) as port:
        assert exchangers("example.org", port) == [
            Exchanger(10, "a.example.net"),
            Exchanger(20, "b.example.net"),
        ]
        assert exchangers("null.example", port) == []
        assert len(exchangers("many.example", port) or ()) <= MOST_RECORDS


def test_a_silent_name_server_costs_its_patience_and_no_more() -> None:
    async def ask(port: int) -> tuple[object, float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await Resolver(["127.0.0.1"], port=port, patience=0.5).services("_imaps._tcp.x.y")
        return answer, loop.time() - begun

    with name_server({}, silent=True) as port:
        answer, took = asyncio.run(ask(port))
    assert answer is None
    assert took < 3


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".example", "." * 5])
def test_a_name_that_cannot_be_is_no_answer(name: str) -> None:
    with name_server({}) as port:
        assert services(name, port) is None


def test_priority_decides_and_then_the_weight_by_lot() -> None:
    light, heavy = Service(1, 1, 1, "light"), Service(1, 9, 1, "heavy")
    first, last = Service(0, 0, 1, "first"), Service(2, 5, 1, "last")
    rng = random.Random(7)
    drawn = [by_weight([last, light, heavy, first], rng) for _ in range(400)]
    assert {(one[0].host, one[3].host) for one in drawn} == {("first", "last")}
    second = Counter(one[1].host for one in drawn)
    assert second["heavy"] > 3 * second["light"] > 0
    assert all(len(set(one)) == 4 for one in drawn)
