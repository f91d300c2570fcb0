"""`fetchd systemd`: what it writes for whom, what it refuses, and what it leaves alone."""

import json
import os
import pwd
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fetchd.cli import systemd_install, systemd_machine
from fetchd.cli.systemd import systemd
from fetchd.cli.systemd_units import MARK
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
ACCOUNT = """\
[accounts.work]
protocol = "imap"
host = "imap.example.org"
username = "u"
"""
PASSWORD = ACCOUNT + 'password_env = "P"\n'
STATE = 'data_dir = "/var/lib/fetchd"\n'


class Machine:
    """A machine whose units, homes and users are ours to say."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.units = folder, folder / "units"
        self.asked: list[str] = []
        self.file = folder / "fetchd.toml"
        self.file.touch()

    def settings(self, text: str, mode: int = 0o644) -> None:
        self.file.write_text(text)
        self.file.chmod(mode)

    def run(self, *words: str, typed: str = "") -> Ran:
        config = ("--config", str(self.file)) if words[0] != "uninstall" else ()
        done = CliRunner().invoke(systemd, [*words, *config], input=typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    def document(self, *words: str) -> Any:
        return self.run(*words, "--json").document

    def unit(self, *words: str, name: str = "fetchd.service") -> str:
        """What the unit would say."""
        units = self.document("show", *words)["units"]
        return next(str(unit["text"]) for unit in units if unit["name"] == name)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Without a systemd that runs, root's, and fetchd where everybody may read it."""
    made = Machine(tmp_path)
    monkeypatch.setattr(systemd_install, "SYSTEM", made.units)
    monkeypatch.setattr(systemd_install, "is_running", lambda **_: False)
    monkeypatch.setattr(systemd_machine, "command", lambda: ("/usr/local/bin/fetchd",))
    monkeypatch.setattr(systemd_machine, "_program", list)
    monkeypatch.setattr(systemd_install, "USERS", tmp_path / "sysusers.conf")
    monkeypatch.setattr(systemd_install, "make_user", lambda _: made.asked.append("user"))
    for module in (systemd_machine, systemd_install):
        monkeypatch.setattr(module, "our_user", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(systemd_machine, "_reaches", lambda *_: True)  # pytest's is ours alone
    return made


@pytest.fixture
def me() -> pwd.struct_passwd:
    """Somebody other than root, to whom a test as root can give files."""
    if os.getuid() == 0:
        return pwd.getpwnam("nobody")
    return pwd.getpwuid(os.getuid())


def test_all_in_the_state_directory_is_the_user_fetchd_s(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    unit = machine.unit()
    assert "User=fetchd\nStateDirectory=fetchd\n" in unit
    assert "ProtectHome=yes\n" in unit
    assert f"ExecStart=/usr/local/bin/fetchd --config {machine.file} serve\n" in unit
    assert "ReadWritePaths=/" not in unit
    machine.settings('data_dir = "/var/lib/mail/fetchd"\n' + PASSWORD)
    assert "StateDirectory=mail/fetchd\n" in machine.unit()


def test_it_is_written_once_agreed_to_and_not_enabled_without_a_systemd(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    before = os.umask(0o077)
    ran = machine.run("install", "--yes")
    os.umask(before)
    assert ran.code == 0
    assert {path.name for path in machine.units.iterdir()} == {
        "fetchd.service", "fetchd-verify.service", "fetchd-verify.timer",
    }  # fmt: skip
    assert (machine.units / "fetchd.service").stat().st_mode & 0o777 == 0o644
    assert "    +ExecStart=/usr/local/bin/fetchd --config" in ran.out
    assert "systemd does not run here; where it does, run:" in ran.out
    assert "  systemctl enable --now fetchd.service fetchd-verify.timer\n" in ran.out


def test_what_changed_is_shown_as_a_difference(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    machine.run("install", "--yes")
    again = machine.run("install", "--yes")
    assert again.out.count("same: ") == 4
    machine.settings(STATE + PASSWORD + '[service]\ndrain = "5m"\n')
    ran = machine.run("install", "--dry-run")
    assert "    -TimeoutStopSec=90s\n    +TimeoutStopSec=360s\n" in ran.out
    assert "changed: " in ran.out
    assert ran.out.count("same: ") == 3
    assert "TimeoutStopSec=90s" in (machine.units / "fetchd.service").read_text()


def test_a_timer_takes_the_place_of_the_service_and_back(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD + '[service]\nschedule = "30m"\njitter = "7s"\n')
    machine.run("install", "--yes")
    ran = machine.run("install", "--timer", "--yes")
    assert f"removed: {machine.units / 'fetchd.service'}" in ran.out
    assert not (machine.units / "fetchd.service").exists()
    timer = (machine.units / "fetchd-sync.timer").read_text()
    assert "OnCalendar=*:0/30\nRandomizedDelaySec=7s\n" in timer
    machine.run("install", "--yes")
    assert not list(machine.units.glob("fetchd-sync*"))
    assert (machine.units / "fetchd.service").exists()


def test_a_timer_says_what_it_leaves_out(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD + 'schedule = "idle"\n')
    assert machine.document("show")["notes"] == []
    (note,) = machine.document("show", "--timer")["notes"]
    assert "a timer asks all accounts at service.schedule" in note


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_who_does_not_agree_gets_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    machine.settings(STATE + PASSWORD)
    monkeypatch.setattr(systemd_install, "_answers", lambda: True)
    ran = machine.run("install", typed=typed)
    assert (ran.code, machine.units.exists()) == (2, False)
    assert "not agreed to" in ran.err
    monkeypatch.setattr(systemd_install, "_answers", lambda: False)
    assert "nobody is there to be asked" in machine.run("install").err


def test_who_agrees_gets_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.settings(STATE + PASSWORD)
    monkeypatch.setattr(systemd_install, "_answers", lambda: True)
    assert machine.run("install", typed="y\n").code == 0
    assert (machine.units / "fetchd.service").exists()


def test_only_root_writes_units_of_the_system(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.settings(STATE + PASSWORD)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ran = machine.run("install", "--yes")
    assert ran.code == 2
    assert "only root writes units of the system" in ran.err
    assert "--user" in ran.err
    assert machine.run("uninstall", "--yes").code == 2
    assert machine.run("install", "--dry-run").code == 0


def test_sudo_and_user_do_not_go_together(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.settings(STATE + PASSWORD)
    monkeypatch.setenv("SUDO_USER", "me")
    assert "Run it without sudo." in machine.run("install", "--user", "--yes").err


def test_a_user_s_own_units(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(machine.folder / "config"))
    machine.settings(PASSWORD)
    found = machine.document("install", "--user", "--yes")
    assert found["scope"] == "user"
    assert found["installed"]
    assert not found["started"]
    unit = (machine.folder / "config/systemd/user/fetchd.service").read_text()
    assert "WantedBy=default.target" in unit
    for word in ("User=", "Protect", "StateDirectory", "network-online"):
        assert word not in unit
    assert "enable-linger" in found["notes"][0]


# -- Whose it is, and what it sees ---------------------------------------------------------


def with_maildir(folder: Path, user: pwd.struct_passwd) -> str:
    """Settings whose Maildir belongs to somebody."""
    path = folder / "Maildir"
    path.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(path, user.pw_uid, user.pw_gid)
    return STATE + PASSWORD + f'[destinations.home]\nkind = "maildir"\npath = "{path}"\n'


def test_it_runs_as_the_owner_of_where_mail_goes(machine: Machine, me: pwd.struct_passwd) -> None:
    machine.settings(with_maildir(machine.folder, me))
    unit = machine.unit()
    assert f"User={me.pw_name}\nStateDirectory=fetchd\n" in unit
    assert machine.document("show")["units"][0]["name"] == "fetchd.service"  # no user to make
    assert f"ReadWritePaths=-{machine.folder / 'Maildir'}\n" in unit


def test_a_home_is_hidden_but_for_what_the_settings_name(
    machine: Machine, me: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = machine.folder
    for module in ("systemd_units", "systemd_machine"):
        monkeypatch.setattr(
            f"fetchd.cli.{module}.in_a_home", lambda path: path.is_relative_to(homes)
        )
    text = with_maildir(machine.folder, me).replace('password_env = "P"', 'password_file = "s/p"')
    (machine.folder / "s").mkdir()
    machine.settings(text)
    unit = machine.unit()
    assert "ProtectHome=tmpfs\n" in unit
    assert f"BindReadOnlyPaths={homes}\nBindReadOnlyPaths={homes}/s\n" in unit
    assert f"BindPaths=-{homes}/Maildir\n" in unit
    machine.settings(text.replace('password_file = "s/p"', 'password_command = ["pass", "x"]'))
    unit = machine.unit()
    assert "ProtectHome=read-only\n" in unit
    assert f"ReadWritePaths=-{homes}/Maildir\n" in unit
    assert "accounts.work.password_command" in machine.document("show")["notes"][0]


def test_the_user_fetchd_is_taken_where_there_is_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, me: pwd.struct_passwd
) -> None:
    for module in (systemd_machine, systemd_install):
        monkeypatch.setattr(module, "our_user", lambda: me)
    machine.settings(STATE + PASSWORD)
    assert machine.document("install", "--yes")["units"][0]["name"] == "fetchd.service"
    assert machine.asked == []


def test_the_user_fetchd_is_made_where_there_is_none(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    assert machine.run("install", "--yes").code == 0
    assert machine.asked == ["user"]
    assert (
        '\nu fetchd - "Mail fetcher" /var/lib/fetchd\n'
        in (machine.folder / "sysusers.conf").read_text()
    )
    ran = machine.run("uninstall", "--yes")
    assert not (machine.folder / "sysusers.conf").exists()
    assert "The user fetchd stays" in ran.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--run-as", "nobody-such"), "there is no user nobody-such"),
        (("--run-as", "root"), "mail is not fetched as root"),
    ],
)
def test_a_user_who_will_not_do(machine: Machine, words: tuple[str, ...], expected: str) -> None:
    machine.settings(STATE + PASSWORD)
    ran = machine.run("install", "--yes", *words)
    assert ran.code == 2
    assert expected in ran.err


def test_roots_own_folders_need_a_user_named(machine: Machine) -> None:
    machine.settings(PASSWORD + '[destinations.home]\nkind = "mbox"\npath = "/usr/spool"\n')
    ran = machine.run("install", "--yes")
    assert ran.code == 2
    assert "as whom the service is to run cannot be told" in ran.err
    assert 'data_dir = "/var/lib/fetchd"' in ran.err


# -- What is in the way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (STATE + ACCOUNT + 'password_credential = "work"\n', (),
         "work.password is not there yet: the secret of the credential work"),
        (STATE + PASSWORD + '[tokens]\nkey_credential = "key"\n', (),
         "key.password is not there yet: the secret of the credential key"),
        (STATE + ACCOUNT + 'password_file = "secret"\n', (),
         "accounts.work.password_file: "),
        ('data_dir = "my data"\n' + PASSWORD, ("--run-as", "nobody"),
         "my data'"),
        ('data_dir = "/var/lib/fetchd\\nUser=root"\n' + PASSWORD, (),
         "fetchd\\nUser=root' holds what no unit can name"),
        ('data_dir = "data"\n' + PASSWORD, ("--run-as", "nobody"),
         "data is not there yet; run: install -d -o nobody -m 0700 "),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_told_and_nothing_is_written(
    machine: Machine, text: str, words: tuple[str, ...], expected: str
) -> None:
    machine.settings(text)
    secret = machine.folder / "secret"
    secret.touch(0o600)
    ran = machine.run("install", "--yes", *words)
    assert (ran.code, machine.units.exists()) == (2, False)
    assert "the service could not do its work:" in ran.err
    assert expected in ran.err
    dry = machine.run("install", "--dry-run", *words)
    assert dry.code == 0
    assert expected in dry.out
    assert any(expected in one for one in machine.document("show", *words)["obstacles"])


def test_settings_that_the_service_cannot_read_are_in_the_way(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD, 0o600)
    ran = machine.run("install", "--yes")
    assert ran.code == 2
    assert f"{machine.file} cannot be read by fetchd; run: useradd" in ran.err
    assert f"chown fetchd {machine.file}" in ran.err


def test_a_folder_above_that_is_closed_is_in_the_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.settings(STATE + PASSWORD)
    assert machine.document("show")["obstacles"] == []
    monkeypatch.undo()
    closed = machine.folder / "closed"
    closed.mkdir(0o700)
    (closed / "file").touch(0o644)
    assert not systemd_machine._may(closed / "file", None, 0o4)
    assert systemd_machine._may(Path("/etc/passwd"), None, 0o4)
    assert not systemd_machine._may(Path("/etc/passwd"), None, 0o2)


def test_credentials_come_from_beside_the_settings(machine: Machine) -> None:
    machine.settings(STATE + ACCOUNT + 'password_credential = "work"\n')
    (machine.folder / "work.password").touch(0o600)
    assert f"LoadCredential=work:{machine.folder}/work.password\n" in machine.unit()
    (machine.folder / "work.cred").touch(0o600)
    assert f"LoadCredentialEncrypted=work:{machine.folder}/work.cred\n" in machine.unit()
    assert machine.run("install", "--yes").code == 0


def test_what_lives_in_a_home_is_not_seen_by_a_service_without_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_machine, "command", lambda: ("/home/me/bin/fetchd",))
    machine.settings(STATE + PASSWORD)
    assert "fetchd is installed in a home, /home/me/bin/fetchd" in machine.run("install").err


def test_a_keyring_is_for_a_user_s_own_service(machine: Machine) -> None:
    machine.settings(STATE + ACCOUNT + 'password_keyring = "work"\n')
    assert (
        "accounts.work.password_keyring: a system service has no keyring"
        in (machine.document("show")["notes"][0])
    )


# -- Taking it away -----------------------------------------------------------------------------


def test_what_was_installed_is_uninstalled_and_nothing_else(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    machine.run("install", "--yes")
    (machine.units / "fetchd-verify.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (machine.units / "other.service").write_text(f"{MARK}\n")
    machine.file.unlink()  # which it does not need
    dry = machine.document("uninstall", "--dry-run")
    assert len(dry["removed"]) == 3
    assert (machine.units / "fetchd.service").exists()
    ran = machine.run("uninstall", "--yes")
    assert ran.code == 0
    assert f"not ours, and stays: {machine.units / 'fetchd-verify.timer'}" in ran.out
    names = {path.name for path in machine.units.iterdir()}
    assert names == {"fetchd-verify.timer", "other.service"}
    assert "Nothing of fetchd's is installed there." in machine.run("uninstall", "--yes").out


def test_a_folder_that_cannot_be_written_is_told(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    machine.units.touch()
    ran = machine.run("install", "--yes")
    assert ran.code == 1
    assert "cannot be written" in ran.err
    assert "Traceback" not in ran.err


def test_show_prints_what_install_writes(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    shown = machine.run("show").out
    machine.run("install", "--yes")
    for path in machine.units.iterdir():
        assert f"# {path}\n{path.read_text()}" in shown


def test_the_way_in_is_that_of_the_fetchd_that_runs() -> None:
    assert systemd_machine.command()[0] in (
        str(Path(sys.executable).with_name("fetchd")), sys.executable,
    )  # fmt: skip
    assert shutil.which(systemd_machine.command()[0])


def test_the_document_is_json_through_and_through(machine: Machine) -> None:
    machine.settings(STATE + PASSWORD)
    document = json.loads(machine.run("install", "--dry-run", "--json").out)
    assert document["enable"] == ["fetchd.service", "fetchd-verify.timer"]
    assert {unit["change"] for unit in document["units"]} == {"new"}
