"""Every setting with its default, unit and meaning, and how it is found, read and checked.

`model` and `account` say what can be set, `values` how durations, sizes and paths are
written, `environment` how variables override the file, `checks` what must fit
together, `problems` and `lines` how mistakes are told, `load` joins them.
"""

from fetchd.settings.account import Account, ImapAccount, Pop3Account, Timeouts
from fetchd.settings.load import find, load
from fetchd.settings.model import Archive, Destination, Limits, Log, MaildirDestination, Settings

__all__ = [
    "Account",
    "Archive",
    "Destination",
    "ImapAccount",
    "Limits",
    "Log",
    "MaildirDestination",
    "Pop3Account",
    "Settings",
    "Timeouts",
    "find",
    "load",
]
