"""What an IMAP server says, as values: one class for each response of RFC 3501 and RFC 9051.

Mailbox names and labels are bytes as on the wire (names.py decodes them); flags
are str as sent, case and all; UIDs, sizes and sequence numbers are int. `None`
says that the server did not say, or said what cannot be understood, and then a
Quirk was counted.

A new sin of a server gets a member of Quirk here and a lenient branch where it
is read; strict=True must refuse it.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from fetchd.protocol.imap.dates import read_date
from fetchd.protocol.imap.sequence import UidSet
from fetchd.values import Struct


class State(StrEnum):
    """RFC 9051 §3, plus the moment before the greeting."""

    GREETING = "greeting"
    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


class Outcome(StrEnum):
    """The first word of a status response."""

    OK = "OK"
    NO = "NO"
    BAD = "BAD"


class Quirk(StrEnum):
    """Sins that are tolerated and counted, with the server or client project that knows them."""

    LEADING_NUL = "leading-nul"  # NULs before a response (imapflow)
    BARE_LF = "bare-lf"  # a line without CR
    EMPTY_LINE = "empty-line"  # GroupWise, hMailServer
    SPACING = "spacing"  # doubled, missing or trailing space: Exchange, Domino
    TEXT_MISSING = "text-missing"  # a status without words: Gmail after a code, Cyrus murder
    CODE_MALFORMED = "code-malformed"  # a known code with an argument of the wrong kind
    STRAY_CONTINUATION = "stray-continuation"  # `+` that nobody waits for
    BARE_CONTINUATION = "bare-continuation"  # `+` without its space
    BYE_REPEATED = "bye-repeated"  # Yandex, for ever
    LITERAL_PLUS_SPACED = "literal-plus-spaced"  # "LITERAL +" (MailKit)
    ENABLED_MISSING = "enabled-missing"  # iCloud: OK to ENABLE, and no word of what
    SEARCH_SILENT = "search-silent"  # Apple: nothing found, nothing said
    SEARCH_NIL = "search-nil"  # "* SEARCH NIL"
    SEARCH_SPACING = "search-spacing"  # a space behind the last number (imap-codec)
    COPYUID_UNTAGGED = "copyuid-untagged"  # home.pl: to COPY, before the tagged OK
    MODSEQ_OUT_OF_RANGE = "modseq-out-of-range"  # Zoho: -1; others beyond 63 bits
    MODSEQ_BARE = "modseq-bare"  # without its parentheses
    NUMBER_MALFORMED = "number-malformed"  # negative, fractional, too large or no number
    UID_OUT_OF_RANGE = "uid-out-of-range"  # 0, or more than 32 bits
    UIDVALIDITY_ZERO = "uidvalidity-zero"  # as good as none
    BODY_NIL = "body-nil"  # Exchange, Yahoo: a listed message without octets
    DATE_MALFORMED = "date-malformed"  # no zone, or no date at all
    FLAGS_ODD = "flags-odd"  # NIL, or quoted: Exchange, Courier
    DELIMITER_ODD = "delimiter-odd"  # "" or more than one character: hMailServer
    NAME_UNQUOTED = "name-unquoted"  # spaces or specials in an atom: Exchange, Domino
    NAME_QUOTES = "name-quotes"  # a quote inside quotes, not escaped (MailKit)
    NAME_8BIT = "name-8bit"  # raw UTF-8 or worse that UTF8=ACCEPT did not allow: Exchange, QQ
    NAMESPACE_ODD = "namespace-odd"  # hMailServer 4, Exchange 2003: a part missing


# -- Status ------------------------------------------------------------------------


class AppendUid(Struct, frozen=True):
    """RFC 4315 §3: where an appended message is."""

    uidvalidity: int
    uids: UidSet


class CopyUid(Struct, frozen=True):
    """RFC 4315 §3: the n-th of `source` became the n-th of `destination`."""

    uidvalidity: int
    source: UidSet
    destination: UidSet


CodeValue = None | int | str | tuple[str, ...] | UidSet | AppendUid | CopyUid


class Code(Struct, frozen=True):
    """What stands in brackets: `name` in capitals, its arguments raw and understood.

    int: UIDVALIDITY UIDNEXT UNSEEN HIGHESTMODSEQ APPENDLIMIT · str: MAILBOXID ·
    tuple: CAPABILITY PERMANENTFLAGS · UidSet: MODIFIED · AppendUid, CopyUid: APPENDUID COPYUID.
    All others, and those malformed, have None.
    """

    name: str
    raw: bytes = b""
    value: CodeValue = None


class Status(Struct, frozen=True):
    """An untagged OK, NO or BAD; which command it is about, only the shell can know."""

    outcome: Outcome
    code: Code | None
    text: str


class Bye(Struct, frozen=True):
    """The server hangs up, asked or not; nothing may be sent any more."""

    code: Code | None
    text: str


# -- Server and mailboxes ------------------------------------------------------------


class Capability(Struct, frozen=True):
    """Names in capitals."""

    names: frozenset[str]


class Enabled(Struct, frozen=True):
    """Names in capitals (RFC 5161)."""

    names: frozenset[str]


class Identity(Struct, frozen=True):
    """RFC 2971: the server's answer to ID; field names in lower case."""

    fields: tuple[tuple[str, str | None], ...]


