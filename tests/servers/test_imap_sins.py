"""Every sin of the scripted IMAP server, as a stranger sees it."""

import base64

import pytest

from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import EMPTY_BODY, NIL_BODY, Sins, wrong_size
from tests.servers.raw_imap import NARROW, ONE, TWO, said, wire
from tests.servers.scripted import HANG_UP, Endless
from tests.servers.scripted_imap import ScriptedImap


@pytest.mark.parametrize(
    ("sins", "command", "answer"),
    [
        (Sins(uidnext=None),                 "STATUS INBOX (UIDNEXT MESSAGES)",
         b'* STATUS "INBOX" (MESSAGES 2)\r\n'),
        (Sins(uidnext=2),                    "STATUS INBOX (UIDNEXT)",
         b'* STATUS "INBOX" (UIDNEXT 2)\r\n'),
        (Sins(special_use_refused=True),     'LIST (SPECIAL-USE) "" "*"',
         b"t BAD SPECIAL-USE?\r\n"),
        (Sins(unsolicited={"NOOP": b"* 1 EXPUNGE\r\n"}), "NOOP",
         b"* 1 EXPUNGE\r\nt OK done\r\n"),
        (Sins(unsolicited={"*": b"* 9 EXISTS\r\n"}), "UID FETCH 1 UID",
         b"* 9 EXISTS\r\n* 1 FETCH (UID 1)\r\n* 9 EXISTS\r\nt OK done\r\n"),
        (Sins(lacking={1: ["UID", "BODY"]}), "UID FETCH 1 (FLAGS BODY.PEEK[])",
         b"* 1 FETCH (FLAGS ())\r\nt OK done\r\n"),
        (Sins(bodies={1: NIL_BODY}),         "UID FETCH 1 BODY.PEEK[]",
         b"* 1 FETCH (UID 1 BODY[] NIL)\r\nt OK done\r\n"),
        (Sins(bodies={1: EMPTY_BODY}),       "UID FETCH 1 BODY.PEEK[]",
         b'* 1 FETCH (UID 1 BODY[] "")\r\nt OK done\r\n'),
        (Sins(bodies={1: wrong_size(9, b"x")}), "UID FETCH 1 BODY.PEEK[]",
         b"* 1 FETCH (UID 1 BODY[] {9}\r\nx)\r\nt OK done\r\n"),
        (Sins(bodies={1: [b"{99}\r\nx", HANG_UP]}), "UID FETCH 1 BODY.PEEK[]",
         b"* 1 FETCH (UID 1 BODY[] {99}\r\nx"),
        (Sins(refused=[1]),                  "UID FETCH 1 BODY.PEEK[]",
         b"t NO [SERVERBUG] some messages could not be fetched\r\n"),
        (Sins(sizes={1: 5}),                 "UID FETCH 1 RFC822.SIZE",
         b"* 1 FETCH (UID 1 RFC822.SIZE 5)\r\nt OK done\r\n"),
        (Sins(backwards=True),               "UID FETCH 1:2 UID",
         b"* 2 FETCH (UID 2)\r\n* 1 FETCH (UID 1)\r\nt OK done\r\n"),
        (Sins(backwards=True),               "UID SEARCH ALL",
         b"* SEARCH 2 1\r\nt OK done\r\n"),
        (Sins(empty_search=b""),             "UID SEARCH DELETED",      b"t OK done\r\n"),
        (Sins(search_space=True),            "UID SEARCH ALL",
         b"* SEARCH 1 2 \r\nt OK done\r\n"),
        (Sins(always_esearch=True),          "UID SEARCH ALL",
         b'* ESEARCH (TAG "t") UID ALL 1:2\r\nt OK done\r\n'),
        (Sins(ascending_only=True),          "UID FETCH 2,1 UID",
         b"t BAD a set that does not ascend\r\n"),
        (Sins(no_range_of_one=True),         "UID FETCH 1:1 UID",
         b"t BAD a range of one\r\n"),
        (Sins(line_limit=20),                "UID FETCH 1:2 (UID FLAGS)",
         b"t BAD line too long\r\n"),
        (Sins(minus_one=True),               "STATUS INBOX (HIGHESTMODSEQ)",
         b'* STATUS "INBOX" (HIGHESTMODSEQ -1)\r\n'),
        (Sins(silent_enable=True),           "ENABLE QRESYNC",          b"t OK done\r\n"),
        (Sins(untagged_copyuid=True),        "UID COPY 1 INBOX",
         b"* OK [COPYUID 1600000000 1 3] copied\r\n* 3 EXISTS\r\nt OK done\r\n"),
        (Sins(bare_codes=True),              "EXAMINE INBOX",           b"* OK [UIDNEXT 3]\r\n"),
    ],
)  # fmt: skip
def test_sins(sins: Sins, command: str, answer: bytes) -> None:
    wrong = said(command, sins=sins)
    assert answer in wrong
    assert wrong != said(command)


def test_a_poisoned_body_spoils_no_header() -> None:
    answer = said("UID FETCH 1:2 BODY.PEEK[HEADER]", sins=Sins(refused=[1]))
    assert answer == said("UID FETCH 1:2 BODY.PEEK[HEADER]")
    both = said("UID FETCH 1:2 BODY.PEEK[]", sins=Sins(refused=[1]))
    assert both.startswith(b"* 2 FETCH (UID 2 BODY[] {")


