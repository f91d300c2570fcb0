"""The units: what is in the repository is what is installed, and systemd agrees with both."""

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.cli.systemd_calendar import due, jitter
from fetchd.cli.systemd_units import Credential, Machine, units, users
from fetchd.policy.schedule import Push, Schedule
from fetchd.settings.running import schedule
from tests.lacking import lacking

FOLDER = Path(__file__).parents[2] / "systemd"
SERVICES = ("fetchd.service", "fetchd-sync.service", "fetchd-verify.service")
AWKWARD = Path('/home/me too/50% "of" it\'s, and $HOME')
MACHINES = {
    "as in the repository": Machine(),
    "a person's": Machine(personal=True, config=None),
    "in a home": Machine(
        user="mail", state="", data=Path("/home/me/mail"), homes="tmpfs",
        shown=(Path("/home/me/.config/fetchd"),), written=(Path("/home/me/Maildir"), Path("/srv")),
    ),
    "awkward": Machine(
        command=("/bin/true", "-m", str(AWKWARD)), config=AWKWARD / "fetchd.toml", user="mail",
        state="", data=AWKWARD / "data", homes="tmpfs", shown=(AWKWARD,),
        written=(AWKWARD / "a:b",), credentials=(
            Credential("work", Path("/etc/fetchd/work.password")),
            Credential("key", Path("/etc/fetchd/key.cred"), encrypted=True),
        ), drain=timedelta(minutes=5), due=("OnCalendar=hourly",),
    ),
}  # fmt: skip


@pytest.fixture
def analyze() -> str:
    return shutil.which("systemd-analyze") or lacking("systemd is not installed")


def written(machine: Machine, folder: Path) -> list[Path]:
    """The units with a program that is there, as systemd wants it."""
    for name, text in units(machine).items():
        (folder / name).write_text(text.replace("/usr/local/bin/fetchd", "/bin/true"))
    return [folder / name for name in units(machine)]


@pytest.mark.parametrize(
    ("folder", "machine"),
    [(FOLDER, Machine()), (FOLDER / "user", Machine(personal=True, config=None))],
)
def test_the_units_in_the_repository_are_those_that_are_installed(
    folder: Path, machine: Machine
) -> None:
    there = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert there == units(machine)


def test_the_user_is_made_as_systemd_makes_users(tmp_path: Path) -> None:
    assert (FOLDER / "sysusers.d" / "fetchd.conf").read_text() == users()
    program = shutil.which("systemd-sysusers") or lacking("systemd is not installed")
    (tmp_path / "etc").mkdir()
    given = subprocess.run(
        [program, f"--root={tmp_path}", "-"], input=users(), text=True, capture_output=True
    )
    assert given.returncode == 0, given.stderr
    assert ":Mail fetcher:/var/lib/fetchd:" in (tmp_path / "etc/passwd").read_text()


