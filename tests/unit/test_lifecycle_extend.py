"""A lifecycle with more in it: phases to wait in beside the shipped ones, and rows of one's own.

Requirement: R-PIC-11.
"""

import asyncio
import copy
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doc_blocks import blocks_on
from interlock import (
    LIFECYCLE,
    WAITING,
    Answer,
    Approval,
    Ask,
    Authorize,
    Denial,
    Engine,
    Lifecycle,
    Phase,
    PhaseSet,
    Result,
    SqliteStore,
    SyncTaskContext,
    TaskContext,
    TaskQuery,
    TaskRecord,
    Trigger,
)
from interlock._agent import Agent
from interlock._event import AGENT, Data, Signal
from interlock._guards import Guard
from interlock._lint import lint
from interlock._record import AskKind, Ended
from interlock.errors import IllegalTrigger, InvalidInput
from interlock.lifecycle import Publish, Row, changes, guard
from interlock.testing import ManualClock, violations
from lives import RECORDS, amended
from support import OWNER, drained, soon, triggers

PAYMENT: Final = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
MANAGER: Final = Phase.further("waiting_manager", like=Phase.WAITING_AUTH)
PARCEL: Final = Phase.further("waiting_parcel", like=Phase.WAITING_INPUT)
SHOP: Final = LIFECYCLE.extend(PAYMENT, MANAGER, PARCEL)
PAYING: Final = LIFECYCLE.extend(PAYMENT)


@guard("never refused")
def always(_record: TaskRecord, _signal: Signal) -> bool:
    """Whatever comes."""
    return True


# --- phases -----------------------------------------------------------------------------------


def test_a_further_phase_is_a_phase_that_is_not_among_the_shipped_ones() -> None:
    """Made once in a process, and read back from its name as any other."""
    assert Phase.further("waiting_payment", like=Phase.WAITING_INPUT) is PAYMENT
    assert Phase("waiting_payment") is PAYMENT
    assert PAYMENT not in list(Phase)
    assert (PAYMENT.kin, PAYMENT.name, str(PAYMENT)) == (
        Phase.WAITING_INPUT,
        "WAITING_PAYMENT",
        "waiting_payment",
    )
    assert all(phase.kin is phase for phase in Phase)
    assert copy.deepcopy(PAYMENT) is PAYMENT
    assert pickle.loads(pickle.dumps(PAYMENT)) is PAYMENT  # noqa: S301  our own bytes


@pytest.mark.parametrize(
    ("name", "like", "said"),
    [
        ("running", Phase.WAITING_INPUT, "there already"),
        ("waiting_input", Phase.WAITING_INPUT, "there already"),
        ("waiting_payment", Phase.WAITING_AUTH, "there already, and is like waiting_input"),
        ("paused", Phase.RUNNING, "like waiting_input or waiting_auth it may be"),
        ("waiting_x", PAYMENT, "like waiting_input or waiting_auth it may be"),
        ("Waiting payment", Phase.WAITING_INPUT, "is no name of a phase"),
        ("état", Phase.WAITING_INPUT, "is no name of a phase"),
        ("", Phase.WAITING_INPUT, "is no name of a phase"),
    ],
)
def test_what_cannot_be_a_further_phase_is_refused(name: str, like: Phase, said: str) -> None:
    """With what would do."""
    with pytest.raises(ValueError, match=said):
        Phase.further(name, like=like)
    with pytest.raises(ValueError, match="is not a valid Phase"):
        Phase("waiting_nobody_knows")


def test_a_set_of_phases_has_those_that_are_like_them() -> None:
    """So whatever is said of waiting phases is said of all of them."""
    assert PAYMENT in WAITING
    assert {PAYMENT, MANAGER, Phase.WAITING_AUTH} <= set(WAITING)
    assert len(WAITING) == len(list(WAITING))
    assert PAYMENT in WAITING | {Phase.RUNNING}
    assert PAYMENT not in PhaseSet({Phase.RUNNING})
    assert "waiting_payment" not in WAITING  # A text is no phase.
    assert hash(PhaseSet({PAYMENT})) == hash(PhaseSet({Phase.WAITING_INPUT}))
    assert repr(PhaseSet({Phase.RUNNING})) == "PhaseSet(running)"


