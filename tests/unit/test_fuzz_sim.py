"""A simulated run is a pure function of its tape, and a crash takes all of a process away.

R-FUZZ-01 (same tape, same run), R-FUZZ-02 (virtual time), R-FUZZ-03 (a crash takes all at
once), R-FUZZ-04 (a run that cannot end is told apart, and says who waits), R-FUZZ-05 (the
schedule is the tape's; zeros are asyncio's own), R-FUZZ-08 (nothing stays replaced).
"""

import asyncio
import gc
import itertools
import os
import queue
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from interlock.testing.fuzz._sim import (
    LINES_ARE_SEEN,
    START,
    Deadlock,
    ProcessKilled,
    Simulation,
    StepLimit,
)
from interlock.testing.fuzz._tape import Tape

V = TypeVar("V")


def plain() -> Simulation:
    """A run of which every decision is the plainest."""
    return Simulation(Tape(given=()))


async def given_back(value: V) -> V:
    """That."""
    await asyncio.sleep(0)
    return value


def test_a_run_gives_what_its_driver_returns() -> None:
    """Source: R-FUZZ-01."""
    assert plain().run(given_back(7)) == 7


def test_time_passes_only_when_nothing_else_can_happen() -> None:
    """Source: R-FUZZ-02."""
    simulation = plain()

    async def main() -> list[float]:
        began = [time.time() - START, time.monotonic() - START, simulation.clock.now() - START]
        await asyncio.sleep(3600.0)
        return [*began, time.time() - START, asyncio.get_running_loop().time() - START]

    assert simulation.run(main()) == [0.0, 0.0, 0.0, 3600.0, 3600.0]


def test_advance_rings_alarms_in_their_order_and_at_their_time() -> None:
    """Source: R-FUZZ-02."""
    simulation = plain()
    rung: list[tuple[str, float]] = []

    def ring(name: str) -> None:
        rung.append((name, simulation.clock.now() - START))
        if name == "a":
            simulation.clock.call_later(0.5, lambda: ring("soon after a"))

    async def main() -> None:
        simulation.clock.call_later(2.0, lambda: ring("b"))
        simulation.clock.call_later(1.0, lambda: ring("a"))
        simulation.clock.call_later(2.0, lambda: ring("b again"))
        simulation.clock.call_later(1.0, lambda: ring("never")).cancel()
        simulation.clock.call_later(9.0, lambda: ring("later"))
        await simulation.settle()
        assert rung == []
        await simulation.advance(5.0)
        assert simulation.clock.now() == START + 5.0

    simulation.run(main())
    assert rung == [("a", 1.0), ("soon after a", 1.5), ("b", 2.0), ("b again", 2.0)]


def test_the_wall_clock_is_set_and_timers_do_not_mind() -> None:
    """Source: R-FUZZ-02."""
    simulation = plain()

    async def main() -> tuple[float, float]:
        simulation.set_clock(-50.0)
        await asyncio.sleep(10.0)
        return time.time() - START, time.monotonic() - START

    assert simulation.run(main()) == (-40.0, 10.0)


def test_settle_lets_threads_go_on_until_they_block() -> None:
    """Source: R-FUZZ-02, R-FUZZ-07."""
    simulation = plain()
    seen: list[str] = []

    def work(jobs: "queue.SimpleQueue[str]") -> None:
        seen.append(jobs.get())
        time.sleep(5.0)
        seen.append("slept")

    async def main() -> None:
        jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
        thread = threading.Thread(target=work, args=(jobs,), daemon=True)
        thread.start()
        jobs.put("job")
        await simulation.settle()
        assert seen == ["job"]
        assert thread.is_alive()
        await simulation.advance(5.0)
        assert seen == ["job", "slept"]
        thread.join()
        assert not thread.is_alive()

    simulation.run(main())


def test_locks_conditions_events_and_pools_work_on_virtual_time() -> None:
    """Source: R-FUZZ-07."""
    simulation = plain()

    def waited(event: threading.Event) -> tuple[bool, float]:
        return event.wait(30.0), time.monotonic() - START

    def counted(lock: threading.Lock, counts: list[int]) -> None:
        for _ in range(10):
            with lock:
                now = counts[0]
                time.sleep(0.001)
                counts[0] = now + 1

    async def main() -> tuple[object, ...]:
        late = await asyncio.to_thread(waited, threading.Event())
        event = threading.Event()
        asyncio.get_running_loop().call_later(1.0, event.set)
        soon = await asyncio.to_thread(waited, event)
        lock, counts = threading.Lock(), [0]
        await asyncio.gather(*(asyncio.to_thread(counted, lock, counts) for _ in range(3)))
        handed: queue.Queue[int] = queue.Queue(maxsize=1)
        with ThreadPoolExecutor(2) as pool:
            put = pool.submit(list, map(handed.put, range(5)))
            got = pool.submit(lambda: [handed.get() for _ in range(5)])
            assert put.result() == [None] * 5
        return late, soon, counts, got.result()

    late, soon, counts, got = simulation.run(main())
    assert late == (False, 30.0)
    assert soon == (True, 31.0)
    assert (counts, got) == ([30], [0, 1, 2, 3, 4])


