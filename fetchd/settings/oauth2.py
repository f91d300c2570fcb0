"""OAuth2 in place of a password: who issues the tokens, and where they are kept.

`provider` fills in the endpoints and scopes of those that `auth.issuers` knows; with
"custom" all are given here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from fetchd.settings.values import CredentialName, FilePath, Table, Text, Whole

ISSUERS = ("google", "microsoft", "yahoo", "aol", "fastmail", "custom")


def _endpoint(url: str) -> str:
    loopback = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")
    if not url.startswith(("https://", *loopback)):
        raise ValueError("a URL that begins with https://")
    return url


Endpoint = Annotated[Text, AfterValidator(_endpoint)]


class OAuth2(Table):
    """`oauth2` of an account or a destination; `fetchd login NAME` makes the first token."""

    provider: Literal["google", "microsoft", "yahoo", "aol", "fastmail", "custom"] = "custom"
    client_id: Text
    client_secret: SecretStr | None = None
    client_secret_file: FilePath | None = None
    tenant: Text = "common"  # Microsoft's name for an organisation
    scopes: tuple[Text, ...] | None = None
    authorization_endpoint: Endpoint | None = None
    token_endpoint: Endpoint | None = None
    device_endpoint: Endpoint | None = None
    revocation_endpoint: Endpoint | None = None
    redirect_port: Annotated[Whole, Field(ge=0, le=65535)] = 0  # 0: whichever is free


class Tokens(Table):
    """Where tokens are kept; with a key they are encrypted there.

    `folder` None: "tokens" in the data folder.
    """

    store: Literal["file", "keyring"] = "file"
    folder: FilePath | None = None
    key_file: FilePath | None = None
    key_env: Text | None = None
    key_credential: CredentialName | None = None
