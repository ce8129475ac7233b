"""What an agent sees of its task: ask, authorize, call, emit, progress, cancelled, deadline.

It is long because each call is spelled out for type checkers; what each does is short.
"""

import copy
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError

from interlock._agent import MISSING, Content
from interlock._asking import Asking
from interlock._call import Call, InDoubt
from interlock._form import Form, FormLike, faults_of, form_of
from interlock._gate import Desk as GateDesk
from interlock._gate import Gate
from interlock._journal import Journal, own_key
from interlock._json import digest, encoded, own_copy
from interlock._payload import Emitted, Progressed
from interlock._phases import Phase, Trigger
from interlock._record import Active, AskKind, OnDeny, TaskRecord
from interlock._schema import check_schema, problems_of
from interlock._toolbox import Toolbox
from interlock.errors import EngineError, InvalidInput
from interlock.models import Artifact, JsonObject, JsonValue, Part, parts_of
from interlock.tools import Tool, ToolCall, ToolResult

V = TypeVar("V")


class Desk(GateDesk, Protocol):
    """What a context needs of its turn: the only way out of an agent."""

    @property
    def stopping(self) -> bool:
        """Told to stop: nothing that the agent starts from now on will happen."""
        ...

    @property
    def agent_name(self) -> str:
        """By which the engine knows the agent."""
        ...

    @property
    def record(self) -> TaskRecord:
        """The task as of its last commit."""
        ...


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What the task was submitted with."""

    parts: tuple[Part, ...]
    metadata: JsonObject

    @property
    def text(self) -> str:
        """All text parts, joined by line breaks."""
        return "\n".join(part.text for part in self.parts if part.text is not None)

    @property
    def data(self) -> JsonValue:
        """The first data part, None if there is none."""
        return next((p.data for p in self.parts if "data" in p.model_fields_set), None)


class TaskContext:
    """The task, as an async agent sees it.

    An agent may be run again from its first line: after a crash, for a retry, and when an
    answer comes to a task whose turn is gone.  What it asked is then answered from the log,
    and what it showed is not shown again, what it did through `call` is not done again;
    whatever else it did is.  So let it do through `call` what must not be repeated.

    Keys of asks and ids of artifacts are counted in the order of the calls, so an agent
    that calls in the same order gets the same ones when its turn is replayed.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._asks = 0
        self._emits = 0
        self._progresses: Final[Counter[str]] = Counter()
        self._asking: Final = Asking(desk)
        #: What the agent does outside, and the gate to its tools, for the contexts of this package.
        self.journal: Final = Journal(desk, self._inquired)
        self.gate: Final = Gate(
            desk, self.journal, self._asking, show=self.emit, tell=self.progress
        )

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._desk.record.task_id

    @property
    def owner(self) -> str:
        """Whom the task belongs to."""
        return self._desk.record.owner

    @property
    def context_id(self) -> str:
        """The conversation that the task is part of."""
        return self._desk.record.context_id

    @property
    def agent(self) -> str:
        """The name of the agent that is run, as `Engine.agents` has it."""
        return self._desk.agent_name

    @property
    def attempt(self) -> int:
        """1 for the first attempt; a retry is the next."""
        return self._desk.record.attempt

    @property
    def input(self) -> TaskInput:
        """What the task was submitted with."""
        request = self._desk.memory.request
        parts = tuple(Part.model_validate(part) for part in request["parts"])
        return TaskInput(parts, copy.deepcopy(request.get("metadata") or {}))

    @property
    def cancelled(self) -> bool:
        """Whether the task is being stopped, for agents that look now and then."""
        return self._desk.stopping

    @property
    def deadline(self) -> float:
        """When the task, or its run, is out of time, whichever comes first; seconds since 1970."""
        record = self._desk.record
        details = record.details
        if isinstance(details, Active) and details.run_due is not None:
            return min(details.run_due, record.identity.due)
        return record.identity.due

    @overload
    async def ask(
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
    async def ask(
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
    async def ask(
        self,
        prompt: str,
        *,
        default: Any = MISSING,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> str: ...
    async def ask(
        self,
        prompt: str,
        form: FormLike = str,
        *,
        default: Any = MISSING,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        key: str | None = None,
        phase: Phase | None = None,
    ) -> Any:
        """Ask for a value, and wait for one that fits the form.

        `form` is a pydantic model, a type, or a JSON schema.  An answer that does not fit
        is refused and leaves the ask open.  Open for `expires_s` seconds
        (`Limits.ask_s`); then `default` is the answer, and without one the task fails.
        Prefer these to a timeout of your own, which does not survive a restart.

        Of several asks that are open at once, answers are handed over with the last one.
        With `phase` the task waits in that phase of an extended lifecycle (`Lifecycle.extend`).

        Raises:
            InvalidInput: answers cannot be checked against the schema, the default does
                not fit it, or the key was used before.
            Refused: the task has asked too often.
            TaskStopped: this turn is run again and asks something else than before.  It ends
                here whatever the agent catches, and an operator is asked (`ReplayDiverged`).
        """
        made = form_of(form)
        self.journal.check_alone()
        base = key = self._key(key)
        question = prompt
        for again in range(2, self._desk.limits.asks_max + 2):
            asked = self._asking.asked(
                key, AskKind.INPUT, question, made.schema, expires_s, approvers, phase
            )
            if default is not MISSING:
                asked["on_expire"] = "default"
                asked["default"] = _default(default, made)
            reply = await self._asking.closed(asked, made)
            problems = made.problems_of(reply.value)
            if not problems:
                return made.value_of(copy.deepcopy(reply.value))
            # The type wants more than its schema can say, and no turn was there to say so.
            question = f"{prompt}\n({'; '.join(problems)})"
            key = f"{base}~{again}"
        raise InvalidInput([f"no answer to {key} was acceptable"])

    async def authorize(
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
        """Ask for leave to call `tool` with exactly these arguments; returns the approved ones.

        With `allow_edit` the approver may send other arguments, which must fit `schema`.
        A denial stops the task (`on_deny="stop"`) or raises here (`"tell_agent"`).  When
        nobody answers, the one fails the task (`ask_expired`) and the other raises as well.

        Leave to call is not the call: after a crash the agent may come here again, get the
        same leave from the log, and call again.

        Raises:
            Denied: with `on_deny="tell_agent"`.
            InvalidInput: the arguments do not fit the schema, or something is no text.
            ResultInvalid: the arguments are not JSON, or too large.
            TaskStopped: as for `ask`.
        """
        self.journal.check_alone()
        key = self._key(key)
        bytes_max = self._desk.limits.payload_bytes_max
        # Copies, so that what is shown, approved and run cannot be changed by anybody meanwhile.
        shown = cast("JsonObject", own_copy(arguments, what="the arguments", bytes_max=bytes_max))
        form = cast("JsonObject", own_copy(schema or {}, what="the schema", bytes_max=bytes_max))
        check_schema(form)
        problems = problems_of(shown, form)
        if problems:
            raise InvalidInput(problems)
        asked = self._asking.asked(
            key, AskKind.AUTH, prompt or f"Allow {tool}?", form, expires_s, approvers, phase
        )
        asked["on_expire"] = "deny"
        asked["tool"] = tool
        asked["arguments"] = shown
        asked["allow_edit"] = allow_edit
        asked["on_deny"] = on_deny
        reply = await self._asking.closed(asked, None)
        return cast("JsonObject", copy.deepcopy(reply.value))

    async def emit(
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
        """Show an artifact, or with `append` one more chunk of it; returns its id.

        Durable when it returns.

        Raises:
            InvalidInput: there is no content, or it is not JSON, or nobody says to what it is
                appended (within a call that is the call's own artifact).
            ResultInvalid: the content is too large.
            Refused: the log of the task is full.
        """
        within = self.journal.within()
        if append and not artifact_id and within is None:
            raise InvalidInput(["append needs the artifact_id it adds to"])
        self._emits += within is None
        n = self._emits if within is None else 0
        try:
            artifact = Artifact(
                artifact_id=artifact_id or within or f"artifact-{n}",
                parts=parts_of(content),
                name=name,
                description=description,
                metadata=None if metadata is None else dict(metadata),
                append=append,
                last_chunk=last_chunk,
            )
        except ValidationError as error:
            raise InvalidInput(faults_of(error)) from None
        limits = self._desk.limits
        shown = artifact.model_dump(mode="json", exclude_unset=True)
        encoded(shown, what="the artifact", bytes_max=limits.payload_bytes_max)
        # A replay shows nothing twice; a chunk that is another one now is not the one shown.
        before = self._desk.memory.emitted.get(n) if within is None else None
        if before is None or before != digest(shown):
            emitted: Emitted = {
                "epoch": 0,
                "n": n,
                "artifact": shown,
                "log_events_max": limits.log_events_max,
            }
            if within is not None:
                emitted["within"] = within
            await self._desk.report(Trigger.EMIT, emitted)
        return artifact.artifact_id

    async def progress(self, message: str, fraction: float | None = None) -> None:
        """Say in one line how far the work is; `fraction` is between 0 and 1.

        Raises:
            InvalidInput: the fraction is not between 0 and 1.
            ResultInvalid: the line is no text, or too large.
            Refused: the log of the task is full.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise InvalidInput([f"fraction is {fraction!r}; it is between 0 and 1"])
        progressed: Progressed = {
            "epoch": 0,
            "message": message,
            "fraction": fraction,
            "log_events_max": self._desk.limits.log_events_max,
        }
        encoded(progressed, what="the line", bytes_max=self._desk.limits.payload_bytes_max)
        if (within := self.journal.within()) is not None:
            progressed["within"] = within
            await self._desk.report(Trigger.PROGRESS, progressed)
            return
        # By how often the line was told, and not when: a turn that is run again need not tell all
        # that an earlier attempt did.
        line = digest([message, fraction])
        self._progresses[line] += 1
        if self._progresses[line] > self._desk.memory.progressed[line]:
            await self._desk.report(Trigger.PROGRESS, progressed)

    @overload
    async def call(
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
    async def call(
        self,
        fn: Callable[..., V],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = False,
        key_as: str | None = None,
        **kwargs: Any,
    ) -> V: ...
    async def call(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = False,
        key_as: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a function, once: that it begins is written down before, its result after.

        When the agent is run again it gets the result from the log.  If a crash came between
        the two, an `idempotent` function is called again, and for any other a person is asked:
        use a value, run it again, or fail the task.  `key_as` names an argument in which the
        function gets a key that is the same whenever this call is made again, for the service
        that it calls.  A plain function runs on a thread of its own.

        Arguments and result are JSON, or models; the result is read as the type that the
        function says it returns.  Calls are counted by the function's name in the order in
        which they are made, unless they have a `key` of their own: where calls of one function
        race, give them keys.  What a `functools.partial` binds is not compared.  While somebody
        is asked nothing begins: the call waits for the answer.  Inside of a call nothing is
        asked or called.  Let the function keep its own time: a timeout around the call is not
        there at a replay.

        Raises:
            CallFailed: the function raised; `Retryable` and `Rejected` come as they are.
            InvalidInput: the arguments are not JSON, or the key was used before.
            Refused: the log of the task is full.
            TaskStopped: this turn is run again and calls something else than before; as for `ask`.
        """
        call, ended = await self.journal.begun(fn, args, kwargs, key=key, idempotent=idempotent)
        if ended is None:
            kwargs |= self.key_argument(call, key_as)
            ended = await self.journal.made(call, fn, args, kwargs)
        return await self.journal.value(call, ended)

    def key_argument(self, call: Call, key_as: str | None) -> dict[str, str]:
        """The argument that names the call to whatever the function calls."""
        return {} if key_as is None else {key_as: f"{self.task_id}/{call.token}"}

    @property
    def tools(self) -> list[Tool]:
        """The tools that the agent may call now."""
        return self._desk.toolbox.tools

    @property
    def toolbox(self) -> Toolbox:
        """The engine's tools with all that belongs to them, for who adapts an agent library."""
        return self._desk.toolbox

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> ToolResult:
        """Call a tool of the engine's toolbox, once, if its policy lets the call through.

        The arguments must fit the tool's schema; what the policy requires is asked for, and
        what it wants confirmed is shown to a person exactly as it will run.  What it came to
        is written down: an agent that is run again gets it from the log.  A tool that says
        itself that it failed gives a result whose `is_error` is True.

        Raises:
            ToolRefused: there is no such tool, it is not enabled, or the arguments do not fit.
            Denied: a person said no, and the policy says that the agent is told.
            CallFailed: the tool raised, or took longer than its `timeout_s`.
            PluginFailed: a plugin raised.
            InvalidInput: the arguments are not JSON, or the key was used before.
            Refused: the log of the task is full, or it has asked too often.
            TaskStopped: as for `call`.
        """
        return await self.gate.call(ToolCall(name, arguments or {}, key))

    async def call_tools(self, calls: Sequence[ToolCall]) -> list[ToolResult | EngineError]:
        """Call tools at once, as a model's message wants it: each passes the gate on its own.

        All that has to be asked is asked at once.  Results are in the order of the calls; what
        a call raises (see `call_tool`) stands in its place.
        """
        return await self.gate.batch(calls)

    async def journal_time(self) -> float:
        """The time, in seconds since 1970; run again, the agent gets the same."""
        return cast("float", await self.journal.note("time", self._desk.clock.now))

    async def journal_value(self, make: Callable[[], JsonValue]) -> JsonValue:
        """What `make` gives, JSON; run again, the agent gets the same.

        For what may be otherwise by then and must not be: what a configuration said, for one.

        Raises:
            ResultInvalid: it is not JSON, or too large.
        """
        bytes_max = self._desk.limits.payload_bytes_max
        return copy.deepcopy(
            await self.journal.note(
                "value", lambda: own_copy(make(), what="the value", bytes_max=bytes_max)
            )
        )

    async def journal_random(self) -> float:
        """A random number from 0 to 1; run again, the agent gets the same.

        Not for secrets: it is in the log.
        """
        return cast("float", await self.journal.note("random", random.random))

    def _key(self, key: str | None) -> str:
        self._asks += 1
        return f"ask-{self._asks}" if key is None else own_key(key)

    async def _inquired(self, prompt: str, key: str, approvers: Sequence[str]) -> InDoubt:
        """What a person says to something that the agent did not think of."""
        form = form_of(InDoubt)
        asked = self._asking.asked(key, AskKind.INPUT, prompt, form.schema, None, approvers)
        # Not one of the agent's, so not one too many.
        asked["asks_max"] += len(self._desk.memory.asked) + 1
        reply = await self._asking.closed(asked, form)
        return cast("InDoubt", form.value_of(reply.value))


def _default(default: Any, form: Form) -> JsonValue:
    value: JsonValue = (
        default.model_dump(mode="json") if isinstance(default, BaseModel) else default
    )
    problems = problems_of(value, form.schema) or form.problems_of(value)
    if problems:
        raise InvalidInput([f"the default does not fit: {problem}" for problem in problems])
    return value
