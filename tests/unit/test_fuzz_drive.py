"""One run of a target: odd agents are no failures, and broken worlds are.

R-FUZZ-18 to R-FUZZ-20, R-FUZZ-26.
"""

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fuzz_examples import LIMITS, SCRIPTS, agent
from interlock import (
    LIFECYCLE,
    Engine,
    Event,
    Limits,
    Phase,
    SyncTaskContext,
    TaskContext,
    TaskRecord,
    Toolbox,
)
from interlock._outbox import Courier
from interlock._runtime import Runtime
from interlock.errors import EngineBug
from interlock.models import Retention
from interlock.policy import Policies, Policy, When
from interlock.testing.fuzz._drive import Run, ran
from interlock.testing.fuzz._drive_steer import SteeredTape
from interlock.testing.fuzz._drive_world import Plan
from interlock.testing.fuzz._faults import ALL_FAULTS, Disk
from interlock.testing.fuzz._run import fuzz, replay
from interlock.testing.fuzz._sim import Simulation
from interlock.testing.fuzz._target import Target


async def never(_task: TaskContext) -> None:
    """It waits for what does not come."""
    await asyncio.Event().wait()


async def stubborn(_task: TaskContext) -> None:
    """It will not be stopped."""
    while True:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            continue


def sleeps(_task: SyncTaskContext) -> None:
    """It does not come back."""
    while True:
        time.sleep(100)


async def works_beside(task: TaskContext) -> None:
    """It leaves something of its own behind."""

    async def beside() -> None:
        await asyncio.sleep(10**9)

    KEPT.append(asyncio.create_task(beside()))
    await task.ask("and now?", int)


KEPT: list[asyncio.Task[None]] = []


def raises(_task: SyncTaskContext) -> None:
    """It has a bug."""
    raise KeyError("x")


async def diverges(task: TaskContext) -> None:
    """It asks something else when it is run again."""
    COUNT.append(1)
    await task.ask(f"question {len(COUNT)}?", str)


COUNT: list[int] = []


@pytest.mark.parametrize("agent", [never, stubborn, sleeps, works_beside, raises, diverges])
def test_what_an_agent_does_wrong_is_no_failure_of_the_engine(agent: Callable[..., Any]) -> None:
    """Tasks of such agents come to an outcome like others.  Source: R-FUZZ-18."""

    def begin() -> None:
        KEPT.clear()
        COUNT.clear()

    report = fuzz(Target.of(agent, begin=begin), runs=40)
    assert report.failures == ()
    assert report.lives > 40


def test_an_agent_that_goes_another_way_is_worth_a_note() -> None:
    """The engine copes, and in production every such task waits for an operator.

    Source: R-FUZZ-18.
    """
    report = fuzz(Target.of(diverges, begin=COUNT.clear), runs=40)
    said = "the agent went another way when it was run again, at 'ask-1'"
    assert report.notes[said] > 0


def test_an_extended_lifecycle_is_fuzzed_with_its_rows() -> None:
    """Further phases are waited in and left, also in other processes.  Source: R-FUZZ-19."""
    phase = Phase.further("waiting_drive", like=Phase.WAITING_INPUT)
    lifecycle = LIFECYCLE.extend(phase)

    async def agent(task: TaskContext) -> None:
        await asyncio.gather(
            task.ask("one?", int, phase=phase),
            task.ask("two?", int),
            task.authorize("pay", {"amount": 1}, on_deny="tell_agent"),
        )

    target = Target.of(lambda: Engine(agent, store="memory:", lifecycle=lifecycle))
    report = fuzz(target, runs=64, jobs=2)
    assert report.failures == ()
    assert any(key[0] is phase for key in report.hits)
    assert "another_is_open_in_waiting_drive" in report.guards


def test_tools_pass_the_gate() -> None:
    """Calls are approved, edited and refused, and the tools run.  Source: R-FUZZ-18."""
    booked: list[str] = []

    def book(city: str) -> str:
        booked.append(city)
        return city

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("book", {"city": task.input.text})).text

    policies = Policies({"book": Policy(confirm="always", allow_edit=True)})
    tools = Toolbox([book], policies=policies)
    target = Target.of(Engine(agent, store="memory:", tools=tools))
    report = fuzz(target, runs=100)
    assert report.failures == ()
    assert booked
    assert report.guards["digest_matches"][1] > 0


