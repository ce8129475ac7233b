"""The same agent three times: async, on a thread, as a generator.  It does what it is told.

Its input is a list of steps, each `{"do": ..., "name": ...}` with a name of its own, and its
result is what each step gave.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

from faults.failpoints import passed
from faults.world import Effect, do
from interlock import Ask, Authorize, Emit, Progress, Result, SyncTaskContext, TaskContext
from interlock.errors import Denied

Step = dict[str, Any]


#: Seconds from what a call did to its end; one value for a process.
_PACE: Final = {"seconds": 0.0}


def take(seconds: float) -> None:
    """Have every call take so long after it did what it does, in this process."""
    _PACE["seconds"] = seconds


def charge(name: str, *, call: str) -> str:
    """Must not be done twice."""
    return _slowly(Effect(call, "charge", idempotent=False, pid=os.getpid(), what=name))


def fetch(name: str, *, call: str) -> str:
    """May be done again, under the same key."""
    return _slowly(Effect(call, "fetch", idempotent=True, pid=os.getpid(), what=name))


async def order(name: str, *, call: str) -> str:
    """Must not be done twice, and is awaited."""
    done = _done(Effect(call, "order", idempotent=False, pid=os.getpid(), what=name))
    if seconds := _PACE["seconds"]:
        await asyncio.sleep(seconds)
    return done


def book(leave: str, arguments: dict[str, Any], *, call: str) -> str:
    """Needs leave, and must not be done twice."""
    return _slowly(
        Effect(call, "book", idempotent=False, pid=os.getpid(), what=arguments, leave=leave)
    )


def _slowly(effect: Effect) -> str:
    done = _done(effect)
    if seconds := _PACE["seconds"]:
        time.sleep(seconds)
    return done


def _done(effect: Effect) -> str:
    passed("before_effect")
    do(effect)
    passed("after_effect")
    return f"{effect.name} done"


CALLS: Final[dict[str, Any]] = {"charge": charge, "fetch": fetch, "order": order}


async def by_coroutine(task: TaskContext) -> Any:
    """An async function."""
    results: list[Any] = []
    for step in _steps(task.input.data):
        match step["do"]:
            case "ask":
                results.append(await task.ask(step["name"], key=step["name"]))
            case "both":
                results += await _both(task, step)
            case "authorize":
                results.append(await _booked(task, step))
            case "emit":
                await task.emit(step["name"])
            case "progress":
                await task.progress(step["name"])
            case "note":
                results.append([await task.journal_time(), await task.journal_random()])
            case "work":
                await asyncio.sleep(step["seconds"])
            case does:
                results.append(
                    await task.call(
                        CALLS[does], step["name"], idempotent=does == "fetch", key_as="call"
                    )
                )
    return {"results": results}


async def _both(task: TaskContext, step: Step) -> list[Any]:
    """Two questions at once."""
    return await asyncio.gather(
        *(task.ask(key, key=key, **options) for key, options in _pair(step))
    )


def _pair(step: Step) -> list[tuple[str, dict[str, Any]]]:
    """Two questions, of which the second may be left unanswered."""
    name = step["name"]
    return [(f"{name}-a", {}), (f"{name}-b", {"default": "none given"})]


async def _booked(task: TaskContext, step: Step) -> str:
    leave = step["name"]
    try:
        approved = await task.authorize("book", step["arguments"], **_terms(step))
    except Denied:
        return "denied"
    return await task.call(book, leave, approved, key_as="call")


def by_thread(task: SyncTaskContext) -> Any:
    """A plain function."""
    results: list[Any] = []
    for step in _steps(task.input.data):
        match step["do"]:
            case "ask":
                results.append(task.ask(step["name"], key=step["name"]))
            case "both":  # Here one after the other: a thread asks and waits.
                for key, options in _pair(step):
                    results.append(task.ask(key, key=key, **options))
            case "authorize":
                results.append(_booked_on_a_thread(task, step))
            case "emit":
                task.emit(step["name"])
            case "progress":
                task.progress(step["name"])
            case "note":
                results.append([task.journal_time(), task.journal_random()])
            case "work":
                time.sleep(step["seconds"])
            case does:
                results.append(
                    task.call(CALLS[does], step["name"], idempotent=does == "fetch", key_as="call")
                )
                time.sleep(0.001)
    return {"results": results}


def _booked_on_a_thread(task: SyncTaskContext, step: Step) -> str:
    try:
        approved = task.authorize("book", step["arguments"], **_terms(step))
    except Denied:
        return "denied"
    return task.call(book, step["name"], approved, key_as="call")


async def by_generator(task: TaskContext) -> AsyncGenerator[Any, Any]:
    """A generator of requests."""
    results: list[Any] = []
    for step in _steps(task.input.data):
        match step["do"]:
            case "ask":
                results.append((yield Ask(step["name"], key=step["name"])))
            case "both":
                results += await _both(task, step)
            case "authorize":
                try:
                    approved = yield Authorize(
                        tool="book", arguments=step["arguments"], **_terms(step)
                    )
                    results.append(await task.call(book, step["name"], approved, key_as="call"))
                except Denied:
                    results.append("denied")
            case "emit":
                yield Emit(step["name"])
            case "progress":
                yield Progress(step["name"])
            case "note":
                results.append([await task.journal_time(), await task.journal_random()])
            case "work":
                await asyncio.sleep(step["seconds"])
            case does:
                results.append(
                    await task.call(
                        CALLS[does], step["name"], idempotent=does == "fetch", key_as="call"
                    )
                )
    yield Result({"results": results})


def _terms(step: Step) -> dict[str, Any]:
    return {"key": step["name"], "allow_edit": True, "on_deny": step["on_deny"]}


def _steps(given: Any) -> list[Step]:
    steps: list[Step] = given["steps"]
    return steps


AGENTS: Final[dict[str, Any]] = {
    "coroutine": by_coroutine,
    "thread": by_thread,
    "generator": by_generator,
}
