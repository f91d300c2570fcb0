"""Follow what others did on the server: flags, and messages that are no longer there.

First the mirrors, then the catalog, which thus never claims what a mirror has not
seen: whatever comes in between is done again by the next sync. Stored octets are
not touched by anything that happens on a server.

A file in a mirror is named by its delivery, and that by the uid which the message had
then. Where messages were renumbered, moved away and back, or are there several times, the
files are shared out anew among those that have the same octets: first each its own, then
whatever else the mirror still holds.

What fetchd itself took from the server stays in a mirror: to thin the server out is not
to throw mail away. What a mirror is owed and has not got yet it cannot lose either: such
messages are followed by a later sync, and are expected on the server until then.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog import outbox
from fetchd.catalog.database import Catalog
from fetchd.catalog.outbox import Owed
from fetchd.contracts import Change
from fetchd.errors import DeliveryDeferred
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.survey import Survey
from fetchd.pipeline.tools import Tools
from fetchd.policy.plan import RemoteState

_PAST = {RemoteState.GONE, RemoteState.RETIRED}


async def follow_survey(survey: Survey, errand: Errand, tools: Tools) -> bool:
    """Bring what a survey found to mirrors and catalog; False if a later sync has to do more.

    After fetching: a renumbered message that is still on its way must be known as missing
    until it is home.
    """
    plan, catalog = survey.plan, tools.storage.catalog
    gone = plan.gone | _vanished(survey, errand)
    late: set[bytes] = set()
    renumbered = _is_renumbered(survey)
    if errand.mirrors and (renumbered or gone or plan.reflagged or survey.adopted):
        digests = None if renumbered else _concerned(survey)
        here = await tools.storage.blocking(
            inventories.holders, catalog, errand.account, survey.mailbox, digests
        )
        told = {m.uid: m.flags for m in survey.listing.messages}
        stays = plan.retired - gone
        places = {
            uid: (digest, told.get(uid, flags))
            for uid, (digest, flags) in here.items()
            if uid not in gone | stays
        }
        vanished = {uid: digest for uid, (digest, _) in here.items() if uid in gone}
        for destination in errand.mirrors:
            unowed, unseen = await _follow(
                destination,
                survey.mailbox,
                places,
                vanished,
                errand,
                tools,
                stays,
                renumbered=renumbered,
            )
            late |= unseen
            if unowed:
                untold = await _owe(destination, survey, unowed, errand, tools)
                late |= {uid for uid, digest in vanished.items() if digest in untold}
    if gone or plan.retired or plan.reflagged:
        await tools.storage.blocking(_record, catalog, errand, survey, gone, late, tools.now())
    return not late


async def follow_absence(mailbox: str, errand: Errand, tools: Tools) -> int:
    """The server has this mailbox no more; how many messages went with it."""
    catalog = tools.storage.catalog
    here = await tools.storage.blocking(inventories.holders, catalog, errand.account, mailbox)
    vanished = {uid: digest for uid, (digest, _) in here.items()}
    late: set[bytes] = set()
    if vanished:
        for destination in errand.mirrors:
            _, unseen = await _follow(destination, mailbox, {}, vanished, errand, tools)
            late |= unseen
        await tools.storage.blocking(
            inventories.mark_gone, catalog, errand.account, mailbox, vanished.keys() - late
        )
    return len(vanished) - len(late)


def back_again(survey: Survey, uids: Collection[bytes]) -> frozenset[bytes]:
    """Those of the uids that were gone, and are on the server again."""
    known = survey.inventory.messages
    return frozenset(uid for uid in uids if uid in known and known[uid].state in _PAST)


async def owe_again(
    mailbox: str, digests: Mapping[bytes, bytes], errand: Errand, tools: Tools
) -> list[int]:
    """Let the mirrors have again what they lost when it vanished; `digests` are by uid.

    The ids of the deliveries, which are in our hands. To be called before the catalog
    knows that they are back: whoever is killed in between leaves them owed.
    """
    if not (digests and errand.mirrors):
        return []
    catalog, ids = tools.storage.catalog, list[int]()
    there = await tools.storage.blocking(inventories.known_digests, catalog, {*digests.values()})
    for destination in errand.mirrors:
        owed = await tools.storage.blocking(
            outbox.owed, catalog, destination, errand.account, mailbox, there
        )
        keys = {one.key for one in owed if one.made and digests.get(one.uid) == one.digest}
        with suppress(DeliveryDeferred):  # then all are, and found where they are
            keys -= await tools.deliveries.held(destination, errand.account, mailbox, keys)
        ids += await tools.storage.blocking(outbox.reopen, catalog, destination, keys)
    return ids


def _vanished(survey: Survey, errand: Errand) -> frozenset[bytes]:
    """Those we perhaps asked the server to drop that cannot have gone by our doing.

    After a rebuild all are such; the settings then and now say whether we ever asked.
    """
    known = survey.inventory.messages
    if survey.leave != "forever":
        return frozenset()
    return frozenset(
        uid
        for uid in survey.plan.retired
        if errand.leave != "forever" or known[uid].rules in ("", "forever")
    )


def _is_renumbered(survey: Survey) -> bool:
    """Whether uids of another epoch are still to be followed; a crash may have come between."""
    plan, epoch = survey.plan, survey.listing.epoch
    return plan.restarted or not all(u.startswith(epoch) for u in plan.gone | plan.retired)


def _concerned(survey: Survey) -> set[bytes]:
    plan, known = survey.plan, survey.inventory.messages
    uids = {*plan.gone, *plan.retired, *(m.uid for m in plan.reflagged)}
    return {*survey.adopted.values(), *(d for uid in uids if (d := known[uid].digest))}


async def _follow(
    destination: str,
    mailbox: str,
    places: Mapping[bytes, tuple[bytes, str]],
    vanished: Mapping[bytes, bytes],
    errand: Errand,
    tools: Tools,
    stays: Set[bytes] = frozenset(),
    *,
    renumbered: bool = False,
) -> tuple[dict[bytes, bytes], set[bytes]]:
    """Tell one mirror the flags at `places`, and what `vanished`.

    What is not owed to it yet, and the uids of what it has yet to get. What `stays`, like
    all that the server dropped for us, is taken from it only for one that lacks its file.
    """
    digests = {*(digest for digest, _ in places.values()), *vanished.values()}
    place, catalog = (errand.account, mailbox), tools.storage.catalog
    owed = await tools.storage.blocking(outbox.owed, catalog, destination, *place, digests)
    if any(one.due for one in owed):
        await tools.deliveries.catch_up(destination)
        owed = await tools.storage.blocking(outbox.owed, catalog, destination, *place, digests)
    ours = await tools.storage.blocking(inventories.retired, catalog, *place, digests)
    shares = _share_out(places, owed, stays | ours)
    held = frozenset[str]()
    if shares.waiting and (shares.spare or shares.kept):
        nobodys = (*shares.spare.values(), *shares.kept.values())
        keys = [one.key for ones in nobodys for one in ones if one.made]
        held = await tools.deliveries.held(destination, errand.account, mailbox, keys)
    unowed = shares.settle(held, vanished, renumbered=renumbered)
    changes = [
        Change(one.key, errand.account, mailbox, places[uid][1])
        for uid, one in shares.own.items()
        if one.made
    ]
    changes += [
        Change(one.key, errand.account, mailbox, None)
        for ones in shares.spare.values()
        for one in ones
        if one.made
    ]
    await tools.deliveries.follow(destination, changes)
    awaited = shares.awaited
    late = {uid for uid, digest in vanished.items() if digest in awaited}
    return unowed, late | {uid for uid, one in shares.own.items() if one.due}


@dataclass(slots=True)
class _Shares:
    """Which delivery is whose; `spare` ones, by digest, are nobody's, `kept` ones nobody's yet."""

    own: dict[bytes, Owed] = field(default_factory=dict)
    waiting: dict[bytes, bytes] = field(default_factory=dict)  # digests of who has none, by uid
    spare: dict[bytes, list[Owed]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[bytes, list[Owed]] = field(default_factory=lambda: defaultdict(list))

    def settle(
        self, held: frozenset[str], vanished: Mapping[bytes, bytes], *, renumbered: bool
    ) -> dict[bytes, bytes]:
        """Give what is spare to those who wait; who is one more than there ever were.

        A file that is not there for what has just `vanished` its owner took away: nobody
        gets another in its place.
        """
        known = {*self.spare, *self.kept, *(one.digest for one in self.own.values())}
        for uid, digest in sorted(self.waiting.items()):
            for ones in (self.spare[digest], self.kept[digest]):
                # One that is not made yet will be.
                found = next((one for one in ones if one.key in held or not one.made), None)
                if found is not None:
                    self.own[uid] = found
                    ones.remove(found)
                    break
        lost = Counter(
            one.digest for ones in self.spare.values() for one in ones if one.uid in vanished
        )
        empty = ((uid, d) for uid, d in sorted(self.waiting.items()) if uid not in self.own)
        unowed: dict[bytes, bytes] = {}
        for uid, digest in empty:
            if lost[digest]:
                lost[digest] -= 1
            elif renumbered or digest in known:
                unowed[uid] = digest
        return unowed

    @property
    def awaited(self) -> set[bytes]:
        """Digests of what is yet to be delivered for a place where it is no longer."""
        spare = [one for ones in self.spare.values() for one in ones]
        moved = [one for uid, one in self.own.items() if one.uid != uid]
        return {one.digest for one in (*spare, *moved) if one.due}


def _share_out(
    places: Mapping[bytes, tuple[bytes, str]], owed: list[Owed], stays: Set[bytes]
) -> _Shares:
    shares = _Shares()
    for one in owed:
        if one.uid in places and places[one.uid][0] == one.digest:
            shares.own[one.uid] = one
        elif one.uid in stays:
            shares.kept[one.digest].append(one)
        else:
            shares.spare[one.digest].append(one)
    shares.waiting = {uid: d for uid, (d, _) in places.items() if uid not in shares.own}
    return shares


async def _owe(
    destination: str,
    survey: Survey,
    unowed: Mapping[bytes, bytes],
    errand: Errand,
    tools: Tools,
) -> set[bytes]:
    """What might have been an old message, and is one more of it.

    The digests of which the listing, which only has what is new, does not say enough.
    """
    listed = {m.uid: m for m in survey.listing.messages}
    messages = {listed[uid]: digest for uid, digest in unowed.items() if uid in listed}
    if messages:
        origin = errand.origin(survey.mailbox)
        ids = await tools.committer.link(origin, messages, {destination})
        await tools.deliveries.put_held(ids)
    return {digest for uid, digest in unowed.items() if uid not in listed}


def _record(
    catalog: Catalog,
    errand: Errand,
    survey: Survey,
    gone: Set[bytes],
    late: Set[bytes],
    now: datetime,
) -> None:
    place = (errand.account, survey.mailbox)
    plan = survey.plan
    with catalog.transaction():
        inventories.reflag(catalog, *place, [m for m in plan.reflagged if m.uid not in late])
        inventories.mark_gone(catalog, *place, gone - late)
        inventories.mark_retired(catalog, *place, plan.retired - gone, now)
