"""The installed command as a person meets it: its words, its exit code, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "open sesame"
DEADLINE = 60.0
POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@dataclass(frozen=True, slots=True)
class Said:
    """What one call of the command said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        return self.out + self.err


class Command:
    """One person's settings, and the command run under them."""

    def __init__(self, folder: Path, port: int, **account: object) -> None:
        self.folder = folder
        self.account: dict[str, object] = {
            "protocol": "pop3",
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "allow_plaintext_auth": True,
            "username": "work",
            "password": PASSWORD,
            "deliver_to": ["home"],
            "timeouts": {"connect": "3s", "read": "1s"},
            **account,
        }
        self.file = folder / "fetchd.toml"
        self.environment: dict[str, str] = {}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def maildir(self) -> Path:
        return self.folder / "Maildir"

    def write(self, text: str | None = None) -> None:
        """The settings file: this text, or what `account` says."""
        own = [
            f"data_dir = {json.dumps(str(self.data))}",
            "[accounts.work]",
            *(f"{key} = {_toml(value)}" for key, value in self.account.items()),
            '[destinations.home]\nkind = "maildir"',
            f"path = {json.dumps(str(self.maildir))}",
            "",
        ]
        self.file.write_text("\n".join(own) if text is None else text)
        self.file.chmod(0o600)

    def __call__(self, *arguments: str, powerless: bool = False) -> Said:
        """Run it; `powerless` takes from root the right to ignore permissions."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FETCHD_")}
        prefix = POWERLESS if powerless and os.geteuid() == 0 else ()
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "fetchd", *arguments, "--config", str(self.file)],
            env={**clean, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        said = Said(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode("utf-8")
        )
        assert "Traceback" not in said.words, said.words
        assert PASSWORD not in said.words
        return said

    def json(self, *arguments: str) -> Mapping[str, object]:
        """What it says to programs."""
        said = self(*arguments, "--json")
        parsed = json.loads(said.out)
        assert isinstance(parsed, dict)
        return parsed


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)
