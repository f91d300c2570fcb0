"""The way to a server, as the settings have it: straight, by a proxy, or by a program."""

import socket
from typing import TYPE_CHECKING

from fetchd.clients.eyeballs import race
from fetchd.clients.names import addresses
from fetchd.clients.via import Via

if TYPE_CHECKING:
    from fetchd.clients.tunnel import Tunnel


async def open_line(host: str, port: int, via: Via) -> "tuple[socket.socket, Tunnel | None]":
    """A connected socket, and the program behind it if there is one.

    What it waits for ends with the caller's deadline; OSError as the network has it.
    """
    if via.tunnel:
        from fetchd.clients.tunnel import open_tunnel

        return await open_tunnel(via.tunnel, host, port)
    if via.proxy:
        from fetchd.clients.proxy import connect

        return await connect(host, port, via), None
    found = await addresses(host, port, _family(via))
    return await race(found, via.bind_address), None


def awaited(timeout: float, via: Via) -> tuple[str, str | None]:
    """What does not come in time, and the advice; a proxy may be as silent as a server."""
    connection = f"a connection within {timeout:g} s"
    if not via.proxy:
        return connection, None
    from fetchd.clients.proxy import named

    return f"{connection} through {named(via)}", "Check the proxy, and host and port."


def _family(via: Via) -> str:
    """An address to begin at leaves no choice."""
    if via.ip == "any" and via.bind_address:
        return "6" if ":" in via.bind_address else "4"
    return via.ip
