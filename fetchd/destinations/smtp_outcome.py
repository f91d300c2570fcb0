"""What became of one message over SMTP or LMTP, from what was said of each recipient: pure.

    all have it                        delivered, with the server's last words
    somebody may have it               deferred and doubtful
    somebody can have it later         deferred; those refused for good are asked for again
    the others are refused for good    failed, saying who has not got it and why

`done` names those who have it, so that a later attempt, whoever asks for it, sends to the
others alone.

4yz is for now and 5yz for good (RFC 5321 §4.2.1), but for replies that fit `passing`: some
servers greylist with 5yz.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from fetchd.clients.smtp_transfer import Verdicts
from fetchd.contracts import Outcome, Settled
from fetchd.errors import FetchdError
from fetchd.protocol.smtp_replies import Reply

LONGEST_REPLY = 400  # characters of one that are told; some bring a page of advice


def is_passing(reply: Reply, patterns: Iterable[str]) -> bool:
    """Whether the same may be accepted later."""
    text = str(reply)[:2000].casefold()
    # "[" is no wildcard here: replies hold addresses in brackets.
    fits = (fnmatchcase(text, one.casefold().replace("[", "[[]")) for one in patterns)
    return reply.passing or any(fits)


class Tally:
    """Who has the message, and why the others do not."""

    def __init__(self, passing: Iterable[str], done: Iterable[str] = ()) -> None:
        self._passing = tuple(passing)
        self.done = dict.fromkeys(done, "")  # recipient -> what the server said
        self.deferred: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.doubtful: dict[str, str] = {}

    def count(self, recipients: Iterable[str], verdicts: Verdicts) -> None:
        """What one transaction for these brought."""
        for one in recipients:
            mail = verdicts.mail
            reply = mail if mail is not None and not mail.ok else verdicts.replies.get(one)
            self._file(one, reply, verdicts.lost)

    def _file(self, recipient: str, reply: Reply | None, lost: FetchdError | None) -> None:
        if reply is None:
            why = lost or "the server said nothing of it"
            self.doubtful[recipient] = f"{why}; the message may have arrived"
        elif reply.ok:
            self.done[recipient] = told(reply)
        elif is_passing(reply, self._passing):
            self.deferred[recipient] = told(reply)
        else:
            self.refused[recipient] = told(reply)

    def stand_in(self, fallback: str, taken: "Tally") -> None:
        """What became of the fallback is what became of those who were refused for good."""
        refused, self.refused = self.refused, {}
        for one, why in refused.items():
            for there, here in (
                (taken.done, self.done),
                (taken.doubtful, self.doubtful),
                (taken.deferred, self.deferred),
                (taken.refused, self.refused),
            ):
                if fallback in there:
                    here[one] = f"{why}; {fallback} instead: {there[fallback] or 'has it'}"

    def put_off(self, error: FetchdError) -> None:
        """Those refused for good wait for the fallback, which could not be asked."""
        self.deferred |= {one: f"{why}; then {error}" for one, why in self.refused.items()}
        self.refused = {}

    def settled(self, number: int) -> Settled:
        """The outcome of the delivery of that number."""
        missing = self.doubtful | self.deferred | self.refused
        if not missing:
            return Settled(number, Outcome.DELIVERED, _sentence(self.done, lonely=True))
        failed = not (self.doubtful or self.deferred)
        reply = _sentence(missing, lonely=len(missing) == 1 and not self.done)
        if self.done:
            verb = "has" if len(self.done) == 1 else "have"
            who = "not for" if failed else "not yet for"
            reply = f"{', '.join(self.done)} {verb} it, {who} {reply}"
        outcome = Outcome.FAILED if failed else Outcome.DEFERRED
        return Settled(number, outcome, reply, bool(self.doubtful), tuple(self.done))


def told(reply: Reply) -> str:
    """As people are shown it."""
    text = str(reply)
    return text if len(text) <= LONGEST_REPLY else f"{text[: LONGEST_REPLY - 1]}…"


def _sentence(said: Mapping[str, str], *, lonely: bool) -> str:
    """What was said, and of whom where that is a question."""
    by_text: dict[str, list[str]] = {}
    for one, text in said.items():
        if text:
            by_text.setdefault(text, []).append(one)
    if lonely and len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{', '.join(who)}: {text}" for text, who in by_text.items())
