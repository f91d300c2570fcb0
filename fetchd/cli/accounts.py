"""Names of accounts that a person gives on the command line."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fetchd.errors import UsageError

if TYPE_CHECKING:  # these take time to import
    from fetchd.catalog.database import Catalog
    from fetchd.settings import Settings


def require(settings: "Settings", catalog: "Catalog | None", names: Iterable[str]) -> None:
    """UsageError for a name that neither the settings have nor, if given, the catalog.

    An account that has left the settings still has mail, runs and deliveries.
    """
    strange = [name for name in names if name not in settings.accounts]
    if strange and catalog is not None:
        remembered = {row[0] for row in catalog.rows("SELECT name FROM account")}
        strange = [name for name in strange if name not in remembered]
    if strange:
        known = ", ".join(sorted(settings.accounts))
        raise UsageError(
            f"no account is called {', '.join(strange)}", advice=f"The settings have: {known}."
        )
