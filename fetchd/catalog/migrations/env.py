"""Run by Alembic: migrations inside one transaction, on the connection it was given."""

from alembic import context
from sqlmodel import SQLModel

import fetchd.catalog.tables  # noqa: F401 - fills SQLModel.metadata

connection = context.config.attributes["connection"]
# The catalog's connection is in autocommit mode: SQLite's own BEGIN makes the
# whole upgrade one step, so that a crash leaves the older schema intact.
connection.exec_driver_sql("BEGIN IMMEDIATE")
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
if connection.connection.dbapi_connection.in_transaction:
    connection.exec_driver_sql("COMMIT")
