"""Which destinations a message goes to, and into which folder there: pure, with its reasons.

Routes are looked at in their order. One that fits takes part; the first that does not
say `go_on` is the last that is looked at. If none fits, or all that fit only add copies,
the message goes where its account delivers to.

    deliver   to its own destinations, in place of the account's
    skip      nowhere; what routes before it handed out stays handed out
    copy      to its own destinations as well

All conditions of a route must hold; of several patterns for one of them, any. Patterns
know `*` and `?`, no case, and must fit the whole of what they are held against; a List-Id
is held against them whole and as the id in its angle brackets. To hold a pattern against a
text costs at most the product of their lengths: the text was written by strangers.

A destination gets a message once for each folder, with the labels of all routes that
wanted it there, joined by blanks.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from fetchd.policy.roles import INBOX, is_inbox
from fetchd.values import Struct, replace

COMPOSED = 1000  # characters; see `_folded`
SHOWN = 60  # characters of a value in a sentence of the trail
CACHED = 4096  # patterns: more than anybody writes

_TEXTS = ("account", "mailbox", "sender", "recipient", "subject", "list_id")
_LIST_ID = re.compile(r"<([^<>]*)>[^<>]*$")
_AMBIGUOUS = re.compile("/|%(?=2F|25|!)")  # as policy.mailboxes writes a level
_FIELD = re.compile(r"\{(account|mailbox)\}")


class Action(StrEnum):
    """What a route does with a message that fits."""

    DELIVER = "deliver"
    SKIP = "skip"
    COPY = "copy"


class Route(Struct, frozen=True):
    """One [[routes]] table. An empty condition always holds.

    `sender`, `recipient`: a pattern for an address. `header`: patterns by field name, each
    held against every field of that name, decoded and unfolded. Sizes are in octets.
    `duplicate`: whether a copy of the message, or one that differs in trace fields only,
    is in the archive already.
    """

    name: str
    action: Action = Action.DELIVER
    deliver_to: tuple[str, ...] = ()  # empty with COPY and DELIVER: the account's own
    folder: str = ""
    label: str = ""
    go_on: bool = False
    account: tuple[str, ...] = ()
    mailbox: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    recipient: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    list_id: tuple[str, ...] = ()
    header: Mapping[str, tuple[str, ...]] = {}
    larger: int | None = None
    smaller: int | None = None
    duplicate: bool | None = None


class Envelope(Struct, frozen=True):
    """What routes ask of a message. `fields`: lower-case name to decoded values, in order.

    `senders` are the addresses of From, Sender and Return-Path; `recipients` those of To,
    Cc, Bcc, Resent-To, Delivered-To, X-Original-To and Envelope-To.
    """

    account: str
    mailbox: str
    size: int
    duplicate: bool
    fields: Mapping[str, Sequence[str]]
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()


class Handed(Struct, frozen=True):
    """One destination that the message goes to, where in it, and by which route ("": by none).

    `folder` is in fetchd's notation of mailboxes (policy.mailboxes), "" where the
    destination's settings say.
    """

    destination: str
    folder: str = ""
    label: str = ""  # labels, joined by blanks
    route: str = ""


class Routing(Struct, frozen=True):
    """Where a message goes; `trail` has a sentence for each route that was looked at."""

    handed: tuple[Handed, ...]
    trail: tuple[str, ...] = ()


def route(envelope: Envelope, routes: Sequence[Route], deliver_to: Sequence[str]) -> Routing:
    """Where the message goes; `deliver_to` are its account's own destinations."""
    values = _Values(envelope)
    handed: dict[tuple[str, str], Handed] = {}
    trail: list[str] = []
    only_copies = True
    for one in routes:
        fits, reason = _examined(one, values)
        if not fits:
            trail.append(f"route '{one.name}' does not fit: {reason}")
            continue
        done = _apply(one, envelope, deliver_to, handed)
        trail.append(f"route '{one.name}' fits: {reason}; {done}{', and goes on' * one.go_on}")
        only_copies = only_copies and one.action is Action.COPY
        if not one.go_on:
            break
    if only_copies:
        for name in deliver_to:
            handed.setdefault((name, ""), Handed(name))
    return Routing(tuple(handed.values()), tuple(trail))


def folder_of(template: str, account: str, mailbox: str) -> str:
    """The folder that a template means for a message, in fetchd's notation of mailboxes.

    An account is one level, whatever its name; a mailbox brings its own levels.
    """
    known = {"account": _AMBIGUOUS.sub(_escape, account), "mailbox": mailbox}
    first, slash, below = _FIELD.sub(lambda found: known[found[1]], template).partition("/")
    return (INBOX if is_inbox(first) else first) + slash + below


def _escape(found: re.Match[str]) -> str:
    return "%2F" if found[0] == "/" else "%25"


# -- What a route does ------------------------------------------------------------


