"""A message for a program of the owner's: the letter on standard input, the facts beside it.

No shell; the words are the owner's own. What servers said is in the letter and in variables,
without control characters, and never among the arguments.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from tempfile import TemporaryFile

from fetchd.alerting.letters import letter
from fetchd.alerting.message import Message, here
from fetchd.destinations.command import INHERITED, LONGEST, find_program
from fetchd.destinations.running import Ended, Interrupt, run
from fetchd.errors import ChannelFailed, FetchdError
from fetchd.telemetry import printable, redact

LIMIT = 60.0  # seconds for the program
_SEARCHED = "/usr/local/bin:/usr/bin:/bin"


class ProgramChannel:
    """`alerts.command`."""

    name = "command"
    destination = ""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command

    async def send(self, message: Message) -> None:
        """Run it; it took the message if it ended with 0."""
        interrupt = Interrupt()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ended] = loop.create_future()

        def work() -> None:
            try:
                result: Ended | BaseException = self._run(message, interrupt)
            except BaseException as error:
                result = error
            loop.call_soon_threadsafe(_settle, ended, result)

        thread = threading.Thread(target=work, name="fetchd-alert", daemon=True)
        thread.start()
        try:
            self._judge(await asyncio.shield(ended))
        finally:
            if not ended.done():  # nothing that we started outlives us
                interrupt.set()
                await asyncio.wait({ended})
                ended.exception()  # nobody else asks for it
            interrupt.close()

    def _run(self, message: Message, interrupt: Interrupt) -> Ended:
        try:
            program = find_program(self._command[0])
        except FetchdError as error:
            advice = "Install it, or correct alerts.command in the settings."
            raise ChannelFailed(str(error), advice=advice) from None
        octets = letter(message, f"fetchd@{here()}", ()).replace(b"\r\n", b"\n")
        with TemporaryFile() as file:
            file.write(octets)
            file.flush()
            file.seek(0)
            arguments = (program, *self._command[1:])
            return run(arguments, file.fileno(), environment(message), LIMIT, interrupt)

    def _judge(self, ended: Ended) -> None:
        said = redact(printable(ended.said))
        program = os.path.basename(self._command[0])  # noqa: PTH119  # of any text
        if ended.by_us:
            raise ChannelFailed(f"{program} took over {LIMIT:g} s and was ended. {said}".strip())
        if ended.status:
            how = f"was killed by signal {-ended.status}" if ended.status < 0 else None
            told = f"{program} {how or f'ended with {ended.status}'}"
            raise ChannelFailed(f"{told}: {said}" if said else f"{told}.")


def environment(message: Message) -> Mapping[str, str]:
    """What the program is told; of several troubles the first speaks, and all are counted."""
    first = next(iter((*message.raised, *message.over)), None)
    ours = {
        "FETCHD_ALERT_EVENT": str(message.about),
        "FETCHD_ALERT_HOST": here(),
        "FETCHD_ALERT_TITLE": message.subject,
        "FETCHD_ALERT_RAISED": str(len(message.raised)),
        "FETCHD_ALERT_OVER": str(len(message.over)),
    }
    if first is not None:
        ours |= {
            "FETCHD_ALERT_ID": str(first.id),
            "FETCHD_ALERT_KIND": first.kind,
            "FETCHD_ALERT_SUBJECT": first.subject,
            "FETCHD_ALERT_SENTENCE": first.sentence,
            "FETCHD_ALERT_ADVICE": first.advice,
            "FETCHD_ALERT_SINCE": first.raised_at.isoformat(timespec="seconds"),
        }
    kept = {k: v for k, v in os.environ.items() if k in INHERITED or k.startswith("LC_")}
    kept.setdefault("PATH", _SEARCHED)
    return kept | {name: printable(redact(value))[:LONGEST] for name, value in ours.items()}


def _settle(ended: "asyncio.Future[Ended]", result: Ended | BaseException) -> None:
    if isinstance(result, BaseException):
        ended.set_exception(
            ChannelFailed(f"The command cannot be started: {result.strerror}.")
            if isinstance(result, OSError)
            else result
        )
    else:
        ended.set_result(result)
