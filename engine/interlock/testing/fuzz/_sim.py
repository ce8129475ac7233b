"""Deterministic simulation: a run is a pure function of its tape.

The event loop, time, threads, random bytes and the order in which all of them go on are the
simulation's.  Same tape, same run: in another process, and on another machine.
"""

import asyncio
import contextvars
import gc
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeVar

from interlock._clock import Alarm, Clock
from interlock.testing.fuzz._sim_lines import LINES_ARE_SEEN, interrupted
from interlock.testing.fuzz._sim_loop import START, SimLoop
from interlock.testing.fuzz._sim_parts import SimTask
from interlock.testing.fuzz._sim_patches import replaced
from interlock.testing.fuzz._sim_schedule import (
    DRIVER,
    PROCESS,
    Deadlock,
    ProcessKilled,
    Schedule,
    StepLimit,
)
from interlock.testing.fuzz._sim_threads import SimThread, here
from interlock.testing.fuzz._tape import Tape

__all__ = ["LINES_ARE_SEEN", "START", "Deadlock", "ProcessKilled", "Simulation", "StepLimit"]

V = TypeVar("V")

#: From how many streams of random numbers a run has one.
_SEEDS: Final = 1 << 16


class _Clock:
    """The engine's clock, on virtual time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop: Final = loop
        #: How far the wall's clock was set, seconds.
        self.set_by = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self._loop.now + self.set_by

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """See `Clock.call_later`."""
        return self._loop.alarm(delay_s, callback)


class Simulation:
    """One run, which the tape decides.

    What is given to `run` is the driver: it looks on from outside.  Tasks and threads that it
    begins, and what these begin, are the process that is simulated, and what `kill` takes away;
    `within` begins something there and outlives that.
    """

    def __init__(
        self, tape: Tape, *, steps_max: int = 200_000, lines_of: Iterable[ModuleType] = ()
    ) -> None:
        """Nothing runs yet; `steps_max` bounds the callbacks and switches of the run.

        Between any two lines of the modules `lines_of` another thread may go on, if this
        interpreter can do that (`LINES_ARE_SEEN`).
        """
        self._lines_of: Final = tuple(lines_of)
        #: What decides.
        self.tape: Final = tape
        self._schedule: Final = Schedule(tape, steps_max)
        self._seed: Final = tape.choose(_SEEDS)
        self._loop: Final = SimLoop(self._schedule)
        self._clock: Final = _Clock(self._loop)
        #: The engine's clock.
        self.clock: Final[Clock] = self._clock
        #: What the event loop was told that nobody caught.
        self.uncaught: Final[list[dict[str, Any]]] = []
        self._waits: list[tuple[SimTask, asyncio.Future[Any]]] = []
        self._loop.set_exception_handler(lambda _, context: self.uncaught.append(context))

    @property
    def digest(self) -> str:
        """Of everything that was scheduled: equal digests are equal runs."""
        return self._schedule.digest

    @property
    def steps(self) -> int:
        """Callbacks and switches so far."""
        return self._schedule.steps

    @property
    def process(self) -> str:
        """The name of the process that is at work; "" if it is the driver."""
        process = PROCESS.get()
        return "" if process is DRIVER else process.name

    def run(self, main: Coroutine[Any, Any, V]) -> V:
        """What it comes to; once for each simulation.

        Raises:
            Deadlock: nothing can go on, and it has not ended.
            StepLimit: it does not come to its end; `Stuck`, if one step of it does not.
            RuntimeError: another simulation runs in this process.
        """
        loop = self._loop
        collects = gc.isenabled()
        watch = self._loop.threads.watch
        # What is left is freed when nobody has it any more, or after the run: never in its midst.
        gc.disable()
        process = partial(loop.process, "")
        try:
            with (
                watch.watching(),
                replaced(loop.threads, seed=self._seed, wall=self._clock.now, otherwise=process),
                interrupted(self._lines_of, _between_lines),
            ):
                try:
                    future: asyncio.Future[V] = loop.begin(main, "driver", DRIVER)
                    return loop.run_until_complete(future)
                except KeyboardInterrupt:
                    if isinstance(self._schedule.stop, StepLimit):
                        raise self._schedule.stop from None
                    raise
                finally:
                    loop.end()
        finally:
            main.close()
            if collects:
                gc.enable()

    async def settle(self) -> None:
        """Let whatever can go on do so, until only timers and blocked threads are left."""
        await self._loop.rest(self._loop.now)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and all that falls due on the way happen in its order."""
        assert seconds >= 0, "time does not run backwards"
        await self._loop.rest(self._loop.now + seconds)

    def beats(self, delay_s: float) -> None:
        """An alarm of the engine that is set for so long only looks whether something is due."""
        self._loop.beats.add(delay_s)

    async def skip(self, seconds: float) -> None:
        """As `advance`, at less of a price: looks of the engine on the way are left out."""
        await self._loop.skip(self._loop.now + seconds)

    @property
    def now(self) -> float:
        """Virtual seconds, whatever the wall's clock was set to."""
        return self._loop.now

    def set_clock(self, by: float) -> None:
        """Set the wall's clock forward, or back, by so many seconds; timers do not mind."""
        self._clock.set_by += by
        self.note(f"clock {by!r}")

    def within(self, work: Coroutine[Any, Any, V], process: str = "") -> "asyncio.Future[V]":
        """Begin something in a process; what it comes to, or `ProcessKilled`.

        Whoever cancels the future cancels the work.  In a process that was killed nothing begins
        before `restart`: whatever the driver still has of it is dead.
        """
        loop = self._loop
        future: asyncio.Future[V] = loop.create_future()
        if process in loop.fallen:
            work.close()
            _killed(future, process)
            return future
        task = loop.begin(work, f"work-{process}", loop.process(process))
        entry = (task, future)
        self._waits.append(entry)
        driver = contextvars.copy_context()

        def over(done: "asyncio.Future[V]") -> None:
            if entry in self._waits:
                self._waits.remove(entry)
            if future.done():
                if not done.cancelled():
                    done.exception()  # Seen, although nobody waits any more.
            elif done.cancelled():
                future.cancel()
            elif (error := done.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        def given_up(_future: object) -> None:
            if future.cancelled() and task.process.alive:
                task.cancel()

        task.add_done_callback(over, context=driver)
        future.add_done_callback(given_up)
        return future

    def kill(self, process: str | None = None) -> None:
        """A crash: the process of that name, or every one, is gone, and nothing of it runs again.

        Nothing is unwound: no `finally`, no `except`.  Whoever of the process calls this goes on
        until it next waits, and a thread of it never returns from here.  `restart` begins it anew;
        so does whatever the driver begins itself, and not `within` it.
        """
        waits, self._waits = self._waits, []
        self._loop.kill(process)
        for task, future in waits:
            if task.process.alive:
                self._waits.append((task, future))
            elif not future.done():
                _killed(future, task.process.name)
        self._loop.threads.kill()

    def restart(self, process: str = "") -> None:
        """Begin a process that was killed, with nothing in it yet; harmless if it is alive."""
        self._loop.process(process)

    def freeze(self, process: str) -> None:
        """As SIGSTOP: nothing of that process goes on until `thaw`, and nothing of it is lost."""
        self._loop.freeze(process, frozen=True)

    def thaw(self, process: str) -> None:
        """As SIGCONT: it goes on where it stood."""
        self._loop.freeze(process, frozen=False)

    def killed(self, process: str = "") -> bool:
        """Whether that process was killed, and not begun again."""
        return process in self._loop.fallen

    def threads(self) -> list[SimThread]:
        """Every thread that has not ended, of processes that are alive."""
        return list(self._loop.threads.alive)

    def note(self, what: str) -> None:
        """It belongs to the run, and to its digest."""
        self._schedule.note_text(what)

    def who_waits(self) -> str:
        """Every task and thread that is left, and where it stands, as a sentence."""
        return self._loop.who_waits()


def _between_lines() -> None:
    """Another thread may go on here."""
    threads = here()
    if threads is not None:
        threads.preempt()


def _killed(future: "asyncio.Future[Any]", process: str) -> None:
    future.set_exception(ProcessKilled(f"process {process!r} was killed"))
    future.exception()  # Seen, although nobody may wait for it.
