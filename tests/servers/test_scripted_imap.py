"""The scripted IMAP server: honest where it should be, and it says what it is told to.

imaplib and a bare socket are the clients; both know nothing of fetchd.
"""

import imaplib
import re
import ssl
from pathlib import Path

import pytest

from tests.servers.certificates import Authority
from tests.servers.imap_boxes import DATE, UIDVALIDITY, Box
from tests.servers.mail import Served, digest
from tests.servers.other_client import OtherClient
from tests.servers.proxy import Proxy
from tests.servers.raw_imap import NARROW, ONE, SEEN, TWO, said, wire
from tests.servers.scripted import HANG_UP, Turns, server_context
from tests.servers.scripted_imap import CAPABILITIES, RIGHT, InTurn, ScriptedImap

# -- Honest ------------------------------------------------------------------------------


def test_an_independent_client_finds_what_was_put_there() -> None:
    box = Box([ONE, SEEN], uids=[7, 4294967294])
    with ScriptedImap({"INBOX": box}) as server:
        other = OtherClient(server.host, server.port, "me", "secret")
        with other:
            assert other.served("INBOX") == {
                7: Served(digest(ONE), frozenset(), DATE),
                4294967294: Served(digest(TWO), frozenset({"\\Seen"}), SEEN.date or DATE),
            }
            other.create("W\u00fcrfel/innen")
            assert other.append("W\u00fcrfel/innen", TWO, ("$Work",), DATE) == 1
            other.move("INBOX", [7], "W\u00fcrfel/innen")
            other.flag("INBOX", [4294967294], add=("\\Flagged",), drop=("\\Seen",))
            held = other.everything()
            assert [m.digest for m in held["W\u00fcrfel/innen"].values()] == [
                digest(TWO),
                digest(ONE),
            ]
            assert [m.flags for m in held["INBOX"].values()] == [{"\\Flagged"}]
            other.expunge("INBOX")
            other.rename("W\u00fcrfel/innen", "b")
            assert other.status("b", "UIDNEXT") == 3
            assert {name: len(box) for name, box in other.everything().items()} == {
                "INBOX": 0,
                "b": 2,
            }
            other.delete("b")
            assert other.mailboxes() == ["INBOX"]
    assert server.verbs().count("UID MOVE") == 1
    assert b"W&APw-rfel/innen" not in server.boxes


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("UID FETCH 1:* (FLAGS)",
         b"* 1 FETCH (UID 1 FLAGS ())\r\n* 2 FETCH (UID 2 FLAGS (\\Seen))\r\nt OK done\r\n"),
        ("UID FETCH 3:* (UID)",                  b"* 2 FETCH (UID 2)\r\nt OK done\r\n"),  # quirk 29
        ("UID FETCH 9 (UID)",                    b"t OK done\r\n"),
        ("FETCH 9 (UID)",                        b"t BAD no such message\r\n"),
        ("FETCH 1 (BODY.PEEK[]<2.5>)",
         b"* 1 FETCH (BODY[]<2> {5}\r\nbject)\r\nt OK done\r\n"),
        ("FETCH 1 BODY.PEEK[HEADER.FIELDS (from)]",
         b"* 1 FETCH (BODY[HEADER.FIELDS (from)] {13}\r\nFrom: a@b\r\n\r\n)\r\nt OK done\r\n"),
        ("FETCH 1 (BODY.PEEK[TEXT] RFC822.SIZE)",
         b"* 1 FETCH (BODY[TEXT] {7}\r\nfirst\r\n RFC822.SIZE 34)\r\nt OK done\r\n"),
        ("UID SEARCH UNSEEN",                    b"* SEARCH 1\r\nt OK done\r\n"),
        ("UID SEARCH NOT UNSEEN SINCE 2-Jan-2020", b"* SEARCH 2\r\nt OK done\r\n"),
        ("UID SEARCH OR SEEN HEADER Subject ONE", b"* SEARCH 1 2\r\nt OK done\r\n"),
        ("UID SEARCH DELETED",                   b"* SEARCH\r\nt OK done\r\n"),
        ("UID SEARCH RETURN (ALL COUNT) ALL",
         b'* ESEARCH (TAG "t") UID COUNT 2 ALL 1:2\r\nt OK done\r\n'),
        ("UID SEARCH NONSENSE",                  b"t BAD not a set of numbers\r\n"),
        ("UID STORE 1 +FLAGS (a)",               b"* 1 FETCH (UID 1 FLAGS (a))\r\nt OK done\r\n"),
        ("UID STORE 1:2 (UNCHANGEDSINCE 2) FLAGS.SILENT (a)", b"t OK [MODIFIED 2] done\r\n"),
        ("UID COPY 1 nowhere",                   b"t NO [TRYCREATE] no such mailbox\r\n"),
        ("UID COPY 1:2 INBOX",
         b"* 4 EXISTS\r\nt OK [COPYUID 1600000000 1:2 3:4] done\r\n"),
        ("UID MOVE 1 inbox",
         b"* OK [COPYUID 1600000000 1 3] moved\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\nt OK done\r\n"),
        ('STATUS INBOX (MESSAGES UNSEEN UIDNEXT)',
         b'* STATUS "INBOX" (MESSAGES 2 UNSEEN 1 UIDNEXT 3)\r\nt OK done\r\n'),
        ("NAMESPACE",
         b'* NAMESPACE (("" "/")) NIL NIL\r\nt OK done\r\n'),
        ('LIST "" "*" RETURN (STATUS (MESSAGES))',
         b'* LIST () "/" "INBOX"\r\n* STATUS "INBOX" (MESSAGES 2)\r\nt OK done\r\n'),
        ('LIST "" ""',                           b'* LIST (\\Noselect) "/" ""\r\nt OK done\r\n'),
        ("ENABLE QRESYNC NONSENSE",              b"* ENABLED QRESYNC\r\nt OK done\r\n"),
        ("WHAT",                                 b"t BAD unknown command\r\n"),
    ],
)  # fmt: skip
def test_right_answers(command: str, answer: bytes) -> None:
    assert said(command) == answer


