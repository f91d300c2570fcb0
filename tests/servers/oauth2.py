"""A private authorization server for tests: django-oauth-toolkit in a process of its own.

What it answers is the library's; see oauth2_provider. Tests look into its database to see
what became of tokens, and to let one end before its time.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.lacking import lacking
from tests.servers.processes import end_session, free_ports

START_DEADLINE = 60.0  # seconds; migrations take some
CLIENT, SECRET = "fetchd", "client-secret-of-the-tests"
PUBLIC = "fetchd-public"


class Provider:
    """One authorization server with its database."""

    def __init__(self, *, lifetime: int = 3600) -> None:
        """`lifetime`: seconds that an access token serves."""
        self._folder = tempfile.TemporaryDirectory(prefix="oauth2-")
        self.folder = Path(self._folder.name)
        self._lifetime = lifetime
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        if find_spec("oauth2_provider") is None:
            lacking("the package django-oauth-toolkit is not installed")
        (self.port,) = free_ports(1)
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Start, and return once it answers; port and tokens survive a restart."""
        command = [sys.executable, "-m", "tests.servers.oauth2_provider"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self.folder), str(self.port), str(self._lifetime)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_DEADLINE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the provider did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_session(process)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def requests(self, path: str) -> list[str]:
        """The log's lines for this path, with the status of each answer."""
        return [line for line in self.log().splitlines() if f" /o/{path}/" in line]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/o/{path}/"

    @property
    def introspection(self) -> str:
        """Where a mail server asks, with the client's name and secret in it."""
        return self.url("introspect").replace("//", f"//{CLIENT}:{SECRET}@", 1)

    def oauth2(self, **changes: Any) -> dict[str, Any]:
        """The table `oauth2` for its confidential client."""
        return {
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scopes": ["mail"],
            "authorization_endpoint": self.url("authorize"),
            "token_endpoint": self.url("token"),
            "revocation_endpoint": self.url("revoke_token"),
        } | changes

    def public(self, **changes: Any) -> dict[str, Any]:
        """The same for its public client, which has the device flow."""
        table = self.oauth2(
            client_id=PUBLIC, device_endpoint=self.url("device-authorization"), **changes
        )
        del table["client_secret"]
        return table

    # -- people ----------------------------------------------------------------

    def consent(self, address: str) -> str:
        """What the browser is sent to by someone who agrees."""
        try:
            with _OPENER.open(address, timeout=30) as answer:
                raise RuntimeError(f"no redirect but {answer.status}")
        except urllib.error.HTTPError as answer:
            with answer:
                if answer.code != 302:
                    raise RuntimeError(f"{answer.code}: {answer.read()[:500]!r}") from None
                return str(answer.headers["Location"])

    def approve_device(self, code: str, action: str = "accept") -> None:
        """Type the code, and agree or ("deny") not."""
        confirm = self._posted(self.url("device"), user_code=code)
        self._posted(urllib.parse.urljoin(self.url("device"), confirm), action=action)

    def _posted(self, address: str, **form: str) -> str:
        body = urllib.parse.urlencode(form).encode()
        try:
            with _OPENER.open(address, body, timeout=30) as answer:
                raise RuntimeError(f"no redirect but {answer.read()[:2000]!r}")
        except urllib.error.HTTPError as answer:
            with answer:
                return str(answer.headers["Location"])

    # -- tokens ----------------------------------------------------------------

    def expire_access_tokens(self) -> None:
        """None of them serves any longer, though their holders believe so."""
        self._run("UPDATE oauth2_provider_accesstoken SET expires = '2000-01-01 00:00:00'")

    def living_refresh_tokens(self) -> int:
        return int(
            self._run("SELECT count(*) FROM oauth2_provider_refreshtoken WHERE revoked IS NULL")
        )

    def revoke_everything(self) -> None:
        """As an owner does on the provider's page."""
        self._run("DELETE FROM oauth2_provider_refreshtoken")
        self._run("DELETE FROM oauth2_provider_accesstoken")

    def _run(self, statement: str) -> Any:
        with closing(sqlite3.connect(self.folder / "provider.db", timeout=30)) as database:
            row = database.execute(statement).fetchone()
            database.commit()
        return row[0] if row else None

    def _answers(self) -> bool:
        try:
            with _OPENER.open(self.url("token"), timeout=5):
                return True
        except urllib.error.HTTPError as answer:
            answer.close()
            return True  # any answer will do
        except OSError:
            return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def dovecot_settings(provider: Provider, file: Path) -> str:
    """What Dovecot needs to take this provider's tokens; `file` is written for it."""
    file.write_text(
        f"introspection_url = {provider.introspection}\n"
        "introspection_mode = post\n"
        "username_attribute = username\n"
        "active_attribute = active\n"
        "active_value = true\n"
        "timeout_msecs = 10000\n"
    )
    file.chmod(0o644)
    return (
        f"passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {file}\n}}\n"
    )


MECHANISMS = ("plain", "login", "xoauth2", "oauthbearer")
