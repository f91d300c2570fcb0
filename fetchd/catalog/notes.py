"""Small facts that processes leave for one another: when a digest was last sent, and the like."""

from fetchd.catalog.database import Catalog


def note(catalog: Catalog, key: str) -> str:
    """What was written under this key; "" if nothing was."""
    rows = catalog.rows("SELECT value FROM note WHERE key = ?", (key,))
    return str(rows[0][0]) if rows else ""


def write_note(catalog: Catalog, key: str, value: str) -> None:
    """Remember it in place of what was there."""
    with catalog.transaction() as db:
        db.execute(
            "INSERT INTO note (key, value) VALUES (?,?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )
