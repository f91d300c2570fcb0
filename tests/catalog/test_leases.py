"""Leases, with real processes."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.catalog import leases, outbox, recording
from fetchd.catalog.database import Catalog
from fetchd.errors import AccountBusy
from tests.catalog import samples
from tests.catalog.samples import NOW

LATER = NOW + timedelta(hours=1)

HOLDER = """
import sys
from pathlib import Path
from fetchd.catalog import leases, recording
from fetchd.catalog.database import Catalog
from tests.catalog import samples
from tests.catalog.test_leases import LATER
catalog = Catalog(Path(sys.argv[1]))
leases.acquire(catalog, "home", LATER, samples.NOW)
recording.record(catalog, [samples.recorded(1)])
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_process_blocks_nobody(catalog: Catalog) -> None:
    with start_holder(catalog.path) as process:
        with pytest.raises(AccountBusy, match=rf"Process {process.pid} .*home since 2026-11-23"):
            leases.acquire(catalog, "home", LATER, NOW)
        assert outbox.claim_due(catalog, ["maildir"], NOW, 10) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
        leases.acquire(catalog, "home", LATER, NOW)
        (row,) = outbox.claim_due(catalog, ["maildir"], NOW, 10)
        assert row.doubtful
    assert len(list((catalog.path.parent / "processes").iterdir())) == 1


def test_an_expired_lease_can_be_taken_from_the_living(catalog: Catalog) -> None:
    with Catalog(catalog.path) as other:
        leases.acquire(catalog, "home", NOW + timedelta(minutes=1), NOW)
        with pytest.raises(AccountBusy):
            leases.acquire(other, "home", LATER, NOW)
        leases.acquire(other, "home", LATER, NOW + timedelta(minutes=1))
        assert not leases.renew(catalog, "home", LATER)
        assert leases.renew(other, "home", LATER)


def test_release_and_close_let_go(catalog: Catalog) -> None:
    with Catalog(catalog.path) as other:
        leases.acquire(other, "home", LATER, NOW)
        leases.acquire(other, "home", LATER, NOW)  # a renewal
        leases.release(other, "home")
        leases.acquire(catalog, "home", LATER, NOW)
        leases.release(catalog, "home")
        leases.acquire(other, "home", LATER, NOW)
    leases.acquire(catalog, "home", LATER, NOW)


def test_what_another_living_process_recorded_is_left_to_it(catalog: Catalog) -> None:
    with Catalog(catalog.path) as other:
        recording.record(other, [samples.recorded(1)])
        assert outbox.claim_due(catalog, ["maildir"], NOW, 10) == []
    assert len(outbox.claim_due(catalog, ["maildir"], NOW, 10)) == 1
