"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_success", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_remedy", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_advice", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("lease_since", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("facts", sa.String(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("mailbox", sa.String(), nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_reply", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("destination", "key", name="delivery_key"),
    )
    op.create_index("delivery_digest", "delivery", ["digest"], unique=False)
    op.create_index(
        "delivery_open",
        "delivery",
        ["destination", "not_before"],
        unique=False,
        sqlite_where=sa.text("state IN ('pending', 'deferred', 'failed')"),
        postgresql_where=sa.text("state IN ('pending', 'deferred', 'failed')"),
    )
    op.create_table(
        "segment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sealed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("path", name="segment_path"),
    )
    op.create_table(
        "verify_progress",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("frame_offset", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "mailbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("listing_digest", sa.LargeBinary(), nullable=True),
        sa.Column("asked_digest", sa.LargeBinary(), nullable=True),
        sa.Column("rules", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_due", sa.BigInteger(), nullable=True),
        sa.Column("on_server", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("on_server_octets", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account"],
            ["account.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account", "name", name="mailbox_name"),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("segment_id", sa.Integer(), nullable=True),
        sa.Column("frame_offset", sa.BigInteger(), nullable=True),
        sa.Column("frame_length", sa.BigInteger(), nullable=True),
        sa.Column("inner", sa.BigInteger(), nullable=True),
        sa.Column("internal_date", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("date", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("sender", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("recipients", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("subject", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("header_digest", sa.LargeBinary(), nullable=False),
        sa.Column("copy_key", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("damaged", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expired", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["segment.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="message_digest"),
    )
    op.create_index("message_header_digest", "message", ["header_digest"], unique=False)
    op.create_index(
        "message_damaged",
        "message",
        ["digest"],
        unique=False,
        sqlite_where=sa.text("damaged = 1"),
        postgresql_where=sa.text("damaged = 1"),
    )
    op.create_index("message_segment", "message", ["segment_id"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("fetched", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("octets", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("adopted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deferred", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retired", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("on_server", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"],
            ["account.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("run_account", "run", ["account", "id"], unique=False)
    op.create_index(
        "run_running",
        "run",
        ["account"],
        unique=False,
        sqlite_where=sa.text("outcome = 'running'"),
        postgresql_where=sa.text("outcome = 'running'"),
    )
    op.create_table(
        "remote_message",
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rules", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=True),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("flags", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("arrived", sa.BigInteger(), nullable=True),
        sa.Column("object_id", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("labels", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailbox.id"],
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "uid"),
        sqlite_with_rowid=False,
    )
    op.create_index("remote_message_digest", "remote_message", ["digest"], unique=False)
    op.create_index(
        "remote_message_object",
        "remote_message",
        ["object_id"],
        unique=False,
        sqlite_where=sa.text("object_id <> ''"),
        postgresql_where=sa.text("object_id <> ''"),
    )
