"""What the settings mean for a systemd unit: whose it is, what it may see and write.

`machine_of` makes the `Machine` that the units are written for, and tells what is in the
way: each obstacle would make the service fail at its start, or later and in silence, with
no more than "permission denied".
"""

import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

from fetchd.cli.systemd_calendar import due, jitter
from fetchd.cli.systemd_named import credentials, files, runs_programs, values
from fetchd.cli.systemd_units import USER, Machine, in_a_home
from fetchd.errors import UsageError
from fetchd.settings import MaildirDestination, MboxDestination, Settings
from fetchd.values import Struct, replace

STATE = Path("/var/lib")  # what StateDirectory= counts from
_OR = "say --run-as USER"


class Found(Struct, frozen=True):
    """A machine, what keeps the service from running there, and what its owner should know."""

    machine: Machine
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]


def machine_of(settings: Settings, *, personal: bool, run_as: str) -> Found:
    """For a user's own units, or for the system's, run as `run_as` where that is named."""
    if personal:
        return _of_user(settings)
    state = _state(settings.data_dir)
    places = _written(settings, state)
    user = _user(run_as, places)
    homes = _homes(settings, user, places)
    machine = replace(
        _common(settings, personal=False),
        user=user.pw_name if user else USER,
        state=state,
        data=None if state else settings.data_dir,
        homes=homes,
        shown=_shown(settings) if homes == "tmpfs" else (),
        written=tuple(path for path in places if state or path != settings.data_dir),
    )
    obstacles = [*_absent(places, user), *_unreadable(settings, user)]
    obstacles += [*_unseen(machine), *_no_credential(machine), *_unspeakable(machine)]
    return Found(machine, tuple(obstacles), tuple(_notes(settings, machine)))


def _of_user(settings: Settings) -> Found:
    machine = _common(settings, personal=True)
    user = pwd.getpwuid(os.getuid()).pw_name
    notes = []
    if not Path("/var/lib/systemd/linger", user).exists():
        notes.append(f"to run it while you are not logged in: sudo loginctl enable-linger {user}")
    obstacles = (*_no_credential(machine), *_unspeakable(machine))
    return Found(machine, obstacles, tuple(notes))


def _common(settings: Settings, *, personal: bool) -> Machine:
    return Machine(
        command=command(),
        config=settings.path,
        personal=personal,
        credentials=tuple(credentials(settings)),
        drain=settings.service.drain,
        due=due(settings.service.schedule, settings.service.timezone),
        jitter=settings.service.jitter or jitter(settings.service.schedule),
    )


def command() -> tuple[str, ...]:
    """How the fetchd that runs now is started, whatever the PATH says."""
    script = Path(sys.executable).with_name("fetchd")
    return (str(script),) if script.exists() else (sys.executable, "-m", "fetchd")


# -- Who, and where -------------------------------------------------------------------


def _state(data_dir: Path) -> str:
    """The data folder as StateDirectory= names it; "" where it is no such folder."""
    is_state = data_dir.is_relative_to(STATE) and data_dir != STATE and ".." not in data_dir.parts
    return str(data_dir.relative_to(STATE)) if is_state else ""


def _written(settings: Settings, state: str) -> tuple[Path, ...]:
    """Folders outside the state directory in which fetchd makes or changes files."""
    tables = settings.destinations.values()
    found = [settings.data_dir]
    found += [one.path for one in tables if isinstance(one, MaildirDestination)]
    found += [one.path.parent for one in tables if isinstance(one, MboxDestination)]
    found += [settings.tokens.folder] if settings.tokens.folder else []
    inside = (STATE / state,) if state else ()
    outside = [path for path in found if not any(path.is_relative_to(one) for one in inside)]
    return tuple(dict.fromkeys(outside))


def _user(run_as: str, places: tuple[Path, ...]) -> pwd.struct_passwd | None:
    """Who is named, else whose the places are, else fetchd; None: who is yet to be made."""
    if run_as:
        return _known(run_as)
    owners = {_nearest(path).stat().st_uid: path for path in places}
    if not owners:
        return our_user()
    if len(owners) == 1 and 0 not in owners:
        with suppress(KeyError):  # of a number without a name
            return _known(pwd.getpwuid(*owners).pw_name)
    whose = "root's" if 0 in owners else f"not of one user: {', '.join(map(str, places))}"
    raise UsageError(
        f"as whom the service is to run cannot be told: {owners.get(0, 'these folders')} "
        f"{'is ' if 0 in owners else 'are '}{whose}",
        advice="Say it by --run-as USER, to whom these folders belong; or keep all in "
        'data_dir = "/var/lib/fetchd"; or install it for yourself by --user, without sudo.',
    )


def our_user() -> pwd.struct_passwd | None:
    """The user fetchd, where there is one already."""
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    return None


def _known(name: str) -> pwd.struct_passwd:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        advice = f"Create it: useradd --system --home-dir /var/lib/fetchd {name}"
        raise UsageError(f"there is no user {name}", advice=advice) from None
    if user.pw_uid == 0:
        advice = "Name the user to whom the mail belongs; for several, deliver by LMTP."
        raise UsageError("mail is not fetched as root", advice=advice)
    return user


