"""`fetchd watch`: a line for each change as it comes, until Ctrl-C.

Changes go to standard output, one line or one JSON document each, flushed at once; how the
connection fares goes to standard error, with --json as a document among the others.
"""

import asyncio
import json as json_
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.stopping import stoppable
from fetchd.cli.words import counted, instant, iso
from fetchd.errors import FetchdError, UsageError
from fetchd.pipeline.news import News, What
from fetchd.pipeline.resync import Condition, Hearer, Noticed, Timing, Waiting, Watching
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.watch import check
from fetchd.pipeline.watch import watch as stay
from fetchd.settings import Settings
from fetchd.sources.imap_watch import How
from fetchd.telemetry import redacted

# Lines of one kind from one mailbox at once; a mailbox that somebody renamed has thousands.
MOST = 50

_HOW = {
    How.NOTIFY: "every mailbox by NOTIFY",
    How.IDLE: "'{first}' by IDLE, the others every {sweep:g} s",
    How.POLLING: "every mailbox every {sweep:g} s; the server tells nothing by itself",
}


def watch(settings: Settings, name: str, mailbox: str, sweep: float, *, json: bool) -> bool:
    """Watch until a signal comes; True, as that is how it ends well."""
    require(settings, None, [name])
    check(settings, name)
    hearer = _for_programs(name) if json else _for_people(name, sweep)
    try:
        asyncio.run(_watch(settings, name, mailbox, sweep, hearer))
    except UsageError:
        raise
    except FetchdError as error:
        if not json:
            raise
        # A line like all the others, not the indented document of other commands.
        output.complain(f"fetchd: {error}")
        _emit({"error": {"sentence": str(error), "advice": error.advice}})
        return False
    return True


async def _watch(settings: Settings, name: str, mailbox: str, sweep: float, hearer: Hearer) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    # Not within the signal handler itself, which may interrupt anything.
    with (
        stoppable(lambda: loop.call_soon_threadsafe(stop.set)),
        open_storage(settings) as storage,
    ):
        timing = Timing(sweep=sweep)
        await stay(settings, name, storage, hearer, stop=stop, mailbox=mailbox, timing=timing)


# -- For people --------------------------------------------------------------------------


def _for_people(account: str, sweep: float) -> Hearer:
    def told(condition: Condition) -> None:
        match condition:
            case Watching(how, first):
                said = _HOW[how].format(first=first, sweep=sweep)
                output.complain(f"{account}: watching {said}")
            case Waiting(sentence, advice, until):
                output.complain(f"{account}: {sentence}")
                if advice:
                    output.complain(f"  {advice}")
                output.complain(f"  Again at {instant(until)}.")
            case Noticed(sentence):
                output.complain(f"{account}: {sentence}")

    return Hearer(_say_all, told)


def _say_all(news: Sequence[News]) -> None:
    said: Counter[tuple[str, What]] = Counter()
    for one in news:
        said[one.mailbox, one.what] += 1
        if said[one.mailbox, one.what] <= MOST:
            output.say(_line(one))
    for (mailbox, what), count in said.items():
        if count > MOST:
            more = counted(count - MOST, "message")
            output.say(f"{instant(news[0].at)}  {mailbox}  {what:<7}  and {more} more")
    sys.stdout.flush()


def _line(one: News) -> str:
    words = [instant(one.at), one.mailbox, f"{one.what:<7}"]
    match one.what:
        case What.NEW:
            words.append(one.message.sender)
        case What.FLAGS:
            changed = [*(f"+{flag}" for flag in one.added), *(f"-{flag}" for flag in one.dropped)]
            words.append(" ".join(changed))
    return "  ".join([*words, one.message.subject]).rstrip()


# -- For programs ------------------------------------------------------------------------


def _for_programs(account: str) -> Hearer:
    def changed(news: Sequence[News]) -> None:
        for one in news:
            _emit(_document(account, one))

    def told(condition: Condition) -> None:
        match condition:
            case Watching(how, first):
                _emit({"what": "watching", "account": account, "how": how, "first": first})
            case Waiting(sentence, advice, until):
                error = {"sentence": sentence, "advice": advice}
                _emit({"what": "waiting", "account": account, **error, "until": iso(until)})
            case Noticed(sentence):
                _emit({"what": "notice", "account": account, "sentence": sentence})

    return Hearer(changed, told)


def _document(account: str, one: News) -> dict[str, Any]:
    message = one.message
    return {
        "what": one.what,
        "account": account,
        "at": iso(one.at),
        "mailbox": one.mailbox,
        "uid": one.uid.rpartition(b".")[2].decode("utf-8", "backslashreplace"),
        "digest": message.digest.hex(),
        "size": message.size,
        "from": message.sender,
        "subject": message.subject,
        "flags": one.flags,
        "added": one.added,
        "dropped": one.dropped,
    }


def _emit(document: Mapping[str, Any]) -> None:
    print(json_.dumps(redacted(document)), flush=True)
