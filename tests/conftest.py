"""What every test shares: a real server missing in CI is a failure, elsewhere a named skip."""

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("live") is None or shutil.which(
        "dovecot", path="/usr/sbin:/usr/bin"
    ):
        return
    reason = "Dovecot is not installed: sudo apt-get install dovecot-core dovecot-pop3d"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
