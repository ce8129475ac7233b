"""What ordinary code does in a run: it sleeps for long, locks at import, hangs, and leaves things.

R-FUZZ-29 (what does not come back), R-FUZZ-61 (one time for all), R-FUZZ-62 (locks of a module),
R-FUZZ-63 (tools and clocks that go wrong), R-FUZZ-64 (what is worth a word).
"""

import asyncio
import concurrent.futures
import contextlib
import queue
import signal
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel, Field

from interlock import Engine, Limits, SyncTaskContext, TaskContext, Toolbox
from interlock.testing.fuzz._drive import ran
from interlock.testing.fuzz._drive_world import Plan
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._run import fuzz
from interlock.testing.fuzz._sim_threads import REAL_LOCK
from interlock.testing.fuzz._target import Target

LONG: Limits = Limits(run_s=3_600.0, task_s=86_400.0)


async def works_long(task: TaskContext) -> str:
    """A quarter of an hour, as three clocks have it."""
    began = time.time(), time.monotonic(), asyncio.get_running_loop().time()
    await asyncio.sleep(900)
    ended = time.time(), time.monotonic(), asyncio.get_running_loop().time()
    await task.emit(str(ended[1] - began[1]), artifact_id="a")
    return f"{ended[2] - began[2]:.0f}"


def works_long_plainly(_task: SyncTaskContext) -> str:
    """The same on a thread."""
    time.sleep(900)
    return "done"


def test_an_agent_that_sleeps_for_long_comes_to_its_end() -> None:
    """A wait that is skipped is skipped for everybody.  Source: R-FUZZ-61."""
    for agent in (works_long, works_long_plainly):
        report = fuzz(Target.of(Engine(agent, limits=LONG)), runs=40, faults=frozenset())
        assert report.failures == ()
        completed = sum(n for (_, trigger, _), n in report.hits.items() if trigger == "complete")
        assert completed > report.lives / 2


def test_an_agent_that_looks_every_second_is_not_waited_for_a_day_long() -> None:
    """So many of its sleeps are let pass, and then time goes on.  Source: R-FUZZ-61."""

    async def polls(_task: TaskContext) -> None:
        while True:  # noqa: ASYNC110  it polls
            await asyncio.sleep(1.0)

    report = fuzz(Target.of(Engine(polls, limits=LONG)), runs=5)
    assert report.failures == ()
    assert report.lives > 0


LOCK = threading.Lock()
RLOCK = threading.RLock()
ALOCK = asyncio.Lock()
SLOTS = threading.BoundedSemaphore(1)
CHANGED = threading.Condition()
JOBS: queue.Queue[int] = queue.Queue()
POOL = concurrent.futures.ThreadPoolExecutor(1)


class Shop:
    """An object of a module that has a lock."""

    def __init__(self) -> None:
        self.locks = {"till": threading.Lock()}


SHOP = Shop()


def locks(task: SyncTaskContext) -> str:
    """Each of them, for a while."""
    with LOCK:
        time.sleep(1.0)
    with RLOCK, RLOCK:
        task.ask("how many?", int, default=1, expires_s=5.0)
    with SLOTS:
        time.sleep(1.0)
    with SHOP.locks["till"]:
        time.sleep(1.0)
    with CHANGED:
        CHANGED.wait(1.0)
    with contextlib.suppress(queue.Empty):
        JOBS.get(timeout=1.0)
    return POOL.submit(lambda: "done").result(30.0)


async def locks_too(_task: TaskContext) -> str:
    """One of asyncio."""
    async with ALOCK:
        await asyncio.sleep(1.0)
    return "done"


def test_locks_of_a_module_are_those_of_the_run() -> None:
    """Also when a process dies that has one; and nobody fails of them.  Source: R-FUZZ-62."""
    before = [LOCK, RLOCK, SHOP.locks["till"], POOL._work_queue, dict(vars(CHANGED))]
    target = Target.of({"locks": locks, "locks_too": locks_too})
    report = fuzz(target, runs=60)
    assert report.failures == ()
    assert not any(trigger == "fail" for _, trigger, _ in report.hits)
    assert any(trigger == "complete" for _, trigger, _ in report.hits)
    assert before == [LOCK, RLOCK, SHOP.locks["till"], POOL._work_queue, dict(vars(CHANGED))]
    assert not LOCK.locked()
    assert not ALOCK.locked()


async def spins(task: TaskContext) -> None:
    """It goes round in circles, and never waits."""
    await task.ask("how many?", int)
    while True:
        with contextlib.suppress(BaseException):
            HELD.append(1)
            HELD.clear()


def spins_plainly(_task: SyncTaskContext) -> None:
    """The same on a thread."""
    while True:
        with contextlib.suppress(BaseException):
            while not OVER:
                pass
            return


def waits_for_real(_task: SyncTaskContext) -> None:
    """For a lock that nobody gives back, made as no module makes one."""
    _thread_lock().acquire()


async def waits_for_real_at_once(_task: TaskContext) -> None:
    """The same on the thread of the event loop."""
    _thread_lock().acquire()


def _thread_lock() -> Any:  # noqa: ANN401  a lock
    lock = REAL_LOCK()
    lock.acquire()
    HELD.append(lock)
    return lock


