"""`[budgets.NAME]`: what a provider allows, by its preset's name or by host.

What is not set here is as the provider's preset says (`auth.presets`), and without limit
where it has none.
"""

from typing import Annotated, Literal

from pydantic import Field

from fetchd.settings.values import Duration, Size, Table, Whole


class Budget(Table):
    """`shared`: one account has all this for itself, or all accounts of the host together."""

    download_per_day: Size | None = None
    upload_per_day: Size | None = None
    logins_per_hour: Annotated[Whole, Field(ge=1)] | None = None
    connections: Annotated[Whole, Field(ge=1)] | None = None
    poll_floor: Duration | None = None
    shared: Literal["account", "host"] | None = None
