"""Everything of smolagents 1.26 that is used here and not promised by its documentation.

`tests/adapters/smolagents/test_private_hooks.py` pins each line of this list, so that an upgrade
has one place to break.  All else is public: `Tool`, `Model`, `ToolCallingAgent`'s
`process_tool_calls` and `execute_tool_call`, `step_callbacks`, `instructions`, `tools`,
`managed_agents`, `state`.

1.  `process_tool_calls` and `run` are looked up on the agent object, so that they can be replaced
    there: `_step_stream` calls `self.process_tool_calls`, `__call__` calls `self.run`.
2.  A step's callbacks run although an error is on its way (`_finalize_step` in a `finally`).
3.  `step_number` of an agent is that of its step, from 1 on in every run.
4.  A prompt for a plan has the stop sequence `<end_plan>`, and no other has; after a plan that a
    prompt shows comes a message with the text of `PLANNED`.
5.  `agglomerate_stream_deltas` joins what a model streams.
6.  `monitor.logger` and `logger.console` are where an agent prints; a `Live` display of streamed
    answers prints whatever the level is, so that `stream_outputs` is switched off.
7.  `LocalPythonExecutor.timeout_seconds`: None runs code on the thread that calls it, and
    `additional_functions` are what code may call beside tools.
8.  Of the exceptions of tools, an interpreter of code and an agent let those pass that are no
    `Exception`: `except Exception` and a bare `except` in code do not hold them up.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from rich.console import Console
from smolagents import AgentLogger, LogLevel  # type: ignore[import-untyped]  # it has no types
from smolagents.models import agglomerate_stream_deltas  # type: ignore[import-untyped]  # as above

from interlock_adapters.smolagents._types import DeltaLike, LibAgent, LibExecutor, MessageLike

__all__ = ["PLANNED", "PLAN_STOP", "is_plan_prompt", "joined", "silence", "unbind"]

PLAN_STOP: Final = "<end_plan>"
#: What a prompt says after each plan that it shows.
PLANNED: Final = "Now proceed and carry out this plan."


def is_plan_prompt(stop_sequences: Sequence[str] | None) -> bool:
    """Whether a prompt asks for a plan."""
    return PLAN_STOP in (stop_sequences or ())


def joined(deltas: Sequence[DeltaLike]) -> MessageLike:
    """The message that was streamed."""
    return cast("MessageLike", cast("Any", agglomerate_stream_deltas)(list(deltas)))


def silence(agent: LibAgent, *, verbose: bool) -> None:
    """Let it print nothing, unless it is wanted, and never a display that redraws itself."""
    agent.stream_outputs = False
    if not verbose:
        made = cast("Any", AgentLogger)(level=LogLevel.OFF, console=Console(quiet=True))
        agent.logger = agent.monitor.logger = made


def unbind(executor: LibExecutor) -> None:
    """Let code run where it is called: its deadline is the task's.

    With a time of its own it runs on another thread, which that time does not even stop.
    """
    executor.timeout_seconds = None