# --- the table --------------------------------------------------------------------------------


def test_the_shipped_lifecycle_is_not_changed() -> None:
    """And is sound although there are more phases in this process."""
    assert LIFECYCLE.phases == tuple(Phase)
    assert lint(LIFECYCLE.table) == []
    assert SHOP.phases[2:7] == (
        Phase.WAITING_INPUT,
        Phase.WAITING_AUTH,
        PAYMENT,
        MANAGER,
        PARCEL,
    )


def test_what_is_no_further_phase_or_there_already_is_refused() -> None:
    """Loading says why."""
    with pytest.raises(ValueError, match="running is no further phase"):
        LIFECYCLE.extend(Phase.RUNNING)
    with pytest.raises(ValueError, match="waiting_payment is there already"):
        PAYING.extend(PAYMENT)


@pytest.mark.parametrize(
    "trigger", [Trigger.CANCEL, Trigger.OVERRUN, Trigger.EXPIRE, Trigger.DECLINE]
)
def test_a_wait_that_lacks_what_every_wait_needs_is_not_loaded(trigger: Trigger) -> None:
    """The finding names the phase and the trigger.  Source: DESIGN 2."""
    table = [row for row in PAYING.table if (row.source, row.trigger) != (PAYMENT, trigger)]
    with pytest.raises(ValueError, match=rf"waiting_payment: .*{trigger}"):
        Lifecycle(table)


@pytest.mark.parametrize(
    ("phase", "trigger"),
    [
        *((PAYMENT, t) for t in (Trigger.PROVIDE_INPUT, Trigger.ASK, Trigger.CALLED)),
        *((MANAGER, t) for t in (Trigger.APPROVE, Trigger.DENY, Trigger.WITHDRAW)),
    ],
)
def test_a_wait_that_cannot_do_what_its_kin_can_is_not_loaded(
    phase: Phase, trigger: Trigger
) -> None:
    """An ask could never be closed.  Source: decision 0012."""
    table = [row for row in SHOP.table if (row.source, row.trigger) != (phase, trigger)]
    with pytest.raises(ValueError, match=f"{phase}: no row for {trigger}, which {phase.kin} has"):
        Lifecycle(table)


def test_sums_of_phases_are_of_these_phases_alone() -> None:
    """What is taken away is away, although another like it stays."""
    assert PAYMENT not in WAITING - {PAYMENT}
    assert Phase.WAITING_INPUT not in WAITING & {PAYMENT}
    assert Phase.WAITING_INPUT in WAITING - {PAYMENT}


@pytest.mark.parametrize("value", [[], {}, None, 7, 1.5])
def test_what_is_no_name_is_no_phase(value: object) -> None:
    """As for any enumeration: a `ValueError`, also where it cannot be looked up."""
    with pytest.raises(ValueError, match="is not a valid Phase"):
        Phase(value)  # type: ignore[arg-type]


def test_a_task_in_a_phase_of_another_lifecycle_is_refused_with_a_reason() -> None:
    """Nothing can be fired at it by this one."""
    record = replace(RECORDS[Phase.WAITING_INPUT][0], phase=PAYMENT)
    signal = Signal(Trigger.CANCEL, {"grace_s": 1.0}, "ada", 10.0)
    with pytest.raises(IllegalTrigger):
        LIFECYCLE.fire(record, signal)


