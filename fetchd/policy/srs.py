"""The Sender Rewriting Scheme: a stranger's address as one of our domain, and back. Pure.

A server that is told `MAIL FROM:<alice@example.net>` by us asks example.net whether we
may (SPF), and hears no. So the sender is rewritten to an address of the owner's domain,
from which whoever receives a bounce there can make the stranger's again:

    alice@example.net                    SRS0=M6HI=IX=example.net=alice@lists.example.org
                                              hash, day, host, local part
    SRS0=abcd=7K=example.net=alice@b.example   SRS1=3sm3=b.example==abcd=…=alice@lists.example.org
                                              hash, the first forwarder's host, what it wrote

What another forwarder rewrote is not wrapped again, since each time would make it longer:
SRS1 names the first one, to whom its bounce goes directly. The hash (four characters of
HMAC-SHA1 in base64) says that we wrote the address, so that nobody sends through the
owner's server by inventing one; the day (mod 1024, in base32) ends its life after MAX_AGE.

Octet by octet what Mail::SRS and postsrsd write with the same secret, "=" as separator,
so either of them can turn the bounces around. Two things they write that are no addresses
we do better: a local part that needs quotes is quoted as a whole, and what only looks like
SRS1 is rewritten as any other address.
"""

import hmac
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta

MAX_AGE = 21  # days: bounces come within five, and postsrsd and Mail::SRS wait as long

_HASH_LENGTH = 4
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAYS = len(_BASE32) ** 2  # after which two characters begin anew
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = re.compile(r"SRS0(?=[-+=].)", re.IGNORECASE)
_AGAIN = re.compile(r"SRS1[-+=][^=]*=([^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
_DAY = re.compile("[A-Z2-7]{2}", re.IGNORECASE | re.ASCII)
_ATOM = r"[^\s\x00-\x1f\x7f\"(),.:;<>@\[\\\]]+"
_ATOMS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")


def rewrite(address: str, domain: str, secret: str, now: datetime) -> str:
    """The address as one of `domain`; as it is where it is of that domain already."""
    mailbox, _, host = address.rpartition("@")
    if host.lower() == domain.lower():
        return address
    local = _unquoted(mailbox)
    if again := _AGAIN.fullmatch(local):
        first, written = again.groups()
        rewritten = f"SRS1={_hash(secret, first, written)}={first}={written}"
    elif tag := _FIRST.match(local):
        written = local[tag.end() :]  # its separator stays, for it may have another one
        rewritten = f"SRS1={_hash(secret, host, written)}={host}={written}"
    else:
        day = _day(now)
        rewritten = f"SRS0={_hash(secret, day, host, local)}={day}={host}={local}"
    return f"{_quoted(rewritten)}@{domain}"


def restore(address: str, secret: str, now: datetime) -> str:
    """What was rewritten; ValueError, with a sentence, where it was not by us or is too old."""
    local = _unquoted(address.rpartition("@")[0])
    tag = local[:4].upper() if local[4:5] in ("-", "+", "=") else ""
    match tag, local[5:].split("=", 3 if tag == "SRS0" else 2):
        case "SRS0", [hash_, day, host, mailbox]:
            _verify(hash_, secret, day, host, mailbox)
            _verify_age(day, now)
            return f"{_quoted(mailbox)}@{host}"
        case "SRS1", [hash_, host, written]:
            _verify(hash_, secret, host, written)
            return f"{_quoted('SRS0' + written)}@{host}"
    raise ValueError(f"{address} is no rewritten address.")


def _hash(secret: str, *fields: str) -> str:
    # Lower case, because servers on the way may change that of a local part.
    digest = hmac.digest(secret.encode(), "".join(fields).lower().encode(), "sha1")
    return b64encode(digest).decode("ascii")[:_HASH_LENGTH]


def _verify(given: str, secret: str, *fields: str) -> None:
    ours = _hash(secret, *fields).lower().encode()
    if not hmac.compare_digest(given.lower().encode(), ours):
        raise ValueError("The hash in this address is not ours.")


def _day(at: datetime) -> str:
    day = (at - _EPOCH) // timedelta(days=1) % _DAYS
    return _BASE32[day // len(_BASE32)] + _BASE32[day % len(_BASE32)]


def _verify_age(day: str, now: datetime) -> None:
    # The hash does not tell where the day ends and the host begins.
    if not _DAY.fullmatch(day):
        raise ValueError("The day in this address is none.")
    high, low = (_BASE32.index(letter) for letter in day.upper())
    age = (now - _EPOCH) // timedelta(days=1) - (high * len(_BASE32) + low)
    if age % _DAYS > MAX_AGE:
        raise ValueError(f"This address was rewritten more than {MAX_AGE} days ago.")


def _unquoted(mailbox: str) -> str:
    """A local part without the quotes of RFC 5321 §4.1.2, if it has them."""
    if len(mailbox) < 2 or not (mailbox.startswith('"') and mailbox.endswith('"')):
        return mailbox
    return re.sub(r"\\(.)", r"\1", mailbox[1:-1], flags=re.DOTALL)


def _quoted(local: str) -> str:
    if _ATOMS.fullmatch(local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
