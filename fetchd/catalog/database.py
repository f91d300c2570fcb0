"""The catalog's file: opened, created, brought up to date, locked, and its errors translated.

Why plain SQL: importing SQLAlchemy costs 0.3 s at each start, more than a whole
sync that finds nothing new. So the path of a sync speaks plain SQL through the
DBAPI, in the subset that SQLite and PostgreSQL share (ON CONFLICT, executemany
with tuples). The schema of record are the SQLModel classes of tables.py, used by
Alembic migrations and reporting queries. A new catalog is created from
schema.sql, which is generated from the tables, and stamped with `HEAD`; Alembic
is imported only when a stored version is older. Tests hold the three equal.

All calls block; callers use threads. One lock serialises them, so a catalog may
be shared by threads. Every sqlite3 error leaves as a `CatalogError`.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from fetchd.catalog.process import ProcessLock, is_alive
from fetchd.errors import CatalogError, CatalogTooNew
from fetchd.ownership import refuse_root

HEAD = "0003"
BUSY_SECONDS = 30

_PARAMETERS = 900  # of one statement: below SQLite's oldest limit of 999


class Catalog:
    """The catalog at `path`; its folder is the data folder.

    `read_only` never writes: an absent catalog then reads as an empty one, and
    one in a folder we may not write to can still be read.
    `owner` names this process in leases and claims; empty when read-only.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._process: ProcessLock | None = None
        if not read_only:
            refuse_root(path.parent)
        with translated(path):
            self._db = _connect_reading(path) if read_only else _connect_writing(path)
        try:
            self._bring_up_to_date()
            if not read_only:
                with translated(path):
                    self._process = ProcessLock(self._processes)
        except BaseException:
            self._db.close()
            raise
        self.owner = self._process.owner if self._process else ""

    @property
    def _processes(self) -> Path:
        return self.path.parent / "processes"

    def is_alive(self, owner: str) -> bool:
        """Whether the process that goes by this name still runs."""
        with translated(self.path):
            return bool(owner) and is_alive(self._processes, owner)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One writing transaction: durable when left, undone when an error leaves it.

        Within another one of the same thread it is a part of that. What is not
        `durable` (leases, the record of runs) costs no fsync: a power cut may
        lose it, together with all that followed, a killed process never does.
        """
        with self._lock, translated(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            if not durable:
                self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if not durable:
                    self._db.execute("PRAGMA synchronous = FULL")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, translated(self.path):
            return self._db.execute(sql, parameters).fetchall()

    def scan(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one, where all at once would fill the memory.

        To be read to its end, and by a thread that does nothing else: nobody else gets at
        the catalog meanwhile.
        """
        with self._lock, translated(self.path):
            yield from self._db.execute(sql, parameters)

    def each(self, sql: str, values: Iterable[Any], before: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query whose `{}` is filled with as many values as it takes."""
        wanted = list(values)
        found: list[Any] = []
        for start in range(0, len(wanted), _PARAMETERS):
            part = wanted[start : start + _PARAMETERS]
            found += self.rows(sql.format(",".join("?" * len(part))), [*before, *part])
        return found

    def close(self) -> None:
        with self._lock, translated(self.path):
            self._db.close()
        if self._process:
            self._process.close()
            self._process = None

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bring_up_to_date(self) -> None:
        version = self._version()
        if version is None and not self.read_only:
            self._create()
        elif version is None:
            self._db.close()
            self._db = _in_memory()
            self._create()
        elif not (version.isdigit() and version <= HEAD):
            raise CatalogTooNew(
                f"The catalog {self.path} has version {version}; this fetchd knows up to {HEAD}."
            )
        elif version < HEAD and self.read_only:
            raise CatalogError(
                f"The catalog {self.path} was written by an earlier fetchd.",
                advice="Run 'fetchd sync' once to bring it up to date.",
            )
        elif version < HEAD:
            from fetchd.catalog.schema import upgrade

            with translated(self.path):
                upgrade(self._db)

    def _version(self) -> str | None:
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"):
            return None
        found = self.rows("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else "0000"  # before the first migration

    def _create(self) -> None:
        """Make the tables, unless another process was quicker."""
        text = resources.files("fetchd.catalog").joinpath("schema.sql").read_text("utf-8")
        with self.transaction() as db:
            if self._version() is None:
                for statement in text.split(";\n"):
                    if statement.strip():
                        db.execute(statement)
                db.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (HEAD,))


def insert_many(db: sqlite3.Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
    """INSERT the rows, as many at once as the parameters allow.

    `sql` has one `VALUES (...)`. A step of SQLite lets go of the interpreter and has to
    get it back, which costs more than a row: fewer, larger steps.
    """
    if not rows:
        return
    start = sql.index("VALUES (") + len("VALUES ")
    end = sql.index(")", start) + 1
    at_once = max(1, _PARAMETERS // len(rows[0]))
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        values = ",".join([sql[start:end]] * len(part))
        db.execute(sql[:start] + values + sql[end:], [value for row in part for value in row])


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let errors of SQLite and of the file system leave as a sentence for people."""
    try:
        yield
    except sqlite3.Error as error:
        raise _sentence(path, error) from error
    except OSError as error:
        raise CatalogError(f"The catalog {path} cannot be used: {error.strerror}.") from error


def _sentence(path: Path, error: sqlite3.Error) -> CatalogError:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return CatalogError(f"The disk is full: the catalog {path} cannot grow.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return CatalogError(f"The catalog {path} cannot be opened or written ({error}).")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return CatalogError(
                f"The catalog {path} has been locked by another process for {BUSY_SECONDS} s.",
                advice="Wait until the other fetchd has ended, then try again.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CatalogError(
                f"The catalog {path} is damaged ({error}).",
                advice="Run 'fetchd rebuild': it makes a new catalog from the archive.",
            )
        case _:
            return CatalogError(f"The catalog {path} cannot be used: {error}.")


def _connect_writing(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Created here, not by SQLite, so that it is never readable to others; the
    # files beside it (-wal, -shm) take its mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = _prepared(path.absolute().as_uri())
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _connect_reading(path: Path) -> sqlite3.Connection:
    if not path.exists():
        return _in_memory()
    uri = path.absolute().as_uri()
    # Reading a WAL database needs a -shm file beside it. Where we may not make
    # one, nobody of our kind is writing either, and the file can be read as it is.
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        return _prepared(uri + "?immutable=1")
    return _prepared(uri + "?mode=ro")


def _in_memory() -> sqlite3.Connection:
    return _prepared("file::memory:")


def _prepared(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
