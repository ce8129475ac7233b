"""Hypothesis drives an engine of your own: subclass `LifecycleMachine`, and add rules of yours.

Needs the extra `interlock[testing]`.  The time is a clock's that only the machine moves, and the
store is in memory.  A plain function, agent or tool, runs on a real thread: after every step the
machine waits until each thread waits for the engine, for a second of real time at most.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, ClassVar, Final, TypedDict, TypeVar, cast

from interlock._agent import Content
from interlock._engine import Engine, Resumption
from interlock._event import Event
from interlock._guards import ROLE, roles_among
from interlock._memory import OPERATOR
from interlock._phases import OVER, Phase
from interlock._record import Ask, AskKind, TaskRecord
from interlock._turn import Turn
from interlock.errors import EngineError
from interlock.models import Answer, Approval, Denial
from interlock.testing._clock import ManualClock
from interlock.testing._oracle import violations
from interlock.testing.fuzz._answers import edited, fitting, unfitting
from interlock.testing.fuzz._ended import end_all
from interlock.testing.fuzz._faults import Remembering
from interlock.testing.fuzz._real_threads import RealThreads
from interlock.testing.fuzz._tape import Tape
from interlock.testing.fuzz._target import INPUTS, Target

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        invariant,
        precondition,
        rule,
    )
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock.testing.hypothesis needs the testing extra: pip install 'interlock[testing]'",
        name=_missing.name,
    ) from _missing

__all__ = ["LifecycleMachine"]

V = TypeVar("V")

#: Tasks of one program at most.
TASKS_MAX: Final = 5
#: Seconds of real time that one call of the engine may take.
CALL_S: Final = 5.0
#: Steps of time until every task has to be over, at the end.
_ENDS_WITHIN: Final = 200

_OWNER: Final = "ada"
_INPUTS: Final[st.SearchStrategy[Any]] = st.sampled_from(INPUTS)


class _Drawn(Tape):
    """A tape whose decisions are draws of Hypothesis, which then shrinks them."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self._data: Final = data

    def choose(self, options: int) -> int:
        """See `Tape.choose`."""
        return int(self._data.draw(st.integers(0, options - 1)))


