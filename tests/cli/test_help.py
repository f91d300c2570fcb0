"""Names, options, help texts, and what `--help` must not cost."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fetchd import __version__
from fetchd.cli.main import app
from tests.cli.conftest import Run
from tests.pipeline.home import Home

COMMANDS = (
    "sync", "plan", "status", "history", "check", "verify", "rebuild", "list", "show", "export",
    "watch", "deliveries", "deliveries list", "deliveries retry", "deliveries drop",
    "deliver", "redeliver", "test-delivery", "init", "alerts", "alerts list", "alerts test",
    "alerts dismiss", "systemd show", "systemd install", "systemd uninstall", "serve", "reload",
    "top", "login", "logout",
)  # fmt: skip
HEAVY = ("pydantic", "sqlite3", "rich", "asyncio", "structlog", "zstandard", "ssl")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_by_an_example(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert f"Example: fetchd {command}" in done.stdout
    for option in ("--config", "-c", "--json", "--help"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("--help", ()),
        ("-h", ()),
        ("--version", ()),
        ("sync --help", ("pydantic",)),  # typer's own doing, for types of options
        ("deliveries -h", ("pydantic",)),
    ],
)
def test_nothing_heavy_is_imported_for_help(words: str, allowed: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from fetchd.cli.main import main\n"
        f"sys.argv = ['fetchd', *{words.split()}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(sorted({set(HEAVY) - set(allowed)} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_poll_without_news_imports_no_more_than_it_needs(run: Run, here: Home) -> None:
    assert run("sync").code == 0
    code = (
        "import sys\n"
        "from fetchd.cli.main import main\n"
        f"sys.argv = ['fetchd', 'sync', '-c', {str(here.folder / 'fetchd.toml')!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "unwanted = {'rich', 'structlog', 'sqlmodel', 'alembic', 'scramp', 'apscheduler'}\n"
        "print(sorted(unwanted & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "nothing new" in done.stdout


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"fetchd {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "sync --nonsense",
        "history --limit none",
        "history --limit 0",
        "list --limit -1",
        "list --since someday",
        "list --since 2026-13-01",
        "list --since 99999999d",
        "list --account nobody",
        "history nobody",
        "sync nobody",
        "plan nobody",
        "check nobody",
        "show",
        "show nothing-such",
        "show 1 --raw --header",
        "export --format zip somewhere",
        "export --format eml",
        "export --format eml /nonexistent/folder/target",
        "deliveries --state lost",
        "deliveries --account nobody",
        "deliveries --destination nowhere",
        "deliveries retry",
        "deliveries retry 1 --all",
        "deliveries retry x",
        "deliveries drop",
        "deliveries drop 7",
        "deliver",
        "deliver nowhere",
        "redeliver work",
        "redeliver work --to home",
        "redeliver nobody --to nowhere",
        "test-delivery",
        "test-delivery nowhere",
    ],
)
def test_what_is_asked_wrongly_is_told_and_touches_nothing(
    run: Run, here: Home, words: str
) -> None:
    ran = run(*words.split())
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err
    assert "Traceback" not in ran.err
    assert not here.data.exists()


@pytest.mark.parametrize("place", ["before", "behind", "short"])
def test_config_may_stand_before_or_behind_the_command(here: Home, place: str) -> None:
    here.settings()
    file = str(here.folder / "fetchd.toml")
    words = {
        "before": ["--config", file, "deliveries", "list"],
        "behind": ["deliveries", "list", "--config", file],
        "short": ["deliveries", "-c", file],
    }[place]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (0, "No deliveries.\n")


def test_the_later_config_counts(here: Home, tmp_path: Path) -> None:
    here.settings()
    words = ["-c", str(tmp_path / "absent.toml"), "status", "-c", str(here.folder / "fetchd.toml")]
    assert CliRunner().invoke(app, words).exit_code == 0


def test_wrong_settings_are_told_as_sentences_and_as_a_document(tmp_path: Path) -> None:
    file = tmp_path / "fetchd.toml"
    file.write_text("[accounts.work]\nprotocol = 'pop4'\n")
    done = CliRunner().invoke(app, ["status", "--json", "-c", str(file)])
    assert done.exit_code == 2
    assert "pop4" in done.stderr
    assert '"sentence"' in done.stdout
