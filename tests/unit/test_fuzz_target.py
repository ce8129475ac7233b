"""What can be fuzzed: an engine, agents, or a function that makes them.

R-FUZZ-07 and R-FUZZ-11.
"""

import functools
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from fuzz_examples import LIMITS, agent, example, generator, plain
from interlock import (
    LIFECYCLE,
    Engine,
    JsonObject,
    JsonValue,
    Limits,
    MemoryStore,
    Phase,
    Result,
    SyncTaskContext,
    TaskContext,
    Toolbox,
)
from interlock._agent import AgentKind, kind_of
from interlock.errors import InvalidInput
from interlock.testing import ManualClock
from interlock.testing.fuzz._drive_agents import Alive
from interlock.testing.fuzz._target import INPUTS, Target
from interlock.tools import Tool, ToolOutcome, ToolUse


def made(target: Target) -> Engine:
    """Its engine."""
    return target.engine(store=MemoryStore(), clock=ManualClock(), new_id=lambda: "id")


class Callable_:  # noqa: N801  it is one
    """An agent that is an object."""

    async def __call__(self, task: TaskContext) -> str:
        """Do nothing."""
        return task.task_id


@pytest.mark.parametrize("found", [agent, plain, generator, Callable_()])
def test_an_agent_is_a_target(found: object) -> None:
    """Of any kind that an engine runs.  Source: R-FUZZ-11."""
    engine = made(Target.of(found))
    assert list(engine.agents) == ["agent"]


def test_an_engine_is_made_anew_with_all_it_had() -> None:
    """Agents, tools, limits, lifecycle and deliverers; not its store and clock."""
    phase = Phase.further("waiting_target", like=Phase.WAITING_INPUT)
    lifecycle = LIFECYCLE.extend(phase)

    def search(query: str) -> str:
        return query

    given = Engine(
        {"a": agent, "b": plain},
        store="memory:",
        limits=LIMITS,
        lifecycle=lifecycle,
        tools=Toolbox([search]),
    )
    target = Target.of(given)
    one, other = made(target), made(target)
    assert one is not given
    assert one is not other
    assert list(one.agents) == ["a", "b"]
    assert one.limits is LIMITS
    assert one.lifecycle is lifecycle is target.lifecycle
    assert one.tools is not other.tools
    assert target.inputs == INPUTS


def test_a_factory_is_called_for_every_engine() -> None:
    """What it makes is nobody else's.  Source: R-FUZZ-11."""
    made_so_far: list[Engine] = []

    def factory(limits: Limits = LIMITS) -> Engine:
        made_so_far.append(Engine(agent, store="memory:", limits=limits))
        return made_so_far[-1]

    target = Target.of(factory)
    before = len(made_so_far)
    made(target)
    made(target)
    assert len(made_so_far) == before + 2
    assert made(Target.of(functools.partial(agent))).agents
    assert list(made(Target.of(lambda: {"x": agent})).agents) == ["x"]
    assert list(made(Target.of(example)).agents) == ["agent", "plain", "generator"]


@pytest.mark.parametrize("found", [7, "agent", None, {}, {"": agent}, {"a": 7}])
def test_what_is_no_agent_is_refused(found: object) -> None:
    """And it is said what is accepted."""
    with pytest.raises(InvalidInput):
        Target.of(found)


async def _made() -> Engine:
    return Engine(agent)


async def _wants_two(_task: TaskContext, _more: int) -> None: ...


@pytest.mark.parametrize("found", [_made, _wants_two, {"a": agent, "b": _wants_two}])
def test_what_cannot_be_called_with_a_task_is_no_agent(found: object) -> None:
    """An async factory is none, and is not run as one that always fails.  Source: R-FUZZ-11."""
    with pytest.raises(InvalidInput, match=r"cannot be called with a task.*a plain function"):
        Target.of(found)


def test_a_target_is_taken_as_it_is_with_what_is_given_beside_it() -> None:
    """So a target that carries its inputs can be named.  Source: R-FUZZ-11."""
    began: list[int] = []
    first = Target.of(agent, inputs=["a", {"b": 1}], begin=lambda: began.append(1))
    assert Target.of(first) == first
    other = Target.of(first, inputs=["c"])
    assert list(other.inputs) == ["c"]
    other.begin()
    assert began == [1]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("hello", "inputs is of type str"),
        ({"text": "hello"}, "inputs is of type dict"),
        (7, "inputs is of type int"),
        (["fine", 7], r"inputs\[1\]: the content is of type int"),
        ([{"x": object()}], r"inputs\[0\] cannot be submitted"),
    ],
)
def test_inputs_that_cannot_be_submitted_are_refused(inputs: Any, said: str) -> None:  # noqa: ANN401
    """In one line, which says what is accepted.  Source: R-FUZZ-11."""
    for found in (agent, Target.of(agent)):
        with pytest.raises(InvalidInput, match=said + ".*is accepted$") as caught:
            Target.of(found, inputs=inputs)
        assert "\n" not in str(caught.value)


def test_the_modules_of_plain_functions_are_interrupted() -> None:
    """Other agents share nothing between two lines.  Source: R-FUZZ-07."""
    here = sys.modules[plain.__module__]
    assert Target.of(plain).lines_of == (here,)
    assert Target.of({"a": functools.partial(plain), "b": agent}).lines_of == (here,)
    assert Target.of(agent).lines_of == ()


def test_tools_over_a_network_are_refused() -> None:
    """A simulation has none, and says what to do.  Source: R-FUZZ-11."""

    class Away:
        name = "away"

        async def open(self) -> None:
            """Nothing to open."""

        async def close(self) -> None:
            """Nothing to close."""

        def tools(self) -> Sequence[Tool]:
            return []

        async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
            raise NotImplementedError

        async def go_on(
            self,
            tool: Tool,
            arguments: JsonObject,
            token: JsonValue,
            answers: JsonObject,
            use: ToolUse,
        ) -> ToolOutcome:
            raise NotImplementedError

    Away.__module__ = "interlock_adapters._mcp"
    engine = Engine(agent, store="memory:", tools=Toolbox([Away()]))
    with pytest.raises(InvalidInput, match=r"away are reached over a network.*faked source"):
        Target.of(engine)


async def test_agents_are_counted_and_stay_what_they_are() -> None:
    """Each kind stays its kind, and is counted for as long as it runs."""
    alive = Alive()
    seen: list[int] = []

    class Task:
        task_id = "t"

    def by_thread(_task: SyncTaskContext) -> int:
        seen.append(alive.turns["t"])
        return 1

    async def by_loop(_task: TaskContext) -> int:
        seen.append(alive.turns["t"])
        return 2

    async def by_requests(_task: TaskContext) -> AsyncGenerator[Any, Any]:
        seen.append(alive.turns["t"])
        try:
            reply = yield "asked"
        except ValueError:
            reply = "raised"
        yield Result(reply)

    task: Any = Task()
    wrapped: list[Any] = [alive.wrap("", a) for a in (by_thread, by_loop, by_requests)]
    kinds = [AgentKind.THREAD, AgentKind.ASYNC, AgentKind.GENERATOR]
    assert [kind_of(a) for a in wrapped] == kinds
    assert wrapped[0](task) == 1
    assert await wrapped[1](task) == 2
    for raises in (False, True):
        requests = wrapped[2](task)
        assert await anext(requests) == "asked"
        answered = requests.athrow(ValueError()) if raises else requests.asend("answer")
        assert (await answered).value == ("raised" if raises else "answer")
        with pytest.raises(StopAsyncIteration):
            await anext(requests)
    assert seen == [1, 1, 1, 1]
    assert alive.turns["t"] == 0
