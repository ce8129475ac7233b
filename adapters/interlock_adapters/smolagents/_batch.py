"""The tool calls of one message of a `ToolCallingAgent`: each on its own, all asked about at once.

It takes the place of `ToolCallingAgent.process_tool_calls`.  There, one call that fails drops what
the others came to, two calls of one id are one, and a call is found by a name that the model gave.
Here a call is known by its place, and whatever becomes of it is told to the model as its
observation.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, cast

from smolagents import ToolCall as MemoryCall  # type: ignore[import-untyped]  # it has no types
from smolagents.agents import ToolOutput  # type: ignore[import-untyped]  # as above

from interlock.models import JsonValue
from interlock_adapters.smolagents._run import Seat
from interlock_adapters.smolagents._show import Shown
from interlock_adapters.smolagents._tool import (
    Came,
    GatedTool,
    Wanted,
    json_like,
    made,
    not_json,
)
from interlock_adapters.smolagents._types import CallLike, LibAgent, MessageLike, StepLike

__all__ = ["FINAL", "Batch"]

FINAL: Final = "final_answer"
#: What an agent of a team may be given.
TEAM_INPUTS: Final = frozenset({"task", "additional_args"})
_ALONE: Final = (
    "the answer was not taken, since other tools were called in the same message. Look at what "
    f"they came to, and then call {FINAL} alone."
)


class Batch:
    """Stands in for `process_tool_calls` of the agent of one seat."""

    def __init__(self, seat: Seat) -> None:
        self._seat: Final = seat

    def __call__(self, chat_message: MessageLike, memory_step: StepLike) -> Generator[object]:
        """The calls, and then what each came to, in the order of the message."""
        calls = chat_message.tool_calls or []
        seat, shown = self._seat, Shown(self._seat)
        shown.text()
        arguments = [self._arguments(call) for call in calls]
        told = [
            MemoryCall(name=call.function.name, arguments=call.function.arguments, id=call.id)
            for call in calls
        ]
        # Before they are made, so that an error of the step finds them there.
        memory_step.tool_calls = told
        yield from told
        alone = len(calls) == 1
        came: dict[int, Came] = {}
        for at, call in enumerate(calls):
            if not (alone and call.function.name == FINAL):
                shown.call(at + 1, str(call.function.name), _showable(arguments[at]))
        came |= self._gated(calls, arguments)
        observations: list[str] = []
        for at, call in enumerate(calls):
            name = call.function.name
            if at not in came:
                came[at] = self._other(call, arguments[at], seat.call_key(at), alone=alone)
            final = alone and name == FINAL and not came[at].failed
            observation = came[at].text.strip()
            observations.append(observation)
            if not final:
                shown.observation(observation, number=at + 1, about=str(name))
            yield ToolOutput(
                id=call.id,
                output=came[at].value if final else came[at].text,
                is_final_answer=final,
                observation=observation,
                tool_call=told[at],
            )
        memory_step.observations = "\n".join(
            text for text in (memory_step.observations, *observations) if text
        )

    def _arguments(self, call: CallLike) -> dict[str, Any] | str:
        """What a call is made with, or why it cannot be."""
        given: Any = call.function.arguments
        agent = self._seat.agent
        if given is None or given == "":
            given = {}
        if not isinstance(given, dict):
            inputs = list(getattr(agent.tools.get(call.function.name), "inputs", ()))
            if len(inputs) != 1:
                return f"{call.function.name} was not called: its arguments are not an object"
            given = {inputs[0]: given}
        return {str(name): self._of_state(value) for name, value in cast("Any", given).items()}

    def _of_state(self, value: Any) -> Any:  # noqa: ANN401  whatever the agent keeps
        """The agent's variable of that name, if it has one; what is shown is then what runs."""
        return self._seat.agent.state.get(value, value) if isinstance(value, str) else value

    def _gated(
        self, calls: Sequence[CallLike], arguments: Sequence[dict[str, Any] | str]
    ) -> dict[int, Came]:
        """What the calls of tools came to, all made at once."""
        seat, wanted = self._seat, dict[int, Wanted]()
        came: dict[int, Came] = {}
        for at, call in enumerate(calls):
            name = call.function.name
            tool: object = seat.agent.tools.get(name)
            given = arguments[at]
            if isinstance(given, str):
                came[at] = Came(given, failed=True)
            elif name != FINAL and isinstance(tool, GatedTool):
                given = tool.arguments_of((), given)
                if json_like(given):
                    wanted[at] = Wanted(tool, given, seat.call_key(at))
                else:
                    came[at] = Came(not_json(name), failed=True)
        if wanted:
            came |= zip(wanted, made(seat, list(wanted.values())), strict=True)
        return came

    def _other(
        self, call: CallLike, arguments: dict[str, Any] | str, key: str, *, alone: bool
    ) -> Came:
        """What a call came to that is no tool's: an answer, one for the team, or a mistake."""
        name, agent = call.function.name, self._seat.agent
        assert not isinstance(arguments, str)
        if name == FINAL:
            return self._answer(arguments) if alone else Came(f"{FINAL}: {_ALONE}", failed=True)
        if name in agent.managed_agents:
            return self._of_the_team(name, arguments, key)
        known = ", ".join([*agent.tools, *agent.managed_agents])
        return Came(f"Unknown tool {name}, should be one of: {known}.", failed=True)

    def _answer(self, arguments: dict[str, Any]) -> Came:
        try:
            value = self._seat.agent.execute_tool_call(FINAL, arguments)
        except Exception as error:  # noqa: BLE001  the model is told, whatever it is
            return Came(f"{FINAL}: {error}", failed=True)
        return Came(str(value), value)

    def _of_the_team(self, name: str, arguments: dict[str, Any], key: str) -> Came:
        """What an agent of the team came to; what it did is in the log under the call's key."""
        member = cast("LibAgent", self._seat.agent.managed_agents[name])
        if unknown := sorted(set(arguments) - TEAM_INPUTS):
            why = f"{', '.join(unknown)}: it takes {' and '.join(sorted(TEAM_INPUTS))}"
            return Came(f"{name} was not called with {why}", failed=True)
        if not isinstance(arguments.get("task"), str):
            return Came(f"{name} was not called: its task is a text", failed=True)
        self._seat.run.hand_scope(f"{key}/")
        try:
            report = member(**arguments)
        except Exception as error:  # noqa: BLE001  the model is told, whatever it is
            return Came(f"{name} came to no answer: {error}", failed=True)
        return Came(str(report), report)


def _showable(arguments: Mapping[str, Any] | str) -> JsonValue:
    """The arguments as an artifact can have them."""
    if json_like(arguments):
        return cast("JsonValue", arguments)
    return {
        name: value if json_like(value) else str(type(value).__name__)
        for name, value in cast("dict[str, Any]", arguments).items()
    }
