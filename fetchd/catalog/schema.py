"""The schema as SQL text, and the way from an older schema to this one.

`python -m fetchd.catalog.schema` rewrites schema.sql from tables.py. This module
imports SQLAlchemy and Alembic; nothing that a sync needs imports it.
"""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import SQLModel

import fetchd.catalog.tables  # noqa: F401 - fills SQLModel.metadata

SCHEMA_FILE = Path(__file__).with_name("schema.sql")
MIGRATIONS = Path(__file__).with_name("migrations")

_VERSION_TABLE = """CREATE TABLE alembic_version (
\tversion_num VARCHAR(32) NOT NULL, 
\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""  # noqa: W291 - as Alembic writes it


def statements() -> list[str]:
    """The statements that make an empty catalog."""
    dialect = sqlite.dialect()
    made = [_VERSION_TABLE]
    for table in SQLModel.metadata.sorted_tables:
        made.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made += [str(CreateIndex(index).compile(dialect=dialect)).strip() for index in indexes]
    return made


def text() -> str:
    """What schema.sql must hold."""
    lines = "\n".join(f"{statement};\n" for statement in statements())
    return "\n".join(line.rstrip() for line in lines.split("\n"))


def upgrade(db: sqlite3.Connection) -> None:
    """Run the migrations that this catalog has not seen."""
    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    config = configuration()
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        # The catalog translates what SQLite said, not what SQLAlchemy made of it.
        raise (error.orig or error) from error


def configuration() -> Config:
    """Alembic's settings; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text(), "utf-8")
