"""The real engine under simulation: every kind of agent, crashes at every commit, two replicas.

R-FUZZ-01 (same tape, same logs, in another process with other hashes too), R-FUZZ-03,
R-FUZZ-06 (the store of a simulation outlives crashes and causes them), R-FUZZ-07 (agents on
threads are part of the run), R-FUZZ-09 (two engines on one store).
"""

import asyncio
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from interlock import (
    Agent,
    Answer,
    Ask,
    Engine,
    JsonValue,
    Limits,
    Phase,
    Progress,
    Result,
    SyncTaskContext,
    TaskContext,
    Trigger,
)
from interlock._store import Commit
from interlock.errors import EngineError, Refused, StoreError
from interlock.testing import DURABLE_STORE_CHECKS, STORE_CHECKS, StoreCheck, violations
from interlock.testing.fuzz._sim import Deadlock, ProcessKilled, Simulation
from interlock.testing.fuzz._tape import Tape
from sim_store import SLOW_S, Faults, SimStore, StoreFault

OWNER: Final = "ada"
ANSWERS: Final[dict[str, JsonValue]] = {"who?": "bob", "one?": 1, "two?": 2}


async def on_the_loop(task: TaskContext) -> str:
    """Asks, calls and shows."""
    name = await task.ask("who?", str)
    told = await task.call(_told, name, idempotent=True)
    one, two = await asyncio.gather(task.ask("one?", int), task.ask("two?", int))
    await task.progress("nearly", 0.9)
    return f"{told} {one} {two}"


async def _told(name: str) -> str:
    await asyncio.sleep(0.01)
    return f"hello {name}"


async def in_requests(_task: TaskContext) -> AsyncGenerator[Any, Any]:
    """Asks by what it yields."""
    name = yield Ask("who?", str)
    yield Progress("nearly", 0.9)
    one = yield Ask("one?", int)
    two = yield Ask("two?", int)
    yield Result(f"hello {name} {one} {two}")


def on_a_thread(task: SyncTaskContext) -> str:
    """As `on_the_loop`, and blocks."""
    name = task.ask("who?", str)
    told = task.call(_told_at_length, name, idempotent=True)
    one = task.ask("one?", int)
    two = task.ask("two?", int)
    task.progress("nearly", 0.9)
    return f"{told} {one} {two}"


def _told_at_length(name: str) -> str:
    import time  # noqa: PLC0415  what a run replaces is looked up when it runs

    time.sleep(0.01)
    return f"hello {name}"


AGENTS: Final[tuple[Agent, ...]] = (on_the_loop, in_requests, on_a_thread)


@dataclass
class World:
    """A simulated process with an engine, begun again as often as it crashes."""

    simulation: Simulation
    agent: Agent
    store: SimStore
    limits: Limits = field(default_factory=Limits)
    ids: "itertools.count[int]" = field(default_factory=itertools.count)
    crashes: int = 0

    def _engine(self) -> Engine:
        return Engine(
            self.agent,
            store=self.store,
            clock=self.simulation.clock,
            new_id=lambda: f"id-{next(self.ids)}",
            limits=self.limits,
        )

    async def started(self, process: str = "") -> Engine:
        """An engine, in spite of all crashes."""
        while True:
            engine = self._engine()
            self.simulation.restart(process)
            try:
                await self.simulation.within(engine.start(), process)
            except ProcessKilled:
                self.crashes += 1
            else:
                return engine

    async def lived(self) -> str:
        """One life from its submission to its end; what it comes to."""
        engine = await self.started()
        submitted = False
        for _ in range(100):
            if self.simulation.killed():
                self.crashes += 1
                engine = await self.started()
            try:
                if not submitted:
                    await self._submit(engine)
                    submitted = True
                await self.answer(engine)
            except (ProcessKilled, StoreError):
                pass
            await self.simulation.advance(1.0)
            if self._over():
                break
        with suppress(ProcessKilled):
            await self.simulation.within(engine.drain())
        ((record, log),) = self.store.tasks().values()
        assert record.phase is Phase.FINALIZED, self.simulation.who_waits()
        (value,) = [event.data["parts"] for event in log if event.trigger is Trigger.COMPLETE]
        return str(value[0]["text"])

    def _over(self) -> bool:
        records = [record for record, _ in self.store.tasks().values()]
        return bool(records) and all(record.phase is Phase.FINALIZED for record in records)

    async def _submit(self, engine: Engine) -> None:
        work = engine.submit("go", owner=OWNER, token="once")  # noqa: S106  no password
        await self.simulation.within(work)
        await self.simulation.settle()

    async def answer(self, engine: Engine, process: str = "") -> None:
        """Answer whatever is asked, as anybody would."""
        for task_id, (record, _) in self.store.tasks().items():
            for ask in record.asks:
                said = Answer(ask=ask.key, value=ANSWERS[ask.prompt])
                with suppress(Refused):
                    work = engine.answer(task_id, said, owner=OWNER)
                    await self.simulation.within(work, process)

    def logs(self) -> bytes:
        """All logs as JSON."""
        logs = [[event.to_json() for event in log] for _, log in self.store.tasks().values()]
        return json.dumps(logs).encode()

    def check(self) -> None:
        """What must hold of every log."""
        for _, log in self.store.tasks().values():
            assert violations(log) == []
        assert self.simulation.uncaught == []


