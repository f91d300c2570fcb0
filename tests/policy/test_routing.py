"""The table is the specification of where a message goes."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.policy.routing import Action, Envelope, Handed, Route, Routing, folder_of, route
from fetchd.values import replace

OWN = ("home", "vault")
MAIL = Envelope(
    account="Work",
    mailbox="Lists/Dev",
    size=1000,
    duplicate=False,
    fields={
        "from": ('"Müller, Jürgen" <jm@example.org>',),
        "subject": ("[dev] Straße gesperrt?",),
        "list-id": ("Developers <dev.lists.example.org>",),
        "x-tag": ("one", "two"),
        "x-empty": ("",),
    },
    senders=("jm@example.org", "bounce-1@lists.example.org"),
    recipients=("dev@lists.example.org", "me@home.example"),
)


def shown(routing: Routing) -> str:
    """'team:Lists#urgent home': destination, folder, label."""
    return " ".join(
        one.destination + f":{one.folder}" * bool(one.folder) + f"#{one.label}" * bool(one.label)
        for one in routing.handed
    )


def deliver(*to: str, fits: bool = True, **more: Any) -> Route:
    return Route("r", deliver_to=to, account=() if fits else ("other",), **more)


def copy(*to: str, **more: Any) -> Route:
    return deliver(*to, action=Action.COPY, **more)


def skip(**more: Any) -> Route:
    return deliver(action=Action.SKIP, **more)


@pytest.mark.parametrize(
    ("routes", "handed", "looked_at"),
    [
        # no route fits: where the account delivers to
        ([], "home vault", 0),
        ([deliver("team", fits=False)], "home vault", 1),
        ([skip(fits=False), copy("team", fits=False)], "home vault", 2),
        # the first that fits is the last that is looked at
        ([deliver("team")], "team", 1),
        ([deliver("a", "b")], "a b", 1),
        ([deliver("a"), deliver("b")], "a", 1),
        ([deliver("a", fits=False), deliver("b")], "b", 2),
        ([skip()], "", 1),
        ([skip(), deliver("a")], "", 1),
        ([copy("a")], "a home vault", 1),
        ([copy("a"), deliver("b")], "a home vault", 1),
        # unless it says go_on
        ([deliver("a", go_on=True)], "a", 1),
        ([deliver("a", go_on=True), deliver("b", fits=False)], "a", 2),
        ([deliver("a", go_on=True), deliver("b"), deliver("c")], "a b", 2),
        ([copy("a", go_on=True), deliver("b")], "a b", 2),
        ([copy("a", go_on=True), copy("b")], "a b home vault", 2),
        ([copy("a", go_on=True), deliver("b", fits=False)], "a home vault", 2),
        ([deliver("a", go_on=True), copy("b")], "a b", 2),
        # skipped: what was handed out before stays so, and nobody gets it by default
        ([copy("a", go_on=True), skip()], "a", 2),
        ([deliver("a", go_on=True), skip()], "a", 2),
        ([skip(go_on=True), deliver("a")], "a", 2),
        ([skip(go_on=True), copy("a")], "a", 2),
        # without destinations of its own a route speaks of the account's
        ([deliver()], "home vault", 1),
        ([deliver(folder="Lists")], "home:Lists vault:Lists", 1),
        ([deliver(label="dev")], "home#dev vault#dev", 1),
        ([copy(label="dev")], "home#dev vault#dev", 1),
        ([copy(folder="X")], "home:X vault:X home vault", 1),
        # a destination gets it once for each folder, with all labels
        ([deliver("a", go_on=True), deliver("a")], "a", 2),
        ([copy("home")], "home vault", 1),
        ([deliver("a", "a")], "a", 1),
        ([deliver("a", folder="X", go_on=True), deliver("a", folder="Y")], "a:X a:Y", 2),
        ([deliver("a", folder="X", go_on=True), deliver("a", folder="X")], "a:X", 2),
        ([deliver("a", label="x", go_on=True), deliver("a", label="y")], "a#x y", 2),
        ([deliver("a", label="x", go_on=True), deliver("a", label="x")], "a#x", 2),
        ([deliver("a", go_on=True), deliver("a", label="y")], "a#y", 2),
        ([deliver("a", label="x", go_on=True), deliver("a")], "a#x", 2),
        ([deliver("a", label="x", go_on=True), deliver("a", folder="F")], "a#x a:F", 2),
        # a folder is a template
        ([deliver("a", folder="In/{account}/{mailbox}")], "a:In/Work/Lists/Dev", 1),
    ],
)
def test_where_it_goes(routes: list[Route], handed: str, looked_at: int) -> None:
    routing = route(MAIL, routes, OWN)
    assert shown(routing) == handed
    assert len(routing.trail) == looked_at


def test_an_account_without_destinations_has_only_what_routes_give() -> None:
    assert shown(route(MAIL, [copy("a")], ())) == "a"
    assert route(MAIL, [], ()) == Routing(())
    routing = route(MAIL, [deliver(folder="X")], ())
    assert routing.handed == ()
    assert "delivers nowhere, since its account has no destination" in routing.trail[0]


def test_the_first_route_that_hands_something_over_owns_it() -> None:
    routes = [
        Route("one", deliver_to=("a",), go_on=True),
        Route("two", action=Action.COPY, deliver_to=("a", "b"), label="x"),
    ]
    assert route(MAIL, routes, OWN).handed == (
        Handed("a", label="x", route="one"),
        Handed("b", label="x", route="two"),
    )
    assert route(MAIL, [], OWN).handed == (Handed("home"), Handed("vault"))


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        # patterns fit the whole, know no case, and * and ? alone
        ({"account": ("work",)}, True),
        ({"account": ("wor",)}, False),
        ({"account": ("ork",)}, False),
        ({"account": ("wor?",)}, True),
        ({"account": ("work?",)}, False),
        ({"account": ("*",)}, True),
        ({"account": ("w*k",)}, True),
        ({"account": ("wo*ork",)}, False),  # what a star's neighbours take, they take once
        ({"account": ("work*",)}, True),
        ({"account": ("w**k",)}, True),
        ({"account": ("*o*r*",)}, True),
        ({"account": ("*r*o*",)}, False),
        ({"account": ("[Ww]ork",)}, False),
        ({"account": ("home", "work")}, True),  # any of them
        ({"account": ("home", "play")}, False),
        ({"mailbox": ("lists/*",)}, True),
        ({"mailbox": ("*",)}, True),  # on all levels
        ({"mailbox": ("lists",)}, False),
        ({"sender": ("*@EXAMPLE.org",)}, True),
        ({"sender": ("bounce-*@*",)}, True),  # the second of them
        ({"sender": ("example.org",)}, False),
        ({"sender": ("*müller*",)}, False),  # an address, not a name
        ({"recipient": ("me@*",)}, True),
        ({"recipient": ("jm@*",)}, False),
        ({"subject": ("[dev]*",)}, True),
        ({"subject": ("*STRASSE*",)}, True),
        ({"subject": ("*gesperrt?",)}, True),
        ({"subject": ("dev",)}, False),
        ({"list_id": ("dev.lists.example.org",)}, True),
        ({"list_id": ("developers <*>",)}, True),
        ({"list_id": ("developers",)}, False),
        ({"list_id": ("*.example.org",)}, True),
        ({"header": {"x-tag": ("two",)}}, True),
        ({"header": {"x-tag": ("three", "tw?")}}, True),
        ({"header": {"x-tag": ("three",)}}, False),
        ({"header": {"x-empty": ("*",)}}, True),  # it is there
        ({"header": {"x-none": ("*",)}}, False),
        ({"header": {"from": ("*Jürgen*",)}}, True),
        ({"header": {"from": ("*J\u0075\u0308rgen*",)}}, True),  # accents apart
        ({"header": {"account": ("work",)}}, False),  # a field, not the condition
        ({"header": {"x-tag": ("one",), "x-none": ("*",)}}, False),
        ({"header": {"x-none": ()}}, True),
        # sizes and copies
        ({"larger": 999}, True),
        ({"larger": 1000}, False),
        ({"smaller": 1001}, True),
        ({"smaller": 1000}, False),
        ({"larger": 10, "smaller": 2000}, True),
        ({"duplicate": False}, True),
        ({"duplicate": True}, False),
        # all of them
        ({"account": ("work",), "subject": ("*dev*",), "larger": 1}, True),
        ({"account": ("work",), "subject": ("no",), "larger": 1}, False),
        ({"account": ("work",), "subject": ("*dev*",), "larger": 5000}, False),
    ],
)
def test_what_fits(conditions: dict[str, Any], fits: bool) -> None:
    routing = route(MAIL, [Route("r", deliver_to=("team",), **conditions)], OWN)
    assert shown(routing) == ("team" if fits else "home vault")
    assert routing.trail[0].startswith("route 'r' fits: " if fits else "route 'r' does not fit: ")


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            Route("dev", deliver_to=("team",), folder="Lists", list_id=("dev.*",)),
            (
                "route 'dev' fits: list_id 'dev.lists.example.org' like 'dev.*'; "
                "delivers to team, folder Lists"
            ),
        ),
        (
            Route("r", action=Action.COPY, deliver_to=("a", "b"), label="x", go_on=True),
            "route 'r' fits: it has no condition; copies to a and b, label x, and goes on",
        ),
        (
            Route("big", action=Action.SKIP, larger=1, account=("w*",)),
            "route 'big' fits: size 1000 is larger than 1, account 'Work' like 'w*'; skips it",
        ),
        (
            Route("r", label="x"),
            "route 'r' fits: it has no condition; delivers to home and vault, label x",
        ),
        (Route("r", larger=2000), "route 'r' does not fit: size 1000 is not larger than 2000"),
        (Route("r", smaller=2), "route 'r' does not fit: size 1000 is not smaller than 2"),
        (Route("r", duplicate=True), "route 'r' does not fit: it is no duplicate"),
        (
            Route("r", account=("a", "b*")),
            "route 'r' does not fit: account 'Work' is not like 'a' or 'b*'",
        ),
        (Route("r", sender=("x",)), "route 'r' does not fit: no sender is like 'x'"),
        (
            Route("r", header={"x-none": ("*",)}),
            "route 'r' does not fit: it has no header x-none",
        ),
    ],
)  # fmt: skip
def test_the_trail_says_why(one: Route, sentence: str) -> None:
    assert route(MAIL, [one], OWN).trail == (sentence,)


def test_the_trail_shows_no_more_of_a_value_than_one_reads() -> None:
    long = replace(MAIL, fields={"subject": ("x" * 100_000,)})
    for pattern in ("x*", "y"):
        [sentence] = route(long, [Route("r", subject=(pattern,))], OWN).trail
        assert "x" * 59 + "…" in sentence
        assert len(sentence) < 200


@pytest.mark.parametrize(
    ("template", "account", "mailbox", "folder"),
    [
        ("", "a", "b", ""),
        ("Lists", "a", "b", "Lists"),
        ("{mailbox}", "a", "INBOX", "INBOX"),
        ("{account}/{mailbox}", "a", "INBOX", "a/INBOX"),
        ("{account}/{mailbox}", "a", "B/c", "a/B/c"),
        ("x {account} y", "a", "b", "x a y"),
        ("{account}", "a/b", "c", "a%2Fb"),  # one level
        ("{account}", "a%2Fb", "c", "a%252Fb"),
        ("{mailbox}", "a", "b%2Fc", "b%2Fc"),  # it is in that notation already
        ("{account}", "{mailbox}", "c", "{mailbox}"),  # filled in once
        ("{mailbox}", "a", "{account}", "{account}"),
        ("inbox", "a", "b", "INBOX"),
        ("Inbox/Sub", "a", "b", "INBOX/Sub"),
        ("x/inbox", "a", "b", "x/inbox"),
        (r"a\1b", "a", "b", r"a\1b"),
    ],
)
def test_a_folder_of_a_template(template: str, account: str, mailbox: str, folder: str) -> None:
    assert folder_of(template, account, mailbox) == folder


ALPHABET = st.text("ab*?[\\", max_size=12)


def like(text: str, pattern: str) -> bool:
    """What * and ? mean, in the plainest words."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return like(text, pattern[1:]) or (text != "" and like(text[1:], pattern))
    return text != "" and pattern[0] in ("?", text[0]) and like(text[1:], pattern[1:])