async def test_an_engine_says_so_where_tasks_wait_in_phases_that_it_does_not_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lifecycle was forgotten, or is another version's; the tasks are left as they are."""
    store = SqliteStore(tmp_path / "tasks.db")
    async with asyncio.timeout(60), Engine(pays, store=store, lifecycle=PAYING) as engine:
        handle = await engine.submit("book", owner=OWNER)
        await handle.rest()
    async with asyncio.timeout(60), Engine(pays, store=store) as engine:
        with pytest.raises(IllegalTrigger):
            await engine.cancel(handle.task_id, owner=OWNER)
    assert "1 tasks wait in phases of another lifecycle" in caplog.text
    async with asyncio.timeout(60), Engine(pays, store=store, lifecycle=PAYING) as engine:
        await engine.answer(handle.task_id, Answer(ask="pay", value="x"), owner=OWNER)
        assert await (await engine.task(handle.task_id, owner=OWNER)).result() == "x"


def test_a_phase_that_nothing_leads_to_or_from_is_not_loaded() -> None:
    """Reachable, and with an outcome in reach.  Source: DESIGN 2."""
    ways_in = [row for row in PAYING.table if row.dest is not PAYMENT or row.source is PAYMENT]
    with pytest.raises(ValueError, match="waiting_payment: no way leads there"):
        Lifecycle(ways_in)
    stuck = [amended(row, dest=PAYMENT) if row.source is PAYMENT else row for row in PAYING.table]
    with pytest.raises(ValueError, match="waiting_payment: no outcome can be reached"):
        Lifecycle(stuck)


def _is_cheap(_record: TaskRecord, signal: Signal) -> bool:
    return bool(signal.data["value"] == "paid already")


def test_rows_of_ones_own_come_first() -> None:
    """Here a payment that was made before goes on although other asks are open."""
    (row, *_) = [r for r in PAYING.table if (r.source, r.trigger) == (PAYMENT, Trigger.DECLINE)]
    own = amended(row, dest=Phase.CANCELLING, when=Guard("nobody_pays_twice", _is_cheap, ""))
    with pytest.raises(ValueError, match="may not have the same source"):
        LIFECYCLE.extend(PAYMENT, rows=[own])  # That way is there already.
    kept = [r for r in PAYING.table if r is not row]
    made = Lifecycle(kept).extend(rows=[own])
    pair = [r for r in made.table if (r.source, r.trigger) == (PAYMENT, Trigger.DECLINE)]
    assert pair[0] is own


def test_a_row_that_competes_is_not_loaded() -> None:
    """Without a condition it would hide those that come after it."""
    (row, *_) = [r for r in LIFECYCLE.table if r.trigger is Trigger.COMPLETE]
    with pytest.raises(ValueError, match="never reached"):
        LIFECYCLE.extend(rows=[amended(row, dest=Phase.FAILED)])


def _is_paid(_record: TaskRecord, _signal: Signal) -> bool:
    return True


#: What is wrong in a row, and what is said of it.
_WRONG: Final[list[tuple[dict[str, Any], str]]] = [
    ({"trigger": "cancel"}, "trigger is or has 'cancel'; a Trigger is accepted, as Trigger.CANCEL"),
    ({"source": "waiting_payment"}, "source is or has 'waiting_payment'; a Phase is accepted"),
    ({"dest": None}, "dest is or has None; a Phase is accepted"),
    ({"change": "unchanged"}, "a function of interlock.lifecycle.changes is accepted"),
    ({"effects": [Publish()]}, "a tuple of effects of interlock.lifecycle is accepted"),
    ({"effects": (Publish,)}, "a tuple of effects of interlock.lifecycle is accepted"),
    ({"requires": [always]}, "a tuple of guards is accepted, each what @guard"),
    ({"requires": (_is_paid,)}, "a tuple of guards is accepted"),
    ({"when": _is_paid}, "a guard is accepted, what @guard"),
    ({"when": guard}, "a guard is accepted, what @guard"),
]


@pytest.mark.parametrize(("wrong", "said"), _WRONG, ids=[said for _, said in _WRONG])
def test_a_row_of_what_is_not_of_its_kind_is_none(wrong: dict[str, Any], said: str) -> None:
    """It loaded, and came out as an attribute that nobody has in a picture.  Source: R-PIC-19."""
    given: dict[str, Any] = {
        "trigger": Trigger.NOTE, "source": PAYMENT, "dest": PAYMENT, "change": changes.unchanged,
    }  # fmt: skip
    assert Row(**given, when=always).when is always
    with pytest.raises(TypeError) as caught:
        Row(**{**given, **wrong})
    assert said in str(caught.value)


