"""The end of a scripted server, in which no connection is lost sight of.

asyncio forgets a connection that it accepts in the moment in which its server is closed, and
closes an aborted one a turn of the event loop later: either shows as a socket that nobody
closed, in whatever test runs when it is collected.
"""

import asyncio
from collections.abc import Collection
from typing import Any

ACCEPTING = 8  # turns, from accept() to the call of our own; three as of 3.11


async def close_server(server: asyncio.Server, tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Accept no more, and end the conversations, of which `tasks` is the live collection."""
    loop = asyncio.get_running_loop()
    for plug in server.sockets:
        loop.remove_reader(plug.fileno())
    for _ in range(ACCEPTING):
        await asyncio.sleep(0)
    server.close()
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
    await asyncio.sleep(0)