HELD: list[object] = []
OVER: list[bool] = []


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        (spins, "in spins: `"),
        (spins_plainly, "in spins_plainly: `"),
        (waits_for_real, "in waits_for_real: `_thread_lock().acquire()`"),
        (waits_for_real_at_once, "in waits_for_real_at_once: `_thread_lock().acquire()`"),
    ],
)
def test_what_does_not_come_back_is_found_and_named(
    agent: Any,  # noqa: ANN401  an agent
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the real time that passes, and without a second try.  Source: R-FUZZ-29."""
    OVER.clear()
    monkeypatch.setattr("interlock.testing.fuzz._sim_stuck.STUCK_S", 0.2)
    monkeypatch.setattr("interlock.testing.fuzz._sim_threads.STUCK_S", 0.2)
    monkeypatch.setattr("interlock.testing.fuzz._sim_threads._UNWINDS_S", 0.2)
    before = signal.getsignal(signal.SIGINT)
    report = fuzz(Target.of(agent), runs=40, jobs=1)
    OVER.append(True)
    [failure] = report.failures
    assert failure.kind == "stuck"
    assert line in failure.message
    assert "test_fuzz_own_code.py:" in failure.message
    assert report.digests
    assert report.runs < 40
    assert signal.getsignal(signal.SIGINT) is before


async def interrupted(_task: TaskContext) -> None:
    """Somebody loses patience, and the agent catches everything."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_is_one_also_where_an_agent_catches_it() -> None:
    """Nobody has to be patient with an agent.  Source: R-FUZZ-29."""
    with pytest.raises(KeyboardInterrupt):
        fuzz(Target.of(interrupted), runs=5)


def test_a_time_that_is_given_is_kept_within_a_round() -> None:
    """Runs that take long do not come in dozens.  Source: R-FUZZ-29."""

    def begin() -> None:
        time.sleep(0.05)

    for jobs in (1, 2):
        report = fuzz(Target.of(works_long, begin=begin), for_s=0.2, jobs=jobs)
        assert 0 < report.runs < 32


def test_tools_fail_hang_and_lose_their_answers() -> None:
    """An agent that relies on its tool meets all of that, and a cautious one lives.

    Source: R-FUZZ-63.
    """
    done: list[int] = []

    def fetch(n: int) -> str:
        done.append(n)
        return "ok"

    async def relies(task: TaskContext) -> str:
        return (await task.call_tool("fetch", {"n": 1})).text

    engine = Engine(relies, tools=Toolbox([fetch]), limits=Limits(run_s=600.0))
    report = fuzz(Target.of(engine), runs=60)
    assert report.failures == ()
    assert done
    assert any("CallFailed" in error for error in report.errors)
    steps = {line for seed in range(30) for line in _trace(Target.of(engine), seed)}
    for fate in ("fails", "hangs", "is slow", "is done, and its answer is lost"):
        assert f"(the tool fetch {fate})" in steps
    without = fuzz(Target.of(engine), runs=40, faults=ALL_FAULTS - {"tool"})
    assert not any("CallFailed" in error for error in without.errors)


def _trace(target: Target, seed: int) -> tuple[str, ...]:
    return ran(Plan(target, ALL_FAULTS, (), target.lifecycle), seed).trace


def test_the_clock_goes_forward_too() -> None:
    """And everybody sees that, the agent's own time included.  Source: R-FUZZ-63."""

    async def asks(task: TaskContext) -> str:
        before = time.time()
        # Nobody can answer: it is open for long enough for the clock to be set meanwhile.
        await task.ask("how many?", int, default=1, approvers=["role:nobody"])
        SEEN.append(time.time() - before)
        return "done"

    SEEN.clear()
    # Nor is it parked: then it would begin anew, and take its time from then.
    target = Target.of(Engine(asks, limits=Limits(ask_s=60.0, park_after_s=None)))
    # About one run in sixty has the clock set during the wait.
    for seed in range(0, 1_600, 100):
        report = fuzz(target, runs=100, seed=seed, faults=frozenset({"clock"}))
        assert report.failures == ()
        if max(SEEN) > 3_000.0:
            return
    pytest.fail(f"no agent saw the clock go forward: {max(SEEN)}")
    assert min(SEEN) < 0.0
    assert any("set forward" in line for seed in range(40) for line in _trace(target, seed))


SEEN: list[float] = []


def notes(agent: Any) -> str:  # noqa: ANN401  an agent
    """What a report says besides."""
    report = fuzz(Target.of(agent, begin=HELD.clear), runs=30)
    assert report.failures == ()
    return "\n".join(report.notes)


class Iban(BaseModel):
    """What is asked for."""

    iban: str = Field(pattern=r"^DE\d{20}$")


class Nothing(BaseModel):
    """What nobody can say."""

    never: str = Field(pattern="a^b")


async def leaves(task: TaskContext) -> None:
    """A task, a thread, and a pool of threads, which is none of these."""

    async def forever() -> None:
        while True:  # noqa: ASYNC110  it does nothing else
            await asyncio.sleep(3_600)

    HELD.append(asyncio.create_task(forever()))
    threading.Thread(target=lambda: threading.Event().wait()).start()
    POOL.submit(int).result()
    await task.ask("how many?", int)


async def swallows(task: TaskContext) -> None:
    """It cannot be ended."""
    while True:
        try:
            await task.ask("x", int)
        except BaseException:  # noqa: BLE001  that is the bug
            await asyncio.sleep(1)


def test_what_fails_nothing_is_worth_a_word() -> None:
    """What cannot be answered, does not end, or is left behind.  Source: R-FUZZ-64."""

    async def asks(task: TaskContext) -> str:
        return (await task.ask("IBAN?", Iban)).iban

    async def asks_in_vain(task: TaskContext) -> str:
        return (await task.ask("never?", Nothing)).never

    assert notes(asks) == ""
    assert "the ask 'never?' could not be answered: no text was made for" in notes(asks_in_vain)
    found = notes(leaves)
    assert "left a task of asyncio behind, leaves.<locals>.forever (test_fuzz_own" in found
    assert "left a thread behind, 'Thread-N" in found
    assert "Pool" not in found
    assert "did not end when it was told to, and was given up" in notes(swallows)