@pytest.mark.parametrize("which", MACHINES)
def test_systemd_has_nothing_to_say_against_them(analyze: str, tmp_path: Path, which: str) -> None:
    machine = MACHINES[which]
    manager = ["--user"] if machine.personal else []
    done = subprocess.run(
        [analyze, *manager, "verify", "--man=no", *map(str, written(machine, tmp_path))],
        capture_output=True, text=True, env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/"},
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_mistake_in_a_unit_would_be_seen(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / "fetchd.service"
    unit.write_text(units(Machine())["fetchd.service"].replace("WatchdogSec", "WatchDogSec"))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    assert "Unknown key" in done.stderr


@pytest.mark.parametrize("which", ["as in the repository", "in a home", "awkward"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_of_the_system_is_exposed_by_1_5_at_most(
    analyze: str, tmp_path: Path, which: str, service: str
) -> None:
    written(MACHINES[which], tmp_path)
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=15", str(tmp_path / service)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout


def test_awkward_names_are_read_as_they_are(analyze: str, tmp_path: Path) -> None:
    written(MACHINES["awkward"], tmp_path)
    unit = (tmp_path / "fetchd.service").read_text()
    assert 'ExecStart=/bin/true -m "/home/me too/50%% \\"of\\" it\'s, and $$HOME" --config' in unit
    assert "LoadCredential=work:/etc/fetchd/work.password\n" in unit
    assert "LoadCredentialEncrypted=key:/etc/fetchd/key.cred\n" in unit
    assert "TimeoutStopSec=360s" in unit  # five minutes of service.drain, and one to close


def test_a_state_directory_with_a_space_is_one(analyze: str, tmp_path: Path) -> None:
    files = written(Machine(command=("/bin/true",), state="my mail/50%"), tmp_path)
    done = subprocess.run([analyze, "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'StateDirectory="my mail/50%%"\n' in (tmp_path / "fetchd.service").read_text()


def test_verifying_gets_no_secret() -> None:
    texts = units(MACHINES["awkward"])
    assert "LoadCredential" in texts["fetchd-sync.service"]
    assert "LoadCredential" not in texts["fetchd-verify.service"]


def test_a_destination_that_is_not_there_keeps_nothing_else_from_starting() -> None:
    unit = units(MACHINES["in a home"])["fetchd.service"]
    assert "RequiresMountsFor=/home/me/mail\n" in unit
    assert "BindPaths=/home/me/mail\nBindPaths=-/home/me/Maildir\nReadWritePaths=-/srv\n" in unit
    assert "BindReadOnlyPaths=/home/me/.config/fetchd\n" in unit


@pytest.mark.parametrize(
    ("when", "lines"),
    [
        ("30s", ["OnCalendar=*:*:0/30"]),
        ("5m", ["OnCalendar=*:0/5"]),
        ("1h", ["OnCalendar=0/1:00"]),
        ("6h", ["OnCalendar=0/6:00"]),
        ("1d", ["OnCalendar=daily"]),
        ("7m", ["OnBootSec=2min", "OnUnitInactiveSec=420s"]),
        ("idle", ["OnCalendar=*:0/5"]),
        ("manual", ["OnCalendar=*:0/5"]),
        ("*/20 8-10 * * mon-fri", ["OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 8,9,10:0,20,40"]),
        ("0 4 1 * *", ["OnCalendar=*-*-1 4:0"]),
        ("0 4 1 1 sun", ["OnCalendar=*-1-1 4:0", "OnCalendar=Sun *-1-* 4:0"]),
    ],
)
def test_a_schedule_in_the_words_of_a_timer(analyze: str, when: str, lines: list[str]) -> None:
    found = due(schedule(when), None)
    assert list(found) == lines
    for line in found:
        key, _, text = line.partition("=")
        kind = "calendar" if key == "OnCalendar" else "timespan"
        subprocess.run([analyze, kind, text], check=True, capture_output=True)


def test_a_crontab_line_is_told_in_its_time_zone(analyze: str) -> None:
    (line,) = due(schedule("30 3 * * *"), "Europe/Berlin")
    assert line == "OnCalendar=*-*-* 3:30 Europe/Berlin"
    subprocess.run([analyze, "calendar", line.partition("=")[2]], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("when", "expected"),
    [(schedule("5m"), 30), (schedule("1h"), 60), (schedule("@daily"), 30), (Push(), 30)],
)
def test_a_timer_is_spread_as_the_service_is(when: Schedule, expected: float) -> None:
    assert jitter(when) == timedelta(seconds=expected)


def test_python_and_its_libraries_need_no_memory_that_is_written_and_run() -> None:
    """MemoryDenyWriteExecute=yes, by the kernel's own switch for it (PR_SET_MDWE)."""
    code = (
        "import ctypes, mmap\n"
        "if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0): raise SystemExit(77)\n"
        "try: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "except PermissionError: pass\n"
        "else: raise SystemExit('the switch does nothing')\n"
        "import asyncio, sqlite3, ssl, authlib, httpx, msgspec, pydantic, sqlmodel, zstandard\n"
        "import apscheduler, dns.asyncresolver, prometheus_client, starlette, uvicorn\n"
        "from cryptography.fernet import Fernet\n"
        "key = Fernet(Fernet.generate_key())\n"
        "assert key.decrypt(key.encrypt(b'x')) == b'x'\n"
        "from cryptography.hazmat.primitives.asymmetric import ed25519\n"
        "ed25519.Ed25519PrivateKey.generate().sign(b'x')\n"
        "db = sqlite3.connect(':memory:')\n"
        "db.create_function('f', 1, lambda x: x + 1)\n"
        "assert db.execute('select f(1)').fetchone() == (2,)\n"
        "assert zstandard.ZstdDecompressor().decompress(zstandard.compress(b'x')) == b'x'\n"
        "ssl.create_default_context()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
