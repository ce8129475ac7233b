"""Agents: how each kind is recognised, and what their results are stored as."""

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, computed_field, field_serializer

from interlock._agent import (
    MISSING,
    Agent,
    AgentKind,
    Ask,
    Authorize,
    Emit,
    Progress,
    Request,
    kind_of,
    result_parts,
)
from interlock._agent import Result as Outcome
from interlock.errors import ResultInvalid
from interlock.models import JsonObject, Part

CANARY = "sk-canary-7f3a"


async def runs(_task: object) -> None:
    """An async function."""


def blocks(_task: object) -> None:
    """A plain function."""


async def yields(_task: object) -> AsyncGenerator[Request, object]:
    """An async generator."""
    yield Outcome(1)


async def with_settings(_task: object, *, model: str) -> str:
    """An async function that a partial fills in."""
    return model


class Runs:
    """An object with an async call."""

    async def __call__(self, task: object) -> None:
        """Do nothing."""


class Generates:
    """An object whose call is an async generator."""

    async def __call__(self, task: object) -> AsyncGenerator[Request, object]:
        """Yield the result."""
        yield Outcome(task)

    async def method(self, task: object) -> None:
        """A bound async method."""


class Blocks:
    """An object with a plain call."""

    def __call__(self, task: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (runs, AgentKind.ASYNC),
        (Runs(), AgentKind.ASYNC),
        (Generates().method, AgentKind.ASYNC),
        (functools.partial(with_settings, model="small"), AgentKind.ASYNC),
        (functools.partial(functools.partial(Runs())), AgentKind.ASYNC),
        (yields, AgentKind.GENERATOR),
        (Generates(), AgentKind.GENERATOR),
        (functools.partial(yields), AgentKind.GENERATOR),
        (blocks, AgentKind.THREAD),
        (Blocks(), AgentKind.THREAD),
        (functools.partial(blocks), AgentKind.THREAD),
    ],
)
def test_the_kind_of_an_agent_is_seen_from_its_call(agent: Agent, kind: AgentKind) -> None:
    """Through partials and callable objects; what is not async gets a thread.

    Source: R-AGENT-01.
    """
    assert kind_of(agent) is kind


def yields_plainly(_task: object) -> Generator[Request]:
    """A plain generator."""
    yield Outcome(1)


class YieldsPlainly:
    """An object whose call is a plain generator."""

    def __call__(self, task: object) -> Generator[Request]:
        """Yield the result."""
        yield Outcome(task)


@pytest.mark.parametrize(
    "agent",
    [
        yields_plainly,
        YieldsPlainly(),
        functools.partial(yields_plainly),
        None,
        "agent",
        yields_plainly(None),
        object(),
    ],
)
def test_what_cannot_be_run_is_no_agent(agent: Any) -> None:  # noqa: ANN401
    """The error names what can."""
    with pytest.raises(TypeError, match="an async function, a plain function or an async gen"):
        kind_of(agent)


class Trip(BaseModel):
    """A result with a type."""

    city: str


