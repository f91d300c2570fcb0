"""The record of runs, and the health of accounts as `fetchd status` shows it."""

import json
from datetime import datetime, timedelta
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import forget_expiry, note_expiry
from fetchd.catalog.notes import note, write_note
from fetchd.contracts import RunCounts, ServerFacts
from fetchd.errors import Remedy
from fetchd.instants import micros, micros_or_none, moment, moment_or_none
from fetchd.values import Struct, asdict, astuple

LONGEST_PAUSE = timedelta(days=2)  # no server asks for more

_COUNTS = RunCounts.__struct_fields__

_STATUS = """
SELECT a.name, a.protocol, a.last_success, a.last_error, a.last_remedy, a.last_advice, a.failures,
  a.not_before, a.lease_owner, a.facts,
  (SELECT count(*) FROM (SELECT DISTINCT r.digest FROM mailbox b
     JOIN remote_message r ON r.mailbox_id = b.id WHERE b.account = a.name AND r.digest NOTNULL)),
  (SELECT coalesce(sum(m.size), 0) FROM message m WHERE m.digest IN (SELECT r.digest
     FROM mailbox b JOIN remote_message r ON r.mailbox_id = b.id WHERE b.account = a.name)),
  (SELECT coalesce(sum(b.on_server), 0) FROM mailbox b WHERE b.account = a.name),
  (SELECT coalesce(sum(b.on_server_octets), 0) FROM mailbox b WHERE b.account = a.name),
  (SELECT count(*) FROM mailbox b JOIN remote_message r ON r.mailbox_id = b.id
     WHERE b.account = a.name AND r.state = 'quarantined')
FROM account a ORDER BY a.name"""

_OWED = """
SELECT account, state = 'failed', count(*) FROM delivery
WHERE state IN ('pending', 'deferred', 'failed') GROUP BY account, state = 'failed'"""

KEPT_RUNS = 2000  # of each account; a run every five minutes is remembered for a week


class RunRow(Struct, frozen=True):
    """One run; `ended_at` is None while it runs, or when it was killed."""

    id: int
    account: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    counts: RunCounts
    error: str


class Health(Struct, frozen=True):
    """How an account fares, and no more."""

    failures: int
    last_success: datetime | None
    error: str
    advice: str
    halted: bool


class AccountStatus(Struct, frozen=True):
    """The health of one account, and how much there is of it."""

    name: str
    protocol: str
    last_success: datetime | None
    last_error: str
    last_remedy: str
    last_advice: str
    failures: int  # in a row
    not_before: datetime | None
    syncing: bool
    facts: ServerFacts
    messages: int
    octets: int
    on_server: int
    on_server_octets: int
    waiting: int  # deliveries pending or deferred
    failed: int  # deliveries refused for good
    quarantined: int


