"""Logs for the postmaster: named events, human on a terminal, JSON elsewhere, never a secret.

Configured once by the command line; every other module asks for `log()`. An
event below the level costs a comparison; structlog, which takes a tenth of a
second to import, is imported when the first event is written.

The redactor is the second net: secrets are registered when they are read, and
any line that would show one, in whatever field and in any of the spellings that
`_spellings` knows, shows `***` instead. To add a spelling, add it there.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import quote, quote_plus

Transcript = Callable[[str, str], None]  # direction "C" or "S", a line without secrets
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "human", "json"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SHORTEST_SECRET = 4  # shorter ones would redact half of every line
_BASE64 = r"[A-Za-z0-9+/_=-]*"


class EventLog:
    """Events are nouns and verbs (`sync.finished`); fields say the rest."""

    def debug(self, event: str, **fields: Any) -> None:
        """For whoever looks for a fault."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something was done."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something waits or was set aside; fetchd goes on by itself."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level] >= _threshold:
            getattr(_logger(), level)(event, **fields)


_log = EventLog()
_threshold = _LEVELS["info"]
_form: Format = "auto"
_structlog: Any = None
_current: dict[str, str] = {}  # whose is which
_literal: tuple[str, ...] = ()  # longest first; replaced as a whole, since threads read it
_encoded: tuple[tuple[str, re.Pattern[str]], ...] = ()  # what to look for, what to take out


def log() -> EventLog:
    """The log of this process."""
    return _log


def configure(level: Level = "info", form: Format = "auto") -> None:
    """Send events to standard error, from `level` on."""
    global _threshold, _form, _structlog
    _threshold, _form, _structlog = _LEVELS[level], form, None


def conceal(*secrets: str) -> None:
    """Never show these again, nor what they look like where programs and protocols spell them."""
    global _literal, _encoded
    new = [one for one in secrets if len(one) >= _SHORTEST_SECRET and one not in _literal]
    if not new:  # as at nearly every login of a service
        return
    literal, encoded = set(_literal), dict(_encoded)
    for secret in new:
        literal |= set(_spellings(secret))
        for core in _cores(secret):
            encoded[core] = re.compile(_BASE64 + re.escape(core) + _BASE64)
    _literal = tuple(sorted(literal, key=len, reverse=True))
    _encoded = tuple(encoded.items())


def conceal_of(owner: str, secret: str) -> None:
    """The secret that this one has now; what it had before serves nobody any more.

    So a helper that prints a fresh token each hour does not fill the redactor's list.
    """
    before = _current.get(owner, secret)
    _current[owner] = secret
    conceal(secret)
    if before not in _current.values():
        forget(before)


def forget(*secrets: str) -> None:
    """These serve nobody any more and need not be looked for: tokens that were renewed."""
    global _literal, _encoded
    gone = {spelling for secret in secrets for spelling in (secret, *_spellings(secret))}
    cores = {core for secret in secrets for core in _cores(secret)}
    _literal = tuple(one for one in _literal if one not in gone)
    _encoded = tuple(one for one in _encoded if one[0] not in cores)


def redact(text: str) -> str:
    """The text with every concealed secret replaced."""
    for core, token in _encoded:
        if core in text:
            text = token.sub("***", text)
    for spelling in _literal:
        text = text.replace(spelling, "***")
    return text


def redacted(value: Any) -> Any:
    """The same for what holds text: mappings, sequences, octets; plain values only."""
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode("utf-8", "backslashreplace"))
        case dict():
            return {k: redacted(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redacted(v) for v in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return redact(str(value))


def printable(text: str) -> str:
    """The text without anything that a terminal would obey; such characters are shown as escapes.

    What a server or a mail says may be shown to people, never be run by their terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as URLs, repr, JSON and hexadecimal dumps write it."""
    octets = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield repr(secret)[1:-1]
    yield repr(octets)[2:-1]
    yield json.dumps(secret)[1:-1]
    # Unlike the others, these may be written with small or large digits.
    for spelling in (quote(octets), quote(octets, safe=""), quote_plus(octets)):
        yield spelling
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), spelling)
    yield octets.hex()
    yield octets.hex().upper()


def _cores(secret: str) -> Iterator[str]:
    """What base64 makes of the secret at any place in a longer text.

    SASL PLAIN is base64 of NUL user NUL secret, XOAUTH2 has the token in the
    middle: where the secret begins decides by which of three sets of characters
    it shows. Those that also hold bits of its neighbours are left out here; the
    whole base64 word around the rest is what `redact` takes out.
    """
    octets = secret.encode("utf-8", "surrogateescape")
    for before in range(3):
        text = base64.b64encode(bytes(before) + octets).decode().rstrip("=")
        whole = text[-(-before * 8 // 6) : (before + len(octets)) * 8 // 6]
        if len(whole) >= _SHORTEST_SECRET:
            yield whole
            yield whole.translate(str.maketrans("+/", "-_"))


def _logger() -> Any:
    global _structlog
    if _structlog is None:
        _structlog = _new_logger()
    return _structlog


def _new_logger() -> Any:
    structlog = _import_structlog()

    human = _form == "human" or (_form == "auto" and _is_terminal())
    renderer = (
        structlog.dev.ConsoleRenderer(colors=_takes_colours())
        if human
        else structlog.processors.JSONRenderer()
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(_StandardError()),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_for_terminal if human else _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_threshold),
        cache_logger_on_first_use=True,
    )


def _import_structlog() -> Any:
    """structlog without rich, which it would import to show tracebacks: 40 ms for nothing,
    since no traceback ever reaches a log of ours."""
    hidden = "rich" not in sys.modules and "structlog" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # not to be had
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _takes_colours() -> bool:
    """Whether a terminal that understands them is there, and nobody objects (no-color.org)."""
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return _is_terminal() and not (dumb or os.environ.get("NO_COLOR"))


class _StandardError:
    """Standard error as it is now: a live display puts itself in its place.

    A log that cannot be written must not end a sync.
    """

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _redact_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: redacted(value) for key, value in event.items()}


def _redact_for_terminal(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    shown = _redact_event(_logger, _method, event)
    return {key: printable(v) if isinstance(v, str) else v for key, v in shown.items()}
