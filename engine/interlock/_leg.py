"""One leg of a tool call: the tool is called once, under its time limit.

Most tools have one leg.  One that wants something first, or works on by itself, is gone on
with in further ones (see `tools.Unfinished`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from interlock._asking import Asking
from interlock._asking import Desk as AskingDesk
from interlock._call import Call, log_raised, words_of
from interlock._handover import Handover, Show
from interlock._outcome import said_of
from interlock._record import AskKind
from interlock._schema import check_schema, problems_of
from interlock._stopwatch import Stopwatch, TimeIsUp
from interlock._thread import Workers, tried
from interlock._toolbox import Toolbox
from interlock.errors import (
    InvalidInput,
    PluginFailed,
    TaskParked,
    TaskStopped,
    ToolError,
    ToolTimedOut,
)
from interlock.models import JsonObject, JsonValue
from interlock.policy import Policy
from interlock.tools import Tool, ToolOutcome, ToolResult, Unfinished

V = TypeVar("V")


class Desk(AskingDesk, Protocol):
    """What a leg needs of its turn."""

    @property
    def toolbox(self) -> Toolbox:
        """The tools of the engine."""
        ...

    @property
    def carried(self) -> Mapping[str, str]:
        """What the requests of the task carried."""
        ...

    @property
    def owner(self) -> str:
        """Whose task it is."""
        ...

    @property
    def put_aside(self) -> bool:
        """See `tools.ToolUse`."""
        ...

    @property
    def workers(self) -> Workers:
        """The threads of blocking tools."""
        ...

    async def wait_for(self, *works: "asyncio.Future[Any]") -> bool:
        """See `_journal.Desk`."""
        ...


class Tell(Protocol):
    """Says in one line how far the work is."""

    async def __call__(self, message: str, fraction: float | None = None) -> None:
        """Durable when it returns."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a call, to be made."""

    tool: Tool
    policy: Policy
    arguments: JsonObject
    make: Callable[["_Use"], Coroutine[Any, Any, ToolOutcome]]


class Legs:
    """Makes the legs of one turn's calls."""

    def __init__(self, desk: Desk, asking: Asking, *, show: Show, tell: Tell) -> None:
        self._desk: Final = desk
        self._asking: Final = asking
        self._tell: Final = tell
        self._handover: Final = Handover(show, desk)

    async def made(self, call: Call, leg: Leg) -> JsonObject:
        """What one leg comes to, in the form of the log.

        Raises:
            Exception: whatever it raises.
        """
        policy = leg.policy
        watch = Stopwatch(self._desk.clock, policy.timeout_s)
        use = _Use(self._desk, self._asking, self._tell, call, leg.policy, watch)
        try:
            outcome = await watch.time(_caught(call, leg, use))
        except TimeIsUp:
            why = f"no answer within {policy.timeout_s:g} s; it may have been done all the same"
            raise ToolTimedOut(why, done=call.once) from None
        finally:
            use.over = True
        if isinstance(outcome, ToolResult):
            outcome = await self._checked(call, leg, outcome)
        return said_of(outcome)

    async def _checked(self, call: Call, leg: Leg, result: ToolResult) -> ToolResult:
        """The result as the agent gets it.

        Raises:
            ToolError, PluginFailed: it gets none, and the tool was called all the same.
        """
        _check_result(leg.tool, result)
        try:
            result = await self._desk.toolbox.plugins.result(leg.tool, leg.arguments, result)
        except PluginFailed as error:
            raise PluginFailed(error.plugin, error.hook, error.kind, done=True) from error
        return await self._handover.kept(result, call.key, leg.tool)


