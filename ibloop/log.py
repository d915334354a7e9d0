"""Logging of the daemons: one JSON object a line on stderr, ours and the libraries' alike.

Events are ``noun.verb_past`` with key-values, ``log.info("order.sent", client_order_id=...)``.
Under systemd (``JOURNAL_STREAM`` is set) each line begins with its priority, ``<6>``, which
journald takes off again and files.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TextIO


@contextmanager
def _without_rich() -> Iterator[None]:
    """Let structlog be imported without rich, which only its console renderer would use.

    That is 3 MiB in every daemon. An entry of None makes an import fail, as if it were missing.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # what makes it fail
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog
    from structlog.types import EventDict, Processor, WrappedLogger

# syslog(3) priorities, as sd-daemon(3) writes them.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
# Talk a library has too much of at "info": ib_insync renders every order it sends.
_QUIET_LIBRARIES = ("ib_insync", "asyncio", "urllib3")


def configure(daemon: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send everything from ``level`` up to ``stream`` (stderr), each line naming ``daemon``.

    Calling it again replaces the earlier configuration. Raises: ValueError for an unknown level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_chain(daemon),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_chain(daemon),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module. Before :func:`configure` only warnings are seen, on stderr."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[_render],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=False,
        )
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _chain(daemon: str) -> list[Processor]:
    """Return what is done to every event, ours or a library's, before it is rendered."""

    def add_daemon(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["daemon"] = daemon
        return event

    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        _add_time,
        add_daemon,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]


def _add_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["ts"] = _iso(datetime.now(UTC))
    return event


def _render(_logger: WrappedLogger, method: str, event: Mapping[str, Any]) -> str:
    """Return the line: event, level, ts, daemon first, then the rest as given."""
    first = {key: event[key] for key in ("event", "level", "ts", "daemon") if key in event}
    line = json.dumps({**first, **event}, default=_plain, ensure_ascii=False)
    if "JOURNAL_STREAM" not in os.environ:
        return line
    return f"<{_PRIORITIES.get(str(event.get('level', method)), 6)}>{line}"


def _plain(value: object) -> str:
    """Return a value that JSON does not know as its text: money and times exactly."""
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, Decimal):
        return str(value)
    return repr(value)


def _iso(moment: datetime) -> str:
    """Return an aware time as ISO 8601 UTC with milliseconds, ``...Z``."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