def _apply(
    one: Route,
    envelope: Envelope,
    deliver_to: Sequence[str],
    handed: dict[tuple[str, str], Handed],
) -> str:
    """Hand it to whom the route says; the end of a sentence."""
    if one.action is Action.SKIP:
        return "skips it"
    verb = "copies" if one.action is Action.COPY else "delivers"
    folder = folder_of(one.folder, envelope.account, envelope.mailbox)
    names = one.deliver_to or deliver_to
    for name in names:
        new = Handed(name, folder, one.label, one.name)
        handed[name, folder] = _labelled(handed.get((name, folder)), new)
    if not names:
        return f"{verb} nowhere, since its account has no destination"
    where = f", folder {_shown(folder)}" * (folder != "") + f", label {one.label}" * (
        one.label != ""
    )
    return f"{verb} to {' and '.join(names)}{where}"


def _labelled(before: Handed | None, new: Handed) -> Handed:
    """What an earlier route handed there stays its own, and gets the later one's label too."""
    if before is None:
        return new
    labels = dict.fromkeys((*before.label.split(), *new.label.split()))
    return replace(before, label=" ".join(labels))


# -- Whether it fits ----------------------------------------------------------------


def _examined(one: Route, values: "_Values") -> tuple[bool, str]:
    """Whether all conditions hold, with all their reasons, or the one that does not."""
    reasons: list[str] = []
    for holds, reason in _conditions(one, values):
        if not holds:
            return False, reason
        reasons.append(reason)
    return True, ", ".join(reasons) or "it has no condition"


def _conditions(one: Route, values: "_Values") -> Iterator[tuple[bool, str]]:
    """The cheap ones first."""
    size, duplicate = values.envelope.size, values.envelope.duplicate
    if one.larger is not None:
        holds = size > one.larger
        yield holds, f"size {size} is {'' if holds else 'not '}larger than {one.larger}"
    if one.smaller is not None:
        holds = size < one.smaller
        yield holds, f"size {size} is {'' if holds else 'not '}smaller than {one.smaller}"
    if one.duplicate is not None:
        holds = duplicate == one.duplicate
        yield holds, f"it is {'a' if duplicate else 'no'} duplicate"
    for name in _TEXTS:
        if patterns := getattr(one, name):
            yield _alike(name, values.of(name), patterns)
    for name, patterns in one.header.items():
        if patterns:
            yield _alike(f"header {name}", values.of(f"header {name}"), patterns)


def _alike(
    name: str, values: Sequence[tuple[str, str]], patterns: Sequence[str]
) -> tuple[bool, str]:
    """Whether any value fits any pattern."""
    for value, folded in values:
        for pattern in patterns:
            if _compiled(pattern).fullmatch(folded):
                return True, f"{name} '{_shown(value)}' like '{pattern}'"
    if not values:
        return False, f"it has no {name}"
    wanted = " or ".join(f"'{pattern}'" for pattern in patterns)
    if len(values) == 1:
        return False, f"{name} '{_shown(values[0][0])}' is not like {wanted}"
    return False, f"no {name} is like {wanted}"


class _Values:
    """What patterns are held against, folded once for all routes that ask."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._known: dict[str, list[tuple[str, str]]] = {}

    def of(self, name: str) -> Sequence[tuple[str, str]]:
        """The values as they are, and folded."""
        if name not in self._known:
            self._known[name] = [(value, _folded(value)) for value in self._values(name)]
        return self._known[name]

    def _values(self, name: str) -> Sequence[str]:
        envelope = self.envelope
        match name:
            case "account":
                return (envelope.account,)
            case "mailbox":
                return (envelope.mailbox,)
            case "sender":
                return envelope.senders
            case "recipient":
                return envelope.recipients
            case "subject":
                return envelope.fields.get("subject", ())
            case "list_id":
                return list(_list_ids(envelope.fields.get("list-id", ())))
            case _:
                return envelope.fields.get(name.removeprefix("header "), ())


def _list_ids(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        if found := _LIST_ID.search(value):
            yield found[1].strip()
        yield value


@lru_cache(CACHED)
def _compiled(pattern: str) -> re.Pattern[str]:
    """What stands between two stars is sought where it comes first, and never again.

    That is right since the leftmost fit leaves the most to what follows, and it is what
    keeps hostile texts cheap: an atomic group is never tried anew.
    """
    first, *others = re.split(r"\*+", _folded(pattern))
    expression = _literal(first)
    if others:
        *between, last = others
        expression += "".join(f"(?>.*?{_literal(part)})" for part in between)
        expression += f".*{_literal(last)}"
    return re.compile(expression, re.DOTALL)


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\?", ".")


def _folded(text: str) -> str:
    """Blind to case, and to whether an accent is a character of its own.

    The latter only in texts of usual length: to compose takes time that grows with the
    square of a run of accents.
    """
    if len(text) <= COMPOSED:
        text = unicodedata.normalize("NFC", text)
    return text.casefold()


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
