"""From what stands in a segment to the commits that the catalog is to record.

A commit whose journal and data are whole is given as it was written. Where an
octet is spoilt:

- data spoilt, journal intact: the commit without the messages that cannot be
  read, and without what it says of them on servers and for destinations, so
  that the next sync fetches and delivers them again where it can;
- journal spoilt or missing: the messages are salvaged, with what their octets
  and their entries' names tell. Their deliveries are not known, so none is made.

Damage is yielded besides. A later commit may hold a lost message again.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from fetchd.archive import names, tarentry
from fetchd.archive.scanning import Found, Gap, data_frames, walk
from fetchd.archive.source import SPOILT, Source
from fetchd.contracts import Commit, Location, Recorded, RemoteRecord, StoredMessage
from fetchd.message import examine
from fetchd.ulid import made_at
from fetchd.values import Struct, replace


class Damage(Struct, frozen=True):
    """Octets of a segment that are not what was written, in a sentence for the owner."""

    segment: str
    offset: int
    reason: str


class Replay:
    """Reads segments one after the other, oldest first."""

    def __init__(self) -> None:
        self._lost: set[bytes] = set()  # digests of messages that nothing readable holds so far

    def commits(self, source: Source, start: int) -> Iterator[Recorded | Damage]:
        """Everything from `start`, a place between two commits, to the end of the file."""
        seen = made_at(source.segment.rpartition("/")[2])
        for item in walk(source, start):
            match item:
                case Gap():
                    yield from self._salvage(source, item, seen)
                case Found(whole=True):
                    yield self._recorded(source, item, frozenset())
                    seen = max((seen, *(r.seen_at for r in item.entry.commit.remotes)))
                case Found():
                    spoilt = _unreadable(source, item)
                    yield from _damages(source.segment, item, spoilt)
                    yield self._recorded(source, item, frozenset(m.digest for m in spoilt))

    def _recorded(self, source: Source, found: Found, spoilt: frozenset[bytes]) -> Recorded:
        commit = found.entry.commit
        if spoilt or self._lost:
            commit = self._without_lost(commit, spoilt)
        return Recorded(source.segment, found.end, commit)

    def _without_lost(self, commit: Commit, spoilt: frozenset[bytes]) -> Commit:
        stored = {message.digest for message in commit.messages if message.location} - spoilt
        self._lost = (self._lost | spoilt) - stored - set(commit.expired)
        return replace(
            commit,
            messages=tuple(m for m in commit.messages if m.digest not in self._lost),
            remotes=tuple(r for r in commit.remotes if r.digest not in self._lost),
            deliveries=tuple(d for d in commit.deliveries if d.digest not in self._lost),
        )

    def _salvage(self, source: Source, gap: Gap, seen: datetime) -> Iterator[Recorded | Damage]:
        count = 0
        for end, rescued in rescue(source, gap.start, gap.end):
            messages = tuple(message for message, _ in rescued)
            remotes = [_remote(message, name, seen) for message, name in rescued]
            self._lost -= {message.digest for message in messages}
            count += len(messages)
            commit = Commit(messages=messages, remotes=tuple(r for r in remotes if r is not None))
            yield Recorded(source.segment, end, commit)
        reason = (
            f"no intact journal vouches for the {gap.end - gap.start} octets from here;"
            f" {count} messages in them were salvaged"
        )
        yield Damage(source.segment, gap.start, reason)


def rescue(
    source: Source, start: int, end: int
) -> Iterator[tuple[int, list[tuple[StoredMessage, str]]]]:
    """Every data frame that holds: where it ends, and its messages with their entries' names."""
    done = start
    for offset, stop in data_frames(source, start, end):
        if offset < done:
            continue  # inside of a frame that holds
        try:
            messages = _messages(source, offset, stop - offset)
        except SPOILT:
            continue
        if messages:
            yield stop, messages
        done = stop


def _messages(source: Source, offset: int, length: int) -> list[tuple[StoredMessage, str]]:
    found = []
    for entry, (digest, summary, _) in tarentry.entries(source.content(offset, length), examine):
        place = Location(source.segment, offset, length, entry.inner)
        date = datetime.fromtimestamp(entry.mtime, UTC)
        found.append((StoredMessage(digest, entry.size, place, summary, date), entry.name))
    return found


def _remote(message: StoredMessage, name: str, seen: datetime) -> RemoteRecord | None:
    """What the entry's name tells of the server; None where it had to be shortened."""
    origin = names.origin_of(name, message.digest)
    if origin is None or not all(origin):
        return None
    account, mailbox, uid = origin
    return RemoteRecord(account, mailbox, uid, message.size, message.digest, seen)


def _unreadable(source: Source, found: Found) -> list[StoredMessage]:
    """Messages of a commit whose octets are not where and what its journal says."""
    readable = {
        (message.digest, message.location)
        for _, rescued in rescue(source, found.start, found.journal_at)
        for message, _ in rescued
    }
    stored = (message for message in found.entry.commit.messages if message.location)
    return [one for one in stored if (one.digest, one.location) not in readable]


def _damages(segment: str, found: Found, spoilt: list[StoredMessage]) -> Iterator[Damage]:
    for message in spoilt:
        offset = message.location.offset if message.location else found.start
        yield Damage(segment, offset, f"{_described(message)} cannot be read")
    if not spoilt:
        reason = "the octets changed, though every message of this commit can be read"
        yield Damage(segment, found.start, reason)


def _described(message: StoredMessage) -> str:
    summary = message.summary
    title = summary.subject or summary.message_id or message.digest.hex()[:12]
    return f"the message {title!r} from {summary.sender or 'an unnamed sender'}"
