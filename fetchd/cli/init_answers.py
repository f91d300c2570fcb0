"""What `fetchd init` was told: on the command line, and in the end, of the account.

`Given` holds the options; an empty one is asked for. `Answers` becomes the settings.
"""

from pathlib import Path
from typing import Any

from fetchd.auth.preset import Preset
from fetchd.values import Struct


class Given(Struct, frozen=True):
    """The command line. Sources of the password go by the names of their settings."""

    address: str = ""
    name: str = ""
    protocol: str = ""
    host: str = ""
    port: int = 0
    tls: str = ""
    username: str = ""
    password: tuple[tuple[str, str], ...] = ()  # (setting, value)
    client_id: str = ""
    client_secret_file: str = ""
    ca_file: str = ""
    fingerprint: str = ""
    mailboxes: tuple[str, ...] = ()
    leave: str = ""
    maildir: str = ""
    archive_only: bool = False
    schedule: str = ""
    data_dir: str = ""


class Server(Struct, frozen=True):
    """Where the account is. `found` says how that is known."""

    protocol: str
    host: str
    port: int
    tls: str
    username: str
    found: str
    preset: Preset | None = None
    ca_file: str = ""
    fingerprint: str = ""
    capabilities: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """As the settings write it."""
        rows: dict[str, Any] = {"protocol": self.protocol, "host": self.host, "port": self.port}
        rows |= {"tls": self.tls, "username": self.username}
        rows |= {"allow_plaintext_auth": True} if self.tls == "none" else {}
        rows |= {"ca_file": self.ca_file} if self.ca_file else {}
        rows |= {"fingerprint": self.fingerprint} if self.fingerprint else {}
        return rows


class Kept(Struct, frozen=True):
    """Where the secret is: the settings that say so, and what must be written for it first.

    `table` has one password_ setting, or `oauth2`. `file` or `service` (of the keyring) gets
    `secret`, which is no part of the repr.
    """

    table: dict[str, Any]
    told: str  # to people: "in FILE"
    file: Path | None = None
    service: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Kept({sorted(self.table)})"


class Answers(Struct, frozen=True):
    """Everything that the settings of the new account say."""

    name: str
    server: Server
    kept: Kept
    mailboxes: tuple[str, ...]
    leave: str  # "forever", "none", or days as a duration
    schedule: str
    destination: str  # its name; "" for the archive alone
    maildir: str = ""  # of a destination that is new
    data_dir: str = ""
