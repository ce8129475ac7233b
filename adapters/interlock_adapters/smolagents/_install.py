"""Puts a new agent, and its whole team, under a task: its models, its tools, its steps, its code.

What cannot be put there is refused loudly, before anything runs.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    ActionStep,
    CodeAgent,
    FinalAnswerTool,
    LocalPythonExecutor,
    MultiStepAgent,
    PlanningStep,
    PythonExecutor,
    PythonInterpreterTool,
    ToolCallingAgent,
)

from interlock.errors import InvalidInput
from interlock_adapters.smolagents._batch import FINAL, Batch
from interlock_adapters.smolagents._code import check_code, open_getattr
from interlock_adapters.smolagents._model import JournaledModel
from interlock_adapters.smolagents._private import silence, unbind
from interlock_adapters.smolagents._run import Run, Seat
from interlock_adapters.smolagents._show import Shown
from interlock_adapters.smolagents._steps import Steps
from interlock_adapters.smolagents._tool import GatedTool, OwnGated
from interlock_adapters.smolagents._types import LibAgent, LibExecutor, LibTool

__all__ = ["install"]

#: Methods of a `ToolCallingAgent` whose place is taken here.
REPLACED: Final = ("process_tool_calls", "execute_tool_call")
#: Agents of agents of agents.
DEPTH_MAX: Final = 16


def install(run: Run, agent: object, instructions: str) -> Seat:
    """Put the agent that a factory made, and its team, under the run's task; its seat.

    Raises:
        InvalidInput: it is no agent, was used before, or runs code or tools past the gate.
    """
    seats: dict[int, Seat] = {}
    _seated(run, agent, instructions, seats, above=())
    return seats[id(agent)]


def _seated(
    run: Run, agent: object, instructions: str, seats: dict[int, Seat], *, above: Sequence[object]
) -> None:
    if any(agent is one for one in above):
        raise InvalidInput(["an agent is in its own team, or in a team below it"])
    if len(above) > DEPTH_MAX:
        raise InvalidInput([f"the team of the agent is more than {DEPTH_MAX} deep"])
    if id(agent) in seats:
        return
    _check(run, agent)
    taken = cast("LibAgent", agent)
    seat = seats[id(agent)] = Seat(run, taken, runs_code=isinstance(agent, CodeAgent))
    silence(taken, verbose=run.settings.verbose)
    taken.model = JournaledModel(taken.model, seat)
    taken.tools = {
        name: tool if name == FINAL else _gated(tool, seat) for name, tool in taken.tools.items()
    }
    if isinstance(agent, ToolCallingAgent):
        taken.process_tool_calls = Batch(seat)
    if isinstance(agent, CodeAgent):
        unbind(taken.python_executor)
        # The library has them in the order of a set, and names them in errors.
        taken.python_executor.authorized_imports = sorted(taken.python_executor.authorized_imports)
        taken.python_executor = cast("LibExecutor", ShownExecutor(taken.python_executor, seat))
    steps = Steps(seat)
    taken.step_callbacks.register(ActionStep, steps.acted)
    taken.step_callbacks.register(PlanningStep, steps.planned)
    _instruct(taken, instructions)
    for member in taken.managed_agents.values():
        _seated(run, member, instructions, seats, above=(*above, agent))
    if above:
        taken.run = _of_the_team(taken.run, seat)


def _check(run: Run, agent: object) -> None:
    """Refuse what would run past the gate.

    Raises:
        InvalidInput: it would.
    """
    if not isinstance(agent, MultiStepAgent):
        kind = type(agent).__name__
        raise InvalidInput([f"the factory made a {kind}; it makes a smolagents agent"])
    name = type(agent).__name__
    taken = cast("LibAgent", agent)
    if isinstance(taken.model, JournaledModel):
        raise InvalidInput(
            [f"the factory gave a {name} that was run before; it makes a new one every time"]
        )
    problems: list[str] = []
    if isinstance(agent, ToolCallingAgent):
        problems += [
            f"{name} has its own {method}, which would not be called"
            for method in REPLACED
            if getattr(type(agent), method) is not getattr(ToolCallingAgent, method)
            or method in vars(agent)
        ]
    if FINAL in taken.tools and type(taken.tools[FINAL]) is not FinalAnswerTool:
        problems.append(
            f"{name} has its own {FINAL}, which passes no gate; what it does is for another tool, "
            "for final_answer_checks or for a plugin's format_result"
        )
    runs_code = isinstance(agent, CodeAgent) or any(
        isinstance(tool, PythonInterpreterTool) for tool in taken.tools.values()
    )
    if runs_code and not run.settings.allow_code:
        problems.append(
            f"{name} runs code that a model wrote, in this process; allow_code=True allows it"
        )
    if isinstance(agent, CodeAgent):
        problems += _problems_of_executor(taken.python_executor)
    if problems:
        raise InvalidInput(problems)


def _problems_of_executor(executor: LibExecutor) -> list[str]:
    if not isinstance(cast("object", executor), LocalPythonExecutor):
        kind = type(executor).__name__
        return [f"code runs in a {kind}, where tools pass no gate; only the local one is accepted"]
    if executor.additional_functions:
        names = ", ".join(executor.additional_functions)
        return [f"code may call {names}, which pass no gate; make them tools"]
    return []


def _gated(tool: object, seat: Seat) -> GatedTool:
    if isinstance(tool, GatedTool):
        return tool.taken_by(seat)
    return OwnGated(cast("LibTool", tool)).taken_by(seat)


def _instruct(agent: LibAgent, instructions: str) -> None:
    """Add to what the agent is told."""
    if not instructions:
        return
    agent.instructions = "\n\n".join(text for text in (agent.instructions, instructions) if text)
    if instructions not in agent.system_prompt:
        # Its prompt is one of its own, and has no place for instructions.
        template = str(agent.prompt_templates["system_prompt"])
        raw = "{% raw %}" + instructions + "{% endraw %}"
        agent.prompt_templates = {**agent.prompt_templates, "system_prompt": f"{template}\n\n{raw}"}


def _of_the_team(run_alone: Any, seat: Seat) -> Any:  # noqa: ANN401  a method of the library's
    """`run` of an agent of the team: its calls are named by the call that runs it."""

    def run_within(*args: object, **kwargs: object) -> object:
        with seat.run.at_work():
            scope = seat.run.taken_scope()
        with seat.entered(scope):
            return run_alone(*args, **kwargs)

    return run_within


def _closed(tool: Any) -> Any:  # noqa: ANN401  a tool, or an agent of the team
    """A function that calls it, by which its attributes cannot be reached.

    The interpreter lets code read what does not begin with two underscores: the task, the policies
    and what stands behind the gate would be a few dots away.
    """

    def call(*args: object, **kwargs: object) -> object:
        return tool(*args, **kwargs)

    return call


class ShownExecutor(PythonExecutor):  # type: ignore[misc]  # the library has no types
    """Runs code of a model where it is called, and shows it before."""

    def __init__(self, inner: LibExecutor, seat: Seat) -> None:
        self._inner: Final = inner
        self._seat: Final = seat

    @property
    def state(self) -> dict[str, Any]:
        """The variables of the code."""
        return self._inner.state

    def send_tools(self, tools: dict[str, Any]) -> None:
        """See `PythonExecutor`; code that a model wrote is given nothing that leads further."""
        self._inner.send_tools({name: _closed(tool) for name, tool in tools.items()})
        self._inner.static_tools["getattr"] = open_getattr

    def send_variables(self, variables: dict[str, Any]) -> None:
        """See `PythonExecutor`."""
        self._inner.send_variables(variables)

    def __call__(self, code_action: str) -> Any:  # noqa: ANN401  the library's own
        """See `PythonExecutor`; what reaches behind objects is not run."""
        Shown(self._seat).text()
        check_code(code_action)
        return self._inner(code_action)
