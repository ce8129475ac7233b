"""How a run of an agent ends, and an agent that is a plain function on a thread of its own."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from interlock._agent import SyncAgent
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


class AgentThread:
    """A thread for one plain function, and the bridge from it to the event loop."""

    def __init__(self, agent: SyncAgent, context: TaskContext, task_id: str) -> None:
        self._agent: Final = agent
        self._context: Final = context
        self._loop: Final = asyncio.get_running_loop()
        self._calls: set[concurrent.futures.Future[Any]] = set()
        #: What its calls raise from now on.
        self._interrupted: type[TaskStopped | TaskParked] | None = None
        self.end: Final[asyncio.Future[TurnEnd]] = on_a_thread(self._main, f"turn {task_id}")

    def interrupt(self, by: type[TaskStopped | TaskParked]) -> None:
        """Make the call that the thread waits in, and every later one, raise that."""
        self._interrupted = by
        for call in list(self._calls):
            call.cancel()

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
        call = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._calls.add(call)
        try:
            if self._interrupted is not None:
                call.cancel()
            return call.result()
        except concurrent.futures.CancelledError:
            raise self._end_signal() from None
        finally:
            self._calls.discard(call)
