"""What a principal may see of the tasks of an engine, and do with them.

| who | sees | may |
|---|---|---|
| anybody | its own tasks | answer what they ask (unless approvers are named), cancel them |
| named | and those of its tenant while an ask names it | and answer and decide that ask |
| approver | and those of its tenant while they wait | and answer and decide what those ask |
| operator | and every task of its tenant | and cancel them, and resume what asks an operator |
| auditor | and every task of its tenant | nothing more |

Management, console and command line reach tasks only through this.  What somebody may not see
is not there for him: `UnknownTask`, as for an id that nobody has.  The module is long because it
is the whole of what people may do with tasks; each call is short.
"""

from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from interlock import (
    WAITING,
    Answer,
    Approval,
    Denial,
    Engine,
    Event,
    JsonObject,
    JsonValue,
    OpenAsk,
    Phase,
    TaskPage,
    TaskQuery,
    TaskRecord,
    TaskView,
)
from interlock._engine import Resumption
from interlock._guards import ROLE, is_approver
from interlock._memory import OPERATOR
from interlock.errors import UnknownTask
from interlock_adapters._callers.access_parts import (
    PAGE_MAX,
    InboxEntry,
    InboxPage,
    NotAllowed,
    Repeats,
    check_limit,
    is_for_operator,
    merged,
    named,
)
from interlock_adapters._callers.named import INBOX_SCANNED_MAX, that_name
from interlock_adapters._callers.principal import Principal, Role

__all__ = [
    "INBOX_SCANNED_MAX",
    "PAGE_MAX",
    "Access",
    "InboxEntry",
    "InboxPage",
    "NotAllowed",
    "is_for_operator",
]

#: Tasks of the inbox read at a time.
_READ: Final = 100


def _changed(entry: InboxEntry) -> tuple[float, str]:
    return entry.record.updated_at, entry.record.task_id


