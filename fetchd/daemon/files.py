"""How many files, sockets among them, the service may have open."""

import resource
from contextlib import suppress

FILES = 65536


def allow_files() -> None:
    """As many as the system lets us have: a thousand watched accounts need as many sockets.

    The usual limit of 1024 is soft, for programs that still call select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
