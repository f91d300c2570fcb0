"""What every test shares: a real server missing in CI is a failure, elsewhere a named skip."""

import shutil

import pytest

from fetchd import telemetry
from tests.lacking import lacking


@pytest.fixture(autouse=True)
def _nothing_concealed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test keeps secret is an ordinary word in the next one."""
    for name in ("_literal", "_encoded"):
        monkeypatch.setattr(telemetry, name, ())
    monkeypatch.setattr(telemetry, "_current", {})


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("live") is None or shutil.which(
        "dovecot", path="/usr/sbin:/usr/bin"
    ):
        return
    reason = "Dovecot is not installed: sudo apt-get install dovecot-core dovecot-pop3d"
    lacking(reason)
