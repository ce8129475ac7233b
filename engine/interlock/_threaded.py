"""How a run of an agent ends, and an agent that is a plain function on a thread of its own."""

import asyncio
import contextlib
import queue
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from interlock._agent import SyncAgent
from interlock._at_once import first_of
from interlock._context import TaskContext
from interlock._sync import SyncTaskContext
from interlock._thread import on_a_thread
from interlock.errors import TaskParked, TaskStopped

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Returned:
    """The agent returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The agent raised, or ended itself without being told to."""

    error: BaseException


TurnEnd: TypeAlias = Returned | Raised


class _Exited(Exception):
    """What ran for a thread wants the process to end, or was interrupted."""

    def __init__(self, by: BaseException) -> None:
        self.by: Final = by
        super().__init__()


class Crossing(Generic[V]):
    """A coroutine that the event loop runs for a thread, which waits for it.

    As `asyncio.run_coroutine_threadsafe` has it, without the price of a future of each kind.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, V], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine: Final = coroutine
        self._loop: Final = loop
        self._task: asyncio.Task[V] | None = None
        #: The task that has ended, or None where it is not waited for; what comes first counts.
        self._ends: Final[queue.SimpleQueue[asyncio.Task[V] | None]] = queue.SimpleQueue()
        self._taken = False
        self._on_taken: asyncio.Future[None] | None = None
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._kept_in())
        self._task.add_done_callback(self._ended)

    async def _kept_in(self) -> V:
        try:
            return await self._coroutine
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio would raise it out of the loop, which is everybody's.
            raise _Exited(error) from None

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._coroutine.close()  # Where it was cancelled before it began.
        if not task.cancelled():
            task.exception()  # Heard, also where the thread was let go and asks no more.
        self._ends.put(task)

    def end(self) -> asyncio.Task[V] | None:
        """Wait for it; None if it was cancelled, by whomever."""
        task = self._ends.get()
        # In this order, and `taken` in the other: one of the two sees what the other did.
        self._taken = True
        if self._on_taken is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits there.
                self._loop.call_soon_threadsafe(self._on_taken.set_result, None)
        return None if task is None or task.cancelled() else task

    async def taken(self) -> None:
        """Wait until the thread has how it ended, if it has ended."""
        if self._task is None or not self._task.done():
            return
        if self._on_taken is None:
            self._on_taken = self._loop.create_future()
        if not self._taken:
            await first_of(self._on_taken)

    def cancel(self) -> None:
        """Let the thread go at once, and cancel the coroutine; from any thread."""
        self._ends.put(None)
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        assert self._task is not None  # It was begun first: the loop does all that in its order.
        self._task.cancel()


class AgentThread:
    """A thread for one plain function, and the bridge from it to the event loop."""

    def __init__(self, agent: SyncAgent, context: TaskContext, task_id: str) -> None:
        self._agent: Final = agent
        self._context: Final = context
        self._loop: Final = asyncio.get_running_loop()
        #: In the order of their coming, as everything else that is gone through.
        self._calls: dict[Crossing[Any], None] = {}
        #: What its calls raise from now on.
        self._interrupted: type[TaskStopped | TaskParked] | None = None
        self.end: Final[asyncio.Future[TurnEnd]] = on_a_thread(self._main, f"turn {task_id}")

    def interrupt(self, by: type[TaskStopped | TaskParked]) -> None:
        """Make the call that the thread waits in, and every later one, raise that."""
        self._interrupted = by
        for call in list(self._calls):
            call.cancel()

    async def taken(self) -> None:
        """Wait until the thread has what is on its way to it.

        Whatever the loop does meanwhile would keep the thread from going on.
        """
        for call in list(self._calls):
            await call.taken()

    def _end_signal(self) -> BaseException:
        """What tells the function to end; a call that was cancelled otherwise ends it too."""
        return (self._interrupted or TaskStopped)()

    def _main(self) -> TurnEnd:
        try:
            return Returned(self._agent(SyncTaskContext(self._context, self._run)))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is how the agent ended
            return Raised(error)

    def _run(self, coroutine: Coroutine[Any, Any, V], /, *, insists: bool = False) -> V:
        if insists:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        if self._interrupted is not None:
            coroutine.close()
            raise self._interrupted
        call = Crossing(coroutine, self._loop)
        self._calls[call] = None
        try:
            if self._interrupted is not None:
                call.cancel()
            end = call.end()
        finally:
            self._calls.pop(call, None)
        # It may have been told to end before it began to wait: what it waited for has ended, and
        # what would follow must not begin any more (I11).
        if end is None or self._interrupted is not None:
            raise self._end_signal()
        try:
            return end.result()
        except _Exited as exited:
            raise exited.by from None