class _Use:
    """One leg, as the source of the tool sees it (see `tools.ToolUse`)."""

    def __init__(
        self,
        desk: Desk,
        asking: Asking,
        tell: Tell,
        call: Call,
        policy: Policy,
        watch: Stopwatch,
    ) -> None:
        self._desk: Final = desk
        self._asking: Final = asking
        self._tell: Final = tell
        self._call: Final = call
        self._policy: Final = policy
        self._watch: Final = watch
        self._asks = 0
        #: Whether it must not be made again, whatever became of it.
        self.once: Final = call.once
        #: It has ended, or was given up: a tool that goes on all the same has no say any more.
        self.over = False

    @property
    def task_id(self) -> str:
        """The task that calls."""
        return self._desk.task_id

    @property
    def owner(self) -> str:
        """Whose task it is."""
        return self._desk.owner

    @property
    def token(self) -> str:
        """The idempotency key."""
        return f"{self.task_id}/{self._call.token}"

    @property
    def carried(self) -> Mapping[str, str]:
        """What the task's requests carried."""
        return self._desk.carried

    @property
    def put_aside(self) -> bool:
        """Whether it is unwound to go on later."""
        return self._desk.put_aside

    async def ask(self, name: str, prompt: str, form: JsonObject) -> JsonValue:
        """Ask a person while the call is open."""
        self._check_open()
        check_schema(form)
        self._asks += 1
        # Made again after a crash, the call asks anew: nobody may still listen to that answer.
        begun = self._desk.memory.calls[self._call.key].begun
        key = f"{self._call.key}:live-{begun}-{self._asks}:{name}"
        asked = self._asking.governed(key, AskKind.INPUT, prompt, form, self._policy)
        with self._watch.paused():
            return (await self._asking.closed(asked, None)).value

    async def progress(self, message: str, fraction: float | None = None) -> None:
        """Say how far the work is."""
        self._check_open()
        await self._tell(message, fraction)

    async def on_thread(self, work: Callable[[], V]) -> V:
        """What a blocking function returns."""
        self._check_open()
        doing = self._desk.workers.run(partial(tried, work))
        await self._desk.wait_for(doing, self._watch.late)
        if not doing.done():
            raise asyncio.CancelledError  # It may never end, and nobody waits for it.
        return doing.result()()

    def _check_open(self) -> None:
        if self.over:
            raise ToolError("the call is over")


async def _caught(call: Call, leg: Leg, use: _Use) -> ToolOutcome:
    """What the leg comes to; a tool cannot end the process, nor tell the agent to stop.

    Raises:
        Exception: whatever it raises.
    """
    task = asyncio.current_task()
    assert task is not None
    done = use.once  # What raises in the middle may have been done.
    try:
        outcome = await leg.make(use)
    except (TaskParked, TaskStopped, ToolError):
        raise
    except asyncio.CancelledError as error:
        if task.cancelling():
            raise
        raise ToolError("it was cancelled", done=done) from error  # By nobody here.
    except Exception as error:
        if leg.policy.show_errors:
            log_raised(use.task_id, call.key, error)
            said = f"{type(error).__name__}: {words_of(error)}"
            raise ToolError(said, done=done) from error
        raise
    except BaseException as error:
        log_raised(use.task_id, call.key, error)
        raise ToolError(f"it raised {type(error).__name__}", done=done) from error
    given = cast("object", outcome)
    if not isinstance(given, ToolResult | Unfinished):
        kind = type(given).__name__
        raise ToolError(f"it was called, and gave a {kind}, which is no result", done=True)
    return outcome


def _check_result(tool: Tool, result: ToolResult) -> None:
    """Check what the tool says that it gives: what it gives instead was not agreed upon.

    Raises:
        ToolError: it is something else; the tool was called all the same.
    """
    if tool.output_schema is None or result.is_error:
        return
    try:
        check_schema(tool.output_schema)
    except InvalidInput:
        return  # It is a claim of the source, and nothing depends on it.
    if "structured" not in result.model_fields_set:
        why = "it was called, and gave no structured result although it says it does"
        raise ToolError(why, done=True)
    if problems := problems_of(result.structured, tool.output_schema):
        why = f"it was called, and its result is not what it says: {problems[0]}"
        raise ToolError(why, done=True)
