"""When OAuth2 tokens end for good, read from where they lie and noted with the other ends.

An access token ends every hour and is renewed; what the owner must hear of is the end of what
renews it. Reading costs the derivation of a key where tokens are encrypted, so it is
done once an hour, by whatever process comes first. Blocking: callers use a thread.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import forget_expiry, note_expiry
from fetchd.catalog.notes import note, write_note
from fetchd.errors import FetchdError
from fetchd.instants import micros, moment
from fetchd.settings import Server, Settings

EVERY = timedelta(hours=1)
_KEY = "tokens read"


def note_tokens(settings: Settings, catalog: Catalog, now: datetime) -> None:
    """Bring what is known of tokens up to date, if it is time."""
    owners = _owners(settings)
    if not owners:
        return
    read = note(catalog, _KEY)
    if read and moment(int(read)) <= now < moment(int(read)) + EVERY:
        return
    for subject, owner in owners.items():
        with suppress(FetchdError):  # the sync itself says that a token cannot be read
            _note(subject, owner, catalog)
    write_note(catalog, _KEY, str(micros(now)))


def _owners(settings: Settings) -> dict[str, Server]:
    """Who logs in by tokens; accounts and destinations may be namesakes."""
    servers: dict[str, object] = dict(settings.accounts)
    servers |= {f"destination {name}": one for name, one in settings.destinations.items()}
    return {
        subject: one
        for subject, one in servers.items()
        if isinstance(one, Server) and one.oauth2 is not None
    }


def _note(subject: str, owner: Server, catalog: Catalog) -> None:
    from fetchd.auth.tokens import token_state

    state = token_state(owner)
    end = None
    if state is not None:
        end = state.refresh_expires_at if state.renews else state.expires_at
    if end is None:
        forget_expiry(catalog, "token", subject)
    else:
        note_expiry(catalog, "token", subject, end)
