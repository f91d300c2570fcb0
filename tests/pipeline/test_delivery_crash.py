"""Killed while it forwards: nothing is lost, and what is sent twice can be told to be the same.

A round that delivers to a Maildir and to Postfix is killed (SIGKILL) before its n-th step, as
test_crash.py does it, for every third n; then it runs undisturbed.
"""

import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import mail
from fetchd.demo.server import PASSWORD, USERNAME, serve
from tests import corpus
from tests.pipeline.home import Home
from tests.pipeline.test_crash import round_in_child
from tests.pipeline.test_forwarding import postfix, relay, tables  # noqa: F401
from tests.servers.postfix import Postfix
from tests.servers.processes import POLL
from tests.servers.receivers import WAIT

pytestmark = pytest.mark.live

MESSAGES = 5
EVERY = 3
RESENT = re.compile(rb"^Resent-Message-ID: (.*)\r\n", re.MULTILINE)


def test_a_kill_at_any_step_of_a_forward_loses_nothing_and_repeats_one_at_most(
    postfix: Postfix,  # noqa: F811
    tmp_path: Path,
) -> None:
    messages = corpus.small(MESSAGES, size=600)
    homes: dict[str, Home] = {}
    last = EVERY
    with serve(messages) as drop:
        while True:
            user = f"killed{last}"
            folder = tmp_path / user
            folder.mkdir()
            here = Home(
                folder, drop.port, username=USERNAME, password=PASSWORD,
                deliver_to=["home", "relay"], first_sync="deliver",
            )  # fmt: skip
            here.more = tables(relay=relay(postfix, user, max_connections=1))
            if round_in_child(here, last):
                break  # it had fewer steps than that
            homes[user] = here
            after = here.sync()
            assert after.ok, (last, after.sentence())
            assert here.sync().ok
            last += EVERY
    assert len(homes) > 10
    repeated = 0
    for user, here in homes.items():
        assert here.delivered() == mail.Expected.of(messages).lf, user
        repeated += count_repeated(postfix, user)
    assert repeated  # else no kill came between an answer and its record
    assert repeated < len(homes)


def count_repeated(postfix: Postfix, user: str) -> int:  # noqa: F811
    """How many came twice, after it was asserted that all came."""
    deadline = time.monotonic() + WAIT
    while len(names := resent(arrived := postfix.arrived(user))) < MESSAGES:
        assert time.monotonic() < deadline, (user, names)
        time.sleep(POLL)  # a server tells nobody that it has delivered
    assert len(names) == MESSAGES, user
    assert max(names.values()) <= 2, user
    assert names.total() == len(arrived) <= MESSAGES + 1, user
    return len(arrived) - MESSAGES


def resent(arrived: Sequence[bytes]) -> Counter[bytes]:
    """How often each came, by the name under which it was sent on."""
    return Counter(found[1] for one in arrived if (found := RESENT.search(one)))