class LifecycleMachine(RuleBasedStateMachine):
    """Clients, people, time and crashes against one engine of `target`.

    Every invariant that can be read off a log, and that every record is the fold of its log, is
    checked after every step; at the end time goes on until every task is over.  A subclass adds
    its own `@rule`s and `@invariant`s, which call the engine through `run`::

        class ShopMachine(LifecycleMachine):
            target = shop.engine

        TestShop = ShopMachine.TestCase
    """

    #: What is driven: see `Target.of`.
    target: ClassVar[object] = None
    #: What tasks are submitted with; those of the target unless a subclass says otherwise.
    inputs: ClassVar[st.SearchStrategy[Any]] = _INPUTS

    def __init__(self) -> None:
        super().__init__()
        # Found on the class: a function that is one would be bound otherwise.
        found = next(vars(c)["target"] for c in type(self).__mro__ if "target" in vars(c))
        if found is None:
            raise TypeError(f"{type(self).__name__} has no `target`: an engine, an agent, ...")
        self._target: Final = Target.of(found)
        # What outlives a process is cleared for every program: ids begin again, too.
        self._target.begin()
        self.loop: Final = asyncio.new_event_loop()
        self._threads: Final = RealThreads(self.loop)
        self.clock: ManualClock = ManualClock()
        self.store: Final = Remembering()
        self._ids: Final = itertools.count(1)
        self.engine: Engine = self._made()
        #: The ids of all tasks so far.
        self.tasks: Final[list[str]] = []
        #: (task, key) of every answer that was accepted.
        self.accepted: Final[list[tuple[str, str]]] = []

    def _made(self) -> Engine:
        return self._target.engine(
            store=self.store, clock=self.clock, new_id=lambda: f"id-{next(self._ids):04}"
        )

    # --- for rules of one's own --------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, V]) -> V:
        """What a call of the engine comes to, once all that follows from it has happened."""

        async def settled() -> V:
            try:
                return await asyncio.wait_for(coroutine, CALL_S)
            finally:
                await self._settle()

        return self.loop.run_until_complete(settled())

    def record(self, task_id: str) -> TaskRecord:
        """A task, as stored, or as it was when it was purged."""
        kept = self.store.kept(task_id)
        assert kept is not None, f"I18: {task_id} was acknowledged and is not there"
        return kept[0]

    def records(self) -> list[TaskRecord]:
        """Every task, as stored."""
        return [self.record(task_id) for task_id in self.tasks]

    def log(self, task_id: str) -> list[Event]:
        """The log of a task, as stored, or as it was when it was purged."""
        kept = self.store.kept(task_id)
        return [] if kept is None else list(kept[1])

    def asks(self, kind: AskKind | None = None) -> list[tuple[TaskRecord, Ask]]:
        """Every open ask that a client may answer, with its task."""
        return [
            (record, ask)
            for record in self.records()
            for ask in record.asks
            if kind in (None, ask.kind) and not ask.key.startswith(OPERATOR)
        ]

    def stuck(self) -> list[tuple[TaskRecord, Ask]]:
        """Every open ask that is an operator's, with its task."""
        return [
            (record, ask)
            for record in self.records()
            for ask in record.asks
            if ask.key.startswith(OPERATOR)
        ]

    def live(self) -> list[TaskRecord]:
        """Every task that is not over."""
        return [record for record in self.records() if record.phase not in OVER]

    def _unfinished(self) -> list[TaskRecord]:
        return [record for record in self.records() if record.phase is not Phase.FINALIZED]

    async def _settle(self) -> None:
        await self._threads.settle(lambda: [turn.workers for turn in self._turns()])

    def _turns(self) -> list[Turn]:
        runtime = self.engine._runtime  # noqa: SLF001  nobody else wants to know
        cells = () if runtime is None else runtime.writer.cells()
        return [cell.turn for cell in cells if cell.turn is not None]

    def _pass(self, seconds: float) -> None:
        async def advance() -> None:
            self.clock.advance(seconds)

        self.run(advance())

    # --- what happens ------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """The engine opens."""
        self.run(self.engine.start())

    @rule(data=st.data())
    @precondition(lambda self: len(self.tasks) < TASKS_MAX)
    def submit(self, data: st.DataObject) -> None:
        """A client submits a task."""
        is_said = self.inputs is not _INPUTS
        inputs = self.inputs if is_said else st.sampled_from(self._target.inputs)
        content: Content = data.draw(inputs)
        names = list(self.engine.agents)
        agent = data.draw(st.sampled_from(names)) if len(names) > 1 else None
        handle = self.run(self.engine.submit(content, owner=_OWNER, agent=agent))
        self.tasks.append(handle.task_id)

    @rule(data=st.data(), good=st.booleans())
    @precondition(lambda self: self.asks(AskKind.INPUT))
    def answer(self, data: st.DataObject, good: bool) -> None:  # noqa: FBT001
        """Somebody answers an open question, with what fits its schema or with what does not."""
        record, ask = data.draw(st.sampled_from(self.asks(AskKind.INPUT)))
        tape = _Drawn(data)
        known = self._target.known
        made = fitting(ask.schema, tape, known) if good else unfitting(ask.schema, tape)
        if made is None:
            return
        before = len(self.log(record.task_id))
        said = Answer(ask=ask.key, value=made[0])
        took = self._took(self.engine.answer(record.task_id, said, **_acting(ask)))
        if not good:
            assert not took, f"a value that does not fit {ask.key} was taken"
            assert len(self.log(record.task_id)) == before, "I35: a refusal changed something"
        elif took:
            self.accepted.append((record.task_id, ask.key))

    @rule(data=st.data(), yes=st.booleans())
    @precondition(lambda self: self.asks(AskKind.AUTH))
    def decide(self, data: st.DataObject, yes: bool) -> None:  # noqa: FBT001
        """Somebody approves or denies; perhaps with other arguments, where that is allowed."""
        record, ask = data.draw(st.sampled_from(self.asks(AskKind.AUTH)))
        assert ask.digest is not None
        arguments = None
        if yes and ask.allow_edit and data.draw(st.booleans()):
            arguments = edited(ask.arguments or {}, ask.schema, _Drawn(data))
        said = (
            Approval(ask=ask.key, digest=ask.digest, decision="approve", arguments=arguments)
            if yes
            else Denial(ask=ask.key, digest=ask.digest, decision="deny")
        )
        if self._took(self.engine.decide(record.task_id, said, **_acting(ask))):
            self.accepted.append((record.task_id, ask.key))

    @rule(data=st.data())
    @precondition(lambda self: self.asks(AskKind.INPUT))
    def decline(self, data: st.DataObject) -> None:
        """Somebody will not say."""
        record, ask = data.draw(st.sampled_from(self.asks(AskKind.INPUT)))
        declined = self.engine.decline(record.task_id, ask.key, **_acting(ask))
        if self._took(declined):
            self.accepted.append((record.task_id, ask.key))

    @rule(data=st.data())
    @precondition(lambda self: self.live())
    def cancel(self, data: st.DataObject) -> None:
        """A client cancels."""
        record = data.draw(st.sampled_from(self.live()))
        self.run(self.engine.cancel(record.task_id, owner=_OWNER))

    @rule(data=st.data())
    @precondition(lambda self: self.stuck())
    def operate(self, data: st.DataObject) -> None:
        """An operator lets a task go on that its agent cannot, or takes its process down."""
        record, ask = data.draw(st.sampled_from(self.stuck()))
        choices = cast("list[Resumption]", ask.schema["enum"])
        self.run(self.engine.resume(record.task_id, data.draw(st.sampled_from(choices))))

    @rule(data=st.data())
    @precondition(lambda self: self.live())
    def advance(self, data: st.DataObject) -> None:
        """Time passes: a second, or to about the next deadline."""
        dues = [record.due for record in self.live() if record.due is not None]
        left = max(min(dues, default=0.0) - self.clock.now(), 0.0)
        self._pass(data.draw(st.sampled_from([1.0, left, max(left - 0.001, 0.0), left + 1.0])))

    @rule()
    def crash(self) -> None:
        """The process dies between two steps, and another takes over the store."""
        self._kill()
        self.clock = ManualClock(self.clock.now())
        self.engine = self._made()
        self.run(self.engine.start())

    def _took(self, call: Coroutine[Any, Any, TaskRecord]) -> bool:
        try:
            self.run(call)
        except EngineError:
            return False
        return True

    def _kill(self) -> None:
        """What was alive is gone, without a word to the store."""
        for turn in self._turns():
            turn.fence()
            turn.let_go()
        end_all(self.loop)
        self._threads.leave()

    # --- what must hold ----------------------------------------------------------------

    @invariant()
    def every_log_keeps_the_invariants(self) -> None:
        """What the auditor can read off a log (specs/invariants.md)."""
        for task_id in self.tasks:
            found = violations(self.log(task_id), self.engine.lifecycle.table)
            assert found == [], "\n".join(found)

    @invariant()
    def every_record_is_the_fold_of_its_log(self) -> None:
        """I20."""
        for record in self.records():
            assert self.engine.lifecycle.fold(self.log(record.task_id)) == record, "I20"

    @invariant()
    def what_was_acknowledged_is_in_the_log(self) -> None:
        """I18."""
        for task_id, key in self.accepted:
            closed = [e for e in self.log(task_id) if e.data.get("key") == key]
            assert len(closed) > 1, f"I18: the answer to {key} was taken and is not in the log"

    def teardown(self) -> None:
        """Drive every task to its end, look once more, and close the engine."""
        try:
            for _ in range(_ENDS_WITHIN):
                dues = [r.due for r in self._unfinished() if r.due is not None]
                if not self._unfinished():
                    break
                self._pass(max(min(dues) - self.clock.now(), 0.0) + 1.0 if dues else 60.0)
            for record in self._unfinished():
                raise AssertionError(f"I28: {record.task_id} is {record.phase} and never over")
            self.every_log_keeps_the_invariants()
            self.every_record_is_the_fold_of_its_log()
        finally:
            self._kill()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


class _Acting(TypedDict):
    owner: str
    actor: str
    roles: list[str]


def _acting(ask: Ask) -> _Acting:
    """Somebody who may answer."""
    named = [approver for approver in ask.approvers if not approver.startswith(ROLE)]
    return {
        "owner": _OWNER,
        "actor": named[0] if named else _OWNER,
        "roles": roles_among(ask.approvers),
    }
