"""Settings for a service over users of a Dovecot, written anew whenever a test changes them."""

import json
import smtplib
from collections.abc import Mapping
from pathlib import Path

from benchmarks import mail
from tests.servers.dovecot import Dovecot
from tests.servers.processes import free_ports

PASSWORD = "open sesame"
HOST = "127.0.0.1"

Table = Mapping[str, object]


class Site:
    """A data folder, a Maildir, and accounts by name."""

    def __init__(self, folder: Path, server: Dovecot) -> None:
        self.folder, self.server = folder, server
        self.accounts: dict[str, dict[str, object]] = {}
        [self.web] = free_ports(1)
        self.service: dict[str, object] = {"schedule": "10s", "jitter": "50ms"}
        self.more = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def maildir(self) -> Path:
        return self.folder / "Maildir"

    @property
    def file(self) -> Path:
        return self.folder / "fetchd.toml"

    def add(self, name: str, protocol: str = "imap", user: str = "", **more: object) -> None:
        """An account of the user of that name."""
        port = self.server.port.imap if protocol == "imap" else self.server.port.pop3
        table: dict[str, object] = {
            "protocol": protocol, "host": HOST, "port": port, "tls": "none",
            "allow_plaintext_auth": True, "username": user or name, "password": PASSWORD,
            "deliver_to": ["home"], "timeouts": {"connect": "5s", "read": "5s"},
        }  # fmt: skip
        self.accounts[name] = {k: v for k, v in (table | more).items() if v is not None}

    def write(self) -> Path:
        """The settings file, as everything says now."""
        lines = [f"data_dir = {json.dumps(str(self.data))}"]
        lines += ["[log]", 'level = "debug"', 'format = "json"']
        lines += ["[web]", f'listen = "{HOST}:{self.web}"', "[service]", *_lines(self.service)]
        for name, account in self.accounts.items():
            lines += [f"[accounts.{name}]", *_lines(account)]
        lines += ["[destinations.home]", 'kind = "maildir"', f'path = "{self.maildir}"']
        self.file.write_text("\n".join([*lines, self.more]))
        self.file.chmod(0o600)
        return self.file

    def send(self, user: str, *subjects: str) -> None:
        """Messages that arrive by LMTP."""
        with smtplib.LMTP(HOST, self.server.lmtp_port) as client:
            for subject in subjects:
                text = f"From: a@example.org\r\nSubject: {subject}\r\n\r\n{subject}.\r\n"
                client.sendmail("a@example.org", [user], text.encode())

    def subjects(self) -> list[str]:
        """Of what lies in the Maildir, sorted."""
        return sorted(_subject(path) for part in ("new", "cur")
                      for path in (self.maildir / part).glob("*"))  # fmt: skip

    def archived(self) -> int:
        """How many messages are in the archive, by a stranger's tar."""
        return mail.in_archive(self.data).total()


def _subject(path: Path) -> str:
    for line in path.read_text("latin-1").splitlines():
        if line.startswith("Subject: "):
            return line.removeprefix("Subject: ")
    raise AssertionError(path)


def _lines(table: Table) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)
