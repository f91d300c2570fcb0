"""Settings files to load, and what is said of those that are wrong."""

from pathlib import Path

import pytest

from fetchd.errors import SettingsError
from fetchd.settings import load

GOOD = """\
[accounts.my-work]
protocol = "pop3"
host = "h"
username = "u"
password_env = "FETCHD_SECRET"
"""
IMAP = GOOD.replace("pop3", "imap")
MIRROR = '[destinations.d]\nkind = "maildir"\npath = "x"\nlayout = "mirror"\n'

SMTP = """\
[destinations.d]
kind = "smtp"
host = "h"
recipients = ["a@example.net"]
"""
LMTP = SMTP.replace('kind = "smtp"\nhost = "h"', 'kind = "lmtp"')
APPEND = """\
[destinations.d]
kind = "imap"
host = "h.example.net"
username = "v"
password_env = "FETCHD_SECRET"
"""
MBOX = '[destinations.d]\nkind = "mbox"\npath = "x"\n'
MAILDIR = '[destinations.home]\nkind = "maildir"\npath = "home"\n'


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "fetchd.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def problems(folder: Path, text: str, mode: int = 0o600, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(written(folder, text, mode), environ)
    return str(caught.value).replace(str(folder), "")
