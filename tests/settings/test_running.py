"""What the service needs to be told: schedules, ways to a server, OAuth2, budgets, alerts."""

from datetime import time, timedelta
from pathlib import Path

import pytest

from fetchd.errors import SettingsError
from fetchd.policy.schedule import Every, Hours, Manual, Push, cron_of
from fetchd.settings import ImapAccount, load
from tests.settings.files import GOOD, IMAP, MAILDIR, SMTP, problems, written

CUSTOM = """\
[accounts.a]
protocol = "imap"
host = "h"
username = "u"
[accounts.a.oauth2]
client_id = "c"
authorization_endpoint = "https://login.example.org/authorize"
token_endpoint = "https://login.example.org/token"
scopes = ["mail"]
"""
GOOGLE = """\
[accounts.a]
protocol = "imap"
host = "h"
username = "u"
oauth2 = { provider = "google", client_id = "c" }
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", Every(timedelta(minutes=5))),
        ("10s", Every(timedelta(seconds=10))),
        ("*/10 8-20 * * mon-fri", cron_of("*/10 8-20 * * mon-fri")),
        ("@hourly", cron_of("0 * * * *")),
        ("idle", Push()),
        (" manual ", Manual()),
    ],
)
def test_a_schedule_as_a_person_writes_it(tmp_path: Path, text: str, expected: object) -> None:
    account = load(written(tmp_path, IMAP + f'schedule = "{text}"'), {}).accounts["my-work"]
    if text.startswith("@"):
        assert account.schedule.minutes == expected.minutes  # the line is as it was written
    else:
        assert account.schedule == expected


def test_what_an_account_says_for_itself(tmp_path: Path) -> None:
    text = IMAP + (
        'quiet_hours = "22:00-06:30"\nproxy = "socks5h://127.0.0.1:1080"\n'
        'bind_address = "2001:DB8::7"\nip = "6"\nprovider = "gmail"\n'
        'mailbox_schedules = { "Archive/**" = "6h", "\\\\Junk" = "30 4 * * *", Old = "manual" }\n'
    )
    account = load(written(tmp_path, text), {}).accounts["my-work"]
    assert isinstance(account, ImapAccount)
    assert account.quiet_hours == Hours(time(22), time(6, 30))
    assert account.bind_address == "2001:db8::7"
    assert account.mailbox_schedules["Archive/**"] == Every(timedelta(hours=6))
    assert list(account.mailbox_schedules) == ["Archive/**", "\\Junk", "Old"]  # their order counts


def test_the_service_s_own_tables(tmp_path: Path) -> None:
    text = GOOD + MAILDIR + (
        '[service]\nschedule = "@daily"\njitter = "1s"\ntimezone = "Europe/Berlin"\ndrain = "2m"\n'
        '[web]\nlisten = "[::1]:9488"\n'
        '[alerts]\ndestinations = ["home"]\nwebhooks = ["https://h/x"]\ndigest = "8:00"\n'
        'ignore = ["no success"]\n'
        '[budgets.gmail]\ndownload_per_day = "2500MB"\nshared = "host"\n'
        '[budgets.H]\nconnections = 3\n'
    )  # fmt: skip
    settings = load(written(tmp_path, text), {})
    assert settings.service.drain == timedelta(minutes=2)
    assert settings.web.listen == "[::1]:9488"
    assert settings.alerts.digest == time(8)
    assert settings.alerts.ignore == ("no success",)
    assert settings.budgets["gmail"].download_per_day == 2_500_000_000
    assert settings.budgets["H"].connections == 3
    assert "https://h/x" in settings.secrets


def test_oauth2_stands_in_place_of_a_password(tmp_path: Path) -> None:
    settings = load(written(tmp_path, CUSTOM), {})
    account = settings.accounts["a"]
    assert account.oauth2
    assert account.oauth2.scopes == ("mail",)
    assert account.tokens.folder == settings.data_dir / "tokens"
    assert load(written(tmp_path, GOOGLE), {}).accounts["a"].oauth2
    device = CUSTOM.replace("authorization_endpoint", "device_endpoint")
    assert load(written(tmp_path, device), {})


def test_a_destination_has_them_too(tmp_path: Path) -> None:
    text = SMTP + 'username = "u"\noauth2 = { provider = "google", client_id = "c" }\nip = "4"\n'
    table = load(written(tmp_path, GOOD + text + '[tokens]\nfolder = "t"\n'), {}).destinations["d"]
    assert table.oauth2
    assert table.tokens.folder == tmp_path / "t"


TABLES = GOOD + MAILDIR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Schedules
        (
            GOOD + 'schedule = "idle"',
            (
                ':6: accounts.my-work.schedule: found "idle", allowed with '
                "pop3: an interval, a crontab line"
            ),
        ),
        (
            IMAP + 'schedule = "often"',
            (
                ':6: accounts.my-work.schedule: found "often", allowed: an '
                'interval such as "5m", a crontab line, "idle" or "manual"'
            ),
        ),
        (IMAP + "schedule = 300.5e30", "schedule: found 3.005e+32, allowed: an interval such as"),
        (IMAP + "schedule = true", "schedule: found true, allowed: an interval such as"),
        (IMAP + 'schedule = "9s"', "allowed: an interval of at least 10 s"),
        (IMAP + 'schedule = "* * * *"', 'five fields as in crontab(5): "minute hour day month we'),
        (IMAP + 'schedule = "60 * * * *"', "0 to 59 in the field of the minute"),
        (IMAP + 'quiet_hours = "22-6"', 'found "22-6", allowed: hours such as "22:00-06:00"'),
        (IMAP + 'quiet_hours = "22:00-22:00"', "hours that begin and end at different times"),
        (IMAP + 'quiet_hours = ["22:00-06:00"]', 'found a list, allowed: hours such as "22:00-06'),
        (
            IMAP + 'mailbox_schedules = { "Old" = "idle" }',
            (
                "mailbox_schedules.Old: found "
                '"idle", allowed: an interval such as "6h", a crontab line or "manual"'
            ),
        ),
        (IMAP + 'mailbox_schedules = { "!Old" = "6h" }', 'a pattern without "!"'),
        (IMAP + 'mailbox_schedules = { "b**" = "6h" }', "allowed: ** as a whole level"),
        (IMAP + 'mailbox_schedules = "6h"', 'mailbox_schedules: found "6h", allowed: a table'),
        (GOOD + 'mailbox_schedules = { Old = "6h" }', 'mailbox_schedules is for protocol = "imap"'),
        (GOOD + 'shedule = "5m"', ':6: accounts.my-work.shedule: unknown key (did you mean "sched'),
        (IMAP + 'provider = "gmial"', ":6: accounts.my-work.provider: found "),
        # The way to a server
        (
            GOOD + 'proxy = "socks5://127.0.0.1"',
            (
                ":6: accounts.my-work.proxy: found something else "
                '(not shown), allowed: a URL such as "socks5://user:password@127.0.0.1:1080"'
            ),
        ),
        (GOOD + 'proxy = "ftp://127.0.0.1:1"', "accounts.my-work.proxy: found something else"),
        (GOOD + 'proxy = "http://h:65536"', "accounts.my-work.proxy: found something else"),
        (
            GOOD + 'proxy = "http://h:1"\ntunnel = ["x"]',
            (":7: accounts.my-work.tunnel: found proxy too, allowed: one of proxy, tunnel"),
        ),
        (GOOD + "tunnel = []", "tunnel: found something else (not shown), allowed: a list that is"),
        (
            GOOD + 'tunnel = ["x"]\nip = "4"',
            ":7: accounts.my-work.ip: found tunnel too, which make",
        ),
        (GOOD + 'bind_address = "h"', 'found "h", allowed: an IP address of this machine'),
        (
            GOOD + 'bind_address = "::1"\nip = "4"',
            (':7: accounts.my-work.ip: found "4", and bind_address = "::1" is of the other kind'),
        ),
        (GOOD + 'ip = "5"', 'ip: found "5", allowed: "any", "4", "6"'),
        # OAuth2
        (
            GOOD + 'oauth2 = { provider = "google", client_id = "c" }',
            (
                ":6: accounts.my-work.oauth2: "
                "found password_env, oauth2, allowed: exactly one of password, "
            ),
        ),
        (
            GOOGLE.replace('"google"', '"gogle"'),
            (
                'oauth2.provider: found "gogle", allowed: "google"'
                ', "microsoft", "yahoo", "aol", "fastmail", "custom" (did you mean "google"?)'
            ),
        ),
        (GOOGLE.replace(', client_id = "c"', ""), "oauth2.client_id: missing, and needed"),
        (
            GOOGLE + 'auth = "plain"',
            (':6: accounts.a.auth: found oauth2 too, allowed: "auto", "xoauth2", "oauthbearer"'),
        ),
        (
            CUSTOM + 'client_secret = "x"\nclient_secret_file = "y"',
            (
                ":11: accounts.a.oauth2.client_"
                "secret_file: found client_secret, client_secret_file, allowed: one of them"
            ),
        ),
        (
            CUSTOM.replace("scopes", "scope"),
            ":9: accounts.a.oauth2.scope: unknown key (did you mea",
        ),
        (
            CUSTOM.replace('scopes = ["mail"]', ""),
            ('accounts.a.oauth2.scopes: missing, and needed with provider = "custom"'),
        ),
        (CUSTOM.replace("token_endpoint", "device_endpoint"), ".token_endpoint: missing, and need"),
        (
            CUSTOM.replace("https://login.example.org/token", "http://h/t"),
            (
                ":8: accounts.a.oauth2."
                'token_endpoint: found "http://h/t", allowed: a URL that begins with https://'
            ),
        ),
        (
            CUSTOM + "redirect_port = 65536",
            "redirect_port: found 65536, allowed: less than or equa",
        ),
        (
            SMTP + GOOD + '[destinations.d.oauth2]\nprovider = "google"\nclient_id = "c"',
            "destinations.d.username: missing, and needed with oauth2",
        ),
        # The service's own tables
        (
            GOOD + '[service]\nschedul = "5m"',
            ':7: service.schedul: unknown key (did you mean "sched',
        ),
        (
            GOOD + '[service]\ntimezone = "Mars"',
            ('service.timezone: found "Mars", allowed: a time zone such as "Europe/Berlin"'),
        ),
        (GOOD + '[service]\ntimezone = "../../etc/passwd"', "allowed: a time zone such as"),
        (
            GOOD + '[service]\nmaintenance = "5m"',
            'maintenance: found "5m", allowed: a crontab line',
        ),
        (GOOD + '[service]\njitter = "2h"', 'jitter: found "2h", allowed: an hour at most'),
        (GOOD + "[service]\ndrain = 0", "drain: found 0, allowed: a duration longer than nothing"),
        (GOOD + "service = 1", "accounts.my-work.service: unknown key"),
        ("service = 1\n" + GOOD, ":1: service: found 1, allowed: a table"),
        (
            GOOD + '[web]\nlisten = "9488"',
            (
                'web.listen: found "9488", allowed: "off", or an address '
                'and a port such as "127.0.0.1:9488"'
            ),
        ),
        (GOOD + '[web]\nlisten = "127.0.0.1:99999"', 'allowed: "off", or an address and a port'),
        (GOOD + "[web]\nlisten = false", "web.listen: found false, allowed"),
        (
            TABLES + '[alerts]\ndestinations = ["hom"]',
            (':10: alerts.destinations: found "hom", allowed: a destination ("home")'),
        ),
        (
            GOOD + '[alerts]\ndigest = "08:00"',
            (
                ":7: alerts.digest: goes to nobody: set one of destin"
                "ations, apprise, apprise_file, webhooks, webhooks_file, command"
            ),
        ),
        (GOOD + '[alerts]\ndigest = "8"', 'found "8", allowed: a time of day such as "08:00"'),
        (
            GOOD + '[alerts]\nignore = ["discs"]',
            'ignore: found "discs", allowed: "authentication", ',
        ),
        (
            GOOD + '[alerts]\nwebhooks = ["hush"]',
            (
                "alerts.webhooks: found something else (not shown)"
                ', allowed: a URL such as "https://hooks.example.org/fetchd"'
            ),
        ),
        (GOOD + '[alerts]\nwebhooks = ["https:///hush"]', "alerts.webhooks: found something else"),
        (GOOD + '[alerts]\nwebhooks = ["https://[hush"]', "alerts.webhooks: found something else"),
        (GOOD + '[alerts]\nwebhooks = ["https://h/hu sh"]', "alerts.webhooks: found something"),
        (
            GOOD + '[alerts]\napprise = "hush"',
            "alerts.apprise: found something else (not shown), al",
        ),
        (
            GOOD + '[alerts]\ncommand = "hush now"',
            "alerts.command: found something else (not shown",
        ),
        (
            GOOD + '[tokens]\nkey_file = "x"\nkey_env = "Y"',
            (":8: tokens.key_env: found key_file, key_env, allowed: one of them"),
        ),
        (
            GOOD + '[tokens]\nstore = "files"',
            'found "files", allowed: "file", "keyring" (did you me',
        ),
        (GOOD + '[tokens]\nkey_credential = "a/b"', 'found "a/b", allowed: text without /'),
        (
            GOOD + "[budgets.gmail]\nconnections = 0",
            "budgets.gmail.connections: found 0, allowed: ",
        ),
        (GOOD + '[budgets.gmail]\nshared = "all"', 'found "all", allowed: "account", "host"'),
        (
            GOOD + '[budgets.gmail]\ndownload = "1GB"',
            'unknown key (did you mean "download_per_day"?)',
        ),
        (GOOD + "[budgets]\ngmail = 3", "budgets.gmail: found 3, allowed: a table"),
        (
            GOOD + "[budgets.gmial]\nconnections = 3",
            'budgets.gmial: neither a provider nor a host of the settings (did you mean "gmail"?)',
        ),
        (GOOD + "[budgets.zzz]\nconnections = 3", "(of these: gmail, google-workspace, outlook"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    told = problems(tmp_path, text)
    assert expected in told
    assert "hush" not in told


@pytest.mark.parametrize(
    "text",
    [
        GOOD + 'proxy = "socks5://u:hush@h:1080"',
        GOOGLE.replace('client_id = "c"', 'client_id = "c", client_secret = "hush"'),
        GOOD + '[alerts]\napprise = ["mailto://u:hush@h"]',
        GOOD + '[alerts]\nwebhooks = ["https://h/hush"]',
    ],
)
def test_a_file_with_a_secret_is_for_its_owner_alone(tmp_path: Path, text: str) -> None:
    told = problems(tmp_path, text, 0o644)
    assert "and is readable by others; run: chmod 600" in told
    assert "hush" not in told
    settings = load(written(tmp_path, text, 0o600), {})
    assert any("hush" in secret for secret in settings.secrets)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    "text",
    [
        GOOD + 'proxy = "socks5://127.0.0.1:1080"',
        GOOGLE.replace('client_id = "c"', 'client_id = "c", client_secret_file = "x"'),
        GOOD + '[alerts]\napprise_file = "x"\nwebhooks_file = "y"\ncommand = ["z"]',
        GOOD + '[tokens]\nkey_env = "KEY"',
    ],
)
def test_a_file_that_only_names_where_secrets_are_may_be_read(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text, 0o644), {})


def test_the_password_of_a_proxy_is_kept_out_of_logs_by_itself_too(tmp_path: Path) -> None:
    text = GOOD + 'proxy = "socks5://u:p%40ss@h:1080"'
    assert {"socks5://u:p%40ss@h:1080", "p@ss"} <= set(load(written(tmp_path, text), {}).secrets)


@pytest.mark.parametrize(
    ("text", "variable", "value"),
    [
        (GOOD, "FETCHD_ALERTS", '{apprise = ["hush"'),
        (GOOGLE, "FETCHD_ACCOUNTS__A__OAUTH2", '{client_secret = "hush"'),
        (GOOGLE, "FETCHD_ACCOUNTS__A__OAUTH2__CLIENT_SECRET", "{hush}"),
        (GOOD, "FETCHD_ALERTS__WEBHOOKS", "hush"),
        (GOOD, "FETCHD_ACCOUNTS__MY_WORK__PROXY", "hush"),
    ],
)
def test_a_secret_in_a_variable_is_shown_in_no_case(
    tmp_path: Path, text: str, variable: str, value: str
) -> None:
    file = written(tmp_path, text)
    try:
        told = repr(load(file, {variable: value}))
    except SettingsError as error:
        told = str(error)
        assert told.startswith(variable)
    assert "hush" not in told


def test_what_a_variable_gives_takes_the_place_of_what_the_file_has(tmp_path: Path) -> None:
    text = GOOD + '[tokens]\nkey_file = "x"\n'
    environ = {
        "FETCHD_ACCOUNTS__MY_WORK__OAUTH2__PROVIDER": "google",
        "FETCHD_ACCOUNTS__MY_WORK__OAUTH2__CLIENT_ID": "c",
        "FETCHD_TOKENS__KEY_ENV": "FETCHD_TOKENS__KEY",
        "FETCHD_TOKENS__KEY": "a secret, and no setting",
    }
    settings = load(written(tmp_path, text), environ)
    account = settings.accounts["my-work"]
    assert account.oauth2
    assert account.password_env is None
    assert (settings.tokens.key_file, settings.tokens.key_env) == (None, "FETCHD_TOKENS__KEY")


def test_a_password_in_a_variable_takes_the_place_of_oauth2(tmp_path: Path) -> None:
    environ = {"FETCHD_ACCOUNTS__A__PASSWORD": "hush"}
    account = load(written(tmp_path, GOOGLE), environ).accounts["a"]
    assert account.oauth2 is None
    assert account.password


def test_a_client_secret_in_a_variable_takes_the_place_of_the_file_s(tmp_path: Path) -> None:
    text = CUSTOM + 'client_secret_file = "x"\n'
    environ = {"FETCHD_ACCOUNTS__A__OAUTH2__CLIENT_SECRET": "hush"}
    oauth2 = load(written(tmp_path, text), environ).accounts["a"].oauth2
    assert oauth2
    assert oauth2.client_secret_file is None
    assert oauth2.client_secret


def test_schedules_by_mailbox_in_a_variable(tmp_path: Path) -> None:
    environ = {"FETCHD_ACCOUNTS__MY_WORK__MAILBOX_SCHEDULES": '{"Archive/**": "6h"}'}
    account = load(written(tmp_path, IMAP), environ).accounts["my-work"]
    assert account.mailbox_schedules == {"Archive/**": Every(timedelta(hours=6))}
    told = problems(tmp_path, IMAP, FETCHD_ACCOUNTS__MY_WORK__MAILBOX_SCHEDULES='{a = "idle"}')
    assert told.startswith("FETCHD_ACCOUNTS__MY_WORK__MAILBOX_SCHEDULES: accounts.my-work.mailbox_")


def test_a_misspelt_variable_of_the_service_is_told(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, FETCHD_SERVICE__SHEDULE="5m")
    assert "did you mean FETCHD_SERVICE__SCHEDULE?" in told