def test_what_extends_a_lifecycle_is_of_its_kind() -> None:
    """A name is no phase, and a tuple no row.  Source: R-PIC-19."""
    with pytest.raises(TypeError, match=r"'waiting_x' is no phase; Phase.further\('waiting_x', "):
        LIFECYCLE.extend(cast("Any", "waiting_x"))
    with pytest.raises(TypeError, match=r"is no row; interlock\.lifecycle\.Row makes one"):
        LIFECYCLE.extend(rows=cast("Any", [("cancel", PAYMENT, PAYMENT)]))


@pytest.mark.parametrize(
    ("trigger", "dest"),
    [
        (Trigger.CANCEL, PAYMENT),
        (Trigger.CANCEL, Phase.WAITING_INPUT),
        (Trigger.CANCEL, Phase.COMPLETED),
        (Trigger.OVERRUN, PAYMENT),
        (Trigger.EXPIRE, Phase.FAILED),
        (Trigger.EXPIRE, Phase.WAITING_AUTH),
    ],
)
def test_a_row_of_ones_own_takes_no_stop_away(trigger: Trigger, dest: Phase) -> None:
    """A cancel that comes back as done, and after which the task goes on, would be a lie.

    Source: R-LIFE-22.
    """
    row = Row(trigger, PAYMENT, dest, changes.unchanged, when=always)
    with pytest.raises(ValueError, match=rf"{trigger} from {PAYMENT} to {dest} \[always\]: "):
        LIFECYCLE.extend(PAYMENT, rows=[row])


_PAGE: Final = Path(__file__).parents[2] / "docs/howto/lifecycle.md"


async def test_the_row_that_the_page_shows_does_what_it_says() -> None:
    """A denial that the agent lets through is a rejection; what else fails, fails: R-PIC-11."""
    (block,) = [block for block in blocks_on(_PAGE) if "def was_denied" in block.text]
    shown: dict[str, Any] = {}
    exec(block.text, shown)  # noqa: S102  our own page

    async def books(task: TaskContext) -> str:
        await task.authorize("book", {"seats": 1}, key="leave", on_deny="tell_agent")
        raise ValueError

    async with (
        asyncio.timeout(60),
        Engine(books, store="memory:", lifecycle=shown["LIFECYCLE"]) as engine,
    ):
        outcomes: list[tuple[Phase, str | None]] = []
        for denies in (True, False):
            handle = await engine.submit("book", owner=OWNER)
            (ask,) = (await handle.rest()).asks
            no = Denial(ask=ask.key, digest=str(ask.digest), decision="deny")
            yes = Approval(ask=ask.key, digest=str(ask.digest), decision="approve")
            said = no if denies else yes
            await engine.decide(handle.task_id, said, owner=OWNER)
            details = (await handle.over()).details
            assert isinstance(details, Ended)
            outcomes.append((details.outcome, details.code))
    assert outcomes == [(Phase.REJECTED, "denied"), (Phase.FAILED, "agent_error")]


def test_the_page_names_every_change_that_a_row_may_make() -> None:
    """There is no list of them elsewhere that a reader would find: R-PIC-11."""
    made = {
        name
        for name, found in vars(changes).items()
        if inspect.isfunction(found) and not name.startswith("_")
    }
    text = _PAGE.read_text(encoding="utf-8")
    assert {name for name in made if f"`{name}`" not in text} == set()


# --- where a task waits -----------------------------------------------------------------------

_KINDS: Final = {
    None: AskKind.INPUT,
    PAYMENT: AskKind.INPUT,
    MANAGER: AskKind.AUTH,
    PARCEL: AskKind.INPUT,
}
_ORDER: Final = (Phase.WAITING_AUTH, PAYMENT, MANAGER, PARCEL, Phase.WAITING_INPUT)


