"""What the network does to us, as sentences: the one place where its errors become ours.

Each fault is one sentence that names the host and, as advice, what to do. To
explain one more, add a row to _CERTIFICATE_FAULTS, _TLS_FAULTS or _NETWORK_FAULTS.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from fetchd.errors import ConnectionFailed, TlsFailed

# OpenSSL's verify codes (x509_vfy.h) -> what to say, what to do
_CERTIFICATE_FAULTS = {
    9: ("is not valid yet", "Check the clock of this machine."),
    10: ("has expired", "Ask the provider to renew it; until then 'fingerprint' can pin it."),
    18: ("is self-signed", "Name its authority in ca_file, or pin it with 'fingerprint'."),
    19: ("comes from an authority unknown here", "Name that authority in ca_file."),
    20: ("comes from an authority unknown here", "Name that authority in ca_file."),
    21: ("comes without the authority that signed it", "Name that authority in ca_file."),
    62: ("is for another host name", "Set host to the name in the certificate."),
    64: ("is not for this IP address", "Set host to the name in the certificate."),
}
NOT_TLS = ("does not speak TLS on this port", 'Is it the port for tls = "starttls"?')
_TOO_OLD = ("speaks no version of TLS as new as min_tls", "Lower min_tls, or ask the provider.")
_WANTS_CERTIFICATE = ("wants a client certificate", "Name one in client_certificate.")
_REJECTS_CERTIFICATE = ("rejects our client certificate", "Check client_certificate.")
_WANTS_OTHERWISE = (
    "breaks off the TLS handshake",
    "Perhaps it wants a client_certificate, or ciphers that are not allowed here.",
)
# OpenSSL's reasons (sslerr.h) -> what to say, what to do
_TLS_FAULTS = {
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": NOT_TLS,
    "RECORD_LAYER_FAILURE": NOT_TLS,  # from OpenSSL 3.2 on
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _WANTS_OTHERWISE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REJECTS_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _REJECTS_CERTIFICATE,
}
_NETWORK_FAULTS = {
    errno.ECONNREFUSED: ("refused the connection", "Check host and port: nobody listens there."),
    errno.ENETUNREACH: ("is unreachable: no route", "Check this machine's network."),
    errno.EHOSTUNREACH: ("is unreachable: no route", "Check this machine's network."),
    errno.ENETDOWN: ("is unreachable: the network is down", "Check this machine's network."),
    errno.EADDRNOTAVAIL: (
        "cannot be reached from here: no such address",
        "Check bind_address, and this machine's network.",
    ),
    errno.ETIMEDOUT: ("did not answer", "Check host, port and firewalls."),
    errno.ECONNRESET: ("cut the connection", None),
    errno.EPIPE: ("cut the connection", None),
    # Of a UNIX socket:
    errno.ENOENT: ("is not there", "Check the path, and that the server is running."),
    errno.EACCES: ("may not be used", "Give fetchd's user permission for that socket."),
}


_OTHER_FAMILY = {getattr(socket, "EAI_ADDRFAMILY", None), getattr(socket, "EAI_NODATA", None)}
# What is wrong here, and not at the other end: every server is out of reach by it.
# EHOSTUNREACH is not among them: that host may just be switched off.
_OURS = {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}


@contextmanager
def network_faults(where: str, awaited: str, advice: str | None = None) -> Iterator[None]:
    """Translate what the network does to us into sentences; `advice` in place of our own."""
    try:
        yield
    except TimeoutError as error:
        raise ConnectionFailed(f"{where} did not give {awaited}", advice=advice) from error
    except ssl.SSLCertVerificationError as error:
        what, advice = _CERTIFICATE_FAULTS.get(error.verify_code, (error.verify_message, None))
        raise TlsFailed(f"the certificate of {where} {what}", advice=advice) from error
    except ssl.SSLError as error:
        unknown = (f"broke off TLS: {_reason(error)}", None)
        sentence, advice = _TLS_FAULTS.get(error.reason or "", unknown)
        raise TlsFailed(f"{where} {sentence}", advice=advice) from error
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no name by IDNA's rules
        raise _nameless(where, error, advice) from error
    except OSError as error:
        unexplained = (
            "hung up" if isinstance(error, ConnectionError) else f"failed: {error}",
            None,
        )
        number = _number(error)
        sentence, known = _NETWORK_FAULTS.get(number, unexplained)
        ours = number in _OURS
        raise ConnectionFailed(f"{where} {sentence}", advice=advice or known, local=ours) from error


def _nameless(where: str, error: Exception, advice: str | None) -> ConnectionFailed:
    """The name has no address, or nobody could be asked."""
    host = where.rsplit(":", 1)[0]
    if where.startswith("the proxy "):  # which is told by its URL
        host = f"of {where}"
    number = error.errno if isinstance(error, socket.gaierror) else None
    if number == socket.EAI_AGAIN:
        return ConnectionFailed(
            f"the host name {host} could not be looked up: the DNS does not answer",
            advice="Check this machine's network and DNS; fetchd tries again by itself.",
            local=True,
        )
    if number in _OTHER_FAMILY:
        return ConnectionFailed(
            f"the host name {host} has no address of the wanted kind",
            advice='Check ip and bind_address; ip = "any" takes IPv4 and IPv6.',
        )
    return ConnectionFailed(
        f"the host name {host} was not found",
        advice=advice or "Check host, and this machine's DNS.",
    )


def _reason(error: OSError) -> str:
    """OpenSSL's word, or the system's."""
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else error.strerror or str(error)


def _number(error: OSError) -> int:
    """errno; asyncio joins the failures of several addresses into one without it."""
    if error.errno is None and (found := re.search(r"\[Errno (\d+)\]", str(error))):
        return int(found[1])
    return error.errno or 0