def test_the_blocked_loop_lets_threads_go_on() -> None:
    """Source: R-FUZZ-07."""

    async def main() -> float:
        done = threading.Event()
        threading.Timer(4.0, done.set).start()
        done.wait()
        return time.monotonic() - START

    assert plain().run(main()) == 4.0


async def _racing(simulation: Simulation) -> list[str]:
    """Tasks, timers and threads that get in each other's way, and the order they come in."""
    seen: list[str] = []
    lock = threading.Lock()

    async def task(name: str) -> None:
        for at in range(4):
            await asyncio.sleep(0)
            seen.append(f"{name}{at}")

    def thread(name: str) -> None:
        for at in range(4):
            with lock:
                seen.append(f"{name}{at} {random.random():.3f} {uuid.uuid4()}")  # noqa: S311

    futures = [asyncio.get_running_loop().create_future() for _ in range(9)]
    seen += [f"future: {futures.index(future)}" for future in set(futures)]
    tasks = {asyncio.ensure_future(task(name)) for name in "abc"}
    works = {asyncio.ensure_future(asyncio.to_thread(thread, name)) for name in "xy"}
    seen += [f"set: {task.get_name()}" for task in tasks | works]
    await asyncio.wait(tasks | works)
    await simulation.settle()
    return seen


def raced(seed: int, given: Sequence[int] | None = None) -> tuple[list[str], str, tuple[int, ...]]:
    """What came in which order, the digest, and the tape."""
    tape = Tape(seed, given)
    simulation = Simulation(tape)
    return simulation.run(_racing(simulation)), simulation.digest, tape.made


def test_the_same_seed_and_the_same_tape_are_the_same_run() -> None:
    """Source: R-FUZZ-01."""
    runs = [raced(seed) for seed in range(20)]
    random.random()  # noqa: S311  it is another number that the run must not see
    assert runs == [raced(seed) for seed in range(20)]
    assert runs == [raced(0, made) for _, _, made in runs]


def test_another_seed_is_another_schedule() -> None:
    """Source: R-FUZZ-05."""
    orders = {tuple(word.split(" ")[0] for word in raced(seed)[0]) for seed in range(20)}
    assert len(orders) > 5


def test_a_tape_of_zeros_is_what_asyncio_does() -> None:
    """Source: R-FUZZ-05."""
    seen, _, made = raced(0, ())
    tasks = [word for word in seen if word[0] in "abc"]
    assert tasks == [f"{name}{at}" for at in range(4) for name in "abc"]
    assert set(made) == {0}


def test_callbacks_keep_their_order_whatever_the_tape_says() -> None:
    """Source: R-FUZZ-05."""

    def order(seed: int) -> list[int]:
        simulation = Simulation(Tape(seed))
        seen: list[int] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for at in range(9):
                loop.call_soon(seen.append, at)
                await asyncio.sleep(0)
            await simulation.settle()

        simulation.run(main())
        return seen

    assert all(order(seed) == list(range(9)) for seed in range(30))


def test_nothing_that_can_go_on_is_a_deadlock_that_says_who_waits() -> None:
    """Source: R-FUZZ-04."""

    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        lock = threading.Lock()
        lock.acquire()
        threading.Thread(target=lock.acquire, name="greedy").start()
        await asyncio.create_task(stuck(), name="the stuck one")

    with pytest.raises(
        Deadlock, match=r"'the stuck one' waits in .*stuck \(test_fuzz_sim.py"
    ) as it:
        plain().run(main())
    assert "thread 'greedy' waits for a lock" in str(it.value)
    assert "'driver' waits in" in str(it.value)


def test_nothing_but_timers_is_a_deadlock_too() -> None:
    """Source: R-FUZZ-04."""
    simulation = plain()

    def again() -> None:
        simulation.clock.call_later(60.0, again)

    async def main() -> None:
        again()
        await simulation.advance(3600.0)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="nothing goes on but timers"):
        simulation.run(main())


