"""Settings from variables: every one of them, and what is said of a mistaken one."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fetchd.policy.retention import Window
from fetchd.policy.routing import Action
from fetchd.settings import ImapAccount, load
from fetchd.settings.destination import KINDS
from fetchd.settings.routes import RouteTable
from fetchd.settings.server import CLIENT_SECRETS, KEYS, SECRETS, SRS_SECRETS
from tests.settings.files import APPEND, GOOD, IMAP, MBOX, SMTP, problems, written


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
    environ["FETCHD_KEY__OF_MINE"] = "no setting, but the key that tokens.key_env names"
    settings = load(written(tmp_path, GOOD), environ)
    pop3, imap = settings.accounts["my-work"], settings.accounts["new"]
    tables = {
        "accounts__my_work__": pop3, "accounts__new__": imap, "limits__": settings.limits,
        "archive__": settings.archive, "log__": settings.log, "web__": settings.web,
        "service__": settings.service, "alerts__": settings.alerts, "tokens__": settings.tokens,
        "budgets__gmail__": settings.budgets["gmail"],
        "accounts__tunnelled__oauth2__": settings.accounts["tunnelled"].oauth2,
        **{f"destinations__{name}__": table for name, table in settings.destinations.items()},
    }  # fmt: skip
    given: dict[type, set[str]] = {}
    for prefix, table in tables.items():
        for name, field in type(table).model_fields.items():
            if prefix + name in GIVEN:
                given.setdefault(type(table), set()).add(name)
                assert field.is_required() or getattr(table, name) != field.default, prefix + name
    for kind, names in given.items():
        assert kind.model_fields.keys() - names <= {*ONE_OF, "provider"}
    assert set(KINDS.values()) <= given.keys()
    assert pop3.password_command == ("pass", "show")
    assert pop3.password_env is None
    assert isinstance(imap, ImapAccount)
    assert imap.mailboxes == ("!Junk", "[Gmail]/**")
    assert settings.data_dir == tmp_path / "x"
    assert settings.routes == (RouteTable(action=Action.SKIP),)


# Of these a table has one; and a line that goes through a proxy goes through no tunnel.
ONE_OF = (*SECRETS, *SRS_SECRETS, *CLIENT_SECRETS, *KEYS, "oauth2", "tunnel")
WAY = {
    "host": "b", "port": "9", "tls": "starttls", "username": "v",
    "password_command": '["pass", "show, or tell"]', "timeouts": '{connect = "9s"}',
    "ca_file": "c", "fingerprint": "0" * 64, "client_certificate": "c", "min_tls": "1.3",
    "allow_plaintext_auth": "true", "proxy": "socks5://u:p@h:1", "bind_address": "192.0.2.7",
    "ip": "4",
}  # fmt: skip
COMMON = WAY | {
    "password_command": '["pass", "show"]', "deliver_to": '["d"]', "first_sync": "archive",
    "leave_on_server": "none", "retire_share": "0.1", "max_message_size": "9MB",
    "schedule": "*/10 8-20 * * mon-fri", "quiet_hours": "22:00-06:00", "provider": "gmail",
}  # fmt: skip
POP3_ONLY = {"protocol": "pop3", "auth": "user"}
IMAP_ONLY = {
    "protocol": "imap", "auth": "login-command", "mailboxes": "!Junk, [Gmail]/**",
    "retire_to": "Old", "connections": "3", "compress": "no", "full_pass": "2h",
    "mailbox_schedules": '{"Lists/**" = "6h"}',
}  # fmt: skip
# Which of them leads to another is not said twice.
TUNNEL = {"protocol": "pop3", "host": "b", "username": "v", "tunnel": '["ssh", "-W", "b,c"]'}
OAUTH2 = {
    "client_id": "c", "client_secret": "hush", "tenant": "t",
    "scopes": "mail, offline", "authorization_endpoint": "https://a/b",
    "token_endpoint": "https://a/c", "device_endpoint": "https://a/d",
    "revocation_endpoint": "https://a/e", "redirect_port": "9",
}  # fmt: skip
RUNNING = {
    "service__schedule": "idle",
    "service__jitter": "9s",
    "service__quiet_hours": "22:00-06:00",
    "service__timezone": "Europe/Berlin",
    "service__maintenance": "@daily",
    "service__stalled": "9m",
    "service__drain": "9s",
    "web__listen": "off",
    "alerts__destinations": "d, smtp",
    "alerts__apprise": '["mailto://u:p@h?a=b,c"]',
    "alerts__apprise_file": "a",
    "alerts__webhooks": '["https://h/x"]',
    "alerts__webhooks_file": "w",
    "alerts__command": '["page", "a,b"]',
    "alerts__ignore": "disk, no success",
    "alerts__no_success_for": "2d",
    "alerts__disk_free": "2GB",
    "alerts__expiry": "2d",
    "alerts__digest": "08:00",
    "tokens__store": "keyring",
    "tokens__folder": "t",
    "tokens__key_env": "FETCHD_KEY__OF_MINE",
    "budgets__gmail__download_per_day": "9MB",
    "budgets__gmail__upload_per_day": "9MB",
    "budgets__gmail__logins_per_hour": "9",
    "budgets__gmail__connections": "9",
    "budgets__gmail__poll_floor": "9m",
    "budgets__gmail__shared": "host",
}
PLACE = {"duplicates": "skip", "first_sync": "archive"}
REMOTE = PLACE | {"give_up_after": "1d", "max_per_minute": "9", "max_connections": "9"}
TRANSFER = REMOTE | WAY | {
    "auth": "plain", "recipients": "a@b, c@d", "sender": "null", "address": "a@b",
    "eight_bit": "defer", "bare_newlines": "attach", "max_received": "9", "passing": "450*, 451*",
    "helo": "h.example", "confirm_own_address": "yes",
}  # fmt: skip
DESTINATIONS = {
    "d": PLACE | {
        "kind": "maildir", "path": "x", "newline": "crlf", "folder": "{account}", "flags": "keep",
        "mark_seen": "true",
    },
    "mirror": {"kind": "maildir", "path": "y", "layout": "mirror", "removed": "trash"},
    "mbox": PLACE | {"kind": "mbox", "path": "z", "lock_timeout": "9s"},
    "command": REMOTE | {
        "kind": "command", "command": '["a", "b,c"]', "timeout": "9s", "newline": "crlf",
    },
    "smtp": TRANSFER | {
        "kind": "smtp", "mode": "attach", "sender": "original", "srs_domain": "b.c",
        "srs_secret": "hush", "first_sync": "deliver",
    },
    "lmtp": TRANSFER | {"kind": "lmtp", "recipients": '["a"]', "fallback_recipient": "p"},
    "socket": {"kind": "lmtp", "recipients": "a", "socket": "s"},
    "imap": REMOTE | WAY | {
        "kind": "imap", "auth": "login-command", "mailbox": "Sent", "flags": "drop",
        "mark_seen": "on", "confirm_own_address": "1",
    },
}  # fmt: skip
GIVEN = {
    "data_dir": "x", "limits__connections": "2", "limits__connections_per_host": "1",
    "archive__keep": "9d", "archive__segment_size": "9MB",
    "log__level": "debug", "log__format": "json", "log__transcript": "true",
    "routes": '[{action = "skip"}]', **RUNNING,
    **{f"accounts__tunnelled__{name}": text for name, text in TUNNEL.items()},
    **{f"accounts__tunnelled__oauth2__{name}": text for name, text in OAUTH2.items()},
    **{f"accounts__my_work__{name}": text for name, text in (COMMON | POP3_ONLY).items()},
    **{f"accounts__new__{name}": text for name, text in (COMMON | IMAP_ONLY).items()},
    **{
        f"destinations__{name}__{key}": text
        for name, table in DESTINATIONS.items()
        for key, text in table.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PASSWORD": "s3"}, {"password": "s3", "password_file": None}),
        ({"PASSWORD_COMMAND": '["p", "a,b"]'}, {"password_command": ("p", "a,b")}),
        ({"SRS_SECRET": "s4"}, {"srs_secret": "s4", "srs_secret_file": None}),
    ],
)
def test_a_secret_of_a_destination_takes_the_place_of_the_file_s(
    tmp_path: Path, given: dict[str, str], expected: dict[str, Any]
) -> None:
    text = SMTP.replace("[destinations.d]", "[destinations.Team-1]") + (
        'username = "u"\npassword_file = "x"\nsender = "original"\n'
        'srs_domain = "b.c"\nsrs_secret_file = "y"\n'
    )
    environ = {f"FETCHD_DESTINATIONS__TEAM_1__{key}": value for key, value in given.items()}
    table = load(written(tmp_path, GOOD + text), environ).destinations["Team-1"]
    for key, value in expected.items():
        found = getattr(table, key)
        assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == value


def test_a_password_env_of_a_destination_is_no_setting(tmp_path: Path) -> None:
    text = APPEND.replace("FETCHD_SECRET", "FETCHD_DESTINATIONS__PASS")
    assert load(written(tmp_path, GOOD + text), {"FETCHD_DESTINATIONS__PASS": "s"})


def test_mistakes_in_variables_of_one_kind(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        GOOD + MBOX,
        FETCHD_DESTINATIONS__D__HOST="h",
        FETCHD_DESTINATIONS__NEW__KIND="smtp",
        FETCHD_DESTINATIONS__NEW__HOST="h",
        FETCHD_DESTINATIONS__NEW__RECIPIENTS="a@b,c",
        FETCHD_DESTINATIONS__NEW__TIMEOUTS__FINAL="1m",
        FETCHD_DESTINATIONS__NEW__RECIPIENT="a@b",
        FETCHD_DESTINATIONS__OLD='{kind = "imap", password = "hush"',
    )
    for line in (
        'FETCHD_DESTINATIONS__D__HOST: destinations.d.host: host is for kind = "smtp", "lmtp" or ',
        'FETCHD_DESTINATIONS__NEW__RECIPIENTS: destinations.new.recipients: found "c", allowed: an',
        'FETCHD_DESTINATIONS__NEW__TIMEOUTS__FINAL: destinations.new.timeouts.final: found "1m", a',
        "FETCHD_DESTINATIONS__NEW__RECIPIENT: no such setting (did you mean FETCHD_DESTINATIONS__N",
        "FETCHD_DESTINATIONS__OLD: destinations.old: found something that is no table, allowed: a ",
    ):
        assert line in told
    assert len(told.splitlines()) == 5
    assert "hush" not in told


def test_what_a_variable_replaced_is_told_by_the_variable(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD + MBOX, FETCHD_DESTINATIONS__D='{kind = "mbox", path = 1}')
    assert told.startswith("FETCHD_DESTINATIONS__D: destinations.d.path: found 1")


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
