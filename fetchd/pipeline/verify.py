"""Every stored octet re-read and re-hashed: before a message leaves a server, and on demand.

What is found damaged is marked, so that the next sync fetches it again where a
server still has it. `verify` is resumable: it remembers, segment by segment and
every few MiB within one, how far it came.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog import keeping, search
from fetchd.catalog.keeping import VerifyMark
from fetchd.contracts import Location
from fetchd.pipeline.located import faults
from fetchd.pipeline.storage import Storage
from fetchd.values import Struct

STEP_OCTETS = 32 << 20  # verified between two marks
STEP_MESSAGES = 2000

Stored = tuple[bytes, int, Location]  # digest, size, where


class DamagedMessage(Struct, frozen=True):
    """One message whose stored octets are not what was stored."""

    id: int
    digest: bytes
    subject: str
    sender: str
    accounts: tuple[str, ...]
    reason: str


class VerifyReport(Struct, frozen=True):
    """`complete`: everything was read, in this run and the interrupted ones before it."""

    checked: int
    octets: int
    damaged: tuple[DamagedMessage, ...]
    complete: bool


def read_back(storage: Storage, digests: Collection[bytes], now: datetime) -> frozenset[bytes]:
    """Those of the digests whose octets cannot be read back; they are marked as damaged.

    What `keep` let expire after its delivery is not looked for; what is nowhere,
    and was not let go, is damaged.
    """
    found = inventories.locations(storage.catalog, digests)
    wanted = [(digest, size, at) for digest, (at, size) in found.items()]
    damaged = {digest for digest, fault in faults(storage, wanted).items() if fault is not None}
    nowhere = set(digests) - found.keys()
    damaged |= nowhere - inventories.let_go(storage.catalog, nowhere)
    keeping.mark_verified(storage.catalog, found.keys() - damaged, now)
    if damaged:
        keeping.mark_damaged(storage.catalog, damaged)
    return frozenset(damaged)


def verify(
    storage: Storage,
    *,
    restart: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _whole: None,
    stop: Callable[[], bool] = lambda: False,
) -> VerifyReport:
    """Check the whole archive, from where an interrupted verification stands."""
    catalog = storage.catalog
    uses = keeping.segments(catalog)
    mark = None if restart else keeping.verify_mark(catalog)
    if mark is None or all(use.path < mark.segment for use in uses):
        mark = VerifyMark("", 0, datetime.now(UTC))
    whole = sum(use.live_octets for use in uses)
    done = sum(use.live_octets for use in uses if use.path < mark.segment)
    checked = octets = 0
    damaged: list[DamagedMessage] = []
    for use in uses:
        if use.path < mark.segment:
            continue
        offset = mark.offset if use.path == mark.segment else 0
        for step in _steps(keeping.contents(catalog, use.path, offset)):
            damaged += _check(storage, step)
            checked += len(step)
            octets += sum(size for _, size, _ in step)
            progress(done + octets, whole)
            end = step[-1][2].offset + step[-1][2].length
            keeping.save_verify_mark(catalog, VerifyMark(use.path, end, mark.started_at))
            if stop():
                return VerifyReport(checked, octets, tuple(damaged), complete=False)
    keeping.save_verify_mark(catalog, None)
    return VerifyReport(checked, octets, tuple(damaged), complete=True)


def _steps(stored: Sequence[Stored]) -> Iterator[list[Stored]]:
    """Pieces that end where a frame ends, so that a mark never splits one."""
    step: list[Stored] = []
    octets = 0
    for one in stored:
        full = octets >= STEP_OCTETS or len(step) >= STEP_MESSAGES
        if full and one[2].offset != step[-1][2].offset:
            yield step
            step, octets = [], 0
        step.append(one)
        octets += one[1]
    if step:
        yield step


def _check(storage: Storage, step: Sequence[Stored]) -> list[DamagedMessage]:
    told = faults(storage, step)
    spoilt = {digest: fault for digest, fault in told.items() if fault is not None}
    now = datetime.now(UTC)
    keeping.mark_verified(storage.catalog, told.keys() - spoilt.keys(), now)
    if not spoilt:
        return []
    keeping.mark_damaged(storage.catalog, spoilt)
    return [_damaged(storage, digest, fault) for digest, fault in spoilt.items()]


def _damaged(storage: Storage, digest: bytes, reason: str) -> DamagedMessage:
    (row,) = search.by_id(storage.catalog, digest.hex())
    seen = search.sightings(storage.catalog, digest)
    accounts = tuple(dict.fromkeys(sighting.account for sighting in seen))
    return DamagedMessage(row.id, digest, row.subject, row.sender, accounts, reason)
