"""`provider` of an account names one that fetchd knows."""

from pathlib import Path

import pytest

from fetchd.errors import SettingsError
from fetchd.policy.providers import PROVIDERS
from fetchd.settings import Settings, load

TEXT = """
[accounts.work]
protocol = "imap"
host = "127.0.0.1"
username = "me"
password_env = "P"
provider = {provider}
"""


def read(folder: Path, provider: str) -> Settings:
    file = folder / "fetchd.toml"
    file.write_text(TEXT.format(provider=provider))
    return load(file, {})


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_known_name_is_taken(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f'"{name}"').accounts["work"].provider == name


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('"gmial"', "did you mean gmail"),
        ('"Fastmail"', "did you mean fastmail"),
        ('"nothing such"', f"allowed: {PROVIDERS[0]}"),
    ],
)
def test_another_name_is_told_with_its_line(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, written)
    (problem,) = raised.value.problems
    assert told in problem
    assert "fetchd.toml:7" in problem


@pytest.mark.parametrize("written", ["3", "[]", '""'])
def test_what_is_no_text_is_told_once(tmp_path: Path, written: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, written)
    assert len(raised.value.problems) == 1
