"""Who issues tokens: endpoints, scopes and manners of each provider, and of any by settings.

What the settings give wins over what is written here. fetchd ships no client of its own:
`client_id` is one that the owner has registered. To add a provider: a row in ISSUERS with
its source, its name in settings.oauth2.
"""

from collections.abc import Mapping
from urllib.parse import quote

from fetchd.settings import ImapAccount, ImapDestination, OAuth2, Pop3Account, Server
from fetchd.values import Struct, field, replace

IMAP, POP3, SMTP = "imap", "pop3", "smtp"
LOOPBACK = "http://127.0.0.1"  # RFC 8252 §7.3: an address rather than a name, and any port


class Issuer(Struct, frozen=True):
    """`scopes` by protocol; an empty endpoint is one that is not there.

    `extra` goes into the authorization request. `redirect` is the loopback's scheme and host,
    to which a port is added; empty where the provider sends nobody to a loopback: then `oob`
    shows the code to be pasted. `basic`: the client names itself in a header (RFC 6749 §2.3.1)
    and not in the form.
    """

    name: str
    authorization: str
    token: str
    device: str = ""
    revocation: str = ""
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[tuple[str, str], ...] = ()
    redirect: str = LOOPBACK
    oob: bool = False
    basic: bool = False
    scope_on_refresh: bool = False
    no_device: str = ""  # why there is no device flow


def _every(*scopes: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys((IMAP, POP3, SMTP), scopes)


_MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
_OUTLOOK = "https://outlook.office.com"
_FASTMAIL = "https://www.fastmail.com/dev/protocol"

ISSUERS = {
    # https://developers.google.com/identity/protocols/oauth2/native-app
    # https://developers.google.com/workspace/gmail/imap/xoauth2-protocol (the scope)
    # https://developers.google.com/identity/protocols/oauth2/limited-input-device#allowedscopes
    "google": Issuer(
        "Google",
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        revocation="https://oauth2.googleapis.com/revoke",
        scopes=_every("https://mail.google.com/"),
        # Without consent asked anew, a second login brings no refresh token.
        extra=(("access_type", "offline"), ("prompt", "consent")),
        no_device="Google's device flow allows no scope of Gmail",
    ),
    # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
    # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
    # https://learn.microsoft.com/exchange/client-developer/legacy-protocols/
    #   how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth (the scopes)
    # https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions:
    # any port of "localhost" fits a registered http://localhost, but not of 127.0.0.1
    "microsoft": Issuer(
        "Microsoft",
        f"{_MICROSOFT}/authorize",
        f"{_MICROSOFT}/token",
        device=f"{_MICROSOFT}/devicecode",
        scopes={
            IMAP: (f"{_OUTLOOK}/IMAP.AccessAsUser.All", "offline_access"),
            POP3: (f"{_OUTLOOK}/POP.AccessAsUser.All", "offline_access"),
            SMTP: (f"{_OUTLOOK}/SMTP.Send", "offline_access"),
        },
        redirect="http://localhost",
        scope_on_refresh=True,
    ),
    # https://developer.yahoo.com/oauth2/guide/flows_authcode/ ("oob" shows the code)
    # https://hg.mozilla.org/comm-central: mailnews/base/src/OAuth2Providers (the scope)
    "yahoo": Issuer(
        "Yahoo",
        "https://api.login.yahoo.com/oauth2/request_auth",
        "https://api.login.yahoo.com/oauth2/get_token",
        scopes=_every("mail-w"),
        redirect="",
        oob=True,
        no_device="Yahoo has no device flow",
    ),
    # AOL's mail is Yahoo's, and so is its way.
    "aol": Issuer(
        "AOL",
        "https://api.login.aol.com/oauth2/request_auth",
        "https://api.login.aol.com/oauth2/get_token",
        scopes=_every("mail-w"),
        redirect="",
        oob=True,
        no_device="AOL has no device flow",
    ),
    # https://www.fastmail.com/developer/oauth/
    "fastmail": Issuer(
        "Fastmail",
        "https://api.fastmail.com/oauth/authorize",
        "https://api.fastmail.com/oauth/refresh",  # of codes too
        revocation="https://api.fastmail.com/oauth/revoke",
        scopes={
            IMAP: (f"{_FASTMAIL}-imap",),
            POP3: (f"{_FASTMAIL}-pop",),
            SMTP: (f"{_FASTMAIL}-smtp",),
        },
        no_device="Fastmail has no device flow",
    ),
    "custom": Issuer(
        "the authorization server",
        "",
        "",
        basic=True,
        no_device="no device_endpoint is set",
    ),
}


def issuer_of(oauth2: OAuth2) -> Issuer:
    """The provider's row, with what the settings give in its place."""
    known = ISSUERS[oauth2.provider]
    tenant = quote(oauth2.tenant, safe="")
    scopes = known.scopes if oauth2.scopes is None else _every(*oauth2.scopes)
    return replace(
        known,
        authorization=oauth2.authorization_endpoint or known.authorization.format(tenant=tenant),
        token=oauth2.token_endpoint or known.token.format(tenant=tenant),
        device=oauth2.device_endpoint or known.device.format(tenant=tenant),
        revocation=oauth2.revocation_endpoint or known.revocation,
        scopes=scopes,
    )


def scope_of(owner: Server, issuer: Issuer) -> str:
    """What a token for this account or destination must allow, as requests say it."""
    match owner:
        case ImapAccount() | ImapDestination():
            protocol = IMAP
        case Pop3Account():
            protocol = POP3
        case _:
            protocol = SMTP
    return " ".join(issuer.scopes.get(protocol, ()))


def lacking(asked: str, granted: str) -> tuple[str, ...]:
    """What was asked for and not granted, as far as the answer says what was (RFC 6749 §5.1).

    Only scopes of mail count: that of a refresh token shows itself by the token.
    """
    if not granted:
        return ()
    had = {one.casefold() for one in granted.split()}
    return tuple(
        one for one in asked.split() if one.casefold() not in had and one != "offline_access"
    )
