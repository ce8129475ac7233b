"""Logs are lines of JSON that name their task, and have no content.

Requirements: R-SVC-94 (one object a line), R-SVC-95 (no content; `redact` fails closed).
Threats: T20 (I38).
"""

import io
import json
import logging
from collections.abc import Generator
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import TracerProvider

from interlock import TaskContext
from interlock.errors import TaskNotCompleted
from interlock_adapters.logs import json_logging
from interlock_adapters.telemetry import Telemetry
from support import opened, soon

CANARY: Final = "canary-77aa"


@pytest.fixture(autouse=True)
def root() -> Generator[None]:
    """The root logger is as it was afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_logger_message_and_task() -> None:
    """Line breaks and half characters stay within it.  R-SVC-94."""
    stream = io.StringIO()
    json_logging("INFO", stream=stream)
    logging.getLogger("interlock.engine").warning("task %s: %s", "t-1", "two\nlines \ud800")
    logging.getLogger("interlock.engine").info("no task", extra={"seq": 3, "task_id": "t-2"})
    logging.getLogger("interlock.engine").debug("not at this level")
    first, second = lines(stream)
    assert first["time"].endswith("+00:00")
    assert {k: v for k, v in first.items() if k != "time"} == {
        "level": "WARNING",
        "logger": "interlock.engine",
        "message": "task t-1: two\nlines \ud800",
        "task_id": "t-1",
    }
    assert (second["task_id"], second["seq"]) == ("t-2", 3)


def test_a_line_names_the_trace_in_which_it_was_written() -> None:
    """R-SVC-94."""
    stream = io.StringIO()
    json_logging(stream=stream)
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        logging.getLogger("interlock").info("here")
    (line,) = lines(stream)
    here = span.get_span_context()
    assert (line["trace_id"], line["span_id"]) == (f"{here.trace_id:032x}", f"{here.span_id:016x}")


async def test_every_transition_is_a_line_with_task_and_number() -> None:
    """Through the observer, each in the trace of its task.  R-SVC-94."""
    stream = io.StringIO()
    json_logging(stream=stream)

    async def agent(task: TaskContext) -> str:
        await task.progress(CANARY)
        return CANARY

    async with opened(agent, observer=Telemetry(TracerProvider())) as world:
        handle = await world.submit(CANARY)
        await soon(handle.result())
    moves = [line for line in lines(stream) if line["logger"] == "interlock.transitions"]
    assert [line["seq"] for line in moves] == list(range(1, len(world.log(handle)) + 1))
    assert {line["task_id"] for line in moves} == {handle.task_id}
    assert len({line["trace_id"] for line in moves}) == 1
    assert CANARY not in stream.getvalue()


async def test_the_words_of_an_error_are_left_out_and_its_places_are_not() -> None:
    """T20, R-SVC-95."""
    stream = io.StringIO()
    json_logging("DEBUG", stream=stream)

    async def agent(task: TaskContext) -> None:
        raise ValueError(f"{CANARY} {task.task_id}")

    async with opened(agent) as world:
        handle = await world.submit(CANARY)
        with pytest.raises(TaskNotCompleted):
            await soon(handle.result())
    (line,) = [line for line in lines(stream) if "error" in line]
    assert line["task_id"] == handle.task_id
    assert line["error"]["kind"] == "ValueError"
    assert any("test_logs.py" in place for place in line["error"]["at"])
    assert CANARY not in stream.getvalue()


def test_an_error_is_as_python_prints_it_where_content_is_wanted() -> None:
    """R-SVC-95."""
    stream = io.StringIO()
    json_logging(stream=stream, content=True)
    error = ValueError(CANARY)
    logging.getLogger("a2a").error("what of %s", CANARY, exc_info=error)
    (line,) = lines(stream)
    assert line["message"] == f"what of {CANARY}"
    assert f"ValueError: {CANARY}" in line["error"]


def test_what_libraries_say_of_requests_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below INFO all, above it what was put into their words; queries of addresses.  T20."""
    stream = io.StringIO()
    # What other tests loaded and served may have silenced it, or cut off its queries itself.
    caplog.set_level(logging.INFO, "uvicorn.access")
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "filters", [])
    for name in ("uvicorn", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    json_logging("DEBUG", stream=stream)
    logging.getLogger("a2a.server").debug("Request body: " + CANARY)  # noqa: G003
    logging.getLogger("a2a.server").warning("bad body: %s", CANARY)
    access = '%s - "%s %s HTTP/%s" %d'
    logging.getLogger("uvicorn.access").info(access, "::1", "GET", f"/x?t={CANARY}", "1.1", 200)
    assert [line["message"] for line in lines(stream)] == [
        "bad body: %s",
        '::1 - "GET /x?... HTTP/1.1" 200',
    ]
    assert CANARY not in stream.getvalue()


def test_redact_sees_every_field_and_fails_closed() -> None:
    """R-SVC-95, T20."""
    stream = io.StringIO()
    seen: set[str] = set()

    def redact(name: str, value: object) -> Any:  # noqa: ANN401  JSON
        seen.add(name)
        if name == "message":
            raise RuntimeError(CANARY)
        return None if name == "logger" else value

    json_logging(stream=stream, redact=redact)
    error = KeyError(CANARY)
    logging.getLogger("interlock").error("task %s: %s", "t-1", CANARY, exc_info=error)
    (line,) = lines(stream)
    assert line["message"] == "[redacted]"
    assert "logger" not in line
    assert set(line) | {"logger"} <= seen | {"time"}
    assert seen >= {"time", "level", "logger", "message", "task_id", "error"}
    assert CANARY not in stream.getvalue()


def test_a_record_that_cannot_be_formatted_is_one_line_all_the_same() -> None:
    """And raises nothing where it was logged.  R-SVC-94."""
    stream = io.StringIO()
    json_logging(stream=stream)
    logging.getLogger("interlock").info("%d things", "many")
    (line,) = lines(stream)
    assert line["message"] == "no line: TypeError"


def test_an_unknown_level_is_refused() -> None:
    """And nothing changes.  R-SVC-94."""
    before = list(logging.getLogger().handlers)
    with pytest.raises(ValueError, match="LOUD"):
        json_logging("LOUD")
    assert logging.getLogger().handlers == before
