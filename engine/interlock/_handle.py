"""What a caller holds of a task it submitted, and what a task can do next."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pydantic import ValidationError

from interlock._event import Event
from interlock._form import faults_of
from interlock._outbox import TaskView
from interlock._phases import Phase, Trigger
from interlock._record import Ask, AskKind, Ended, TaskRecord
from interlock.errors import InvalidInput, TaskNotCompleted
from interlock.models import Answer, Approval, Denial, JsonObject, JsonValue, Part
from interlock.models import Value as Model

if TYPE_CHECKING:
    from interlock._engine import Engine


S = TypeVar("S", bound=Model)

#: A result as its caller thinks of it; see `value_of`.
Value: TypeAlias = JsonValue | tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Possible:
    """One thing that a client may do now; `ask` is what it is about, None for cancel."""

    trigger: Trigger
    ask: Ask | None = None


def can(record: TaskRecord) -> tuple[Possible, ...]:
    """What a client may do with the task now, the open asks in the order they came."""
    possible: list[Possible] = []
    for ask in record.asks:
        if ask.kind is AskKind.INPUT:
            possible.extend((Possible(Trigger.PROVIDE_INPUT, ask), Possible(Trigger.DECLINE, ask)))
        else:
            possible.extend((Possible(Trigger.APPROVE, ask), Possible(Trigger.DENY, ask)))
    if not isinstance(record.details, Ended):
        possible.append(Possible(Trigger.CANCEL))
    return tuple(possible)


def value_of(parts: tuple[Part, ...]) -> Value:
    """A result as its caller thinks of it: nothing, text, a JSON value, or several parts."""
    match parts:
        case ():
            return None
        case (Part(text=str() as text),):
            return text
        case (Part(raw=None, url=None, data=data),):
            return data
        case _:
            return parts


class TaskHandle:
    """One task, in the name of its owner."""

    def __init__(self, engine: "Engine", record: TaskRecord, *, created: bool) -> None:
        self._engine: Final = engine
        #: The task as of the commit that made it (or as it was found).  It never changes: see
        #: `rest`, `over` and `Engine.record` for what is so by now.
        self.record: Final = record
        #: False when an earlier request with the same token made it.
        self.created: Final = created

    def __repr__(self) -> str:
        """The id; of the phase it knows only what was."""
        return f"<TaskHandle {self.task_id!r} of {self.record.owner!r}>"

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.record.task_id

    def events(self, after: int = 0) -> AsyncGenerator[Event]:
        """Each event after that number, then each as it is committed: see `Engine.subscribe`.

        `Engine.events` is those that there are, and no more.
        """
        return self._engine.subscribe(self.task_id, owner=self.record.owner, after=after)

    async def rest(self) -> TaskRecord:
        """Wait until the task waits for somebody or is over; `Engine.rest` has its log as well.

        Raises:
            NotAccepting: the engine closes before that.
        """
        return (await self._engine.rest(self.task_id, owner=self.record.owner)).record

    async def over(self) -> TaskRecord:
        """Wait until the task is over; `Engine.over` has its log as well.

        Raises:
            NotAccepting: the engine closes before that.
        """
        return (await self._engine.over(self.task_id, owner=self.record.owner)).record

    async def result(self) -> Value:
        """Wait until the task is over, and return what its agent returned.

        Raises:
            TaskNotCompleted: it ended otherwise.
            NotAccepting: the engine closes before that.
        """
        view = await self._engine.over(self.task_id, owner=self.record.owner)
        return result_of(view)

    async def answer(
        self, ask: Ask | str, value: JsonValue, *, token: str | None = None
    ) -> TaskRecord:
        """Answer an ask, or the one of that key; see `Engine.answer`.

        Raises:
            InvalidInput: something is not of its kind.
        """
        answer = _made(Answer, ask=_key(ask), value=value)
        owner = self.record.owner
        return await self._engine.answer(self.task_id, answer, owner=owner, token=token)

    async def decline(
        self, ask: Ask | str, *, reason: str | None = None, token: str | None = None
    ) -> TaskRecord:
        """Answer nothing to an ask, or to the one of that key; see `Engine.decline`."""
        owner = self.record.owner
        return await self._engine.decline(
            self.task_id, _key(ask), owner=owner, token=token, reason=reason
        )

    async def approve(
        self,
        ask: Ask | str,
        *,
        digest: str | None = None,
        arguments: JsonObject | None = None,
        reason: str | None = None,
        token: str | None = None,
    ) -> TaskRecord:
        """Say yes to an ask as it was shown, or to what the digest names; see `Engine.decide`.

        Raises:
            InvalidInput: the ask is given by its key alone, without a digest, or wants a value,
                or something is not of its kind.
        """
        decision = _made(
            Approval,
            ask=_key(ask),
            digest=_digest(ask, digest),
            decision="approve",
            arguments=arguments,
            reason=reason,
        )
        return await self._decide(decision, token)

    async def deny(
        self,
        ask: Ask | str,
        *,
        digest: str | None = None,
        reason: str | None = None,
        token: str | None = None,
    ) -> TaskRecord:
        """Say no; see `approve`."""
        decision = _made(
            Denial, ask=_key(ask), digest=_digest(ask, digest), decision="deny", reason=reason
        )
        return await self._decide(decision, token)

    async def _decide(self, decision: Approval | Denial, token: str | None) -> TaskRecord:
        owner = self.record.owner
        return await self._engine.decide(self.task_id, decision, owner=owner, token=token)

    async def cancel(
        self, reason: str | None = None, *, ask: Ask | str | None = None
    ) -> TaskRecord:
        """Ask for it to stop, with `ask` only while that one is open; see `Engine.cancel`."""
        key = None if ask is None else _key(ask)
        return await self._engine.cancel(
            self.task_id, owner=self.record.owner, reason=reason, ask=key
        )


def _key(ask: Ask | str) -> str:
    return ask.key if isinstance(ask, Ask) else ask


def _made(kind: type[S], **said: object) -> S:
    """What a client says, of JSON that nobody has looked at.

    Raises:
        InvalidInput: something is not of its kind; it is not quoted.
    """
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise InvalidInput(faults_of(error)) from None


def _digest(ask: Ask | str, digest: str | None) -> str:
    """What the ask was shown to be about.

    Raises:
        InvalidInput: nobody says what is decided, or there is nothing to decide.
    """
    shown = ask.digest if digest is None and isinstance(ask, Ask) else digest
    if not shown and isinstance(ask, Ask) and ask.kind is AskKind.INPUT:
        raise InvalidInput([f"{ask.key!r} wants a value: answer or decline it"])
    if not shown:
        raise InvalidInput(
            [f"what is decided of {_key(ask)!r} is named by a digest, or by the ask itself"]
        )
    return shown


def result_of(view: TaskView) -> Value:
    """What the agent of a task that is over returned.

    Raises:
        TaskNotCompleted: it ended otherwise.
    """
    details = view.record.details
    assert isinstance(details, Ended)
    if details.outcome is not Phase.COMPLETED:
        raise TaskNotCompleted(view.record.task_id, details.outcome, details.code, details.message)
    completed = next(e for e in reversed(view.events) if e.trigger is Trigger.COMPLETE)
    return value_of(tuple(Part.model_validate(part) for part in completed.data["parts"]))