@pytest.mark.parametrize(
    "command",
    ["UID EXPUNGE 1", "UID MOVE 1 INBOX", "IDLE", "ENABLE QRESYNC", "NAMESPACE", "ID NIL",
     "UNSELECT", 'LIST (SPECIAL-USE) "" "*"', "APPEND INBOX {1+}\r\nx"],
)  # fmt: skip
def test_what_is_not_offered_is_refused(command: str) -> None:
    assert said(command, capabilities=NARROW).startswith(b"t BAD")


def test_resynchronisation_tells_what_vanished_and_changed() -> None:
    box = Box([ONE, TWO, ONE])
    with ScriptedImap({"INBOX": box}) as server, wire(server, inside=False) as client:
        client.say("LOGIN me secret")
        client.say("ENABLE QRESYNC")
        known = box.modseq
        server.change(lambda _s: (box.remove({1}), box.flag(box.messages[1], {"\\Seen"})))
        answer = client.say(f"SELECT INBOX (QRESYNC ({UIDVALIDITY} {known}))")
        assert (
            b"* VANISHED (EARLIER) 1\r\n* 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (6))\r\n" in answer
        )
        changed = client.say(f"UID FETCH 1:* (UID) (CHANGEDSINCE {known} VANISHED)")
        assert changed.startswith(b"* VANISHED (EARLIER) 1\r\n* 2 FETCH (UID 3 MODSEQ (6))\r\n")
        server.change(lambda _s: box.remove({3}))
        assert client.say("NOOP") == b"* VANISHED 3\r\nt OK done\r\n"


