"""Accounts whose login was refused: which login it was, so that it is not tried again."""

from collections.abc import Iterable

from fetchd.catalog.database import Catalog


def halted(catalog: Catalog, account: str) -> str:
    """The mark of the login that was refused; "" where none was."""
    rows = catalog.rows("SELECT halted FROM account WHERE name = ?", (account,))
    return str(rows[0][0]) if rows else ""


def halt(catalog: Catalog, account: str, mark: str) -> None:
    """This login was refused: no more of it."""
    with catalog.transaction() as db:
        db.execute("UPDATE account SET halted = ? WHERE name = ?", (mark, account))


def resume(catalog: Catalog, accounts: Iterable[str]) -> None:
    """The owner says so, or the login is another one now, or it was accepted."""
    with catalog.transaction() as db:
        db.executemany(
            "UPDATE account SET halted = '' WHERE name = ? AND halted <> ''",
            [(name,) for name in accounts],
        )
