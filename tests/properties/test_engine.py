"""Any order of requests, answers, time and crashes keeps the promises of the engine.

The machine drives a real engine on a real store with agents that follow a drawn script.
It models the world (what was acknowledged, where each agent stands), not the code.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from interlock import (
    LIFECYCLE,
    OVER,
    WAITING,
    Answer,
    Approval,
    AskKind,
    Denial,
    Engine,
    Event,
    JsonValue,
    Limits,
    MemoryStore,
    Move,
    OpenAsk,
    Phase,
    Retry,
    Signal,
    TaskContext,
    TaskRecord,
    Trigger,
    fire,
)
from interlock._cell import Cell, Post, always
from interlock._event import ENGINE
from interlock._runtime import Runtime
from interlock._turn import Turn
from interlock.errors import CallFailed, Denied, EngineError, Retryable
from interlock.testing import ManualClock, violations

V = TypeVar("V")
OWNER = "ada"
ARGUMENTS = {"amount": 5}
LIMITS = Limits(
    running_turns_max=3,
    ask_s=60.0,
    run_s=300.0,
    task_s=2_000.0,
    grace_s=5.0,
    drain_s=0.0,
    recoveries_max=2,
    retry=Retry(attempts_max=2, backoff_s=3.0),
)
STEPS = (
    *("ask", "default", "tell", "stop", "edit", "two", "emit", "progress", "work", "retry"),
    *("buy", "refill", "break", "note"),
)
#: What a person may say of a call of which nobody knows whether it was made.
WORDS = ("use_value", "run_again", "fail")
IN_DOUBT, OPERATOR = "interlock:in-doubt-", "interlock:operator-"


@dataclass
class World:
    """What the outside knows: scripts, where agents stand, and what was promised."""

    scripts: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    #: Tasks whose agent is at work, until it is nudged.
    working: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    alive: dict[str, int] = field(default_factory=dict[str, int])
    retried: set[str] = field(default_factory=set[str])
    #: (task, key) of every answer that was acknowledged.
    acknowledged: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    #: How often each thing was bought that must be bought once, by the key of its call.
    bought: Counter[str] = field(default_factory=Counter[str])
    #: How often somebody said that it may be bought once more.
    leave: Counter[str] = field(default_factory=Counter[str])
    noted: dict[str, float] = field(default_factory=dict[str, float])

    async def agent(self, task: TaskContext) -> str:
        """Follow the script that came with the task."""
        task_id = task.task_id
        self.alive[task_id] = self.alive.get(task_id, 0) + 1
        try:
            assert self.alive[task_id] == 1, "two turns of one task are alive"
            for step in task.input.text.split():
                await self._step(task, step)
            return "done"
        finally:
            self.alive[task_id] -= 1

    async def _step(self, task: TaskContext, step: str) -> None:
        match step:
            case "ask":
                assert isinstance(await task.ask("how many?", int), int)
            case "default":
                await task.ask("how many?", int, default=7)
            case "two":
                await asyncio.gather(task.ask("one?", int), task.authorize("pay", ARGUMENTS))
            case "tell" | "stop" | "edit":
                await _authorize(task, step)
            case "emit":
                await task.emit("chunk", artifact_id="a", append=True)
            case "retry" if task.task_id not in self.retried:
                self.retried.add(task.task_id)
                raise Retryable("not yet")
            case "buy" | "refill" | "break" | "note":
                await self._outside(task, step)
            case "work":
                await self._work(task.task_id)
            case _:
                await task.progress("on it", 0.5)

    async def _outside(self, task: TaskContext, step: str) -> None:
        match step:
            case "buy":
                bought = await task.call(self.buy, task.task_id, key_as="call")
                assert bought in {"bought", "by hand"}
            case "refill":
                await task.call(self._work, task.task_id, idempotent=True)
            case "break":
                with suppress(CallFailed):
                    await task.call(self.breaks)
            case _:
                noted = await task.journal_time()
                assert self.noted.setdefault(task.task_id, noted) <= noted

    async def buy(self, task_id: str, *, call: str) -> str:
        """Do what must not be done twice; it is done before anybody hears of it."""
        self.bought[call] += 1
        await self._work(task_id)
        return "bought"

    async def breaks(self) -> None:
        """Do what cannot be done."""
        raise OSError("broken")

    async def _work(self, task_id: str) -> None:
        nudge = self.working[task_id] = asyncio.Event()
        try:
            await nudge.wait()
        finally:
            self.working.pop(task_id, None)


async def _authorize(task: TaskContext, step: str) -> None:
    try:
        allowed = await task.authorize(
            "pay",
            ARGUMENTS,
            schema={"type": "object", "properties": {"amount": {"type": "integer"}}},
            allow_edit=step == "edit",
            on_deny="tell_agent" if step == "tell" else "stop",
        )
    except Denied:
        assert step == "tell"
    else:
        assert allowed == ARGUMENTS


class EngineMachine(RuleBasedStateMachine):
    """Clients, people and the clock against one engine, which may crash at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = LIMITS
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.world = World()
        self.ids = itertools.count()
        self.engine = self._new_engine()
        self.tasks: list[str] = []

    def _new_engine(self) -> Engine:
        return Engine(
            self.world.agent,
            store=self.store,
            limits=self.limits,
            clock=self.clock,
            # Random ones would make another program of the same draws.
            new_id=lambda: f"id-{next(self.ids):04}",
        )

    def run(self, coroutine: Coroutine[Any, Any, V]) -> V:
        """Run something, then everything that follows from it."""

        async def settled() -> V:
            try:
                return await asyncio.wait_for(coroutine, 60)
            finally:
                for _ in range(60):
                    await asyncio.sleep(0)

        return self.loop.run_until_complete(settled())

    def records(self) -> list[TaskRecord]:
        """Every task, as stored."""
        return [r for r in map(self._stored, self.tasks) if r is not None]

    def _stored(self, task_id: str) -> TaskRecord | None:
        return self.loop.run_until_complete(self.store.get(task_id))

    def log(self, task_id: str) -> list[Event]:
        """The log of a task, as stored."""
        return self.loop.run_until_complete(self.store.events(task_id))

    def open_asks(self) -> list[tuple[str, OpenAsk]]:
        """Every open ask that a client may answer."""
        asks = [(record.task_id, ask) for record in self.records() for ask in record.asks]
        return [(task_id, ask) for task_id, ask in asks if not ask.key.startswith(OPERATOR)]

    def stuck(self) -> list[str]:
        """Tasks about which an operator is asked."""
        return [
            record.task_id
            for record in self.records()
            if any(ask.key.startswith(OPERATOR) for ask in record.asks)
        ]

    @initialize(park_after_s=st.sampled_from([0.0, 5.0, None]))
    def start(self, park_after_s: float | None) -> None:
        """The engine opens."""
        self.limits = LIMITS.model_copy(update={"park_after_s": park_after_s})
        self.engine = self._new_engine()
        self.run(self.engine.start())

    @rule(steps=st.lists(st.sampled_from(STEPS), max_size=4))
    @precondition(lambda self: len(self.tasks) < 6)
    def submit(self, steps: list[str]) -> None:
        """A client submits; a repeat with the same token makes nothing new."""
        token = str(len(self.tasks))
        text = " ".join(steps) or "nothing"
        handle = self.run(self.engine.submit(text, owner=OWNER, token=token))
        again = self.run(self.engine.submit(text, owner=OWNER, token=token))
        assert (handle.created, again.created) == (True, False)
        assert handle.task_id == again.task_id
        self.tasks.append(handle.task_id)

    @rule(data=st.data(), good=st.booleans(), times=st.integers(1, 2))
    @precondition(lambda self: self.open_asks())
    def answer(self, data: st.DataObject, good: bool, times: int) -> None:  # noqa: FBT001
        """Somebody answers an open ask, rightly or wrongly, perhaps twice at once."""
        task_id, ask = data.draw(st.sampled_from(self.open_asks()))
        before = len(self.log(task_id))
        word = ""
        if ask.key.startswith(IN_DOUBT):
            word = data.draw(st.sampled_from(WORDS))
            if good and word == "run_again":
                call = ask.key.removeprefix(IN_DOUBT).split("-", 1)[1]
                self.world.leave[f"{task_id}/{call}"] += 1

        async def attempt() -> bool:
            try:
                await self._reply(task_id, ask, good=good, deny=False, word=word)
            except EngineError:
                return False
            self.world.acknowledged.append((task_id, ask.key))
            return True

        async def attempts() -> list[bool]:
            return await asyncio.gather(*(attempt() for _ in range(times)))

        accepted = self.run(attempts())
        assert sum(accepted) == (1 if good else 0)
        if not good:
            assert len(self.log(task_id)) == before

    @rule(data=st.data())
    @precondition(lambda self: self.stuck())
    def operate(self, data: st.DataObject) -> None:
        """An operator lets a task go on."""
        self.run(self.engine.resume(data.draw(st.sampled_from(self.stuck())), "again"))

    @rule(data=st.data())
    @precondition(lambda self: any(ask.kind is AskKind.AUTH for _, ask in self.open_asks()))
    def deny(self, data: st.DataObject) -> None:
        """Somebody says no."""
        asks = [(task, ask) for task, ask in self.open_asks() if ask.kind is AskKind.AUTH]
        task_id, ask = data.draw(st.sampled_from(asks))
        self.run(self._reply(task_id, ask, good=True, deny=True))
        self.world.acknowledged.append((task_id, ask.key))

    @rule(data=st.data())
    @precondition(lambda self: any(ask.kind is AskKind.INPUT for _, ask in self.open_asks()))
    def decline(self, data: st.DataObject) -> None:
        """Somebody will not say, and says so twice."""
        asks = [(task, ask) for task, ask in self.open_asks() if ask.kind is AskKind.INPUT]
        task_id, ask = data.draw(st.sampled_from(asks))
        token = f"no {task_id} {ask.key}"
        for _ in range(2):
            self.run(self.engine.decline(task_id, ask.key, owner=OWNER, token=token))
        self.world.acknowledged.append((task_id, ask.key))

    @rule(data=st.data())
    @precondition(lambda self: any(r.phase not in OVER for r in self.records()))
    def cancel(self, data: st.DataObject) -> None:
        """A client cancels."""
        live = [r.task_id for r in self.records() if r.phase not in OVER]
        self.run(self.engine.cancel(data.draw(st.sampled_from(live)), owner=OWNER))

    @rule(data=st.data())
    @precondition(lambda self: self.world.working)
    def nudge(self, data: st.DataObject) -> None:
        """An agent's work is done."""
        task_id = data.draw(st.sampled_from(sorted(self.world.working)))

        async def nudge() -> None:
            self.world.working[task_id].set()

        self.run(nudge())

    @rule(seconds=st.sampled_from([1.0, 4.0, 59.9, 60.0, 301.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""

        async def advance() -> None:
            self.clock.advance(seconds)

        self.run(advance())

    @rule()
    def restart(self) -> None:
        """The process dies between two steps, and another takes over the store."""
        self._kill()
        self.world.alive.clear()
        self.world.working.clear()
        self.clock = ManualClock(self.clock.now())
        self.engine = self._new_engine()
        self.run(self.engine.start())

    def _kill(self) -> None:
        """What was alive is gone, without a word to the store."""
        if self.engine._runtime is not None:
            for cell in self.engine._runtime.writer.cells():
                if cell.turn is not None:
                    cell.turn.fenced = True
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks))

    async def _reply(
        self, task_id: str, ask: OpenAsk, *, good: bool, deny: bool, word: str = ""
    ) -> None:
        if ask.kind is AskKind.INPUT:
            value: JsonValue = {"decision": word, "value": "by hand"} if word else 3
            answer = Answer(ask=ask.key, value=value if good else "three")
            await self.engine.answer(task_id, answer, owner=OWNER)
            return
        assert ask.digest is not None
        digest = ask.digest if good else "0" * 32
        decision = (
            Denial(ask=ask.key, digest=digest, decision="deny")
            if deny
            else Approval(ask=ask.key, digest=digest, decision="approve")
        )
        await self.engine.decide(task_id, decision, owner=OWNER)

    # --- what must hold after every step ----------------------------------------------

    @invariant()
    def every_log_keeps_the_invariants(self) -> None:
        """I01 to I17 and I25, read off the log by an independent auditor."""
        for task_id in self.tasks:
            assert violations(self.log(task_id)) == []

    @invariant()
    def every_record_is_the_fold_of_its_log(self) -> None:
        """I20, I27."""
        assert self.loop.run_until_complete(self.store.verify()) == []

    @invariant()
    def nothing_is_held_for_what_is_over(self) -> None:
        """I21, I22, I30: with nothing to deliver, an outcome is finalized at once."""
        for record in self.records():
            if record.phase in OVER:
                assert record.phase is Phase.FINALIZED
                assert record.due is None
                assert not self.world.alive.get(record.task_id)
            else:
                assert record.due is not None

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        """I29: who runs is at work, never still waiting for what was answered."""
        for record in self.records():
            if record.phase is Phase.RUNNING:
                assert self.world.alive.get(record.task_id) == 1
                assert record.task_id in self.world.working
            elif record.phase in WAITING | {Phase.SUBMITTED}:
                assert record.task_id not in self.world.working

    @invariant()
    def what_was_acknowledged_is_in_the_log(self) -> None:
        """I18: no answer that was accepted is missing, and none was applied twice."""
        for task_id, key in self.world.acknowledged:
            closings = [
                event
                for event in self.log(task_id)
                if event.data.get("key") == key and event.trigger is not Trigger.ASK
            ]
            assert len(closings) == 1

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        """I16: whatever crashed, unless somebody gave leave."""
        for call, times in self.world.bought.items():
            assert times <= 1 + self.world.leave[call]

    @invariant()
    def slots_are_used(self) -> None:
        """No task waits for a slot while one is free."""
        queued = [
            record
            for record in self.records()
            if record.phase is Phase.SUBMITTED and len(list(record.timers())) == 1
        ]
        running = [record for record in self.records() if record.phase is Phase.RUNNING]
        assert not queued or len(running) >= LIMITS.running_turns_max

    def teardown(self) -> None:
        """The loop is left clean."""
        self._kill()
        self.loop.close()


#: Restarts and virtual time make some examples slow to draw; that says nothing of the engine.
HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(suppress_health_check=HEALTH)

SEARCH = settings(
    max_examples=1_500,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Stage.generate],
    suppress_health_check=HEALTH,
)