def found(target: Target) -> str:
    """The kind of the failure that is found."""
    report = fuzz(target, runs=400)
    [failure] = report.failures
    assert replay(target, failure.seed, failure.tape) is not None
    return failure.kind


async def asks(task: TaskContext) -> int:
    """The plainest agent that waits."""
    return await task.ask("how many?", int)


def test_what_an_engine_says_as_an_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of an error, and what nobody caught.  Source: R-FUZZ-20."""
    open_ = Runtime.open

    async def complains(self: Runtime) -> None:
        logging.getLogger("interlock.engine").error("something is wrong")
        await open_(self)

    monkeypatch.setattr(Runtime, "open", complains)
    assert found(Target.of(asks)) == "log"

    async def leaks(self: Runtime) -> None:
        asyncio.get_running_loop().call_soon([].pop)
        await open_(self)

    monkeypatch.setattr(Runtime, "open", leaks)
    assert found(Target.of(asks)) == "uncaught"


def test_what_clients_must_not_get_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug, an exception of another kind, and no answer at all.  Source: R-FUZZ-20."""
    cancel = Engine.cancel

    def failing(error: Exception) -> Callable[..., Any]:
        async def fails(self: Engine, task_id: str, **options: Any) -> Any:  # noqa: ANN401
            await cancel(self, task_id, **options)
            raise error

        return fails

    async def hangs(self: Engine, task_id: str, **options: Any) -> Any:  # noqa: ANN401
        await cancel(self, task_id, **options)
        await asyncio.get_running_loop().create_future()

    for way, kind in (
        (failing(EngineBug("a bug")), "bug"),
        (failing(KeyError("x")), "raised"),
        (hangs, "hang"),
    ):
        monkeypatch.setattr(Engine, "cancel", way)
        assert found(Target.of(asks)) == kind


def test_a_stranger_who_is_let_in_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's task is reached (I26)."""

    def owns(_owner: str | None, _record: TaskRecord) -> bool:
        return True

    monkeypatch.setattr("interlock._engine._owns", owns)
    assert found(Target.of(asks)) == "I26"


def test_a_delivery_with_a_gap_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch is not told of everything that happened."""

    def nothing(_self: Courier, _task_id: str) -> None:
        pass

    monkeypatch.setattr(Courier, "wake", nothing)
    assert found(Target.of(asks)) in {"delivery", "I21", "I28"}


def test_a_drain_that_does_not_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that waits for ever for its turns."""

    async def waits(_self: Runtime) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Runtime, "rest", waits)
    assert found(Target.of(asks)) == "drain"


def test_a_process_that_died_while_time_passed_is_not_closed_in_the_name_of_another() -> None:
    """What it had begun would never be heard to end, and the run would not either.

    Source: R-FUZZ-03; seeds 787 and 1381 of an example.
    """
    target = Target.of(asks)
    tape = SteeredTape(0, ())
    simulation = Simulation(tape)
    run = Run(Plan(target, ALL_FAULTS, (), target.lifecycle), tape, simulation)

    async def main() -> None:
        await run.boot()
        await simulation.settle()
        died = run.process
        died.store.dead = True
        simulation.kill()
        await run.reopen()
        await simulation.settle()
        assert died.runtime is not None
        assert run.process is not died
        assert run.process.runtime is not None

    simulation.run(main())


def test_a_run_says_what_it_came_to() -> None:
    """Lives, rows, guards and a digest; the same again for its tape."""
    target = Target.of(asks)
    plan = Plan(target, ALL_FAULTS, (), target.lifecycle)
    one = ran(plan, 1)
    assert one.failure is None
    assert ran(plan, 1, one.tape) == one
    assert one.lives > 0
    assert sum(one.hits.values()) > 4 * one.lives
    plain = ran(plan, 1, ())
    assert plain.trace == ("ada submits 'hello' -> accepted",)
    assert plain.lives == 1


