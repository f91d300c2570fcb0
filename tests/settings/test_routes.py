"""Routes in the settings: what they become, and what is said of those that are wrong."""

from pathlib import Path

import pytest

from fetchd.policy.routing import Action, Route
from fetchd.settings import load
from tests.settings.files import APPEND, GOOD, MAILDIR, MIRROR, problems, written

PLACES = APPEND + MAILDIR
DELIVERING = GOOD + 'deliver_to = ["home"]\n' + PLACES
ROUTE = "[[routes]]\n"
AT = DELIVERING.count("\n") + 1  # the line of a route behind it


def test_what_routes_become(tmp_path: Path) -> None:
    text = DELIVERING + (
        '[[routes]]\nsender = "*@example.org"\naccount = ["MY-*"]\nlarger = "1MB"\n'
        "smaller = 2000000\n"
        'header = { X-Spam = "yes", x-list = ["a", "b"] }\nduplicate = false\naction = "skip"\n'
        '[[routes]]\nname = "rest"\ndeliver_to = ["d"]\nfolder = "{account}/x"\nlabel = "$Junk"\n'
        'go_on = true\naction = "copy"\n[routes.header]\nSubject = "*"\n'
    )
    settings = load(written(tmp_path, text), {})
    assert settings.routing == (
        Route(
            "route 1", Action.SKIP, sender=("*@example.org",), account=("MY-*",), larger=1_000_000,
            smaller=2_000_000, header={"x-spam": ("yes",), "x-list": ("a", "b")}, duplicate=False,
        ),
        Route(
            "rest", Action.COPY, ("d",), "{account}/x", "$Junk", True, header={"subject": ("*",)},
        ),
    )  # fmt: skip


