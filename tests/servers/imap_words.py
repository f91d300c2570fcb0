"""The words of an IMAP command, and sets of numbers: what the scripted server reads.

`words` takes one whole command, its literals in place, and gives octets and
lists (RFC 9051 §9). A section such as BODY[HEADER.FIELDS (DATE)] stays one word.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

_QUOTED = re.compile(rb'"((?:\\.|[^"\\])*)"', re.DOTALL)
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r?\n")
_ATOM = re.compile(rb"(?:[^\s()\[]|\[[^\]]*\])+")


class Literal(bytes):
    """A word that came as a literal: in APPEND this tells the message from a date."""


Word: TypeAlias = "bytes | list[Word]"


def words(command: bytes) -> list[Word]:
    """The words of a command; ValueError when it has none of IMAP's forms."""
    found, at = _until(command, 0, closing=False)
    if at != len(command):
        raise ValueError("a parenthesis too many")
    return found


def _until(command: bytes, at: int, *, closing: bool) -> tuple[list[Word], int]:
    found: list[Word] = []
    while at < len(command):
        if command[at : at + 1] in b" \r\n":
            at += 1
        elif command[at : at + 1] == b"(":
            inner, at = _until(command, at + 1, closing=True)
            found.append(inner)
        elif command[at : at + 1] == b")":
            return (found, at + 1) if closing else (found, at)
        else:
            word, at = _word(command, at)
            found.append(word)
    if closing:
        raise ValueError("a parenthesis too few")
    return found, at


def _word(command: bytes, at: int) -> tuple[bytes, int]:
    if quoted := _QUOTED.match(command, at):
        return re.sub(rb"\\(.)", rb"\1", quoted[1]), quoted.end()
    if literal := _LITERAL.match(command, at):
        end = literal.end() + int(literal[1])
        return Literal(command[literal.end() : end]), end
    if atom := _ATOM.match(command, at):
        return atom[0], atom.end()
    raise ValueError("no word")


def octets(word: Word) -> bytes:
    """A word that must not be a list."""
    if isinstance(word, list):
        raise ValueError("a list where a word belongs")
    return word


def listed(word: Word) -> list[Word]:
    """A word that must be a list."""
    if not isinstance(word, list):
        raise ValueError("a word where a list belongs")
    return word


def ranges(chosen: bytes, last: int) -> list[tuple[int, int]]:
    """The pairs of a set, in its order; `*` is `last`. Pairs are ascending (RFC 9051 §9)."""
    if not re.fullmatch(rb"(?:\d+|\*)(?::(?:\d+|\*))?(?:,(?:\d+|\*)(?::(?:\d+|\*))?)*", chosen):
        raise ValueError("not a set of numbers")
    pairs = []
    for part in chosen.split(b","):
        ends = [last if end == b"*" else int(end) for end in part.split(b":")]
        pairs.append((min(ends), max(ends)))
    return pairs


def within(number: int, pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether a number is in a set."""
    return any(low <= number <= high for low, high in pairs)


def as_set(numbers: Sequence[int]) -> bytes:
    """Numbers as a set, ascending, with runs as ranges."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return b",".join(b"%d" % a if a == b else b"%d:%d" % (a, b) for a, b in runs)
