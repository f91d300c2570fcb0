CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE account (
	name VARCHAR NOT NULL,
	protocol VARCHAR DEFAULT '' NOT NULL,
	last_success BIGINT,
	last_error VARCHAR DEFAULT '' NOT NULL,
	last_remedy VARCHAR DEFAULT '' NOT NULL,
	last_advice VARCHAR DEFAULT '' NOT NULL,
	failures INTEGER DEFAULT 0 NOT NULL,
	not_before BIGINT,
	lease_owner VARCHAR DEFAULT '' NOT NULL,
	lease_since BIGINT,
	lease_until BIGINT,
	facts VARCHAR DEFAULT '{}' NOT NULL,
	added_at BIGINT,
	halted VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE alert (
	id INTEGER NOT NULL,
	kind VARCHAR NOT NULL,
	subject VARCHAR NOT NULL,
	sentence VARCHAR DEFAULT '' NOT NULL,
	advice VARCHAR DEFAULT '' NOT NULL,
	times INTEGER DEFAULT 1 NOT NULL,
	raised_at BIGINT NOT NULL,
	last_at BIGINT NOT NULL,
	over_at BIGINT,
	PRIMARY KEY (id)
);

CREATE UNIQUE INDEX alert_open ON alert (kind, subject) WHERE over_at IS NULL;

CREATE TABLE delivery (
	id INTEGER NOT NULL,
	destination VARCHAR NOT NULL,
	"key" VARCHAR NOT NULL,
	digest BLOB NOT NULL,
	account VARCHAR NOT NULL,
	mailbox VARCHAR NOT NULL,
	uid BLOB NOT NULL,
	state VARCHAR NOT NULL,
	attempts INTEGER DEFAULT 0 NOT NULL,
	not_before BIGINT DEFAULT 0 NOT NULL,
	last_reply VARCHAR DEFAULT '' NOT NULL,
	queued_at BIGINT NOT NULL,
	settled_at BIGINT,
	owner VARCHAR DEFAULT '' NOT NULL,
	folder VARCHAR DEFAULT '' NOT NULL,
	label VARCHAR DEFAULT '' NOT NULL,
	doubtful INTEGER DEFAULT 0 NOT NULL,
	done VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT delivery_key UNIQUE (destination, "key")
);

CREATE INDEX delivery_digest ON delivery (digest);

CREATE INDEX delivery_open ON delivery (destination, not_before) WHERE state IN ('pending', 'deferred', 'failed');

CREATE TABLE destination (
	name VARCHAR NOT NULL,
	last_success BIGINT,
	last_error VARCHAR DEFAULT '' NOT NULL,
	last_remedy VARCHAR DEFAULT '' NOT NULL,
	last_advice VARCHAR DEFAULT '' NOT NULL,
	failures INTEGER DEFAULT 0 NOT NULL,
	not_before BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE expiry (
	what VARCHAR NOT NULL,
	subject VARCHAR NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (what, subject)
);

CREATE TABLE note (
	"key" VARCHAR NOT NULL,
	value VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY ("key")
);

CREATE TABLE segment (
	id INTEGER NOT NULL,
	path VARCHAR NOT NULL,
	length BIGINT DEFAULT 0 NOT NULL,
	sealed INTEGER DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT segment_path UNIQUE (path)
);

CREATE TABLE spending (
	purse VARCHAR NOT NULL,
	what VARCHAR NOT NULL,
	since BIGINT NOT NULL,
	amount BIGINT NOT NULL,
	PRIMARY KEY (purse, what, since)
);

CREATE TABLE verify_progress (
	id INTEGER NOT NULL,
	segment VARCHAR NOT NULL,
	frame_offset BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE mailbox (
	id INTEGER NOT NULL,
	account VARCHAR NOT NULL,
	name VARCHAR NOT NULL,
	listing_digest BLOB,
	asked_digest BLOB,
	rules VARCHAR DEFAULT '' NOT NULL,
	next_due BIGINT,
	on_server INTEGER DEFAULT 0 NOT NULL,
	on_server_octets BIGINT DEFAULT 0 NOT NULL,
	last_run_at BIGINT,
	caught_up INTEGER DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT mailbox_name UNIQUE (account, name),
	FOREIGN KEY(account) REFERENCES account (name)
);

CREATE TABLE message (
	id INTEGER NOT NULL,
	digest BLOB NOT NULL,
	size BIGINT NOT NULL,
	segment_id INTEGER,
	frame_offset BIGINT,
	frame_length BIGINT,
	"inner" BIGINT,
	internal_date BIGINT NOT NULL,
	message_id VARCHAR DEFAULT '' NOT NULL,
	date VARCHAR DEFAULT '' NOT NULL,
	sender VARCHAR DEFAULT '' NOT NULL,
	recipients VARCHAR DEFAULT '' NOT NULL,
	subject VARCHAR DEFAULT '' NOT NULL,
	header_digest BLOB NOT NULL,
	copy_key BLOB NOT NULL,
	stored_at BIGINT NOT NULL,
	verified_at BIGINT,
	damaged INTEGER DEFAULT 0 NOT NULL,
	expired INTEGER DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT message_digest UNIQUE (digest),
	FOREIGN KEY(segment_id) REFERENCES segment (id)
);

CREATE INDEX message_damaged ON message (digest) WHERE damaged = 1;

CREATE INDEX message_header_digest ON message (header_digest);

CREATE INDEX message_segment ON message (segment_id);

CREATE TABLE run (
	id INTEGER NOT NULL,
	account VARCHAR NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT,
	outcome VARCHAR DEFAULT 'running' NOT NULL,
	fetched INTEGER DEFAULT 0 NOT NULL,
	octets BIGINT DEFAULT 0 NOT NULL,
	adopted INTEGER DEFAULT 0 NOT NULL,
	delivered INTEGER DEFAULT 0 NOT NULL,
	"deferred" INTEGER DEFAULT 0 NOT NULL,
	failed INTEGER DEFAULT 0 NOT NULL,
	retired INTEGER DEFAULT 0 NOT NULL,
	quarantined INTEGER DEFAULT 0 NOT NULL,
	on_server INTEGER DEFAULT 0 NOT NULL,
	error VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(account) REFERENCES account (name)
);

CREATE INDEX run_account ON run (account, id);

CREATE INDEX run_running ON run (account) WHERE outcome = 'running';

CREATE TABLE telling (
	alert_id INTEGER NOT NULL,
	channel VARCHAR NOT NULL,
	event VARCHAR NOT NULL,
	told_at BIGINT,
	attempts INTEGER DEFAULT 0 NOT NULL,
	not_before BIGINT DEFAULT 0 NOT NULL,
	last_error VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY (alert_id, channel, event),
	FOREIGN KEY(alert_id) REFERENCES alert (id)
);

CREATE TABLE remote_message (
	mailbox_id INTEGER NOT NULL,
	uid BLOB NOT NULL,
	size BIGINT NOT NULL,
	digest BLOB,
	state VARCHAR NOT NULL,
	rules VARCHAR DEFAULT '' NOT NULL,
	first_seen BIGINT NOT NULL,
	fetched_at BIGINT,
	retired_at BIGINT,
	attempts INTEGER DEFAULT 0 NOT NULL,
	retry_at BIGINT,
	reason VARCHAR DEFAULT '' NOT NULL,
	flags VARCHAR DEFAULT '' NOT NULL,
	arrived BIGINT,
	object_id VARCHAR DEFAULT '' NOT NULL,
	labels VARCHAR DEFAULT '' NOT NULL,
	PRIMARY KEY (mailbox_id, uid),
	FOREIGN KEY(mailbox_id) REFERENCES mailbox (id)
)
 WITHOUT ROWID;

CREATE INDEX remote_message_digest ON remote_message (digest);

CREATE INDEX remote_message_object ON remote_message (object_id) WHERE object_id <> '';
