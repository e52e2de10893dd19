"""What strangers send that is not HTTP: a line in the log, and not aiohttp's traceback."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


class _OneLine(logging.Filter):
    """Shortens what aiohttp logs of a request that it cannot read.

    The bytes are not repeated: they may hold a token, and line breaks. Errors of our own keep
    their traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg = f"{record.msg}: not HTTP (%s)"
            record.args = (*_args(record), type(error).__name__)
            record.exc_info = record.exc_text = None
            if record.levelno > logging.WARNING:  # no error of ours
                record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def _args(record: logging.LogRecord) -> tuple[object, ...]:
    return record.args if isinstance(record.args, tuple) else ()


_ONE_LINE = _OneLine()


def log_garbage_briefly() -> None:
    """From now on, in the whole process. Idempotent."""
    logging.getLogger("aiohttp.server").addFilter(_ONE_LINE)
