"""What every test shares: a real server missing in CI is a failure, elsewhere a named skip."""

import shutil

import pytest

from tests.lacking import lacking


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("live") is None or shutil.which(
        "dovecot", path="/usr/sbin:/usr/bin"
    ):
        return
    reason = "Dovecot is not installed: sudo apt-get install dovecot-core dovecot-pop3d"
    lacking(reason)