def begin(catalog: Catalog, account: str, protocol: str, now: datetime) -> int:
    """A run starts; its id."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "INSERT INTO account (name, protocol, added_at) VALUES (?,?,?)"
            " ON CONFLICT (name) DO UPDATE SET protocol = excluded.protocol,"
            " added_at = coalesce(account.added_at, excluded.added_at)",
            (account, protocol, micros(now)),
        )
        # Whoever holds the lease is the only one who runs: the others were killed.
        db.execute(
            "UPDATE run SET outcome = 'interrupted' WHERE account = ? AND outcome = 'running'",
            (account,),
        )
        db.execute(
            "DELETE FROM run WHERE account = ? AND id <= (SELECT id FROM run WHERE account = ?"
            " ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (account, account, KEPT_RUNS),
        )
        made = db.execute(
            "INSERT INTO run (account, started_at) VALUES (?,?) RETURNING id",
            (account, micros(now)),
        )
        return int(made.fetchone()[0])


def added_at(catalog: Catalog, account: str) -> tuple[datetime | None, bool]:
    """When the first run of the account began (None: not yet), and whether the last one is it."""
    rows = catalog.rows(
        "SELECT a.added_at, (SELECT max(r.started_at) FROM run r WHERE r.account = a.name)"
        " FROM account a WHERE a.name = ?",
        (account,),
    )
    return (moment_or_none(rows[0][0]), rows[0][0] == rows[0][1]) if rows else (None, True)


def date_accounts(catalog: Catalog) -> None:
    """After a rebuild: an account was added when the first of its messages was seen."""
    with catalog.transaction() as db:
        db.execute(
            "UPDATE account SET added_at = (SELECT min(r.first_seen) FROM remote_message r"
            " JOIN mailbox b ON b.id = r.mailbox_id WHERE b.account = account.name)"
        )


def pause(catalog: Catalog, account: str, now: datetime, terms: str = "") -> datetime | None:
    """Until when the server wants no login: its own hint, or LOGIN-DELAY after the last one.

    What a budget held up waits no longer once other `terms` hold than then. What a clock
    that was ahead has left behind is not believed.
    """
    rows = catalog.rows(
        "SELECT a.not_before, a.facts, (SELECT r.started_at FROM run r"
        " WHERE r.account = a.name ORDER BY r.id DESC LIMIT 1) FROM account a WHERE a.name = ?",
        (account,),
    )
    if not rows:
        return None
    not_before, facts, last = rows[0]
    delay = _facts(facts).login_delay
    if not_before is not None and terms and is_held(catalog, account):
        not_before = not_before if note(catalog, _terms_key(account)) == terms else None
    instants = [moment(not_before)] if not_before is not None else []
    if delay and last is not None and moment(last) <= now:
        instants.append(moment(last) + timedelta(seconds=delay))
    return max((at for at in instants if now < at <= now + LONGEST_PAUSE), default=None)


def succeed(catalog: Catalog, run: int, now: datetime, counts: RunCounts) -> None:
    """The run ended well: the account's failures are forgotten."""
    with catalog.transaction(durable=False) as db:
        account = _finish(catalog, run, now, "ok", counts, "")
        db.execute(
            "UPDATE account SET last_success = ?, last_error = '', last_remedy = '',"
            " last_advice = '', failures = 0, not_before = NULL WHERE name = ?",
            (micros(now), account),
        )


def hold(
    catalog: Catalog,
    run: int,
    now: datetime,
    counts: RunCounts,
    not_before: datetime,
    terms: str = "",
) -> None:
    """The run went well as far as a budget of these terms let it; the next waits for more."""
    with catalog.transaction(durable=False) as db:
        account = _finish(catalog, run, now, "paused", counts, "")
        db.execute(
            "UPDATE account SET last_success = ?, last_error = '', last_remedy = '',"
            " last_advice = '', failures = 0, not_before = ? WHERE name = ?",
            (micros(now), micros(not_before), account),
        )
        write_note(catalog, _terms_key(account), terms)


def _terms_key(account: str) -> str:
    return f"terms {account}"


def is_held(catalog: Catalog, account: str) -> bool:
    """Whether the last run was ended by a budget."""
    rows = catalog.rows(
        "SELECT outcome FROM run WHERE account = ? ORDER BY id DESC LIMIT 1", (account,)
    )
    return bool(rows) and rows[0][0] == "paused"


def interrupt(catalog: Catalog, run: int, now: datetime, counts: RunCounts) -> None:
    """The run ended early, by the owner's wish: the account is neither well nor ill by that."""
    with catalog.transaction(durable=False):
        _finish(catalog, run, now, "interrupted", counts, "")


def fail(
    catalog: Catalog,
    run: int,
    now: datetime,
    counts: RunCounts,
    error: str,
    remedy: Remedy,
    advice: str = "",
    not_before: datetime | None = None,
) -> int:
    """The run ended badly; how many did so in a row."""
    with catalog.transaction(durable=False) as db:
        account = _finish(catalog, run, now, "failed", counts, error)
        db.execute(
            "UPDATE account SET last_error = ?, last_remedy = ?, last_advice = ?,"
            " failures = failures + 1, not_before = ? WHERE name = ?",
            (error, str(remedy), advice, micros_or_none(not_before), account),
        )
        row = db.execute("SELECT failures FROM account WHERE name = ?", (account,)).fetchone()
        return int(row[0])


