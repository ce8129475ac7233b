"""A session of an independent client, mcpdo of the inspector, and what it must come to."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from conformance.install import INSPECTOR

#: One command, with the task that it may wait for.
_COMMAND_S: Final = 60
#: mcpdo's exit code for a result that says it is an error.
_IS_ERROR: Final = 5


class Said(NamedTuple):
    """What a command came to."""

    code: int
    body: Any

    @property
    def text(self) -> str:
        """The first text of a result."""
        return str(self.body["content"][0]["text"])

    @property
    def pending(self) -> Any:  # noqa: ANN401  what crosses JSON
        """The question that is open."""
        return self.body["elicitationPending"]


class Session:
    """A connection of mcpdo, which a daemon of its own keeps in a home of its own."""

    def __init__(self, url: str, home: Path, environment: Mapping[str, str]) -> None:
        self._url: Final = url
        self._environment: Final = {
            **environment,
            "HOME": str(home),
            "MCP_CATALOG_PATH": str(home / "mcp.json"),
            "MCP_INSPECTOR_SECRET_STORE": "file",
        }

    def connect(self) -> Said:
        """Connect, as a client of 2026-07-28 does."""
        options = ("--transport", "http", "--era", "modern", "--stored-auth-only")
        return self.command("connect", self._url, *options)

    def end(self) -> None:
        """Have the daemon end."""
        self.command("daemon", "stop")

    def command(self, *words: str) -> Said:
        """Run one command."""
        done = subprocess.run(
            [str(INSPECTOR.path), "--format", "json", "--connection", self._url, *words],
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_S,
        )
        try:
            body = json.loads(done.stdout)
        except ValueError:
            body = {"stdout": done.stdout, "stderr": done.stderr}
        return Said(done.returncode, body)

    def call(self, tool: str, *arguments: str) -> Said:
        """Call a tool."""
        return self.command("tools/call", tool, *arguments)

    def respond(self, pending: Mapping[str, Any], *words: str) -> Said:
        """Answer a question."""
        return self.command("elicitation/respond", str(pending["elicitationId"]), *words)


def connection(session: Session) -> None:
    """A connection of 2026-07-28."""
    said = session.connect()
    assert said.body["protocolEra"] == "modern", said


def plain_call(session: Session) -> None:
    """A call that is no task."""
    said = session.call("greet", "name:=World")
    assert (said.code, said.text) == (0, "Hello, World!"), said


def task(session: Session) -> None:
    """A task that completes."""
    said = session.call("slow_compute", "seconds:=1", "label:=mcpdo")
    assert (said.code, said.text) == (0, "mcpdo: done after 1.0 s"), said


def failing_task(session: Session) -> None:
    """A task that fails; the tool gives nothing but tasks."""
    said = session.call("failing_job")
    assert (said.code, said.body["isError"]) == (_IS_ERROR, True), said


def task_with_elicitation(session: Session) -> None:
    """A task that asks, and is answered."""
    asked = session.call("confirm_delete", "filename:=notes.txt")
    assert asked.pending["origin"] == "task-input-required", asked
    said = session.respond(asked.pending, "confirm:=true")
    assert (said.code, said.text) == (0, "Deleted notes.txt."), said


def rounds_then_task(session: Session) -> None:
    """A question before there is a task, and then the task."""
    asked = session.call("test_tool_with_task")
    assert asked.pending["origin"] == "input-required", asked
    said = session.respond(asked.pending, "name:=Alice")
    assert (said.code, said.text) == (0, "Hi Alice"), said


STEPS: Final[tuple[Callable[[Session], None], ...]] = (
    connection,
    plain_call,
    task,
    failing_task,
    task_with_elicitation,
    rounds_then_task,
)


def run(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Every step, with what went wrong in it; "" is nothing."""
    # Its socket is in its home, and the path of a socket has some hundred characters at most.
    with TemporaryDirectory(prefix="mcpdo-", ignore_cleanup_errors=True) as home:
        session = Session(url, Path(home), environment)
        try:
            return {(step.__doc__ or "").strip(): _problem(step, session) for step in STEPS}
        finally:
            session.end()


def _problem(step: Callable[[Session], None], session: Session) -> str:
    try:
        step(session)
    except (AssertionError, LookupError, TypeError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return ""