def test_idle_tells_what_happens() -> None:
    box = Box([ONE])
    with ScriptedImap({"INBOX": box}) as server, wire(server) as client:
        client.raw(b"t IDLE\r\n")
        client.until(b"+ ")
        server.change(lambda _s: box.add(TWO))
        assert client.until(b"* ") == b"* 2 EXISTS\r\n"
        server.change(lambda _s: box.remove({1}))
        assert client.until(b"* ") == b"* 1 EXPUNGE\r\n"
        server.change(lambda _s: box.flag(box.messages[0], {"\\Seen"}))
        assert client.until(b"* ") == b"* 1 FETCH (UID 2 FLAGS (\\Seen))\r\n"
        client.raw(b"DONE\r\n")
        assert client.until(b"t ") == b"t OK done\r\n"
        assert server.heard[-2:] == ["IDLE", "DONE"]


def test_body_sets_seen_and_peek_does_not() -> None:
    box = Box([ONE])
    with ScriptedImap({"INBOX": box}) as server, wire(server) as client:
        client.say("UID FETCH 1 (BODY.PEEK[])")
        assert box.messages[0].flags == set()
        client.say("UID FETCH 1 (BODY[])")
        assert box.messages[0].flags == {"\\Seen"}


def test_identities_and_labels() -> None:
    boxes = {"INBOX": [ONE], "[Gmail]/All": Box([TWO, ONE])}
    offered = (*CAPABILITIES, "OBJECTID", "X-GM-EXT-1")
    with ScriptedImap(boxes, capabilities=offered) as server, wire(server) as client:
        item = "(EMAILID X-GM-MSGID X-GM-LABELS)"
        here = client.say(f"FETCH 1 {item}")
        client.say("EXAMINE [Gmail]/All")
        there = client.say(f"FETCH 2 {item}")
    assert here.partition(b"FETCH")[2] == there.partition(b"FETCH")[2]
    assert b'X-GM-LABELS ("INBOX" "[Gmail]/All")' in here


@pytest.mark.parametrize(
    ("offered", "command", "answer"),
    [
        ("LITERAL+",      b"APPEND INBOX {5000+}\r\n" + b"x" * 5000 + b"\r\n", b"t OK [APPENDUID"),
        ("LITERAL-",      b"APPEND INBOX {4096+}\r\n" + b"x" * 4096 + b"\r\n", b"t OK [APPENDUID"),
        ("LITERAL-",      b"APPEND INBOX {4097+}\r\n" + b"x" * 4097 + b"\r\n", b"t BAD"),
        ("APPENDLIMIT=3", b"APPEND INBOX {4}\r\n",                             b"t NO [TOOBIG]"),
        ("MULTIAPPEND",   b"APPEND INBOX {1}\r\na (\\Seen) {1}\r\nb\r\n",
         b"t OK [APPENDUID 1600000000 3:4]"),
    ],
)  # fmt: skip
def test_literals_and_limits(offered: str, command: bytes, answer: bytes) -> None:
    offers = (*NARROW, "UIDPLUS", offered)
    box = Box([ONE, TWO])
    with ScriptedImap({"INBOX": box}, capabilities=offers) as server, wire(server) as client:
        client.raw(b"t " + command)
        assert client.until(b"t ").splitlines()[-1].startswith(answer)


# -- Answers of the test's ---------------------------------------------------------------


def test_an_answer_once_and_then_rightly() -> None:
    once = InTurn(RIGHT, b"<tag> NO [UNAVAILABLE] later\r\n")
    answers = {re.compile(r"BODY\.PEEK"): once, "NOOP": [b"* BYE over\r\n", HANG_UP]}
    with ScriptedImap({"INBOX": [TWO]}, answers=answers) as server, wire(server) as client:
        command = "UID FETCH 1 (BODY.PEEK[])"
        right = client.say(command)
        assert TWO in right  # "<tag>" in a message is the message's
        assert client.say(command, tag="x9") == b"x9 NO [UNAVAILABLE] later\r\n"
        assert client.say(command) == right
        assert client.say("NOOP") == b"* BYE over\r\n"