def _asked(key: str, kind: AskKind, phase: Phase | None, epoch: int) -> Data:
    data: dict[str, Any] = {
        "epoch": epoch, "key": key, "kind": kind.value, "prompt": "?", "schema": {}, "due": 9e9,
        "on_expire": "default", "default": "d", "on_deny": "tell_agent", "asks_max": 99,
        "digest": f"digest of {key}", "arguments": {}, "tool": "pay",
    }  # fmt: skip
    return data if phase is None else {**data, "phase": phase.value}


def _running() -> TaskRecord:
    record = RECORDS[Phase.RUNNING][0]
    return replace(record, epoch=1, closed=(), calls=())


def _closing(record: TaskRecord, key: str, how: str) -> Signal:
    ask = record.ask(key)
    assert ask is not None
    data: Data = {"key": key, "epoch": record.epoch, "grace_s": 1.0, "timer": "ask"}
    if how == "withdraw":
        return Signal(Trigger.WITHDRAW, data, AGENT, 10.0)
    if how == "no":
        trigger = Trigger.DENY if ask.kind is AskKind.AUTH else Trigger.DECLINE
        return Signal(trigger, {**data, "digest": ask.digest, "reason": None}, "ada", 10.0)
    if ask.kind is AskKind.AUTH:
        approved: Data = {"digest": ask.digest, "arguments": {}, "edited": False}
        return Signal(Trigger.APPROVE, {**data, **approved}, "ada", 10.0)
    return Signal(Trigger.PROVIDE_INPUT, {**data, "value": "v"}, "ada", 10.0)


def _waits_in(record: TaskRecord) -> Phase:
    """By the rule as it is written, and not by the table."""
    places = {
        ask.phase or (Phase.WAITING_AUTH if ask.kind is AskKind.AUTH else Phase.WAITING_INPUT)
        for ask in record.asks
    }
    return next((phase for phase in _ORDER if phase in places), Phase.RUNNING)


_ASKS: Final = st.sampled_from(
    [(None, "value"), (None, "decision"), *((p, "") for p in _KINDS if p)]
)
_CLOSES: Final = st.tuples(st.integers(0, 5), st.sampled_from(["yes", "no", "withdraw"]))
STEPS: Final = st.lists(st.one_of(_ASKS, _CLOSES), max_size=14)


@given(STEPS)
def test_the_first_open_ask_by_rank_decides_where_a_task_waits(
    steps: list[tuple[Phase | int | None, str]],
) -> None:
    """A decision, then the further phases in order, then values; whatever comes and goes."""
    record = _running()
    for number, (what, how) in enumerate(steps):
        if isinstance(what, int):
            if not record.asks:
                continue
            signal = _closing(record, record.asks[what % len(record.asks)].key, how)
        else:
            kind = AskKind.AUTH if how == "decision" else _KINDS[what]
            data = _asked(f"k{number}", kind, what, record.epoch)
            signal = Signal(Trigger.ASK, data, AGENT, 10.0)
        move = SHOP.fire(record, signal)
        record = move.record
        assert record.phase is _waits_in(record), (record.asks, record.phase)
        assert TaskRecord.from_json(record.to_json()) == record