class Access:
    """The tasks of one engine, as far as one principal reaches.

    Every method raises what the engine's method of that name does.
    """

    def __init__(self, engine: Engine, principal: Principal) -> None:
        """Reach tasks of `engine` in the name of `principal`."""
        self.engine: Final = engine
        self.principal: Final = principal
        self._roles: Final = principal.role_names
        #: Every task of its tenant is there for it.
        self._sees_all: Final = not principal.roles.isdisjoint({Role.OPERATOR, Role.AUDITOR})
        self._approves: Final = Role.APPROVER in principal.roles
        self._operates: Final = Role.OPERATOR in principal.roles

    def require(self, role: Role) -> None:
        """Go on only with that role.

        Raises:
            NotAllowed: the principal does not have it.
        """
        if role not in self.principal.roles:
            raise NotAllowed(f"this takes the role {role.value!r}")

    def require_of_service(self, *roles: Role) -> None:
        """Go on only with one of these roles, and of the deployment itself.

        What concerns all tenants (policies, instructions, configuration, purges) is not for the
        people of one.

        Raises:
            NotAllowed: the principal has none of them, or is of a tenant.
        """
        if self.principal.roles.isdisjoint(roles):
            wanted = " or ".join(repr(role.value) for role in roles)
            raise NotAllowed(f"this takes the role {wanted}")
        if self.principal.tenant:
            raise NotAllowed("this concerns every tenant, and is for principals without one")

    @property
    def is_of_service(self) -> bool:
        """Whether it may look at what concerns every tenant."""
        return self._sees_all and not self.principal.tenant

    # --- what it sees -----------------------------------------------------------------

    async def record(self, task_id: str) -> TaskRecord:
        """The task as it is.

        Raises:
            UnknownTask: there is none that this principal may see.
        """
        record = await self.engine.record(task_id, owner=None)
        if not self._sees(record):
            raise UnknownTask(task_id)
        return record

    async def view(self, task_id: str) -> TaskView:
        """The task and its whole log, as of one commit.

        Raises:
            UnknownTask: there is none that this principal may see.
        """
        await self.record(task_id)
        view = await self.engine.view(task_id, owner=None)
        if not self._sees(view.record):  # It went on meanwhile.
            raise UnknownTask(task_id)
        return view

    async def events(self, task_id: str, after: int = 0) -> list[Event]:
        """The events with a greater number than `after`.

        Raises:
            UnknownTask: there is no task that this principal may see.
            InvalidInput: `after` is no number, or negative.
        """
        record = await self.record(task_id)
        events = await self.engine.events(task_id, owner=None, after=after)
        if self._sees_for_good(record):
            return events
        return [event for event in events if event.seq <= record.seq]

    async def subscribe(self, task_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """The events after number `after`, then each as it is committed (`Engine.subscribe`).

        For an approver the stream of somebody else's task ends with the event after which it
        does not wait any more, or, for one who is named, not for him.

        Raises:
            UnknownTask: there is no task that this principal may see.
            InvalidInput: `after` is no number, or negative.
            LimitReached: the task has too many watchers.
        """
        record = await self.record(task_id)
        for_good = self._sees_for_good(record)
        async with aclosing(self.engine.subscribe(task_id, owner=None, after=after)) as events:
            async for event in events:
                yield event
                if for_good or event.seq <= record.seq:
                    continue
                if event.dest not in WAITING or not (
                    self._approves or await self._is_asked(task_id)
                ):
                    return

    async def page(
        self,
        *,
        phases: AbstractSet[Phase] | None = None,
        search: str | None = None,
        limit: int = 50,
        cursor: tuple[float, str] | None = None,
    ) -> TaskPage:
        """One page of tasks, newest change first.

        `phases` are as shown: a finalized task counts under its outcome.  An approver is
        given its own tasks, and those of its tenant that wait.

        Raises:
            InvalidInput: the cursor is none that a page gave, or the limit none (1 to 200).
        """
        check_limit(limit)
        parts: list[AbstractSet[Phase] | None] = [phases]
        if self._approves and not self._sees_all:
            every = self.engine.lifecycle.phases
            wanted, waiting = frozenset(every if phases is None else phases), self._waiting()
            # Whose tasks are there depends on whether they wait: one query for each.
            parts = [part for part in (waiting & wanted, wanted - waiting) if part]
        pages = [
            await self.engine.page(self._query(part, search=search, limit=limit, cursor=cursor))
            for part in parts
        ]
        return pages[0] if len(pages) == 1 else merged(pages, limit)

    async def counts(self, *, search: str | None = None) -> dict[Phase, int]:
        """How many tasks `page` gives for each phase; phases without any are left out."""
        counts = dict(await self.engine.counts(self._query(None, search=search)))
        if self._approves and not self._sees_all:
            waiting = await self.engine.counts(self._query(self._waiting(), search=search))
            counts = {phase: n for phase, n in counts.items() if phase not in WAITING}
            counts |= {phase: n for phase, n in waiting.items() if phase in WAITING}
        return {phase: n for phase, n in counts.items() if n}

    async def inbox(self, *, limit: int = 50, cursor: tuple[float, str] | None = None) -> InboxPage:
        """Open asks that this principal may deal with, of the tasks that changed last first.

        A page has some more than `limit` if the last task asks several things.  Of somebody
        without a role the first page has what asks of others name it for, too: up to `limit`,
        of the `INBOX_SCANNED_MAX` that changed last; nothing of theirs is on a later page.

        Raises:
            InvalidInput: the cursor is none that a page gave, or the limit none (1 to 200).
        """
        check_limit(limit)
        page = await self._inbox(limit, cursor)
        if cursor is not None or self._approves or self._operates:
            return page
        # What is its own is not to be looked for among those of all.
        others = await self._of_others(limit)
        entries = sorted([*page.entries, *others], key=_changed, reverse=True)
        return InboxPage(tuple(entries), page.next_cursor)

    async def _inbox(self, limit: int, cursor: tuple[float, str] | None) -> InboxPage:
        """Of its own tasks and those that its roles reach."""
        entries: list[InboxEntry] = []
        scanned = 0
        while True:
            query = self._query(self._waiting(), limit=_READ, cursor=cursor, to_act=True)
            page = await self.engine.page(query)
            for record in page.records:
                if len(entries) >= limit:
                    return InboxPage(tuple(entries), cursor)
                entries += self._entries_of(record)
                cursor = (record.updated_at, record.task_id)
            scanned += _READ
            cursor = page.next_cursor
            if cursor is None or len(entries) >= limit or scanned >= INBOX_SCANNED_MAX:
                return InboxPage(tuple(entries), cursor)

    async def _of_others(self, limit: int) -> list[InboxEntry]:
        """What asks of others name it for."""
        query = replace(
            self._query(self._waiting(), limit=_READ),
            owner=None,
            owner_prefix=self.principal.within,
        )
        entries: list[InboxEntry] = []
        for record in await that_name(self.engine, query):
            if len(entries) >= limit:
                break
            if not self._owns(record):
                entries += self._entries_of(record)
        return entries

    def _entries_of(self, record: TaskRecord) -> list[InboxEntry]:
        return [
            InboxEntry(record, ask, is_for_operator(ask))
            for ask in record.asks
            if self.may_answer(record, ask) or (is_for_operator(ask) and self.may_resume(record))
        ]

    # --- what it may do ---------------------------------------------------------------

    def may_answer(self, record: TaskRecord, ask: OpenAsk) -> bool:
        """Whether it may answer, decide or decline the ask.  The engine has the last word."""
        if is_for_operator(ask):
            return False
        if not self._reaches(record, answers=True):
            return self._names(record, ask)
        return is_approver(ask, self.principal.owner, self._roles)

    def may_cancel(self, record: TaskRecord) -> bool:
        """Whether it may cancel the task, as far as it goes by roles."""
        return self._reaches(record, answers=False)

    def may_resume(self, record: TaskRecord) -> bool:
        """Whether it may let the task go on (`resume`), as far as it goes by roles."""
        return self._operates and self.principal.sees(record.owner)

    async def answer(
        self, task_id: str, ask: str, value: JsonValue, *, token: str | None = None
    ) -> TaskRecord:
        """Give the value that an open ask wants; a repeat with the same token is no error.

        Gives the task, or, if it is not to be seen any more, the task as it was with that answer.

        Raises:
            UnknownTask: there is none that this principal may see.
            NotAllowed: it may not answer that.
            AnswerInvalid: the value does not fit; the ask stays open.
            Refused: the ask is closed, or wants a decision.
        """
        said = Answer(ask=named(ask), value=value)
        record = await self._for_answer(task_id, ask, token)
        with self._repeats(record, token) as kept:
            after = await self.engine.answer(
                task_id,
                said,
                owner=record.owner,
                actor=self.principal.owner,
                roles=self._roles,
                token=kept,
            )
        return await self._told(record, after, ask)

    async def approve(
        self,
        task_id: str,
        ask: str,
        digest: str,
        arguments: JsonObject | None = None,
        reason: str | None = None,
        *,
        token: str | None = None,
    ) -> TaskRecord:
        """Say yes to what the digest names; with `arguments`, to these instead.

        Raises:
            UnknownTask: there is none that this principal may see.
            NotAllowed: it may not decide that.
            AnswerInvalid: edited arguments do not fit the tool's schema.
            Refused: the digest names something else, the ask is closed, ...
        """
        decision = Approval(
            ask=named(ask),
            digest=named(digest, "digest"),
            decision="approve",
            arguments=arguments,
            reason=reason,
        )
        return await self._decided(task_id, decision, token)

    async def deny(
        self,
        task_id: str,
        ask: str,
        digest: str,
        reason: str | None = None,
        *,
        token: str | None = None,
    ) -> TaskRecord:
        """Say no to what the digest names; see `approve`."""
        decision = Denial(
            ask=named(ask), digest=named(digest, "digest"), decision="deny", reason=reason
        )
        return await self._decided(task_id, decision, token)

    async def decline(
        self, task_id: str, ask: str, reason: str | None = None, *, token: str | None = None
    ) -> TaskRecord:
        """Say that an open ask gets no value; see `answer`, and `Engine.decline`."""
        record = await self._for_answer(task_id, named(ask), token)
        with self._repeats(record, token) as kept:
            after = await self.engine.decline(
                task_id,
                ask,
                owner=record.owner,
                actor=self.principal.owner,
                roles=self._roles,
                token=kept,
                reason=reason,
            )
        return await self._told(record, after, ask)

    async def cancel(self, task_id: str, reason: str | None = None) -> TaskRecord:
        """Ask for the task to stop; a repeat is accepted and changes nothing.

        Raises:
            UnknownTask: there is none that this principal may see.
            NotAllowed: it is somebody else's, and this is no operator.
            IllegalTrigger: it is over.
        """
        record = await self.record(task_id)
        if not self.may_cancel(record):
            raise NotAllowed("the task is somebody else's; to cancel it takes the role 'operator'")
        actor = self.principal.owner
        return await self.engine.cancel(task_id, owner=record.owner, actor=actor, reason=reason)

    async def resume(self, task_id: str, decision: Resumption) -> TaskRecord:
        """Decide how a task goes on whose turns cannot (`Engine.resume`).

        Raises:
            UnknownTask: there is none that this principal may see.
            NotAllowed: it is no operator.
            InvalidInput: no operator is asked about it.
            AnswerInvalid: it may not be resumed in this way.
        """
        record = await self.record(task_id)
        if not self.may_resume(record):
            raise NotAllowed("to resume a task takes the role 'operator'")
        actor = self.principal.owner
        return await self.engine.resume(task_id, decision, owner=record.owner, actor=actor)

    async def forget(self, task_id: str) -> None:
        """Forget a finalized task for good (`Engine.forget`).

        Raises:
            UnknownTask: there is none that this principal may see.
            NotAllowed: it is no operator.
            NotFinalized: it goes on, or somebody is still to be told of its end.
        """
        record = await self.record(task_id)
        if not (self._operates and self.principal.sees(record.owner)):
            raise NotAllowed("to forget a task takes the role 'operator'")
        await self.engine.forget(task_id, owner=record.owner)

    # --- small things -----------------------------------------------------------------

    def _owns(self, record: TaskRecord) -> bool:
        return record.owner == self.principal.owner

    def _sees_for_good(self, record: TaskRecord) -> bool:
        """Whether it sees the task whatever becomes of it."""
        return self._owns(record) or (self._sees_all and self.principal.sees(record.owner))

    def _sees(self, record: TaskRecord) -> bool:
        if self._sees_for_good(record):
            return True
        if self._approves and record.phase in WAITING and self.principal.sees(record.owner):
            return True
        return any(self._names(record, ask) for ask in record.asks)

    def _names(self, record: TaskRecord, ask: OpenAsk) -> bool:
        """Whether the ask names it among its approvers: that opens the task while it is asked."""
        name = self.principal.owner
        if name.startswith(ROLE) or is_for_operator(ask):
            return False
        return name in ask.approvers and self.principal.sees(record.owner)

    async def _is_asked(self, task_id: str) -> bool:
        return self._sees(await self.engine.record(task_id, owner=None))

    async def _has_closed(self, record: TaskRecord, ask: str) -> bool:
        """Whether it was this principal who answered or decided that."""
        if ask not in record.closed or not self.principal.sees(record.owner):
            return False
        events = await self.engine.events(record.task_id, owner=None)
        return any(self._closes(event, ask) for event in events)

    def _closes(self, event: Event, ask: str) -> bool:
        return event.actor == self.principal.owner and event.data.get("key") == ask

    async def _told(self, before: TaskRecord, record: TaskRecord, ask: str) -> TaskRecord:
        """The task after an answer; to whom it is hidden by now, as it was with that answer."""
        is_next = before.ask(ask) is not None and record.seq == before.seq + 1
        if is_next or self._sees(record):
            return record
        events = await self.engine.events(record.task_id, owner=None)
        seq = next((event.seq for event in events if self._closes(event, ask)), None)
        if seq is None:
            raise UnknownTask(record.task_id)
        return self.engine.lifecycle.fold(events[:seq])

    def _reaches(self, record: TaskRecord, *, answers: bool) -> bool:
        if self._owns(record):
            return True
        role = self._approves if answers else self._operates
        return role and self.principal.sees(record.owner)

    async def _for_answer(self, task_id: str, ask: str, token: str | None) -> TaskRecord:
        """The task, if what it asks may be answered, or a repeat of an answer may be told so."""
        record = await self.engine.record(task_id, owner=None)
        asked = record.ask(ask)
        reaches = self._reaches(record, answers=True)
        # Its answer may have been what an approver saw last of it.
        repeats = token is not None and (reaches or await self._has_closed(record, ask))
        if not self._sees(record) and not repeats:
            raise UnknownTask(task_id)
        if not (reaches or repeats or (asked is not None and self._names(record, asked))):
            raise NotAllowed(
                "the task is somebody else's; to answer it takes the role 'approver', or to be "
                "among the approvers that the ask names"
            )
        if ask.startswith(OPERATOR) or (asked is not None and is_for_operator(asked)):
            raise NotAllowed("this is for an operator to decide, who resumes the task")
        if asked is not None and not self.may_answer(record, asked):
            raise NotAllowed("the ask has approvers, and they are others")
        return record

    async def _decided(
        self, task_id: str, decision: Approval | Denial, token: str | None
    ) -> TaskRecord:
        record = await self._for_answer(task_id, decision.ask, token)
        with self._repeats(record, token) as kept:
            after = await self.engine.decide(
                task_id,
                decision,
                owner=record.owner,
                actor=self.principal.owner,
                roles=self._roles,
                token=kept,
            )
        return await self._told(record, after, decision.ask)

    def _repeats(self, record: TaskRecord, token: str | None) -> Repeats:
        hidden = not self._sees(record)
        return Repeats(self.principal.owner, record, token, hidden=hidden)

    def _waiting(self) -> frozenset[Phase]:
        return frozenset(phase for phase in self.engine.lifecycle.phases if phase in WAITING)

    def _query(
        self,
        phases: AbstractSet[Phase] | None,
        *,
        search: str | None = None,
        limit: int = 50,
        cursor: tuple[float, str] | None = None,
        to_act: bool = False,
    ) -> TaskQuery:
        """The query for what it sees; `to_act`, for that of it which it might deal with."""
        waiting = phases is not None and all(phase in WAITING for phase in phases)
        further = self._approves and waiting
        tenant = further or (self._operates if to_act else self._sees_all)
        return TaskQuery(
            owner=None if tenant else self.principal.owner,
            owner_prefix=self.principal.within if tenant else None,
            shown=phases,
            search=search or None,
            limit=limit,
            cursor=cursor,
        )
