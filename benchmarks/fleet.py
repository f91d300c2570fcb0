"""Many accounts on one private server, POP3 and IMAP in turn, and the settings that fetch them.

All lie on one host and stand for accounts on many, so the limit to a host is the limit in
all. Lines are TLS, as accounts' are: a handshake is most of what a poll with nothing new costs.
The server's certificate is of an authority that the system trusts, as theirs are: `trusting`
is what tells a process so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import HOST, PASSWORD, Protocol
from benchmarks.contestants.fetchd import AUTH
from tests.servers.dovecot import Dovecot

PROTOCOLS: tuple[Protocol, ...] = ("pop3", "imap")
Keys = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Member:
    """One account; its user has the same name."""

    name: str
    protocol: Protocol
    port: int  # where TLS begins at once


def members_on(server: Dovecot, count: int) -> list[Member]:
    """So many users, every other one fetched over IMAP."""
    ports = {"pop3": server.port.pop3s, "imap": server.port.imaps}
    made = []
    for number in range(count):
        protocol = PROTOCOLS[number % 2]
        member = Member(f"{protocol}-{number:04}", protocol, ports[protocol])
        server.add_user(member.name, PASSWORD)
        made.append(member)
    return made


def write_settings(
    directory: Path,
    members: Iterable[Member],
    *,
    connections: int,
    keys: Mapping[Protocol, Keys] | None = None,
    tables: Sequence[str] = (),
) -> Path:
    """The settings of a folder: archive in data, everything into one Maildir.

    `keys` are further keys of each account of a protocol, `tables` further lines at the end.
    """
    lines = [
        f"data_dir = {json.dumps(str(directory / 'data'))}",
        "[limits]",
        f"connections = {connections}",
        f"connections_per_host = {connections}",
        "[destinations.home]",
        'kind = "maildir"',
        f"path = {json.dumps(str(directory / 'Maildir'))}",
    ]
    for member in members:
        lines.append(f"[accounts.{json.dumps(member.name)}]")
        table = _keys(member) | dict((keys or {}).get(member.protocol, {}))
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "fetchd.toml"
    path.write_text("\n".join([*lines, *tables, ""]))
    path.chmod(0o600)  # it holds a password
    return path


def trusting(ca_file: Path) -> dict[str, str]:
    """Variables by which OpenSSL takes this authority for the system's."""
    return {"SSL_CERT_FILE": str(ca_file)}


def _keys(member: Member) -> dict[str, object]:
    return {
        "protocol": member.protocol,
        "host": HOST,
        "port": member.port,
        "username": member.name,
        "password": PASSWORD,
        "auth": AUTH[member.protocol],
        "deliver_to": ["home"],
    }
