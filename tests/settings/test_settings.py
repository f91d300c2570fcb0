"""Settings: found, merged, checked, and every mistake told at once."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fetchd.errors import SettingsError
from fetchd.policy.retention import Window, fingerprint
from fetchd.settings import (
    Alerts,
    Archive,
    Budget,
    ImapAccount,
    Limits,
    Log,
    OAuth2,
    Pop3Account,
    Server,
    Service,
    Settings,
    Tokens,
    Web,
    load,
)
from fetchd.settings.account import WindowTable, by_protocol
from fetchd.settings.destination import KINDS, Remote, TransferTimeouts, by_kind
from fetchd.settings.lines import key_lines
from fetchd.settings.routes import RouteTable
from tests.settings.files import GOOD, IMAP, MIRROR, problems, written

EXAMPLE = Path(__file__).parents[2] / "settings.example.toml"


def test_the_example_loads_and_every_default_in_it_is_the_default() -> None:
    example = load(EXAMPLE, {})
    text = EXAMPLE.read_text()
    for model in (
        Settings,
        Pop3Account,
        ImapAccount,
        *KINDS.values(),
        RouteTable,
        Limits,
        Archive,
        Log,
        WindowTable,
        TransferTimeouts,
        OAuth2,
        Budget,
        *RUNNING.values(),
    ):
        for field in model.model_fields:
            assert re.search(rf"\b{field}\b", text), field
    shown = shown_by_the_example()
    pop3, imap = shown["accounts"]["work"], shown["accounts"]["private"]
    assert defaults(Pop3Account) <= pop3.keys()
    assert defaults(ImapAccount) <= pop3.keys() | imap.keys()
    needed = {"protocol": "imap", "host": "h", "username": "u"}
    assert by_protocol(imap | needed) == by_protocol(needed)
    needed = {"protocol": "pop3", "host": "h", "username": "u"}
    # What an account says of its first sync has no default: each destination has its own.
    assert by_protocol(pop3 | needed | {"first_sync": None}) == by_protocol(needed)
    for key, model in RUNNING.items():
        assert defaults(model) <= shown[key].keys()
        assert model(**shown[key]) == model()
    oauth2 = {"client_id": "x"} | shown["accounts"]["office"]["oauth2"]
    assert defaults(OAuth2) - {"provider"} <= oauth2.keys()
    assert OAuth2(**oauth2) == OAuth2(client_id="x")
    for key, model in (("archive", Archive), ("limits", Limits), ("log", Log)):
        assert shown[key].keys() == model.model_fields.keys()
        assert model(**shown[key]) == model()
    [route] = shown["routes"]
    assert defaults(RouteTable) <= route.keys()
    assert RouteTable(**route) == RouteTable()
    assert example.accounts["work"].name == "work"
    assert isinstance(example.accounts["private"], ImapAccount)


RUNNING: dict[str, type[BaseModel]] = {
    "service": Service,
    "web": Web,
    "alerts": Alerts,
    "tokens": Tokens,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_has_every_default_of_each_kind(kind: str) -> None:
    tables = load(EXAMPLE, {}).destinations
    [name] = [name for name, destination in tables.items() if destination.kind == kind]
    everything = shown_by_the_example()
    shown = everything["destinations"][name]
    # Said once for all of them: in front of the first, or as for an account.
    elsewhere = {*Remote.model_fields, *Server.model_fields, *everything["destinations"]["home"]}
    if kind == "lmtp":
        elsewhere |= everything["destinations"]["team"].keys()
    assert defaults(KINDS[kind]) - shown.keys() <= elsewhere
    needed = {"kind": kind} | NEEDED[kind]
    assert by_kind(shown | needed) == by_kind(needed)


NEEDED: dict[str, dict[str, Any]] = {
    "maildir": {"path": "/x"}, "mbox": {"path": "/x"}, "command": {"command": ["x"]},
    "smtp": {"host": "h", "recipients": ["a@b"]}, "lmtp": {"recipients": ["a"]},
    "imap": {"host": "h", "username": "u"},
}  # fmt: skip


def shown_by_the_example() -> dict[str, Any]:
    return tomllib.loads("\n".join(uncommented(EXAMPLE.read_text().splitlines())))


def uncommented(lines: list[str]) -> Iterator[str]:
    """Tables and defaults; neither what is set in the example nor its samples."""
    is_open = False  # of a list on several lines
    for line in lines:
        if line.startswith("["):
            yield line
        elif is_open or (re.match(r"# [a-z_]+ = ", line) and not line.startswith(SAMPLES)):
            yield line.removeprefix("# ")
            is_open = line.endswith("[") or (is_open and line != "# ]")


def defaults(model: type[BaseModel]) -> set[str]:
    """The settings that have a default which can be written down."""
    unsaid = (None, (), {}, PydanticUndefined)
    fields = model.model_fields.items()
    return {name for name, f in fields if not f.is_required() and f.default not in unsaid}


SAMPLES = (
    "# password", "# ca_file", "# fingerprint", "# client_", "# max_message", "# retire_to",
    "# leave_on_server = {", '# mailboxes = ["*",', '# folder = "{', "# max_per_minute",
    "# address", "# srs_", "# helo", "# socket", "# fallback", "# account", '# mailbox = "L',
    '# sender = "*', "# recipient =", "# subject", "# header", "# larger", "# smaller",
    "# duplicate =", "# deliver_to", "# label", "# proxy", "# tunnel", "# bind", "# quiet",
    '# schedule = "10m"', "# provider", "# mailbox_schedules", "# scopes", "# authorization",
    "# token_", "# device", "# revocation", "# download", "# upload", "# logins", "# poll",
    "# shared", "# jitter", "# timezone", "# apprise", "# webhooks", "# command", "# digest",
    '# folder = "~', "# key_",
)  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "tls", "port"),
    [
        ("pop3", "implicit", 995),
        ("pop3", "starttls", 110),
        ("pop3", "none", 110),
        ("imap", "implicit", 993),
        ("imap", "starttls", 143),
        ("imap", "none", 143),
    ],
)
def test_the_port_follows_from_protocol_and_tls(protocol: str, tls: str, port: int) -> None:
    table = {"protocol": protocol, "tls": tls, "host": "h", "username": "u"}
    account = by_protocol(table)
    assert account == by_protocol(table | {"port": port})
    assert account.port == port
    assert by_protocol(table | {"port": 9}).port == 9


def test_an_imap_account(tmp_path: Path) -> None:
    text = IMAP + (
        'mailboxes = ["*", "!\\\\Junk"]\nretire_to = "\\\\trash"\nfull_pass = "12h"\n'
        'leave_on_server = { newest = 0, unread = "keep", flagged = "keep" }\n'
    )
    account = load(written(tmp_path, text), {}).accounts["my-work"]
    assert isinstance(account, ImapAccount)
    assert account.mailboxes == ("*", "!\\Junk")
    assert account.retire_to == "\\Trash"
    assert account.full_pass == timedelta(hours=12)
    assert account.leave_on_server == Window(newest=0, keep_unread=True, keep_flagged=True)


def test_what_flags_protect_is_part_of_the_rules_and_changes_none_without() -> None:
    plain = "days=;since=first_seen;newest=5;max_size=None"  # as catalogs have it
    assert fingerprint(Window(newest=5)) == plain
    assert fingerprint(Window(newest=5, keep_unread=True)) == f"{plain};unread=keep"
    assert fingerprint(Window(newest=5, keep_flagged=True)) == f"{plain};flagged=keep"


def test_values(tmp_path: Path) -> None:
    text = GOOD + (
        'tls = "starttls"\nca_file = "ca.pem"\ntimeouts.read = 5\n'
        'leave_on_server = { days = 14, newest = 1000, max_size = "500MB" }\n'
    )
    account = load(written(tmp_path, text), {}).accounts["my-work"]
    assert account.ca_file == tmp_path / "ca.pem"
    assert account.timeouts.read == timedelta(seconds=5)
    assert account.timeouts.connect == timedelta(seconds=30)
    expected = Window(timedelta(days=14), newest=1000, max_size=500_000_000)
    assert account.leave_on_server == expected


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
        (GOOD.replace("pop3", "pop"), (':2: accounts.my-work.protocol: found "pop", allowed: '
         '"pop3", "imap" (did you mean "pop3"?)')),
        (GOOD.replace('protocol = "pop3"\n', ""), "accounts.my-work.protocol: missing, and needed"),
        (GOOD.replace('"pop3"', "[1]"), "accounts.my-work.protocol: found a list, allowed"),
        ("accounts.a = 1", ":1: accounts.a: found something that is no table, allowed: a table"),
        (GOOD + 'mailboxes = ["*"]', (":6: accounts.my-work.mailboxes: mailboxes is for "
         'protocol = "imap"')),
        (GOOD + 'mailboxs = ["*"]', ('mailboxs: unknown key (did you mean "mailboxes", which is '
         'for protocol = "imap"?)')),
        (GOOD + "zzzzzzz = 1", "allowed: protocol, host, port, tls, username, password, "),
        (GOOD + "zzzzzzz = 1", "max_message_size, schedule, quiet_hours, provider$"),
        (IMAP + 'mailboxs = ["*"]', 'unknown key (did you mean "mailboxes"?)'),
        (GOOD + 'leave_on_server = {newest = 1, flagged = "keep"}',
         'leave_on_server.flagged: flagged is for protocol = "imap"'),
        (GOOD + "leave_on_server = {zzzzzzz = 1}", "allowed: days, since, newest, max_size$"),
        (IMAP + "leave_on_server = {zzzzzzz = 1}", "days, since, newest, max_size, unread, f"),
        (IMAP + "leave_on_server = {flaged = 1}", 'unknown key (did you mean "flagged"?)'),
        (IMAP + 'leave_on_server = {flagged = "keep"}', "a table with days, newest or max_size"),
        (IMAP + 'leave_on_server = {newest = 1, unread = "no"}',
         'leave_on_server.unread: found "no", allowed: "keep"'),
        (IMAP + 'auth = "apop"', ('auth: found "apop", which is for protocol = "pop3", allowed: '
         '"auto", "login-command", "plain"')),
        (GOOD + 'auth = "login-command"', 'for protocol = "imap", allowed: "auto", "user", "apop"'),
        (GOOD.replace("pop3", "pop") + 'auth = "x"', 'auth: found "x", allowed: "auto", "user", '),
        (IMAP + "mailboxes = []", "mailboxes: found a list, allowed: a list that is not empty"),
        (IMAP + 'mailboxes = ["a", "b**"]', (':6: accounts.my-work.mailboxes: found "b**", '
         'allowed: ** as a whole level, as in "Archive/**"')),
        (IMAP + "mailboxes = ['\\Snet']", 'allowed: a role: "\\\\All", "\\\\Archive"'),
        (IMAP + "mailboxes = [1]", "mailboxes: found 1, allowed: text$"),
        (IMAP + 'retire_to = "inbox"', 'found "inbox", allowed: another mailbox than INBOX'),
        (IMAP + "retire_to = '\\Bin'", 'allowed: a role: "\\\\All", "\\\\Archive"'),
        (IMAP + "connections = 16", "connections: found 16, allowed: less than or equal to 15"),
        (IMAP + 'tls = "none"', "allow_plaintext_auth = true is needed"),
        (GOOD + MIRROR + 'duplicates = "skip"', (':10: destinations.d.duplicates: found "skip", '
         'allowed with layout = "mirror": "deliver"')),
        (GOOD + MIRROR.replace("mirror", "flat") + 'removed = "trash"', (":10: destinations.d."
         'removed: found "trash", allowed with layout = "flat": "keep"')),
        (GOOD + MIRROR.replace('layout = "mirror"\n', "") + 'removed = "remove"', 'found "remove"'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text) + "$"


def test_a_mirror_may_follow_the_server(tmp_path: Path) -> None:
    text = GOOD + MIRROR + 'removed = "trash"\nduplicates = "deliver"'
    assert load(written(tmp_path, text), {}).destinations["d"].removed == "trash"


@pytest.mark.parametrize("protocol", ["pop", "[1]"])
def test_a_wrong_protocol_hides_no_other_mistake(tmp_path: Path, protocol: str) -> None:
    text = GOOD.replace("pop3", protocol) + 'tls = "starttls"\ncompress = 1.5\nprot = "x"'
    told = problems(tmp_path, text)
    for part in ("protocol", "compress", "prot"):
        assert f"accounts.my-work.{part}: " in told
    assert len(told.splitlines()) == 3
    for noise in ("Input", "tag", "union", "Account", "literal["):
        assert noise not in told


def test_all_mistakes_at_once_and_no_secret_among_them(tmp_path: Path) -> None:
    text = GOOD.replace("password_env", "password") + 'tls = "no"\n[log]\nlevel = 3'
    told = problems(
        tmp_path, text, FETCHD_ACCOUNTS__MY_WORK__PORT="x", FETCHD_ACCOUNTS__B='{password="hush"'
    )
    for part in ("my-work.tls", "log.level", "FETCHD_ACCOUNTS__MY_WORK__PORT: accounts.my-work"):
        assert part in told
    assert "hush" not in told
    assert "FETCHD_SECRET" not in told


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
    text += "[t.f]\ng = 1\n[[t]]\nd.e = 2\n[t.f]\ng = 1\n[[t.u]]\nh = 1\n"
    lines = key_lines(text)
    assert lines[("a", "b.c")] == 2
    assert lines[("a", "b.c", "y", "q")] == 6
    assert lines[("t", "1", "d", "e")] == 9
    assert lines[("t", "1", "f", "g")] == 11
    assert lines[("t", "2")] == 12
    assert lines[("t", "2", "d", "e")] == 13
    assert lines[("t", "2", "f", "g")] == 15
    assert lines[("t", "2", "u", "1", "h")] == 17
    assert ("no",) not in lines


def test_importing_settings_is_light() -> None:
    code = "import sys, fetchd.settings; print({'sqlalchemy','rich','typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