def _only_the_first(turn: Turn) -> None:
    """A planted fault: of several waits, one is woken."""
    for key, wait in list(turn._waits.items())[:1]:
        reply = turn.memory.replies.get(key)
        if reply is not None and not wait.done():
            wait.set_result(reply)


def test_a_planted_lost_wake_up_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine notices a turn that sleeps on after its answer.  Source: I29."""
    monkeypatch.setattr(Turn, "resume", _only_the_first)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(EngineMachine, settings=SEARCH)


def _fire_without_end(record: TaskRecord, signal: Signal) -> Move:
    """A planted fault: the table no longer ends at finalized."""
    if record.phase is not Phase.FINALIZED or signal.trigger is not Trigger.FINALIZE:
        return fire(record, signal)
    again = replace(record, seq=record.seq + 1)
    end = Phase.FINALIZED
    event = Event(
        again.seq, signal.at, again.epoch, signal.trigger, end, end, signal.actor, signal.data
    )
    return Move(again, event, ())


def test_a_planted_double_finalisation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The auditor notices a task that is finalized twice.  Source: I04, I05."""
    once = Runtime._follow

    def twice(self: Runtime, cell: Cell, move: Move) -> Sequence[Post]:
        if move.event.trigger is Trigger.FINALIZE and move.event.source is not Phase.FINALIZED:
            return (Post(always(Trigger.FINALIZE, move.event.data), ENGINE),)
        return once(self, cell, move)

    monkeypatch.setattr(Runtime, "_follow", twice)
    monkeypatch.setattr(LIFECYCLE, "fire", _fire_without_end)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(EngineMachine, settings=SEARCH)