class Opaque(BaseModel):
    """A model that holds what has no JSON."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: Any


class Leaky(BaseModel):
    """A model whose serializer fails with a secret in its message."""

    n: int = 1

    @field_serializer("n")
    def _fails(self, _n: int) -> int:
        raise RuntimeError(CANARY)


class Costly(BaseModel):
    """A model with a computed field that fails with a secret in its message."""

    @computed_field
    def total(self) -> int:
        """Never comes to anything."""
        raise KeyError(CANARY)


class Weight(BaseModel):
    """A model with a number."""

    kg: float


def circle() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


RESULTS: list[tuple[object, list[JsonObject]]] = [
    (None, []),
    ("done", [{"text": "done"}]),
    ("", [{"text": ""}]),
    (Part(text="a", metadata={"m": 1}), [{"text": "a", "metadata": {"m": 1}}]),
    (Trip(city="Rome"), [{"data": {"city": "Rome"}}]),
    ([Part(text="a"), Part(data=1)], [{"text": "a"}, {"data": 1}]),
    ((Part(text="a"), {"n": 1}), [{"text": "a"}, {"data": {"n": 1}}]),
    ([Trip(city="Rome")], [{"data": [{"city": "Rome"}]}]),
    ({"a": (Trip(city="Rome"), 1)}, [{"data": {"a": [{"city": "Rome"}, 1]}}]),
    ({"a": {"b": Trip(city="Rome")}}, [{"data": {"a": {"b": {"city": "Rome"}}}}]),
    ({"a": Part(text="b")}, [{"data": {"a": {"text": "b"}}}]),
    ([Part(text="a"), Trip(city="Rome")], [{"text": "a"}, {"data": {"city": "Rome"}}]),
    ({"a": [1, None]}, [{"data": {"a": [1, None]}}]),
    ([1, 2], [{"data": [1, 2]}]),
    ([], [{"data": []}]),
    (0, [{"data": 0}]),
    (False, [{"data": False}]),
]


@pytest.mark.parametrize(("value", "parts"), RESULTS)
def test_a_result_is_stored_as_parts(value: object, parts: list[JsonObject]) -> None:
    """Text is text, parts are parts, models and JSON are data.  Source: R-AGENT-06."""
    assert result_parts(value, bytes_max=1_000) == parts


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        float("nan"),
        b"x",
        Opaque(inner=object()),
        Leaky(),
        [Opaque(inner=object())],
        Costly(),
        {"a": [Leaky(), Costly()]},
        {"a": float("nan")},
        {"a": Weight(kg=float("inf"))},
        {"a": b"x"},
        [{1, 2}],
        {"a": object()},
        circle(),
    ],
)
def test_a_result_that_is_not_json_is_refused(value: object) -> None:
    """By one error, whatever is wrong with it, which quotes nothing of it.  Source: R-AGENT-06."""
    with pytest.raises(ResultInvalid) as caught:
        result_parts(value, bytes_max=1_000)
    assert CANARY not in str(caught.value)


def test_a_result_that_is_still_to_be_awaited_is_refused() -> None:
    """Nobody would await it: it is closed, and the agent's author told what to do."""
    waits = runs(None)
    with pytest.raises(ResultInvalid, match="make it an async function"):
        result_parts(waits, bytes_max=1_000)
    assert inspect.getcoroutinestate(waits) == inspect.CORO_CLOSED


async def test_a_result_that_is_a_future_is_refused() -> None:
    """It is awaitable and no coroutine."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with pytest.raises(ResultInvalid, match="make it an async function"):
        result_parts(future, bytes_max=1_000)


def test_a_result_over_the_bound_is_refused() -> None:
    """The bound is on the parts as JSON."""
    with pytest.raises(ResultInvalid, match="the result is 1013 bytes"):
        result_parts("x" * 1_000, bytes_max=1_000)


def test_a_result_is_copied_so_that_the_log_cannot_be_changed() -> None:
    """An agent may return what it goes on to change: a cache, a module's constant."""
    value: dict[str, Any] = {"seats": [1]}
    parts = result_parts(value, bytes_max=1_000)
    value["seats"].append(2)
    assert parts == [{"data": {"seats": [1]}}]


def test_a_result_is_stored_as_json_has_it() -> None:
    """What is read back after a restart is what is read now."""
    assert result_parts({1: (2, 3)}, bytes_max=1_000) == [{"data": {"1": [2, 3]}}]


def test_what_a_generator_yields_has_plain_defaults() -> None:
    """The short forms are the usual ones."""
    assert Ask("Which city?").form is str
    assert Ask("Which city?").default is MISSING
    assert Authorize(tool="pay", arguments={}).on_deny == "stop"
    assert Emit("text").append is False
    assert Progress("on it").fraction is None
