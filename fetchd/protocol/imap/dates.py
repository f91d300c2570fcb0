"""INTERNALDATE (RFC 9051 §9, date-time): what is well-formed, and what it means."""

import re
from datetime import datetime, timedelta, timezone

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name: number for number, name in enumerate(MONTHS, 1)}

# For use inside other patterns. Zone-less dates are of no use (quirk 78). A day
# without its leading space is as clear as one with it.
DATE = (
    rb"[ 0-3]?[0-9]-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4}"
    rb" [0-2][0-9]:[0-5][0-9]:[0-6][0-9] [-+][01][0-9][0-5][0-9]"
)
WELL_FORMED = re.compile(DATE)


def read_date(text: str) -> datetime | None:
    """The moment that a well-formed date names; None if no calendar has it."""
    day, month, year = text[:-15].split("-")
    clock, zone = text[-14:-6], text[-5:]
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    try:
        return datetime(
            int(year),
            _MONTH[month],
            int(day),
            int(clock[:2]),
            int(clock[3:5]),
            min(int(clock[6:]), 59),  # a leap second
            tzinfo=timezone(-offset if zone[0] == "-" else offset),
        )
    except ValueError:
        return None


def write_date(moment: datetime) -> bytes:
    """As APPEND wants it; `moment` is aware."""
    zone = moment.strftime("%z")[:5]
    return b'"%2d-%b-%04d %b %b"' % (
        moment.day,
        MONTHS[moment.month - 1].encode(),
        moment.year,
        moment.strftime("%H:%M:%S").encode(),
        zone.encode(),
    )
