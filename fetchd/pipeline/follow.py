"""Follow what others did on the server: flags, and messages that are no longer there.

First the mirrors, then the catalog, which thus never claims what a mirror has not
seen: whatever comes in between is done again by the next sync. Stored octets are
not touched by anything that happens on a server.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog import outbox
from fetchd.catalog.database import Catalog
from fetchd.contracts import Change
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.survey import Survey
from fetchd.pipeline.tools import Tools


async def follow_survey(survey: Survey, errand: Errand, tools: Tools) -> None:
    """Bring what a survey found to mirrors and catalog; after fetching.

    A renumbered message that is still on its way must be known as missing until it is home.
    """
    plan, known = survey.plan, survey.inventory.messages
    flags: dict[bytes, str | None] = {m.uid: m.flags for m in (*plan.reflagged, *survey.adopted)}
    flags |= dict.fromkeys(plan.gone | plan.retired)
    digests = {uid: digest for uid in flags if uid in known and (digest := known[uid].digest)}
    # By its header or its EMAILID, one that is gone may have been found again elsewhere here.
    moved = set(survey.adopted.values())
    digests = {uid: d for uid, d in digests.items() if flags[uid] is not None or d not in moved}
    digests |= {m.uid: digest for m, digest in survey.adopted.items()}
    await _follow(survey.mailbox, flags, digests, errand, tools)
    if plan.gone or plan.retired or plan.reflagged:
        await tools.storage.blocking(_record, tools.storage.catalog, errand, survey, tools.now())


async def follow_absence(mailbox: str, errand: Errand, tools: Tools) -> int:
    """The server has this mailbox no more; how many messages went with it."""
    catalog = tools.storage.catalog
    digests = await tools.storage.blocking(inventories.present, catalog, errand.account, mailbox)
    if digests:
        await _follow(mailbox, dict.fromkeys(digests), digests, errand, tools)
        await tools.storage.blocking(
            inventories.mark_gone, catalog, errand.account, mailbox, digests
        )
    return len(digests)


async def _follow(
    mailbox: str,
    flags: Mapping[bytes, str | None],
    digests: Mapping[bytes, bytes],
    errand: Errand,
    tools: Tools,
) -> None:
    """Tell the mirrors; `flags` None: it is gone."""
    for destination in errand.mirrors if digests else ():
        keys = await tools.storage.blocking(
            outbox.made, tools.storage.catalog, destination, errand.account, mailbox, digests
        )
        await tools.deliveries.follow(
            destination, _changes(errand.account, mailbox, flags, keys.items())
        )


def _changes(
    account: str,
    mailbox: str,
    flags: Mapping[bytes, str | None],
    keys: Iterable[tuple[bytes, str]],
) -> list[Change]:
    return [Change(key, account, mailbox, flags[uid]) for uid, key in keys]


def _record(catalog: Catalog, errand: Errand, survey: Survey, now: datetime) -> None:
    place = (errand.account, survey.mailbox)
    plan = survey.plan
    with catalog.transaction():
        inventories.reflag(catalog, *place, plan.reflagged)
        inventories.mark_gone(catalog, *place, plan.gone)
        inventories.mark_retired(catalog, *place, plan.retired, now)
