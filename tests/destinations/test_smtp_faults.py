"""Every step of a delivery, and everything that can go wrong there: nothing is lost, nothing
is sent twice but what is in doubt, and nothing waits for ever.

The fault strikes once. What became of the delivery then is what its row says; it is tried
again as the outbox would, with what is known of it, and all is well in the end.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from fetchd.contracts import Outcome, Settled
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.values import replace
from tests.destinations.outgoing import outgoing
from tests.destinations.smtp_sites import (
    BOB,
    CHUNKED,
    EVE,
    ONE_FLIGHT,
    PATIENCE,
    PIPELINED,
    STEP_BY_STEP,
    WAYS,
    carrier,
    carry,
)
from tests.servers.scripted_smtp import HANG_UP, SILENCE, InTurn, ScriptedSmtp, Taken

SHORT = 1.0  # seconds, for the server that says nothing

RCPT = f"RCPT TO:<{EVE}>"
LATER, NEVER = b"451 4.3.0 not now\r\n", b"554 5.6.0 never\r\n"
CLOSING = [b"421 4.3.2 closing\r\n", HANG_UP]
GARBAGE = [b"what?\r\n", HANG_UP]
BROKEN = {"hang up": HANG_UP, "silence": SILENCE, "garbage": GARBAGE}
FAULTS: dict[str, Any] = {"later": LATER, "never": NEVER, "closing": CLOSING, **BROKEN}

LINE = (ConnectionFailed, RemoteProtocolError)
DOUBT, DEFERRED, FAILED = "doubtful", "deferred", "failed"

# step -> fault -> what the first attempt comes to: an error, or an outcome
EARLY: dict[str, dict[str, Any]] = {
    "greeting": {
        "later": ServerUnavailable, "never": AccountRefused, "closing": ServerUnavailable,
        "broken": LINE,
    },
    # A refused EHLO is followed by HELO, a refused LHLO by nothing.
    "HELLO": {"later": ServerUnavailable, "closing": ServerUnavailable, "broken": LINE},
    "AUTH": {
        "later": ServerUnavailable, "never": AuthenticationFailed, "closing": ServerUnavailable,
        "broken": LINE,
    },
    "MAIL": {"later": DEFERRED, "never": FAILED, "closing": ServerUnavailable, "broken": LINE},
    RCPT: {"later": DEFERRED, "never": FAILED, "closing": DEFERRED, "broken": LINE},
    "DATA": {"later": DEFERRED, "never": FAILED, "closing": DEFERRED, "broken": LINE},
    ".": {"later": DEFERRED, "never": FAILED, "closing": DEFERRED, "broken": DOUBT},
}  # fmt: skip


class Case(NamedTuple):
    ways: tuple[str, ...]
    lmtp: bool
    step: str
    fault: str
    expected: Any


def cases() -> Iterator[Case]:
    for ways in WAYS:
        for lmtp in (False, True):
            for step, outcomes in EARLY.items():
                if step == "DATA" and "CHUNKING" in ways:
                    continue
                for fault in FAULTS:
                    key = "broken" if fault in BROKEN else fault
                    expected = outcomes.get(key)
                    # With one flight the message is out before MAIL is answered.
                    if ways == ONE_FLIGHT and step in ("MAIL", RCPT) and expected is LINE:
                        expected = DOUBT
                    if lmtp and step == "." and fault == "closing":
                        expected = DOUBT  # for the second recipient there was no answer
                    if expected is not None and not (fault == "silence" and ways == CHUNKED):
                        yield Case(ways, lmtp, step, fault, expected)


def name_of(case: Case) -> str:
    way = {ONE_FLIGHT: "flight", PIPELINED: "pipelined", CHUNKED: "chunked", STEP_BY_STEP: "steps"}
    protocol = "lmtp" if case.lmtp else "smtp"
    return f"{way[case.ways]}-{protocol}-{case.step.partition(' ')[0]}-{case.fault}"


@pytest.mark.parametrize("case", list(cases()), ids=name_of)
def test_a_fault_has_its_outcome_and_all_is_well_in_the_end(case: Case) -> None:
    with faulty(case, FAULTS[case.fault]) as server:
        history = tried(server, short=case.fault == "silence")
    check_first(history[0], case.expected)
    last = history[-1]
    assert isinstance(last, Settled)
    if case.expected == FAILED:
        assert last.outcome is Outcome.FAILED
        assert {one: server.copies(one) for one in (BOB, EVE)} == {
            one: int(one in last.done) for one in (BOB, EVE)
        }
    else:
        assert last.outcome is Outcome.DELIVERED
        assert [server.copies(one) for one in (BOB, EVE)] == [1, 1]
    assert len(history) <= 2


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("fault", BROKEN)
def test_only_what_was_taken_without_an_answer_is_sent_twice(
    ways: tuple[str, ...], lmtp: bool, fault: str
) -> None:
    parts = BROKEN[fault] if isinstance(BROKEN[fault], list) else [BROKEN[fault]]
    case = Case(ways, lmtp, ".", fault, DOUBT)
    with faulty(case, Taken(*parts)) as server:
        history = tried(server, short=fault == "silence")
    check_first(history[0], DOUBT)
    assert isinstance(history[-1], Settled)
    assert history[-1].outcome is Outcome.DELIVERED
    # LMTP asked about BOB first; EVE's copy was not taken in the first attempt.
    assert [server.copies(one) for one in (BOB, EVE)] == ([2, 1] if lmtp else [2, 2])


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("step", ["MAIL", RCPT, "."])
def test_what_is_put_off_again_and_again_arrives_once(
    ways: tuple[str, ...], lmtp: bool, times: int, step: str
) -> None:
    with faulty(Case(ways, lmtp, step, "later", DEFERRED), *[LATER] * times) as server:
        history = tried(server, attempts=5)
    assert isinstance(history[-1], Settled)
    assert history[-1].outcome is Outcome.DELIVERED
    assert [server.copies(one) for one in (BOB, EVE)] == [1, 1]


def faulty(case: Case, *faults: Any) -> ScriptedSmtp:
    """They come at the first times, and not again."""
    key = {"HELLO": "LHLO" if case.lmtp else "EHLO"}.get(case.step, case.step)
    offered = (*case.ways, "AUTH PLAIN")
    return ScriptedSmtp(features=offered, lmtp=case.lmtp, answers={key: InTurn(*faults)})


def tried(
    server: ScriptedSmtp, *, short: bool = False, attempts: int = 3
) -> list[Settled | FetchdError]:
    """What came of each attempt, each on a new connection, until there is nothing more to do."""
    history: list[Settled | FetchdError] = []
    item = outgoing(1)
    while len(history) < attempts:
        read = SHORT if short and not history else PATIENCE
        site = carrier(
            server, BOB, EVE, read=read, username="me", password="x", allow_plaintext_auth=True
        )
        try:
            (settled,) = carry(site, item)
        except FetchdError as error:
            history.append(error)
            continue
        history.append(settled)
        if settled.outcome is not Outcome.DEFERRED:
            break
        item = replace(
            item, done=settled.done or item.done, doubtful=settled.doubtful or item.doubtful
        )
    return history


def check_first(found: Settled | FetchdError, expected: Any) -> None:
    if isinstance(expected, str):
        assert isinstance(found, Settled)
        assert found.doubtful == (expected == DOUBT)
        assert str(found.outcome) == (DEFERRED if expected == DOUBT else expected)
        assert found.reply
    else:
        assert isinstance(found, expected)
        assert str(found)
        assert found.advice  # type: ignore[union-attr]
