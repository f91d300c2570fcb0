"""Every setting with its default, unit and meaning, and how it is found, read and checked.

`model` says what can be set, `values` how durations, sizes and paths are
written, `environment` how variables override the file, `checks` what must fit
together, `problems` and `lines` how mistakes are told, `load` joins them.
"""

from fetchd.settings.load import find, load
from fetchd.settings.model import (
    Account,
    Archive,
    Destination,
    Limits,
    Log,
    MaildirDestination,
    Settings,
    Timeouts,
)

__all__ = [
    "Account",
    "Archive",
    "Destination",
    "Limits",
    "Log",
    "MaildirDestination",
    "Settings",
    "Timeouts",
    "find",
    "load",
]