def test_a_cycle_of_locks_is_a_deadlock_on_some_schedule() -> None:
    """Source: R-FUZZ-04, R-FUZZ-07."""

    def both(first: threading.Lock, second: threading.Lock) -> None:
        with first, second:
            pass

    async def main() -> None:
        one, two = threading.Lock(), threading.Lock()
        await asyncio.gather(asyncio.to_thread(both, one, two), asyncio.to_thread(both, two, one))

    found = 0
    for seed in range(60):
        try:
            Simulation(Tape(seed)).run(main())
        except Deadlock:
            found += 1
    assert 0 < found < 60


@pytest.mark.parametrize("threaded", [False, True])
def test_going_round_in_circles_is_told(threaded: bool) -> None:  # noqa: FBT001
    """Source: R-FUZZ-04."""

    def spin() -> None:
        while True:
            time.sleep(0.0)

    async def main() -> None:
        if threaded:
            await asyncio.to_thread(spin)
        await _spinning()

    with pytest.raises(StepLimit, match="no end after 500 steps"):
        Simulation(Tape(given=()), steps_max=500).run(main())


def test_a_crash_takes_everything_away_and_unwinds_nothing() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()
    seen: list[str] = []

    async def lasting(name: str) -> None:
        try:
            await asyncio.sleep(10.0)
            seen.append(f"{name} went on")
        finally:
            if not over:
                seen.append(f"{name} was unwound")

    def thread() -> None:
        try:
            time.sleep(10.0)
            seen.append("thread went on")
        finally:
            if not over:
                seen.append("thread was unwound")

    over = False

    async def main() -> None:
        nonlocal over
        works = [simulation.within(lasting("work")), simulation.within(asyncio.to_thread(thread))]
        asyncio.create_task(lasting("task"))  # noqa: RUF006  it is to be lost
        simulation.clock.call_later(1.0, lambda: seen.append("alarm"))
        await simulation.settle()
        simulation.kill()
        for work in works:
            with pytest.raises(ProcessKilled):
                await work
        with pytest.raises(ProcessKilled):
            await simulation.within(given_back(1))
        simulation.restart()
        await simulation.within(given_back(1))
        await simulation.advance(100.0)
        over = True

    simulation.run(main())
    assert seen == []


def test_what_was_killed_does_not_hear_of_what_happens_later() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()
    seen: list[str] = []

    async def hears(future: "asyncio.Future[str]") -> None:
        seen.append(await future)

    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        simulation.within(hears(future))
        await simulation.settle()
        simulation.kill()
        future.set_result("news")
        await simulation.settle()

    simulation.run(main())
    assert seen == []


def test_nobody_waits_for_the_timers_of_what_was_killed() -> None:
    """Source: R-FUZZ-03, R-FUZZ-04."""
    simulation = plain()

    async def main() -> None:
        simulation.within(asyncio.sleep(1000.0))
        simulation.within(asyncio.to_thread(time.sleep, 1000.0))
        await simulation.settle()
        simulation.kill()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        simulation.run(main())
    assert simulation.clock.now() == START


def test_a_crash_of_one_process_leaves_the_others() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()

    async def suicide() -> None:
        simulation.kill(simulation.process)
        await asyncio.sleep(0)

    async def main() -> None:
        other = simulation.within(asyncio.sleep(5.0, "alive"), "b")
        with pytest.raises(ProcessKilled):
            await simulation.within(suicide(), "a")
        assert await other == "alive"
        assert simulation.killed("a")
        assert not simulation.killed("b")
        simulation.restart("a")
        assert await simulation.within(given_back("again"), "a") == "again"

    simulation.run(main())


def test_a_thread_never_comes_back_from_its_own_crash() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()
    seen: list[str] = []

    def thread() -> None:
        simulation.kill()
        seen.append("went on")

    async def main() -> None:
        with pytest.raises(ProcessKilled):
            await simulation.within(asyncio.to_thread(thread))

    simulation.run(main())
    assert seen == []


def test_a_wait_that_is_cancelled_cancels_the_work() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        wait = simulation.within(work())
        await simulation.settle()
        wait.cancel()
        await simulation.settle()
        assert wait.cancelled()

    simulation.run(main())
    assert seen == ["cancelled"]


def test_the_work_s_error_is_raised_where_it_is_waited_for() -> None:
    """Source: R-FUZZ-03."""
    simulation = plain()

    async def work() -> None:
        raise LookupError("gone")

    async def main() -> None:
        with pytest.raises(LookupError, match="gone"):
            await simulation.within(work())

    simulation.run(main())
    assert simulation.uncaught == []