@pytest.mark.parametrize(
    ("box", "command", "answer"),
    [
        (Box([ONE], uidvalidity=0),         "EXAMINE INBOX",         b"* OK [UIDVALIDITY 0] "),
        (Box([ONE], modseqs=False),         "EXAMINE INBOX",         b"* OK [NOMODSEQ] "),
        (Box([ONE], read_only=True),        "SELECT INBOX",          b"t OK [READ-ONLY] "),
        (Box([ONE], read_only=True),        "UID STORE 1 FLAGS (a)", b"t NO [READ-ONLY] "),
        (Box([ONE], frozen_modseq=True),    "UID STORE 1 (UNCHANGEDSINCE 9) FLAGS (a)",
         b"MODSEQ (2))\r\n"),
        (Box(attributes=["\\Noselect"]),    "SELECT INBOX",          b"t NO [NONEXISTENT] "),
    ],
)  # fmt: skip
def test_sins_of_a_mailbox(box: Box, command: str, answer: bytes) -> None:
    assert answer in said(command, box)


def test_a_literal_without_an_end() -> None:
    endless = [b"{4294967296}\r\n", Endless(b"x" * 4096)]
    with ScriptedImap({"INBOX": [ONE]}, sins=Sins(bodies={1: endless})) as server:
        for _ in range(2):  # the first client's leaving hurts nobody
            with wire(server) as client:
                client.raw(b"t UID FETCH 1 BODY.PEEK[]\r\n")
                assert client.until(b"* 1 FETCH") == b"* 1 FETCH (UID 1 BODY[] {4294967296}\r\n"
                assert client.take(100_000) == b"x" * 100_000


def test_vanished_may_list_what_nobody_knew() -> None:
    sins = Sins(vanished_besides=b"100:200")
    answer = said("UID FETCH 1:* (UID) (CHANGEDSINCE 9 VANISHED)", sins=sins)
    assert answer == b"* VANISHED (EARLIER) 100:200\r\nt OK done\r\n"


def test_a_missing_uidvalidity_is_missing() -> None:
    answer = said("EXAMINE INBOX", Box([ONE], uidvalidity=None))
    assert b"UIDVALIDITY" not in answer
    assert b"UIDNEXT" in answer


def test_a_star_in_an_empty_mailbox_is_refused() -> None:
    assert b"BAD" in said("UID FETCH 1:* UID", Box(), sins=Sins(no_star_on_empty=True))
    assert b"OK" in said("UID FETCH 1:* UID", Box())


def test_status_of_the_selected_mailbox_may_lie() -> None:
    box = Box([ONE])
    lying = Sins(stale_status=True, unsolicited={})
    with ScriptedImap({"INBOX": box}, sins=lying) as server, wire(server) as client:
        server.change(lambda _s: box.add(TWO))
        assert b"MESSAGES 1)" in client.say("STATUS INBOX (MESSAGES)")
        server.sins = Sins()
        server.change(lambda _s: box.add(TWO))
        assert b"MESSAGES 3)" in client.say("STATUS INBOX (MESSAGES)")


@pytest.mark.parametrize(
    ("sins", "delimiter", "line"),
    [
        (Sins(),                b"/",  b'* LIST (\\Sent) "/" {4}\r\na\xff"b\r\n'),
        (Sins(raw_names=True),  b".",  b'* LIST (\\Sent) "." "a\xff"b"\r\n'),
        (Sins(),                None,  b'* LIST (\\Sent) NIL {4}\r\na\xff"b\r\n'),
    ],
)  # fmt: skip
def test_names(sins: Sins, delimiter: bytes | None, line: bytes) -> None:
    boxes = {b'a\xff"b': Box(attributes=["\\Sent"]), b"INBOX/INBOX": Box()}
    with ScriptedImap(boxes, sins=sins, delimiter=delimiter) as server, wire(server) as client:
        answer = client.say('LIST "" "*"')
    assert line in answer
    assert b'"INBOX/INBOX"' in answer


def test_id_must_come_first() -> None:
    with ScriptedImap({"INBOX": []}, sins=Sins(id_first=True)) as server, wire(server) as client:
        assert client.say("SELECT INBOX").startswith(b"t NO SELECT Unsafe Login")
        client.say('ID ("name" "me")')
        assert client.say("SELECT INBOX").endswith(b"t OK [READ-WRITE] done\r\n")


def test_authentication_and_its_sins() -> None:
    offers = (*NARROW, "AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=SCRAM-SHA-256", "SASL-IR")
    sins = Sins(xoauth2_refused=b'{"status":"400"}', unproved_scram=True)
    first = base64.b64encode(b"n,,n=me,r=nonce").decode()
    with ScriptedImap({}, capabilities=offers, sins=sins) as server:
        with wire(server, inside=False) as client:
            client.raw(b"t AUTHENTICATE XOAUTH2 dG9rZW4=\r\n")
            assert client.until(b"+ ") == b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n"
            client.raw(b"\r\n")
            assert client.until(b"t ").startswith(b"t NO [AUTHENTICATIONFAILED]")
            client.raw(f"t AUTHENTICATE SCRAM-SHA-256 {first}\r\n".encode())
            assert base64.b64decode(client.until(b"+ ")[2:]).startswith(b"r=nonce")
            client.raw(b"Yz1iaXdz\r\n")
            assert client.until(b"t ") == b"t OK logged in\r\n"
        with wire(server, inside=False) as client:
            client.raw(b"t AUTHENTICATE PLAIN\r\n")
            assert client.until(b"+") == b"+ \r\n"
            client.raw(b"AG1lAHNlY3JldA==\r\n")
            assert client.until(b"t ") == b"t OK logged in\r\n"
