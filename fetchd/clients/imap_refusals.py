"""What a NO, a BAD or a BYE means: wait, ask the owner, or leave one mailbox alone.

Response codes decide where there are any (RFC 5530, RFC 9051 §7.1). Without them the
words are read, as in `refusals`, and in doubt the trouble is taken for a passing one:
waiting harms nobody, while a password called wrong stops an account.

To treat one more code, put it into a set below.
"""

import re

from fetchd.clients.refusals import hint, is_crowded, is_passing, not_authenticated
from fetchd.errors import AccountRefused, FetchdError, MailboxUnavailable, ServerUnavailable
from fetchd.protocol.imap.types import Code

_PASSWORD = {"AUTHENTICATIONFAILED", "EXPIRED"}
_OWNER = {"AUTHORIZATIONFAILED", "CONTACTADMIN"}
_ENCRYPT = {"PRIVACYREQUIRED", "ENCRYPTIONNEEDED"}
# ALERT is not among them: Gmail has it for a wrong password as for too many connections.
_PASSING = {"UNAVAILABLE", "INUSE", "LIMIT", "OVERQUOTA", "THROTTLED", "SERVERBUG"}
# These two are about the mailbox or the message that was asked for (RFC 5530 §3, quirk 39).
_NARROW = {"INUSE", "SERVERBUG"}
# At a login these say that we are too many, or too fast: fewer connections, and slower.
_CROWDED = {"LIMIT", "THROTTLED"}
_WIDE = re.compile(
    r"not connected|too many (?:simultaneous|connections)|(?:rate|bandwidth) limit|throttl"
    r"|exceeded \w+(?: or \w+)? limits?",
    re.IGNORECASE,
)
_NO_COMMAND = re.compile(
    r"(?:un(?:known|recogni[sz]ed|supported)|invalid|bad|illegal) (?:command|mechanism|auth)"
    r"|not (?:supported|implemented|recogni[sz]ed)",
    re.IGNORECASE,
)
_NONEXISTENT = re.compile(
    r"(?:does ?n[o']t|not) exist|non-?exist|no such mailbox|unknown mailbox", re.IGNORECASE
)


def server_refusal(code: Code | None, text: str, what: str) -> FetchdError:
    """The error for a NO, BAD or BYE that concerns the account as a whole."""
    sentence = f"{what}: {text}" if text else what
    match code.name if code else "":
        case name if name in _PASSWORD:
            return not_authenticated(text, sentence, coded=True)
        case name if name in _ENCRYPT:
            return not_authenticated("TLS", sentence)
        case name if name in _OWNER:
            return AccountRefused(sentence)
        case _:
            crowded = is_crowded(text) or (code is not None and code.name in _CROWDED)
            return ServerUnavailable(sentence, wait=hint(text), crowded=crowded)


def login_refusal(code: Code | None, text: str, what: str) -> FetchdError:
    """The error for a NO to a login; without code or passing words it is about the password."""
    known = _PASSWORD | _OWNER | _ENCRYPT | _PASSING
    if (code is not None and code.name in known) or is_passing(_worded(text)):
        return server_refusal(code, text, what)
    return not_authenticated(text, f"{what}: {text}" if text else what)


def mailbox_refusal(code: Code | None, text: str, what: str) -> FetchdError:
    """The error for a NO about one mailbox; what concerns more than it, does so here too."""
    wide = (_PASSING - _NARROW) | _OWNER | _PASSWORD
    if (code is not None and code.name in wide) or _WIDE.search(text):  # quirks 68, 69
        return server_refusal(code, text, what)
    return MailboxUnavailable(f"{what}: {text}" if text else what)


def is_not_understood(code: Code | None, text: str) -> bool:
    """Whether the server does not know the command, rather than refusing it."""
    return code is None and bool(_NO_COMMAND.search(text))


def is_nonexistent(code: Code | None, text: str) -> bool:
    """Whether a mailbox is not there; Dovecot 2.3 says so in words alone."""
    return (code is not None and code.name == "NONEXISTENT") or bool(_NONEXISTENT.search(text))


def _worded(text: str) -> str:
    """Without brackets, which POP3 would take for a code of its own."""
    return text.replace("[", "(").replace("]", ")")
