"""Agents as a run has them: it is counted how many turns of a task are alive."""

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from interlock._agent import Agent, AgentKind, kind_of
from interlock.errors import Denied, Rejected, Retryable
from interlock.testing.fuzz._report import raised
from interlock.testing.fuzz._sim_loop import SimLoop

#: What an agent raises to say what its task comes to.
_MEANT: Final = (Rejected, Retryable, Denied)


class Alive:
    """How many runs of an agent there are for each task, in one process."""

    def __init__(
        self,
        errors: Counter[str] | None = None,
        begins: Callable[[str], object] = lambda _task_id: None,
    ) -> None:
        """`errors` counts what agents raise that they did not mean; `begins` hears of each run."""
        self._begins: Final = begins
        self.turns: Final[Counter[str]] = Counter()
        self._errors: Final[Counter[str]] = Counter() if errors is None else errors

    def wrap(self, _name: str, agent: Agent) -> Agent:
        """The same agent, of the same kind, counted while it runs."""
        inner = cast("Any", agent)
        kind = kind_of(agent)
        if kind is AgentKind.THREAD:
            return _like(agent, self._plain(inner))
        if kind is AgentKind.ASYNC:
            return _like(agent, self._coroutine(inner))
        return _like(agent, self._generator(inner))

    def _plain(self, agent: Any) -> Any:  # noqa: ANN401  an agent is any callable
        def run(task: Any) -> Any:  # noqa: ANN401  an agent is any callable
            with self._alive(task.task_id):
                return agent(task)

        return run

    def _coroutine(self, agent: Any) -> Any:  # noqa: ANN401  an agent is any callable
        async def run(task: Any) -> Any:  # noqa: ANN401  an agent is any callable
            with self._alive(task.task_id):
                return await agent(task)

        return run

    def _generator(self, agent: Any) -> Any:  # noqa: ANN401  an agent is any callable
        async def run(task: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401  its context
            requests = agent(task)
            try:
                with self._alive(task.task_id), suppress(StopAsyncIteration):
                    request = await anext(requests)
                    while True:
                        try:
                            reply = yield request
                        except Exception as error:  # noqa: BLE001  the engine's answer, handed on
                            request = await requests.athrow(error)
                        else:
                            request = await requests.asend(reply)
            finally:
                await requests.aclose()

        return run

    @contextmanager
    def _alive(self, task_id: str) -> Generator[None]:
        """A block in which an agent runs for a task."""
        self.turns[task_id] += 1
        self._begins(task_id)
        try:
            yield
        except (Exception, SystemExit) as error:
            self._note(error)
            raise
        finally:
            self.turns[task_id] -= 1

    def _note(self, error: BaseException) -> None:
        loop = asyncio._get_running_loop()  # noqa: SLF001  None on a thread
        if isinstance(loop, SimLoop) and loop.over:
            return  # It is only unwound.
        if not isinstance(error, _MEANT):
            self._errors[raised(error, says=False)] += 1


def _like(agent: Agent, made: Any) -> Agent:  # noqa: ANN401  an agent of the same kind
    functools.update_wrapper(made, cast("Any", agent), updated=())
    return cast("Agent", made)
