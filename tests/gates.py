"""Sources of tools that write down what ran, and agents that do nothing but call them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from interlock import (
    Approval,
    Event,
    JsonObject,
    JsonValue,
    OpenAsk,
    SyncTaskContext,
    TaskContext,
    TaskHandle,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
    Trigger,
    Unfinished,
)
from interlock._agent import Agent
from interlock.errors import EngineError, SourceUnavailable
from support import OWNER, World, until

Outcome: TypeAlias = ToolResult | Unfinished
#: What a tool does with its arguments.
Doing: TypeAlias = Callable[[JsonObject, ToolUse], Awaitable[Outcome]]

#: The arguments of `pay`.
AMOUNT: Final[JsonObject] = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "maximum": 10_000_000}},
    "required": ["amount"],
    "additionalProperties": False,
}
PAY: Final = Tool(name="pay", source="bank", input_schema=AMOUNT)


@dataclass(frozen=True)
class Leg:
    """One leg that ran, as the source saw it."""

    tool: str
    arguments: JsonObject
    token: str
    #: What a further leg was given.
    said: tuple[JsonValue, JsonObject] | None = None


class Bank:
    """A source whose tools do what the test says, and which writes down what ran."""

    def __init__(
        self,
        *tools: Tool,
        does: Doing | None = None,
        goes_on: Callable[[JsonValue, JsonObject, ToolUse], Awaitable[Outcome]] | None = None,
        name: str = "bank",
        heard: list[str] | None = None,
        fails: str | None = None,
    ) -> None:
        self.name = name
        self.has: list[Tool] = list(tools) or [PAY]
        self.ran: list[Leg] = []
        self._does = does
        self._goes_on = goes_on
        self._heard: list[str] = [] if heard is None else heard
        self._fails = fails

    @property
    def paid(self) -> list[JsonValue]:
        """The amounts of the calls that ran, in order."""
        return [leg.arguments["amount"] for leg in self.ran if leg.said is None]

    async def open(self) -> None:
        """See `ToolSource.open`."""
        self._heard.append(f"open {self.name}")
        if self._fails is not None:
            raise SourceUnavailable(self.name, self._fails)

    async def close(self) -> None:
        """See `ToolSource.close`."""
        self._heard.append(f"close {self.name}")

    def tools(self) -> Sequence[Tool]:
        """See `ToolSource.tools`."""
        return self.has

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> Outcome:
        """See `ToolSource.call`."""
        self.ran.append(Leg(tool.qualified, dict(arguments), use.token))
        if self._does is not None:
            return await self._does(arguments, use)
        return ToolResult(structured={"ran": dict(arguments)})

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> Outcome:
        """See `ToolSource.go_on`."""
        self.ran.append(Leg(tool.qualified, dict(arguments), use.token, (token, dict(answers))))
        assert self._goes_on is not None
        return await self._goes_on(token, answers, use)


def told(outcome: ToolResult | EngineError) -> JsonValue:
    """What an agent was told of a call, as JSON."""
    if isinstance(outcome, ToolResult):
        return {"error": outcome.value} if outcome.is_error else outcome.value
    return f"{type(outcome).__name__}: {outcome}"


def calling(*wanted: ToolCall) -> Agent:
    """An agent that makes calls at once, and returns what it was told of each."""

    async def agent(task: TaskContext) -> list[JsonValue]:
        return [told(outcome) for outcome in await task.call_tools(wanted)]

    return agent


def calling_on_a_thread(*wanted: ToolCall) -> Agent:
    """The same as a plain function."""

    def agent(task: SyncTaskContext) -> list[JsonValue]:
        return [told(outcome) for outcome in task.call_tools(wanted)]

    return agent


def one_by_one(*wanted: ToolCall) -> Agent:
    """An agent that makes one call after the other."""

    async def agent(task: TaskContext) -> list[JsonValue]:
        said: list[JsonValue] = []
        for one in wanted:
            try:
                said.append(told(await task.call_tool(one.name, one.arguments, key=one.key)))
            except EngineError as error:
                said.append(told(error))
        return said

    return agent


def pay(amount: JsonValue, **more: Any) -> ToolCall:  # noqa: ANN401  the fields of a call
    """A call that pays."""
    return ToolCall("pay", {"amount": amount}, **more)


async def asked(world: World, handle: TaskHandle, count: int = 1) -> tuple[OpenAsk, ...]:
    """The open asks of a task, once there are so many."""
    await until(lambda: len(world.stored(handle).asks) == count)
    return world.stored(handle).asks


async def approve(
    world: World, handle: TaskHandle, ask: OpenAsk, arguments: JsonObject | None = None
) -> None:
    """Say yes to an ask, perhaps to other arguments."""
    assert ask.digest is not None
    decision = Approval(ask=ask.key, digest=ask.digest, decision="approve", arguments=arguments)
    await world.engine.decide(handle.task_id, decision, owner=OWNER)


async def deny(handle: TaskHandle, ask: OpenAsk, reason: str | None = None) -> None:
    """Say no to an ask."""
    assert ask.digest is not None
    await handle.deny(ask.key, digest=ask.digest, reason=reason)


def calls(events: Sequence[Event]) -> list[Mapping[str, Any]]:
    """What the log has of the calls that were begun, in order."""
    return [event.data for event in events if event.trigger is Trigger.CALL]


def toolbox(*sources: Any, **settings: Any) -> Toolbox:  # noqa: ANN401  as `Toolbox`
    """A toolbox; without a source, one with a bank."""
    return Toolbox(sources or (Bank(),), **settings)
