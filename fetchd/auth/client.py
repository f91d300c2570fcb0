"""The owner's client at an issuer: its id and secret, and how it asks.

A client names itself in the form, or in a header (RFC 6749 §2.3.1); providers differ, and
where one way is refused as `invalid_client` the other is tried once.
"""

from collections.abc import Mapping

from fetchd.auth.endpoint import PATIENCE, Answer, Line, ask
from fetchd.auth.issuers import Issuer, issuer_of, scope_of
from fetchd.auth.reading import clean, from_file
from fetchd.errors import UsageError
from fetchd.settings import Server
from fetchd.telemetry import conceal
from fetchd.values import Struct


class Client(Struct, frozen=True):
    """`scope` is what tokens must allow; without `secret` it is a public client."""

    issuer: Issuer
    id: str
    scope: str
    line: Line
    secret: str = ""
    redirect_port: int = 0

    def __repr__(self) -> str:
        return f"Client({self.issuer.name!r}, {self.id!r})"

    async def ask(self, url: str, form: Mapping[str, str], *, patience: float = PATIENCE) -> Answer:
        """POST the form in the client's name."""
        basic = self.issuer.basic and bool(self.secret)
        answer = await self._ask(url, form, patience, basic=basic)
        if self.secret and answer.body.get("error") == "invalid_client":
            other = await self._ask(url, form, patience, basic=not basic)
            if other.body.get("error") != "invalid_client":
                return other
        return answer

    async def _ask(
        self, url: str, form: Mapping[str, str], patience: float, *, basic: bool
    ) -> Answer:
        if basic:
            named = (self.id, self.secret)
            return await ask(url, form, self.line, basic=named, patience=patience)
        own = {"client_id": self.id} | ({"client_secret": self.secret} if self.secret else {})
        return await ask(url, {**form, **own}, self.line, patience=patience)


def client_of(owner: Server, *, secret: bool = True) -> Client:
    """The client that its settings name; blocking, since the secret may lie in a file."""
    oauth2 = owner.oauth2
    if oauth2 is None:
        raise UsageError(
            f"{owner.called} logs in by a password, not by OAuth2",
            advice="Set oauth2 in place of the password; see the README.",
        )
    issuer = issuer_of(oauth2)
    proxy = owner.proxy.get_secret_value() if owner.proxy is not None else ""
    return Client(
        issuer,
        oauth2.client_id,
        scope_of(owner, issuer),
        Line(proxy, owner.bind_address or ""),
        _secret(owner) if secret else "",
        oauth2.redirect_port,
    )


def _secret(owner: Server) -> str:
    oauth2, lack = owner.oauth2, f"{owner.called}: no client_secret"
    assert oauth2 is not None
    if oauth2.client_secret is not None:
        return clean(lack, oauth2.client_secret.get_secret_value(), "client_secret")
    if oauth2.client_secret_file is None:
        return ""
    found = clean(lack, from_file(lack, oauth2.client_secret_file), "client_secret_file")
    conceal(found)
    return found
