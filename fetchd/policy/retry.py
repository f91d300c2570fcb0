"""Decide when what failed is tried again. Pure: facts and a drawn number in, a moment out.

Deliveries back off from half a minute to hours; messages that a server lists but
does not hand over (quarantine) are asked for again in each of the next rounds,
and from the third failure on after a quarter of an hour to a day. Only a
permanent refusal ends the attempts: a Maildir whose disk is full takes the mail
once there is room, however late, so its schedule has no end. A destination
that must give up names `give_up_after` (RFC 5321 §4.5.4.1: four to five days).
Connections that watch an account come back after seconds to minutes; a server that
wants no login now ([INUSE], [LIMIT], [THROTTLED]) is left alone for longer.
"""

from datetime import datetime, timedelta

from fetchd.values import Struct


class Schedule(Struct, frozen=True):
    """The delay doubles from `first` to `longest`; `give_up_after` None: never.

    The first `at_once` failures are followed by no delay at all.
    """

    first: timedelta
    longest: timedelta
    give_up_after: timedelta | None = None
    at_once: int = 0


MAILDIR = Schedule(timedelta(minutes=1), timedelta(hours=6))
RELAY = Schedule(timedelta(seconds=30), timedelta(hours=4), give_up_after=timedelta(days=5))
QUARANTINE = Schedule(timedelta(minutes=15), timedelta(days=1), at_once=2)
# Of a connection that is to stand: a restart takes seconds, an outage minutes at the least.
RECONNECT = Schedule(timedelta(seconds=2), timedelta(minutes=5))
TURNED_AWAY = Schedule(timedelta(minutes=1), timedelta(minutes=30))  # at the login: RFC 5530

LEAST_ATTEMPTS = 4  # before anything is given up
SPREAD = 0.2  # jitter adds up to this share, so that a thousand failures do not return as one


def after_deferral(
    attempts: int, queued_at: datetime, now: datetime, jitter: float, schedule: Schedule
) -> datetime | None:
    """When to try again after the `attempts`-th attempt in vain; None: give up.

    Time alone is no reason: a machine that was off for a week has to try first.
    `jitter` is a number in [0, 1) drawn by the caller, so this stays a table.
    """
    at = retry_at(attempts, now, jitter, schedule)
    span = schedule.give_up_after
    late = span is not None and at > queued_at + span
    return None if late and attempts >= LEAST_ATTEMPTS else at


def retry_at(
    attempts: int, now: datetime, jitter: float, schedule: Schedule = QUARANTINE
) -> datetime:
    """When to try again after `attempts` (1 or more) failures."""
    if attempts <= schedule.at_once:
        return now
    # Bounded, because a year of doublings would overflow timedelta.
    doublings = min(max(attempts - schedule.at_once, 1) - 1, 20)
    delay = min(schedule.first * (1 << doublings), schedule.longest)
    return now + delay * (1 + SPREAD * jitter)