def test_what_nobody_caught_is_kept() -> None:
    """Source: R-FUZZ-04."""
    simulation = plain()

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await simulation.settle()

    simulation.run(main())
    assert [type(context["exception"]) for context in simulation.uncaught] == [ZeroDivisionError]


_REPLACED = (
    *((time, name) for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep")),
    *((threading, name) for name in ("Lock", "RLock", "_allocate_lock", "_time")),
    *((threading.Thread, name) for name in ("start", "join", "is_alive")),
    *((queue, name) for name in ("SimpleQueue", "time")),
    *((os, name) for name in ("urandom",)),
)


def _stands() -> list[object]:
    return [getattr(holder, name) for holder, name in _REPLACED]


async def _spinning() -> None:
    for _ in itertools.count():
        await asyncio.sleep(0)


async def _fails() -> None:
    raise LookupError


async def _waits() -> None:
    asyncio.create_task(asyncio.sleep(99.0))  # noqa: RUF006  it is to be left over
    threading.Thread(target=time.sleep, args=(99.0,)).start()
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("main", "error"),
    [(_fails, LookupError), (_waits, Deadlock), (_spinning, StepLimit), (given_back, None)],
)
def test_nothing_stays_replaced_however_a_run_ends(
    main: Callable[..., Coroutine[Any, Any, object]], error: type[BaseException] | None
) -> None:
    """Source: R-FUZZ-08."""
    before, state, threads = _stands(), random.getstate(), threading.active_count()
    coroutine = main(1) if main is given_back else main()
    simulation = Simulation(Tape(), steps_max=500)
    if error is None:
        simulation.run(coroutine)
    else:
        with pytest.raises(error):
            simulation.run(coroutine)
    assert _stands() == before
    assert random.getstate() == state
    assert threading.active_count() == threads
    assert not any("_interlock_sim_thread" in vars(each) for each in threading.enumerate())
    assert gc.isenabled()


def test_a_lock_of_a_run_is_a_lock_afterwards() -> None:
    """Source: R-FUZZ-08."""

    async def main() -> list[Any]:
        return [threading.Lock(), threading.RLock(), queue.SimpleQueue[int]()]

    lock, again, jobs = plain().run(main())
    with lock:
        assert not lock.acquire(timeout=0.001)
    with again, again:
        pass
    threading.Thread(target=jobs.put, args=(1,)).start()
    assert jobs.get() == 1


def test_a_thread_of_a_run_has_ended_afterwards() -> None:
    """Source: R-FUZZ-08."""

    async def main() -> threading.Thread:
        thread = threading.Thread(target=time.sleep, args=(1.0,))
        thread.start()
        await asyncio.sleep(2.0)
        return thread

    thread = plain().run(main())
    assert not thread.is_alive()
    thread.join()


COUNT = [0]


def count_carelessly() -> None:
    """Read, and write, with nothing in between that threads share."""
    for _ in range(5):
        now = COUNT[0]
        now += 1
        COUNT[0] = now


def test_between_two_lines_another_thread_may_go_on_where_the_interpreter_allows_that() -> None:
    """Source: R-FUZZ-07."""

    def counted(seed: int) -> tuple[int, str]:
        COUNT[0] = 0
        simulation = Simulation(Tape(seed), lines_of=[sys.modules[__name__]])

        async def main() -> None:
            await asyncio.gather(*(asyncio.to_thread(count_carelessly) for _ in range(3)))

        simulation.run(main())
        return COUNT[0], simulation.digest

    counts = [counted(seed) for seed in range(20)]
    assert counts == [counted(seed) for seed in range(20)]
    assert ({count for count, _ in counts} != {15}) == LINES_ARE_SEEN


def test_two_runs_at_once_are_refused() -> None:
    """Source: R-FUZZ-08."""
    simulation = plain()

    async def main() -> None:
        inner = given_back(1)
        with pytest.raises(RuntimeError):
            plain().run(inner)

    simulation.run(main())


def test_a_thread_that_will_not_unwind_is_left() -> None:
    """Source: R-FUZZ-08."""
    stopped = False

    def stubborn() -> None:
        while not stopped:
            with suppress(BaseException):
                time.sleep(1.0)

    async def main() -> None:
        threading.Thread(target=stubborn).start()
        await asyncio.sleep(0)

    plain().run(main())
    stopped = True
