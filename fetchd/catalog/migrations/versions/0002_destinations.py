"""The health of destinations, alerts, where routes want a delivery, and first syncs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("account", sa.Column("added_at", sa.BigInteger(), nullable=True))
    op.add_column("mailbox", _number("caught_up", "0"))
    for column in (_text("folder"), _text("label"), _number("doubtful", "0"), _text("done")):
        op.add_column("delivery", column)
    # Accounts that were there before have their first sync behind them.
    op.execute("UPDATE mailbox SET caught_up = 1")
    op.execute(
        "UPDATE account SET added_at = (SELECT min(started_at) FROM run WHERE account = name)"
    )
    op.create_table(
        "destination",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_success", sa.BigInteger(), nullable=True),
        _text("last_error"),
        _text("last_remedy"),
        _text("last_advice"),
        _number("failures", "0"),
        sa.Column("not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        _text("sentence"),
        _text("advice"),
        _number("times", "1"),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("over_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "alert_open",
        "alert",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("over_at IS NULL"),
        postgresql_where=sa.text("over_at IS NULL"),
    )


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.String(), server_default=sa.text("''"), nullable=False)


def _number(name: str, default: str) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer(), server_default=sa.text(default), nullable=False)
