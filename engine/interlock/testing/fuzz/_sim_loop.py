"""The event loop of a simulated run: virtual time, and an order that the tape decides.

It has no selector and no sockets.  Whatever is due is called one at a time.  Callbacks keep
their order, as asyncio promises, and so do the beginnings of tasks, which agents that gather
rely on.  A task that goes on may do so later than in asyncio: nobody may rely on how soon.
The module is long because an event loop is one object.
"""

import asyncio
import contextlib
import contextvars
import heapq
import weakref
from asyncio.base_events import BaseEventLoop
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from interlock._alarms import ALARM_MAX_S
from interlock.testing.fuzz._sim_parts import (
    SimFuture,
    SimHandle,
    SimTask,
    SimTimer,
    born,
    dropped,
    place,
    quiet,
)
from interlock.testing.fuzz._sim_schedule import DRIVER, PROCESS, Deadlock, Process, Schedule
from interlock.testing.fuzz._sim_stuck import Watch
from interlock.testing.fuzz._sim_threads import Threads

V = TypeVar("V")

#: When every run begins, seconds since 1970: the first of January 2026.
START: Final = 1_767_225_600.0
#: A step may take so long that a timer comes first which is due within so many seconds.
SLIP_MAX_S: Final = 1.0
#: So much time passes when a step takes long and no timer is near.
SLIP_S: Final = 0.001
#: Timers that may ring, one after the other, while the driver waits for something else than time.
JUMPS_MAX: Final = 10_000
#: So often a wait that is skipped is stopped for what rings on the way.
STOPS_MAX: Final = 300
#: So many of those who wait are named where nothing goes on.
_NAMED_MAX: Final = 12


