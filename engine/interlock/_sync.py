"""What a plain function sees of its task: the calls of `_context`, blocking its thread."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast, overload

from interlock._agent import MISSING, Content
from interlock._context import TaskContext, TaskInput
from interlock._form import FormLike
from interlock._record import OnDeny
from interlock.models import JsonObject, JsonValue

V = TypeVar("V")


class RunOnLoop(Protocol):
    """Runs a coroutine on the event loop and waits for it from another thread."""

    def __call__(self, coroutine: Coroutine[Any, Any, V], /) -> V:
        """What the coroutine returns; raises what it raises, or `TaskStopped`."""
        ...


class SyncTaskContext:
    """The task, as an agent on a thread of its own sees it: the same calls, blocking.

    Every call raises `TaskStopped` once the task is being stopped.
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
    def deadline(self) -> float | None:
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
