"""Which mailboxes an account takes, and under which names. Pure: facts in, decisions out.

One notation serves catalog, patterns, display and disk, whatever the server's
hierarchy delimiter: levels joined by "/".

* A "/" inside a level (where the delimiter is another) is written "%2F", and a
  "%" before 2F, 25 or "!" is written "%25", so that no two mailboxes meet.
* INBOX is "INBOX" in whatever case the server writes it.
* The prefix of the personal namespace ("INBOX.") is left out where that names
  no other mailbox: INBOX.Sent is "Sent" here as on every other server.
* A name that cannot be decoded shows its wire octets (%E9 where they are no text) and ends
  in "%!"; so does, in one level, a name that another mailbox has already.

The names of one listing are pairwise distinct and depend on what is listed, not
on its order. What cannot be selected (\\Noselect, \\NonExistent) is no mailbox.

By default (`EVERYTHING`) an account takes all of them, \\Junk and \\Trash too: it
is a backup, and what a filter or a slip put there is just what one may miss.
Gmail's \\All is taken too and comes first behind INBOX: it holds what lies under any
label, so with X-GM-MSGID one download serves all labels that follow; it lacks spam and
trash, which is why these are taken by themselves.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from fetchd.policy.patterns import pattern, wanted
from fetchd.policy.roles import (
    INBOX,
    is_inbox,
    rank_by_name,
    role_called,
    roles_of_attributes,
)
from fetchd.values import Struct

EVERYTHING = ("*",)
RAW = "%!"  # ends a name that shows wire octets

_UNSELECTABLE = {"\\noselect", "\\nonexistent"}
_AMBIGUOUS = re.compile("/|%(?=2F|25|!)")
_AMBIGUOUS_RAW = re.compile("/|%|[\udc80-\udcff]")  # what surrogateescape makes of an octet
_ESCAPE = re.compile("%2F|%25")

Path = tuple[str, ...]


class Offered(Struct, frozen=True):
    """One mailbox as a server lists it.

    `name` is what `wire` decodes to, None if that is not what a correct server
    would write. Attributes are in lower case, with their backslash.
    """

    wire: bytes
    name: str | None
    delimiter: str | None
    attributes: frozenset[str] = frozenset()


class Mailbox(Struct, frozen=True):
    """One mailbox as fetchd speaks of it; `path` is the name's levels without the escapes."""

    name: str
    wire: bytes  # what the server wants to hear
    delimiter: str | None
    role: str | None = None  # "\\Sent"; see policy.roles
    path: Path = ()


def name_mailboxes(
    offered: Iterable[Offered], personal_prefixes: Sequence[str] = ()
) -> tuple[Mailbox, ...]:
    """What can be selected, under distinct names: INBOX first, then \\All, then by name."""
    mailboxes = _merged(offered)
    names = _distinct(mailboxes, personal_prefixes)
    paths = {o.wire: path_of(name) for o, name in zip(mailboxes, names, strict=True)}
    roles = _roles(mailboxes, paths)
    named = [
        Mailbox(name, o.wire, o.delimiter, roles.get(o.wire), paths[o.wire])
        for o, name in zip(mailboxes, names, strict=True)
    ]
    return tuple(sorted(named, key=lambda m: (m.name != INBOX, m.role != "\\All", m.name)))


def select(mailboxes: Iterable[Mailbox], patterns: Iterable[str]) -> tuple[Mailbox, ...]:
    """Those that the patterns ask for, in the order given; see policy.patterns."""
    understood = [pattern(text) for text in patterns]
    return tuple(m for m in mailboxes if wanted(m.name, m.role, understood))