class SimLoop(BaseEventLoop):
    """One run; `Simulation` makes it, and ends it."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.set_debug(enabled=False)
        self.now = START
        self.threads: Final = Threads(schedule, self.time, self._pass_to, Watch(schedule))
        #: Nothing begins any more.
        self.over = False
        self._schedule: Final = schedule
        self._ready: deque[SimHandle | SimTimer] = deque()
        self._timers: list[tuple[float, int, SimTimer]] = []
        self._made = 0
        #: How often time has passed by itself since the driver was last at work.
        self._jumps = 0
        self._tasks: list[weakref.ref[SimTask]] = []
        #: For how long an alarm is set when the engine only means to look whether something is due.
        self.beats: Final = {ALARM_MAX_S}
        #: Who waits for a time, and until then for everything to come to rest.
        self._resting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._processes: dict[str, Process] = {}
        #: Those that were killed, and not begun again since.
        self.fallen: set[str] = set()
        #: Of processes that were killed: they are kept as they stood, and never unwound meanwhile.
        self._killed: list[SimTask] = []
        self._lost: list[SimHandle | SimTimer] = []
        #: What processes that are frozen will do first when they go on.
        self._held: list[SimHandle | SimTimer] = []

    def __del__(self, _warn: object = None) -> None:
        """One that was never run has nothing to close."""

    # --- what asyncio asks of a loop --------------------------------------------------

    def time(self) -> float:
        """Virtual seconds; they begin at `START`."""
        return self.now

    def call_soon(  # type: ignore[override]  # without a TypeVarTuple
        self,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401  as asyncio has it
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        """See `asyncio.loop.call_soon`."""
        if context is None:
            context = contextvars.copy_context()
        handle = SimHandle(callback, args, self, context)
        if self.over:
            dropped(callback, args)
        else:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # without a TypeVarTuple
        self,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401  as asyncio has it
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        """See `asyncio.loop.call_soon_threadsafe`: another may go on here."""
        handle = self.call_soon(callback, *args, context=context)
        self.threads.preempt()
        return handle

    def call_later(  # type: ignore[override]  # without a TypeVarTuple
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401  as asyncio has it
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        """See `asyncio.loop.call_later`."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # without a TypeVarTuple
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401  as asyncio has it
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        """See `asyncio.loop.call_at`."""
        timer = SimTimer(when, callback, args, self, context or contextvars.copy_context())
        if not self.over:
            heapq.heappush(self._timers, (when, self._number(), timer))
        return timer

    def alarm(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """A timer of whatever process is at work; that of the first, if none is."""
        timer = self.call_later(max(0.0, delay_s), callback)
        timer.process = self._inside(timer.process)
        timer.beats = delay_s in self.beats
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio.loop.create_future`."""
        future = SimFuture(loop=self)
        future.number = self._number()
        return future

    def create_task(  # type: ignore[override]  # typeshed has a task of what the coroutine returns
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_more: object,
    ) -> SimTask:
        """See `asyncio.loop.create_task`: it belongs to the process that makes it."""
        # A caller's own context is its to see; only who it belongs to is added.
        within = contextvars.copy_context() if context is None else context
        process = within.get(PROCESS, DRIVER)
        if process is DRIVER:
            process = self.process("")
            within.run(PROCESS.set, process)
        return self._task(coro, name, within, process)

    def begin(self, coro: Coroutine[Any, Any, Any], name: str, process: Process) -> SimTask:
        """A task of that process."""
        within = contextvars.copy_context()
        within.run(PROCESS.set, process)
        return self._task(coro, name, within, process)

    def _task(
        self,
        coro: Coroutine[Any, Any, Any],
        name: object,
        context: contextvars.Context,
        process: Process,
    ) -> SimTask:
        number = self._number()
        task = born(coro, self, f"task-{number}" if name is None else str(name), context, number)
        task.process = process
        if self.over:
            task.leave()
        else:
            self._tasks.append(weakref.ref(task))
        return task

    def _number(self) -> int:
        self._made += 1
        return self._made

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # It is passed by when its time comes.

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:  # noqa: ANN401  as asyncio has it
        if not self.over:
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    # --- one step ---------------------------------------------------------------------

    def _run_once(self) -> None:
        self._schedule.step()
        ready = self._ready
        self._fall_due()
        threads = self.threads.runnable() if self.threads.alive else []
        if not ready and not threads:
            self._idle()
            return
        at = 0
        if len(ready) + len(threads) > 1 and self._schedule.deviates():
            at = self._chosen(threads)
            if at < 0:
                return
        if at >= len(ready):
            self.threads.resume(threads[at - len(ready)])
            return
        if at:
            handle = ready[at]
            del ready[at]
        else:
            handle = ready.popleft()
        if not handle.process.alive:
            self._lost.append(handle)
            return
        if handle.process.frozen:
            self._held.append(handle)
            return
        if handle.cancelled():
            return
        if handle.process is DRIVER:
            self._jumps = 0
        self._schedule.progress += 1
        self._schedule.note(handle.task)
        handle.go()

    def _chosen(self, threads: list[Any]) -> int:
        """Which of those that can go on does; -1: time passes first."""
        ready = self._ready
        free = 0
        # A callback is overtaken by nothing; what comes behind it has to wait.
        while free < len(ready) and ready[free].late:
            free += 1
        loop = min(free + 1, len(ready))
        at = self._schedule.tape.choose(loop + len(threads) + 1)
        if at == loop + len(threads):
            self._slip()
            return -1
        return at if at < loop else at - loop + len(ready)

    def _slip(self) -> None:
        """What is done takes a while."""
        due = self._next_time()
        near = due is not None and due - self.now <= SLIP_MAX_S
        self._pass_to(due if due is not None and near else self.now + SLIP_S)

    def _pass_to(self, time: float) -> None:
        if time > self.now:
            self.now = time
            self._schedule.progress += 1
            self._schedule.note(-round((time - START) * 1e6))

    def _fall_due(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._ready.append(timer)

    def _next_time(self) -> float | None:
        """When a timer rings next, or a thread has waited long enough."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        due = self.threads.next_deadline()
        if timers and (due is None or timers[0][0] < due):
            return timers[0][0]
        return due

    def _idle(self) -> None:
        """Nothing can go on: time does.

        Raises:
            Deadlock: nobody waits for that.
        """
        due = self._next_time()
        if self._resting:
            until, _, future = rest = min(self._resting)
            if due is not None and due <= until:
                self._pass_to(due)
                return
            self._pass_to(until)
            self._resting.remove(rest)
            if not future.done():
                future.set_result(None)
        elif due is not None:
            self._jumps += 1
            if self._jumps > JUMPS_MAX:
                raise Deadlock(f"nothing goes on but timers; {self.who_waits()}")
            self._pass_to(due)
        elif not self._stopping:
            raise Deadlock(f"nothing can go on; {self.who_waits()}")

    #: Set by `stop`.
    _stopping: bool

    async def rest(self, until: float) -> None:
        """Wait for that time, and until nothing is left to do by then."""
        future = self.create_future()
        self._resting.append((until, self._number(), future))
        await future

    async def skip(self, until: float) -> None:
        """Come to that time as `rest` does, but look at deadlines only where something rings.

        The engine looks at them every minute, also where none is near.  All that rings is in its
        order; but for `STOPS_MAX` times everything that is left rings at the end.
        """
        await self.rest(self.now)
        for _ in range(STOPS_MAX):
            due = self._next_stop()
            if due is None or due >= until:
                break
            self._pass_to(due)
            await self.rest(self.now)
        self._pass_to(until)
        await self.rest(self.now)

    def _next_stop(self) -> float | None:
        """When something rings next that is not the engine's looking at its deadlines."""
        times = [t for t, _, timer in self._timers if not (timer.beats or timer.cancelled())]
        due = self.threads.next_deadline()
        return min([*times, *(() if due is None else (due,))], default=None)

    # --- processes --------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """The process of that name, which is begun if it is not alive."""
        found = self._processes.get(name)
        if found is None:
            found = self._processes[name] = Process(name)
            self.fallen.discard(name)
        return found

    def _inside(self, process: Process) -> Process:
        return self.process("") if process is DRIVER else process

    def kill(self, name: str | None) -> None:
        """Everything of that process, or of all, stops where it stands; threads do not yet."""
        gone = list(self._processes) if name is None else [name]
        for each in gone:
            process = self._processes.pop(each, None)
            if process is not None:
                process.alive = False
                self.fallen.add(each)
        self._lost += [h for h in (*self._ready, *self._held) if not h.process.alive]
        self._held = [handle for handle in self._held if handle.process.alive]
        self._ready = deque(handle for handle in self._ready if handle.process.alive)
        self._timers = [entry for entry in self._timers if entry[2].process.alive]
        heapq.heapify(self._timers)
        left = self._left()
        self._killed += [task for task in left if not task.process.alive]
        self._tasks = [weakref.ref(task) for task in left if task.process.alive]
        self._schedule.note_text(f"kill {name}")

    def freeze(self, name: str, *, frozen: bool) -> None:
        """Nothing of that process goes on from its next step; or all of it does, in its order."""
        process = self.process(name)
        process.frozen = frozen
        self._schedule.note_text(f"freeze {name} {frozen}")
        if not frozen:
            self._ready.extend(handle for handle in self._held if handle.process is process)
            self._held = [handle for handle in self._held if handle.process is not process]

    def end(self) -> None:
        """The run is over: whatever is left is unwound, and nothing comes of it."""
        self.over = True
        for handle in (*self._lost, *self._held, *self._ready):
            handle.drop()
        self._ready.clear()
        self._timers.clear()
        left = [*self._killed, *self._left()]
        if left or self.threads.left:
            with quiet(), self._entered():
                self.threads.unwind()
                for task in left:
                    task.leave()
        self._ready.clear()
        self.close()

    @contextlib.contextmanager
    def _entered(self) -> Generator[None]:
        """Be the loop of whoever asks for one: what is begun while unwinding ends here, too."""
        before = asyncio._get_running_loop()  # noqa: SLF001  as every loop does that is run
        asyncio._set_running_loop(self)  # noqa: SLF001
        try:
            yield
        finally:
            asyncio._set_running_loop(before)  # noqa: SLF001

    def _left(self) -> list[SimTask]:
        """Tasks that have not ended, in the order of their making."""
        return [task for ref in self._tasks if (task := ref()) is not None and not task.done()]

    def who_waits(self) -> str:
        """Every task and thread that is left, and where it stands, as a sentence."""
        lines = [f"{task.get_name()!r} waits {place(task)}" for task in self._left()]
        lines += self.threads.who_waits()
        more = len(lines) - _NAMED_MAX
        return "; ".join(lines[:_NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")
