"""The command, in this process, for the home of any user of a Dovecot."""

from pathlib import Path

from typer.testing import CliRunner

from fetchd.cli.main import app
from tests.cli.conftest import Ran
from tests.pipeline.home import PASSWORD, Home
from tests.servers.dovecot import Dovecot

PROTOCOLS = ("pop3", "imap")


def at_home(folder: Path, dovecot: Dovecot, user: str, protocol: str, **account: object) -> Home:
    """The home of a user, who is made if he is not there."""
    dovecot.add_user(user, PASSWORD)
    port = dovecot.port.imap if protocol == "imap" else dovecot.port.pop3
    return Home(folder, port, user, protocol=protocol, **account)


def run(here: Home, *words: str) -> Ran:
    """`run(here, "browse", "work", "--json")`."""
    here.settings()
    config = ("--config", str(here.folder / "fetchd.toml"))
    done = CliRunner().invoke(app, [*config, *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)
