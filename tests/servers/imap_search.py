"""The scripted IMAP server's SEARCH: RFC 9051 §6.4.4, and ESEARCH (RFC 4731) where asked.

Keys are those that a fetcher may use; an unknown one is BAD. To add one, add a
row to SIMPLE (no argument) or VALUED (one argument).
"""

from collections.abc import Callable, Sequence
from datetime import date

from tests.servers.imap_boxes import Message
from tests.servers.imap_session import Session
from tests.servers.imap_words import Word, as_set, octets, ranges, within
from tests.servers.mail import MONTHS

Test = Callable[[int, Message], bool]

FLAG_KEYS = ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")


async def search(session: Session, arguments: Sequence[Word], *, by_uid: bool) -> bytes:
    """SEARCH and UID SEARCH."""
    words = list(arguments)
    returns: list[bytes] | None = None
    if words and isinstance(words[0], bytes) and words[0].upper() == b"RETURN":
        asked = words[1]
        returns = [octets(word).upper() for word in asked] if isinstance(asked, list) else []
        words = words[2:]
    if words and isinstance(words[0], bytes) and words[0].upper() == b"CHARSET":
        words = words[2:]
    test = _all_of(session, words)
    rows = [(n, m) for n, m in session.rows() if test(n, m)]
    found = [m.uid if by_uid else n for n, m in rows]
    modseq = max((m.modseq for _n, m in rows), default=0) if b"MODSEQ" in words else 0
    if returns is not None or session.sins.always_esearch:
        await _esearch(session, found, returns or [b"ALL"], modseq, by_uid=by_uid)
    else:
        await _plain(session, found, modseq)
    return b"done"


async def _plain(session: Session, found: list[int], modseq: int) -> None:
    if not found:
        await session.say(session.sins.empty_search)
        return
    numbers = b" ".join(b"%d" % n for n in (found[::-1] if session.sins.backwards else found))
    trailer = b" (MODSEQ %b)" % session.modseq(modseq) if modseq else b""
    space = b" " if session.sins.search_space else b""
    await session.line(b"* SEARCH %b%b%b" % (numbers, trailer, space))


async def _esearch(
    session: Session, found: list[int], returns: list[bytes], modseq: int, *, by_uid: bool
) -> None:
    said = [b'(TAG "%b")' % session.tag] + ([b"UID"] if by_uid else [])
    if b"COUNT" in returns:
        said.append(b"COUNT %d" % len(found))
    if found:
        said += [b"MIN %d" % min(found)] if b"MIN" in returns else []
        said += [b"MAX %d" % max(found)] if b"MAX" in returns else []
        said += [b"ALL " + as_set(found)] if b"ALL" in returns else []
        said += [b"MODSEQ " + session.modseq(modseq)] if modseq else []
    await session.line(b"* ESEARCH " + b" ".join(said))


def _all_of(session: Session, words: Sequence[Word]) -> Test:
    tests, rest = [], list(words)
    while rest:
        tests.append(_next(session, rest))
    return lambda n, m: all(test(n, m) for test in tests)


def _next(session: Session, rest: list[Word]) -> Test:
    """Take one key and its arguments."""
    word = rest.pop(0)
    if isinstance(word, list):
        return _all_of(session, word)
    key = word.decode("ascii", "replace").upper()
    if key == "NOT":
        inner = _next(session, rest)
        return lambda n, m: not inner(n, m)
    if key == "OR":
        one, other = _next(session, rest), _next(session, rest)
        return lambda n, m: one(n, m) or other(n, m)
    if key == "HEADER":
        return _header(octets(rest.pop(0)), octets(rest.pop(0)))
    if key in SIMPLE:
        return SIMPLE[key]
    if key in VALUED:
        return VALUED[key](octets(rest.pop(0)))
    if key == "UID":
        pairs = ranges(octets(rest.pop(0)), session.view[-1] if session.view else 0)
        return lambda _n, m: within(m.uid, pairs)
    pairs = ranges(word, len(session.view))
    return lambda n, _m: within(n, pairs)


def _with(flag: str) -> Test:
    return lambda _n, m: flag in m.flags


def _without(flag: str) -> Test:
    return lambda _n, m: flag not in m.flags


def _header(name: bytes, value: bytes) -> Test:
    return lambda _n, m: any(
        line.lower().startswith(name.lower() + b":") and value.lower() in line.lower()
        for line in m.octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    )


def _day(word: bytes) -> date:
    day, month, year = word.decode().split("-")
    return date(int(year), MONTHS.index(month) + 1, int(day))


def _before(word: bytes) -> Test:
    day = _day(word)
    return lambda _n, m: m.date.date() < day


def _since(word: bytes) -> Test:
    day = _day(word)
    return lambda _n, m: m.date.date() >= day


def _on(word: bytes) -> Test:
    day = _day(word)
    return lambda _n, m: m.date.date() == day


def _larger(word: bytes) -> Test:
    return lambda _n, m: len(m.octets) > int(word)


def _smaller(word: bytes) -> Test:
    return lambda _n, m: len(m.octets) < int(word)


def _modseq(word: bytes) -> Test:
    return lambda _n, m: m.modseq >= int(word)


SIMPLE: dict[str, Test] = {
    "ALL": lambda _n, _m: True,
    "NEW": lambda _n, _m: False,  # nothing is \Recent here
    **{key: _with(f"\\{key.title()}") for key in FLAG_KEYS},
    **{f"UN{key}": _without(f"\\{key.title()}") for key in FLAG_KEYS},
}
VALUED: dict[str, Callable[[bytes], Test]] = {
    "BEFORE": _before,
    "SINCE": _since,
    "ON": _on,
    "LARGER": _larger,
    "SMALLER": _smaller,
    "MODSEQ": _modseq,
    "KEYWORD": lambda word: _with(word.decode()),
    "UNKEYWORD": lambda word: _without(word.decode()),
    "FROM": lambda word: _header(b"From", word),
    "SUBJECT": lambda word: _header(b"Subject", word),
}
