"""Opening, creating and refusing catalogs."""

import gc
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fetchd.catalog import database, inventory, recording, runs
from fetchd.catalog.database import HEAD, Catalog
from fetchd.errors import CatalogError, CatalogTooNew
from fetchd.instants import micros, moment
from tests.catalog import samples
from tests.faults.command import POWERLESS


def objects(db: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """Every table and index, clause by clause; columns in order, constraints in any."""
    found = []
    for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL"):
        plain = " ".join(sql.split())
        # Commas between clauses, not those inside of parentheses.
        clauses = re.split(r", ?(?![^()]*\))", plain.partition("(")[2].rpartition(")")[0].strip())
        table_wide = [c for c in clauses if c.startswith(("CONSTRAINT", "PRIMARY", "FOREIGN"))]
        columns = [c for c in clauses if c not in table_wide]
        ends = [plain.partition("(")[0], plain.rpartition(")")[2]]
        found.append((name, [*ends, *columns, *sorted(table_wide)]))
    return sorted(found)


def test_schema_file_migrations_and_tables_are_equal(tmp_path: Path) -> None:
    from alembic.script import ScriptDirectory

    from fetchd.catalog import schema

    assert schema.SCHEMA_FILE.read_text("utf-8") == schema.text()
    migrated = sqlite3.connect(tmp_path / "migrated.db", isolation_level=None)
    schema.upgrade(migrated)
    created = sqlite3.connect(tmp_path / "created.db")
    created.executescript(schema.SCHEMA_FILE.read_text("utf-8"))
    assert objects(migrated) == objects(created)
    assert migrated.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    assert ScriptDirectory.from_config(schema.configuration()).get_current_head() == HEAD
    migrated.close()
    created.close()


def test_new_catalog_is_private_durable_and_stamped(catalog: Catalog) -> None:
    assert stat.S_IMODE(catalog.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(catalog.path.parent.stat().st_mode) == 0o700
    assert catalog.rows("PRAGMA journal_mode") == [("wal",)]
    assert catalog.rows("PRAGMA synchronous") == [(2,)]
    assert catalog.rows("PRAGMA foreign_keys") == [(1,)]
    assert catalog.rows("SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_a_later_or_unknown_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    for version in ("0004", "9999", "abc"):
        with Catalog(path) as catalog, catalog.transaction() as db:
            db.execute("UPDATE alembic_version SET version_num = ?", (version,))
        with pytest.raises(CatalogTooNew, match=version):
            Catalog(path)
        with pytest.raises(CatalogTooNew):
            Catalog(path, read_only=True)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE alembic_version SET version_num = ?", (HEAD,))
        db.close()


def test_an_older_version_is_migrated(tmp_path: Path) -> None:
    """No release precedes the first schema; a version table without version stands for one."""
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    db.close()
    with pytest.raises(CatalogError, match="earlier fetchd"):
        Catalog(path, read_only=True)
    with Catalog(path) as catalog:
        gc.collect()  # the migration's engine must not take the connection with it
        recording.record(catalog, [samples.recorded(1)])
    with Catalog(path) as catalog:
        assert len(inventory.inventory(catalog, "home", "INBOX").messages) == 1


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        db.execute("CREATE TABLE verify_progress (something)")
    before = objects(db)
    with pytest.raises(CatalogError, match="verify_progress"):
        Catalog(path)
    assert objects(db) == before
    db.close()


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    def half() -> None:
        with catalog.transaction() as db:
            db.execute("INSERT INTO account (name) VALUES ('home')")
            db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(CatalogError):
        half()
    assert catalog.rows("SELECT * FROM account") == []


def test_garbage_asks_for_a_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(CatalogError, match="damaged") as caught:
        Catalog(path)
    assert "fetchd rebuild" in caught.value.advice


def test_a_full_disk_is_said_and_loses_nothing(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1)])
    pages = catalog.rows("PRAGMA page_count")[0][0]
    catalog.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CatalogError, match="disk is full"):
        recording.record(catalog, [samples.recorded(*range(2, 2000))])
    catalog.rows("PRAGMA max_page_count = 1000000")
    assert len(inventory.inventory(catalog, "home", "INBOX").messages) == 1


def test_a_lock_held_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    path = tmp_path / "catalog.db"
    with Catalog(path) as one, Catalog(path) as two:
        held = one.transaction()
        with held, pytest.raises(CatalogError, match="locked"):
            recording.record(two, [samples.recorded(1)])


def test_reading_an_absent_catalog_makes_nothing(tmp_path: Path) -> None:
    with Catalog(tmp_path / "none" / "catalog.db", read_only=True) as catalog:
        assert runs.status(catalog) == []
    assert list(tmp_path.iterdir()) == []


def test_read_only_sees_what_a_writer_committed_and_cannot_write(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1)])
    with Catalog(catalog.path, read_only=True) as reader:
        assert len(inventory.inventory(reader, "home", "INBOX").messages) == 1
        with pytest.raises(CatalogError, match="written"):
            recording.record(reader, [samples.recorded(2)])


READ_ONLY = """
import sys
from pathlib import Path
from fetchd.catalog import inventory
from fetchd.catalog.database import Catalog
from fetchd.errors import CatalogError
path = Path(sys.argv[1])
with Catalog(path, read_only=True) as reader:
    assert len(inventory.inventory(reader, "home", "INBOX").messages) == 1
try:
    Catalog(path)
except CatalogError as error:
    print(error)
"""


def test_a_read_only_folder_can_be_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "data" / "catalog.db"
    with Catalog(path) as catalog:
        recording.record(catalog, [samples.recorded(1)])
    path.chmod(0o400)
    path.parent.chmod(0o500)
    prefix = POWERLESS if os.geteuid() == 0 else ()
    command = [*prefix, sys.executable, "-c", READ_ONLY, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        path.parent.chmod(0o700)
    assert "cannot be used: Permission denied" in done.stdout


def test_immutable_reading_when_the_folder_takes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    with Catalog(path) as catalog:
        recording.record(catalog, [samples.recorded(1)])
    monkeypatch.setattr(database.os, "access", lambda *_: False)
    with Catalog(path, read_only=True) as reader:
        assert len(inventory.inventory(reader, "home", "INBOX").messages) == 1
        assert not path.with_name("catalog.db-shm").exists()


def test_instants_come_back_exactly() -> None:
    assert moment(micros(samples.NOW)) == samples.NOW


def test_a_sync_does_not_import_the_heavy_libraries() -> None:
    code = (
        "import sys; from fetchd.catalog import database, recording, inventory, outbox, runs,"
        " leases, search, keeping; "
        "sys.exit(any(m in sys.modules for m in ('sqlmodel', 'sqlalchemy', 'alembic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