def health(catalog: Catalog) -> dict[str, Health]:
    """Of every account that was ever synced."""
    rows = catalog.rows(
        "SELECT name, failures, last_success, last_error, last_advice, halted <> '' FROM account"
    )
    return {
        name: Health(count, moment_or_none(success), error, advice, bool(halted))
        for name, count, success, error, advice, halted in rows
    }


def failures(catalog: Catalog, account: str) -> int:
    """How many runs failed in a row."""
    rows = catalog.rows("SELECT failures FROM account WHERE name = ?", (account,))
    return int(rows[0][0]) if rows else 0


def last_error(catalog: Catalog, account: str) -> str:
    """What the last of them said, as a sentence."""
    rows = catalog.rows("SELECT last_error FROM account WHERE name = ?", (account,))
    return str(rows[0][0]) if rows else ""


def save_facts(catalog: Catalog, account: str, facts: ServerFacts) -> None:
    """What the server said of itself."""
    with catalog.transaction(durable=False) as db:
        text = json.dumps(asdict(facts))
        db.execute(
            "INSERT INTO account (name, facts) VALUES (?,?)"
            " ON CONFLICT (name) DO UPDATE SET facts = excluded.facts",
            (account, text),
        )
        if facts.certificate_until:
            note_expiry(catalog, "certificate", account, _end(facts))
        else:
            forget_expiry(catalog, "certificate", account)


def _end(facts: ServerFacts) -> datetime:
    return datetime.fromisoformat(facts.certificate_until)


def history(catalog: Catalog, account: str = "", limit: int = 20) -> list[RunRow]:
    """Runs, newest first; of one account or of all."""
    where = "WHERE account = ?" if account else ""
    rows = catalog.rows(
        f"SELECT id, account, started_at, ended_at, outcome, error, {', '.join(_COUNTS)}"  # noqa: S608
        f" FROM run {where} ORDER BY id DESC LIMIT ?",
        (account, limit) if account else (limit,),
    )
    return [
        RunRow(
            row[0],
            row[1],
            moment(row[2]),
            moment_or_none(row[3]),
            row[4],
            RunCounts(*row[6:]),
            row[5],
        )
        for row in rows
    ]


def status(catalog: Catalog) -> list[AccountStatus]:
    """Every account that was ever synced, by name."""
    owed = {(account, failed): count for account, failed, count in catalog.rows(_OWED)}
    return [
        _account(catalog, row, owed.get((row[0], 0), 0), owed.get((row[0], 1), 0))
        for row in catalog.rows(_STATUS)
    ]


def _account(catalog: Catalog, row: tuple[Any, ...], waiting: int, failed: int) -> AccountStatus:
    health = (moment_or_none(row[2]), *row[3:7], moment_or_none(row[7]))
    values: tuple[Any, ...] = (
        *row[:2],
        *health,
        catalog.is_alive(row[8]),
        _facts(row[9]),
        *row[10:14],
        waiting,
        failed,
        row[14],
    )
    return AccountStatus(*values)


def _finish(
    catalog: Catalog, run: int, now: datetime, outcome: str, counts: RunCounts, error: str
) -> str:
    """Close the row of the run, inside the caller's transaction; its account."""
    columns = ", ".join(f"{name} = ?" for name in _COUNTS)
    done = catalog.rows(
        f"UPDATE run SET ended_at = ?, outcome = ?, error = ?, {columns} WHERE id = ?"  # noqa: S608
        " RETURNING account",
        (micros(now), outcome, error, *astuple(counts), run),
    )
    return str(done[0][0])


def _facts(text: str) -> ServerFacts:
    known = ServerFacts.__struct_fields__
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(text).items()
        if name in known
    }
    return ServerFacts(**stored)
