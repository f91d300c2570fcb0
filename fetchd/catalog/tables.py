"""The schema of record, as SQLModel tables.

Migrations are checked against these classes and `schema.sql` is generated from
them; reporting queries may use them. The path of a sync does not import this
module (see database.py for why). Instants are integer microseconds since 1970
in UTC. Digests are not foreign keys: a rebuild replays segments in any order,
and a message may be named before its octets are met.

To change the schema: change the classes, add a migration under
`migrations/versions`, raise `database.HEAD`, run `python -m fetchd.catalog.schema`.
"""

from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel


def _field(default: str | int, **more: Any) -> Any:
    """A column that is never NULL and has its default in the database too."""
    quoted = "''" if default == "" else f"'{default}'" if isinstance(default, str) else str(default)
    return Field(default=default, sa_column_kwargs={"server_default": text(quoted)}, **more)


class Account(SQLModel, table=True):
    __tablename__ = "account"
    name: str = Field(primary_key=True)
    protocol: str = _field("")
    last_success: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str = _field("")
    last_remedy: str = _field("")
    last_advice: str = _field("")
    failures: int = _field(0)
    not_before: int | None = Field(default=None, sa_type=BigInteger)
    lease_owner: str = _field("")
    lease_since: int | None = Field(default=None, sa_type=BigInteger)
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    facts: str = _field("{}")
    added_at: int | None = Field(default=None, sa_type=BigInteger)  # its first run
    halted: str = _field("")  # fingerprint of the login that was refused; "": none was


class Mailbox(SQLModel, table=True):
    __tablename__ = "mailbox"
    __table_args__ = (UniqueConstraint("account", "name", name="mailbox_name"),)
    id: int | None = Field(default=None, primary_key=True)
    account: str = Field(foreign_key="account.name")
    name: str
    listing_digest: bytes | None = None
    asked_digest: bytes | None = None  # of the listing at which removals were asked for
    rules: str = _field("")
    next_due: int | None = Field(default=None, sa_type=BigInteger)
    on_server: int = _field(0)
    on_server_octets: int = _field(0, sa_type=BigInteger)
    last_run_at: int | None = Field(default=None, sa_type=BigInteger)
    caught_up: int = _field(0)  # all that was there when we first looked is home


class RemoteMessage(SQLModel, table=True):
    __tablename__ = "remote_message"
    __table_args__ = (
        Index("remote_message_digest", "digest"),
        Index(
            "remote_message_object",
            "object_id",
            sqlite_where=text("object_id <> ''"),
            postgresql_where=text("object_id <> ''"),
        ),
        {"sqlite_with_rowid": False},
    )
    mailbox_id: int = Field(primary_key=True, foreign_key="mailbox.id")
    uid: bytes = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    digest: bytes | None = None
    state: str
    rules: str = _field("")
    first_seen: int = Field(sa_type=BigInteger)
    fetched_at: int | None = Field(default=None, sa_type=BigInteger)
    retired_at: int | None = Field(default=None, sa_type=BigInteger)
    attempts: int = _field(0)
    retry_at: int | None = Field(default=None, sa_type=BigInteger)
    reason: str = _field("")
    flags: str = _field("")
    arrived: int | None = Field(default=None, sa_type=BigInteger)
    object_id: str = _field("")
    labels: str = _field("")


class Segment(SQLModel, table=True):
    __tablename__ = "segment"
    __table_args__ = (UniqueConstraint("path", name="segment_path"),)
    id: int | None = Field(default=None, primary_key=True)
    path: str
    length: int = _field(0, sa_type=BigInteger)
    sealed: int = _field(0)