class Namespace(Struct, frozen=True):
    """A prefix with its delimiter, which None says there is none of."""

    prefix: bytes
    delimiter: str | None


class Namespaces(Struct, frozen=True):
    """RFC 2342."""

    personal: tuple[Namespace, ...]
    others: tuple[Namespace, ...]
    shared: tuple[Namespace, ...]


class Listed(Struct, frozen=True):
    """LIST, LSUB or XLIST (`verb`): attributes in lower case, the name as on the wire."""

    verb: str
    attributes: frozenset[str]
    delimiter: str | None
    name: bytes
    child_info: tuple[str, ...] = ()  # RFC 9051 §6.3.9.6, in capitals
    old_name: bytes | None = None


class MailboxStatus(Struct, frozen=True):
    """STATUS (RFC 9051 §7.3.4), asked for or by LIST-STATUS and NOTIFY."""

    name: bytes
    messages: int | None = None
    uidnext: int | None = None
    uidvalidity: int | None = None
    unseen: int | None = None
    recent: int | None = None
    deleted: int | None = None
    size: int | None = None
    highestmodseq: int | None = None
    mailboxid: str | None = None
    appendlimit: int | None = None


class Searched(Struct, frozen=True):
    """SEARCH, or ESEARCH with its tag (RFC 9051 §7.3.4); numbers are UIDs where UIDs were asked."""

    found: UidSet
    tag: str | None = None
    uid: bool | None = None  # None: SEARCH does not say
    count: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    modseq: int | None = None


class Other(Struct, frozen=True):
    """A response that fetchd has no use for: SORT, QUOTA, ACL, METADATA and what is to come."""

    name: str
    raw: bytes


# -- The selected mailbox ---------------------------------------------------------------


class Flags(Struct, frozen=True):
    """The flags that a mailbox knows."""

    flags: tuple[str, ...]


class Exists(Struct, frozen=True):
    """How many messages there are."""

    count: int


class Recent(Struct, frozen=True):
    """Not in RFC 9051."""

    count: int


class Expunged(Struct, frozen=True):
    """By sequence number, which only the count of messages can make use of."""

    number: int


class Vanished(Struct, frozen=True):
    """RFC 7162 §3.2.10; `earlier`: as an answer, and possibly with UIDs never heard of."""

    uids: UidSet
    earlier: bool


class Extra(NamedTuple):
    """What few servers say of a message (RFC 8474; Gmail)."""

    email_id: str | None = None
    thread_id: str | None = None
    gmail_id: int | None = None
    gmail_thread: int | None = None
    labels: tuple[bytes, ...] | None = None  # X-GM-LABELS, as on the wire, unquoted


NO_EXTRA = Extra()


class Fetched(NamedTuple):
    """One FETCH response, complete; after BodyStart it is the end of the body too.

    A named tuple, since a frozen dataclass takes four times as long to make and
    a large mailbox has 100,000 of these.
    """

    number: int
    uid: int | None = None
    flags: tuple[str, ...] | None = None
    size: int | None = None  # RFC822.SIZE, which may differ from what is sent
    date: str | None = None  # INTERNALDATE as sent, well-formed
    modseq: int | None = None
    header: bytes | None = None  # of BODY[HEADER], BODY[HEADER.FIELDS (...)] or RFC822.HEADER
    body: int | None = None  # octets of BODY[] that came as BodyChunk; None: absent or NIL
    extra: Extra = NO_EXTRA

    @property
    def internal_date(self) -> datetime | None:
        """Aware; computed at each call. None for dates such as 31 February, too."""
        return None if self.date is None else read_date(self.date)


Untagged = (
    Status
    | Bye
    | Capability
    | Enabled
    | Identity
    | Namespaces
    | Listed
    | MailboxStatus
    | Searched
    | Flags
    | Exists
    | Recent
    | Expunged
    | Vanished
    | Fetched
    | Other
)