def world(
    agent: Agent,
    seed: int = 0,
    *,
    given: Sequence[int] | None = None,
    limits: Limits | None = None,
    faults: Faults | None = None,
) -> World:
    """One that nothing has happened in yet."""
    simulation = Simulation(Tape(seed, given))
    store = SimStore(simulation, faults=faults)
    return World(simulation, agent, store, limits or Limits())


def life(agent: Agent, seed: int, given: Sequence[int] | None = None) -> tuple[str, str, bytes]:
    """A life with one crash; the digest of its schedule, and its logs."""
    it = world(agent, seed, given=given)

    def faults(_: Commit) -> StoreFault:
        return StoreFault.CRASH_AFTER if it.store.tried == seed % 7 else StoreFault.NONE

    it.store.faults = faults
    value = it.simulation.run(it.lived())
    it.check()
    return value, it.simulation.digest, it.logs()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("park_after_s", [0.0, 0.5, None])
def test_every_kind_of_agent_lives_on_every_schedule(
    agent: Agent, park_after_s: float | None
) -> None:
    """Source: R-FUZZ-07."""
    for seed in range(8):
        it = world(agent, seed, limits=Limits(park_after_s=park_after_s))
        assert it.simulation.run(it.lived()) == "hello bob 1 2"
        it.check()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", [StoreFault.CRASH_BEFORE, StoreFault.CRASH_AFTER])
def test_a_crash_at_any_commit_loses_nothing_that_was_durable(
    agent: Agent, fault: StoreFault
) -> None:
    """Source: R-FUZZ-03, R-FUZZ-06."""
    commits = 0
    for at in itertools.count(1):
        it = world(agent, at)

        def faults(_: Commit, it: World = it, at: int = at) -> StoreFault:
            return fault if it.store.tried == at else StoreFault.NONE

        it.store.faults = faults
        assert it.simulation.run(it.lived()) == "hello bob 1 2"
        it.check()
        if it.crashes == 0 and it.store.tried < at:
            break
        commits += 1
    assert commits > 8


def test_crashes_again_and_again_are_outlived() -> None:
    """Each process gets two commits further than the one before it.

    Source: R-FUZZ-03, R-FUZZ-06.
    """
    it = world(on_the_loop)

    def faults(_: Commit) -> StoreFault:
        return StoreFault.NONE if it.store.tried % 3 else StoreFault.CRASH_AFTER

    it.store.faults = faults
    assert it.simulation.run(it.lived()) == "hello bob 1 2"
    assert it.crashes > 3
    it.check()


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_tape_is_the_same_life(agent: Agent) -> None:
    """Source: R-FUZZ-01."""
    for seed in range(5):
        assert life(agent, seed) == life(agent, seed)


def test_another_seed_is_another_life() -> None:
    """Source: R-FUZZ-05."""
    assert len({life(on_a_thread, seed)[1] for seed in range(6)}) > 3
    assert len({life(on_the_loop, seed)[2] for seed in range(6)}) > 1


def digests() -> list[str]:
    """Of the schedules and the logs of some lives, in one line each."""
    return [
        f"{digest} {hashlib.sha256(logs).hexdigest()}"
        for agent in AGENTS
        for _, digest, logs in (life(agent, seed) for seed in range(8))
    ]


