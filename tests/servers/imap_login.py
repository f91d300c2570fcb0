"""How the scripted IMAP server lets clients in: any credentials are right.

PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER end in OK, as far as `AUTH=` offers them;
SCRAM, which needs a password, only as the sin of a server that proves nothing.
"""

import base64
import secrets
from collections.abc import Sequence

from tests.servers.imap_session import RefusedError, Session
from tests.servers.imap_words import Word, octets


async def login(session: Session, arguments: Sequence[Word]) -> bytes:
    """LOGIN."""
    if "LOGINDISABLED" in session.offered:
        raise RefusedError(b"[PRIVACYREQUIRED] not without TLS")
    if len(arguments) != 2:
        raise ValueError("a name and a password")
    session.inside = True
    return b"logged in"


async def authenticate(session: Session, arguments: Sequence[Word]) -> bytes:
    """AUTHENTICATE, with or without an initial response (RFC 4959)."""
    mechanism = octets(arguments[0]).decode().upper()
    if f"AUTH={mechanism}" not in session.offered:
        raise RefusedError(b"no such mechanism")
    first = octets(arguments[1]) if len(arguments) > 1 else await _asked(session, b"")
    refusal = session.sins.xoauth2_refused
    if mechanism == "XOAUTH2" and refusal is not None:
        await _asked(session, refusal)
        raise RefusedError(b"[AUTHENTICATIONFAILED] the token is no good")
    if mechanism == "LOGIN":
        await _asked(session, b"Password:")
    elif mechanism.startswith("SCRAM-"):
        await _scram(session, base64.b64decode(first))
    session.inside = True
    return b"logged in"


async def _scram(session: Session, first: bytes) -> None:
    """RFC 5802 without the server's proof, the one sin that needs no password."""
    if not session.sins.unproved_scram:
        raise RefusedError(b"no passwords here: a real server does SCRAM")
    nonce = first.rpartition(b"r=")[2] + secrets.token_hex(8).encode()
    await _asked(session, b"r=%b,s=%b,i=4096" % (nonce, base64.b64encode(b"a pinch of salt")))


async def _asked(session: Session, challenge: bytes) -> bytes:
    """Send a challenge and read the answer, both base64."""
    await session.say(b"+ %b\r\n" % base64.b64encode(challenge))
    await session.writer.drain()
    answer = session.hear(await session.reader.readuntil(b"\n"))
    if answer == "*":
        raise ValueError("cancelled")
    return answer.encode()