def test_phases_may_be_declared_before_anything_else_is_imported() -> None:
    """An application's own module comes first in many programs."""
    code = """
from interlock import Phase
Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
Phase.further("waiting_manager", like=Phase.WAITING_AUTH)
import interlock_adapters.a2a, interlock_adapters.mcp, interlock_adapters.cli
import interlock_adapters.smolagents, interlock_adapters.server, interlock.testing
from interlock import LIFECYCLE, Lifecycle
Lifecycle(LIFECYCLE.table)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environ)


# --- in an engine -----------------------------------------------------------------------------


async def pays(task: TaskContext) -> str:
    """Wait for a payment."""
    return await task.ask("5 euros, please.", key="pay", phase=PAYMENT)


def pays_on_a_thread(task: SyncTaskContext) -> str:
    """The same."""
    return task.ask("5 euros, please.", key="pay", phase=PAYMENT)


async def pays_as_a_generator(_task: TaskContext) -> AsyncGenerator[Ask | Result, str]:
    """The same."""
    paid = yield Ask("5 euros, please.", key="pay", phase=PAYMENT)
    yield Result(paid)


@pytest.mark.parametrize("agent", [pays, pays_on_a_thread, pays_as_a_generator])
async def test_a_task_waits_in_a_further_phase_through_a_restart(
    agent: Agent, tmp_path: Path
) -> None:
    """It is found by its phase, goes on with the answer, and its log is sound."""
    store = SqliteStore(tmp_path / "tasks.db")
    async with asyncio.timeout(60), Engine(agent, store=store, lifecycle=PAYING) as engine:
        handle = await engine.submit("book", owner=OWNER)
        assert (await handle.rest()).phase is PAYMENT
    async with asyncio.timeout(60), Engine(agent, store=store, lifecycle=PAYING) as engine:
        page = await engine.page(TaskQuery(shown=WAITING))
        assert [record.phase for record in page.records] == [PAYMENT]
        assert engine.statistics().live == 0
        await engine.answer(handle.task_id, Answer(ask="pay", value="paid"), owner=OWNER)
        assert await (await engine.task(handle.task_id, owner=OWNER)).result() == "paid"
        assert await store.verify(PAYING) == []
        events = (await engine.view(handle.task_id, owner=OWNER)).events
        assert violations(events, PAYING.table) == []
        assert await store.verify() != []  # By a lifecycle that does not have it.


async def test_a_decision_may_have_a_phase_of_its_own() -> None:
    """The one who approves is somebody else than usual."""

    async def books(_task: TaskContext) -> AsyncGenerator[Authorize | Result, Any]:
        arguments = yield Authorize(tool="book", arguments={"seats": 9}, key="leave", phase=MANAGER)
        yield Result(arguments["seats"])

    clock = ManualClock()
    engine = Engine(books, store="memory:", clock=clock, lifecycle=SHOP)
    await engine.start()
    handle = await engine.submit("book", owner=OWNER)
    record = await soon(handle.rest())
    assert record.phase is MANAGER
    (ask,) = record.asks
    approval = Approval(ask=ask.key, digest=str(ask.digest), decision="approve")
    await engine.decide(handle.task_id, approval, owner=OWNER)
    assert await soon(handle.result()) == 9
    await drained(engine, clock)


async def test_an_unanswered_wait_in_a_further_phase_expires() -> None:
    """As every wait does.  Source: DESIGN 2."""
    clock = ManualClock()
    engine = Engine(pays, store="memory:", clock=clock, lifecycle=PAYING)
    await engine.start()
    handle = await engine.submit("book", owner=OWNER)
    await soon(handle.rest())
    clock.advance(engine.limits.ask_s + 1)
    view = await soon(handle.over())
    assert view.shown is Phase.FAILED
    assert "expire" in triggers((await engine.view(handle.task_id, owner=OWNER)).events)
    await drained(engine, clock)


@pytest.mark.parametrize(
    ("lifecycle", "phase"),
    [
        (LIFECYCLE, PAYMENT),
        (PAYING, PARCEL),
        (PAYING, Phase.WAITING_INPUT),
        (SHOP, MANAGER),
        (SHOP, "waiting_for_godot"),
    ],
)
async def test_a_phase_that_the_engine_does_not_have_is_told_the_agent(
    lifecycle: Lifecycle, phase: Phase
) -> None:
    """Before anything is asked; and one to decide in is none for a value."""
    told: list[str] = []

    async def asks(task: TaskContext) -> None:
        try:
            await task.ask("Pay!", phase=phase)
        except InvalidInput as error:
            told.extend(error.problems)

    async with asyncio.timeout(60), Engine(asks, store="memory:", lifecycle=lifecycle) as engine:
        handle = await engine.submit("x", owner=OWNER)
        await handle.over()
        events = (await engine.view(handle.task_id, owner=OWNER)).events
    assert f"phase {phase}" in told[0]
    assert "ask" not in triggers(events)
