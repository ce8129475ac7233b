"""Agents and tools to be fuzzed: together they can take every row of the shipped lifecycle."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, Field

from interlock import (
    Agent,
    Ask,
    Authorize,
    Emit,
    Engine,
    JsonObject,
    Limits,
    Progress,
    Result,
    Retry,
    SyncTaskContext,
    TaskContext,
)
from interlock.errors import CallFailed, Denied, Rejected, Retryable

LIMITS = Limits(
    running_turns_max=3,
    ask_s=60.0,
    run_s=300.0,
    task_s=2_000.0,
    grace_s=5.0,
    drain_s=2.0,
    park_after_s=5.0,
    recoveries_max=3,
    retry=Retry(attempts_max=2, backoff_s=3.0),
)
ARGUMENTS = {"amount": 5}
EDITABLE: JsonObject = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "minimum": 1}},
}
#: What the agents below do, step by step.
SCRIPTS = (
    "ask emit",
    "default progress",
    "two",
    "three",
    "ask-and-show",
    "pay",
    "edit tell",
    "tell emit",
    "call note ask",
    "break once",
    "retry emit",
    "reject",
    "fail",
    "give-up",
    "give-up-one",
    "give-up-two",
    "give-up-auth",
    "sleep",
    "hang",
    "hang-asking",
    "plain-call",
    "slow-call",
    "call-beside",
    "both-default",
)


class Order(BaseModel):
    """What one agent asks for."""

    item: Literal["tea", "coffee"]
    amount: int = Field(ge=1, le=9)
    note: str | None = Field(default=None, max_length=20)


async def charge(amount: int) -> str:
    """Something done outside."""
    await asyncio.sleep(0.5)
    return f"charged {amount}"


def slowly(number: int) -> int:
    """Something that nobody can stop."""
    time.sleep(2.0)
    return number


async def breaks() -> None:
    """Something that cannot be done."""
    raise OSError("broken")


async def _tell(task: TaskContext, within_s: float | None = None) -> None:
    with suppress(Denied):
        await task.authorize("pay", ARGUMENTS, on_deny="tell_agent", expires_s=within_s)


async def _ask_default(task: TaskContext) -> int:
    return await task.ask("how many?", int, default=7, expires_s=20.0)


async def _show(task: TaskContext) -> None:
    await asyncio.sleep(1.0)
    await task.emit("beside", artifact_id="b")
    await task.progress("beside", 0.5)
    await task.journal_time()


async def _later(work: Awaitable[Any]) -> None:
    await asyncio.sleep(0.2)
    await work


async def _step(task: TaskContext, step: str) -> None:  # noqa: C901, PLR0912  one case a step
    match step:
        case "ask":
            await task.ask("what?", Order)
        case "default":
            await _ask_default(task)
        case "two":
            await asyncio.gather(task.ask("one?", int), task.authorize("pay", ARGUMENTS))
        case "three":
            await asyncio.gather(
                *(_ask_default(task), task.ask("two?", int), _tell(task, 10.0), _tell(task))
            )
        case "both-default":
            await asyncio.gather(_ask_default(task), _ask_default(task), _tell(task, 5.0))
        case "ask-and-show":
            await asyncio.gather(_tell(task), _ask_default(task), _show(task))
            await asyncio.gather(_ask_default(task), _show(task))
        case "pay":
            assert await task.authorize("pay", ARGUMENTS) == ARGUMENTS
        case "edit":
            await task.authorize("pay", ARGUMENTS, schema=EDITABLE, allow_edit=True)
        case "tell":
            await _tell(task)
        case "call":
            await task.call(charge, 5)
        case "note":
            await task.journal_time()
        case "break":
            with suppress(CallFailed):
                await task.call(breaks)
        case _:
            await _more(task, step)


async def _more(task: TaskContext, step: str) -> None:  # noqa: C901, PLR0912  one case a step
    match step:
        case "give-up":
            with suppress(TimeoutError):
                async with asyncio.timeout(10.0):
                    await task.ask("soon?", str)
        case "give-up-one":
            with suppress(TimeoutError):
                async with asyncio.timeout(3.0):
                    await asyncio.gather(task.ask("a?", str), task.authorize("pay", ARGUMENTS))
        case "give-up-auth":
            async with asyncio.TaskGroup() as group:
                group.create_task(_given_up(task, "tell"))
                group.create_task(_given_up(task, "tell"))
                group.create_task(_ask_default(task))
        case "once" | "retry" if task.attempt == 1:
            raise Retryable("not yet")
        case "reject":
            raise Rejected("not this one")
        case "fail":
            raise ValueError("a bug of the agent")
        case "sleep":
            await asyncio.sleep(1_000.0)
        case "hang":
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(40.0)
                    break
        case "give-up-two":
            await asyncio.gather(_given_up(task, "ask"), _given_up(task, "ask"))
        case "slow-call":
            await task.call(asyncio.sleep, 30.0)
        case "hang-asking":
            try:
                await task.ask("in time?", str, expires_s=4.0)
            except asyncio.CancelledError:
                await asyncio.sleep(40.0)
        case "call-beside":
            await asyncio.gather(task.call(charge, 1), _later(_tell(task)))
            await asyncio.gather(task.call(charge, 3), _later(_ask_default(task)))
        case "plain-call":
            await task.call(slowly, 4)
        case "emit":
            await task.emit("chunk", artifact_id="a", append=True)
        case _:
            await task.progress("on it", 0.5)


async def _given_up(task: TaskContext, step: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(2.0):
            await _step(task, step)


async def agent(task: TaskContext) -> str:
    """Do what the submission says, step by step."""
    for step in task.input.text.split():
        await _step(task, step)
    return "done"


def plain(task: SyncTaskContext) -> str:
    """A plain function that does some of it."""
    for step in task.input.text.split():
        match step:
            case "ask" | "default":
                task.ask("how many?", int, default=3)
            case "pay" | "edit" | "tell":
                with suppress(Denied):
                    task.authorize("pay", ARGUMENTS, on_deny="tell_agent")
            case "call":
                task.call(_plainly, 1)
            case "reject":
                raise Rejected("not this one")
            case "retry" if task.attempt == 1:
                raise Retryable("not yet")
            case "fail":
                raise ValueError("a bug of the agent")
            case _:
                task.progress(step)
    return "done"


def _plainly(number: int) -> int:
    return number + 1


async def generator(task: TaskContext) -> AsyncGenerator[Any, Any]:
    """A generator of requests."""
    yield Progress("on it", 0.1)
    if "ask" in task.input.text:
        yield Emit(f"chosen: {(yield Ask('what?', Order)).item}")
    if "pay" in task.input.text:
        with suppress(Denied):
            yield Authorize(tool="pay", arguments=ARGUMENTS, on_deny="tell_agent")
    yield Result({"text": task.input.text})


def example() -> Engine:
    """An engine with all of them."""
    agents: dict[str, Agent] = {"agent": agent, "plain": plain, "generator": generator}
    return Engine(agents, store="memory:", limits=LIMITS)
