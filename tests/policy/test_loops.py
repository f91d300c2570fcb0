"""Which messages have been here before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.policy.loops import Trace, loop, mark, traces

OURS = mark("home", "team", "0123abcd")
FIELD = b"X-Fetchd-Trace: home; to=ca8b22d0db83; id=0123abcd"
BEFORE = "it went to this destination before: a loop"


def test_a_trace_says_who_sent_what_where_and_no_name_of_the_owners() -> None:
    assert OURS.field() == FIELD
    assert traces(FIELD + b"\r\n") == (OURS,)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", ""),
        (b"Subject: x\r\n", ""),
        (FIELD + b"\r\n", BEFORE),
        (b"Received: x\r\n" + FIELD + b"\r\nSubject: x\r\n", BEFORE),
        (FIELD + b"\nSubject: x\n", BEFORE),  # as a Maildir has it
        (FIELD.replace(b"0123abcd", b"another") + b"\r\n", BEFORE),  # as another delivery
        (FIELD.replace(b"; id", b";\r\n\tid") + b"\r\n", BEFORE),  # folded on the way
        (FIELD.replace(b"X-Fetchd-T", b"x-fetchd-t") + b"\r\n", BEFORE),
        (FIELD.replace(b"home", b"office") + b"\r\n", ""),  # another fetchd's
        (FIELD.replace(b"ca8b", b"0000") + b"\r\n", ""),  # went somewhere else
        (b"Subject: " + FIELD + b"\r\n", ""),  # no field
        (b"Subject: x\r\n " + FIELD + b"\r\n", ""),  # nor is this
        (FIELD.replace(b"; id", b";\r\nid") + b"\r\n", ""),
        (FIELD + b" or so\r\n", ""),  # never written by us
        (b"X-Fetchd-Trace: home; to=team; id=1\r\n", ""),
        (b"Received: x\r\n" * 3, ""),
        (b"Received: x\r\n" * 4, "4 servers passed it on, more than 3: probably a loop"),
        (b"RECEIVED : x\nreceived:\n x\n" * 2, "4 servers passed it on, more than 3: prob"),
        (b"X-Received: x\r\n" * 4, ""),
        (
            (FIELD.replace(b"home", b"office") + b"\r\n") * 4,  # others, who take Received away
            "4 servers passed it on, more than 3: probably a loop",
        ),
    ],
)
def test_a_loop_is_seen(header: bytes, why: str) -> None:
    assert loop(header, OURS, max_received=3).startswith(why)
    assert bool(loop(header, OURS, max_received=3)) == bool(why)


@pytest.mark.parametrize("name", ["a\r\nBcc: x", "a; to=b", "", "ä", "x" * 65, "a b", "\udcff"])
def test_no_name_breaks_out_of_the_field(name: str) -> None:
    trace = mark(name, name, name)
    assert traces(trace.field() + b"\r\n") == (trace,)
    assert mark(name, name, name) == trace
    assert mark(name + "x", name, name) != trace


@given(st.binary(max_size=500))
def test_any_octets_have_traces(header: bytes) -> None:
    for trace in traces(header + FIELD):
        assert isinstance(trace, Trace)
        assert traces(trace.field() + b"\n") == (trace,)


def test_a_hostile_header_takes_no_time() -> None:
    header = (b"X-Fetchd-Trace: " + b" \r\n" * 30_000) + b"a;" + b" \t" * 50_000
    assert loop(header, OURS, max_received=3) == ""
