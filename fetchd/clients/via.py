"""How a line to a server is made: straight, from one of our addresses, by a proxy, by a program."""

from fetchd.values import Struct


class Via(Struct, frozen=True):
    """`proxy` is a URL and may hold a password; `tunnel` a program's arguments; `ip` 4 or 6."""

    proxy: str = ""
    tunnel: tuple[str, ...] = ()
    bind_address: str = ""
    ip: str = "any"

    def __repr__(self) -> str:
        return f"Via(tunnel={self.tunnel[:1]}, bind_address={self.bind_address!r}, ip={self.ip!r})"


STRAIGHT = Via()
