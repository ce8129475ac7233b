"""What a plain function sees of its task: the calls of `_context`, blocking its thread."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast, overload

from interlock._agent import MISSING, Content
from interlock._call import Call, log_mistake, raised
from interlock._context import TaskContext, TaskInput
from interlock._form import FormLike
from interlock._memory import Ended
from interlock._phases import Phase
from interlock._record import OnDeny
from interlock._toolbox import Toolbox
from interlock.errors import EngineError
from interlock.models import JsonObject, JsonValue
from interlock.tools import Tool, ToolCall, ToolResult

V = TypeVar("V")


class RunOnLoop(Protocol):
    """Runs a coroutine on the event loop and waits for it from another thread."""

    def __call__(self, coroutine: Coroutine[Any, Any, V], /, *, insists: bool = False) -> V:
        """What the coroutine returns; raises what it raises, `TaskStopped` or `TaskParked`.

        With `insists` it is run although the agent was told to stop.
        """
        ...


class SyncTaskContext:
    """The task, as an agent on a thread of its own sees it: the same calls, blocking.

    Every call raises `TaskStopped` once the task is being stopped.  Where the task waits for
    somebody the thread is let go, by `TaskParked`, and the function is run again from its
    first line when the answer is there (`Limits.park_after_s`).
    """

    def __init__(self, context: TaskContext, run: RunOnLoop) -> None:
        self._context: Final = context
        self._run: Final = run

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._context.task_id

    @property
    def owner(self) -> str:
        """Whom the task belongs to."""
        return self._context.owner

    @property
    def context_id(self) -> str:
        """The conversation that the task is part of."""
        return self._context.context_id

    @property
    def agent(self) -> str:
        """The name of the agent that is run, as `Engine.agents` has it."""
        return self._context.agent

    @property
    def attempt(self) -> int:
        """1 for the first attempt; a retry is the next."""
        return self._context.attempt

    @property
    def input(self) -> TaskInput:
        """What the task was submitted with."""
        return self._context.input

    @property
    def cancelled(self) -> bool:
        """Whether the task is being stopped, for agents that look now and then."""
        return self._context.cancelled

    @property
    def deadline(self) -> float:
        """When the task runs out of time at the latest, seconds since 1970."""
        return self._context.deadline

    @overload
    def ask(
        self,
        prompt: str,
        form: type[V],
        *,
        default: Any = MISSING,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> V: ...
    @overload
    def ask(
        self,
        prompt: str,
        form: JsonObject,
        *,
        default: Any = MISSING,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> Any: ...
    @overload
    def ask(
        self,
        prompt: str,
        *,
        default: Any = MISSING,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> str: ...
    def ask(self, prompt: str, form: FormLike = str, **options: Any) -> Any:
        """See `TaskContext.ask`."""
        return self._run(self._context.ask(prompt, cast("Any", form), **options))

    def authorize(
        self,
        tool: str,
        arguments: Mapping[str, JsonValue],
        *,
        prompt: str | None = None,
        schema: Mapping[str, JsonValue] | None = None,
        allow_edit: bool = False,
        on_deny: OnDeny = "stop",
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> JsonObject:
        """See `TaskContext.authorize`."""
        return self._run(
            self._context.authorize(
                tool,
                arguments,
                prompt=prompt,
                schema=schema,
                allow_edit=allow_edit,
                on_deny=on_deny,
                expires_s=expires_s,
                approvers=approvers,
                phase=phase,
                key=key,
            )
        )

    def emit(
        self,
        content: Content,
        *,
        artifact_id: str | None = None,
        name: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        append: bool = False,
        last_chunk: bool = False,
    ) -> str:
        """See `TaskContext.emit`."""
        return self._run(
            self._context.emit(
                content,
                artifact_id=artifact_id,
                name=name,
                description=description,
                metadata=metadata,
                append=append,
                last_chunk=last_chunk,
            )
        )

    def progress(self, message: str, fraction: float | None = None) -> None:
        """See `TaskContext.progress`."""
        self._run(self._context.progress(message, fraction))

    @overload
    def call(
        self,
        fn: Callable[..., Awaitable[V]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = False,
        key_as: str | None = None,
        **kwargs: Any,
    ) -> V: ...
    @overload
    def call(
        self,
        fn: Callable[..., V],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = False,
        key_as: str | None = None,
        **kwargs: Any,
    ) -> V: ...
    def call(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = False,
        key_as: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `TaskContext.call`; a plain function runs on the agent's own thread."""
        if inspect.iscoroutinefunction(fn):
            # One way over: between two the thread might be told to end, with the call begun.
            called = self._context.call(
                fn, *args, key=key, idempotent=idempotent, key_as=key_as, **kwargs
            )
            return self._run(called)
        journal = self._context.journal
        begun: list[Call] = []

        async def begin() -> tuple[Call, Ended | None]:
            call, ended = await journal.begun(fn, args, kwargs, key=key, idempotent=idempotent)
            if ended is None:
                begun.append(call)
            return call, ended

        try:
            call, ended = self._run(begin())
        except BaseException:
            # It may have begun before this thread was told to end.
            self._run(journal.unmade(begun), insists=True)
            raise
        if ended is None:
            kwargs |= self._context.key_argument(call, key_as)
            ended = self._made(call, partial(fn, *args, **kwargs))
        return self._run(journal.value(call, ended))

    @property
    def tools(self) -> list[Tool]:
        """The tools that the agent may call now."""
        return self._context.tools

    @property
    def toolbox(self) -> Toolbox:
        """See `TaskContext.toolbox`."""
        return self._context.toolbox

    def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> ToolResult:
        """See `TaskContext.call_tool`."""
        return self._run(self._context.call_tool(name, arguments, key=key))

    def call_tools(self, calls: Sequence[ToolCall]) -> list[ToolResult | EngineError]:
        """See `TaskContext.call_tools`."""
        return self._run(self._context.call_tools(calls))

    def journal_time(self) -> float:
        """See `TaskContext.journal_time`."""
        return self._run(self._context.journal_time())

    def journal_value(self, make: Callable[[], JsonValue]) -> JsonValue:
        """See `TaskContext.journal_value`; `make` is called on the event loop."""
        return self._run(self._context.journal_value(make))

    def journal_random(self) -> float:
        """See `TaskContext.journal_random`."""
        return self._run(self._context.journal_random())

    def _made(self, call: Call, work: Callable[[], Any]) -> Ended:
        """Make a call that is begun, here, and write down what it came to."""
        said: Ended | None = None
        try:
            with self._context.journal.making(call, work) as making:
                value = work()
                if inspect.isawaitable(value):
                    value = self._run(_awaited(value))
                ended = said = making.ended = call.returned(value)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
            # Whatever it is, it is what the call came to.
            self._context.journal.check_goes_on(call, error)
            ended = said = raised(error)
            if not self._context.cancelled:
                log_mistake(self.task_id, call.key, error)
        finally:
            self._run(self._context.journal.ended(call, said), insists=True)
        return ended


async def _awaited(value: Awaitable[V]) -> V:
    return await value
