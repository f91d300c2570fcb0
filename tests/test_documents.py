"""The documents are true: every command, option, setting and RFC is where people look for it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel
from typer.main import get_command

from fetchd.cli.main import app
from fetchd.policy.roles import ROLES
from fetchd.settings import load
from fetchd.settings.environment import rows_of, table_of
from fetchd.settings.model import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "settings.example.toml").read_text()
ACCOUNT = """
[accounts.shown]
protocol = "imap"
host = "imap.example.org"
username = "me"
password = "secret"
"""
SOURCES = [path.read_text() for path in (ROOT / "fetchd").rglob("*.py")]


def commands() -> list[str]:
    return sorted(get_command(app).commands)


def keys(model: type[BaseModel] = Settings) -> Iterator[str]:
    """Every key that a settings file may hold."""
    for name, field in model.model_fields.items():
        below, named = table_of(field.annotation)
        if named is not None:
            below, _ = table_of(named)
        below = below or rows_of(field.annotation)
        if below is None:
            yield name
        else:
            yield from keys(below)
            yield name


def snippets() -> list[str]:
    """The pieces of a settings file that the README shows; bare keys are an account's."""
    blocks = re.findall(r"^    .*\n(?:(?:    .*)?\n)*", README, re.MULTILINE)
    texts = [dedent(block).strip() for block in blocks]
    files = [
        text for block in texts for text in re.findall(r"<<'END'\n(.*?)\nEND", block, re.DOTALL)
    ]
    inline = re.findall(r"`(\w+ = [\[{][^`]*)`", README)
    return [
        text for text in (*texts, *files, *inline) if re.match(r'\[\w+\.|\[\[|\w+ = [\["{]', text)
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`fetchd {command}" in README


@pytest.mark.parametrize("key", sorted(set(keys())))
def test_every_setting_is_in_the_readme_and_in_the_example(key: str) -> None:
    assert re.search(rf"`(?:\[)?{key}\b|\b{key} =|\[{key}", README)
    assert re.search(rf"\b{key}\b", EXAMPLE)


@pytest.mark.parametrize("text", snippets())
def test_every_settings_snippet_in_the_readme_loads(text: str, tmp_path: Path) -> None:
    keys, _, tables = f"\n{text}".partition("\n[")
    account = ACCOUNT.replace('password = "secret"\n', "") if "oauth2 =" in keys else ACCOUNT
    written = f"{account}{keys}\n" + (f"[{tables}\n" if tables else "")
    data = tomllib.loads(written)
    deliverers = (*data["accounts"].values(), *data.get("routes", []))
    wanted = {name for one in deliverers for name in one.get("deliver_to", [])}
    for name in wanted - data.get("destinations", {}).keys():
        written += f'[destinations.{name}]\nkind = "maildir"\npath = "{name}"\n'
    file = tmp_path / "fetchd.toml"
    file.write_text(written)
    file.chmod(0o600)
    assert load(file, {}).accounts


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_in_the_readme_and_in_the_example(role: str) -> None:
    assert f"`\\{role}`" in README
    assert f'"\\{role}"' in EXAMPLE


def test_every_rfc_that_the_code_names_is_in_the_readme() -> None:
    named = {number for text in SOURCES for number in re.findall(r"RFC (\d+)", text)}
    told = set(re.findall(r"\b(\d{4})\b", README[README.index("## Standards") :]))
    # Named for a detail (a date format, a wait), not as something that fetchd speaks.
    details = {"2047", "2782", "5233", "6151", "5482", "6532", "7505", "7617", "8305"}
    assert named - told - details == set()


def test_what_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_no_path_of_a_machine_and_no_registry_is_named() -> None:
    forbidden = re.compile("pypi" + r"\.org|files\.python" + "hosted|deb" + r"\.debian\.org")
    for path in (ROOT / "README.md", ROOT / "requirements.lock", *ROOT.glob("docs/*.md")):
        assert not forbidden.search(path.read_text()), path
