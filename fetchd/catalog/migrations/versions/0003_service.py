"""What the service remembers: refused logins, what budgets have spent, who was told of alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("account", _text("halted"))
    op.create_table(
        "spending",
        sa.Column("purse", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("purse", "what", "since"),
    )
    op.create_table(
        "telling",
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        _text("last_error"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"]),
        sa.PrimaryKeyConstraint("alert_id", "channel", "event"),
    )
    op.create_table(
        "expiry",
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", "subject"),
    )
    op.create_table(
        "note",
        sa.Column("key", sa.String(), nullable=False),
        _text("value"),
        sa.PrimaryKeyConstraint("key"),
    )


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.String(), server_default=sa.text("''"), nullable=False)
