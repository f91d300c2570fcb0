"""What is known of a mail provider, as one value: servers, ways to log in, limits, habits.

A figure that a provider does not publish is None, and nothing is held to it; one that only
its users have observed says so beside its source. Sizes are in octets.
"""

from datetime import timedelta
from enum import StrEnum

from fetchd.values import Struct

MB = 1_000_000


class Secret(StrEnum):
    """What a login there takes, in the order in which to propose it."""

    PASSWORD = "password"  # noqa: S105  # a word, and no secret
    APP_PASSWORD = "app password"  # noqa: S105  # made for one program, on a page of the provider
    OAUTH2 = "oauth2"


class Quirk(StrEnum):
    """Where it departs from the protocols. fetchd copes; this is to explain what is seen."""

    LABELS = "labels"  # one message in several mailboxes: \\All has them all
    POP_HIDES = "pop3-hides"  # RETR and QUIT hide a message from later sessions
    POP_IN_PARTS = "pop3-in-parts"  # lists some hundreds of messages at a time
    LISTS_AT_MOST = "lists-at-most"  # a mailbox shows no more than so many messages
    WANTS_ID = "wants-id"  # no mailbox opens before the ID command
    NO_SEARCH = "no-search"
    WRONG_SEARCH = "wrong-search"  # SEARCH by date finds what it should not
    SORTED_SETS = "sorted-sets"  # BAD for UID sets that do not ascend
    ENABLE_UNTOLD = "enable-untold"  # OK to ENABLE without saying what is enabled
    FETCH_RFC822 = "fetch-rfc822"  # OK to RFC822 without a body; BODY.PEEK[] works
    NO_LIST_RETURN = "no-list-return"  # BAD to LIST with options that it announces
    BAD_MODSEQ = "bad-modseq"  # a HIGHESTMODSEQ that is none
    TWO_STEP_OAUTH = "two-step-oauth"  # XOAUTH2 over POP3 without an initial response
    THROTTLES = "throttles"  # asks to come back later, and says in how long
    NOT_CONNECTED = "not-connected"  # "authenticated but not connected" is no wrong password
    REPEATS_BYE = "repeats-bye"


class Endpoint(Struct, frozen=True):
    """One server."""

    host: str
    port: int
    tls: str = "implicit"  # or "starttls"


class Caps(Struct, frozen=True):
    """What is allowed by one protocol; None: not published, or without limit.

    `shared`: one account has this for itself, or all accounts of the host together.
    """

    download_per_day: int | None = None
    upload_per_day: int | None = None
    logins_per_hour: int | None = None
    connections: int | None = None
    poll_floor: timedelta | None = None
    shared: str = "account"  # or "host"


UNLIMITED = Caps()


class Region(Struct, frozen=True):
    """Servers of the same provider for some of its domains, or for those with such an MX."""

    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    imap: Endpoint | None = None
    pop3: Endpoint | None = None
    smtp: Endpoint | None = None


class Fact(Struct, frozen=True):
    """What is known, and from where: an address on the web, or a document."""

    what: str
    source: str


class Preset(Struct, frozen=True, kw_only=True):
    """One provider.

    `mx`: its mail exchangers' names end so. `hosts`: its servers' other names. `username`:
    whether one logs in with the whole address or with what stands before the @. `issuer`: of
    OAuth2 tokens, as the settings call it. `mailboxes`: patterns to propose.
    """

    name: str
    title: str
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    imap: Endpoint | None = None
    pop3: Endpoint | None = None
    smtp: Endpoint | None = None
    regions: tuple[Region, ...] = ()
    username: str = "address"  # or "local"
    secrets: tuple[Secret, ...] = (Secret.PASSWORD,)
    issuer: str | None = None
    app_passwords: str = ""  # the page where they are made
    imap_caps: Caps = UNLIMITED
    pop3_caps: Caps = UNLIMITED
    message_size: int | None = None  # the largest message that it takes
    quirks: frozenset[Quirk] = frozenset()
    mailboxes: tuple[str, ...] = ("*",)
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    def caps(self, protocol: str) -> Caps:
        """What "imap" or "pop3" allows."""
        return self.imap_caps if protocol == "imap" else self.pop3_caps

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the facts are from, each once."""
        return tuple(dict.fromkeys(fact.source for fact in self.facts))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All its servers, in all regions."""
        places: tuple[Preset | Region, ...] = (self, *self.regions)
        found = [one for place in places for one in (place.imap, place.pop3, place.smtp)]
        return tuple(one for one in found if one is not None)

    def region(self, domain: str, exchanger: str = "") -> Region:
        """The servers for addresses of this domain, whose mail exchanger may be known."""
        for region in self.regions:
            if domain in region.domains:
                return region
        if domain not in self.domains:
            for region in self.regions:
                if is_within(exchanger, region.mx):
                    return region
        return Region(imap=self.imap, pop3=self.pop3, smtp=self.smtp)


def is_within(host: str, zones: tuple[str, ...]) -> bool:
    """Whether a host name is one of these, or below one."""
    return any(host == zone or host.endswith(f".{zone}") for zone in zones)


def imaps(host: str) -> Endpoint:
    """At the usual port."""
    return Endpoint(host, 993)


def pop3s(host: str) -> Endpoint:
    """At the usual port."""
    return Endpoint(host, 995)


def submissions(host: str) -> Endpoint:
    """At the usual port."""
    return Endpoint(host, 465)


def submission(host: str) -> Endpoint:
    """At the usual port, with STARTTLS."""
    return Endpoint(host, 587, "starttls")
