"""What `fetchd top` draws: the service in two lines, its accounts and its destinations.

Those that do something, or need somebody, stand first; what does not fit the terminal is
counted in a line. Rates are between the oldest and the newest of the last few snapshots.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fetchd.cli.top_rates import Rate, Rates
from fetchd.cli.top_table import Column, Row, table
from fetchd.cli.words import ago, counted, octets, span
from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from fetchd.telemetry import printable, redact
from fetchd.values import Struct

T = TypeVar("T")

KEPT = 6  # snapshots
WHOLE = 10_000  # columns and rows where nothing has to fit
MOST = 3  # sentences about the service itself
ROOMY = 9  # lines below which destinations have to be left out

_ORDER = (
    Doing.SYNCING, Doing.QUEUED, Doing.HALTED, Doing.BACKING_OFF, Doing.PAUSED,
    Doing.WATCHING, Doing.WAITING, Doing.MANUAL,
)  # fmt: skip
_RANK = {doing: rank for rank, doing in enumerate(_ORDER)}
_STYLES = {
    Doing.SYNCING: "green", Doing.HALTED: "bold red", Doing.BACKING_OFF: "yellow",
    Doing.PAUSED: "yellow", Doing.QUEUED: "cyan",
}  # fmt: skip


class Size(Struct, frozen=True):
    """Of a terminal, or of a part of it."""

    rows: int
    columns: int


class Screen:
    """The latest snapshots. `away`: the service has gone since."""

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque(maxlen=KEPT)
        self.away = False

    def add(self, now: Snapshot) -> None:
        """One more; what was counted by a service before this one does not count."""
        if self._snapshots and self._snapshots[-1].started_at != now.started_at:
            self._snapshots.clear()
        self._snapshots.append(now)
        self.away = False

    def drawn(self, rows: int, columns: int) -> list[Text]:
        """All of it, in so many lines."""
        if not self._snapshots:
            return []
        now = self._snapshots[-1]
        rates = Rates(self._snapshots[0], now)
        head = _head(now, rates.total, away=self.away)
        room = max(rows - len(head), 0)
        places = _destinations(now, rates, Size(room, columns))
        accounts = _accounts(now, rates, Size(room - len(places), columns))
        return [*head, *accounts, *places][:rows]


def print_whole(screen: Screen) -> None:
    """To standard output, as long as it is, and as wide unless a terminal is there."""
    width = None if sys.stdout.isatty() else WHOLE
    console = Console(file=sys.stdout, highlight=False, width=width)
    console.print(Group(*screen.drawn(WHOLE, console.width)))


@contextmanager
def shown(screen: Screen) -> Iterator[Callable[[], None]]:
    """The terminal is the screen's while this lasts; call what it gives to draw anew."""
    console = Console(file=sys.stdout, highlight=False)

    def draw() -> Group:
        return Group(*screen.drawn(console.height, console.width))

    with Live(draw(), console=console, screen=True, auto_refresh=False) as live:
        yield lambda: live.update(draw(), refresh=True)


# -- The service ---------------------------------------------------------------------------


def _head(now: Snapshot, rate: Rate, *, away: bool) -> list[Text]:
    lines = [_service(now), _totals(now, rate)]
    if away:
        gone = f"The service went away after {now.at.astimezone():%H:%M:%S}; waiting for it."
        lines.insert(0, _line(gone, "bold red"))
    said = [*now.unhealthy, *now.unready]
    if now.reload_refused:
        said.append(f"settings refused: {now.reload_refused}")
    return [*lines, *(_line(_clean(sentence), "yellow") for sentence in said[:MOST])]


