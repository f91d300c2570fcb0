"""Every setting with its default, unit and meaning, and how it is found, read and checked.

`model`, `account`, `destination` and `routes` say what can be set, `server` what the
ways to all servers have in common, `values` how durations, sizes, addresses and paths are
written, `environment` how variables override the file, `checks` (with `check_logins`,
`check_destinations`, `check_loops` and `check_routes`) what must fit together, `problems`,
`families` and `lines` how mistakes are told, `load` joins them.
"""

from fetchd.settings.account import Account, ImapAccount, Pop3Account
from fetchd.settings.destination import (
    CommandDestination,
    Destination,
    ImapDestination,
    LmtpDestination,
    MaildirDestination,
    MboxDestination,
    SmtpDestination,
)
from fetchd.settings.load import find, load
from fetchd.settings.model import Archive, Limits, Log, Settings
from fetchd.settings.server import Server, Timeouts

__all__ = [
    "Account",
    "Archive",
    "CommandDestination",
    "Destination",
    "ImapAccount",
    "ImapDestination",
    "Limits",
    "LmtpDestination",
    "Log",
    "MaildirDestination",
    "MboxDestination",
    "Pop3Account",
    "Server",
    "Settings",
    "SmtpDestination",
    "Timeouts",
    "find",
    "load",
]