@given(ALPHABET, ALPHABET)
def test_patterns_mean_what_they_say(text: str, pattern: str) -> None:
    envelope = replace(MAIL, fields={"subject": (text,)})
    routing = route(envelope, [Route("r", deliver_to=("x",), subject=(pattern,))], OWN)
    assert (shown(routing) == "x") == like(text, pattern)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*b", "*a?a?a?a*b", "*?*?*?*?*b", "a*" * 50 + "b"])
@pytest.mark.parametrize("text", ["a" * 100_000, "a" + "\u0301\u0323" * 50_000, "ß" * 100_000])
def test_a_hostile_subject_costs_time_in_proportion_to_its_length(pattern: str, text: str) -> None:
    envelope = replace(MAIL, fields={"subject": (text,)})
    started = time.process_time()
    assert shown(route(envelope, [Route("r", subject=(pattern,))], OWN)) == "home vault"
    assert time.process_time() - started < 5  # backtracking, or composing accents, takes far more


def test_a_field_is_folded_once_for_all_routes() -> None:
    asked: list[str] = []

    class Fields(dict[str, tuple[str, ...]]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.append(name)
            return super().get(name, default)

    envelope = replace(MAIL, fields=Fields(MAIL.fields))
    route(envelope, [Route("r", subject=("no",), go_on=True)] * 50, OWN)
    assert asked == ["subject"]
