"""SASL: each mechanism's octets, as the RFCs print them, and what a false server is told."""

import base64
import hmac

import pytest
import scramp

from fetchd.errors import AuthenticationFailed, RemoteProtocolError
from fetchd.protocol.sasl import MECHANISMS, Login, Mechanism


def made(name: str, username: str = "tim", secret: str = "tanstaaftanstaaf") -> Mechanism:
    return MECHANISMS[name](Login(username, secret, "pop.example.org", 995))


@pytest.mark.parametrize(
    ("name", "username", "secret", "turns"),
    [
        # mechanism     user     secret       (challenge, response); None: the client begins
        ("PLAIN", "tim", "tanstaaftanstaaf", [(None, b"\0tim\0tanstaaftanstaaf")]),  # RFC 4616 §4
        ("PLAIN", "jürgen", "påss", [(None, "\0jürgen\0påss".encode())]),
        ("PLAIN", "a", "b", [(None, b"\0a\0b"), (b"", b"\0a\0b")]),  # deaf to the first time
        ("LOGIN", "tim", "x", [(b"Username:", b"tim"), (b"Password:", b"x")]),
        ("LOGIN", "tim", "x", [(b"whatever", b"tim"), (b"", b"x")]),
        (
            "CRAM-MD5", "tim", "tanstaaftanstaaf",  # RFC 2195 §2
            [(b"<1896.697170952@postoffice.reston.mci.net>",
              b"tim b913a602c7eda7a495b4e6e7334d3890")],
        ),
        ("XOAUTH2", "me", "x", [(None, b"user=me\1auth=Bearer x\1\1"), (b'{"status":"401"}', b"")]),
        (
            "OAUTHBEARER", "a=b,c", "x",  # RFC 7628 §3.1
            [(None, b"n,a=a=3Db=2Cc,\1host=pop.example.org\1port=995\1auth=Bearer x\1\1"),
             (b'{"status":"invalid_token"}', b"\1")],
        ),
    ],
)  # fmt: skip
def test_responses(
    name: str, username: str, secret: str, turns: list[tuple[bytes | None, bytes]]
) -> None:
    mechanism = made(name, username, secret)
    for challenge, response in turns:
        spoken = mechanism.initial() if challenge is None else mechanism.respond(challenge)
        assert spoken == response
    assert mechanism.finished


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        (b'{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}',
         "status 401, scope https://mail.google.com/"),
        (b'{"status":"invalid_token","openid-configuration":"https://x"}', "status invalid_token"),
        (b'{"status":400,"error":"x","error_description":"a\\r\\nb"}',
         "status 400, error x, error_description a b"),
        (b'{"status":"%b"}' % (b"x" * 4000),                               f"status {'x' * 120}"),
        (b'{"status":"%b"}' % (b"x" * 5000),                               ""),
        (b'{"status":{"a":1},"scope":[]}',                                 ""),
        (b"[1]", ""), (b"not json", ""), (b"\xff\xfe", ""), (b"", ""), (b"[" * 4000, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_why_a_token_was_refused_is_kept(name: str, challenge: bytes, told: str) -> None:
    mechanism = made(name)
    mechanism.initial()
    assert mechanism.respond(challenge) == (b"" if name == "XOAUTH2" else b"\1")
    assert mechanism.refusal == told


def test_cram_md5_takes_the_password_as_utf_8() -> None:
    digest = hmac.new("påss".encode(), b"<1@x>", "md5").hexdigest()
    assert made("CRAM-MD5", "jürgen", "påss").respond(b"<1@x>") == f"jürgen {digest}".encode()


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_scram_proves_both_sides(name: str) -> None:
    server, mechanism = scram_server(name), made(name)
    first = mechanism.initial()
    assert first is not None
    server.set_client_first(first.decode())
    final = mechanism.respond(server.get_server_first().encode())
    server.set_client_final(final.decode())
    assert not mechanism.finished
    assert mechanism.respond(server.get_server_final().encode()) == b""
    assert mechanism.finished


@pytest.mark.parametrize(
    "lie",
    [
        b"v=" + base64.b64encode(b"0" * 32),  # a signature of somebody who does not know us
        b"v=",
        b"garbage",
        b"\xff\xfe",
        b"",
    ],
)
def test_scram_does_not_believe_a_server_that_cannot_prove_itself(lie: bytes) -> None:
    server, mechanism = scram_server("SCRAM-SHA-256"), made("SCRAM-SHA-256")
    server.set_client_first((mechanism.initial() or b"").decode())
    mechanism.respond(server.get_server_first().encode())
    with pytest.raises(RemoteProtocolError, match="SCRAM"):
        mechanism.respond(lie)
    assert not mechanism.finished


@pytest.mark.parametrize(
    "first",
    [
        b"r=other,s=QSXCR+Q6sek8bf92,i=4096",  # not our nonce
        b"r=%b,s=QSXCR+Q6sek8bf92,i=999999999999",  # would take for ever
        b"r=%b,s=QSXCR+Q6sek8bf92,i=1",  # would make guessing cheap
        b"nonsense",
    ],
)
def test_scram_refuses_an_absurd_first_turn(first: bytes) -> None:
    mechanism = made("SCRAM-SHA-256")
    nonce = (mechanism.initial() or b"").rpartition(b"r=")[2]
    with pytest.raises(RemoteProtocolError, match="SCRAM"):
        mechanism.respond(first.replace(b"%b", nonce + b"x"))


def test_scram_refused_by_the_server_leaves_the_last_word_to_it() -> None:
    mechanism = made("SCRAM-SHA-256")
    mechanism.initial()
    assert mechanism.respond(b"e=invalid-proof") == b""
    assert not mechanism.finished


def test_a_password_that_scram_forbids_is_named() -> None:
    with pytest.raises(AuthenticationFailed, match="unfit for SCRAM-SHA-1"):
        made("SCRAM-SHA-1", secret="a\u0007b")


@pytest.mark.parametrize("name", sorted(MECHANISMS))
def test_no_mechanism_shows_its_secret(name: str) -> None:
    mechanism = made(name)
    assert "tanstaaf" not in repr(mechanism) + repr(Login("tim", "tanstaaftanstaaf"))


def scram_server(name: str) -> scramp.core.ScramServer:
    mechanism = scramp.ScramMechanism(name)
    info = mechanism.make_auth_info("tanstaaftanstaaf", iteration_count=4096)
    return mechanism.make_server(lambda _user: info)