class Message(SQLModel, table=True):
    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("digest", name="message_digest"),
        Index("message_header_digest", "header_digest"),
        Index(
            "message_damaged",
            "digest",
            sqlite_where=text("damaged = 1"),
            postgresql_where=text("damaged = 1"),
        ),
        Index("message_segment", "segment_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    digest: bytes
    size: int = Field(sa_type=BigInteger)
    segment_id: int | None = Field(default=None, foreign_key="segment.id")
    frame_offset: int | None = Field(default=None, sa_type=BigInteger)
    frame_length: int | None = Field(default=None, sa_type=BigInteger)
    inner: int | None = Field(default=None, sa_type=BigInteger)
    internal_date: int = Field(sa_type=BigInteger)
    message_id: str = _field("")
    date: str = _field("")
    sender: str = _field("")
    recipients: str = _field("")
    subject: str = _field("")
    header_digest: bytes
    copy_key: bytes
    stored_at: int = Field(sa_type=BigInteger)
    verified_at: int | None = Field(default=None, sa_type=BigInteger)
    damaged: int = _field(0)
    expired: int = _field(0)


class Delivery(SQLModel, table=True):
    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("destination", "key", name="delivery_key"),
        Index("delivery_digest", "digest"),
        Index(
            "delivery_open",
            "destination",
            "not_before",
            sqlite_where=text("state IN ('pending', 'deferred', 'failed')"),
            postgresql_where=text("state IN ('pending', 'deferred', 'failed')"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    destination: str
    key: str
    digest: bytes
    account: str
    mailbox: str
    uid: bytes
    state: str
    attempts: int = _field(0)
    not_before: int = _field(0, sa_type=BigInteger)
    last_reply: str = _field("")
    queued_at: int = Field(sa_type=BigInteger)
    settled_at: int | None = Field(default=None, sa_type=BigInteger)
    owner: str = _field("")
    folder: str = _field("")
    label: str = _field("")
    doubtful: int = _field(0)  # the peer may have accepted it
    done: str = _field("")  # recipients who have it although not all do, one a line


class Destination(SQLModel, table=True):
    __tablename__ = "destination"
    name: str = Field(primary_key=True)
    last_success: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str = _field("")
    last_remedy: str = _field("")
    last_advice: str = _field("")
    failures: int = _field(0)
    not_before: int = _field(0, sa_type=BigInteger)


class Alert(SQLModel, table=True):
    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "alert_open",
            "kind",
            "subject",
            unique=True,
            sqlite_where=text("over_at IS NULL"),
            postgresql_where=text("over_at IS NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    kind: str
    subject: str
    sentence: str = _field("")
    advice: str = _field("")
    times: int = _field(1)
    raised_at: int = Field(sa_type=BigInteger)
    last_at: int = Field(sa_type=BigInteger)
    over_at: int | None = Field(default=None, sa_type=BigInteger)


class Telling(SQLModel, table=True):
    __tablename__ = "telling"
    alert_id: int = Field(primary_key=True, foreign_key="alert.id")
    channel: str = Field(primary_key=True)
    event: str = Field(primary_key=True)  # raised, over
    told_at: int | None = Field(default=None, sa_type=BigInteger)
    attempts: int = _field(0)
    not_before: int = _field(0, sa_type=BigInteger)
    last_error: str = _field("")


class Expiry(SQLModel, table=True):
    __tablename__ = "expiry"
    what: str = Field(primary_key=True)  # certificate, token
    subject: str = Field(primary_key=True)
    at: int = Field(sa_type=BigInteger)


class Spending(SQLModel, table=True):
    __tablename__ = "spending"
    purse: str = Field(primary_key=True)  # whose budget it is
    what: str = Field(primary_key=True)  # download, upload, logins
    since: int = Field(primary_key=True, sa_type=BigInteger)  # begin of the span
    amount: int = Field(sa_type=BigInteger)


class Note(SQLModel, table=True):
    __tablename__ = "note"
    key: str = Field(primary_key=True)
    value: str = _field("")


class Run(SQLModel, table=True):
    __tablename__ = "run"
    __table_args__ = (
        Index("run_account", "account", "id"),
        Index(
            "run_running",
            "account",
            sqlite_where=text("outcome = 'running'"),
            postgresql_where=text("outcome = 'running'"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    account: str = Field(foreign_key="account.name")
    started_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    outcome: str = _field("running")
    fetched: int = _field(0)
    octets: int = _field(0, sa_type=BigInteger)
    adopted: int = _field(0)
    delivered: int = _field(0)
    deferred: int = _field(0)
    failed: int = _field(0)
    retired: int = _field(0)
    quarantined: int = _field(0)
    on_server: int = _field(0)
    error: str = _field("")


class VerifyProgress(SQLModel, table=True):
    __tablename__ = "verify_progress"
    id: int = Field(default=1, primary_key=True)
    segment: str
    frame_offset: int = Field(sa_type=BigInteger)
    started_at: int = Field(sa_type=BigInteger)
