"""Whoever observes an engine is told in order, has no say, and harms no task.

Requirements: R-SVC-90 (the port), R-SVC-91 (errors of an observer), R-SVC-92 (the trace context
of a submission is kept), R-SVC-93 (model calls of any agent).
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

from gates import Bank
from interlock import (
    CallSeen,
    Event,
    JsonValue,
    Limits,
    Phase,
    Retry,
    Statistics,
    SyncTaskContext,
    TaskContext,
    TaskRecord,
    Toolbox,
    TurnSeen,
    Usage,
    model_call,
)
from interlock._observer import model_of
from interlock.errors import EngineError, Retryable
from interlock.testing import ManualClock
from support import OWNER, FlakyStore, opened, soon, until

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MESSAGE: Final = "t"
NEWS: Final = (
    "opened",
    "found",
    "closed",
    "submitting",
    "submitted",
    "committed",
    "turn_began",
    "turn_ended",
    "call_began",
    "call_ended",
    "refused",
)
WHERE: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("where", default="nowhere")


class Scribe:
    """Writes down what it is told."""

    def __init__(self, trace: Any = None) -> None:  # noqa: ANN401  also what is no trace
        self.heard: list[str] = []
        self.turns: list[TurnSeen] = []
        self.statistics: Callable[[], Statistics] | None = None
        self.seconds: list[float] = []
        self._trace = trace

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """See `Observer`."""
        self.statistics = statistics
        self.heard.append("opened")

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """See `Observer`."""
        self.heard += [f"found {record.phase}" for record in records]
        self.heard += ["found all"] if last else []

    def closed(self) -> None:
        """See `Observer`."""
        self.heard.append("closed")

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> Any:  # noqa: ANN401
        """See `Observer`."""
        assert task_id
        assert context_id
        self.heard.append(f"submitting {owner} to {agent}")
        return self._trace

    def submitted(self, task_id: str) -> None:
        """See `Observer`."""
        assert task_id
        self.heard.append("submitted")

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """See `Observer`."""
        assert events[-1].seq == record.seq
        assert events[0].seq == 1 + (0 if before is None else before.seq)
        self.seconds.append(seconds)
        self.heard.append("committed " + " ".join(event.trigger for event in events))

    def turn_began(self, turn: TurnSeen, context: contextvars.Context) -> None:
        """See `Observer`."""
        self.turns.append(turn)
        context.run(WHERE.set, f"turn {len(self.turns)}")
        self.heard.append("turn" + (" replay" if turn.replay else ""))

    def turn_ended(self, turn: TurnSeen, outcome: str, error: str) -> None:
        """See `Observer`."""
        assert turn in self.turns
        self.heard.append(f"{outcome} {error}".strip())

    def call_began(self, call: CallSeen) -> None:
        """See `Observer`."""
        WHERE.set(f"{WHERE.get()}, {call.tool or call.name}")
        self.heard.append(f"call {call.key}")

    def call_ended(self, call: CallSeen, outcome: str, error: str, value: JsonValue) -> None:
        """See `Observer`."""
        WHERE.set(WHERE.get().rpartition(", ")[0])
        shown = "" if value is None else f" {value}"
        self.heard.append(f"ended {call.key}: {outcome}{shown} {error}".strip())

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """See `Observer`."""
        assert turn in self.turns
        self.heard.append(f"refused {tool!r} {error}")


class Faulty:
    """Raises whatever it is told."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.told: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Every news there is."""

        def news(*_: object, **__: object) -> None:
            self.told.add(name)
            raise self._error

        news.__name__ = name
        return news


def double(n: int) -> int:
    """What is called."""
    return 2 * n


async def failing() -> None:
    """What is called and raises."""
    raise ValueError("secret")


async def busy(task: TaskContext) -> str:
    """Does one of everything."""
    await task.call(double, 4)
    with contextlib.suppress(EngineError):
        await task.call(failing)
    await task.call_tool("pay", {"amount": 5})
    with contextlib.suppress(EngineError):
        await task.call_tool("nothing of the kind")
    name = await task.ask("Who?")
    if task.attempt == 1:
        raise Retryable("again")
    return f"hello {name}"


PARKING: Final = Limits(park_after_s=0.0, retry=Retry(attempts_max=2, backoff_s=1.0))


