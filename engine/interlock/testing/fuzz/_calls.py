"""What an agent calls is answered from a recorded log: functions and tools are not called at all.

A call comes to its end when everything that the log has before that end is there again, so that
what happened during a call happens during it once more.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

from interlock._call import Call
from interlock._event import Event
from interlock._journal import Journal
from interlock._memory import Ended
from interlock._payload import NOT_MADE, CallEnded
from interlock._phases import Trigger
from interlock._sync import SyncTaskContext
from interlock.models import JsonValue


class Lived(Protocol):
    """How far the task has come that is lived again."""

    @property
    def log(self) -> Sequence[Event]:
        """What it has in its log."""
        ...

    async def until(self, count: int) -> None:
        """Wait until it has so many events."""


class Script:
    """The ends of all calls of one recorded log."""

    def __init__(self, recorded: Sequence[Event], lived: Lived) -> None:
        self._recorded: Final = recorded
        self._lived: Final = lived

    async def ended(self, key: str) -> Ended:
        """What the call of that key came to, once it is its time; never, where nobody saw it."""
        begun = sum(_is(event, Trigger.CALL, key) for event in self._lived.log)
        at = self._end(key, begun)
        if at is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nothing sets it")
        await self._lived.until(at)
        data = self._recorded[at].data
        return Ended(data["value"], data.get("error"))

    def _end(self, key: str, begun: int) -> int | None:
        """Where the end of a call is that is begun for that time; it may have none."""
        times = 0
        for at, event in enumerate(self._recorded):
            times += _is(event, Trigger.CALL, key)
            if times < begun:
                continue
            if times > begun or (event.trigger is Trigger.RECOVER and times):
                return None
            seen = _is(event, Trigger.CALLED, key) and "by" not in event.data
            if seen and event.data.get("error", {}).get("code") != NOT_MADE:
                return at
        return None

    def noted(self, key: str, value: JsonValue) -> JsonValue:
        """What was remembered by that key; what is new stays as it is."""
        for event in self._recorded:
            if _is(event, Trigger.NOTE, key):
                return cast("JsonValue", event.data["value"])
        return value


def _is(event: Event, trigger: Trigger, key: str) -> bool:
    return event.trigger is trigger and event.data["key"] == key


@contextmanager
def answered_by(script: Script) -> Generator[None]:
    """A block in which every call of this process is answered by the script.

    There is no other way to what runs a call than past it: one journal makes the calls of
    functions, tools and models, and the synchronous context those of its own thread.
    """
    noted = Journal.noted

    async def made(
        self: Journal,
        call: Call,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        waits: bool = True,
        tool: str = "",
    ) -> Ended:
        del fn, args, kwargs, tool
        said: CallEnded | None = None
        desk = self._desk
        try:
            ended = await script.ended(call.key)
            said = _said(call, ended)
        finally:
            await desk.end(said, waits=waits)
        return ended

    async def noted_again(self: Journal, key: str, value: JsonValue) -> None:
        await noted(self, key, script.noted(key, value))

    def made_here(self: SyncTaskContext, call: Call, work: Callable[[], Any]) -> Ended:
        del work
        run = cast("Callable[[Coroutine[Any, Any, Ended]], Ended]", self._run)
        ended = run(script.ended(call.key))
        journal = self._context.journal
        self._run(journal.ended(call, ended), insists=True)
        return ended

    with _replaced(Journal, "made", made), _replaced(Journal, "noted", noted_again):  # noqa: SIM117
        with _replaced(SyncTaskContext, "_made", made_here):
            yield


@contextmanager
def _replaced(owner: type, name: str, by: Callable[..., Any]) -> Generator[None]:
    before = vars(owner)[name]
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _said(call: Call, ended: Ended) -> CallEnded:
    said: CallEnded = {"epoch": 0, "key": call.key, "value": ended.value}
    if ended.error is not None:
        said["error"] = ended.error
    return said
