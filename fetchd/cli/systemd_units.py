"""The systemd units of fetchd, as texts. Pure.

`units` writes them for a `Machine`; those in the repository's systemd/ are what it writes
for the machine of its defaults (a test holds both together), so what is read there is what
`fetchd systemd install` puts on a machine, but for the paths.

A system service runs as the user fetchd, and where mail goes into somebody's home as that
person, who sees of the homes the places that the settings name. DynamicUser= would hide the
state directory from everybody but root (in /var/lib/private), and what root's `fetchd login`
or `fetchd restore` wrote there, the service could not open any more; a user that stays can be
become (sudo -u fetchd), and can be given a settings file and a Maildir.

Two directives that would lower the exposure further are left out: ProtectProc=invisible and
ProcSubset=pid hide whether the holder of an mbox's dot lock lives, and since when this machine
runs, so that a lock that another fetchd holds would look forgotten.
"""

import re
from datetime import timedelta
from pathlib import Path

from fetchd.values import Struct

MARK = "# By 'fetchd systemd install'"  # what begins so is ours to replace and to remove
USER = "fetchd"
SERVICE = ("fetchd.service",)
TIMER = ("fetchd-sync.service", "fetchd-sync.timer")
VERIFY = ("fetchd-verify.service", "fetchd-verify.timer")
CLOSING = timedelta(minutes=1)  # after service.drain: sessions end, the archive is closed


class Credential(Struct, frozen=True):
    """What systemd hands to the service for `password_credential = NAME` and its kin."""

    name: str
    file: Path
    encrypted: bool = False


class Machine(Struct, frozen=True):
    """What the units say of where they run.

    `state`: the data folder below /var/lib, else `data`. `homes`: what ProtectHome= says.
    `shown` are seen of the homes; `written` may be written to besides, in a home or not.
    """

    command: tuple[str, ...] = ("/usr/local/bin/fetchd",)
    config: Path | None = Path("/etc/fetchd/fetchd.toml")  # None: where it is looked for
    personal: bool = False  # units of a user's own service manager
    user: str = USER
    state: str = "fetchd"
    data: Path | None = None
    homes: str = "yes"
    shown: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    credentials: tuple[Credential, ...] = ()
    drain: timedelta = timedelta(seconds=30)
    due: tuple[str, ...] = ("OnCalendar=*:0/5",)
    jitter: timedelta = timedelta(seconds=30)


def units(machine: Machine) -> dict[str, str]:
    """Every unit by its file's name."""
    return {
        "fetchd.service": _unit(_SERVE, machine, "serve"),
        "fetchd-sync.service": _unit(_SYNC, machine, "sync"),
        "fetchd-sync.timer": _SYNC_TIMER.format(
            mark=_mark(machine, "fetchd-sync.timer"),
            due="\n".join(machine.due),
            jitter=f"{machine.jitter.total_seconds():g}",
        ),
        "fetchd-verify.service": _unit(_VERIFY, machine, "verify"),  # asks nobody for a secret
        "fetchd-verify.timer": _VERIFY_TIMER.format(mark=_mark(machine, "fetchd-verify.timer")),
    }


def users() -> str:
    """For systemd-sysusers: the user, where it is ours to make."""
    return (
        "# The user as whom fetchd runs, who owns /var/lib/fetchd.\n"
        f"{MARK}; sysusers.d(5).\n"
        f'u {USER} - "Mail fetcher" /var/lib/fetchd\n'
    )


def _unit(template: str, machine: Machine, command: str) -> str:
    name = "fetchd.service" if command == "serve" else f"fetchd-{command}.service"
    return template.format(
        mark=_mark(machine, name),
        network="" if machine.personal else _NETWORK,
        mounts=_mounts(machine),
        start=_command(machine, command),
        reload=_command(machine, "reload"),
        stop=round((machine.drain + CLOSING).total_seconds()),
        target="default" if machine.personal else "multi-user",
        place=_place(machine, secrets=command != "verify"),
        walls=_PERSONAL_WALLS if machine.personal else _WALLS.format(homes=machine.homes),
    )


def _mark(machine: Machine, name: str) -> str:
    edit = "systemctl --user edit" if machine.personal else "systemctl edit"
    return f"{MARK}, which may write it anew; lines of your own belong into\n# '{edit} {name}'."


def _command(machine: Machine, command: str) -> str:
    config = () if machine.config is None else ("--config", str(machine.config))
    words = (*machine.command, *config, command)
    return " ".join(_word(word) for word in words)


def _word(text: str) -> str:
    """As a command line of a unit has it: systemd.service(5), systemd.syntax(7)."""
    plain = text.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=,./:$-]+", plain):
        return plain
    return _quoted(plain)


