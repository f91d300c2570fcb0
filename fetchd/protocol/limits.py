"""Limits that hold whatever the protocol."""

MAX_BODY = 2 << 30  # octets of one message; the announced size is not trusted
