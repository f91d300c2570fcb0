"""Settings: found, merged, checked, and every mistake told at once."""

import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.errors import SettingsError
from fetchd.policy.retention import Window
from fetchd.settings import Account, Archive, Limits, Log, MaildirDestination, Settings, load
from fetchd.settings.lines import key_lines
from fetchd.settings.model import SECRETS, WindowTable

EXAMPLE = Path(__file__).parents[2] / "settings.example.toml"
GOOD = """\
[accounts.my-work]
protocol = "pop3"
host = "h"
username = "u"
password_env = "FETCHD_SECRET"
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "fetchd.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def problems(folder: Path, text: str, mode: int = 0o600, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(written(folder, text, mode), environ)
    return str(caught.value).replace(str(folder), "")


def test_the_example_loads_and_every_default_in_it_is_the_default() -> None:
    example = load(EXAMPLE, {})
    text = EXAMPLE.read_text()
    for line in ("port = 995", 'leave_on_server = "forever"', "deliver_to = []"):
        assert line.split(" = ")[0] in text
    for model in (Settings, Account, MaildirDestination, Limits, Archive, Log, WindowTable):
        for field in model.model_fields:
            assert field in text, field
    shown = "\n".join(
        line.removeprefix("# ")
        for line in text.splitlines()
        if line.startswith("# ") and " = " in line and not line.startswith(SAMPLES)
    )
    defaults = tomllib.loads(shown)
    for model in (Account, MaildirDestination, Limits, Archive, Log):
        for name, field in model.model_fields.items():
            if not field.is_required() and field.default not in (None, ()):
                assert name in defaults, name
    assert Account(
        protocol="pop3",
        host="h",
        username="u",
        **{k: v for k, v in defaults.items() if k in Account.model_fields},
    ) == Account(protocol="pop3", host="h", username="u")
    assert Archive(**{k: defaults[k] for k in Archive.model_fields}) == Archive()
    assert Limits(**{k: defaults[k] for k in Limits.model_fields}) == Limits()
    assert Log(**{k: defaults[k] for k in Log.model_fields}) == Log()
    assert example.accounts["work"].name == "work"


SAMPLES = (
    "# password", "# ca_file", "# fingerprint", "# client_", "# max_message", "# FETCHD",
    "# leave_on_server = {", "# its default", "# fetchd", "# what stands",
    "# Every value", "# Durations",
)  # fmt: skip


def test_values_and_ports(tmp_path: Path) -> None:
    text = GOOD + (
        'tls = "starttls"\nca_file = "ca.pem"\ntimeouts.read = 5\n'
        'leave_on_server = { days = 14, newest = 1000, max_size = "500MB" }\n'
    )
    account = load(written(tmp_path, text), {}).accounts["my-work"]
    assert account.port == 110
    assert account.ca_file == tmp_path / "ca.pem"
    assert account.timeouts.read == timedelta(seconds=5)
    assert account.timeouts.connect == timedelta(seconds=30)
    expected = Window(timedelta(days=14), newest=1000, max_size=500_000_000)
    assert account.leave_on_server == expected


def test_the_environment_overrides_whatever_the_case_of_the_name(tmp_path: Path) -> None:
    environ = {
        "FETCHD_ACCOUNTS__MY_WORK__PASSWORD": "s3",
        "FETCHD_ACCOUNTS__MY_WORK__LEAVE_ON_SERVER__DAYS": "3",
        "FETCHD_ACCOUNTS__MY_WORK__DELIVER_TO": '["d"]',
        "FETCHD_DESTINATIONS__D": '{kind = "maildir", path = "x"}',
        "FETCHD_LIMITS__CONNECTIONS": "2",
        "FETCHD_CONFIG": "elsewhere",
        "FETCHD_SECRET": "named by password_env",
    }
    settings = load(written(tmp_path, GOOD), environ)
    account = settings.accounts["my-work"]
    assert account.password
    assert account.password.get_secret_value() == "s3"
    assert account.password_env is None
    assert account.leave_on_server == Window(timedelta(days=3))
    assert settings.destinations["d"].path == tmp_path / "x"
    assert settings.limits.connections == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + 'tls = "implict"', (':6: accounts.my-work.tls: found "implict", allowed: '
         '"implicit", "starttls", "none" (did you mean "implicit"?)')),
        (GOOD + "prot = 1", ':6: accounts.my-work.prot: unknown key (did you mean "port"?)'),
        (GOOD + 'deliver_to = ["x"]', ':6: accounts.my-work.deliver_to: found "x"'),
        (GOOD + 'tls = "none"', ("allow_plaintext_auth = true is needed to send a password over "
         "an unencrypted line (loopback included)")),
        (GOOD + 'password_file = "x"', "exactly one of"),
        (GOOD + "leave_on_server = {dayz = 1}", "accounts.my-work.leave_on_server.dayz: unknown"),
        (GOOD + "x = = 1", ":6:5: "),
        (GOOD + "port = true", ":6: accounts.my-work.port: found true, allowed: a whole number"),
        (GOOD + "leave_on_server = {newest = true}", "leave_on_server.newest: found true, allowed"),
        (GOOD + 'deliver_to = "x"', 'deliver_to: found "x", allowed: a list'),
        (GOOD + 'timeouts = "30s"', 'timeouts: found "30s", allowed: a table'),
        (GOOD + f'max_message_size = "{"9" * 400}"', "a size of at most 1 EiB"),
        (GOOD + f"port = {'9' * 5000}", "a number is too long to be read"),
        (GOOD + f"x = {'[' * 3000}", "nested too deeply"),
        (GOOD + 'tls = "none"\ntls', ":7: Expected '=' after a key"),
        ("", "no account"),
        ("_env_file = 'x'\n" + GOOD, ":1: _env_file: unknown key"),
        (GOOD + '[destinations.a]\nkind="maildir"\npath="x"\n'
         '[destinations.b]\nkind="maildir"\npath="./x"', ":11: destinations.b.path: found"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text)


def test_all_mistakes_at_once_and_no_secret_among_them(tmp_path: Path) -> None:
    text = GOOD.replace("password_env", "password") + 'tls = "no"\n[log]\nlevel = 3'
    told = problems(
        tmp_path, text, FETCHD_ACCOUNTS__MY_WORK__PORT="x", FETCHD_ACCOUNTS__B='{password="hush"'
    )
    for part in ("my-work.tls", "log.level", "FETCHD_ACCOUNTS__MY_WORK__PORT: accounts.my-work"):
        assert part in told
    assert "hush" not in told
    assert "FETCHD_SECRET" not in told


def test_every_setting_can_be_given_by_the_environment(tmp_path: Path) -> None:
    environ = {f"FETCHD_{name.upper()}": text for name, text in GIVEN.items()}
    settings = load(written(tmp_path, GOOD), environ)
    account = settings.accounts["my-work"]
    tables = {
        "accounts__my_work__": account, "destinations__d__": settings.destinations["d"],
        "limits__": settings.limits, "archive__": settings.archive, "log__": settings.log,
    }  # fmt: skip
    for prefix, table in tables.items():
        for name, field in type(table).model_fields.items():
            if name not in SECRETS:
                assert prefix + name in GIVEN
                assert field.is_required() or getattr(table, name) != field.default, name
    assert account.password_command == ("pass", "show")
    assert account.password_env is None
    assert settings.data_dir == tmp_path / "x"


GIVEN = {
    "data_dir": "x", "limits__connections": "2", "limits__connections_per_host": "1",
    "archive__keep": "9d", "archive__segment_size": "9MB",
    "log__level": "debug", "log__format": "json", "log__transcript": "true",
    "destinations__d__kind": "maildir", "destinations__d__path": "x",
    "destinations__d__duplicates": "skip", "destinations__d__newline": "crlf",
    **{f"accounts__my_work__{name}": text for name, text in {
        "protocol": "pop3", "host": "b", "port": "9", "tls": "starttls", "username": "v",
        "password_command": '["pass", "show"]', "auth": "user", "deliver_to": '["d"]',
        "leave_on_server": "none", "retire_share": "0.1", "max_message_size": "9MB",
        "timeouts": '{connect = "9s"}', "ca_file": "c", "fingerprint": "0" * 64,
        "client_certificate": "c", "min_tls": "1.3", "allow_plaintext_auth": "true",
    }.items()},
}  # fmt: skip


def test_a_table_that_only_the_environment_has_is_told_by_its_variable(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, FETCHD_ACCOUNTS__NEW__HOST="h")
    assert "FETCHD_ACCOUNTS__NEW__HOST: accounts.new.protocol: missing, and needed" in told


def test_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, FETCHD_LIMITS__CONECTIONS="1")
    assert "did you mean FETCHD_LIMITS__CONNECTIONS?" in told


def test_a_readable_file_with_a_password_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("password_env", "password")
    assert "chmod 600" in problems(tmp_path, text, 0o640)
    assert load(written(tmp_path, GOOD, 0o644), {})


def test_no_file_names_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(SettingsError, match=r"XDG/fetchd/fetchd.toml, /etc/fetchd/fetchd.toml"):
        load(None, {"XDG_CONFIG_HOME": "/XDG"})


def test_lines_of_quoted_dotted_and_inline_keys() -> None:
    text = '# c\n[a."b.c"]\nx = """\n[no]\n"""\ny = { p = 1, "q" = [1,\n2] }\n[[t]]\nd.e = "#"\n'
    lines = key_lines(text)
    assert lines[("a", "b.c")] == 2
    assert lines[("a", "b.c", "y", "q")] == 6
    assert lines[("t", "d", "e")] == 9
    assert ("no",) not in lines


def test_importing_settings_is_light() -> None:
    code = "import sys, fetchd.settings; print({'sqlalchemy','rich','typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
