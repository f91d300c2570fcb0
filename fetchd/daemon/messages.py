"""What is said over the control socket: a JSON document a line, whose `is` names its kind.

The service greets with Hello; whoever connected asks one thing; answers follow until one
that is Final. Beat comes whenever nothing else came for a while, so both sides tell a long
sync from a dead peer. New fields have defaults: the two may be of different versions.

Progress is told as sums since the last line and not call by call: it costs the same
whether a message a second is committed or ten thousand.
"""

from dataclasses import replace as changed
from typing import Any, TypeAlias

from msgspec import convert, json

from fetchd.errors import FetchdError, Relayed, Remedy, Scope
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.round import Round
from fetchd.pipeline.snapshot import Snapshot
from fetchd.telemetry import redact
from fetchd.values import Struct, replace

REQUEST_LIMIT = 1 << 20  # octets of a line: a sync may name thousands of accounts
ANSWER_LIMIT = 64 << 20  # of the service's, whom we trust: a report may name many messages
EVERY = (0.2, 3600.0)  # seconds between two Snapshots, at least and at most

# -- Asked -----------------------------------------------------------------------------


class Sync(Struct, frozen=True, tag_field="is", tag="sync"):
    """Sync these accounts now, or all; Moved, again and again, and then Done."""

    accounts: tuple[str, ...] = ()
    confirm_retire: bool = False


class Reload(Struct, frozen=True, tag_field="is", tag="reload"):
    """Read the settings again; Reloaded or Refused."""


class Status(Struct, frozen=True, tag_field="is", tag="status"):
    """A State now, and with `every` another one each so many seconds."""

    every: float | None = None


class Resume(Struct, frozen=True, tag_field="is", tag="resume"):
    """Try these accounts again, or all that are halted; Resumed."""

    accounts: tuple[str, ...] = ()


Request: TypeAlias = Sync | Reload | Status | Resume

# -- Answered --------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag_field="is", tag="hello"):
    """This is fetchd, and it listens."""

    version: str
    pid: int


class Beat(Struct, frozen=True, tag_field="is", tag="beat"):
    """Still at it."""


class Moved(Struct, frozen=True, tag_field="is", tag="moved"):
    """What became of one account of the sync since the last such line (tools.Progress)."""

    account: str
    phase: str = ""  # "": the same as before
    expected: int = 0
    expected_octets: int = 0
    fetched: int = 0
    fetched_octets: int = 0


class Done(Struct, frozen=True, tag_field="is", tag="done"):
    """The sync is over. Its reports lack the uids that came home: nobody shows them."""

    round: Round


class Reloaded(Struct, frozen=True, tag_field="is", tag="reloaded"):
    """The settings as they are now hold."""


class Refused(Struct, frozen=True, tag_field="is", tag="refused"):
    """The settings are wrong, and the old ones still hold."""

    problems: tuple[str, ...]


class State(Struct, frozen=True, tag_field="is", tag="state"):
    """What the service is doing."""

    snapshot: Snapshot


class Resumed(Struct, frozen=True, tag_field="is", tag="resumed"):
    """They are tried again."""


class Failed(Struct, frozen=True, tag_field="is", tag="failed"):
    """It could not be done. `misused`: what was asked for is not there."""

    sentence: str
    advice: str = ""
    misused: bool = False


Answer: TypeAlias = Hello | Beat | Moved | Done | Reloaded | Refused | State | Resumed | Failed
Final = Done | Reloaded | Refused | Resumed | Failed

# -- Octets ----------------------------------------------------------------------------


def line(message: Request | Answer) -> bytes:
    """One message as it goes over the line."""
    return json.encode(_presentable(message), enc_hook=_plain) + b"\n"


def request(octets: bytes) -> Request:
    """ValueError for what is none."""
    found: Request = _requests.decode(octets)
    return found


def answer(octets: bytes) -> Answer:
    """ValueError for what is none."""
    found: Answer = _answers.decode(octets)
    return found


class _Fault(Struct, frozen=True):
    """A FetchdError, on the line."""

    sentence: str
    advice: str
    scope: Scope
    remedy: Remedy


def _plain(value: Any) -> Any:
    if isinstance(value, FetchdError):
        return _Fault(redact(str(value)), redact(value.advice), value.scope, value.remedy)
    raise TypeError(type(value))


def _error(kind: type, value: Any) -> Any:
    if kind is not FetchdError:
        raise TypeError(kind)
    fault = convert(value, _Fault)
    return Relayed(fault.sentence, scope=fault.scope, remedy=fault.remedy, advice=fault.advice)


def _presentable(message: Request | Answer) -> Request | Answer:
    """Without secrets: only the service knows those that a command or a keyring gave it."""
    match message:
        case Done(done):
            return Done(_round(done))
        case State(snapshot):
            return State(_snapshot(snapshot))
        case Refused(problems):
            return Refused(tuple(map(redact, problems)))
        case Failed(sentence, advice, misused):
            return Failed(redact(sentence), redact(advice), misused)
        case _:
            return message


def _round(done: Round) -> Round:
    return Round(
        [_report(report) for report in done.reports],
        {account: _tally(tally) for account, tally in done.others.items()},
        _sentences(done.unreached),
    )


def _report(report: RunReport) -> RunReport:
    return changed(
        report,
        home={},
        notices=[redact(notice) for notice in report.notices],
        troubles=_sentences(report.troubles),
    )


def _tally(tally: Tally) -> Tally:
    return changed(tally, troubles=_sentences(tally.troubles))


def _sentences(said: dict[str, str]) -> dict[str, str]:
    return {name: redact(sentence) for name, sentence in said.items()}


def _snapshot(now: Snapshot) -> Snapshot:
    return replace(
        now,
        accounts=tuple(
            replace(one, why=redact(one.why), advice=redact(one.advice)) if one.why else one
            for one in now.accounts
        ),
        destinations=tuple(
            replace(one, why=redact(one.why)) if one.why else one for one in now.destinations
        ),
        reload_refused=redact(now.reload_refused),
        unready=tuple(map(redact, now.unready)),
        unhealthy=tuple(map(redact, now.unhealthy)),
    )


_requests = json.Decoder(Request)
_answers = json.Decoder(Answer, dec_hook=_error)
