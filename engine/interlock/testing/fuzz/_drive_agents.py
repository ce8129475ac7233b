"""Agents as a run has them: it is counted how many turns of a task are alive."""

import functools
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from interlock._agent import Agent, AgentKind, kind_of


class Alive:
    """How many runs of an agent there are for each task, in one process."""

    def __init__(self) -> None:
        self.turns: Final[Counter[str]] = Counter()

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
            self.turns[task.task_id] += 1
            try:
                return agent(task)
            finally:
                self.turns[task.task_id] -= 1

        return run

    def _coroutine(self, agent: Any) -> Any:  # noqa: ANN401  an agent is any callable
        async def run(task: Any) -> Any:  # noqa: ANN401  an agent is any callable
            self.turns[task.task_id] += 1
            try:
                return await agent(task)
            finally:
                self.turns[task.task_id] -= 1

        return run

    def _generator(self, agent: Any) -> Any:  # noqa: ANN401  an agent is any callable
        async def run(task: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401  its context
            self.turns[task.task_id] += 1
            requests = agent(task)
            try:
                request = await anext(requests)
                while True:
                    try:
                        reply = yield request
                    except Exception as error:  # noqa: BLE001  the engine's answer, handed on
                        request = await requests.athrow(error)
                    else:
                        request = await requests.asend(reply)
            except StopAsyncIteration:
                return
            finally:
                self.turns[task.task_id] -= 1
                await requests.aclose()

        return run


def _like(agent: Agent, made: Any) -> Agent:  # noqa: ANN401  an agent of the same kind
    functools.update_wrapper(made, cast("Any", agent), updated=())
    return cast("Agent", made)
