"""Mozilla's autoconfiguration file: which servers a domain, or a list of providers, names.

Pure: octets in, servers out. The file comes from anywhere, so entities and document types
are refused (defusedxml), servers without TLS are passed over, and so is whatever is no host
name or no port. Only the placeholders that stand for the address are known.

    <clientConfig version="1.1"><emailProvider id="example.org">
      <incomingServer type="imap">
        <hostname>imap.example.org</hostname> <port>993</port>
        <socketType>SSL</socketType> <username>%EMAILADDRESS%</username>
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fetchd.values import Struct

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_SERVERS = 20  # of one file
_PROTOCOLS = ("imap", "pop3", "smtp")
_TLS = {"SSL": "implicit", "STARTTLS": "starttls"}
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


class Named(Struct, frozen=True):
    """A server that such a file names."""

    protocol: str
    host: str
    port: int
    tls: str
    username: str


def read_autoconfig(octets: bytes, address: str) -> list[Named]:
    """The servers for this address; none where this is no such file."""
    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import ParseError, fromstring  # type: ignore[import-untyped]

    try:
        root = fromstring(octets, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return []
    if _bare(root.tag) != "clientConfig":
        return []
    found = [server for element in _servers(root) if (server := _server(element, address))]
    return list(dict.fromkeys(found))


def _servers(root: "Element") -> Iterator["Element"]:
    """`incomingServer` and `outgoingServer` of every `emailProvider`."""
    wanted = ("incomingServer", "outgoingServer")
    there = (e for provider in root for e in provider if _bare(e.tag) in wanted)
    for element, _ in zip(there, range(MOST_SERVERS), strict=False):
        yield element


def _server(element: "Element", address: str) -> Named | None:
    told = {_bare(child.tag): (child.text or "").strip() for child in reversed(element)}
    protocol = element.get("type", "").strip().lower()
    tls = _TLS.get(told.get("socketType", "").upper())
    host = _filled(told.get("hostname", ""), address).lower().rstrip(".")
    port = told.get("port", "")
    if protocol not in _PROTOCOLS or tls is None or not is_host(host):
        return None
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        return None
    username = _filled(told.get("username", "") or "%EMAILADDRESS%", address)
    if not username.isprintable() or "%" in username or len(username) > 254:
        username = address
    return Named(protocol, host, int(port), tls, username)


def is_host(text: str) -> bool:
    """A host name as the DNS has them, in ASCII and lower case."""
    return _HOST.fullmatch(text) is not None


def _filled(text: str, address: str) -> str:
    local, _, domain = address.rpartition("@")
    known = {"%EMAILADDRESS%": address, "%EMAILLOCALPART%": local, "%EMAILDOMAIN%": domain}
    return re.sub("|".join(known), lambda found: known[found[0]], text)


def _bare(tag: object) -> str:
    """A tag without its namespace, which some files have; comments have none."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
