"""`fetchd serve`: the settings file, handed to the service; it stays until it is told.

SIGTERM and Ctrl-C drain it, SIGHUP lets it read the settings again (daemon.service).
"""

import os

from fetchd.daemon import service
from fetchd.settings import Settings, load
from fetchd.telemetry import conceal


def serve(settings: Settings) -> bool:
    """Until it has stopped; whether it stopped well.

    The file read again is this one, whatever may lie in the usual places by then.
    """
    path = settings.path

    def again() -> Settings:
        fresh = load(path, os.environ)
        conceal(*fresh.secrets)
        return fresh

    return service.serve(again)
