"""`fetchd init` at a real Dovecot: what is asked, what is written, and what is left untouched."""

import fcntl
import os
import pty
import select
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fetchd import telemetry
from fetchd.auth.presets import preset_named
from fetchd.cli import init_keyring, init_work
from fetchd.cli.init import init
from fetchd.cli.init_answers import Answers, Given, Kept, Server
from fetchd.cli.init_file import kept_secret, put_settings
from fetchd.cli.init_person import Person
from fetchd.cli.init_rest import settle_mailboxes, settle_name, settle_schedule
from fetchd.cli.init_secret import Looked, account_of, settle_secret
from fetchd.cli.init_text import joined, new_file, toml
from fetchd.discovery import discover
from fetchd.errors import UsageError
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.retention import Window
from fetchd.policy.schedule import Every, Push
from fetchd.settings import load
from tests.cli.conftest import Ran
from tests.discovery.world import World
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot, dovecot_available

PASSWORD = "open sesame"
Init = Callable[..., Ran]


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    if reason := dovecot_available():
        lacking(reason)
    with Dovecot() as server:
        server.add_user("work", PASSWORD)
        server.fill("work", [b"Subject: one\r\n\r\nbody\r\n"])
        server.fill("work", [b"Subject: two\r\n\r\nbody\r\n"], mailbox="Projects")
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "fetchd.toml"


@pytest.fixture
def run(file: Path) -> Init:
    """`run("me@localhost", "--yes", answers="1\\n")`."""

    def invoke(*words: str, answers: str = "") -> Ran:
        done = CliRunner().invoke(init, [*words, "--config", str(file)], input=answers)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def options(dovecot: Dovecot, tmp_path: Path) -> list[str]:
    """Everything, for IMAP at Dovecot."""
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    return [
        "me@localhost", "--name", "work", "--host", "localhost",
        "--port", str(dovecot.port.imaps), "--username", "work",
        "--password-file", str(secret), "--ca-file", str(dovecot.ca_file),
        "--maildir", str(tmp_path / "Maildir"), "--yes",
    ]  # fmt: skip


