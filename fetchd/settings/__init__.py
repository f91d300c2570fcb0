"""Every setting with its default, unit and meaning, and how it is found, read and checked.

`model`, `account`, `destination` and `routes` say what can be set, `server` what the
ways to all servers have in common, `oauth2`, `running`, `alerts` and `budgets` what the service
needs besides, `values` how durations, sizes, addresses and paths are written, `environment` how
variables override the file, `checks` (with `check_logins`, `check_destinations`, `check_loops`,
`check_routes`, `check_running` and `check_provider`) what must fit together, `problems`,
`families` and `lines` how mistakes are told, `load` joins them.
"""

from fetchd.settings.account import Account, ImapAccount, Pop3Account
from fetchd.settings.alerts import Alerts
from fetchd.settings.budgets import Budget
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
from fetchd.settings.oauth2 import OAuth2, Tokens
from fetchd.settings.running import Service, Web
from fetchd.settings.server import Server, Timeouts

__all__ = [
    "Account",
    "Alerts",
    "Archive",
    "Budget",
    "CommandDestination",
    "Destination",
    "ImapAccount",
    "ImapDestination",
    "Limits",
    "LmtpDestination",
    "Log",
    "MaildirDestination",
    "MboxDestination",
    "OAuth2",
    "Pop3Account",
    "Server",
    "Service",
    "Settings",
    "SmtpDestination",
    "Timeouts",
    "Tokens",
    "Web",
    "find",
    "load",
]