def _homes(settings: Settings, user: pwd.struct_passwd | None, places: tuple[Path, ...]) -> str:
    """No homes; or of them what is named; or all to read, since programs need who knows what."""
    if user is None:
        return "yes"
    if any(runs_programs(settings)):
        return "read-only"
    return "tmpfs" if any(map(in_a_home, (*places, *_shown(settings)))) else "yes"


def _shown(settings: Settings) -> tuple[Path, ...]:
    """Folders in homes that are read: settings, files they name, and fetchd itself.

    Folders, since an editor that saves a file puts another in its place.
    """
    found = [settings.path.parent, *(path.parent for _, path in files(settings)), *_program()]
    return tuple(dict.fromkeys(path for path in found if in_a_home(path)))


def _program() -> list[Path]:
    import fetchd

    return [Path(sys.prefix), Path(sys.base_prefix), Path(fetchd.__file__).parents[1]]


# -- What is in the way ----------------------------------------------------------------


def _absent(places: tuple[Path, ...], user: pwd.struct_passwd | None) -> Iterator[str]:
    """A place to write to is bound into the service's view, so it must be there, and its own."""
    owner = user.pw_name if user else USER
    for path in places:
        word = quote(str(path))
        if not path.is_dir():
            yield f"{path} is not there yet; run: install -d -o {owner} -m 0700 {word}"
        elif user is not None and not _may(path, user, 0o3):
            yield f"{path} cannot be written to by {owner}; run: chown -R {owner} {word}"


def _unreadable(settings: Settings, user: pwd.struct_passwd | None) -> Iterator[str]:
    whom = user.pw_name if user else USER
    remedy = f"run: chown {whom} {{}}"
    if user is None:
        remedy = f"run: useradd --system --home-dir /var/lib/fetchd {USER}; chown {USER} {{}}"
    for key, path in (("", settings.path), *files(settings)):
        is_file = path.is_file()
        if is_file and not _may(path, user, 0o4):
            named = f"{key}: " if key else ""
            run = remedy.format(quote(str(path)))
            yield f"{named}{path} cannot be read by {whom}; {run}, or {_OR}"


def _unspeakable(machine: Machine) -> Iterator[str]:
    """A line of a unit ends where a line ends."""
    paths = [machine.config, machine.data, *machine.written, *machine.shown]
    names = [*machine.command, machine.state, *(str(path) for path in paths if path)]
    for name in dict.fromkeys([*names, *(str(one.file) for one in machine.credentials)]):
        if not name.isprintable():
            yield f"{name!r} holds what no unit can name; call it otherwise"


def _unseen(machine: Machine) -> Iterator[str]:
    """ProtectHome=yes hides what lives there."""
    if machine.homes != "yes":
        return
    places = [("fetchd is installed", path) for path in (Path(machine.command[0]), *_program())]
    if machine.config is not None:
        places.append(("the settings are", machine.config))
    for what, path in dict.fromkeys(places):
        if in_a_home(path):
            yield f"{what} in a home, {path}, which the service does not see; move it, or {_OR}"


def _no_credential(machine: Machine) -> Iterator[str]:
    for one in machine.credentials:
        if not one.file.exists():
            yield (
                f"{one.file} is not there yet: the secret of the credential {one.name}, "
                f"readable by its owner alone (or {one.name}.cred, made by systemd-creds encrypt)"
            )


def notes_on_timer(settings: Settings) -> Iterator[str]:
    """What a round by the clock leaves out."""
    if settings.service.quiet_hours or any(
        one.schedule or one.quiet_hours for one in settings.accounts.values()
    ):
        yield (
            "a timer asks all accounts at service.schedule; schedules of their own, "
            "push and quiet hours are for 'fetchd serve'"
        )


def _notes(settings: Settings, machine: Machine) -> Iterator[str]:
    if programs := list(runs_programs(settings)):
        yield (
            f"what {', '.join(programs)} starts has the limits of the service (no setuid, no "
            "namespaces, a file system to be read); systemctl edit can widen them"
        )
    keys = [key for key, value in values(settings, "") if key.endswith("_keyring") and value]
    if keys:
        yield f"{', '.join(keys)}: a system service has no keyring of a session; --user has"


def _may(path: Path, user: pwd.struct_passwd | None, wanted: int) -> bool:
    """Whether modes let that user (None: any other) do so, the folders above included."""
    return _reaches(path, user) and _allows(path, user, wanted)


def _reaches(path: Path, user: pwd.struct_passwd | None) -> bool:
    return all(_allows(folder, user, 0o1) for folder in path.parents)


def _allows(path: Path, user: pwd.struct_passwd | None, wanted: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    mode = stat.S_IMODE(found.st_mode)
    if user is not None and found.st_uid == user.pw_uid:
        return mode >> 6 & wanted == wanted
    if user is not None and found.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
        return mode >> 3 & wanted == wanted
    return mode & wanted == wanted


def _nearest(path: Path) -> Path:
    """The path, or what of it is there."""
    return next(one for one in (path, *path.parents) if one.exists())
