"""Settings from variables: every one of them, and what is said of a mistaken one."""

from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.policy.retention import Window
from fetchd.settings import ImapAccount, load
from fetchd.settings.account import SECRETS
from tests.settings.files import GOOD, IMAP, problems, written


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


def test_every_setting_can_be_given_by_the_environment(tmp_path: Path) -> None:
    environ = {f"FETCHD_{name.upper()}": text for name, text in GIVEN.items()}
    settings = load(written(tmp_path, GOOD), environ)
    pop3, imap = settings.accounts["my-work"], settings.accounts["new"]
    tables = {
        "accounts__my_work__": pop3, "accounts__new__": imap,
        "destinations__d__": settings.destinations["d"], "limits__": settings.limits,
        "archive__": settings.archive, "log__": settings.log,
    }  # fmt: skip
    for prefix, table in tables.items():
        for name, field in type(table).model_fields.items():
            if name not in SECRETS:
                assert prefix + name in GIVEN
                other = field.is_required() or getattr(table, name) != field.default
                assert other or name == "duplicates"  # which a mirror does not take
    assert pop3.password_command == ("pass", "show")
    assert pop3.password_env is None
    assert isinstance(imap, ImapAccount)
    assert imap.mailboxes == ("!Junk", "[Gmail]/**")
    assert settings.data_dir == tmp_path / "x"


COMMON = {
    "host": "b", "port": "9", "tls": "starttls", "username": "v",
    "password_command": '["pass", "show"]', "deliver_to": '["d"]', "leave_on_server": "none",
    "retire_share": "0.1", "max_message_size": "9MB", "timeouts": '{connect = "9s"}',
    "ca_file": "c", "fingerprint": "0" * 64, "client_certificate": "c", "min_tls": "1.3",
    "allow_plaintext_auth": "true",
}  # fmt: skip
POP3_ONLY = {"protocol": "pop3", "auth": "user"}
IMAP_ONLY = {
    "protocol": "imap", "auth": "login-command", "mailboxes": "!Junk, [Gmail]/**",
    "retire_to": "Old", "connections": "3", "compress": "no", "full_pass": "2h",
}  # fmt: skip
GIVEN = {
    "data_dir": "x", "limits__connections": "2", "limits__connections_per_host": "1",
    "archive__keep": "9d", "archive__segment_size": "9MB",
    "log__level": "debug", "log__format": "json", "log__transcript": "true",
    "destinations__d__kind": "maildir", "destinations__d__path": "x",
    "destinations__d__layout": "mirror", "destinations__d__removed": "trash",
    "destinations__d__duplicates": "deliver", "destinations__d__newline": "crlf",
    **{f"accounts__my_work__{name}": text for name, text in (COMMON | POP3_ONLY).items()},
    **{f"accounts__new__{name}": text for name, text in (COMMON | IMAP_ONLY).items()},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["*", "!Junk"]', ("*", "!Junk")),
        ("['*', '!\\Junk']", ("*", "!\\Junk")),  # TOML
        ("*, !\\Junk ,Old Mail", ("*", "!\\Junk", "Old Mail")),
        ("INBOX", ("INBOX",)),
    ],
)
def test_a_list_of_names_in_a_variable(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    account = load(written(tmp_path, IMAP), {"FETCHD_ACCOUNTS__MY_WORK__MAILBOXES": text})
    assert account.accounts["my-work"].mailboxes == expected


def test_mistakes_in_variables_of_one_protocol(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        GOOD,
        FETCHD_ACCOUNTS__MY_WORK__MAILBOXES="*",
        FETCHD_ACCOUNTS__MY_WORK__LEAVE_ON_SERVER='{newest = 1, unread = "keep"}',
        FETCHD_ACCOUNTS__MY_WORK__DELIVER_TO="x,y",
        FETCHD_ACCOUNTS__NEW__PASSWORD_COMMAND="pass show",
    )
    for line in (
        "FETCHD_ACCOUNTS__MY_WORK__MAILBOXES: accounts.my-work.mailboxes: mailboxes is for ",
        'accounts.my-work.leave_on_server.unread: unread is for protocol = "imap"',
        'FETCHD_ACCOUNTS__MY_WORK__DELIVER_TO: accounts.my-work.deliver_to: found "y"',
        "accounts.new.password_command: found something else (not shown), allowed: a list",
    ):
        assert line in told


def test_a_table_that_only_the_environment_has_is_told_by_its_variable(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, FETCHD_ACCOUNTS__NEW__HOST="h")
    assert "FETCHD_ACCOUNTS__NEW__HOST: accounts.new.protocol: missing, and needed" in told


def test_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, FETCHD_LIMITS__CONECTIONS="1")
    assert "did you mean FETCHD_LIMITS__CONNECTIONS?" in told
