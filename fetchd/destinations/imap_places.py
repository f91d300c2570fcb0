"""Into which mailbox of an IMAP server a message goes, and with which flags. Pure.

A destination's `mailbox`, or a route's `folder` in its stead, is one of

    INBOX                        in any case
    \\Archive                     a role: whichever mailbox has it there
    Kept/{account}/{mailbox}     levels joined by "/", in fetchd's notation (policy.mailboxes)

In a template {account} is one level, whatever characters the name holds; {mailbox} has the
levels that the mailbox has at its source. What no server would take in a name, control
characters and a level of nothing, becomes "_". What the target's own delimiter makes of
a name, `policy.restoring.wire_text` says: two mailboxes may meet there, and are then one.

Flags that say something of the source alone are not kept: \\Deleted, which there awaits
an EXPUNGE and here would be one, and \\Recent. A route's label is a keyword.
"""

import re
from collections.abc import Collection

from fetchd.errors import MailboxUnavailable
from fetchd.policy.mailboxes import RAW, Path
from fetchd.policy.restoring import SUBSTITUTE, kept_flags, target_path
from fetchd.policy.roles import ANY_ROLE, INBOX, is_inbox, role_called
from fetchd.values import Struct

_FIELD = re.compile(r"\{(account|mailbox)\}")
_AMBIGUOUS = re.compile("/|%(?=2F|25|!)")  # what path_of would take for something else
_IMPOSSIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SEEN = "\\Seen"


class Place(Struct, frozen=True):
    """A mailbox as it is asked for: by the levels of its name, or by its role."""

    path: Path = ()
    role: str | None = None


class Wish(Struct, frozen=True):
    """What is to become of flags: the settings' words for it."""

    keep: bool = True
    seen: bool = False


def is_template(text: str) -> bool:
    """Whether the mailbox depends on the message."""
    return _FIELD.search(text) is not None


def place_for(text: str, account: str = "", mailbox: str = "") -> Place:
    """Where `text` leads a message of this account and mailbox; MailboxUnavailable: nowhere."""
    role = role_called(text)
    if role is not None and role != "\\Inbox":
        return Place(role=role)
    if role is None and text.startswith("\\"):
        raise MailboxUnavailable(f"'{text}' is no role of a mailbox", advice=f"Name {ANY_ROLE}.")
    values = {
        "account": _AMBIGUOUS.sub(lambda found: f"%{ord(found[0]):02X}", account),
        "mailbox": (mailbox or INBOX).removesuffix(RAW),
    }
    name = INBOX if role else _FIELD.sub(lambda found: values[found[1]], text)
    levels = [_IMPOSSIBLE.sub(SUBSTITUTE, level) or SUBSTITUTE for level in target_path(name)]
    if is_inbox(levels[0]):
        levels[0] = INBOX
    return Place(tuple(levels))


def wanted_flags(wish: Wish, flags: str, keyword: str = "") -> tuple[str, ...]:
    """What is to be asked for, if the mailbox keeps all of it."""
    kept = flags.split() if wish.keep else []
    added = [*([_SEEN] if wish.seen else []), *([keyword] if keyword else [])]
    by_name = {flag.lower(): flag for flag in (*kept, *added)}
    by_name.pop("\\deleted", None)
    return kept_flags(" ".join(by_name.values()), None)


def has_keywords(flags: Collection[str]) -> bool:
    """Whether some are not IMAP's own, so that the mailbox has to be asked (PERMANENTFLAGS)."""
    return any(not flag.startswith("\\") for flag in flags)