@pytest.mark.parametrize(
    "rule",
    [
        Retention(age_s=5.0, every_s=1.0),
        Retention(age_s=50.0, every_s=7_200.0, tasks_max=2, at_least_s=10.0),
        Retention(age_s=None, tasks_max=0, at_least_s=0.0, every_s=0.5),
        Retention(age_s=None),
    ],
    ids=["by age", "by both, seldom", "by number, at once", "never"],
)
def test_what_is_over_is_forgotten_as_time_goes_on(
    rule: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a store that is slow, or dies while it purges.  Source: R-FUZZ-26."""
    gone: list[str] = []
    purge = Disk.purge

    async def counted(self: Disk, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        purged = await purge(self, before, keep=keep, limit=limit)
        gone.extend(purged)
        return purged

    monkeypatch.setattr(Disk, "purge", counted)
    engine = Engine(asks, store="memory:", limits=Limits(ask_s=60.0, retention=rule))
    report = fuzz(Target.of(engine), runs=40)
    assert report.failures == ()
    assert report.lives > 40
    assert bool(gone) == (rule.age_s is not None or rule.tasks_max is not None)


def test_a_policy_with_a_threshold_is_reached() -> None:
    """A person names a price, and a dear one has to be approved.  Source: R-FUZZ-10."""

    def book(price: int) -> str:
        return f"{price}"

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("book", {"price": await task.ask("price?", int)})).text

    def nobody_is_asked(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return not any(event.trigger == "approve" for event in log)

    policy = Policy(confirm=When(when={"properties": {"price": {"minimum": 70_000}}}))
    tools = Toolbox([book], policies=Policies({"book": policy}))
    report = fuzz(Target.of(Engine(agent, tools=tools)), runs=100, invariants=[nobody_is_asked])
    assert [failure.kind for failure in report.failures] == ["user:nobody_is_asked"]


def test_lives_get_deep() -> None:
    """Where an agent asks four times a good share of lives comes to its end.  Source: R-FUZZ-13."""

    async def order(task: TaskContext) -> str:
        await task.ask("what?", key="what")
        await task.authorize("reserve", {"euros": 1})
        await task.ask("how many?", int, key="many")
        await task.authorize("pay", {"euros": 2})
        return "done"

    report = fuzz(Target.of(Engine(order, limits=Limits(ask_s=60.0, grace_s=5.0))), runs=60)
    assert report.failures == ()
    assert report.outcomes["completed"] > 0.08 * report.lives
    bad = {"cancelled", "failed", "timed_out"}
    assert bad <= set(report.outcomes)
    assert sum(report.outcomes[name] for name in bad) > 0.5 * report.lives
    assert report.ends["at ask 'what'"] > report.ends["at ask 'many'"] > 0
    assert sum(report.ends.values()) == report.lives - report.outcomes["completed"]


def test_who_pays_what_was_not_approved_is_found() -> None:
    """Edits change the arguments that there are, also without a schema.  Source: R-FUZZ-10."""

    async def agent(task: TaskContext) -> str:
        await task.authorize("pay", {"euros": 90}, allow_edit=True)
        return "paid 90"

    def what_was_approved_is_paid(_record: TaskRecord, log: Sequence[Event]) -> None:
        for event in log:
            if event.trigger == "approve" and any(e.trigger == "complete" for e in log):
                assert event.data["arguments"]["euros"] == 90

    report = fuzz(Target.of(agent), runs=100, invariants=[what_was_approved_is_paid])
    assert [failure.kind for failure in report.failures] == ["user:what_was_approved_is_paid"]


def test_an_engine_that_dies_while_it_is_drained_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it leaves half done is nobody's error.  Source: R-FUZZ-08; seeds of an example."""
    said: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", said.append)
    hook = sys.unraisablehook
    example = Target.of(lambda: Engine(agent, store="memory:", limits=LIMITS), inputs=SCRIPTS)
    plan = Plan(example, ALL_FAULTS, (), example.lifecycle)
    for seed in (18, 81, 137, 152, 192):
        assert ran(plan, seed).failure is None
    gc.collect()
    assert said == []
    assert sys.unraisablehook is hook
