"""The engine: takes triggers for tasks, one at a time each, and does what follows.

The order is always the same: fire (pure), commit to the store, answer the caller, act on
the effects.  Nothing is answered that is not durable, and nothing is done for a move that
did not commit.  `_machine` decides, `_writer` keeps the order and `_runtime` acts; this
module is what people call: it checks who asks and what, and says what came of it.
It is long because it is the whole of that face, with its errors; each call is short.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, nullcontext, suppress
from types import MappingProxyType
from typing import Final, Literal, Self, TypeAlias, cast

from interlock._agent import Agent, Agents, Content
from interlock._cell import Cell, Choice, always
from interlock._clock import Clock, SystemClock
from interlock._conclusion import OPERATOR_NAME
from interlock._edge import (
    actor_of,
    answered,
    carried_of,
    check_kind,
    check_place,
    check_purge,
    check_settings,
    check_task_id,
    checked,
    decided,
    is_cursor,
    is_metadata,
    name_problems,
    named,
    query_problems,
    spoken,
    stored_parts,
    text_problems,
)
from interlock._event import Data, Event, Signal
from interlock._guards import ask_is_open
from interlock._handle import TaskHandle
from interlock._json import digest, fingerprint, is_time, is_unicode, own_copy
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._observer import Observer, Statistics, Told
from interlock._operator import as_operator, operator_ask_of
from interlock._outbox import Deliverer, NewWatch, TaskView
from interlock._payload import Submitted
from interlock._phases import LIVE, OUTCOMES, OVER, WAITING, Phase, Trigger
from interlock._record import Ask, TaskRecord
from interlock._runtime import Runtime
from interlock._schema import problems_of
from interlock._shared import FiringStore, shared
from interlock._store import (
    Claim,
    Commit,
    Store,
    TaskPage,
    TaskQuery,
    TokenTaken,
    Watch,
    whole_log,
)
from interlock._store_at import store_at
from interlock._toolbox import Toolbox
from interlock.errors import (
    AnswerInvalid,
    GuardRefused,
    InvalidInput,
    LimitReached,
    NotAccepting,
    NotFinalized,
    Refused,
    ResultInvalid,
    StoreError,
    TokenReused,
    UnknownTask,
)
from interlock.models import Answer, Approval, Denial, JsonObject, JsonValue, Limits, Part

#: Events read from the store at a time for a watcher.
EVENTS_PAGE: Final = 500

#: Seconds that `Engine.settled` waits for a write: some times what one takes.
SETTLE_S: Final = 0.05

#: Tasks that one call of `Engine.purge` forgets at most, unless it is told otherwise.
PURGED_MAX: Final = 10_000

#: How an operator lets a task go on (see `Engine.resume`).
Resumption: TypeAlias = Literal["again", "skip", "from_scratch"]

_CLOSING: Final = "the engine is closing and takes no new tasks"


def random_id() -> str:
    """128 random bits as 32 hexadecimal digits: nobody guesses the id of a task."""
    return secrets.token_hex(16)


class Engine:
    """Runs an agent's tasks.  Open it with `async with`, or `start` and `drain`.

    All its methods belong to the event loop in which it was started, and raise `RuntimeError` in
    another one: from a thread, use `asyncio.run_coroutine_threadsafe`.  Those about tasks raise
    `NotAccepting` while it is not open, whatever else they raise.
    """

    def __init__(
        self,
        agent: "Agent | Mapping[str, Agent]",
        *,
        tools: Toolbox | None = None,
        store: str | Store = "sqlite:///interlock.db",
        limits: Limits | None = None,
        clock: Clock | None = None,
        deliverers: Mapping[str, Deliverer] | None = None,
        new_id: Callable[[], str] = random_id,
        lifecycle: Lifecycle = LIFECYCLE,
        observer: Observer | None = None,
        takes_turns: bool = True,
    ) -> None:
        """Run `agent`, whose tasks are kept in `store`: a URL (`store_at`) or a store.

        Of several agents, by name, a task is for the one that its submission names, and
        otherwise for the first, whose name the log keeps.  A task whose agent is gone waits
        for an operator (`resume`).
        `tools` are what it may call through its task; they are opened and closed with the
        engine.
        `deliverers` serve the watches of their channels.  `new_id` names tasks and
        contexts; give another one only where runs must be repeatable, as in tests.
        `lifecycle` is the one that all its tasks live by: `LIFECYCLE`, or that with more in it
        (`Lifecycle.extend`).  `observer` is told what happens, and has no say in it.
        Without `takes_turns` other engines on the same store run the agents, and this one does
        all the rest.

        Raises:
            TypeError: an agent is of no kind that can be run, or something else is not of its kind.
            InvalidInput: there is no agent, or one without a name, or the URL names no store, or
                nobody else can take the turns.
        """
        check_settings(tools=tools, store=store, limits=limits, clock=clock, lifecycle=lifecycle)
        self._agents: Final = Agents(agent)
        #: What runs its tasks, by name; not to be changed.  A single agent's name is "agent".
        self.agents: Final[Mapping[str, Agent]] = self._agents.by_name
        self.limits: Final = limits or Limits()
        #: What agents may call through their tasks.
        self.tools: Final = tools or Toolbox()
        #: What every task lives by.
        self.lifecycle: Final = lifecycle
        self._new_id: Final = new_id
        self._told: Final = None if observer is None else Told(observer)
        self._store: Final = store_at(store) if isinstance(store, str) else store
        if isinstance(self._store, FiringStore):
            self._store.fires_with(lifecycle, grace_s=self.limits.grace_s)
        self._is_shared: Final = shared(self._store)
        if not (takes_turns or self._is_shared):
            raise InvalidInput(["takes_turns=False needs a store that processes share"])
        self._takes_turns: Final = takes_turns
        own = self._store.clock if shared(self._store) else SystemClock()
        self.clock: Final[Clock] = clock or own
        #: Who serves the watches of each channel; not to be changed.
        self.deliverers: Final[Mapping[str, Deliverer]] = MappingProxyType(dict(deliverers or {}))
        #: None while the engine is closed.
        self._runtime: Runtime | None = None
        self._accepting = False
        #: Held while it opens or closes: two at once would share the store.
        self._changing: Final = asyncio.Lock()

    # --- its own life -----------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, bring every unfinished task back to life, and accept work.

        Raises:
            StoreError: the store cannot be opened (`StoreLocked`, `StoreTooNew`, ...).
            SourceUnavailable: where tools come from cannot be reached, and is not optional.
            UnknownTool, AmbiguousTool, InvalidInput: policies or names of tools are in conflict.
        """
        async with self._changing:
            if self._runtime is not None:
                raise RuntimeError("the engine is open already")
            await self._store.open()
            runtime = None
            try:
                runtime = self._runtime_made()
                if self._told is not None:
                    self._told.tell(self._told.to.opened, self.statistics)
                await self.tools.open()
                await runtime.open()
            except BaseException:
                await (self._store.close() if runtime is None else self._closed(runtime))
                raise
            self._runtime = runtime
            self._accepting = True

    def _runtime_made(self) -> Runtime:
        return Runtime(
            self._agents,
            self._store,
            self.clock,
            self.limits,
            self.deliverers,
            self.tools,
            self.lifecycle,
            self._told,
            takes_turns=self._takes_turns,
        )

    async def drain(self) -> None:
        """Refuse new work, let running turns come to a rest, and close.

        A turn that is not at rest after `Limits.drain_s` is cut off; its task stays
        `running` in the store and goes on at the next start.  So it is when the caller is
        cancelled meanwhile: nothing is left open.

        Where its event loop has ended without this, it may be called in another one, and only
        closes: as after a crash, everything goes on at the next start.

        Raises:
            RuntimeError: the engine belongs to another event loop, which has not ended.
        """
        if self._runtime is not None and not self._runtime.loop.is_closed():
            self._runtime.check_loop()
        self._accepting = False
        async with self._changing:
            self._accepting = False  # A start that was under way has set it meanwhile.
            runtime = self._runtime
            if runtime is None:
                return
            try:
                if not runtime.loop.is_closed():
                    await runtime.rest()
            finally:
                self._runtime = None
                await self._closed(runtime)

    async def _closed(self, runtime: Runtime) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self.tools.close)
            if self._told is not None:
                stack.callback(self._told.tell, self._told.to.closed)
            if not runtime.loop.is_closed():
                await runtime.close()

    async def __aenter__(self) -> Self:
        """See `start`."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `drain`."""
        await self.drain()

    @property
    def is_replica(self) -> bool:
        """Whether other engines may have the same tasks: what is known here may be out of date."""
        return self._is_shared

    def statistics(self) -> Statistics:
        """What is held right now."""
        runtime = self._runtime
        if runtime is None:
            return Statistics(accepting=False)
        return Statistics(
            accepting=self._accepting and not runtime.lost,
            live=len(runtime.writer),
            running=runtime.admission.running,
            queued=runtime.admission.queued,
            abandoned=len(runtime.abandoned),
            quarantined=len(self._store.quarantined()),
        )

    # --- what people do with a task ---------------------------------------------------

    async def submit(
        self,
        content: Content,
        *,
        owner: str,
        agent: str | None = None,
        context_id: str | None = None,
        token: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        task_s: float | None = None,
        watches: Sequence[NewWatch] = (),
        carried: Mapping[str, str] | None = None,
    ) -> TaskHandle:
        """Make a task; it is durable when this returns, and starts when a slot is free.

        `agent` names which of `agents` it is for; None is the first.
        `task_s` is how many seconds the task may take in all (`Limits.task_s`).  With
        `token`, a repeat by the same owner with the same body gives the task that the
        first made (`TaskHandle.created` is False).

        `carried` is what tools of the task may use as long as this process lives, such as the
        caller's own credentials: the engine puts it in no log, event or store (what a tool says
        of it when it raises is in the log).  An answer may bring it anew.

        Raises:
            InvalidInput: no owner, no such agent, or nothing in the content, or something is
                not of its kind, not JSON or too large.
            TokenReused: the token came before with another body, or for another agent.
            LimitReached: too many tasks are queued, or open for this owner.
            NotAccepting: the engine is draining or was not started.
            StoreError: it could not be stored; there is no such task.
        """
        runtime = self._opened()
        if not self._accepting or runtime.lost:
            raise NotAccepting(_CLOSING)
        submitted, body = self._submission(
            content, owner, agent, context_id, token, metadata, task_s
        )
        kept = carried_of(carried)
        told, name = self._told, self._agents.name_of(submitted)
        while True:
            await self._learn(runtime, owner)
            if self._runtime is not runtime or not self._accepting:
                raise NotAccepting(_CLOSING)  # It was closed meanwhile, and opened again perhaps.
            with (
                nullcontext() if told is None else told.submitting(submitted, name),
                suppress(UnknownTask),
            ):
                # An earlier task of its token may be purged meanwhile: then this is the first.
                return await self._stored(runtime, submitted, body, watches, kept)

    async def _stored(
        self,
        runtime: Runtime,
        submitted: Submitted,
        body: str,
        watches: Sequence[NewWatch],
        carried: Mapping[str, str],
    ) -> TaskHandle:
        """The task of a submission, or the one that an earlier request with its token made.

        Raises:
            UnknownTask: that one is gone by now, and its token with it; there is no task.
        """
        owner, token = submitted["owner"], submitted.get("token")
        move = self.lifecycle.submit(Signal(Trigger.SUBMIT, submitted, owner, self.clock.now()))
        claims = () if token is None else (Claim(owner, token, submitted["task_id"], body),)
        added = _added(watches, move.record.task_id)
        try:
            runtime.admission.reserve(owner)
            await runtime.arrive(move, Commit(move.record, (move.event,), claims, added), carried)
        except LimitReached:
            # There is always room for a repeat, which makes no task.
            earlier = None if token is None else await self._store.claim(owner, token)
            if earlier is None:
                raise
            return await self._repeated(earlier, body)
        except TokenTaken as taken:
            return await self._repeated(taken.claim, body)
        return TaskHandle(self, move.record, created=True)

    async def answer(
        self,
        task_id: str,
        answer: Answer,
        *,
        owner: str | None,
        actor: str | None = None,
        roles: Sequence[str] = (),
        token: str | None = None,
        message: Sequence[Part] = (),
        carried: Mapping[str, str] | None = None,
    ) -> TaskRecord:
        """Give the value that an open ask wants; the first valid answer wins.

        `owner` None is a trusted caller, who must name the `actor`.  `roles` are those in
        which it acts, for asks whose approvers are roles; as with the owner, it is for the
        caller to be sure of them.  `message` is what the client sent, kept in the log.  A
        repeat with the same token is no error.
        `carried` as for `submit`.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: nobody acts, or something is not of its kind, or too large.
            AnswerInvalid: the value does not fit; the ask stays open.
            Refused: the ask is closed, or wants something else; nothing changed.
            LimitReached, StoreError: as for `submit`.
        """
        check_kind(answer, "the answer", Answer)
        said = answer.model_dump(mode="json")
        data = answered(self._said(said, token, message, roles), said)
        who = actor_of(actor, owner)
        kept = carried_of(carried)
        with (
            await self._visible(task_id, owner) as cell,
            self._opened().carrying(cell.record, kept),
        ):
            if problems := _form_problems(cell, answer):
                raise AnswerInvalid(
                    task_id, cell.record.phase, Trigger.PROVIDE_INPUT, "answer_fits", problems
                )
            return await self._claimed(cell, Trigger.PROVIDE_INPUT, data, said, who)

    async def decline(
        self,
        task_id: str,
        ask: str,
        *,
        owner: str | None,
        actor: str | None = None,
        roles: Sequence[str] = (),
        token: str | None = None,
        reason: str | None = None,
        message: Sequence[Part] = (),
        carried: Mapping[str, str] | None = None,
    ) -> TaskRecord:
        """Say that an open ask gets no value from whoever may answer it; see `answer` for the rest.

        If the ask has a default, that is its answer.  Otherwise the task is told to stop: its
        outcome is `cancelled`, with the code `declined` and the reason as its message.  What
        the gate asks for a tool whose policy says `on_deny="tell_agent"` stops nothing: the
        agent is told.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: nobody acts, or something is not of its kind, or too large.
            Refused: the ask is closed, or wants a decision (`decide`); nothing changed.
            LimitReached, StoreError: as for `submit`.
        """
        if problems := text_problems(ask=ask, reason=reason):
            raise InvalidInput(problems)
        said: JsonObject = {"ask": ask, "decline": True, "reason": reason}
        data = self._said(said, token, message, roles)
        data["reason"] = reason
        data["grace_s"] = self.limits.grace_s
        who = actor_of(actor, owner)
        kept = carried_of(carried)
        with (
            await self._visible(task_id, owner) as cell,
            self._opened().carrying(cell.record, kept),
        ):
            return await self._claimed(cell, Trigger.DECLINE, data, said, who)

    async def problems_of(
        self, task_id: str, said: Answer | Approval | Denial, *, owner: str | None
    ) -> list[str]:
        """What is wrong with an answer or a decision before it is given; nothing is changed.

        For who gives several at once, and wants all of them taken or none.  What is not asked
        has no problem here: it is refused when it is given.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: it is neither.
        """
        check_kind(said, "what is said", Answer, Approval, Denial)
        with await self._visible(task_id, owner) as cell:
            ask = cell.record.ask(said.ask)
            try:
                self._said(said.model_dump(mode="json"), None, ())
            except InvalidInput as error:
                return [*error.problems]
            match said:
                case Answer() if ask is not None:
                    return problems_of(said.value, ask.schema) or _form_problems(cell, said)
                case Approval(arguments=dict(arguments)) if ask is not None:
                    problems = problems_of(arguments, ask.schema)
                    return problems or await self._edit_problems(ask, arguments)
                case _:
                    return []

    async def decide(
        self,
        task_id: str,
        decision: Approval | Denial,
        *,
        owner: str | None,
        actor: str | None = None,
        roles: Sequence[str] = (),
        token: str | None = None,
        message: Sequence[Part] = (),
        carried: Mapping[str, str] | None = None,
    ) -> TaskRecord:
        """Approve or deny what an open ask names; see `answer` for the rest.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: as for `answer`.
            AnswerInvalid: edited arguments do not fit the tool's schema.
            Refused: the digest names something else, the arguments may not be edited,
                the actor is no approver, ...; nothing changed.
            LimitReached, StoreError: as for `submit`.
        """
        check_kind(decision, "the decision", Approval, Denial)
        said = decision.model_dump(mode="json")
        spoken_data = self._said(said, token, message, roles)
        who = actor_of(actor, owner)
        kept = carried_of(carried)
        with (
            await self._visible(task_id, owner) as cell,
            self._opened().carrying(cell.record, kept),
        ):
            ask = cell.record.ask(decision.ask)
            data = decided(spoken_data, decision, said, ask, grace_s=self.limits.grace_s)
            if isinstance(decision, Denial):
                return await self._claimed(cell, Trigger.DENY, data, said, who)
            if ask is not None and data["edited"]:
                await self._check_edit(cell.record, ask, said["arguments"])
            return await self._claimed(cell, Trigger.APPROVE, data, said, who)

    async def _check_edit(self, record: TaskRecord, ask: Ask, arguments: JsonObject) -> None:
        """Check by the policy of today what an approver wants to be called instead.

        Raises:
            AnswerInvalid: the tool is not to be called so; the ask stays open.
        """
        if record.ask(ask.key) is None:
            return  # The table says what is wrong.
        if problems := await self._edit_problems(ask, arguments):
            raise AnswerInvalid(
                record.task_id, record.phase, Trigger.APPROVE, "arguments_fit", problems
            )

    async def _edit_problems(self, ask: Ask, arguments: JsonObject) -> list[str]:
        """What the policy of today finds wrong with other arguments, where they are allowed."""
        if ask.tool is None or not ask.allow_edit:
            return []
        return list(await self.tools.problems_of_edit(ask.tool, arguments))

    async def resume(
        self,
        task_id: str,
        decision: Resumption,
        *,
        owner: str | None = None,
        actor: str | None = None,
    ) -> TaskRecord:
        """Decide how a task goes on whose turns cannot: for operators, not for clients.

        A task comes to this when its agent, run again, went another way than its log says,
        or took the process down again and again.  `again` runs it as it is (a new version of
        the agent, perhaps), `skip` ignores the entry of the log at which it went astray, and
        `from_scratch` ignores all that it did: what it called is called once more.  Whoever
        wants none of these cancels the task.  `actor` is the operator by name, for the log.

        Raises:
            UnknownTask: there is no such task.
            InvalidInput: no operator is asked about it, or the actor is no name.
            AnswerInvalid: it may not be resumed in this way.
            Refused, StoreError: as for `answer`.
        """
        who = actor_of(actor, OPERATOR_NAME)
        with await self._visible(task_id, owner) as cell:
            ask = operator_ask_of(cell.record)
            said = Answer(ask=ask.key, value=decision).model_dump(mode="json")
            data = {**self._said(said, None, ()), "value": decision, **as_operator(who)}
            return await self._claimed(cell, Trigger.PROVIDE_INPUT, data, said, who)

    async def cancel(
        self,
        task_id: str,
        *,
        owner: str | None,
        actor: str | None = None,
        reason: str | None = None,
        ask: str | None = None,
    ) -> TaskRecord:
        """Ask for the task to stop; a repeat is accepted and changes nothing.

        `cancelled` follows when the turn has really ended, at the latest after
        `Limits.grace_s`.  With `ask` it is meant for as long as that ask is open.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: nobody acts, or the reason is no text, or too large.
            IllegalTrigger: it is over.
            GuardRefused: `ask` is not open; nothing changed.
            LimitReached, StoreError: as for `submit`.
        """
        if problems := text_problems(reason=reason, ask=ask):
            raise InvalidInput(problems)
        self._checked(reason, "the reason")
        who = actor_of(actor, owner)
        data: Data = {"grace_s": self.limits.grace_s, "reason": reason}
        with await self._visible(task_id, owner) as cell:
            who = named(who)
            if cell.record.phase is Phase.CANCELLING:
                # The table takes a repeat; the log need not grow with each.
                return cell.record
            choose = always(Trigger.CANCEL, data) if ask is None else _while_asked(ask, data)
            return await self._opened().writer.fire(cell, choose, who)

    # --- what people see of a task ----------------------------------------------------

    async def task(self, task_id: str, *, owner: str | None) -> TaskHandle:
        """The handle of a task that is there: the way back to it after a restart.

        The handle acts in the name of the task's owner, also when a trusted caller (`owner`
        None) asked for it.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: the id is no text.
        """
        return TaskHandle(self, await self.record(task_id, owner=owner), created=False)

    async def record(self, task_id: str, *, owner: str | None) -> TaskRecord:
        """The task as of its last commit.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: the id is no text.
        """
        check_task_id(task_id)
        cell = self._glance(task_id)
        if cell is None and not is_unicode(task_id):
            raise UnknownTask(task_id)  # No store can be asked for it.
        record = cell.record if cell is not None else await self._store.get(task_id)
        if record is None or not _owns(owner, record):
            raise UnknownTask(task_id)
        return record

    async def settled(
        self, task_id: str, *, owner: str | None, within_s: float = SETTLE_S
    ) -> TaskRecord:
        """The task once it has begun, and what is being written of it is durable.

        As it is after `within_s`, whatever comes of it.

        For clients that look again and again: what is about to be so is told with the first
        look, and the looks do not keep the processor from what they wait for.

        Raises:
            UnknownTask: this owner has no such task.
        """
        record = await self.record(task_id, owner=owner)
        cell = self._opened().writer.at_hand(task_id)
        begins = cell is not None and cell.turn is None and record.phase is Phase.RUNNING
        if cell is None or not (cell.busy or begins):
            return record
        change = cell.change()
        try:
            await asyncio.wait([change], timeout=within_s)
        finally:
            change.cancel()
        # Others may have been further by then than is known here.
        return max(record, cell.record, key=lambda seen: seen.seq)

    async def view(self, task_id: str, *, owner: str | None) -> TaskView:
        """The task and its whole log, as of one commit.

        Raises:
            UnknownTask: this owner has no such task.
        """
        return await self._view(await self.record(task_id, owner=owner))

    async def events(self, task_id: str, *, owner: str | None, after: int = 0) -> list[Event]:
        """The events with a greater number than `after`.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: `after` is no number, or negative.
        """
        check_place(after)
        record = await self.record(task_id, owner=owner)
        cell = self._glance(task_id)
        if cell is not None and cell.events is not None:
            return cell.events[after:]
        events = await self._store.events(task_id, after)
        if not events and after < record.seq:
            raise UnknownTask(task_id)  # It was purged in this instant.
        # The store is ahead of who wrote to it by an instant, and then nobody can be answered.
        return events if cell is None else [e for e in events if e.seq <= cell.record.seq]

    async def subscribe(
        self, task_id: str, *, owner: str | None, after: int = 0
    ) -> AsyncGenerator[Event]:
        """The events after number `after`, first those there are, then each as it is committed.

        Without gap or duplicate: a watcher is a place in the log, not a queue, so a slow
        one loses nothing.  Ends with the event that begins an outcome, or when the engine
        closes.

        Raises:
            UnknownTask: this owner has no such task.
            InvalidInput: `after` is no number, or negative.
            LimitReached: the task has too many watchers.
        """
        check_place(after)
        runtime = self._opened()
        with await self._visible(task_id, owner) as cell:
            if cell.subscribers >= self.limits.subscribers_max:
                raise LimitReached(
                    "subscribers_max", self.limits.subscribers_max, retry_after_s=1.0
                )
            cell.subscribers += 1
            try:
                async with aclosing(self._followed(runtime, cell, after)) as followed:
                    async for event in followed:
                        yield event
            finally:
                cell.subscribers -= 1

    async def _followed(self, runtime: Runtime, cell: Cell, place: int) -> AsyncGenerator[Event]:
        while True:
            while place < cell.record.seq:
                events = await self._events_beyond(runtime, cell, place)
                if not events:
                    return
                for event in events:
                    if event.trigger is Trigger.FINALIZE:
                        return
                    yield event
                    place = event.seq
                    if event.dest in OUTCOMES:
                        return
            if cell.gone or cell.record.phase in OVER or self._runtime is not runtime:
                return
            await cell.change()

    async def rest(self, task_id: str, *, owner: str | None) -> TaskView:
        """Wait until the task waits for somebody or is over.

        Raises:
            UnknownTask: this owner has no such task.
            NotAccepting: the engine closes before that.
        """
        return await self._reached(task_id, owner, WAITING | OVER)

    async def over(self, task_id: str, *, owner: str | None) -> TaskView:
        """Wait until the task is over.

        Raises:
            UnknownTask: this owner has no such task.
            NotAccepting: the engine closes before that.
        """
        return await self._reached(task_id, owner, OVER)

    async def page(self, query: TaskQuery) -> TaskPage:
        """One page of tasks, newest change first.

        A query whose `owner` is None is for all owners: let only trusted callers ask it.

        Raises:
            InvalidInput: the cursor is none of ours, the limit is no number of tasks, or a name or
                the search can be of no task.
            NotAccepting: the engine is not open.
        """
        self._opened()
        if query.cursor is not None and not is_cursor(query.cursor):
            raise InvalidInput(["the cursor is none that a page gave"])
        if problems := query_problems(query):
            raise InvalidInput(problems)
        return await self._store.page(query)

    async def counts(self, query: TaskQuery | None = None) -> Mapping[Phase, int]:
        """How many tasks match, by the phase that each is shown in; no phase has 0 tasks.

        The query's own phases, limit and cursor are not looked at.  As for `page`: without an
        `owner`, or with a prefix of owners, let only trusted callers ask.

        Raises:
            InvalidInput: a name or the search can be of no task.
            NotAccepting: the engine is not open.
        """
        self._opened()
        wanted = query or TaskQuery()
        if problems := query_problems(wanted):
            raise InvalidInput(problems)
        return await self._store.counts(wanted)

    # --- forgetting -------------------------------------------------------------------

    async def forget(self, task_id: str, *, owner: str | None) -> None:
        """Forget a finalized task: its log, its tokens and its watches, for good.

        Finalized is what is over, and of which nobody has still to be told (`Event`s that a
        watch has not delivered yet); a task is that a moment after it ended.

        Raises:
            UnknownTask: this owner has no such task.
            NotFinalized: it goes on, or somebody is still to be told of its end.
            StoreError: nothing was forgotten.
        """
        with await self._visible(task_id, owner) as cell:
            if not await self._store.forget(task_id):
                if await self._store.get(task_id) is None:
                    raise UnknownTask(task_id)  # Somebody else was quicker.
                raise NotFinalized(task_id, cell.record.shown)
            self._opened().writer.forget(task_id)

    async def purge(self, *, older_than_s: float, limit: int = PURGED_MAX) -> list[str]:
        """Forget finalized tasks (see `forget`) that changed last so many seconds ago or earlier.

        The oldest go first, and at most `limit`: call again until none goes.  With 0 all go.
        Of all owners: for operators.

        Returns:
            The ids of those that are gone.

        Raises:
            InvalidInput: the age or the limit is none.
            NotAccepting: the engine is not open.
            StoreError: what is gone by then is gone, and the rest is there.
        """
        runtime = self._opened()
        check_purge(older_than_s, limit)
        # What changed in this very moment is to go too, if everything is.
        before = math.nextafter(self.clock.now() - older_than_s, math.inf)
        return await runtime.sweeper.purged(before, limit)

    # --- durable subscriptions --------------------------------------------------------

    async def add_watch(
        self, task_id: str, watch: NewWatch, *, owner: str | None, watches_max: int | None = None
    ) -> Watch:
        """Serve what happens from now on through the deliverer of the watch's channel.

        It replaces the watch of the same id.  With `watches_max` it is added only if the
        task has then no more than that, those that are just being added included.

        Raises:
            UnknownTask: this owner has no such task.
            LimitReached: the task has `watches_max` others.
        """
        with await self._visible(task_id, owner) as cell:
            async with cell.watching:
                if watches_max is not None:
                    await self._check_room(watch, cell, watches_max)
                record = cell.record
                added = Watch(watch.watch_id, task_id, watch.channel, watch.config, record.seq)
                cell.watched = True
                with self._opened().courier.hands_off(task_id, watch.watch_id):
                    await self._store.put_watch(added)
                return added

    async def _check_room(self, watch: NewWatch, cell: Cell, watches_max: int) -> None:
        kept = await self._store.watches(cell.record.task_id)
        if sum(other.watch_id != watch.watch_id for other in kept) >= watches_max:
            raise LimitReached("watches_max", watches_max)

    async def drop_watch(self, task_id: str, watch_id: str, *, owner: str | None) -> bool:
        """Stop serving a watch; False if there was none.

        Raises:
            UnknownTask: this owner has no such task.
        """
        await self.record(task_id, owner=owner)
        with self._opened().courier.hands_off(task_id, watch_id):
            return await self._store.drop_watch(task_id, watch_id)

    async def watches(self, task_id: str, *, owner: str | None) -> list[Watch]:
        """The watches of a task, by id.

        Raises:
            UnknownTask: this owner has no such task.
        """
        await self.record(task_id, owner=owner)
        return await self._store.watches(task_id)

    # --- small things -----------------------------------------------------------------

    def _opened(self) -> Runtime:
        if self._runtime is None:
            raise NotAccepting("the engine is not open: it was not started, or it is closed")
        self._runtime.check_loop()
        return self._runtime

    async def _learn(self, runtime: Runtime, owner: str) -> None:
        """How many tasks the owner has open: once, or each time where others may add some."""
        admission = runtime.admission
        if self._is_shared:
            admission.learn(owner, await self._store.open_tasks(owner), anew=True)
            return
        with admission.counting(owner):
            while not admission.knows(owner):
                ended = admission.ended(owner)
                open_tasks = await self._store.open_tasks(owner)
                # Of one that ended meanwhile nobody knows whether it was counted.
                if admission.ended(owner) == ended:
                    admission.learn(owner, open_tasks)

    def _glance(self, task_id: str) -> Cell | None:
        """What is known of a task without reading the store, if nobody else can know better."""
        writer = self._opened().writer
        return None if self._is_shared else writer.glance(task_id)

    def _submission(
        self,
        content: Content,
        owner: str,
        agent: str | None,
        context_id: str | None,
        token: str | None,
        metadata: Mapping[str, JsonValue] | None,
        task_s: float | None,
    ) -> tuple[Submitted, str]:
        """What a submission puts into the log, and the digest of its body."""
        parts = stored_parts(content)
        names = {"owner": owner, "context_id": context_id, "token": token}
        problems = name_problems(names, needed="owner") + self._agents.problems_of(agent)
        if not parts:
            problems.append("the content has no part; at least one is needed")
        if task_s is not None and not is_time(task_s):
            problems.append("task_s is no number of seconds; more than 0, and finite, is accepted")
        if not is_metadata(metadata):
            kind = type(metadata).__name__
            problems.append(
                f"the metadata is of type {kind}; a mapping with keys of text is accepted"
            )
        if problems:
            raise InvalidInput(problems)
        self._checked(names, "the names")
        kept: JsonObject = self._own_copy(metadata) if metadata else {}
        body: list[JsonValue] = [list(parts), kept]
        if agent is not None:
            body.append(agent)  # Not before: tokens of old logs have to stay what they are.
        canonical = self._checked(body, "the submission")
        submitted: Submitted = {
            "task_id": self._new_id(),
            "owner": owner,
            "context_id": context_id or self._new_id(),
            "parts": parts,
            "due": self.clock.now() + (self.limits.task_s if task_s is None else task_s),
            "token": token,
            "metadata": kept,
        }
        if agent is not None:
            submitted["agent"] = agent
        elif self._agents.default is not None:
            # Beside what was said, of which the token's digest is.
            submitted["default_agent"] = self._agents.default
        return submitted, fingerprint(canonical)

    def _said(
        self,
        said: JsonObject,
        token: str | None,
        message: Sequence[Part],
        roles: Sequence[str] = (),
    ) -> dict[str, JsonValue]:
        """What every answer and decision puts into the log."""
        bytes_max = self.limits.payload_bytes_max
        return spoken(said, token=token, message=message, roles=roles, bytes_max=bytes_max)

    def _own_copy(self, metadata: Mapping[str, JsonValue]) -> JsonObject:
        bytes_max = self.limits.payload_bytes_max
        try:
            kept = own_copy(dict(metadata), what="the metadata", bytes_max=bytes_max)
        except ResultInvalid as error:
            raise InvalidInput([str(error)]) from None
        return cast("JsonObject", kept)

    def _checked(self, value: object, what: str) -> bytes:
        """The value as canonical JSON, once it is clear that it is JSON and not too large."""
        return checked(value, what, self.limits.payload_bytes_max)

    async def _repeated(self, claim: Claim, body: str) -> TaskHandle:
        if claim.digest != body:
            raise TokenReused(claim.token)
        return TaskHandle(self, await self.record(claim.task_id, owner=None), created=False)

    async def _claimed(
        self, cell: Cell, trigger: Trigger, data: Data, said: JsonObject, actor: str | None
    ) -> TaskRecord:
        """Fire an answer; a repeat of one that was accepted is told so instead of refused."""
        record, token = cell.record, data["token"]
        who = named(actor)
        body = digest([record.task_id, said])
        claim = None if token is None else Claim(record.owner, token, record.task_id, body)
        try:
            return await self._opened().writer.fire(cell, always(trigger, data), who, claim)
        except TokenTaken as taken:
            earlier = taken.claim
        except Refused:
            if claim is None:
                raise
            used = await self._store.claim(claim.owner, claim.token)
            if used is None:
                raise
            earlier = used
        if earlier.digest != body:
            raise TokenReused(earlier.token)
        return cell.record

    async def _visible(self, task_id: str, owner: str | None) -> AbstractContextManager[Cell]:
        """The cell of a task that this owner may see, to be kept while it is looked at."""
        writer = self._opened().writer
        check_task_id(task_id)
        if not is_unicode(task_id):
            raise UnknownTask(task_id)
        cell = await writer.cell(task_id)
        if not _owns(owner, cell.record):
            writer.release(cell)
            raise UnknownTask(task_id)
        return writer.keeping(cell)

    async def _view(self, record: TaskRecord) -> TaskView:
        """The task and its log, of the record that was just read or of a later one."""
        task_id = record.task_id
        cell = self._glance(task_id)
        if cell is not None and cell.events is not None:
            return TaskView(cell.record, tuple(cell.events))
        events = await self._store.events(task_id)
        if not events and await self._store.get(task_id) is None:
            raise UnknownTask(task_id)  # It was purged between the two.
        return TaskView(record, tuple(whole_log(record, events)))

    async def _events_beyond(self, runtime: Runtime, cell: Cell, place: int) -> list[Event] | None:
        """Some of the events after a place; none if the store was closed, or the task purged."""
        if cell.events is not None:
            return cell.events[place:]
        if self._runtime is not runtime:
            return None
        try:
            events = await self._store.events(cell.record.task_id, place, EVENTS_PAGE)
        except StoreError:
            if self._runtime is not runtime:
                return None
            raise
        # The store is ahead of the record for a moment, in which a reply to what it has would
        # be refused.
        return [event for event in events if event.seq <= cell.record.seq]

    async def _reached(
        self, task_id: str, owner: str | None, phases: AbstractSet[Phase]
    ) -> TaskView:
        runtime = self._opened()
        with await self._visible(task_id, owner) as cell:
            while cell.record.phase not in phases:
                if self._runtime is not runtime:
                    raise NotAccepting("the engine closed before the task came to a rest")
                if cell.gone:
                    raise UnknownTask(task_id)
                await cell.change()
            if cell.events is not None:
                return TaskView(cell.record, tuple(cell.events))
            return await self._view(cell.record)


def _form_problems(cell: Cell, answer: Answer) -> list[str]:
    """What the agent's own form finds wrong with an answer, while the agent listens.

    Of one that does not fit its schema nothing: that is said when it is given.
    """
    ask = cell.record.ask(answer.ask)
    if cell.turn is None or ask is None or problems_of(answer.value, ask.schema):
        return []
    return cell.turn.problems_of(answer.ask, answer.value)


def _while_asked(ask: str, data: Data) -> Choice:
    """Cancel, if the ask is still open when it comes to that."""

    def choose(record: TaskRecord) -> tuple[Trigger, Data]:
        signal = Signal(Trigger.CANCEL, {"key": ask}, "", 0.0)
        if record.phase in LIVE and not ask_is_open.holds(record, signal):
            at = (record.task_id, record.phase, Trigger.CANCEL, ask_is_open.name)
            raise GuardRefused(*at, ask_is_open.explain(signal))
        return Trigger.CANCEL, data

    return choose


def _added(watches: Sequence[NewWatch], task_id: str) -> tuple[Watch, ...]:
    return tuple(Watch(w.watch_id, task_id, w.channel, w.config, 0) for w in watches)


def _owns(owner: str | None, record: TaskRecord) -> bool:
    return owner is None or record.owner == owner
