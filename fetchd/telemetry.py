"""Logs for the postmaster: named events, human on a terminal, JSON elsewhere, never a secret.

Configured once by the command line; every other module asks for `log()`. The
redactor is the second net: secrets are registered when they are read, and any
line that would show one, in whatever field, shows `***` instead.
"""

import base64
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

Format = Literal["auto", "human", "json"]

_SHORTEST_SECRET = 4  # shorter ones would redact half of every line
_secrets: set[str] = set()


def log() -> Any:
    """The logger. Events are nouns and verbs: `sync.finished`, `message.quarantined`."""
    return structlog.get_logger()


def conceal(*secrets: str) -> None:
    """Never show these again, nor what they look like in base64."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            _secrets.add(secret)
            _secrets.add(base64.b64encode(secret.encode()).decode())


def redact(text: str) -> str:
    """The text with every concealed secret replaced."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def configure(level: str = "info", form: Format = "auto") -> None:
    """Send events to standard error, from `level` on."""
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_event,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if human
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def _redact_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode("utf-8", "backslashreplace"))
        case dict():
            return {k: _redacted(v) for k, v in value.items()}
        case list() | tuple():
            return [_redacted(v) for v in value]
        case int() | float() | None:
            return value
        case _:
            return redact(str(value))
