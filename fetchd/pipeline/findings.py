"""What a look finds, one value for each thing looked at."""

from enum import StrEnum

from fetchd.values import Struct


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # works, but perhaps not as the owner thinks
    ERROR = "error"  # a sync would fail


class Finding(Struct, frozen=True):
    """One thing that was looked at; `subject` is "data", "destination home" or "account work"."""

    level: Level
    subject: str
    sentence: str
    advice: str = ""
