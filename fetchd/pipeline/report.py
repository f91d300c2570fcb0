"""What one run did and what went wrong in it: the only place where errors are collected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.contracts import RunCounts
from fetchd.errors import BudgetSpent, FetchdError, Remedy, Scope
from fetchd.pipeline.deliver import Tally
from fetchd.values import Struct

_COUNTED = (
    "fetched", "octets", "adopted", "linked", "reflagged", "gone", "confirmed", "delivered",
    "deferred", "failed", "retired",
)  # fmt: skip


class Failure(Struct, frozen=True):
    """One error, and the name of what it stopped."""

    scope: Scope
    name: str
    error: FetchdError


@dataclass(slots=True)
class RunReport:
    """One sync of one account, as it goes.

    `halted`: the login was refused, and is not tried again by itself. `paused`: a budget is
    spent. Whatever the reason, the next run is useless before `not_before`.
    `home` are the uids, by mailbox, that were fetched and are committed.
    `skipped`: nothing was done, and `notices` say why. `stopped`: a signal came
    before all that was wanted had come home. `aside` are messages, by
    mailbox and uid, that would not come; they are not asked for again in this run.
    `troubles` has a sentence for each destination that did not take everything. `brakes` has
    one for each mailbox that the brake holds, and "" for those looked at that it does not.
    """

    account: str
    fetched: int = 0
    octets: int = 0
    adopted: int = 0
    linked: int = 0  # stored already, and found in one more mailbox
    reflagged: int = 0  # have other flags than before
    gone: int = 0  # no longer on the server, and not by us
    confirmed: int = 0  # we had asked the server to drop them, and it still has them
    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    retired: int = 0
    on_server: int = 0
    skipped: bool = False
    stopped: bool = False
    halted: bool = False
    paused: bool = False
    not_before: datetime | None = None
    aside: set[tuple[str, bytes]] = field(default_factory=set)
    home: dict[str, set[bytes]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    brakes: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @contextmanager
    def shelter(self, scope: Scope, name: str) -> Iterator[None]:
        """Keep an error of this scope, or a smaller one, from stopping the rest."""
        try:
            yield
        except BudgetSpent as spent:
            if spent.scope > scope:
                raise
            self.pause(spent)
        except FetchdError as error:
            if error.scope > scope:
                raise
            self.failures.append(Failure(scope, name, error))

    def pause(self, spent: BudgetSpent) -> None:
        """This is as far as the budget goes: no failure, and told."""
        self.paused = True
        self.not_before = max(self.not_before or spent.until, spent.until)
        text = str(spent)
        notice = f"{text[0].upper()}{text[1:]}."
        if notice not in self.notices:
            self.notices.append(notice)

    def follow(self, earlier: "RunReport") -> None:
        """This run went on where that one had to stop: count what both did."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(earlier, name))
        self.aside |= earlier.aside
        for mailbox, uids in earlier.home.items():
            self.home.setdefault(mailbox, set()).update(uids)
        self.notices[:0] = [notice for notice in earlier.notices if notice not in self.notices]
        self.troubles = earlier.troubles | self.troubles

    def count_deliveries(self, tally: Tally) -> None:
        """Add what became of deliveries."""
        self.delivered += tally.delivered
        self.deferred += tally.deferred
        self.failed += tally.failed
        self.troubles |= tally.troubles

    @property
    def progress(self) -> int:
        """Grows with whatever need not be done again after a broken line."""
        return self.fetched + self.adopted + self.linked + self.confirmed

    @property
    def quarantined(self) -> int:
        """How many messages would not come."""
        return len(self.aside)

    @property
    def ok(self) -> bool:
        """Nothing failed, and nothing waits because of a failure."""
        return not (self.failures or self.deferred or self.failed or self.quarantined)

    def sentence(self) -> str:
        """All that went wrong, for the record of the run; empty when nothing did."""
        parts = [f"{failure.error}" for failure in self.failures]
        parts += [f"destination {name}: {said}" for name, said in self.troubles.items()]
        if self.quarantined:
            parts.append(
                f"{self.quarantined} message{'s' if self.quarantined > 1 else ''} "
                "would not come; the rest did."
            )
        return " ".join(part if part.endswith(".") else f"{part}." for part in parts)

    def remedy(self) -> Remedy:
        """The weightiest of what went wrong."""
        remedies = {failure.error.remedy for failure in self.failures}
        return Remedy.OWNER if Remedy.OWNER in remedies else Remedy.WAIT

    def advice(self) -> str:
        """What to do about it, in the words of what went wrong; empty where that says nothing."""
        weightiest = self.remedy()
        words = [f.error.advice for f in self.failures if f.error.remedy is weightiest]
        return " ".join(dict.fromkeys(word for word in words if word))

    def counts(self) -> RunCounts:
        """The numbers as they are recorded with the run."""
        return RunCounts(
            fetched=self.fetched,
            octets=self.octets,
            adopted=self.adopted,
            delivered=self.delivered,
            deferred=self.deferred,
            failed=self.failed,
            retired=self.retired,
            quarantined=self.quarantined,
            on_server=self.on_server,
        )
