"""The object of a task: its record and log, its tokens, and whoever may write to them.

Restate lets one call of an object's exclusive handlers run at a time, and runs it to its end
whatever dies meanwhile.  So a handler is the one writer of its task.  It is given signals and
fires them itself (`Lifecycle.fire`); what follows from them it keeps, and in the same call it
writes the projection and sends what is to be done then.  An answer means that all of it is done.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from pydantic_core import to_json
from restate import (
    ObjectContext,
    ObjectSharedContext,
    VirtualObject,
)

from interlock._event import TIMER
from interlock._record import TIMER_TRIGGER
from interlock.errors import (
    Conflict,
    EngineError,
    Refused,
    StoreCorrupt,
    StoreError,
    Unstorable,
)
from interlock.lifecycle import Event, Phase, Signal, TaskRecord, TimerKind, Trigger
from interlock.stores import Commit, TokenTaken
from interlock_adapters.restate._host import Host, made_object, names_of, step
from interlock_adapters.restate._wire import (
    JSON,
    Append,
    Head,
    Request,
    claim_json,
    events_json,
    leads,
    page_key,
    signal_of,
    token_key,
)

_log: Final = logging.getLogger("interlock.restate")

_HEAD: Final = "head"
#: A deadline that passed longer ago than so many seconds was set by another clock than the store's:
#: nobody comes back for it, or it would be over and over.
_LATE_S: Final = 3_600.0
_DONE: Final = {"is": "done"}
_CONFLICT: Final = {"is": "conflict"}


def task_object(host: Host) -> VirtualObject:
    """The object of a task."""
    task = made_object(names_of(host.place.namespace)[0], host.place, lazy=True)

    async def append(ctx: ObjectContext, request: Request) -> Request:
        """Fire signals at the task, and keep what comes of it; see `Store.commit`."""
        return await _Writing(host, ctx, request["task_id"]).append(request)

    async def due(ctx: ObjectContext, request: Request) -> None:
        """Fire the deadlines that have passed."""
        await _Writing(host, ctx, request["task_id"]).due()

    async def forget(ctx: ObjectContext, request: Request) -> bool:
        """Forget the task, which is finalized, with all it had; see `Store.forget`."""
        return await _Writing(host, ctx, request["task_id"]).forget()

    async def want(ctx: ObjectContext, request: Request) -> None:
        """Want a turn that nobody wants any more."""
        _Writing(host, ctx, request["task_id"]).send_turn(request["epoch"], None, 0.0)

    async def ping(_ctx: ObjectSharedContext, _request: Request) -> bool:
        """Answer."""
        return True

    writes = task.handler(input_serde=JSON, output_serde=JSON)
    writes(append)
    writes(due)
    writes(forget)
    writes(want)
    task.handler(kind="shared", input_serde=JSON, output_serde=JSON)(ping)
    return task


@dataclass(slots=True)
class _Moved:
    """What signals came to."""

    record: TaskRecord
    events: list[Event] = field(default_factory=list[Event])


class _Writing:
    """One call of an exclusive handler of a task."""

    def __init__(self, host: Host, ctx: ObjectContext, task_id: str) -> None:
        self._host: Final = host
        self._ctx: Final = ctx
        self._task_id: Final = task_id
        self._task, self._token, self._turn = names_of(host.place.namespace)

    async def append(self, request: Request) -> Request:
        """What the caller learns: `is` done, conflict, taken or refused."""
        try:
            head = Head.of(await self._ctx.get(_HEAD, JSON))
        except ValueError:
            return _refused("its record is of a lifecycle that the worker does not have")
        wanted = Append.of(self._task_id, request)
        if wanted.id in head.done:
            return _DONE
        try:
            if head.seq != wanted.expected:
                head = await self._compared(head, wanted.now)
            if head.seq != wanted.expected:
                return _CONFLICT
            moved = self._fired(head.record, [signal_of(entry) for entry in wanted.signals])
            if [leads(event) for event in moved.events] != wanted.leads:
                raise StoreCorrupt("its lifecycle makes something else of it")
        except (ValueError, EngineError, ArithmeticError, LookupError, TypeError) as error:
            return _refused(_why(error))
        return await self._appended(head, moved, wanted)

    async def _appended(self, head: Head, moved: _Moved, wanted: Append) -> Request:
        before = head.json()
        taken = await self._reserve(head, wanted)
        if taken is not None:
            return {"is": "taken", "claim": taken}
        head.done.append(wanted.id)
        why = await self._write(head, moved, wanted, before)
        if why is not None:
            for key in head.tokens[len(before["tokens"]) :]:
                await self._called(self._token, "release", key, {"task_id": self._task_id})
            return _refused(why)
        if wanted.turn is not None:
            self.send_turn(*wanted.turn, wanted.now)
        return _DONE

    async def due(self) -> None:
        """Fire every timer whose time has come, and look again at the time of the next."""
        try:
            head = Head.of(await self._ctx.get(_HEAD, JSON))
        except ValueError:
            return  # Whoever has that lifecycle finds it in the projection.
        head.armed = None
        if head.record is None or head.record.due is None:
            return
        before = head.json()

        async def look() -> float:
            return self._host.now()

        now = await step(self._ctx, "now", look)
        moved = _Moved(head.record)
        for timer in sorted(head.record.timers(), key=lambda timer: timer.due):
            if timer.due > now or timer.kind is TimerKind.RETRY:
                continue  # After its back-off a turn of the task is out that starts it.
            data = {
                "key": timer.key,
                "timer": timer.kind.value,
                "grace_s": self._host.grace_s,
                "epoch": moved.record.epoch,
            }
            signal = Signal(TIMER_TRIGGER[timer.kind], data, TIMER, now)
            try:
                move = self._host.lifecycle.fire(moved.record, signal)
            except Refused:
                continue  # It came too late.
            moved.record = move.record
            moved.events.append(move.event)
        if not moved.events:
            # What has passed and was refused would come again at once.
            self._arm(head, now, late_s=0.0)
            self._ctx.set(_HEAD, head.json(), JSON)
            return
        wanted = Append("", now, head.seq, [], [], (), (), None)
        why = await self._write(head, moved, wanted, before)
        if why is not None:
            _log.error("task %s: its deadlines are not fired: %s", self._task_id, why)
            return
        # Whoever takes it up goes on with the task, stops its agent, or lets go of what is over.
        self.send_turn(moved.record.epoch, None, now)

    async def forget(self) -> bool:
        """Whether it was there and finalized, and so is gone."""
        try:
            head = Head.of(await self._ctx.get(_HEAD, JSON))
        except ValueError:
            return False  # It waits in a phase of another lifecycle.
        if head.record is not None and head.record.phase is not Phase.FINALIZED:
            return False

        async def go() -> bool:
            return await self._host.projection.forget(self._task_id)

        gone = await step(self._ctx, "forget", go)
        await self._clear(head)
        return gone or head.record is not None

    async def _clear(self, head: Head) -> None:
        for key in head.tokens:
            await self._called(self._token, "release", key, {"task_id": self._task_id})
        self._ctx.clear_all()

    # --- the parts of a commit ----------------------------------------------------------

    def _fired(self, record: TaskRecord | None, signals: Sequence[Signal]) -> _Moved:
        events: list[Event] = []
        lifecycle = self._host.lifecycle
        for signal in signals:
            if record is None:
                move = lifecycle.submit(signal)
                if signal.trigger is not Trigger.SUBMIT or move.record.task_id != self._task_id:
                    raise StoreCorrupt("it does not begin with its submission")
            else:
                move = lifecycle.fire(record, signal)
            record = move.record
            events.append(move.event)
        if record is None:
            raise StoreCorrupt("nothing is to be appended")
        return _Moved(record, events)

    async def _reserve(self, head: Head, wanted: Append) -> list[str] | None:
        """Use up the tokens; who has one of them already, and then none is."""
        reserved: list[str] = []
        for claim in wanted.claims:
            key = token_key(claim.owner, claim.token)
            request = {"claim": claim_json(claim), "commit": wanted.id}
            taken = (
                claim_json(claim)
                if key in reserved
                else await self._called(self._token, "reserve", key, request)
            )
            if taken is not None:
                for mine in reserved:
                    await self._called(self._token, "release", mine, {"task_id": self._task_id})
                return taken
            reserved.append(key)
        head.tokens.extend(reserved)
        return None

    async def _write(
        self, head: Head, moved: _Moved, wanted: Append, before: dict[str, Any]
    ) -> str | None:
        """Keep what was moved, here and in the projection.

        Why that never can be, if so: then the head is kept as it was before.
        """
        head.record = moved.record
        self._arm(head, wanted.now)
        page = page_key(moved.events[0].seq)
        # Undone if need be, and not done later: in journals that are under way it comes first.
        self._ctx.set(_HEAD, head.json(), JSON)
        self._ctx.set(page, events_json(moved.events), JSON)
        commit = Commit(moved.record, tuple(moved.events), wanted.claims, wanted.watches)
        behind = await step(self._ctx, "project", partial(self._project, commit))
        if isinstance(behind, int):
            behind = await self._catch_up(moved.record, behind)
        if behind is None:
            return None
        self._ctx.clear(page)
        if before["record"] is None:
            self._ctx.clear(_HEAD)
        else:
            self._ctx.set(_HEAD, before, JSON)
        return behind

    async def _project(self, commit: Commit) -> int | str | None:
        """Write to the projection; how far that is if it cannot be gone on with.

        And why it never can take this, if so: tried again it would be in the way for ever.
        """
        try:
            try:
                await self._host.projection.commit(commit)
            except Conflict:
                kept = await self._host.projection.get(self._task_id)
                seq = 0 if kept is None else kept.seq
                if seq < commit.record.seq:
                    return seq
                # It was written, and whoever did so died before Restate knew.
            except TokenTaken:
                # Restate knows better who has a token: of this task all else is kept.
                await self._host.projection.commit(replace(commit, claims=()))
        except Unstorable as error:
            return _why(error)
        self._host.tell(self._task_id)
        return None

    async def _compared(self, head: Head, now: float) -> Head:
        """The head after the projection and the object were made to agree.

        They may not where one of them was restored from a copy, or a call was killed.
        """

        async def look() -> int:
            kept = await self._host.projection.get(self._task_id)
            return 0 if kept is None else kept.seq

        seq = await step(self._ctx, "look", look)
        if head.record is not None and seq < head.seq:
            if seq == 0 and head.record.phase is Phase.FINALIZED:
                await self._clear(head)  # It was purged, and nobody told the object.
                return Head()
            why = await self._catch_up(head.record, seq)
            if why is not None:
                raise Unstorable(why)
        elif seq > head.seq:
            return await self._adopt(head, seq, now)
        return head

    async def _adopt(self, head: Head, seq: int, now: float) -> Head:
        """Take over what the projection has beyond the object: a log that was fired as well."""

        async def read() -> list[dict[str, Any]]:
            return events_json(await self._host.projection.events(self._task_id, 0, seq))

        events = [Event.from_json(entry) for entry in await step(self._ctx, "adopt", read)]
        record = self._host.lifecycle.fold(events)
        self._ctx.set(page_key(head.seq + 1), events_json(events[head.seq :]), JSON)
        head.record = record
        self._arm(head, now)
        self._ctx.set(_HEAD, head.json(), JSON)
        return head

    async def _catch_up(self, record: TaskRecord, seq: int) -> str | None:
        """Write to the projection what it lacks; why it never can take that, if so."""
        pages = [key for key in await self._ctx.state_keys() if key.startswith("log")]
        events: list[Event] = []
        for key in sorted(pages):
            page: Any = await self._ctx.get(key, JSON)
            events.extend(Event.from_json(entry) for entry in page or ())
        commit = Commit(record, tuple(event for event in events if event.seq > seq))

        async def write() -> str | None:
            behind = await self._project(commit)
            if isinstance(behind, int):
                raise StoreError("the projection is written to by somebody else")
            return behind

        return await step(self._ctx, "catch up", write)

    # --- what is sent -------------------------------------------------------------------

    def _arm(self, head: Head, now: float, *, late_s: float = _LATE_S) -> None:
        """Come back at the earliest deadline, unless that happens before it anyway."""
        assert head.record is not None
        timers = [timer for timer in head.record.timers() if timer.kind is not TimerKind.RETRY]
        ahead = [timer.due for timer in timers if timer.due > now - late_s]
        if not ahead:
            return
        due = min(ahead)
        if head.armed is not None and now < head.armed <= due:
            return
        head.armed = due
        self._sent(self._task, "due", {"task_id": self._task_id}, delay_s=max(0.0, due - now))

    def send_turn(self, epoch: int, not_before: float | None, now: float) -> None:
        """Have a turn of the task handed out."""
        delay_s = 0.0 if not_before is None else max(0.0, not_before - now)
        wanted = {"task_id": self._task_id, "epoch": epoch, "not_before": not_before}
        self._sent(self._turn, "run", wanted, delay_s=delay_s)

    def _sent(self, service: str, handler: str, request: Request, *, delay_s: float) -> None:
        # Restate counts milliseconds, and would come too early.
        delay = timedelta(seconds=delay_s + 0.001) if delay_s else None
        self._ctx.generic_send(service, handler, to_json(request), self._ctx.key(), delay)

    async def _called(self, service: str, handler: str, key: str, request: Request) -> Any:  # noqa: ANN401  any JSON
        answer = await self._ctx.generic_call(service, handler, to_json(request), key)
        return JSON.deserialize(bytes(answer))


def _refused(why: str) -> Request:
    return {"is": "refused", "why": why}


def _why(error: Exception) -> str:
    # Only the kind of most faults: the data may hold a secret.
    return str(error) if isinstance(error, EngineError) else type(error).__name__