def _service(now: Snapshot) -> Text:
    """What is wrong comes first, since a narrow terminal cuts the end."""
    wrong = [
        (now.ready, "not ready"),
        (now.healthy, "stuck"),
        (now.network, "no network"),
        (not now.alerts, f"{counted(now.alerts, 'alert')}: 'fetchd status'"),
    ]
    line = _line("")
    for well, said in wrong:
        line.append("" if well else f"{said} | ", "bold red")
    words = [
        f"fetchd {now.version}, process {now.pid}, up {span(now.at - now.started_at)}",
        f"{now.syncing:,} syncing, {now.queued:,} queued",
        counted(now.connections, "connection"),
        counted(len(now.accounts), "account"),
    ]
    if now.lateness:
        late = sorted(now.lateness)
        middle, worst = late[len(late) // 2], late[int(len(late) * 0.99)]
        words.append(f"late by {middle:.1f} s, 99 % below {worst:.1f} s")
    return line.append(_clean(" | ".join(words)))


def _totals(now: Snapshot, rate: Rate) -> Text:
    fetched = sum(one.fetched for one in now.accounts)
    size = octets(sum(one.octets for one in now.accounts))
    delivered = sum(one.delivered for one in now.destinations)
    return _line(
        f"{counted(fetched, 'message')} ({size}) fetched, {rate.fetched:.1f}/s"
        f" | {delivered:,} delivered, {rate.delivered:.1f}/s"
        f" | in {octets(int(rate.received))}/s, out {octets(int(rate.sent))}/s"
        f" | {counted(now.commits, 'commit')}"
        f" | archive {octets(now.archive_octets)}, free {octets(now.disk_free)}"
    )


# -- Accounts ------------------------------------------------------------------------------

_ACCOUNT = (
    Column("ACCOUNT"),
    Column("DOING"),
    Column("PROGRESS", 1),
    Column("SINCE", 7),
    Column("NEXT", 3),
    Column("MESSAGES", 5, right=True),
    Column("SIZE", 6, right=True),
    Column("RATE", 4, right=True),
    Column("FAILURES", 2, right=True, style="red"),
    Column("WHY"),
)


def _accounts(now: Snapshot, rates: Rates, size: Size) -> list[Text]:
    fitting, rest = _cut(sorted(now.accounts, key=_account_key), size.rows)
    rows = [_account(one, rates.account(one.name), now.at) for one in fitting]
    styles = [_STYLES.get(one.doing, "") for one in fitting]
    drawn = table(_ACCOUNT, rows, size.columns, styles)
    if rest:
        doing = Counter(one.doing for one in rest)
        words = [f"{count:,} {doing}" for doing, count in sorted(doing.items(), key=_by_rank)]
        more = f"and {counted(len(rest), 'account')} more: {', '.join(words)}"
        drawn.append(_line(more, "dim"))
    return drawn[: size.rows]


def _account_key(one: AccountView) -> tuple[int, float, str]:
    """By what it does; the next one first, of those that wait."""
    waits = one.doing is Doing.WAITING and one.next_at is not None
    at = one.next_at.timestamp() if waits and one.next_at else 0.0
    return _RANK[one.doing], at, one.name


def _by_rank(counted_: tuple[Doing, int]) -> int:
    return _RANK[counted_[0]]


def _account(one: AccountView, rate: Rate, now: datetime) -> Row:
    return (
        _clean(one.name),
        one.doing,
        _clean(_progress(one)),
        span(now - one.since) if one.since else "",
        ago(one.next_at, now) if one.next_at else "",
        f"{one.fetched:,}",
        octets(one.octets),
        f"{octets(int(rate.received))}/s" if rate.received >= 1 else "",
        f"{one.failures:,}" if one.failures else "",
        _clean(one.why),
    )


def _progress(one: AccountView) -> str:
    """fetching 120/400, 30 %."""
    if one.doing is not Doing.SYNCING or not one.sync_expected:
        return one.phase
    share = min(one.sync_fetched / one.sync_expected, 1.0)
    return f"{one.phase} {one.sync_fetched:,}/{one.sync_expected:,}, {int(share * 100)} %".strip()


# -- Destinations --------------------------------------------------------------------------

_DESTINATION = (
    Column("DESTINATION"),
    Column("KIND", 2),
    Column("WAITING", right=True),
    Column("FAILED", right=True),
    Column("DELIVERED", 4, right=True),
    Column("RATE", 3, right=True),
    Column("AGAIN", 1),
    Column("WHY"),
)


def _destinations(now: Snapshot, rates: Rates, size: Size) -> list[Text]:
    """Those with trouble first, in no more than a third of the rows."""
    if not now.destinations or size.rows < ROOMY:
        return []
    chosen = sorted(now.destinations, key=_destination_key)
    fitting, rest = _cut(chosen, size.rows // 3)
    rows = [_destination(one, rates.destination(one.name), now.at) for one in fitting]
    drawn = [_line(""), *table(_DESTINATION, rows, size.columns)]
    if rest:
        drawn.append(_line(f"and {counted(len(rest), 'destination')} more", "dim"))
    return drawn


def _destination_key(one: DestinationView) -> tuple[int, int, int, str]:
    return -one.failures, -one.failed, -one.waiting, one.name


def _destination(one: DestinationView, rate: Rate, now: datetime) -> Row:
    return (
        _clean(one.name),
        _clean(one.kind),
        f"{one.waiting:,}",
        f"{one.failed:,}",
        f"{one.delivered:,}",
        f"{rate.delivered:.1f}/s" if rate.delivered else "",
        ago(one.not_before, now) if one.not_before and one.not_before > now else "",
        _clean(one.why),
    )


# -- What both have in common --------------------------------------------------------------


def _cut(things: Sequence[T], room: int) -> tuple[Sequence[T], Sequence[T]]:
    """What fits below a heading, and what a last line has to count."""
    if len(things) <= room - 1:
        return things, ()
    fitting = max(room - 2, 0)
    return things[:fitting], things[fitting:]


def _line(text: str, style: str = "") -> Text:
    """One line, cut where it does not fit."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _clean(text: str) -> str:
    """In one line, without secrets, and without what a terminal would obey."""
    return printable(redact(" ".join(text.split())))
