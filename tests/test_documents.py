"""The documents are true: every command, option, setting and RFC is where people look for it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from fetchd.cli.main import app
from fetchd.settings.environment import table_of
from fetchd.settings.model import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "settings.example.toml").read_text()
SOURCES = [path.read_text() for path in (ROOT / "fetchd").rglob("*.py")]


def commands() -> list[str]:
    named = [command.name or command.callback.__name__ for command in app.registered_commands]
    return [*named, *(str(group.name) for group in app.registered_groups)]


def keys(model: type[BaseModel] = Settings) -> Iterator[str]:
    """Every key that a settings file may hold."""
    for name, field in model.model_fields.items():
        below, named = table_of(field.annotation)
        if named is not None:
            below, _ = table_of(named)
        if below is None:
            yield name
        else:
            yield from keys(below)
            yield name


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`fetchd {command}" in README


@pytest.mark.parametrize("key", sorted(set(keys())))
def test_every_setting_is_in_the_readme_and_in_the_example(key: str) -> None:
    assert re.search(rf"`(?:\[)?{key}\b|\b{key} =|\[{key}", README)
    assert re.search(rf"\b{key}\b", EXAMPLE)


def test_every_rfc_that_the_code_names_is_in_the_readme() -> None:
    named = {number for text in SOURCES for number in re.findall(r"RFC (\d+)", text)}
    told = set(re.findall(r"\b(\d{4})\b", README[README.index("## Standards") :]))
    # Named for a detail (a date format, a wait), not as something that fetchd speaks.
    details = {"2047", "5321", "5322", "6151", "6532", "8305"}
    assert named - told - details == set()


def test_what_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_no_path_of_a_machine_and_no_registry_is_named() -> None:
    forbidden = re.compile("pypi" + r"\.org|files\.python" + "hosted|deb" + r"\.debian\.org")
    for path in (ROOT / "README.md", ROOT / "requirements.lock", *ROOT.glob("docs/*.md")):
        assert not forbidden.search(path.read_text()), path
