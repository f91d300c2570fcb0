"""Octets over the line, counted: for budgets and metrics; the protocol included, TLS not."""

from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """Grows while the connections that share it live."""

    received: int = 0
    sent: int = 0