def test_an_account_may_leave_its_delivery_to_routes(tmp_path: Path) -> None:
    text = GOOD + PLACES + ROUTE + 'deliver_to = ["home"]\n'
    settings = load(written(tmp_path, text), {})
    assert settings.accounts["my-work"].deliver_to == ()
    assert settings.routing[0].deliver_to == ("home",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROUTE + ROUTE + 'sendr = "x"', (f":{AT + 2}: routes.2.sendr: unknown key (did you mean "
         '"sender"?)')),
        (ROUTE + "sender = []", "routes.1.sender: found a list, allowed: a list that is not empty"),
        (ROUTE + "sender = [1]", f":{AT + 1}: routes.1.sender: found 1, allowed: text"),
        (ROUTE + 'action = "drop"', ('routes.1.action: found "drop", allowed: "deliver", "skip", '
         '"copy"')),
        (ROUTE + 'action = "skipp"', '(did you mean "skip"?)'),
        (ROUTE + 'deliver_to = ["d"]\nlabel = "a b"', ('found "a b", allowed: a keyword made of '
         "letters, digits and")),
        (ROUTE + "deliver_to = ['d']\nlabel = '\\Seen'", 'found "\\Seen", allowed: a keyword'),
        (ROUTE + 'folder = "{x}"', "routes.1.folder: found \"{x}\", allowed: a folder's name in "),
        (ROUTE + 'larger = "big"', 'found "big", allowed: a size such as'),
        (ROUTE + 'header = { "X Y" = "z" }', 'allowed: the name of a header field, such as "X-S'),
        (ROUTE + 'header = { X-Y = "z", x-y = "a" }', "allowed: each field once, whatever its"),
        (ROUTE + 'header = { X-Y = 5 }', "routes.1.header.X-Y: found 5, allowed: a list"),
        (ROUTE + 'name = "a"\n' + ROUTE + 'name = "a"', (f':{AT + 3}: routes.2.name: found "a", '
         "as route 1 is called")),
        (ROUTE + 'deliver_to = ["homes"]', ('routes.1.deliver_to: found "homes", allowed: a '
         'destination ("d", "home")')),
        (ROUTE + 'account = "my-wrok"', (f':{AT + 1}: routes.1.account: found "my-wrok", allowed: '
         'an account, or a pattern (did you mean "my-work"?)')),
        (ROUTE + 'account = ["*", "x"]', 'found "x", allowed: an account, or a pattern'),
        (ROUTE + 'larger = "2MB"\nsmaller = "2MB"', (f":{AT + 2}: routes.1.smaller: not above what "
         "larger says, so that no message fits")),
        (ROUTE + 'action = "skip"\ndeliver_to = ["d"]', ("routes.1.deliver_to: deliver_to is for "
         'action = "deliver" or "copy"')),
        (ROUTE + 'action = "skip"\nfolder = "x"', 'folder is for action = "deliver" or "copy"'),
        (ROUTE + 'action = "skip"\nlabel = "x"', 'label is for action = "deliver" or "copy"'),
        (ROUTE + 'action = "copy"', (f":{AT}: routes.1.deliver_to: missing, and needed with action "
         '= "copy" (or folder)')),
        (ROUTE + 'action = "copy"\ndeliver_to = []', "missing, and needed with action"),
        (ROUTE + 'deliver_to = ["d", "home"]\nlabel = "x"', ("routes.1.label: label is for "
         'destinations of kind "imap"; "home" is of kind "maildir"')),
        (ROUTE + 'label = "x"', '"home" is of kind "maildir"'),  # where the account delivers to
        (ROUTE + 'account = "MY-[w*"\nlabel = "x"\n' + ROUTE + 'account = "M?-W*"\nlabel = "x"',
         f":{AT + 5}: routes.2.label: label is for"),
        (MIRROR.replace("[destinations.d]", "[destinations.m]") + ROUTE
         + 'deliver_to = ["m"]\nfolder = "x"', ('folder is for destinations of kind "maildir" or '
         '"imap"; "m" is a mirror and has those of the server')),
        ('[destinations.f]\nkind = "command"\ncommand = ["x"]\n' + ROUTE + 'deliver_to = ["f"]\n'
         'folder = "x"', '"f" is of kind "command"'),
        ("[routes]", "routes: found a table, allowed: a list"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    told = problems(tmp_path, DELIVERING + text)
    assert expected in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        'account = "My-Work"',
        'account = "nobody*"\nlabel = "x"',  # reaches nothing yet
        'account = "m[y]-*"\nlabel = "x"',  # nor does this: brackets are literal
        'deliver_to = ["d"]\nlabel = "x"\nfolder = "y"',
        'action = "copy"\nfolder = "Copies"',
        'folder = "{account}/{mailbox}"',
        "",
    ],
)
def test_a_route_that_is_well(tmp_path: Path, text: str) -> None:
    assert len(load(written(tmp_path, DELIVERING + ROUTE + text), {}).routes) == 1


def test_names_of_accounts_are_matched_whatever_their_case(tmp_path: Path) -> None:
    text = DELIVERING.replace("my-work", "My-Work") + ROUTE
    assert load(written(tmp_path, text + 'account = "my-work"'), {})
    assert "label is for" in problems(tmp_path, text + 'account = "my-*"\nlabel = "x"')


@pytest.mark.parametrize(
    "text", ['[{"sender": "x", "deliver_to": ["d"]}]', '[{sender = "x", deliver_to = ["d"]}]']
)
def test_routes_in_a_variable_take_the_place_of_the_file_s(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, DELIVERING + ROUTE + 'sender = "y"\n')
    [route] = load(file, {"FETCHD_ROUTES": text}).routes
    assert route.sender == ("x",)
    assert route.deliver_to == ("d",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"sendr": "x"}]', "FETCHD_ROUTES: routes.1.sendr: unknown key"),
        ("[{", 'FETCHD_ROUTES: routes: found "[{", allowed: a list'),
        ('[{"deliver_to": ["x"]}]', 'FETCHD_ROUTES: routes.1.deliver_to: found "x"'),
    ],
)
def test_a_mistake_in_a_variable_is_told_by_it(tmp_path: Path, text: str, expected: str) -> None:
    told = problems(tmp_path, DELIVERING + ROUTE + 'sendr = "y"\n', FETCHD_ROUTES=text)
    assert expected in told
    assert len(told.splitlines()) == 1
