"""`LifecycleMachine`: Hypothesis drives somebody's own engine.

Sources: R-FUZZ-38 (its rules reach every ending), R-FUZZ-39 (rules and invariants of one's own).
"""

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from interlock import (
    Answer,
    Engine,
    Event,
    Limits,
    Phase,
    Retention,
    SyncTaskContext,
    TaskContext,
    Toolbox,
)
from interlock._record import AskKind
from interlock.errors import Denied
from interlock.testing import hypothesis as kit
from interlock.testing.fuzz import Target

LIMITS: Final = Limits(ask_s=60.0, run_s=300.0, task_s=2_000.0, grace_s=5.0)
#: Few, and the same ones each time: that the kit works is looked at here, not the engine.
FEW: Final = settings(
    max_examples=15,
    stateful_step_count=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Stage.generate, Stage.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


async def shop(task: TaskContext) -> str:
    """Ask, and call after a yes."""
    size = await task.ask("which size?", int)
    try:
        await task.authorize("pay", {"amount": size}, allow_edit=True, on_deny="tell_agent")
    except Denied:
        return "nothing"
    return f"shoes of {size}"


def plainly(task: SyncTaskContext) -> str:
    """The same on a thread."""
    return str(task.ask("which size?", int))


async def hangs(_task: TaskContext) -> str:
    """Until it is killed, or runs out of time."""
    await asyncio.Event().wait()
    return "never"


SEEN: Final[Counter[str]] = Counter()


class Machine(kit.LifecycleMachine):
    """A shop that is driven."""

    target: ClassVar[object] = Engine(shop, limits=LIMITS)
    inputs: ClassVar[st.SearchStrategy[Any]] = st.sampled_from(["shoes", "hats"])

    def teardown(self) -> None:
        """Count what tasks came to."""
        ids = list(self.tasks)
        super().teardown()
        SEEN["programs"] += bool(ids)

    @invariant()
    def its_phases_are_known(self) -> None:
        """Count what was seen."""
        SEEN.update(str(record.phase) for record in self.records())


def test_it_drives_every_way_that_a_task_can_go() -> None:
    """R-FUZZ-38."""
    SEEN.clear()
    run_state_machine_as_test(Machine, settings=FEW)
    for phase in (Phase.WAITING_INPUT, Phase.WAITING_AUTH, Phase.FINALIZED):
        assert SEEN[phase] > 0, SEEN


class Plain(kit.LifecycleMachine):
    """An agent on a thread, given as it is: a function on a class is no method here."""

    target: ClassVar[object] = plainly


def test_an_agent_on_a_thread_can_be_driven() -> None:
    """R-FUZZ-38.  With no thread left."""
    few = settings(FEW, max_examples=3, stateful_step_count=6)
    run_state_machine_as_test(Plain, settings=few)


PAID: Final[list[str]] = []


async def pays(task: TaskContext) -> str:
    """Something outside that outlives the process."""
    PAID.append(task.task_id)
    return task.input.text


class Begins(kit.LifecycleMachine):
    """Its target clears what is outside, and has inputs of its own."""

    target: ClassVar[object] = Target.of(pays, inputs=["a trip"], begin=PAID.clear)

    @invariant()
    def nobody_pays_twice(self) -> None:
        """Without `begin` it is broken by the program before, and Hypothesis calls it flaky."""
        for task_id in self.tasks:
            assert PAID.count(task_id) <= 1
            assert self.log(task_id)[0].data["parts"] == [{"text": "a trip"}]


def test_a_program_begins_as_its_target_says() -> None:
    """R-FUZZ-38.  `begin` is called before each, and its inputs are what is submitted."""
    PAID.append("id-0001")
    run_state_machine_as_test(Begins, settings=settings(FEW, stateful_step_count=5))


def book(city: str) -> str:
    """A tool that is a plain function: it runs on a thread, and lets others go on meanwhile."""
    for _ in range(3):
        DONE.append(city)
        time.sleep(0)
    return city


DONE: Final[list[str]] = []


async def books(task: TaskContext) -> str:
    """Call a tool, then something plain."""
    booked = await task.call_tool("book", {"city": task.input.text})
    await task.call(len, booked.text)
    return booked.text


class Books(kit.LifecycleMachine):
    """Tools on threads."""

    target: ClassVar[object] = Target.of(Engine(books, tools=Toolbox([book])), inputs=["Lisbon"])


async def books_and_asks(task: TaskContext) -> int:
    """Ask when the tool's thread has nothing to do any more."""
    await task.call_tool("book", {"city": task.input.text})
    return await task.ask("How many?", int)


class BooksAndAsks(kit.LifecycleMachine):
    """A thread that waits for the next call of a tool, while its turn waits for an answer."""

    target: ClassVar[object] = Target.of(
        Engine(books_and_asks, tools=Toolbox([book])), inputs=["Lisbon"]
    )


@pytest.mark.parametrize("machine_of", [Books, BooksAndAsks, Plain])
def test_a_step_is_over_when_every_thread_waits(machine_of: type[kit.LifecycleMachine]) -> None:
    """R-FUZZ-38.  What a thread does is done before anybody looks: a program is repeatable."""
    for _ in range(30):
        machine = machine_of()
        machine.start()
        try:
            handle = machine.run(machine.engine.submit("Lisbon", owner="ada"))
            machine.tasks.append(handle.task_id)
            first = machine.record(handle.task_id)
            assert first.asks or first.phase is Phase.FINALIZED, first
            assert first.seq == len(machine.log(handle.task_id))
            # Nor was any waited for in vain.
            assert not machine._threads._left
            for _, ask in machine.asks(AskKind.INPUT):
                answer = machine.engine.answer(
                    first.task_id, Answer(ask=ask.key, value=1), owner="ada"
                )
                machine.run(answer)
                assert machine.record(first.task_id).phase is Phase.FINALIZED
        finally:
            machine.teardown()


def test_tools_on_threads_can_be_driven() -> None:
    """R-FUZZ-38.  Hypothesis runs a program again, and it is the same."""
    run_state_machine_as_test(Books, settings=FEW)


def sleeps(_task: SyncTaskContext) -> None:
    """It does not come back for as long as the test lasts."""
    ASLEEP.wait(60)


ASLEEP: Final = threading.Event()


def test_a_thread_that_sleeps_holds_up_a_machine_once() -> None:
    """R-FUZZ-38.  It is given a second, and is then left."""

    class Sleeps(kit.LifecycleMachine):
        target: ClassVar[object] = staticmethod(sleeps)

    machine = Sleeps()
    machine.start()
    try:
        handle = machine.run(machine.engine.submit("go", owner="ada"))
        machine.tasks.append(handle.task_id)
        assert machine.record(handle.task_id).phase is Phase.RUNNING
        machine.crash()
    finally:
        ASLEEP.set()
        machine.teardown()


def test_a_task_that_takes_its_process_down_is_an_operators() -> None:
    """R-FUZZ-38.  Without a draw: the rules are called as a program would."""

    class Hangs(kit.LifecycleMachine):
        target: ClassVar[object] = hangs

    machine = Hangs()
    machine.start()
    try:
        handle = machine.run(machine.engine.submit("go", owner="ada"))
        machine.tasks.append(handle.task_id)
        for _ in range(machine.engine.limits.recoveries_max + 1):
            assert machine.stuck() == []
            machine.crash()
        ((record, ask),) = machine.stuck()
        assert machine.asks() == []
        assert record.task_id == handle.task_id
        machine.run(machine.engine.resume(record.task_id, "again"))
        assert ask.schema["enum"] == ["again", "from_scratch"]
        assert machine.stuck() == []
    finally:
        machine.teardown()


class Strict(kit.LifecycleMachine):
    """Says of its own shop what is not so, and has a rule to find it out."""

    target: ClassVar[object] = Engine(shop, limits=LIMITS)

    @rule()
    @precondition(lambda self: self.live())
    def hurry(self) -> None:
        """A client loses patience."""
        self.run(self.engine.cancel(self.live()[0].task_id, owner="ada", reason="hurry"))

    @invariant()
    def nobody_loses_patience(self) -> None:
        """It is not so."""
        for task_id in self.tasks:
            assert all(e.data.get("reason") != "hurry" for e in self.log(task_id)), "impatient"


def test_rules_and_invariants_of_ones_own_take_part() -> None:
    """R-FUZZ-39.  And the program that breaks it is shrunk to what is needed."""
    with pytest.raises(AssertionError, match="impatient") as caught:
        run_state_machine_as_test(Strict, settings=FEW)
    program = "\n".join(getattr(caught.value, "__notes__", []))
    assert program.count("state.submit") == 1
    assert program.count("state.hurry") == 1
    assert "state.crash" not in program


class Tampered(kit.LifecycleMachine):
    """Its log misses something, as if the engine had lost it."""

    target: ClassVar[object] = Engine(shop, limits=LIMITS)

    over = False

    def log(self, task_id: str) -> list[Event]:
        """All but the first event, as long as the program goes on."""
        return super().log(task_id)[not self.over :]

    def teardown(self) -> None:
        """It is found before that."""
        self.over = True
        super().teardown()


def test_what_an_engine_must_keep_is_looked_at_after_every_step() -> None:
    """R-FUZZ-38.  Nobody has to write that down."""
    with pytest.raises(AssertionError, match="I01"):
        run_state_machine_as_test(Tampered, settings=settings(FEW, stateful_step_count=2))


class Forgets(kit.LifecycleMachine):
    """Its engine keeps nothing that is over."""

    target: ClassVar[object] = Engine(
        shop, limits=Limits(ask_s=60.0, retention=Retention(age_s=1.0, tasks_max=0))
    )


def test_what_retention_forgets_is_no_loss() -> None:
    """R-FUZZ-38.  It was once taken for an acknowledged task that is gone (I18)."""
    machine = Forgets()
    try:
        machine.start()
        handle = machine.run(machine.engine.submit("shoes", owner="ada"))
        machine.tasks.append(handle.task_id)
        machine.run(machine.engine.cancel(handle.task_id, owner="ada"))
        machine.run(machine.engine.purge(older_than_s=0.0))
        assert machine.loop.run_until_complete(machine.store.get(handle.task_id)) is None
        assert [record.phase for record in machine.records()] == [Phase.FINALIZED]
        assert machine.log(handle.task_id)[-1].dest is Phase.FINALIZED
        machine.every_log_keeps_the_invariants()
        machine.every_record_is_the_fold_of_its_log()
    finally:
        machine.teardown()


def test_a_machine_without_a_target_says_so() -> None:
    """R-FUZZ-39."""
    with pytest.raises(TypeError, match="LifecycleMachine has no `target`"):
        kit.LifecycleMachine()


async def swallows(task: TaskContext) -> None:
    """It cannot be ended: whatever it is told, it goes on a second later."""
    while True:
        try:
            await task.ask("x", int)
        except BaseException:  # noqa: BLE001  that is the bug
            await asyncio.sleep(1)


async def clings(_task: TaskContext) -> None:
    """It cannot be ended at all."""
    while True:
        with suppress(BaseException):
            await asyncio.Event().wait()


@pytest.mark.parametrize("agent", [swallows, clings])
def test_a_machine_is_not_held_up_by_an_agent_that_does_not_end(agent: Any) -> None:  # noqa: ANN401
    """R-FUZZ-38.  A process that dies asks nobody."""

    class Swallows(kit.LifecycleMachine):
        target: ClassVar[object] = staticmethod(agent)

    machine = Swallows()
    machine.start()
    try:
        handle = machine.run(machine.engine.submit("go", owner="ada"))
        machine.tasks.append(handle.task_id)
        machine.crash()
        machine.crash()
    finally:
        machine.teardown()
    assert machine.loop.is_closed()
