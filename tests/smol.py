"""Agents of smolagents that do what a script says, and tools that write down what ran."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from textwrap import dedent
from typing import Any, Final, TypeAlias

from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    CodeAgent,
    Tool,
    ToolCallingAgent,
)

from interlock import (
    Event,
    JsonObject,
    Limits,
    OpenAsk,
    Policies,
    Policy,
    TaskHandle,
    Toolbox,
    Trigger,
)
from interlock.errors import TaskNotCompleted
from interlock.testing import ManualClock, ModelCall, ModelTurn, ScriptedModel
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from support import FlakyStore, World, opened, soon, until

__all__ = [
    "AT_ONCE",
    "BOOK",
    "Desk",
    "Factory",
    "Failing",
    "Stamp",
    "answer",
    "asks_of",
    "asks_then",
    "code",
    "coder",
    "events_of",
    "failure_of",
    "heard_first",
    "heard_last",
    "message",
    "shown",
    "smol",
    "speaker",
    "told",
]

#: What makes an agent.
Factory: TypeAlias = Callable[[Any, list[Any]], Any]
#: A turn of a script, in any of its forms.
Turn: TypeAlias = Any

AT_ONCE: Final = Limits(park_after_s=0.0)
#: The policy of what a person must allow, and whose refusal the agent is told of.
BOOK: Final = Policy(confirm="always", on_deny="tell_agent")


class Desk:
    """A travel desk: its tools, and what of them ran, in order."""

    def __init__(self) -> None:
        self.ran: list[tuple[Any, ...]] = []

    def search(self, q: str) -> str:
        """Search for flights."""
        self.ran.append(("search", q))
        return f"3 flights to {q}"

    def book(self, flight: str, seat: str) -> str:
        """Book a flight."""
        self.ran.append(("book", flight, seat))
        return f"booked {flight} {seat}"

    def count(self, n: int) -> dict[str, int]:
        """Count."""
        self.ran.append(("count", n))
        return {"n": n}

    def fail(self, why: str) -> str:
        """Fail."""
        self.ran.append(("fail", why))
        raise ValueError(f"secret of {why}")

    def die(self) -> str:
        """Raise what is no Exception."""
        self.ran.append(("die",))
        raise SystemExit(3)

    def box(self, policies: Mapping[str, Any] | None = None, **settings: Any) -> Toolbox:  # noqa: ANN401  as `Toolbox`
        """Its tools as a toolbox; `book` must be allowed unless the policies say otherwise."""
        rules = Policies({"book": BOOK} if policies is None else policies)
        tools: list[Any] = [self.search, self.book, self.count, self.fail, self.die]
        return Toolbox(tools, policies=rules, **settings)


class Stamp(Tool):  # type: ignore[misc]  # the library has no types
    """A tool that an agent brings of its own; counts what it stamped."""

    name = "stamp"
    description = "Stamps a paper."
    inputs: dict[str, Any] = {  # noqa: RUF012  the library wants it so
        "paper": {"type": "string", "description": "Which one."}
    }
    output_type = "string"

    def __init__(self, stamped: list[str]) -> None:
        self.stamped = stamped
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as above

    def forward(self, paper: str) -> str:
        """Stamp it."""
        self.stamped.append(paper)
        return f"stamped {paper}"


class Failing(ScriptedSmolModel):
    """Raises what it is given, one after the other, and then answers."""

    def __init__(self, script: ScriptedModel, *errors: Exception) -> None:
        super().__init__(script)
        self.errors = list(errors)
        self.asked = 0

    def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
        """See `Model`."""
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return super().generate(messages, stop_sequences, **options)


# --- scripts ------------------------------------------------------------------------------


def answer(text: str) -> ModelTurn:
    """The turn that ends a run."""
    return ModelTurn.calling("final_answer", answer=text)


def heard_first(heard: Sequence[str]) -> ModelTurn:
    """The turn that ends a run with what the agent was told first."""
    return answer(heard[0].removeprefix("Observation:\n"))


def heard_last(heard: Sequence[str]) -> ModelTurn:
    """The turn that ends a run with what the agent was told last."""
    return answer(heard[-1].removeprefix("Observation:\n"))


def message(*calls: tuple[Any, ...], text: str | None = None) -> Turn:
    """One message with several calls: name, arguments and, if it has one, id."""
    return ModelTurn(text, tuple(ModelCall(*call) for call in calls))


def code(source: str) -> ModelTurn:
    """What a model says that writes code."""
    return ModelTurn(f"<code>\n{dedent(source).strip()}\n</code>")


def speaker(*script: Turn, **settings: Any) -> Factory:  # noqa: ANN401  as the agent
    """Makes agents that call tools."""
    said = ScriptedModel(*script)

    def make(task: object, tools: list[Any]) -> object:
        del task
        own = settings.get("own", ())
        given = {name: value for name, value in settings.items() if name != "own"}
        return ToolCallingAgent([*tools, *own], ScriptedSmolModel(said), **given)

    return make


def coder(*script: Turn, **settings: Any) -> Factory:  # noqa: ANN401  as the agent
    """Makes agents that write code."""
    said = ScriptedModel(*script)

    def make(task: object, tools: list[Any]) -> object:
        del task
        return CodeAgent(tools, ScriptedSmolModel(said), **settings)

    return make


def asks_then(*script: Turn, question: str = "Which seat?") -> list[Turn]:
    """A script that asks the user first."""
    return [{"ask_user": {"question": question}}, *script]


# --- engines ------------------------------------------------------------------------------


@asynccontextmanager
async def smol(
    make: Factory,
    tools: Toolbox | None = None,
    *,
    limits: Limits = AT_ONCE,
    store: FlakyStore | None = None,
    clock: ManualClock | None = None,
    **settings: Any,  # noqa: ANN401  as `SmolAgent`
) -> AsyncGenerator[World]:
    """An open engine with an agent that may run code."""
    given: dict[str, Any] = {"allow_code": True, **settings}
    agent = SmolAgent(make, **given)
    async with opened(agent, tools=tools, limits=limits, store=store, clock=clock) as world:
        yield world


async def asks_of(world: World, handle: TaskHandle, count: int = 1) -> tuple[OpenAsk, ...]:
    """The open asks of a task, once there are so many."""
    await until(lambda: len(world.stored(handle).asks) == count)
    return world.stored(handle).asks


async def told(handle: TaskHandle) -> Any:  # noqa: ANN401  what the agent answered
    """The result of a task, once it is there."""
    return await soon(handle.result())


async def failure_of(handle: TaskHandle) -> TaskNotCompleted:
    """How a task ended that did not complete."""
    try:
        result = await soon(handle.result())
    except TaskNotCompleted as error:
        return error
    raise AssertionError(f"the task completed with {result!r}")


def events_of(world: World, handle: TaskHandle, trigger: Trigger) -> list[Event]:
    """The events of that trigger."""
    return [event for event in world.log(handle) if event.trigger is trigger]


def shown(world: World, handle: TaskHandle) -> dict[str, list[Any]]:
    """What the artifacts of a task say, by their ids: a chunk each."""
    chunks: dict[str, list[Any]] = {}
    for event in events_of(world, handle, Trigger.EMIT):
        artifact: JsonObject = event.data["artifact"]
        (part,) = artifact["parts"]  # type: ignore[misc,str-unpack]  # it is a list of one part
        value = part.get("text", part.get("data"))  # type: ignore[union-attr]  # it is an object
        chunks.setdefault(str(artifact["artifact_id"]), []).append(value)
    return chunks