def unmatched(mailboxes: Iterable[Mailbox], patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns that speak of no mailbox there is: misspelt, perhaps."""
    there = tuple(mailboxes)
    understood = [pattern(text) for text in patterns]
    return tuple(p.text for p in understood if not any(p.fits(m.name, m.role) for m in there))


def locate(mailboxes: Iterable[Mailbox], name_or_role: str) -> Mailbox | None:
    """The one mailbox of that name or role (`retire_to`): of several the least deep, by name."""
    role = role_called(name_or_role)
    name = INBOX if is_inbox(name_or_role) else name_or_role
    found = [m for m in mailboxes if (m.role == role if role else m.name == name)]
    return min(found, key=lambda m: (len(m.path), m.name), default=None)


def path_of(name: str) -> Path:
    """The levels of a name as people wrote them, to make the same mailbox elsewhere."""
    return tuple(
        _ESCAPE.sub(lambda found: "/" if found[0] == "%2F" else "%", level)
        for level in name.split("/")
    )


def _merged(offered: Iterable[Offered]) -> list[Offered]:
    """What can be selected, each once (a LIST answer may have INBOX twice), in a fixed order."""
    alike: dict[bytes, list[Offered]] = {}
    for one in sorted(offered, key=_order):
        if one.wire:  # LIST "" "" answers with the delimiter and no name
            alike.setdefault(b"INBOX" if _is_inbox(one) else one.wire, []).append(one)
    return [
        _as_one(same)
        for same in alike.values()
        if not all(o.attributes & _UNSELECTABLE for o in same)
    ]


def _as_one(same: Sequence[Offered]) -> Offered:
    names = [INBOX] if _is_inbox(same[0]) else [o.name for o in same if o.name is not None]
    delimiters = [o.delimiter for o in same if o.delimiter]
    return Offered(
        same[0].wire,
        next(iter(names), None),
        next(iter(delimiters), None),
        frozenset().union(*(o.attributes for o in same)),
    )


def _order(one: Offered) -> tuple[bool, bytes, str, str, list[str]]:
    """Who comes first gets the name that two would have."""
    name, delimiter = one.name or "", one.delimiter or ""
    return not _is_inbox(one), one.wire, name, delimiter, sorted(one.attributes)


def _is_inbox(one: Offered) -> bool:
    return one.wire.upper() == b"INBOX"


def _distinct(mailboxes: Sequence[Offered], prefixes: Sequence[str]) -> list[str]:
    """A name for each: short where it can be, whole where it must be, raw as the last resort."""
    whole = [_joined(_levels(o), raw=o.name is None) for o in mailboxes]
    raw = [_joined((_wire_text(o),), raw=True) for o in mailboxes]
    short = [_joined(_shortened(o, prefixes), raw=o.name is None) for o in mailboxes]
    # A short name must meet nothing that another is or might have to be called.
    claims: dict[str, set[int]] = {}
    for spellings in (whole, raw, short):
        for index, name in enumerate(spellings):
            claims.setdefault(name, set()).add(index)
    taken: set[str] = set()
    names: list[str] = []
    for index, one in enumerate(mailboxes):
        name = short[index] if len(claims[short[index]]) == 1 else whole[index]
        if name in taken or (name == INBOX and not _is_inbox(one)):
            name = raw[index]
        taken.add(name)
        names.append(name)
    return names


def _levels(one: Offered) -> Path:
    text = _wire_text(one) if one.name is None else one.name
    return _split(text, one.delimiter)


def _split(text: str, delimiter: str | None) -> Path:
    first, *below = text.split(delimiter) if delimiter else [text]
    return (INBOX if is_inbox(first) else first, *below)


def _shortened(one: Offered, prefixes: Sequence[str]) -> Path:
    """Without the longest prefix that leaves a name; whole if there is none."""
    levels = _levels(one)
    for prefix in sorted(filter(None, prefixes), key=len, reverse=True):
        above = _split(prefix.removesuffix(one.delimiter or ""), one.delimiter)
        rest = levels[len(above) :]
        if levels[: len(above)] == above and any(rest) and not is_inbox(rest[0]):
            return rest
    return levels


def _joined(levels: Path, *, raw: bool) -> str:
    special = _AMBIGUOUS_RAW if raw else _AMBIGUOUS
    escaped = "/".join(special.sub(_escape, level) for level in levels)
    return escaped + RAW if raw else escaped


def _escape(found: re.Match[str]) -> str:
    match found[0]:
        case "/":
            return "%2F"
        case "%":
            return "%25"
        case octet:
            return f"%{ord(octet) - 0xDC00:02X}"


def _wire_text(one: Offered) -> str:
    return one.wire.decode("utf-8", "surrogateescape")


def _roles(mailboxes: Sequence[Offered], paths: Mapping[bytes, Path]) -> dict[bytes, str]:
    """By attribute for all who bear it; by name for the one most usual, if nobody does."""
    roles: dict[bytes, str] = {}
    for one in mailboxes:
        given = roles_of_attributes(one.attributes)
        if _is_inbox(one):
            roles[one.wire] = "\\Inbox"
        elif given:
            roles[one.wire] = given[0]
    borne = set(roles.values())
    claims = sorted(
        (ranked[1], len(path), wire, ranked[0])
        for wire, path in paths.items()
        if wire not in roles and (ranked := rank_by_name(path))
    )
    for _, _, wire, role in claims:
        if role not in borne:
            roles[wire] = role
            borne.add(role)
    return roles