@pytest.fixture
def known(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which the DNS names Dovecot for localhost."""
    world = World(srv={"_imaps._tcp.localhost": [(0, 1, dovecot.port.imaps, "localhost")]})
    monkeypatch.setattr(discover, "Means", lambda: world.means)
    return world


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- By options alone ------------------------------------------------------------------


def test_options_answer_everything(
    run: Init, options: list[str], file: Path, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    ran = run(*options, "--data-dir", data, "--leave-on-server", "30d", "--mailbox", "INBOX")
    assert ran.code == 0, ran.err
    assert "logged in as work" in ran.out
    settings = load(file, {})
    account = settings.accounts["work"]
    assert account.protocol == "imap"
    assert (account.host, account.username) == ("localhost", "work")
    assert account.mailboxes == ("INBOX",)
    assert account.leave_on_server == Window(timedelta(days=30), "first_seen", None, None)
    assert isinstance(account.schedule, Push)  # Dovecot has IDLE
    assert account.deliver_to == ("home",)
    assert settings.destinations["home"].path == tmp_path / "Maildir"  # type: ignore[union-attr]
    assert str(settings.data_dir) == data
    assert PASSWORD not in file.read_text() + ran.out + ran.err
    assert mode(file) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["fetchd.toml"]


def test_json_is_one_document_on_standard_output(run: Init, options: list[str], file: Path) -> None:
    ran = run(*options, "--json")
    document = ran.document
    assert document["ok"] is True
    assert document["file"] == str(file)
    assert (document["account"], document["protocol"], document["found"]) == (
        "work", "imap", "given",
    )  # fmt: skip
    assert (document["secret"], document["destination"]) == ("password_file", "home")
    assert document["schedule"] == "idle"
    assert any("logged in" in one["sentence"] for one in document["findings"])
    assert "answers" in ran.err


def test_pop3_has_no_mailboxes_and_no_push(
    run: Init, options: list[str], dovecot: Dovecot, file: Path
) -> None:
    options[options.index("--port") + 1] = str(dovecot.port.pop3s)
    ran = run(*options, "--protocol", "pop3", "--archive-only")
    assert ran.code == 2  # --maildir is given too
    del options[options.index("--maildir") : options.index("--maildir") + 2]
    assert run(*options, "--protocol", "pop3", "--archive-only").code == 0
    account = load(file, {}).accounts["work"]
    assert account.protocol == "pop3"
    assert account.schedule == Every(timedelta(minutes=5))
    assert account.deliver_to == ()


def test_a_line_without_tls_is_used_only_by_name(
    run: Init, options: list[str], dovecot: Dovecot, file: Path
) -> None:
    options[options.index("--port") + 1] = str(dovecot.port.imap)
    ran = run(*options, "--tls", "none")
    assert ran.code == 0, ran.err
    assert "travel unencrypted" in ran.out
    account = load(file, {}).accounts["work"]
    assert (account.tls, account.allow_plaintext_auth) == ("none", True)
    again = load(file, {}).accounts
    assert run(*options[:2], "second", *options[3:], "--tls", "starttls").code == 0
    assert set(load(file, {}).accounts) == {*again, "second"}


def test_mailboxes_of_a_pop3_server_are_a_mistake(
    run: Init, options: list[str], monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, file: Path
) -> None:
    srv = {"_pop3s._tcp.localhost": [(0, 1, dovecot.port.pop3s, "localhost")]}
    monkeypatch.setattr(discover, "Means", lambda: World(srv=srv).means)
    at = options.index("--host")
    ran = run(*options[:at], *options[at + 4 :], "--mailbox", "INBOX")
    assert ran.code == 2
    assert "--mailbox is for IMAP" in ran.err
    assert not file.parent.exists()


def test_a_wrong_password_writes_nothing(
    run: Init, options: list[str], file: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("wrong\n")
    ran = run(*options)
    assert ran.code == 1
    assert "refuses the login" in ran.err
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("--password-file", "no password is at hand"),
        ("--ca-file", "authority unknown here"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    run: Init, options: list[str], file: Path, left_out: str, told: str
) -> None:
    at = options.index(left_out)
    ran = run(*options[:at], *options[at + 2 :])
    assert ran.code in (1, 2)
    assert told in ran.err
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--yes"], "ADDRESS"),
        (["nonsense", "--yes"], "is not an address"),
        (["me@x.test", "--yes", "--port", "993"], "--port is for --host"),
        (["me@x.test", "--yes", "--tls", "implicit"], "--tls is for --host"),
        (["me@x.test", "--yes", "--client-secret-file", "x"], "--client-id"),
        (["me@x.test", "--yes", "--protocol", "pop3", "--mailbox", "INBOX"], "exclude each other"),
        (["me@x.test", "--yes", "--client-id", "x", "--password-env", "X"], "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_told(
    run: Init, file: Path, words: list[str], told: str
) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert told in ran.err
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--name", "a b"),
        ("--leave-on-server", "sometimes"),
        ("--schedule", "now and then"),
        ("--mailbox", "a**b!["),
    ],
)
def test_an_option_of_the_wrong_form_is_told(
    run: Init, options: list[str], file: Path, option: str, value: str
) -> None:
    if option == "--name":
        options[options.index("--name") + 1] = value
        words: list[str] = []
    else:
        words = [option, value]
    ran = run(*options, *words)
    assert ran.code == 2
    assert option in ran.err
    assert not file.parent.exists()


def test_two_sources_of_the_password_are_one_too_many(run: Init, options: list[str]) -> None:
    ran = run(*options, "--password-env", "X")
    assert ran.code == 2
    assert "password_file and password_env" in ran.err


# -- With a person ---------------------------------------------------------------------

ASKED = f"""\
not an address
me@localhost
1
work
in box
work
1
wrong password
1
{PASSWORD}

some
14d
{{maildir}}

y
"""  # what is no address, name or duration is asked for again, and so is a wrong password


def test_a_person_is_asked_again_until_all_is_right(
    run: Init, known: World, file: Path, tmp_path: Path, dovecot: Dovecot
) -> None:
    answers = ASKED.format(maildir=tmp_path / "Maildir")
    ran = run("--ca-file", str(dovecot.ca_file), answers=answers)
    assert ran.code == 0, ran.out + ran.err
    assert f"_imaps._tcp.localhost: localhost:{dovecot.port.imaps}" in ran.out
    assert "refuses the login" in ran.out
    assert "Projects" in ran.out
    secret = file.parent / "work.password"
    assert secret.read_text() == f"{PASSWORD}\n"
    assert mode(secret) == 0o600
    account = load(file, {}).accounts["work"]
    assert account.password_file == secret
    assert account.mailboxes == ("*",)  # type: ignore[union-attr]
    assert isinstance(account.schedule, Push)
    for word in (PASSWORD, "wrong password"):
        assert word not in ran.out + ran.err + file.read_text()


def test_nothing_is_left_behind_where_the_answers_end(
    run: Init, known: World, file: Path, tmp_path: Path, dovecot: Dovecot
) -> None:
    lines = ASKED.format(maildir=tmp_path / "Maildir").split("\n")[:-2]  # without the yes
    for count in (1, 3, 9, len(lines)):
        ran = run("--ca-file", str(dovecot.ca_file), answers="\n".join(lines[:count]) + "\n")
        assert ran.code == 2, count
        assert "standard input has no more answers" in ran.err
        assert not file.parent.exists()


def test_ctrl_c_at_a_question_leaves_nothing(file: Path, dovecot: Dovecot) -> None:
    code = "from fetchd.cli.init import init; init()"
    words = ["me@localhost", "--host", "localhost", "--port", str(dovecot.port.imaps)]
    words += ["--username", "work", "--name", "work", "--ca-file", str(dovecot.ca_file)]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "-c", str(file)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        for awaited, typed in ((b"Which", b"1\n"), (b"Password", b"\x03")):
            while awaited not in said:
                assert select.select([ours], [], [], 30)[0], said
                said += os.read(ours, 4096)
            said = b""
            os.write(ours, typed)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert not file.parent.exists()


def test_who_says_no_at_the_end_has_nothing_written(
    run: Init, known: World, file: Path, tmp_path: Path, dovecot: Dovecot
) -> None:
    lines = ASKED.format(maildir=tmp_path / "Maildir").split("\n")[:-2]
    ran = run("--ca-file", str(dovecot.ca_file), answers="\n".join([*lines, "n", ""]))
    assert ran.code == 1
    assert "Nothing was written" in ran.out
    assert not file.parent.exists()


def test_a_stranger_needs_a_persons_word(
    run: Init, options: list[str], file: Path, monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot
) -> None:
    srv = {"_imaps._tcp.example.org": [(0, 1, dovecot.port.imaps, "localhost")]}
    monkeypatch.setattr(discover, "Means", lambda: World(srv=srv).means)
    alone = run("me@example.org", "--yes")
    assert alone.code == 2
    assert "outside of example.org" in alone.err
    assert "--host localhost" in alone.err
    asked = run("me@example.org", answers="1\nn\n")  # and then there is nobody to go on
    assert "your password would go to strangers" in asked.out
    assert "answers:" not in asked.out
    agreed = run("me@example.org", "--ca-file", str(dovecot.ca_file), answers="1\ny\n")
    assert "answers:" in agreed.out


def test_alone_one_takes_the_server_that_nobody_must_vouch_for(
    run: Init, options: list[str], monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, file: Path
) -> None:
    srv = {
        "_imaps._tcp.localhost": [
            (0, 1, 993, "imap.stranger.test"), (1, 1, dovecot.port.imaps, "localhost"),
        ]
    }  # fmt: skip
    monkeypatch.setattr(discover, "Means", lambda: World(srv=srv).means)
    at = options.index("--host")
    assert run(*options[:at], *options[at + 4 :]).code == 0
    assert load(file, {}).accounts["work"].host == "localhost"


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    file.write_text("somebody's")
    for links in (True, False):
        if not links:
            monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(1, "no links")))
        with pytest.raises(UsageError, match="exists by now"):
            put_settings(file, new_file(answers()), None, {})
        with pytest.raises(UsageError, match="changed meanwhile"):
            put_settings(file, new_file(answers()), "nobody's", {})
        assert file.read_text() == "somebody's"
        assert len(list(file.parent.iterdir())) == 1


def test_a_file_system_without_links_will_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(1, "no links")))
    put_settings(file, new_file(answers()), None, {})
    assert load(file, {}).accounts
    assert mode(file) == 0o600


def test_without_any_server_one_is_asked_for_by_hand(
    run: Init, file: Path, monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot
) -> None:
    monkeypatch.setattr(discover, "Means", lambda: World().means)
    assert "no server was found" in run("me@example.org", "--yes").err
    hand = ["imap", "localhost", "implicit", "1", "imap", "localhost", "implicit"]
    answers = "\n".join([*hand, str(dovecot.port.imaps), "work", ""])
    ran = run("me@example.org", "--ca-file", str(dovecot.ca_file), answers=answers)
    assert "refused the connection" in ran.out
    assert "answers:" in ran.out


# -- A file that is there -----------------------------------------------------------------

BEFORE = """\
# mine, by hand
data_dir = "data"   # here
[accounts.old]
protocol = "pop3"
host = "pop.example.org"
username = "me"
password_env = "OLD"

[destinations.post]
kind = "maildir"
path = "Post"
"""


@pytest.fixture
def there(file: Path) -> Path:
    file.parent.mkdir()
    file.write_text(BEFORE)
    file.chmod(0o640)
    return file


def test_the_account_joins_a_file_whose_text_stays(
    run: Init, options: list[str], there: Path
) -> None:
    ran = run(*options)
    assert ran.code == 0, ran.err
    assert there.read_text().startswith(BEFORE)
    assert mode(there) == 0o640
    settings = load(there, {})
    assert set(settings.accounts) == {"old", "work"}
    assert settings.accounts["work"].deliver_to == ("home",)
    assert settings.data_dir == there.parent / "data"


@pytest.mark.parametrize("where", ["post", "{folder}/Post"])
def test_a_destination_that_is_there_is_used(
    run: Init, options: list[str], there: Path, where: str
) -> None:
    options[options.index("--maildir") + 1] = where.format(folder=there.parent)
    assert run(*options).code == 0
    settings = load(there, {})
    assert settings.accounts["work"].deliver_to == ("post",)
    assert set(settings.destinations) == {"post"}


def test_a_name_that_is_taken_is_no_name(run: Init, options: list[str], there: Path) -> None:
    options[options.index("--name") + 1] = "old"
    ran = run(*options)
    assert ran.code == 2
    assert "there is an account old already" in ran.err
    assert there.read_text() == BEFORE


@pytest.mark.parametrize(
    "text",
    [
        "[accounts.old]\nprotocol = 'pop4'\n",
        "nonsense [",
        'accounts = { old = { protocol = "x" } }\n',
    ],
)
def test_a_file_that_is_wrong_is_told_and_left(
    run: Init, options: list[str], file: Path, text: str
) -> None:
    file.parent.mkdir()
    file.write_text(text)
    ran = run(*options)
    assert ran.code == 2
    assert str(file) in ran.err
    assert file.read_text() == text


def test_a_file_that_cannot_take_a_table_keeps_its_text_and_shows_it(
    run: Init, options: list[str], file: Path
) -> None:
    text = (
        'accounts = { old = { protocol = "pop3", host = "x.test", username = "me", '
        'password_env = "X" } }\n'
    )
    file.parent.mkdir()
    file.write_text(text)
    ran = run(*options)
    assert ran.code == 2
    assert "[accounts.work]" in ran.err  # to be put there by hand
    assert file.read_text() == text
    assert [one.name for one in file.parent.iterdir()] == ["fetchd.toml"]


def test_a_link_stays_a_link(run: Init, options: list[str], there: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    there.rename(real)
    there.symlink_to(real)
    assert run(*options).code == 0
    assert there.is_symlink()
    assert "[accounts.work]" in real.read_text()


def test_a_data_folder_is_not_asked_of_a_file_that_has_one(
    run: Init, options: list[str], there: Path
) -> None:
    assert run(*options, "--data-dir", "x").code == 2
    assert there.read_text() == BEFORE


def test_a_secret_goes_again_where_the_settings_cannot_be_written(
    run: Init, known: World, file: Path, tmp_path: Path, dovecot: Dovecot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        assert (file.parent / "work.password").exists()
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(init_work, "put_settings", full)
    ran = run("--ca-file", str(dovecot.ca_file), answers=ASKED.format(maildir=tmp_path / "Maildir"))
    assert ran.code == 1
    assert "No space left" in ran.err
    assert list(file.parent.iterdir()) == []


def test_a_secret_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    taken = tmp_path / "work.password"
    taken.write_text("another")
    kept = Kept({"password_file": "work.password"}, "", file=taken, secret=PASSWORD)
    with pytest.raises(UsageError, match="exists"), kept_secret(kept, "me"):
        pass
    assert taken.read_text() == "another"
    assert PASSWORD not in repr(kept)


class Ring:
    """A keyring in memory, as the package `keyring` shows it."""

    priority = 5

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_keyring(self) -> "Ring":
        return self

    def get_password(self, service: str, user: str) -> str | None:
        return self.held.get((service, user))

    def set_password(self, service: str, user: str, secret: str) -> None:
        self.held[service, user] = secret

    def delete_password(self, service: str, user: str) -> None:
        del self.held[service, user]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    ring = Ring()
    for name in dir(Ring):
        if not name.startswith("__"):
            monkeypatch.setattr(f"keyring.{name}", getattr(ring, name), raising=False)
    return ring


def test_a_password_may_go_into_the_keyring(
    run: Init, known: World, ring: Ring, file: Path, tmp_path: Path, dovecot: Dovecot
) -> None:
    lines = ASKED.format(maildir=tmp_path / "Maildir").split("\n")
    lines[6] = lines[8] = "2"
    ran = run("--ca-file", str(dovecot.ca_file), answers="\n".join(lines))
    assert ran.code == 0, ran.out + ran.err
    assert ring.held == {("fetchd-work", "work"): PASSWORD}
    assert load(file, {}).accounts["work"].password_keyring == "fetchd-work"
    assert PASSWORD not in file.read_text() + ran.out + ran.err


@pytest.mark.parametrize("before", [None, "another"])
def test_the_keyring_is_as_it_was_where_the_rest_fails(ring: Ring, before: str | None) -> None:
    if before is not None:
        ring.held["s", "me"] = before
    kept = Kept({"password_keyring": "s"}, "", service="s", secret=PASSWORD)
    seen = []

    def fail() -> None:
        with kept_secret(kept, "me"):
            seen.append(ring.held["s", "me"])
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert seen == [PASSWORD]
    assert ring.held.get(("s", "me")) == before


def test_a_keyring_that_is_none_is_not_proposed(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert init_keyring.is_usable()
    monkeypatch.setattr(Ring, "priority", 0)
    assert not init_keyring.is_usable()


# -- Text and proposals ----------------------------------------------------------------------

SERVER = Server("imap", "imap.example.org", 993, "implicit", "me@example.org", "given")
GMAIL = Server(
    "imap", "imap.gmail.com", 993, "implicit", "me@gmail.com", "preset", preset_named("gmail")
)
PROTON = Server(
    "imap", "127.0.0.1", 1143, "starttls", "me@proton.me", "preset", preset_named("proton"),
    fingerprint="ab" * 32,
)  # fmt: skip


WEBDE = Server("pop3", "pop3.web.de", 995, "implicit", "me", "", preset_named("webde"))


def answers(**other: Any) -> Answers:
    usual: dict[str, Any] = {
        "name": "work", "server": SERVER, "kept": Kept({"password_env": "P"}, ""),
        "mailboxes": ("*",), "leave": "forever", "schedule": "5m", "destination": "home",
        "maildir": "/tmp/Maildir", "data_dir": "/tmp/data",
    }  # fmt: skip
    return Answers(**{**usual, **other})


@pytest.mark.parametrize(
    "given",
    [
        answers(),
        answers(destination="", maildir=""),
        answers(leave="none", schedule="manual"),
        answers(leave="14d", schedule="*/10 8-20 * * mon-fri"),
        answers(
            mailboxes=("\\All", "!Würfel \"1\" & 'Co'", "a\tb".replace("\t", " "), "\U0001f600")
        ),
        answers(server=GMAIL, mailboxes=("\\All", "\\Junk", "\\Trash")),
        answers(server=PROTON),
        answers(server=Server("pop3", "h", 110, "none", "me", "given")),
        answers(kept=Kept({"password_command": ["pass", 'a "b" \\c']}, "")),
        answers(kept=Kept({"oauth2": {"provider": "google", "client_id": "x"}}, "")),
        answers(kept=Kept({"password_credential": "work"}, "")),
        answers(maildir='/tmp/a "b" \\ c'),
    ],
)
def test_whatever_is_answered_is_written_and_read_as_it_was(given: Answers, tmp_path: Path) -> None:
    file = tmp_path / "fetchd.toml"
    for text in (new_file(given), joined(BEFORE, given), joined(BEFORE.rstrip("\n"), given)):
        file.write_text(text)
        settings = load(file, {})
        account = settings.accounts["work"]
        assert (account.host, account.port, account.tls) == (
            given.server.host, given.server.port, given.server.tls,
        )  # fmt: skip
        if account.protocol == "imap":
            assert account.mailboxes == given.mailboxes
        for key, value in given.kept.table.items():
            found = getattr(account, key)
            found = found.model_dump(exclude_unset=True) if key == "oauth2" else found
            assert (list(found) if isinstance(value, list) else found) == value
        if given.maildir:
            assert str(settings.destinations["home"].path) == given.maildir  # type: ignore[union-attr]
        assert account.provider == ("proton" if given.server is PROTON else None)


@pytest.mark.parametrize("text", ["plain", 'q"u\\o', "ü\U0001f600", "\x7f", "\x01", "a\nb"])
def test_text_is_written_as_toml_reads_it(text: str) -> None:
    import tomllib

    assert tomllib.loads(f"x = {toml(text)}")["x"] == text


YES = Person(yes=True, aside=True)


def mailbox(name: str, role: str | None = None) -> Mailbox:
    return Mailbox(name, name.encode(), "/", role)


ALL = (mailbox("INBOX", "\\Inbox"), mailbox("All", "\\All"), mailbox("Spam", "\\Junk"))
TRASH = mailbox("Trash", "\\Trash")


@pytest.mark.parametrize(
    ("server", "there", "proposed"),
    [
        (SERVER, ALL, ("*",)),
        (GMAIL, (*ALL, TRASH), ("\\All", "\\Junk", "\\Trash")),
        (GMAIL, ALL, ("*",)),  # hidden from IMAP: nothing is left out unseen
        (GMAIL, None, ("\\All", "\\Junk", "\\Trash")),
    ],
)
def test_mailboxes_are_proposed_as_the_provider_has_them(
    server: Server, there: tuple[Mailbox, ...] | None, proposed: tuple[str, ...]
) -> None:
    looked = None if there is None else Looked(there, ())
    assert settle_mailboxes(YES, Given(), server, looked) == proposed


@pytest.mark.parametrize(
    ("server", "offered", "usual"),
    [
        (SERVER, ("IDLE",), "idle"),
        (SERVER, (), "5m"),
        (GMAIL, (), "10m"),  # Google's floor
        (
            Server("pop3", "pop3.web.de", 995, "implicit", "me", "", preset_named("webde")),
            (),
            "12m",
        ),
        (Server("pop3", "h", 995, "implicit", "me", ""), ("IDLE",), "5m"),
    ],
)
def test_the_schedule_is_push_or_no_oftener_than_allowed(
    server: Server, offered: tuple[str, ...], usual: str
) -> None:
    assert settle_schedule(YES, Given(), server, Looked((), offered)) == usual
    given = Given(schedule="0 7 * * *")
    assert settle_schedule(YES, given, server, None) == "0 7 * * *"


def test_pop3_cannot_be_pushed() -> None:
    server = Server("pop3", "h", 995, "implicit", "me", "")
    with pytest.raises(UsageError, match="no IDLE"):
        settle_schedule(YES, Given(schedule="idle"), server, None)


@pytest.mark.parametrize(
    ("server", "taken", "name"),
    [
        (SERVER, (), "example"),
        (SERVER, ("example",), "example2"),
        (GMAIL, (), "gmail"),
        (GMAIL, ("gmail", "gmail2"), "gmail3"),
        (Server("imap", "mail.host.test", 993, "implicit", "me", ""), (), "host"),
        (Server("imap", "127.0.0.1", 993, "implicit", "me", ""), (), "0"),
    ],
)
def test_a_name_is_proposed_that_nobody_has(
    server: Server, taken: tuple[str, ...], name: str
) -> None:
    assert settle_name(YES, Given(), server, taken) == name


def test_oauth2_is_settled_without_a_login(tmp_path: Path) -> None:
    given = Given(client_id="id", client_secret_file=str(tmp_path / "s"))
    kept, looked = settle_secret(YES, given, "work", GMAIL, tmp_path)
    assert looked is None
    assert kept.table == {
        "oauth2": {
            "provider": "google", "client_id": "id", "client_secret_file": str(tmp_path / "s"),
        }
    }  # fmt: skip
    with pytest.raises(UsageError, match="no issuer"):
        settle_secret(YES, given, "work", SERVER, tmp_path)


def test_a_typed_secret_is_in_no_repr_of_the_account() -> None:
    kept = Kept({"password_file": "x"}, "", secret=PASSWORD)
    assert PASSWORD not in repr(account_of("work", SERVER, kept))


def test_help_explains_by_an_example() -> None:
    done = CliRunner().invoke(init, ["--help"])
    assert done.exit_code == 0
    assert "Example: fetchd init" in done.stdout
    for option in ("--config", "-c", "--json", "--yes"):
        assert option in done.stdout


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_literal", "_encoded"):
        monkeypatch.setattr(telemetry, name, ())
