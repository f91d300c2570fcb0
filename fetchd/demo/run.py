"""The demonstration: sync, sync again, status, verify, and the Maildir's listing.

Everything lives in one folder (./demo-data unless named), made afresh at every
run; a folder that does not carry our marker file is never touched. Exit code 0
only if every step succeeded and every sample message is in the Maildir with
its exact text.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fetchd.demo import sample
from fetchd.demo.server import PASSWORD, USERNAME, serve

MARKER = ".fetchd-demo"
SHOWN = 8  # names of the listing

_SETTINGS = """\
data_dir = {data}

[accounts.demo]
protocol = "pop3"
host = "127.0.0.1"
port = {port}
tls = "none"
allow_plaintext_auth = true   # loopback
username = "{username}"
password = "{password}"
deliver_to = ["home"]

[destinations.home]
kind = "maildir"
path = {maildir}
"""


def main(arguments: Sequence[str] = ()) -> int:
    """Run it all; the exit code."""
    folder = Path(arguments[0] if arguments else "demo-data").absolute()
    if not _fresh(folder):
        print(f"{folder} is there and is not a demo's. Name another folder or remove it.")
        return 2
    messages = sample.messages()
    with serve(messages) as server:
        settings = _write_settings(folder, server.port)
        print(f"{len(messages)} messages wait on a POP3 server at 127.0.0.1:{server.port}.")
        steps = (
            ("First sync: everything comes home", ("sync",)),
            ("Second sync: nothing is new", ("sync",)),
            ("Status", ("status",)),
            ("Verify: every stored octet is read and hashed again", ("verify",)),
        )
        for title, command in steps:
            if not _step(title, command, settings):
                return 1
    return _listing(folder / "Maildir", messages)


def _fresh(folder: Path) -> bool:
    """An empty folder of our own; False if what is there is not ours."""
    if folder.is_symlink() or folder.exists():
        if not (folder / MARKER).is_file() or folder.is_symlink():
            return False
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    (folder / MARKER).touch()
    return True


def _write_settings(folder: Path, port: int) -> Path:
    path = folder / "fetchd.toml"
    text = _SETTINGS.format(
        data=_toml(folder / "data"),
        maildir=_toml(folder / "Maildir"),
        port=port,
        username=USERNAME,
        password=PASSWORD,
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
    return path


def _toml(path: Path) -> str:
    """A path as a TOML basic string."""
    plain = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _step(title: str, command: Sequence[str], settings: Path) -> bool:
    shown = f"fetchd {' '.join(command)} --config {settings}"
    print(f"\n== {title}\n$ {shown}", flush=True)
    # What the person's own environment sets must not reach the demonstration.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FETCHD_")}
    line = [sys.executable, "-m", "fetchd", *command, "--config", str(settings)]
    code = subprocess.run(line, env=environment, check=False).returncode  # noqa: S603
    if code != 0:
        print(f"'fetchd {' '.join(command)}' ended with exit code {code}.", file=sys.stderr)
    return code == 0


def _listing(maildir: Path, messages: Sequence[bytes]) -> int:
    """Show the Maildir and compare it, octet by octet, with what the server held."""
    files = sorted((maildir / "new").iterdir()) if (maildir / "new").is_dir() else []
    print(f"\n== The Maildir: {len(files)} messages in {maildir / 'new'}")
    for file in files[:SHOWN]:
        print(f"{file.stat().st_size:>9}  {file.name}")
    if len(files) > SHOWN:
        print(f"          and {len(files) - SHOWN} more")
    held = _digests(_as_sent(message) for message in messages)
    found = _digests(file.read_bytes() for file in files)
    if held != found:
        missing, surplus = (held - found).total(), (found - held).total()
        print(f"{missing} messages are missing, {surplus} are not the server's.", file=sys.stderr)
        return 1
    print(f"All {len(messages)} messages are home, octet for octet.")
    return 0


def _as_sent(message: bytes) -> bytes:
    """As a Maildir holds it: POP3 ends the last line, and lines end with LF."""
    ended = message if message.endswith(b"\r\n") else message + b"\r\n"
    return ended.replace(b"\r\n", b"\n")


def _digests(messages: Iterable[bytes]) -> Counter[str]:
    return Counter(hashlib.sha256(message).hexdigest() for message in messages)
