"""What a call returns is of the type that the function names, the first time as ever after."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from interlock import Limits, SyncTaskContext, TaskContext
from interlock.errors import CallFailed
from support import log_of, opened, pause, soon, triggers, until

PARKED = Limits(park_after_s=0.0)
NOW = Limits(park_after_s=0.0, drain_s=0.0, grace_s=0.001)


async def test_a_result_of_another_type_than_named_is_an_error_and_done() -> None:
    """It is known to be done, and nobody gets what they do not expect.  Source: I16, R-JRN-14."""
    done: list[str] = []

    def count() -> int:
        done.append("counted")
        wrong: Any = "many"
        return wrong  # type: ignore[no-any-return]

    async def agent(task: TaskContext) -> str:
        with pytest.raises(CallFailed, match="is not of its type"):
            await task.call(count)
        return "fine"

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) == "fine"
        assert done == ["counted"]


async def test_a_result_that_a_new_version_cannot_read_is_an_operators() -> None:
    """The function returns another type than it did.  Source: the bad input of issue 3."""

    def count_1() -> str:
        return "many"

    def count_2() -> int:
        return 7

    count_1.__name__ = count_2.__name__ = "count"
    count: Callable[[], Any] = count_1

    async def agent(task: TaskContext) -> str:
        await task.call(count)
        return str(await task.ask("go on?"))

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await pause()
        count = count_2
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert "for a type that it does not fit" in ask.prompt


async def test_a_value_that_is_no_result_is_asked_for_again() -> None:
    """A person is told what is wrong with it.  Source: issue 3, in-doubt calls."""
    done: list[str] = []

    async def count() -> int:
        done.append("counted")
        await pause(10_000)
        return 7

    async def agent(task: TaskContext) -> int:
        return await task.call(count)

    async with opened(agent, limits=NOW) as world:
        handle = await world.submit()
        await until(lambda: bool(done))
        store = world.crash()
    async with opened(agent, limits=PARKED, store=store) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        await handle.answer(ask.key, {"decision": "use_value", "value": "many"})
        (again,) = (await soon(handle.rest())).asks
        assert again.key != ask.key
        assert "valid integer" in again.prompt
        await handle.answer(again.key, {"decision": "use_value", "value": 3})
        assert await soon(handle.result()) == 3
        assert done == ["counted"]


async def test_a_partial_and_a_callable_object_are_called_by_their_names() -> None:
    """What they bind need not be JSON.  Source: ours."""

    class Finder:
        """Finds things."""

        def __call__(self, what: str) -> str:
            """Find one."""
            return f"a {what}"

    def join(separator: object, *words: str) -> str:
        return str(separator).join(words)

    async def agent(task: TaskContext) -> str:
        found = await task.call(Finder(), "hat")
        return await task.call(functools.partial(join, "-"), found, "stand")

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "a hat-stand"
        begun = [e.data["name"] for e in world.log(handle) if e.trigger.value == "call"]
        assert begun == ["Finder", "join"]


async def test_a_plain_agent_calls_async_functions_and_takes_the_time() -> None:
    """On the loop, from its thread.  Source: issue 3."""

    async def search(city: str) -> str:
        return f"a flight to {city}"

    def agent(task: SyncTaskContext) -> str:
        before = (task.journal_time(), task.journal_random())
        found = task.call(search, "Rome")
        answer = task.ask("go on?")
        assert before[0] <= task.journal_time()
        return f"{found}: {answer}"

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "a flight to Rome: yes"
        assert triggers(await log_of(handle)).count("note") == 3


async def test_what_a_call_notes_is_its_own() -> None:
    """At a replay it is not made, and counts nothing.  Source: a review."""
    seen: list[float] = []

    async def agent(task: TaskContext) -> str:
        async def stamp() -> float:
            return await task.journal_time()

        seen.append(await task.call(stamp))
        seen.append(await task.journal_time())
        return str(await task.ask("go on?"))

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await world.elapse(5.0)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        assert seen[:2] == seen[2:]
        assert triggers(world.log(handle)).count("note") == 1