async def test_it_is_told_of_a_whole_life_in_order() -> None:
    """Each call once, although it is replayed twice.  Source: issue 8, build 6, R-SVC-90."""
    scribe, bank = Scribe(), Bank()
    async with opened(busy, tools=Toolbox([bank]), limits=PARKING, observer=scribe) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "eve")
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await world.elapse(1.0)
        assert await soon(handle.result()) == "hello eve"
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    assert bank.paid == [5]
    calls = [line for line in scribe.heard if "committed" not in line and "found" not in line]
    assert calls == [
        "opened",
        "submitting ada to agent",
        "submitted",
        "turn",
        "call double-1",
        "ended double-1: returned 8",
        "call failing-1",
        "ended failing-1: failed ValueError",
        "call pay-1",
        "ended pay-1: returned {'result': {'parts': [], 'structured': {'ran': {'amount': 5}}}}",
        "refused '' unknown_tool",
        "parked",
        "turn replay",
        "failed retryable",
        # Another attempt does again what failed or was refused, and nothing else.
        "turn replay",
        "call failing-1@2",
        "ended failing-1@2: failed ValueError",
        "refused '' unknown_tool",
        "returned",
        "closed",
    ]
    said = " ".join(line.removeprefix("committed ") for line in scribe.heard if "committed" in line)
    assert said.split() == [event.trigger.value for event in world.log(handle)]
    assert [turn.attempt for turn in scribe.turns] == [1, 1, 2]
    assert all(seconds >= 0 for seconds in scribe.seconds)


async def test_statistics_may_be_read_while_it_is_open() -> None:
    """Queue and running numbers.  R-SVC-90."""
    scribe = Scribe()
    async with opened(busy, tools=Toolbox([Bank()]), limits=PARKING, observer=scribe) as world:
        assert scribe.statistics is not None
        assert scribe.statistics() == world.engine.statistics()
        assert scribe.statistics().accepting
    assert scribe.statistics() == Statistics(accepting=False)


async def test_tasks_that_wait_are_found_when_it_opens_again() -> None:
    """A page at a time, beside everything else.  R-SVC-90."""
    store, clock, scribe = FlakyStore(), ManualClock(), Scribe()
    async with opened(
        busy, tools=Toolbox([Bank()]), limits=PARKING, store=store, clock=clock
    ) as world:
        await world.asking()
    store = FlakyStore(store)
    async with opened(
        busy, tools=Toolbox([Bank()]), limits=PARKING, store=store, clock=clock, observer=scribe
    ):
        await until(lambda: "found all" in scribe.heard)
    assert scribe.heard == ["opened", "found waiting_input", "found all", "closed"]


async def test_variables_that_it_sets_are_those_of_the_agent_and_its_calls() -> None:
    """So a span can be current there: on the loop, on threads, in tools.  R-SVC-90."""
    scribe, seen = Scribe(), list[str]()

    def look() -> str:
        seen.append(WHERE.get())
        return WHERE.get()

    async def on_the_loop(task: TaskContext) -> str:
        look()
        await task.call(look)
        await task.call_tool("look", {})
        return look()

    def on_a_thread(task: SyncTaskContext) -> str:
        look()
        task.call(look)
        task.call_tool("look", {})
        return look()

    agents: dict[str, Any] = {"loop": on_the_loop, "thread": on_a_thread}
    async with opened(agents, tools=Toolbox([look]), observer=scribe) as world:
        for number, name in enumerate(agents, 1):
            seen.clear()
            handle = await world.engine.submit("go", owner=OWNER, agent=name)
            assert await soon(handle.result()) == f"turn {number}"
            turn = f"turn {number}"
            assert seen[:2] == [turn, f"{turn}, look"]
            # A tool is called on the loop, in the context of the turn or of the call itself.
            assert seen[2].endswith("local/look")
            assert seen[3] == turn
    assert WHERE.get() == "nowhere"


@pytest.mark.parametrize("method", NEWS)
async def test_an_observer_is_told_of_what_it_has_a_method_for(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the rest it is not: one of an earlier version goes on as it is.  R-SVC-91."""
    heard: list[str] = []

    def hears(*_: object, **__: object) -> None:
        heard.append(method)

    partly: Any = SimpleNamespace(**{method: hears})
    async with opened(busy, tools=Toolbox([Bank()]), limits=PARKING, observer=partly) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "eve")
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await world.elapse(1.0)
        assert await soon(handle.result()) == "hello eve"
    assert "interlock.observer" not in {record.name for record in caplog.records}
    assert set(heard) == {method}


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), asyncio.CancelledError(), EngineError("secret"), KeyError(1)]
)
async def test_an_observer_that_raises_at_everything_harms_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once for each kind of news, without its words.  R-SVC-91, I38."""
    faulty: Any = Faulty(error)
    bank = Bank()
    with caplog.at_level(logging.DEBUG, "interlock.observer"):
        async with opened(busy, tools=Toolbox([bank]), limits=PARKING, observer=faulty) as world:
            handle, ask = await world.asking()
            await handle.answer(ask.key, "eve")
            await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
            await world.elapse(1.0)
            assert await soon(handle.result()) == "hello eve"
    assert bank.paid == [5]
    assert faulty.told == set(NEWS)
    said = [record for record in caplog.records if record.name == "interlock.observer"]
    assert len(said) == len(NEWS)
    assert all(record.exc_info is None for record in said)
    assert "secret" not in "".join(record.getMessage() for record in said)


async def test_without_an_observer_nothing_of_it_is_made() -> None:
    """Not a watch, not a clock reading: each place is one `if`.  R-SVC-90."""

    async def agent(task: TaskContext) -> bool:
        return task._desk.watch is None

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) is True
        runtime = world.engine._runtime
        assert runtime is not None
        assert (world.engine._told, runtime.told, runtime.writer._told) == (None, None, None)


