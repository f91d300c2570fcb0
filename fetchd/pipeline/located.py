"""Reading what compaction may be moving: nothing is damaged that only lies elsewhere by now.

Whoever looks a message up and then reads it may come too late for the segment it lay in, since a
service tidies up while it works. So what cannot be read is looked up once more.
"""

from collections.abc import Collection, Sequence

from fetchd.catalog.inventory import locations
from fetchd.contracts import Location
from fetchd.pipeline.storage import Storage

Stored = tuple[bytes, int, Location]  # digest, size, place


def moved(storage: Storage, tried: Collection[Stored]) -> dict[bytes, Stored | None]:
    """Those that lie elsewhere by now; None: `keep` has let them go. Blocking."""
    now = locations(storage.catalog, [digest for digest, _, _ in tried])
    found: dict[bytes, Stored | None] = {}
    for digest, size, at in tried:
        if digest not in now:
            found[digest] = None
        elif now[digest][0] != at:
            found[digest] = (digest, size, now[digest][0])
    return found


def faults(storage: Storage, wanted: Sequence[Stored]) -> dict[bytes, str | None]:
    """Each digest with what is wrong with its octets, None where nothing is. Blocking."""
    told = dict(storage.archive.check(wanted))
    spoilt = [one for one in wanted if told.get(one[0]) is not None]
    elsewhere = moved(storage, spoilt) if spoilt else {}
    told |= dict.fromkeys(elsewhere)
    return told | dict(storage.archive.check([one for one in elsewhere.values() if one]))
