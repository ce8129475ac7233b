"""Agents of smolagents on the engine: durable, suspendable, every tool behind the gate.

    def make(task, tools):
        return ToolCallingAgent(tools=tools, model=OpenAIModel("gpt-5"))

    engine = Engine(SmolAgent(make), tools=Toolbox([McpServer("booking", url=...)]))

The factory makes a new agent for every run, since one that was run keeps what it did.  When
the task goes on, after an answer or a crash, a new one is run from the top: what models said and
what tools came to is handed to it from the log.  Every agent of its team is run so too.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal, cast

from interlock import Part, SyncTaskContext, Tool
from interlock.errors import InvalidInput
from interlock.models import JsonValue

try:
    from smolagents import MultiStepAgent  # type: ignore[import-untyped]  # it has no types

    from interlock_adapters.smolagents._batch import FINAL
    from interlock_adapters.smolagents._failure import (
        ModelFailed,
        OutOfSteps,
        RunEnds,
        is_transient,
    )
    from interlock_adapters.smolagents._install import install
    from interlock_adapters.smolagents._run import NotGated, Run, Settings
    from interlock_adapters.smolagents._schema import identifier
    from interlock_adapters.smolagents._source import picture_of
    from interlock_adapters.smolagents._tool import (
        AskAuth,
        AskUser,
        GatedTool,
        ToolboxTool,
        ToolCallFailed,
    )
    from interlock_adapters.smolagents._types import Factory
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.smolagents needs the smolagents extra: "
        "pip install 'interlock[smolagents]'",
        name=_missing.name,
    ) from _missing

__all__ = [
    "AskAuth",
    "AskUser",
    "GatedTool",
    "ModelFailed",
    "NotGated",
    "OutOfSteps",
    "SmolAgent",
    "ToolCallFailed",
]

_log: Final = logging.getLogger("interlock.smolagents")
#: What every agent has already.
OWN_NAMES: Final = (FINAL, "ask_user", "ask_auth")


class SmolAgent:
    """An agent of smolagents, as an agent of the engine: a plain function on a thread.

    `factory(task, tools)` makes a `ToolCallingAgent` or a `CodeAgent`, with its model and, if
    it has one, its team.  `tools` are those of the engine's toolbox that are enabled, `ask_user`
    and `ask_auth`; what tools it brings of its own meet the same gate, as `local/<name>`.

    A `CodeAgent` runs code that a model wrote in this very process, so it is refused unless
    `allow_code` says that this is wanted; such code must not depend on time or chance, since it
    is run again with the log's results.

    With `on_max_steps="fail"` a task fails whose agent takes its last step without an answer;
    with `"answer"` the library has the model answer from what there is.  A model's failure for
    which `retryable` is true fails the turn with a `Retryable` (see `Limits.retry`), any other the
    task.  `artifacts` shows what the agent says and does; `verbose` also lets it print.
    """

    def __init__(
        self,
        factory: Factory,
        *,
        allow_code: bool = False,
        on_max_steps: Literal["fail", "answer"] = "fail",
        retryable: Callable[[Exception], bool] = is_transient,
        artifacts: bool = True,
        verbose: bool = False,
    ) -> None:
        if isinstance(cast("object", factory), MultiStepAgent) or not callable(factory):
            kind = type(factory).__name__
            accepted = "a function (task, tools) that makes an agent is accepted"
            raise InvalidInput([f"SmolAgent was given a {kind}; {accepted}"])
        self._factory: Final = factory
        self._settings: Final = Settings(
            allow_code=allow_code,
            on_max_steps=on_max_steps,
            retryable=retryable,
            artifacts=artifacts,
            verbose=verbose,
        )

    def __call__(self, task: SyncTaskContext) -> Any:  # noqa: ANN401  whatever the agent answers
        """Run a new agent for the task, or run it again from the log; its final answer.

        Raises:
            InvalidInput: the factory made what cannot be run behind the gate.
            OutOfSteps: the agent came to no answer.
            ModelFailed, Retryable: the model did not answer.
        """
        run = Run(task, self._settings)
        toolbox = task.toolbox
        # They are in every prompt, so a run that is replayed must have those that it began with;
        # whether one may still be called is for the gate.
        offered = cast("dict[str, Any]", task.journal_value(lambda: _offered(task)))
        tools: list[GatedTool] = [
            ToolboxTool(Tool.model_validate(tool), name) for name, tool in offered["tools"]
        ]
        try:
            with run.whole():
                agent = self._factory(task, [*tools, AskUser(), AskAuth()])
                seat = install(run, agent, offered["instructions"])
                with seat.entered(""):
                    answer = seat.agent.run(_request(task), max_steps=seat.agent.max_steps)
        except RunEnds as ends:
            raise ends.error from None
        return toolbox.format_result(_value_of(answer))


def _offered(task: SyncTaskContext) -> JsonValue:
    """What the agent is given: the tools by the names that it sees, and the instructions.

    The library refuses an agent two of whose tools have one name, and a server may list a new one
    at any time: that is not to end every task.  Of such tools none is given, since nobody knows
    which a model means.
    """
    toolbox = task.toolbox
    named = [(toolbox.name_of(tool), tool) for tool in task.tools]
    count = Counter([*OWN_NAMES, *(identifier(name) for name, _ in named)])
    tools: list[JsonValue] = []
    for name, tool in named:
        if count[identifier(name)] > 1:
            _log.warning("tool %s is not offered: another has its name", tool.qualified)
        else:
            tools.append([name, tool.model_dump(mode="json", exclude_unset=True)])
    return {"tools": tools, "instructions": toolbox.instructions()}


def _request(task: SyncTaskContext) -> str:
    """What the agent is asked: the texts of the request, or its data as JSON."""
    text, data = task.input.text, task.input.data
    if data is None:
        return text
    said = json.dumps(data, ensure_ascii=False)
    return f"{text}\n{said}" if text else said


def _value_of(answer: object) -> str | Part | JsonValue:
    """A final answer as a result of the task."""
    if isinstance(answer, str):
        return str(answer)  # The library's is a text with a way to print itself.
    return picture_of(answer) or cast("JsonValue", answer)
