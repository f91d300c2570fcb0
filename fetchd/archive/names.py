"""Names of tar entries: `account/mailbox/uid-digest12.eml`, safe on any file system.

Each part is percent-encoded so that nothing a server says can leave the folder,
hide a file or look like an option; `part_of` reverses `encoded`, and `origin_of`
reads a whole name. Parts longer than LIMIT end in "%~" and a hash instead, which
no encoding produces. Names that differ only in case may meet on some file
systems; the digest keeps different messages apart there.
"""

import hashlib
import re
from urllib.parse import unquote_to_bytes

LIMIT = 200  # octets of one part; with "-digest12.eml" still below the usual 255

_SAFE = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&'()+,-.;=@[]^_{}"
)
_TABLE = tuple(chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in range(256))
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
_SHORTENED = re.compile(r"%~[0-9a-f]{32}$")
_ENTRY = re.compile(r"([^/]+)/([^/]+)/([^/]+)-([0-9a-f]{12})\.eml")


def entry_name(account: str, mailbox: str, uid: bytes, digest: bytes) -> str:
    """The name under which a message is found in an extracted segment."""
    parts = [encoded(text.encode("utf-8", "surrogateescape")) for text in (account, mailbox)]
    return f"{parts[0]}/{parts[1]}/{encoded(uid)}-{digest.hex()[:12]}.eml"


def origin_of(name: str, digest: bytes) -> tuple[str, str, bytes] | None:
    """(account, mailbox, uid) of the message with this digest.

    None where a part had to be shortened or the name is not one of ours.
    """
    found = _ENTRY.fullmatch(name)
    if found is None or found[4] != digest.hex()[:12]:
        return None
    account, mailbox, uid = (part_of(text) for text in found.groups()[:3])
    if account is None or mailbox is None or uid is None:
        return None
    texts = [part.decode("utf-8", "surrogateescape") for part in (account, mailbox)]
    return texts[0], texts[1], uid


def encoded(part: bytes) -> str:
    """One part of a name; the empty part becomes a lone "%"."""
    if not part:
        return "%"
    text = "".join([_TABLE[octet] for octet in part])
    if text[0] in ".- " or _RESERVED.match(text):
        text = f"%{part[0]:02X}{text[1:]}"
    if len(text) > 1 and text[-1] in ". ":
        text = f"{text[:-1]}%{part[-1]:02X}"
    return text if len(text) <= LIMIT else _shortened(text, part)


def part_of(text: str) -> bytes | None:
    """What `encoded` was given; None when it had to be shortened."""
    if _SHORTENED.search(text):
        return None
    return b"" if text == "%" else unquote_to_bytes(text)


def _shortened(text: str, part: bytes) -> str:
    """The beginning, cut before a broken %XX, and a hash of the whole."""
    head = re.sub(r"%[0-9A-F]?$", "", text[: LIMIT - 34])
    return f"{head}%~{hashlib.sha256(part).hexdigest()[:32]}"
