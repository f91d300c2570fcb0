"""Leases of accounts: one process at a time syncs an account.

A lease ends at its time, or at once when the process that holds it is dead (see
process.py): a killed process blocks nobody.
"""

from datetime import datetime

from fetchd.catalog.database import Catalog
from fetchd.catalog.process import pid_of
from fetchd.errors import AccountBusy
from fetchd.instants import micros, moment


def acquire(catalog: Catalog, account: str, until: datetime, now: datetime) -> None:
    """Take or renew the lease; `AccountBusy` when another living process holds it."""
    owner = catalog.owner
    held = catalog.rows("SELECT lease_owner FROM account WHERE name = ?", (account,))
    holder = held[0][0] if held else ""
    # Asked outside the transaction, which then takes the lease only from this holder.
    dead = holder if not catalog.is_alive(holder) else ""
    with catalog.transaction(durable=False) as db:
        db.execute("INSERT INTO account (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
        taken = db.execute(
            "UPDATE account SET lease_since = CASE lease_owner WHEN ? THEN lease_since ELSE ? END,"
            " lease_owner = ?, lease_until = ?"
            " WHERE name = ? AND (lease_owner IN ('', ?, ?) OR lease_until <= ?)",
            (owner, micros(now), owner, micros(until), account, owner, dead, micros(now)),
        ).rowcount
        if not taken:
            raise _busy(catalog, account)


def renew(catalog: Catalog, account: str, until: datetime) -> bool:
    """Prolong the lease; False when another process has taken it meanwhile."""
    with catalog.transaction(durable=False) as db:
        changed = db.execute(
            "UPDATE account SET lease_until = ? WHERE name = ? AND lease_owner = ?",
            (micros(until), account, catalog.owner),
        ).rowcount
        return changed == 1


def release(catalog: Catalog, account: str) -> None:
    """Let go of the lease, if it still is ours."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "UPDATE account SET lease_owner = '', lease_until = NULL, lease_since = NULL"
            " WHERE name = ? AND lease_owner = ?",
            (account, catalog.owner),
        )


def _busy(catalog: Catalog, account: str) -> AccountBusy:
    holder, since = catalog.rows(
        "SELECT lease_owner, lease_since FROM account WHERE name = ?", (account,)
    )[0]
    pid = pid_of(catalog.path.parent / "processes", holder)
    began = moment(since).strftime("%Y-%m-%d %H:%M:%S UTC")
    return AccountBusy(f"Process {pid} has been syncing account {account} since {began}.")
