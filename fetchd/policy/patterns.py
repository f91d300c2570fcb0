"""How an owner names mailboxes: globs, roles, and `!` for what is not wanted. Pure.

    Archive/2026    that one                 *          within one level, any characters
    Archive/*       one level below          ?          within one level, one character
    Archive/**      it and all below         **         any number of levels, also none
    \\Sent           whoever has that role    !PATTERN   excludes; \\* \\? \\! \\\\ are literal

A lone "*" is everything, on all levels. Patterns speak of names as fetchd shows
them (`policy.mailboxes`), in their case; INBOX and roles know no case. Among
several patterns the last that fits decides; if the first excludes, everything
is wanted that none excludes.

Matching costs at most the length of the pattern times that of the name: each
wildcard is tried from left to right, and an earlier one never again once a later
one is reached, because the leftmost fit leaves the most to what follows.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import TypeVar

from fetchd.policy.roles import ANY_ROLE, INBOX, is_inbox, role_called
from fetchd.values import Struct

_TOKEN = re.compile(r"\\[*?!\\]|[^\\]", re.DOTALL)
_ROLE = re.compile(r"\\[A-Za-z]")

# What a ValueError says is allowed; backslashes as a TOML string has them.
_ANY = 'a mailbox such as "Archive", a pattern such as "Archive/**", or a role such as "\\\\Sent"'
_LEVELS_ALONE = '** as a whole level, as in "Archive/**"'
_BACKSLASH = 'a backslash ("\\\\") before a role, or before one of * ? ! \\ to take it literally'


class Wild(Enum):
    """What stands in a pattern for something else."""

    ONE = "?"
    RUN = "*"
    LEVELS = "**"


Level = tuple[str | Wild, ...] | Wild


class Pattern(Struct, frozen=True):
    """One entry of `mailboxes`, understood."""

    text: str
    excludes: bool
    role: str | None  # whoever has it; the levels are empty then
    levels: tuple[Level, ...]

    def fits(self, name: str, role: str | None) -> bool:
        """Does it speak of the mailbox with that name and role?"""
        if self.role is not None:
            return role == self.role
        return _fits(self.levels, _composed(name).split("/"), Wild.LEVELS, _level_fits)


def pattern(text: str) -> Pattern:
    """The pattern that `text` writes; a ValueError says what would be allowed."""
    body = text.removeprefix("!")
    excludes = body != text
    if not body:
        raise ValueError(_ANY)
    if _ROLE.match(body):
        if (role := role_called(body)) is None:
            raise ValueError(ANY_ROLE)
        return Pattern(text, excludes, role, ())
    if body == "*":
        return Pattern(text, excludes, None, (Wild.LEVELS,))
    first, *others = _composed(body).split("/")
    levels = (_level(INBOX if is_inbox(first) else first), *map(_level, others))
    return Pattern(text, excludes, None, levels)


def wanted(name: str, role: str | None, patterns: Sequence[Pattern]) -> bool:
    """Do the patterns, taken together, ask for that mailbox?"""
    for each in reversed(patterns):
        if each.fits(name, role):
            return not each.excludes
    return bool(patterns) and patterns[0].excludes


def _level(text: str) -> Level:
    if text == "**":
        return Wild.LEVELS
    tokens = _TOKEN.findall(text)
    if sum(map(len, tokens)) != len(text):
        raise ValueError(_BACKSLASH)
    if ("*", "*") in pairwise(tokens):
        raise ValueError(_LEVELS_ALONE)
    wild = {"*": Wild.RUN, "?": Wild.ONE}
    return tuple(wild.get(token, token[-1]) for token in tokens)


def _level_fits(level: Level, name: str) -> bool:
    if isinstance(level, Wild):
        return False  # LEVELS, which is no single one
    return _fits(level, name, Wild.RUN, lambda token, char: token in (char, Wild.ONE))


_Part = TypeVar("_Part")
_Thing = TypeVar("_Thing")


def _fits(
    parts: Sequence[_Part],
    things: Sequence[_Thing],
    run: Wild,
    fits: Callable[[_Part, _Thing], bool],
) -> bool:
    """Do the parts, in which `run` stands for any number of things, cover all things?"""
    part = thing = 0
    after_run, begun = -1, 0  # the last run, and the thing at which what follows it was tried
    while thing < len(things):
        if part < len(parts) and parts[part] is run:
            part += 1
            after_run, begun = part, thing
        elif part < len(parts) and fits(parts[part], things[thing]):
            part, thing = part + 1, thing + 1
        elif after_run >= 0:
            begun += 1
            part, thing = after_run, begun
        else:
            return False
    return all(rest is run for rest in parts[part:])


def _composed(text: str) -> str:
    # Accents typed here as one character may be two at the server.
    return unicodedata.normalize("NFC", text)
