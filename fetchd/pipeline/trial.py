"""One message made and carried now, to see a destination work: `fetchd test-delivery`.

It goes through the destination as mail does, connection, login and envelope included, but
neither through the archive nor through the outbox. It says of itself that a program sent
it (Auto-Submitted), so that no vacation answers.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from fetchd.contracts import Body, Outcome, Outgoing
from fetchd.destinations import open_destination
from fetchd.errors import FetchdError
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.deliver_round import require_destinations
from fetchd.pipeline.one_letter import addresses, carry_one, is_whole
from fetchd.settings import Settings
from fetchd.ulid import new_ulid

ACCOUNT, MAILBOX = "test", "INBOX"  # what folder templates are filled with
_ADVICE = {
    Outcome.DEFERRED: "It may take mail later: its reply says what to mend, or to wait for.",
    Outcome.FAILED: "It refuses this for good; its reply says why.",
}


@dataclass(slots=True)
class Trial:
    """How far it came: the steps that succeeded with what they found, and the end.

    `reply` are the destination's last words. `failure` None: it took the message.
    """

    destination: str
    subject: str
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    steps: list[tuple[str, str]] = field(default_factory=list)
    reply: str = ""
    failure: str | None = None
    advice: str = ""

    @property
    def ok(self) -> bool:
        """It took the message."""
        return self.failure is None


async def try_destination(
    settings: Settings, name: str, now: Callable[[], datetime] = utc_now
) -> Trial:
    """Carry one message there; UsageError for an unknown name, all else is in the trial."""
    require_destinations(settings, [name])
    destination = settings.destinations[name]
    unique, at = new_ulid(), now()
    sender, recipients = addresses(destination)
    domain = sender.rpartition("@")[2]
    trial = Trial(
        name, f"fetchd test delivery to {name} {unique}", f"<{unique.lower()}@{domain}>", sender,
        recipients,
    )  # fmt: skip
    letter = _letter(trial, unique, at)
    try:
        where = open_destination(destination, "test")
        settled = await carry_one(where, letter, lambda *step: trial.steps.append(step))
    except FetchdError as error:
        trial.failure, trial.advice = str(error), error.advice
        return trial
    trial.reply = settled.reply
    if settled.outcome is not Outcome.DELIVERED:
        trial.failure = settled.reply or f"It was {settled.outcome}."
        trial.advice = _ADVICE[settled.outcome]
        if settled.doubtful:
            trial.advice = "It may have arrived all the same: look for its subject."
    return trial


def _letter(trial: Trial, unique: str, at: datetime) -> Outgoing:
    to = [one for one in trial.recipients if is_whole(one)] or ["undisclosed-recipients:;"]
    lines = (
        f"From: fetchd <{trial.sender}>",
        f"To: {', '.join(to)}",
        f"Subject: {trial.subject}",
        f"Date: {format_datetime(at)}",
        f"Message-ID: {trial.message_id}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        f"This is how mail arrives that fetchd delivers to '{trial.destination}'.",
        "",
    )
    octets = "\r\n".join(lines).encode()
    return Outgoing(
        id=1, key=hashlib.sha256(unique.encode()).hexdigest()[:32], account=ACCOUNT,
        digest=hashlib.sha256(octets).digest(), size=len(octets), queued_at=at, attempts=0,
        doubtful=False, body=Body(len(octets), octets), mailbox=MAILBOX,
    )  # fmt: skip