def _path(path: Path, mark: str = "") -> str:
    """As a list of paths in a unit has it, its mark first."""
    text = mark + str(path).replace("%", "%%")
    return text if re.fullmatch(r"[\w@%+=,./$-]+", text) else _quoted(text.replace(":", "\\:"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _mounts(machine: Machine) -> str:
    """Not without the disk of the data folder; a destination that lacks its own is told of."""
    if machine.data is None:
        return ""
    return f"RequiresMountsFor={_path(machine.data)}\n"


def _place(machine: Machine, *, secrets: bool) -> str:
    """User, folders and credentials."""
    lines = [] if machine.personal else _identity(machine)
    lines += _credentials(machine) if secrets else []
    if not machine.personal:
        lines += _folders(machine)
    return "\n".join([*lines, "UMask=0077", "LimitCORE=0"])


def _identity(machine: Machine) -> list[str]:
    lines = [f"User={machine.user}"]
    if machine.state:
        lines += [f"StateDirectory={_path(Path(machine.state))}", "StateDirectoryMode=0700"]
    return lines


def _credentials(machine: Machine) -> list[str]:
    if not machine.credentials:
        folder = "%E/fetchd" if machine.config is None else _path(machine.config.parent)
        return [
            '# For password_credential = "work", a line for each secret:',
            f"#LoadCredential=work:{folder}/work.password",
        ]
    return [
        f"LoadCredential{'Encrypted' if one.encrypted else ''}={one.name}:"
        + str(one.file).replace("%", "%%")
        for one in machine.credentials
    ]


def _folders(machine: Machine) -> list[str]:
    """A destination that is not there ("-") stops nothing but its own deliveries."""
    data = [] if machine.data is None else [machine.data]
    places = [(path, "") for path in data] + [(path, "-") for path in machine.written]
    if not places:
        return ["# A Maildir elsewhere, which must belong to the user:", "#ReadWritePaths=-/srv/me"]
    lines = []
    if machine.homes == "tmpfs":
        lines = [f"BindReadOnlyPaths={_path(path)}" for path in machine.shown]
    for path, mark in places:
        bound = machine.homes == "tmpfs" and in_a_home(path)
        lines.append(f"{'BindPaths' if bound else 'ReadWritePaths'}={_path(path, mark)}")
    return lines


def in_a_home(path: Path) -> bool:
    """Whether ProtectHome= is about it."""
    return any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user"))


_NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"

_SERVE = """\
# Fetches and delivers as long as it runs, each account by its schedule.
{mark}
[Unit]
Description=Fetch and deliver mail
{network}{mounts}StartLimitIntervalSec=1h
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
# Says why, where the settings are wrong; the old ones stay then.
ExecReload={reload}
# What ends by itself may pass; wrong settings (2) stay wrong until somebody mends them.
Restart=on-failure
RestartSec=30s
RestartPreventExitStatus=2
# A catalog that is brought up to date, or a long tail of the archive that is read again.
TimeoutStartSec=10min
# service.drain, and a minute to close.
TimeoutStopSec={stop}s
# Fed only while the loop and the archive's committer truly advance.
WatchdogSec=2min
{place}

{walls}
[Install]
WantedBy={target}.target
"""

_SYNC = """\
# One round over all accounts; started by fetchd-sync.timer, in place of fetchd.service.
{mark}
[Unit]
Description=Fetch mail from all accounts
{network}{mounts}
[Service]
Type=oneshot
ExecStart={start}
# A mail server that has a message may think for ten minutes before it says so (RFC 5321
# §4.5.3.2.6), and who hangs up before that sends it twice.
TimeoutStopSec=11min
{place}

{walls}"""

_SYNC_TIMER = """\
# Each machine at a moment of its own; what was due while it was off is made up for.
{mark}
[Unit]
Description=Fetch mail by the clock

[Timer]
{due}
RandomizedDelaySec={jitter}s
AccuracySec=1s
Persistent=yes

[Install]
WantedBy=timers.target
"""

_VERIFY = """\
# Every stored octet is read and hashed again; it fails where the archive is damaged.
{mark}
[Unit]
Description=Verify the mail archive
{mounts}
[Service]
Type=oneshot
ExecStart={start}
# When nothing else wants disk or processor.
IOSchedulingClass=idle
CPUSchedulingPolicy=batch
Nice=19
{place}

{walls}"""

_VERIFY_TIMER = """\
# Once a week, some time in the night to Sunday.
{mark}
[Unit]
Description=Verify the mail archive every week

[Timer]
OnCalendar=Sun *-*-* 01:00
RandomizedDelaySec=5h
Persistent=yes

[Install]
WantedBy=timers.target
"""

# What is left of the exposure is the work itself: the network (mail servers are anywhere, so
# there is no list of addresses either), UNIX sockets (LMTP, control, notify) and the machine's
# own root folder, which has the certificates of authorities and the time zones.
_WALLS = """\
# 'systemd-analyze security' has the rest; what remains is the network, which is the work.
CapabilityBoundingSet=
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateIPC=yes
PrivateMounts=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={homes}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
# Refused, and not killed, lest a program that we start dies of what it can do without.
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""

# What a user's own service manager can hold to without namespaces; the home stays open, since
# mail, keyring and the programs of password_command live there.
_PERSONAL_WALLS = """\
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
"""
