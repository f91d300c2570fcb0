"""What the scripted IMAP server does wrong: one field for each sin, none by default.

Numbers are lines of protocol-quirks.md. A sin that is one wrong answer at one
moment needs no field: `answers` of the server says it (see scripted_imap.py).
To add one, add a field here and look at it where the right answer is made.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.servers.scripted import Answer

NIL_BODY = b"NIL"
EMPTY_BODY = b'""'


def wrong_size(claimed: int, octets: bytes) -> bytes:
    """A literal whose size is a lie (40)."""
    return b"{%d}\r\n%b" % (claimed, octets)


@dataclass(frozen=True)
class Sins:
    """See the module; what is keyed by UID holds in every mailbox."""

    # Mailboxes
    uidnext: int | None = 0
    """34: said instead of the true one; None: not said at all; 0: the truth."""
    stale_status: bool = False
    """54: STATUS of the selected mailbox says what was there when it was selected."""
    raw_names: bool = False
    """61: names as they are between quotes, nothing escaped (Exchange)."""
    special_use_refused: bool = False
    """59: BAD to LIST with SPECIAL-USE in it (ProtonMail)."""
    id_first: bool = False
    """NetEase: after a login without ID before it, mailboxes are refused."""
    unsolicited: Mapping[str, bytes] = field(default_factory=dict)
    """36, 52: for a verb or "*", octets said before each line of an answer."""

    # FETCH
    lacking: Mapping[int, Collection[str]] = field(default_factory=dict)
    """37: items left out of a message's response: "UID", "FLAGS", "BODY", …"""
    bodies: Mapping[int, Answer] = field(default_factory=dict)
    """39, 40: said in place of a body's literal: NIL_BODY, EMPTY_BODY, wrong_size(), a fault."""
    refused: Collection[int] = ()
    """39: messages without which a FETCH of a body would be OK; with them it is NO."""
    sizes: Mapping[int, int] = field(default_factory=dict)
    """41: what RFC822.SIZE says."""
    backwards: bool = False
    """37: FETCH answers and SEARCH results come in descending order."""

    # SEARCH
    empty_search: bytes = b"* SEARCH\r\n"
    """43: said for nothing found; b"" is Apple's way."""
    search_space: bool = False
    """43: a space after the last number."""
    always_esearch: bool = False
    """64: ESEARCH for SEARCH, as IMAP4rev2 alone would."""

    # Sets and lines
    ascending_only: bool = False
    """45: BAD for a set that is not ascending (QQ, hMailServer)."""
    no_star_on_empty: bool = False
    """45: BAD for `*` in an empty mailbox."""
    no_range_of_one: bool = False
    """47: BAD for 1:1 (PMDF)."""
    line_limit: int = 1 << 20
    """46: BAD for a longer command line, CRLF included."""

    # CONDSTORE, QRESYNC, MOVE
    minus_one: bool = False
    """48: every MODSEQ is -1 (Zoho)."""
    bare_codes: bool = False
    """48: no text after a response code (Gmail)."""
    silent_enable: bool = False
    """50: OK to ENABLE without ENABLED (iCloud)."""
    vanished_besides: bytes = b""
    """50: UIDs that VANISHED (EARLIER) lists too, known or not."""
    untagged_copyuid: bool = False
    """58: COPYUID in an untagged OK (home.pl)."""

    # Logging in
    xoauth2_refused: bytes | None = None
    """23: XOAUTH2 fails with this challenge (JSON), which wants an empty line."""
    unproved_scram: bool = False
    """SCRAM-SHA-256 ends with OK, but the server never proves that it knows the password."""


HONEST = Sins()
