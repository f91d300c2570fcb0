"""One message over SMTP or LMTP: in as few round trips as the server's extensions allow.

    PIPELINING, CHUNKING    MAIL, RCPT and the message in one flight (RFC 2920, RFC 3030)
    PIPELINING              MAIL, RCPT and DATA in one flight, then the message
    neither                 step by step

Messages above ONE_FLIGHT are sent when their recipients are known, in chunks or after DATA,
from a file in bounded memory; a refusal meanwhile ends the sending.

What is sure and what is not: before the last octets are written, nothing can have been
accepted, and an error is raised. From then on no error is raised any more: recipients for
whom no answer came may have the message, which is what `lost` says. The server's 421 to
MAIL is about the session and raised; to anything behind it, it is an answer like others,
because a message that provokes it must not stand in the way of all others.

After an error the connection is of no more use, and hung up.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing

from fetchd.clients.smtp import SmtpClient
from fetchd.clients.smtp_refusals import refusal
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
from fetchd.protocol.smtp import CLOSING, DATA, RSET, Answer, Command, State, bdat, mail, rcpt
from fetchd.protocol.smtp_octets import END, blocks, canonical, stuffed
from fetchd.protocol.smtp_replies import Reply
from fetchd.values import Struct

ONE_FLIGHT = 1 << 20  # octets that are sent before anybody has agreed, and held in memory
BLOCK = 1 << 18  # octets of one write, and of one chunk


class Envelope(Struct, frozen=True):
    """Whom a message is from ("": nobody) and to, and what it is like."""

    sender: str
    recipients: tuple[str, ...]
    size: int  # octets
    eight_bit: bool = False
    utf8: bool = False


class Verdicts(Struct, frozen=True):
    """What the server said: to MAIL, and what decided for each recipient.

    `lost`: why those who are neither refused by `mail` nor in `replies` may have it.
    """

    mail: Reply | None
    replies: Mapping[str, Reply]
    lost: FetchdError | None = None


async def transfer(
    client: SmtpClient, envelope: Envelope, pieces: Callable[[], Iterator[bytes]]
) -> Verdicts:
    """Send it; `pieces` are the octets, read in a thread, and fit for SMTP as they are."""
    return await _Transfer(client, envelope, pieces).run()


class _Transfer:
    def __init__(
        self, client: SmtpClient, envelope: Envelope, pieces: Callable[[], Iterator[bytes]]
    ) -> None:
        self._client, self._envelope, self._pieces = client, envelope, pieces
        self._features = client.features
        self._chunking = self._features.chunking
        self._mail: Reply | None = None
        self._accepted: list[str] = []  # by RCPT
        self._replies: dict[str, Reply] = {}
        self._sent = False  # all of it, as far as we can tell
        self._lost: FetchdError | None = None

    async def run(self) -> Verdicts:
        client = self._client
        await client.listen()
        try:
            await self._reset()
            await self._hand_over()
        except (ConnectionFailed, RemoteProtocolError) as error:
            client.break_off()
            if not self._sent:
                raise
            self._lost = error
        except BaseException:
            client.break_off()
            raise
        finally:
            client.in_doubt = False
        return Verdicts(self._mail, self._replies, self._lost)

    async def _hand_over(self) -> None:
        whole = None
        if self._envelope.size <= ONE_FLIGHT:
            whole = await asyncio.to_thread(b"".join, self._octets())
        await self._open(whole)
        if self._client.protocol.state is State.DATA:
            await self._pour(whole)
        elif self._accepted and not self._sent and not self._replies_to_all():
            await (self._send_chunks(whole) if self._chunking else self._ask_and_pour(whole))
        await self._hear_out()

    async def _reset(self) -> None:
        """What was begun and refused is in nobody's way."""
        if self._client.protocol.transaction:
            reply = await self._client.ask(RSET)
            if not reply.ok:
                raise RemoteProtocolError("RSET was refused", str(reply).encode())

    # -- The envelope ----------------------------------------------------------------

    async def _open(self, whole: bytes | None) -> None:
        """MAIL and RCPT, with all that may be said in the same breath."""
        opening = self._opening()
        if not self._features.pipelining:
            for command in opening:
                self._client.post(command)
                await self._hear_out()
                if self._client.protocol.closed or (self._mail and not self._mail.ok):
                    return
            return
        if whole is not None:
            opening.append(bdat(whole, last=True) if self._chunking else DATA)
        self._sent = opening[-1].final and self._goes_out()
        self._client.post(*opening)
        await self._hear_out()

    def _opening(self) -> list[Command]:
        envelope, features = self._envelope, self._features
        utf8 = envelope.utf8 and features.utf8
        return [
            mail(
                envelope.sender,
                size=envelope.size if "SIZE" in features else None,
                eight_bit=envelope.eight_bit and features.eight_bit,
                utf8=utf8,
            ),
            *(rcpt(one, utf8=utf8) for one in envelope.recipients),
        ]

    # -- The octets ------------------------------------------------------------------

    def _octets(self) -> Iterator[bytes]:
        return canonical(self._pieces()) if self._chunking else stuffed(self._pieces())

    async def _ask_and_pour(self, whole: bytes | None) -> None:
        self._client.post(DATA)
        await self._hear_out()
        if self._client.protocol.state is State.DATA:
            await self._pour(whole)

    async def _pour(self, whole: bytes | None) -> None:
        """After DATA. A server that wants a message for nobody gets one without an octet."""
        client = self._client
        if not self._accepted:
            if client.protocol.lmtp:
                client.break_off()  # RFC 2033 §4.2: it would not even answer
                return
            whole = END
        async with aclosing(self._blocks(whole)) as pieces:
            async for block, last in pieces:
                if last:
                    self._sent = self._goes_out()
                    client.protocol.end_data()
                client.write(block)
                if not last and not await self._goes_on(len(block)):
                    return

    async def _send_chunks(self, whole: bytes | None) -> None:
        """BDAT for BDAT. After a refusal the rest is not sent, and RSET has to follow."""
        async with aclosing(self._blocks(whole)) as pieces:
            async for block, last in pieces:
                self._sent = last and self._goes_out()
                self._client.post(bdat(block, last=last))
                if not self._features.pipelining:
                    await self._hear_out()
                if self._replies_to_all() or (not last and not await self._goes_on(len(block))):
                    return

    async def _blocks(self, whole: bytes | None) -> AsyncGenerator[tuple[bytes, bool], None]:
        """The message in large pieces, and which is the last."""
        if whole is not None:
            yield whole, True
            return
        source = blocks(self._octets(), BLOCK)
        block = await asyncio.to_thread(next, source, b"")
        while block:
            following = await asyncio.to_thread(next, source, b"")
            yield block, not following
            block = following

    def _goes_out(self) -> bool:
        """Whether what is written now may reach the peer."""
        self._client.in_doubt = not self._client.stream.ended
        return self._client.in_doubt

    async def _goes_on(self, octets: int) -> bool:
        """Wait for room; False where the server has refused what it has not heard out."""
        client = self._client
        await client.room(octets)
        while client.answered:
            self._note(await client.answer())
        self._heed_last_words()
        return not self._replies_to_all()

    # -- The answers -----------------------------------------------------------------

    async def _hear_out(self) -> None:
        """All that is due."""
        client = self._client
        while client.protocol.pending or client.answered:
            self._note(await client.answer(client.final_wait if self._sent else None))
        self._heed_last_words()

    def _heed_last_words(self) -> None:
        """A refusal that came unasked, in the middle of the message."""
        if (reply := self._client.last_words) is not None:
            self._decide(self._envelope.recipients, reply)

    def _note(self, answer: Answer) -> None:
        command, reply = answer.command, answer.reply
        if command.verb == "MAIL" and reply.code == CLOSING:
            raise refusal(reply, f"{self._client.stream.where} ends the session")
        if command.verb == "MAIL":
            self._mail = reply
        elif command.verb == "RCPT" and reply.ok:
            self._accepted.append(answer.recipient)
        elif command.final and answer.recipient:
            self._decide((answer.recipient,), reply)
            if reply.code == CLOSING:  # it has given up answering for the others
                self._lost = refusal(reply, f"{self._client.stream.where} ends the session")
        elif command.verb == "RCPT" and reply.code != CLOSING:
            self._decide((answer.recipient,), reply)
        elif command.final or not (reply.ok or reply.code == 354):
            self._decide(self._envelope.recipients, reply)

    def _decide(self, recipients: Iterable[str], reply: Reply) -> None:
        """The first word on a recipient counts: what follows a refusal only echoes it."""
        for one in recipients:
            self._replies.setdefault(one, reply)

    def _replies_to_all(self) -> bool:
        return all(one in self._replies for one in self._accepted)
