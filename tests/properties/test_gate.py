"""Whatever a model does in a batch, what ran was agreed to, exactly so, and ran once.

The machine drives a real engine on a real store.  Agents make drawn batches of calls; people
approve, edit and deny, policies change, time passes, processes are lost.  It models what was
agreed to (the approvals that were acknowledged), not the code.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
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

from gates import AMOUNT, told
from interlock import (
    OVER,
    Answer,
    Approval,
    AskKind,
    Denial,
    Engine,
    JsonObject,
    JsonValue,
    Limits,
    MemoryStore,
    OpenAsk,
    Policies,
    Policy,
    RequiredInput,
    TaskContext,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
    Trigger,
)
from interlock._gate import Gate, _Cleared
from interlock._journal import Journal
from interlock._memory import IN_DOUBT
from interlock._pin import Pin
from interlock.errors import EngineError
from interlock.testing import ManualClock, violations

V = TypeVar("V")
OWNER = "ada"
LIMITS = Limits(
    running_turns_max=3,
    ask_s=60.0,
    run_s=None,
    task_s=2_000.0,
    grace_s=5.0,
    drain_s=0.0,
    park_after_s=0.0,
    recoveries_max=50,
)
#: What a service may say of a tool, by a word.
POLICIES = {
    "never": Policy(),
    "always": Policy(confirm="always", on_deny="tell_agent"),
    "edit": Policy(confirm="always", on_deny="tell_agent", allow_edit=True),
    "stop": Policy(confirm="always"),
    "inputs": Policy(required_inputs=(RequiredInput(name="amount"),), on_deny="tell_agent"),
    "both": Policy(
        confirm="always",
        on_deny="tell_agent",
        on_expire="deny",
        required_inputs=(RequiredInput(name="amount", default=7),),
    ),
    "off": Policy(enabled=False),
}
NAMES = ("pay", "again", "pay", "pay", "nowhere")
#: What a model may write as an amount: fitting ones, missing ones, and others.
AMOUNTS = (1, 2, 3, None, "x")


@dataclass
class Ran:
    """One call that reached the tool."""

    tool: str
    arguments: JsonObject
    task_id: str
    token: str
    #: Whether the engine may have been lost since it was begun, by the engine's number.
    life: int


@dataclass
class Shop:
    """The source: it has done what it does before anybody hears of it."""

    name: str = "shop"
    ran: list[Ran] = field(default_factory=list[Ran])
    #: Calls that hang until they are nudged.
    working: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    hangs: bool = False
    life: int = 0

    async def open(self) -> None:
        """It is there."""

    async def close(self) -> None:
        """It stays."""

    def tools(self) -> list[Tool]:
        """One that may be repeated, and one that may not."""
        return [
            Tool(name="pay", source="shop", input_schema=AMOUNT),
            Tool(name="again", source="shop", input_schema=AMOUNT, idempotent=True),
        ]

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolResult:
        """Do it, and then perhaps hang."""
        self.ran.append(Ran(tool.name, dict(arguments), use.task_id, use.token, self.life))
        if self.hangs:
            nudge = self.working[use.token] = asyncio.Event()
            await nudge.wait()
        return ToolResult(structured=arguments)

    async def go_on(
        self, tool: Tool, arguments: JsonObject, token: JsonValue, answers: JsonObject, use: ToolUse
    ) -> ToolResult:
        """Never."""
        raise AssertionError((tool, arguments, token, answers, use))


class GateMachine(RuleBasedStateMachine):
    """Models, people, operators and the clock against one gate."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.shop = Shop()
        self.words = {"pay": "never", "again": "never"}
        self.ids = itertools.count()
        self.batches: dict[str, list[ToolCall]] = {}
        self.tasks: list[str] = []
        #: What people have said yes to, by task and the key of the ask.
        self.approved: dict[tuple[str, str], JsonObject] = {}
        self.denied: set[tuple[str, str]] = set()
        #: How often somebody said that a call may be made once more, by task and key.
        self.leave: Counter[tuple[str, str]] = Counter()
        self.engine: Engine = self._new_engine()

    def _new_engine(self) -> Engine:
        self.policies = Policies({name: POLICIES[word] for name, word in self.words.items()})
        return Engine(
            self._agent,
            tools=Toolbox([self.shop], policies=self.policies),
            store=self.store,
            limits=LIMITS,
            clock=self.clock,
            new_id=lambda: f"id-{next(self.ids):04}",
        )

    async def _agent(self, task: TaskContext) -> list[JsonValue]:
        """Make the calls of the batch that came with the task, twice over."""
        calls = self.batches[task.input.text]
        said = await task.call_tools(calls)
        return [told(one) for one in (*said, *await task.call_tools(calls[:1]))]

    def run(self, work: Coroutine[Any, Any, V]) -> V:
        """Do it, and let everything that follows happen."""

        async def done() -> V:
            async with asyncio.timeout(60):
                value = await work
                for _ in range(60):
                    await asyncio.sleep(0)
                return value

        return self.loop.run_until_complete(done())

    async def _nothing(self) -> None:
        """Let time pass in rounds alone."""

    def asks(self, task_id: str) -> tuple[OpenAsk, ...]:
        """What is asked now."""
        return self.run(self.engine.record(task_id, owner=OWNER)).asks

    # --- what happens -----------------------------------------------------------------

    @initialize()
    def the_engine_starts(self) -> None:
        """There is one from the beginning."""
        self.run(self.engine.start())

    @precondition(lambda self: len(self.tasks) < 4)
    @rule(
        calls=st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(AMOUNTS)), min_size=1, max_size=3
        )
    )
    def a_model_wants_calls(self, calls: list[tuple[str, Any]]) -> None:
        """A batch of whatever."""
        text = f"batch {len(self.batches)}"
        self.batches[text] = [
            ToolCall(name, {} if amount is None else {"amount": amount}) for name, amount in calls
        ]
        self.tasks.append(self.run(self.engine.submit(text, owner=OWNER)).task_id)

    @rule(name=st.sampled_from(["pay", "again"]), word=st.sampled_from(sorted(POLICIES)))
    def a_policy_changes(self, name: str, word: str) -> None:
        """It counts from the next call on."""
        self.words[name] = word
        self.policies.set(name, POLICIES[word])

    @precondition(lambda self: self.tasks)
    @rule(nth=st.integers(0, 3), which=st.integers(0, 5), edit=st.sampled_from([None, 1, 4, "x"]))
    def somebody_says_yes(self, nth: int, which: int, edit: Any) -> None:  # noqa: ANN401
        """To what is shown, or to something else."""
        found = self._picked(nth, which, AskKind.AUTH)
        if found is None:
            return
        task_id, ask = found
        assert ask.digest is not None
        assert ask.arguments is not None
        arguments: JsonObject | None = None if edit is None else {"amount": edit}
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve", arguments=arguments)
        try:
            self.run(self._decided(task_id, yes, arguments or ask.arguments))
        except EngineError:
            assert arguments is not None, "what is shown may always be approved"

    async def _decided(self, task_id: str, yes: Approval, arguments: JsonObject) -> None:
        # Before it is acknowledged: the call may be made in between.
        key = (task_id, yes.ask)
        self.approved[key] = arguments
        try:
            await self.engine.decide(task_id, yes, owner=OWNER)
        except EngineError:
            del self.approved[key]
            raise

    @precondition(lambda self: self.tasks)
    @rule(nth=st.integers(0, 3), which=st.integers(0, 5))
    def somebody_says_no(self, nth: int, which: int) -> None:
        """Which may stop the task."""
        found = self._picked(nth, which, AskKind.AUTH)
        if found is not None:
            task_id, ask = found
            assert ask.digest is not None
            no = Denial(ask=ask.key, digest=ask.digest, decision="deny")
            self.denied.add((task_id, ask.key))
            self.run(self.engine.decide(task_id, no, owner=OWNER))

    @precondition(lambda self: self.tasks)
    @rule(
        nth=st.integers(0, 3),
        which=st.integers(0, 5),
        amount=st.integers(1, 9),
        word=st.sampled_from(["use_value", "run_again", "fail"]),
    )
    def somebody_answers(self, nth: int, which: int, amount: int, word: str) -> None:
        """An input, or what became of a call in doubt."""
        found = self._picked(nth, which, AskKind.INPUT)
        if found is None:
            return
        task_id, ask = found
        value: JsonObject = {"amount": amount}
        if ask.key.startswith(IN_DOUBT):
            value = {"decision": word, "value": "by hand"}
            if word == "run_again":
                _, _, key = ask.key.removeprefix(IN_DOUBT).partition("-")
                self.leave[task_id, key] += 1
        self.run(self.engine.answer(task_id, Answer(ask=ask.key, value=value), owner=OWNER))

    @precondition(lambda self: self.tasks)
    @rule(nth=st.integers(0, 3), which=st.integers(0, 5))
    def somebody_declines(self, nth: int, which: int) -> None:
        """To give an input, or to say what became of a call."""
        found = self._picked(nth, which, AskKind.INPUT)
        if found is not None:
            task_id, ask = found
            self.run(self.engine.decline(task_id, ask.key, owner=OWNER))

    def _picked(self, nth: int, which: int, kind: AskKind) -> tuple[str, OpenAsk] | None:
        task_id = self.tasks[nth % len(self.tasks)]
        asks = [ask for ask in self.asks(task_id) if ask.kind is kind]
        return (task_id, asks[which % len(asks)]) if asks else None

    @rule(hangs=st.booleans())
    def the_shop_gets_slow_or_quick(self, *, hangs: bool) -> None:
        """What hangs is there when the process is lost."""
        self.shop.hangs = hangs
        if not hangs:
            for nudge in self.shop.working.values():
                nudge.set()
        self.run(self._nothing())

    @rule(seconds=st.sampled_from([1.0, 61.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        """Asks expire, tools take too long."""
        self.run(self._nothing())

        async def advance() -> None:
            self.clock.advance(seconds)

        self.run(advance())

    @precondition(lambda self: self.tasks)
    @rule(nth=st.integers(0, 3))
    def somebody_cancels(self, nth: int) -> None:
        """A task that is not over."""
        task_id = self.tasks[nth % len(self.tasks)]
        if self.run(self.engine.record(task_id, owner=OWNER)).phase not in OVER:
            self.run(self.engine.cancel(task_id, owner=OWNER))

    @rule()
    def the_process_is_lost(self) -> None:
        """Another one finds what was written; what hung is never heard of again."""
        assert self.engine._runtime is not None
        for cell in self.engine._runtime.writer.cells():
            if cell.turn is not None:
                cell.turn.fenced = True
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.shop.life += 1
        self.shop.working.clear()
        self.clock = ManualClock(self.clock.now())
        self.engine = self._new_engine()
        self.run(self.engine.start())

    # --- what is always so ------------------------------------------------------------

    @invariant()
    def what_ran_was_let_through_exactly_so(self) -> None:
        """By the log: each call with its arguments, and its approval if one was wanted."""
        begun: dict[tuple[str, str], list[Any]] = {}
        for task_id in self.tasks:
            events = self.store._tasks[task_id].events
            stopped = False
            for event in events:
                stopped = stopped or event.trigger in {Trigger.CANCEL, Trigger.OVERRUN}
                if event.trigger is Trigger.CALL:
                    assert not stopped, "a call was begun after a stop"
                    begun.setdefault((task_id, event.data["key"]), []).append(event.data)
        for ran in self.shop.ran:
            _, _, key = ran.token.partition("/")
            entries = begun[ran.task_id, key]
            assert {str(entry["arguments"]) for entry in entries} == {str(ran.arguments)}
            entry = entries[0]
            assert entry["tool"] == f"shop/{ran.tool}"
            approval = entry.get("approval")
            if entry["policy"].get("confirm") == "always":
                assert approval is not None
            if approval is not None:
                assert self.approved[ran.task_id, approval] == ran.arguments
                assert (ran.task_id, approval) not in self.denied

    @invariant()
    def what_was_denied_did_not_run(self) -> None:
        """Whatever else was approved."""
        ran = {(one.task_id, one.token.partition("/")[2]) for one in self.shop.ran}
        for task_id, ask in self.denied:
            assert (task_id, ask.removesuffix(":approval")) not in ran

    @invariant()
    def nothing_ran_twice_unless_it_may(self) -> None:
        """Idempotent, or by a person's word."""
        times = Counter(ran.token for ran in self.shop.ran)
        for ran in self.shop.ran:
            _, _, key = ran.token.partition("/")
            if ran.tool == "pay":
                assert times[ran.token] <= 1 + self.leave[ran.task_id, key]
        lives = Counter((ran.token, ran.life) for ran in self.shop.ran)
        assert all(count == 1 for count in lives.values()), "twice in one process"

    @invariant()
    def each_call_was_asked_about_on_its_own(self) -> None:
        """One approval lets one call through."""
        used: Counter[tuple[str, str]] = Counter()
        for task_id in self.tasks:
            events = self.store._tasks[task_id].events
            approvals = {
                (event.data["key"], event.data["approval"])
                for event in events
                if event.trigger is Trigger.CALL and "approval" in event.data
            }
            used.update((task_id, approval) for _, approval in approvals)
            assert violations(events) == []
        assert all(count == 1 for count in used.values())

    def teardown(self) -> None:
        """Nothing is left behind."""
        for nudge in self.shop.working.values():
            nudge.set()

        async def closed() -> None:
            drain = asyncio.ensure_future(self.engine.drain())
            for _ in range(20):
                for _ in range(20):
                    await asyncio.sleep(0)
                self.clock.advance(5.0)
            await drain
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(closed())
        self.loop.close()


class AskingMachine(GateMachine):
    """The same where every call wants leave from the start: there a hole is met sooner."""

    def __init__(self) -> None:
        super().__init__()
        self.words = {"pay": "edit", "again": "edit"}
        self.engine = self._new_engine()


#: A planted fault is looked for at random, and shown as it is found: mostly within some hundred.
SEARCH = settings(
    max_examples=10_000,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Stage.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def test_any_batch_and_any_order_of_events_keep_the_promises_of_the_gate() -> None:
    """Approved as it ran, once, on its own, and never after a stop.

    Source: issue 4, bars, R-GATE-03, I12.
    """
    run_state_machine_as_test(
        GateMachine,
        settings=settings(
            settings(), stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


async def _as_asked(
    self: Gate,
    key: str,
    met: Any,  # noqa: ANN401
    tool: Tool,
    pin: Pin,
    arguments: JsonObject,
) -> Any:  # noqa: ANN401
    """A planted fault: what was asked runs, whatever was approved."""
    approved = await APPROVED(self, key, met, tool, pin, arguments)
    return replace(approved, arguments=arguments)


APPROVED = Gate._approved


def _of_the_first(self: Gate, key: str, *given: Any) -> Any:  # noqa: ANN401
    """A planted fault: a yes to one call lets all calls of that tool through."""
    if not key.endswith("-1:approval") and (reply := self._desk.memory.replies.get(FIRST)):
        return _cleared(reply.value, FIRST)
    return APPROVED(self, key, *given)


FIRST = "pay-1:approval"


async def _cleared(arguments: Any, approval: str) -> Any:  # noqa: ANN401
    return _Cleared(arguments, approval)


def _never(*_given: Any) -> bool:  # noqa: ANN401
    """A planted fault: nobody is asked."""
    return False


async def _never_in_doubt(_self: Journal, _call: Any, _known: Any) -> None:  # noqa: ANN401
    """A planted fault: whatever was begun is begun again."""


@pytest.mark.parametrize(
    ("machine", "where", "name", "fault"),
    [
        (AskingMachine, Gate, "_approved", _as_asked),
        (AskingMachine, Gate, "_approved", _of_the_first),
        (AskingMachine, Gate, "_wants_a_word", _never),
        (GateMachine, Journal, "_in_doubt", _never_in_doubt),
    ],
)
def test_planted_faults_are_caught(
    monkeypatch: pytest.MonkeyPatch,
    machine: type[GateMachine],
    where: type,
    name: str,
    fault: Any,  # noqa: ANN401
) -> None:
    """The machine would notice a gate with a hole.  Source: issue 4, bars."""
    monkeypatch.setattr(where, name, fault)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_state_machine_as_test(machine, settings=SEARCH)
