"""Destinations in the settings: every kind, told apart; what their keys need and exclude."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fetchd.settings import (
    CommandDestination,
    Destination,
    ImapDestination,
    LmtpDestination,
    MboxDestination,
    SmtpDestination,
    load,
)
from fetchd.settings.destination import KINDS, DestinationTable, by_kind
from tests.settings.files import APPEND, GOOD, LMTP, MAILDIR, MBOX, MIRROR, SMTP, problems, written

COMMAND = '[destinations.d]\nkind = "command"\ncommand = ["x"]\n'
LOGIN = 'username = "u"\npassword_env = "FETCHD_SECRET"\n'
SRS = 'sender = "original"\nsrs_domain = "example.org"\n'


def destination(folder: Path, text: str, **environ: str) -> Destination:
    return load(written(folder, GOOD + text), environ).destinations["d"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MBOX, MboxDestination),
        (COMMAND, CommandDestination),
        (SMTP, SmtpDestination),
        (SMTP + LOGIN, SmtpDestination),
        (SMTP + SRS + 'srs_secret = "s"', SmtpDestination),
        (SMTP + 'tls = "none"', SmtpDestination),  # nobody logs in
        (LMTP, LmtpDestination),
        (LMTP + 'socket = "/run/lmtp"', LmtpDestination),
        (LMTP + LOGIN + 'tls = "starttls"', LmtpDestination),
        (LMTP + LOGIN + "allow_plaintext_auth = true", LmtpDestination),
        (LMTP.replace("a@example.net", "a") + 'sender = "address"\naddress = "a@b"',
         LmtpDestination),
        (APPEND, ImapDestination),
        (APPEND + 'auth = "login-command"\nmailbox = "{account}/{mailbox}"', ImapDestination),
    ],
)  # fmt: skip
def test_each_kind_loads_and_knows_its_name(
    tmp_path: Path, text: str, kind: type[Destination]
) -> None:
    found = destination(tmp_path, text)
    assert type(found) is kind
    assert found.name == "d"
    assert found.called == "destination d"


def test_defaults_that_differ_by_kind(tmp_path: Path) -> None:
    smtp, lmtp = destination(tmp_path, SMTP), destination(tmp_path, LMTP)
    assert isinstance(smtp, SmtpDestination)
    assert isinstance(lmtp, LmtpDestination)
    assert (smtp.sender, lmtp.sender) == ("address", "original")
    assert (smtp.first_sync, lmtp.first_sync) == ("archive", "deliver")
    assert (smtp.tls, lmtp.tls) == ("implicit", "none")
    assert (smtp.max_connections, destination(tmp_path, COMMAND).max_connections) == (4, 1)


@pytest.mark.parametrize(
    ("kind", "tls", "port"),
    [
        ("smtp", "implicit", 465),
        ("smtp", "starttls", 587),
        ("smtp", "none", 25),
        ("lmtp", "none", 24),
        ("lmtp", "starttls", 24),
        ("imap", "implicit", 993),
        ("imap", "starttls", 143),
    ],
)
def test_the_port_follows_from_kind_and_tls(kind: str, tls: str, port: int) -> None:
    needed = {"kind": kind, "host": "h", "tls": tls}
    needed |= {"username": "u"} if kind == "imap" else {"recipients": ["a@b"]}
    assert by_kind(needed).port == port
    assert by_kind(needed | {"port": 9}).port == 9


def test_a_wait_that_is_not_set_is_as_long_as_smtp_needs(tmp_path: Path) -> None:
    found = destination(tmp_path, SMTP + 'timeouts = { connect = "9s" }')
    assert isinstance(found, SmtpDestination)
    assert found.timeouts.read == timedelta(minutes=5)
    assert found.timeouts.final == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@EXAMPLE.org", "a@example.org"),
        ("A.b+c@x", "A.b+c@x"),
        ('"a b"@example.org', '"a b"@example.org'),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("jörg@bücher.example", "jörg@bücher.example"),
        ("a@xn--bcher-kva.example", "a@bücher.example"),
    ],
)
def test_addresses(tmp_path: Path, text: str, expected: str) -> None:
    found = destination(tmp_path, SMTP.replace('"a@example.net"', f"'{text}'"))
    assert isinstance(found, SmtpDestination)
    assert found.recipients == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@b", "a@", "a@b c", "a b@c", "a@b\\r\\nRCPT", "<a@b>", "a@b,c@d", "a..b@c",
        ".a@b", "a@-b", "a@b_c", f"a@{'b' * 64}", f"a@{'b.' * 130}b",
        f"abcd@{'b.' * 125}b",
        "a@b>", "a@b\\u0000",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(tmp_path: Path, text: str) -> None:
    told = problems(tmp_path, GOOD + SMTP.replace("a@example.net", text))
    assert 'allowed: an address such as "me@example.org" (' in told
    assert len(told.splitlines()) == 1


def test_plain_addresses_cost_no_import() -> None:
    code = (
        "import sys; from fetchd.settings.values import address; address('a@b.example'); "
        "print('email_validator' in sys.modules); address('ä@b.example'); "
        "print('email_validator' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Which kind it is.
        (SMTP.replace('"smtp"', '"smpt"'), (':7: destinations.d.kind: found "smpt", allowed: '
         '"maildir", "mbox", "command", "smtp", "lmtp", "imap" (did you mean "smtp"?)')),
        (SMTP.replace('kind = "smtp"\n', ""), ":6: destinations.d.kind: missing, and needed"),
        (SMTP.replace('"smtp"', "[1]"), "destinations.d.kind: found a list, allowed"),
        ("[destinations]\nd = 1", "destinations.d: found something that is no table, allowed: a t"),
        # Which keys it has.
        (MBOX + 'recipients = ["a@b"]', (':9: destinations.d.recipients: recipients is for '
         'kind = "smtp" or "lmtp"$')),
        (MBOX + 'host = "h"', 'host is for kind = "smtp", "lmtp" or "imap"$'),
        (LMTP + 'mode = "attach"', 'mode is for kind = "smtp"$'),
        (SMTP + 'socket = "s"', 'socket is for kind = "lmtp"$'),
        (MBOX + 'recipient = "a@b"', (':9: destinations.d.recipient: unknown key (did you '
         'mean "recipients", which is for kind = "smtp" or "lmtp"?)')),
        (SMTP + 'recipient = "a@b"', 'recipient: unknown key (did you mean "recipients"?)'),
        (MBOX + "zzzzzzz = 1", "allowed: kind, duplicates, first_sync, path, lock_timeout$"),
        (SMTP + 'timeouts = {finl = "1h"}', 'timeouts.finl: unknown key (did you mean "final"?)'),
        (APPEND + 'timeouts = {final = "1h"}', ("destinations.d.timeouts.final: final is for "
         'kind = "smtp" or "lmtp"$')),
        (SMTP + 'auth = "login-command"', ('auth: found "login-command", which is for kind = '
         '"imap", allowed: "auto", "plain"')),
        (MBOX.replace('path = "x"\n', ""), ":6: destinations.d.path: missing, and needed"),
        # What stands in them.
        (SMTP.replace('["a@example.net"]', '"a@example.net"'), 'found "a@example.net", allowed: a'),
        (SMTP.replace('"a@example.net"', ""), "recipients: found a list, allowed: a list that is"),
        (SMTP.replace("a@example.net", "a"), 'found "a", allowed: an address such as "me@example'),
        (SMTP.replace('"a@example.net"', '"a@b", "a@B"'), "allowed: a list that has each recipi"),
        (SMTP + 'sender = "nul"', ('found "nul", allowed: "original", "address", "null" or an '
         'address such as "me@example.org" (')),
        (SMTP + 'helo = "a b"', 'helo: found "a b", allowed: a host name such as '),
        (SMTP + 'timeouts = {final = "9m"}', ('destinations.d.timeouts.final: found "9m", allowed: '
         'at least "10m"')),
        (SMTP + "max_per_minute = 0", "max_per_minute: found 0, allowed: greater than or equal to"),
        (SMTP + "max_connections = 51", "max_connections: found 51, allowed: less than or equal"),
        (SMTP + "max_received = true", "max_received: found true, allowed: a whole number"),
        (SMTP + 'give_up_after = "0s"', "allowed: a duration longer than nothing"),
        (MAILDIR + 'folder = "a/../b"', 'folder: found "a/../b", allowed: a folder\'s name, level'),
        (APPEND + 'mailbox = "{user}"', "mailbox: found \"{user}\", allowed: a folder's name in w"),
        (COMMAND.replace('["x"]', '"x --key s3cret"'), ("command: found something else (not shown)"
         ", allowed: a list$")),
        # What they need and exclude: logins.
        (APPEND.replace('password_env = "FETCHD_SECRET"\n', ""), (":6: destinations.d: found none, "
         "allowed: exactly one of password, password_file, ")),
        (APPEND + 'password_file = "x"', (":10: destinations.d.password_env: found password_file, "
         "password_env, allowed: exactly one of")),
        (SMTP + 'username = "u"', ":6: destinations.d: found none, allowed with username: exactly"),
        (SMTP + LOGIN + 'password_file = "x"', "found password_file, password_env, allowed with u"),
        (SMTP + 'password_env = "FETCHD_SECRET"', (":6: destinations.d.username: missing, and "
         "needed with password_env")),
        (SMTP + LOGIN + 'tls = "none"', (":12: destinations.d.tls: allow_plaintext_auth = true is "
         "needed to send a password over an unencrypted line (loopback included)")),
        (APPEND + 'tls = "none"', ":11: destinations.d.tls: allow_plaintext_auth = true is needed"),
        (LMTP + LOGIN, ":9: destinations.d.username: allow_plaintext_auth = true is needed"),
        # Maildirs and mboxes.
        (MIRROR + 'folder = "x"', ':10: destinations.d.folder: folder is for layout = "flat" (a m'),
        (MIRROR + 'flags = "keep"', 'flags: flags is for layout = "flat"'),
        (MIRROR + "mark_seen = true", 'mark_seen: mark_seen is for layout = "flat"'),
        (MIRROR + 'duplicates = "skip"', 'found "skip", allowed with layout = "mirror": "deliver"'),
        (MBOX + MAILDIR.replace('"home"\n', '"./x"\n'), (':11: destinations.home.path: found "./x"'
         ', which destination "d" has already')),
        # LMTP.
        (LMTP + 'socket = "s"\nhost = "h"', (":10: destinations.d.host: found host and socket, "
         "allowed: one way to the server")),
        (LMTP + 'socket = "s"\nport = 24', "destinations.d.port: found port and socket"),
        (LMTP + 'socket = "s"\ntls = "starttls"', 'found "starttls", allowed with socket: "none"'),
        (LMTP.replace("a@example.net", "a") + 'sender = "address"', (":6: destinations.d.address: "
         'missing, and needed with sender = "address" ("a" is a name without a domain)')),
        # SRS.
        (SMTP + SRS, "found none, allowed with srs_domain: exactly one of srs_secret, srs_secret"),
        (SMTP + SRS + 'srs_secret = "hush"\nsrs_secret_file = "x"', ("found srs_secret, "
         "srs_secret_file, allowed with srs_domain")),
        (SMTP + 'srs_secret = "hush"', "srs_domain: missing, and needed with srs_secret$"),
        (SMTP + 'srs_secret_file = "x"\nsrs_domain = "b.c"', (":11: destinations.d.srs_domain: "
         'srs_domain is for sender = "original"')),
        (LMTP + 'srs_domain = "b.c"', 'srs_domain is for kind = "smtp"$'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    told = problems(tmp_path, GOOD + text) + "$"
    assert expected in told.replace("\n", "$\n")
    assert "hush" not in told
    assert "s3cret" not in told


@pytest.mark.parametrize("kind", ['kind = "sntp"', "kind = 1", ""])
def test_a_wrong_kind_hides_no_other_mistake(tmp_path: Path, kind: str) -> None:
    text = SMTP.replace('kind = "smtp"', kind) + (
        'tls = "no"\ntimeouts = { final = "1s" }\nsender = "x"\nhots = "x"\n'
        'password = 5\nauth = "login-command"\npath = "x"\n'
    )
    told = problems(tmp_path, GOOD + text.replace("a@example.net", "a b"))
    for part in ("kind", "tls", "timeouts.final", "sender", "hots", "password", "recipients"):
        assert f"destinations.d.{part}: " in told
    assert len(told.splitlines()) == 7
    assert 'unknown key (did you mean "host"?)' in told
    for noise in ("Input", "tag", "union", "Destination", "literal["):
        assert noise not in told


def test_the_whole_table_has_every_key_of_every_kind() -> None:
    every = {key for kind in KINDS.values() for key in kind.model_fields}
    assert DestinationTable.model_fields.keys() == every
    needed = [key for key, field in DestinationTable.model_fields.items() if field.is_required()]
    assert needed == ["kind"]


@pytest.mark.parametrize("key", ["password", "srs_secret"])
def test_a_readable_file_with_a_secret_is_refused(tmp_path: Path, key: str) -> None:
    text = SMTP + f'{key} = "hush"\n' + (SRS if key == "srs_secret" else 'username = "u"\n')
    told = problems(tmp_path, GOOD + text, 0o640)
    assert f"holds a {key.removeprefix('srs_')} and is readable by others; run: chmod 600" in told
    assert "hush" not in told
    settings = load(written(tmp_path, GOOD + text), {})
    assert settings.secrets == ("hush",)
    assert "hush" not in repr(settings)


def test_passwords_of_accounts_are_among_the_secrets(tmp_path: Path) -> None:
    text = GOOD.replace("password_env", "password") + APPEND.replace("password_env", "password")
    assert load(written(tmp_path, text), {}).secrets == ("FETCHD_SECRET", "FETCHD_SECRET")


OWN = "mail would go round; confirm_own_address = true says that it does not"
ACCOUNT = """
[accounts.a]
protocol = "imap"
host = "imap.example.org"
username = "me"
password_env = "FETCHD_SECRET"
[accounts.b]
protocol = "pop3"
host = "localhost"
username = "You@Example.com"
password_env = "FETCHD_SECRET"
[accounts.c]
protocol = "pop3"
host = "localhost"
username = "root"
password_env = "FETCHD_SECRET"
"""


@pytest.mark.parametrize(
    ("change", "loop"),
    [
        ({"kind": "smtp", "recipients": ["me@example.org"]}, "a"),
        ({"kind": "smtp", "recipients": ["x@y", "ME@Example.ORG"]}, "a"),
        ({"kind": "smtp", "recipients": ["me@imap.example.org"]}, "a"),
        ({"kind": "smtp", "recipients": ["me+work@example.org"]}, "a"),
        ({"kind": "smtp", "recipients": ["me@example.com"]}, ""),
        ({"kind": "smtp", "recipients": ["me@ample.org"]}, ""),  # not a domain above the host
        ({"kind": "smtp", "recipients": ["you@example.org"]}, ""),
        ({"kind": "smtp", "recipients": ["you@example.com"]}, "b"),
        ({"kind": "lmtp", "recipients": ["you@example.com"]}, "b"),
        ({"kind": "lmtp", "recipients": ["root"]}, "c"),
        ({"kind": "lmtp", "host": "127.0.0.1", "recipients": ["root"]}, "c"),
        ({"kind": "lmtp", "socket": "/s", "recipients": ["root+x"]}, "c"),
        ({"kind": "lmtp", "recipients": ["me"]}, ""),  # of this machine, not of imap.example.org
        ({"kind": "lmtp", "host": "imap.example.org", "recipients": ["me"]}, "a"),
        ({"kind": "lmtp", "recipients": ["x"], "fallback_recipient": "root"}, "c"),
        ({"kind": "imap", "host": "IMAP.example.org", "username": "me"}, "a"),
        ({"kind": "imap", "host": "imap.example.org", "username": "you"}, ""),
        ({"kind": "imap", "host": "imap.example.com", "username": "me"}, ""),
    ],
)
def test_mail_that_would_come_back_is_confirmed_or_refused(
    tmp_path: Path, change: dict[str, Any], loop: str
) -> None:
    table = {"host": "h"} | change if change["kind"] == "smtp" else dict(change)
    table |= {"password_env": "FETCHD_SECRET"} if change["kind"] == "imap" else {}
    text = f"{ACCOUNT}[destinations.d]\n" + "".join(
        f"{key} = {str(value).replace(chr(39), chr(34))}\n"
        if isinstance(value, list)
        else f'{key} = "{value}"\n'
        for key, value in table.items()
    )
    if loop:
        told = problems(tmp_path, text)
        assert OWN in told
        assert f'account "{loop}"' in told
        text += "confirm_own_address = true\n"
    assert load(written(tmp_path, text), {}).destinations["d"]


def test_a_loop_may_be_confirmed_by_a_variable(tmp_path: Path) -> None:
    text = ACCOUNT + SMTP.replace("a@example.net", "me@example.org")
    environ = {"FETCHD_DESTINATIONS__D__CONFIRM_OWN_ADDRESS": "True"}
    assert load(written(tmp_path, text), environ)
