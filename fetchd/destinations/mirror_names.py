"""Where a mirror keeps what: the folder of an account, and in it of each mailbox.

A flat Maildir has the same names for the folders that its settings or routes want.

Maildir++: a mailbox's levels joined by dots behind a dot, INBOX being the account's
folder itself ("" here). The octets are those that Dovecot with its listescape plugin
writes for a name, so that it serves every mailbox under the name that fetchd shows;
without the plugin `\\2e` is seen where a dot was in a level. So a blank stays a blank
wherever it stands: encoded, Dovecot would list the mailbox and then not find it. Only
a name with NUL it lists and does not find in any spelling.

fetchd's notation (policy.mailboxes) keeps names apart already and is left as it is but
for a "%25" that says "%" and could say nothing else. No name in it holds "%!" other than
at its end, and so "%!" marks here what no name can say:

    %!               a level of no characters
    %!Removed        the server's own Removed, where `removed = "trash"` needs that name
    …%!<digest>      a name of more than LIMIT octets

An undecodable name (it ends in "%!") shows its octets, as %FC, already. The account's
folder is called as in the archive. To change any of this is to lose sight of every
message delivered before.
"""

import hashlib
import re
from functools import lru_cache

from fetchd.archive.names import encoded
from fetchd.policy.mailboxes import RAW
from fetchd.policy.roles import INBOX
from fetchd.protocol.imap.names import encode

LIMIT = 255  # octets: what file systems take
REMOVED = "Removed"
CACHED = 10_000  # names: they are asked for with every message

_MARK = "%!"
_DOVECOT = re.compile(r"[.\\]|(?<![^/])~")  # what listescape escapes; ~ where a level begins
_PERCENT = re.compile("%25(?!(?:25)*(?:2F|!))")


@lru_cache(CACHED)
def account_folder(account: str) -> str:
    """The folder below the destination's path."""
    return encoded(account.encode("utf-8", "surrogatepass"))


@lru_cache(CACHED)
def mailbox_folder(mailbox: str, *, trash: bool = False) -> str:
    """The folder in the account's; `trash`: it has folders for what was removed, too."""
    if mailbox == INBOX:
        return ""
    levels = _levels(mailbox)
    if trash and levels[0] == REMOVED:
        levels[0] = _MARK + REMOVED
    return _folder(levels, mailbox)


def removed_folder(mailbox: str) -> str:
    """Where that mailbox's messages go once they vanished from the server."""
    return _folder([REMOVED, *_levels(mailbox)], mailbox)


def _levels(mailbox: str) -> list[str]:
    raw = mailbox.endswith(RAW)
    text = mailbox.removesuffix(RAW) if raw else _PERCENT.sub("%", mailbox)
    levels = [level or _MARK for level in text.split("/")]
    levels[-1] += RAW * raw
    return levels


def _folder(levels: list[str], mailbox: str) -> str:
    folder = _spelled("/".join(levels))
    return folder if len(folder) <= LIMIT else _shortened("/".join(levels), mailbox)


def _shortened(text: str, mailbox: str) -> str:
    """As much of the beginning as fits, and a digest of the whole."""
    digest = hashlib.sha256(mailbox.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    length = min(len(text), LIMIT)
    while len(folder := _spelled(f"{text[:length]}{_MARK}{digest}")) > LIMIT:
        length -= 1
    return folder


def _spelled(text: str) -> str:
    escaped = _DOVECOT.sub(lambda found: f"\\{ord(found[0]):02x}", text)
    return "." + encode(escaped.replace("/", ".")).decode("ascii")