async def test_the_trace_of_who_submits_is_kept_with_the_task() -> None:
    """And every turn has it, also after a restart.  R-SVC-92."""
    store, clock, scribe = FlakyStore(), ManualClock(), Scribe(TRACE)

    async def asks(task: TaskContext) -> str:
        return await task.ask("Who?")

    async with opened(asks, store=store, clock=clock, limits=PARKING, observer=scribe) as world:
        handle, ask = await world.asking()
        assert world.log(handle)[0].data["trace"] == TRACE
    later = Scribe()
    async with opened(
        asks, store=FlakyStore(store), clock=clock, limits=PARKING, observer=later
    ) as world:
        await world.handle(handle).answer(ask.key, "eve")
        assert await soon(world.handle(handle).result()) == "eve"
    assert [turn.trace for turn in (*scribe.turns, *later.turns)] == [TRACE, TRACE]


@pytest.mark.parametrize(
    "trace",
    [
        None,
        "",
        7,
        b"x",
        TRACE.upper(),
        TRACE + "\n",
        TRACE + "-extra",
        "01" + TRACE[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        TRACE * 1_000,
    ],
)
async def test_what_is_no_trace_is_not_kept(trace: Any) -> None:  # noqa: ANN401
    """Small and validated.  R-SVC-92."""

    async def agent(task: TaskContext) -> str:
        return task.task_id

    async with opened(agent, observer=Scribe(trace)) as world:
        handle = await world.submit()
        await soon(handle.result())
        assert "trace" not in world.log(handle)[0].data


async def test_a_trace_does_not_make_a_repeat_another_submission() -> None:
    """A token is for the body, and the trace is not part of it.  R-SVC-92."""
    scribe = Scribe(TRACE)

    async def agent(task: TaskContext) -> str:
        return task.task_id

    async with opened(agent, observer=scribe) as world:
        first = await world.engine.submit("go", owner=OWNER, token=MESSAGE)
        scribe._trace = None
        again = await world.engine.submit("go", owner=OWNER, token=MESSAGE)
        assert (again.created, again.task_id) == (False, first.task_id)
        await soon(first.result())
    assert scribe.heard.count("submitted") == 2


async def test_a_turn_that_would_not_end_is_told_of_once() -> None:
    """It is abandoned when the task is, and not again when its thread ends.  R-SVC-90."""
    scribe, let_go = Scribe(), asyncio.Event()

    async def stubborn(task: TaskContext) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                assert task.task_id

    async with opened(stubborn, observer=scribe) as world:
        handle = await world.submit()
        await until(lambda: bool(scribe.turns))
        await handle.cancel()
        await world.elapse(world.engine.limits.grace_s)
        await until(lambda: "abandoned" in scribe.heard)
        let_go.set()
        await until(lambda: not world.engine.statistics().abandoned)
    ends = ("returned", "failed", "stopped", "parked", "abandoned")
    assert [line for line in scribe.heard if line.startswith(ends)] == ["abandoned"]


async def test_a_call_whose_end_nobody_sees_is_cut() -> None:
    """The agent was stopped in the middle of it.  R-SVC-90."""
    scribe = Scribe()

    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def agent(task: TaskContext) -> None:
        await task.call(for_ever)

    async with opened(agent, observer=scribe) as world:
        handle = await world.submit()
        await until(lambda: "call for_ever-1" in scribe.heard)
        await handle.cancel()
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    assert "ended for_ever-1: cut" in scribe.heard
    assert "stopped" in scribe.heard


def test_a_model_call_says_so_however_it_is_bound() -> None:
    """Name, arguments and type stay those of the function.  R-SVC-93."""
    used = model_call(double, model="m", provider="p", usage=lambda said: Usage(said, 1))
    for bound in (used, functools.partial(used, 4), functools.partial(functools.partial(used), 4)):
        found = model_of(bound)
        assert found is not None
        assert (found.model, found.provider) == ("m", "p")
    assert used(4) == 8
    assert model_of(double) is None
    assert model_of(functools.partial(double, 4)) is None


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_model_call_is_seen_as_one(kind: str) -> None:
    """The log is the same as without.  R-SVC-93."""
    models: list[str] = []

    class Models(Scribe):
        def call_began(self, call: CallSeen) -> None:
            super().call_began(call)
            assert call.model is not None
            models.append(f"{call.name}: {call.model.model} {call.arguments}")

    asked = model_call(double, model="m-1")

    async def on_the_loop(task: TaskContext) -> int:
        return await task.call(asked, 4)

    def on_a_thread(task: SyncTaskContext) -> int:
        return task.call(asked, 4)

    agent: Any = on_the_loop if kind == "async" else on_a_thread
    async with opened(agent, observer=Models()) as world:
        assert await soon((await world.submit()).result()) == 8
    assert models == ["double: m-1 {'args': [4], 'kwargs': {}}"]
