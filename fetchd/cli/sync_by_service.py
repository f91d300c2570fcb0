"""`fetchd sync` where a service runs for the data folder: it does the work, we watch.

Its settings and its caps count, and its lease. What is shown is what a sync in this process
would show. Whoever has seen enough may go: the service goes on.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from fetchd.cli import output
from fetchd.cli.asking import Asking, reach
from fetchd.cli.watching import Watcher, watch_round
from fetchd.daemon.messages import Done, Moved, Sync
from fetchd.errors import ServiceError, UsageError
from fetchd.pipeline.round import Round
from fetchd.settings import Settings
from fetchd.telemetry import log

GOES_ON = "The service goes on with the sync."
WHERE = "'fetchd top' shows how far it is, 'fetchd status' what came of it."


def sync_by_service(
    settings: Settings, names: Sequence[str], confirm_retire: bool, *, json: bool
) -> Round | None:
    """What the service did; None where it does not answer: then it is ours to do."""
    with ExitStack() as stack:
        try:
            asking = stack.enter_context(reach(settings.data_dir))
        except ServiceError as silent:
            log().warning("sync.here", reason=str(silent), note="it is done in this process")
            return None
        try:
            return _watched(asking, settings, names, confirm_retire)
        except UsageError as error:
            others = "The service has other settings than the file: 'fetchd reload'."
            raise UsageError(str(error), advice=f"{error.advice} {others}".strip()) from None
        except KeyboardInterrupt:
            _detach(json=json)
            raise


def _watched(
    asking: Asking, settings: Settings, names: Sequence[str], confirm_retire: bool
) -> Round:
    accounts = list(dict.fromkeys(names)) or list(settings.accounts)
    with watch_round(accounts) as watcher:
        asking.ask(Sync(tuple(names), confirm_retire))
        for answer in asking.answers():
            match answer:
                case Moved():
                    _show(answer, watcher, accounts)
                case Done(done):
                    return done
    raise asking.gone()


def _show(moved: Moved, watcher: Watcher, accounts: Collection[str]) -> None:
    """An account that only the service's settings have is told of at the end."""
    if (account := moved.account) not in accounts:
        return
    if moved.phase:
        watcher.phase(account, moved.phase)
    if moved.expected or moved.expected_octets:
        watcher.expect(account, moved.expected, moved.expected_octets)
    if moved.fetched or moved.fetched_octets:
        watcher.fetched(account, moved.fetched, moved.fetched_octets)


def _detach(*, json: bool) -> None:
    output.complain(f"{GOES_ON} {WHERE}")
    if json:
        output.emit({"error": {"sentence": GOES_ON, "advice": WHERE}})
