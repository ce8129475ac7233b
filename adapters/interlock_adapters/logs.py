"""Logs as JSON: one object for each line, with the task and the trace that it is about.

    json_logging("INFO")

Fields: `time` (UTC), `level`, `logger`, `message`; `task_id`, `seq`, `trace_id` and `span_id`
where there are such; `error` with its kind and the places it came through.  The words of errors
and what libraries say of the requests that they serve are content, and left out unless it is
asked for: then an exception comes as Python prints it.
"""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO, cast

from interlock import JsonObject, JsonValue
from interlock_adapters._redact import Redact, Redactor

try:
    from interlock_adapters.telemetry._spans import current_trace
except ModuleNotFoundError:  # without the telemetry extra

    def current_trace() -> tuple[str, str]:
        """There are no traces."""
        return "", ""


__all__ = ["JsonFormatter", "Redact", "json_logging"]

#: Frames of an error: the innermost ones.
FRAMES_MAX: Final = 30
#: Whose words are known: they have no content at whatever level.
_OURS: Final = ("interlock", "interlock_adapters")
#: Whose words are known, but for what clients put into addresses.
_SERVERS: Final = ("uvicorn",)
_QUERY: Final = re.compile(r"\?[^\s\"']*")
#: How every module of ours begins a line about a task.
_TASK: Final = "task %s:"


class JsonFormatter(logging.Formatter):
    """Makes a line of JSON of a record."""

    def __init__(self, redact: Redact | None = None, *, content: bool = False) -> None:
        super().__init__()
        self._redactor: Final = Redactor(redact)
        self._content: Final = content

    def format(self, record: logging.LogRecord) -> str:
        """The line; a record that cannot be formatted is one that says so."""
        try:
            said = self._said(record)
        except Exception as error:  # noqa: BLE001  a log must not end what it is about
            kind = type(error).__name__
            said = {"level": "ERROR", "logger": __name__, "message": f"no line: {kind}"}
        return json.dumps(said, ensure_ascii=True)

    def _said(self, record: logging.LogRecord) -> JsonObject:
        trace_id, span_id = current_trace()
        own = cast("dict[str, object]", record.__dict__)
        seq = own.get("seq")
        said: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._message(record),
            "task_id": str(own.get("task_id") or _task_of(record)),
            "trace_id": str(own.get("trace_id") or trace_id),
            "span_id": "" if own.get("trace_id") else span_id,
        }
        if isinstance(seq, int):
            said["seq"] = seq
        fields = cast("JsonObject", self._redactor.attributes(said))
        error = None if record.exc_info is None else record.exc_info[1]
        if error is not None:
            fields["error"] = self._error(error)
        return fields

    def _message(self, record: logging.LogRecord) -> str:
        if self._content or _is_of(record.name, _OURS):
            return record.getMessage()
        if _is_of(record.name, _SERVERS):
            return _QUERY.sub("?...", record.getMessage())
        # What was put into it may be of a request; the words around it are the program's.
        return str(record.msg)

    def _error(self, error: BaseException) -> JsonValue:
        if self._content:
            return self._redactor.text("error", "".join(traceback.format_exception(error)))
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        at: list[JsonValue] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        kind = self._redactor.text("error", type(error).__name__)
        return {"kind": kind, "at": [self._redactor.text("error", str(one)) for one in at]}


class _NoContent(logging.Filter):
    """Keeps back what others say for who debugs them: it may be whole requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or _is_of(record.name, _OURS)


def json_logging(
    level: str | int = "INFO",
    redact: Redact | None = None,
    *,
    content: bool = False,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Write the process's logs to `stream` (None: standard error) as JSON, one line a record.

    It takes the place of what the root logger had.  Of libraries below INFO nothing is written,
    and above it the words of their messages without what was put into them, unless `content`.
    `redact` is asked of every field; where it raises, `[redacted]` is written.

    Returns:
        The handler, to be removed from the root logger when it is to end.

    Raises:
        ValueError: there is no such level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redact, content=content))
    if not content:
        handler.addFilter(_NoContent())
    root = logging.getLogger()
    root.setLevel(level)
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    return handler


def _is_of(name: str, roots: tuple[str, ...]) -> bool:
    """Whether a logger is one of these, or of a module in them."""
    return name.partition(".")[0] in roots


def _task_of(record: logging.LogRecord) -> str:
    """The task that a line of ours is about, "" for none."""
    said, args = record.msg, record.args
    if not _is_of(record.name, _OURS) or not isinstance(args, tuple) or not args:
        return ""
    return str(args[0]) if isinstance(said, str) and said.startswith(_TASK) else ""