def test_something_happens_in_the_middle() -> None:
    box = Box([ONE, TWO])
    on = {"UID SEARCH": lambda _server: box.remove({1})}
    with ScriptedImap({"INBOX": box}, on=on) as server, wire(server) as client:
        assert client.say("UID SEARCH ALL") == b"* SEARCH 2\r\n* 1 EXPUNGE\r\nt OK done\r\n"


@pytest.mark.parametrize(
    ("greeting", "server"),
    [
        (b"* OK [CAPABILITY IMAP4rev1] ready\r\n",      {"capabilities": NARROW}),
        (b"* PREAUTH [CAPABILITY IMAP4rev1] ready\r\n", {"capabilities": NARROW, "preauth": True}),
        (b"* BYE full\r\n",
         {"answers": {"greeting": [b"* BYE full\r\n", HANG_UP]}}),
    ],
)  # fmt: skip
def test_greetings(greeting: bytes, server: dict[str, object]) -> None:
    with ScriptedImap({}, **server) as scripted, wire(scripted, inside=False) as client:  # type: ignore[arg-type]
        assert client.greeting == greeting


def test_preauth_is_inside_and_capabilities_change() -> None:
    offers = {"capabilities": (*NARROW, "LOGINDISABLED"), "inside": (*NARROW, "IDLE")}
    with ScriptedImap({}, **offers) as server, wire(server, inside=False) as client:
        assert client.say("LOGIN me secret").startswith(b"t NO [PRIVACYREQUIRED]")
        assert client.say('LIST "" ""').startswith(b"t BAD not in this state")
    with ScriptedImap({}, preauth=True, **offers) as server, wire(server, inside=False) as client:
        assert b"IDLE" in client.greeting
        assert client.say('LIST "" ""').endswith(b"t OK done\r\n")


def test_starttls_and_octets_injected_before_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue())
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    offers = {"capabilities": (*NARROW, "STARTTLS", "LOGINDISABLED"), "secure": NARROW}
    injected = b"<tag> OK begin\r\n* CAPABILITY IMAP4rev1 EVIL\r\n"
    answers = {"STARTTLS": InTurn(RIGHT, injected, b"<tag> NO not now\r\n")}
    with ScriptedImap({}, answers=answers, starttls=context, **offers) as server:
        with imaplib.IMAP4(server.host, server.port) as client:
            assert "LOGINDISABLED" in client.capabilities
            client.starttls(trusting)
            assert "LOGINDISABLED" not in client.capabilities
            client.login("me", "secret")
        with wire(server, inside=False) as bare:
            bare.raw(b"t STARTTLS\r\n")
            assert bare.until(b"* CAPABILITY").endswith(b"* CAPABILITY IMAP4rev1 EVIL\r\n")
        with wire(server, inside=False) as bare:
            assert bare.say("STARTTLS") == b"t NO not now\r\n"
            assert bare.say("NOOP") == b"t OK done\r\n"


def test_turns_know_the_tag_and_let_in() -> None:
    turns = Turns((b"+ \r\n", b"<tag> OK in\r\n"))
    scripted = ScriptedImap({}, answers={"AUTHENTICATE": turns})
    with scripted as server, wire(server, inside=False) as client:
        client.raw(b"t7 AUTHENTICATE GSSAPI\r\n")
        client.until(b"+")
        client.raw(b"token\r\n")
        assert client.until(b"t7 ") == b"t7 OK in\r\n"
        assert client.say('LIST "" ""').endswith(b"t OK done\r\n")
    assert server.heard[:2] == ["AUTHENTICATE GSSAPI", "token"]


def test_the_proxy_counts_flights_and_cuts() -> None:
    with (
        ScriptedImap({"INBOX": [ONE]}) as server,
        Proxy(server.host, server.port) as proxy,
        wire(proxy, inside=False) as client,
    ):
        client.raw(b"a LOGIN me secret\r\nb SELECT INBOX\r\nc UID FETCH 1:* UID\r\n")
        client.until(b"c ")
        client.say("NOOP")
        assert proxy.flights == 2
        assert server.verbs() == ["LOGIN", "SELECT", "UID FETCH", "NOOP"]