def test_the_same_seeds_are_the_same_lives_in_another_process_with_other_hashes() -> None:
    """Source: R-FUZZ-01."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += "import test_fuzz_sim_engine as it; print(*it.digests(), sep='\\n')"
    path = os.pathsep.join(sys.path)

    def run(hashes: str) -> list[str]:
        environ = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True
        )
        return done.stdout.split("\n")[:-1]

    first, second = run("1"), run("4242")
    assert first == second
    assert first == digests()
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("seed", range(6))
def test_two_engines_on_one_store(seed: int) -> None:
    """Source: R-FUZZ-09.  One crashes, and the other goes on."""
    it = world(on_the_loop, seed)

    async def main() -> None:
        one, two = await it.started("one"), await it.started("two")
        handle = await it.simulation.within(one.submit("go", owner=OWNER), "one")
        await it.simulation.advance(1.0)
        said = Answer(ask=(await handle.rest()).asks[0].key, value="bob")
        both = [
            it.simulation.within(engine.answer(handle.task_id, said, owner=OWNER), name)
            for engine, name in ((one, "one"), (two, "two"))
        ]
        ends = await asyncio.gather(*both, return_exceptions=True)
        assert sum(isinstance(end, EngineError) for end in ends) == 1
        it.simulation.kill("one")
        three = await it.started("three")
        for _ in range(20):
            await it.answer(two, "two")
            await it.simulation.advance(1.0)
        for engine, name in ((two, "two"), (three, "three")):
            await it.simulation.within(engine.drain(), name)

    it.simulation.run(main())
    it.check()
    assert [record.phase for record, _ in it.store.tasks().values()] == [Phase.FINALIZED]


def test_a_store_that_fails_or_is_slow_only_delays() -> None:
    """Source: R-FUZZ-06."""
    it = world(on_the_loop, given=())

    def faults(_: Commit) -> StoreFault:
        return (StoreFault.FAIL, StoreFault.SLOW)[it.store.tried % 2]

    it.store.faults = faults
    assert it.simulation.run(it.lived()) == "hello bob 1 2"
    it.check()
    assert it.simulation.clock.now() >= SLOW_S
    assert it.store.tried > it.store.written > 8


def test_a_store_that_is_out_of_order_refuses_everything() -> None:
    """Source: R-FUZZ-06."""
    it = world(on_the_loop)

    async def main() -> None:
        it.store.broken = True
        with pytest.raises(StoreError):
            await it.store.get("t")
        with pytest.raises(StoreError):
            await it.started()

    it.simulation.run(main())


def test_what_is_durable_is_nobody_s_to_change() -> None:
    """Source: R-FUZZ-06.  What an agent or an engine does to its own objects stays there."""
    it = world(on_the_loop)

    async def main() -> None:
        engine = await it.started()
        handle = await it.simulation.within(engine.submit({"n": 1}, owner=OWNER))
        await it.simulation.settle()
        before = it.logs()
        for event in await it.store.events(handle.task_id):
            assert isinstance(event.data, dict)
            event.data.clear()
        assert it.logs() == before
        await it.simulation.within(engine.drain())

    it.simulation.run(main())


@pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS])
@pytest.mark.parametrize("seed", range(3))
def test_the_store_keeps_every_promise_of_a_durable_one(check: StoreCheck, seed: int) -> None:
    """Source: R-FUZZ-06."""
    simulation = Simulation(Tape(seed))
    store = SimStore(simulation)

    async def main() -> None:
        await check(lambda: store)

    simulation.run(main())


def test_a_lost_answer_is_a_deadlock_that_names_who_waits() -> None:
    """Source: R-FUZZ-04."""
    it = world(on_the_loop, given=())

    async def main() -> None:
        engine = await it.started()
        await it.simulation.within(_hangs(engine))

    async def _hangs(_engine: Engine) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="_hangs"):
        it.simulation.run(main())


def test_the_trigger_of_each_row_stays_a_trigger() -> None:
    """A plain life takes the plain way."""
    it = world(on_the_loop, given=())
    it.simulation.run(it.lived())
    ((_, log),) = it.store.tasks().values()
    assert [event.trigger for event in log][:3] == [Trigger.SUBMIT, Trigger.START, Trigger.ASK]
