"""Follow what others did on the server: flags, and messages that are no longer there.

First the mirrors, then the catalog, which thus never claims what a mirror has not
seen: whatever comes in between is done again by the next sync. Stored octets are
not touched by anything that happens on a server.

A file in a mirror is named by its delivery, and that by the uid which the message had
then. Where messages were renumbered, moved away and back, or are there several times, the
files are shared out anew among those that have the same octets: first each its own, then
whatever else the mirror still holds.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog import outbox
from fetchd.catalog.database import Catalog
from fetchd.catalog.outbox import Owed
from fetchd.contracts import Change
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.survey import Survey
from fetchd.pipeline.tools import Tools


async def follow_survey(survey: Survey, errand: Errand, tools: Tools) -> None:
    """Bring what a survey found to mirrors and catalog; after fetching.

    A renumbered message that is still on its way must be known as missing until it is home.
    """
    plan, catalog = survey.plan, tools.storage.catalog
    gone = plan.gone | plan.retired
    if errand.mirrors and (gone or plan.reflagged or survey.adopted):
        renumbered = _is_renumbered(survey)
        digests = None if renumbered else _concerned(survey)
        here = await tools.storage.blocking(
            inventories.holders, catalog, errand.account, survey.mailbox, digests
        )
        told = {m.uid: m.flags for m in survey.listing.messages}
        places = {
            uid: (digest, told.get(uid, flags))
            for uid, (digest, flags) in here.items()
            if uid not in gone
        }
        vanished = {uid: digest for uid, (digest, _) in here.items() if uid in gone}
        for destination in errand.mirrors:
            unowed = await _follow(destination, survey.mailbox, places, vanished, errand, tools)
            if renumbered and unowed:
                await _owe(destination, survey, unowed, errand, tools)
    if gone or plan.reflagged:
        await tools.storage.blocking(_record, catalog, errand, survey, tools.now())


async def follow_absence(mailbox: str, errand: Errand, tools: Tools) -> int:
    """The server has this mailbox no more; how many messages went with it."""
    catalog = tools.storage.catalog
    here = await tools.storage.blocking(inventories.holders, catalog, errand.account, mailbox)
    vanished = {uid: digest for uid, (digest, _) in here.items()}
    if vanished:
        for destination in errand.mirrors:
            await _follow(destination, mailbox, {}, vanished, errand, tools)
        await tools.storage.blocking(
            inventories.mark_gone, catalog, errand.account, mailbox, vanished
        )
    return len(vanished)


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
) -> dict[bytes, bytes]:
    """Tell one mirror the flags at `places`, and what `vanished`; what is not owed to it yet."""
    digests = {*(digest for digest, _ in places.values()), *vanished.values()}
    owed = await tools.storage.blocking(
        outbox.owed, tools.storage.catalog, destination, errand.account, mailbox, digests
    )
    shares = _share_out(places, owed)
    held = frozenset[str]()
    if shares.waiting and shares.spare:
        keys = [one.key for ones in shares.spare.values() for one in ones if one.made]
        held = await tools.deliveries.held(destination, errand.account, mailbox, keys)
    unowed = shares.settle(held)
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
    return unowed


@dataclass(slots=True)
class _Shares:
    """Which delivery is whose; `spare` ones, by digest, are nobody's."""

    own: dict[bytes, Owed] = field(default_factory=dict)
    waiting: dict[bytes, bytes] = field(default_factory=dict)  # digests of who has none, by uid
    spare: dict[bytes, list[Owed]] = field(default_factory=lambda: defaultdict(list))

    def settle(self, held: frozenset[str]) -> dict[bytes, bytes]:
        """Give what is spare to those who wait; who goes empty-handed."""
        for uid, digest in sorted(self.waiting.items()):
            for one in self.spare[digest]:
                if one.key in held or not one.made:  # one that is not made yet will be
                    self.own[uid] = one
                    self.spare[digest].remove(one)
                    break
        return {uid: digest for uid, digest in self.waiting.items() if uid not in self.own}


def _share_out(places: Mapping[bytes, tuple[bytes, str]], owed: list[Owed]) -> _Shares:
    shares = _Shares()
    for one in owed:
        if one.uid in places and places[one.uid][0] == one.digest:
            shares.own[one.uid] = one
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
) -> None:
    """What was fetched though it might have been an old message, and is one more of it."""
    listed = {m.uid: m for m in survey.listing.messages}
    messages = {listed[uid]: digest for uid, digest in unowed.items() if uid in listed}
    if messages:
        origin = errand.origin(survey.mailbox)
        ids = await tools.committer.link(origin, messages, {destination})
        await tools.deliveries.put_held(ids)


def _record(catalog: Catalog, errand: Errand, survey: Survey, now: datetime) -> None:
    place = (errand.account, survey.mailbox)
    plan = survey.plan
    with catalog.transaction():
        inventories.reflag(catalog, *place, plan.reflagged)
        inventories.mark_gone(catalog, *place, plan.gone)
        inventories.mark_retired(catalog, *place, plan.retired, now)
