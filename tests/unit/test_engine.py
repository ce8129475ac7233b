"""The engine's face: who may do what with which task, how often, how much, and what they see."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from interlock import (
    Answer,
    Approval,
    DeliveryFailed,
    Denial,
    Ended,
    Engine,
    Event,
    Limits,
    MemoryStore,
    NewWatch,
    Observer,
    OpenAsk,
    Part,
    Phase,
    SqliteStore,
    Statistics,
    SystemClock,
    TaskContext,
    TaskHandle,
    TaskQuery,
    TaskView,
    Trigger,
    Watch,
)
from interlock._cell import EVENTS_KEPT_MAX
from interlock._edge import NAME_CHARS_MAX
from interlock._engine import EVENTS_PAGE
from interlock.errors import (
    AnswerInvalid,
    Conflict,
    Denied,
    GuardRefused,
    IllegalTrigger,
    InvalidInput,
    LimitReached,
    NotAccepting,
    NotFinalized,
    StoreError,
    TokenReused,
    UnknownTask,
)
from interlock.models import JsonObject
from interlock.stores import store_at
from interlock.testing import ManualClock
from support import OWNER, FlakyStore, World, log_of, opened, pause, soon, triggers, until

STRANGER = "eve"
#: Tokens of clients.
M1, M2, M3 = "m1", "m2", "m3"


async def asks(task: TaskContext) -> str:
    """Ask for a text, and return it."""
    return await task.ask("Which city?")


async def ends(task: TaskContext) -> str:
    """Return what it was given."""
    return task.input.text


@dataclass(eq=False)
class Slow:
    """An agent that ends when the test says so."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list[str])

    async def __call__(self, task: TaskContext) -> str:
        """Wait."""
        self.begun.append(task.input.text)
        await self.go_on.wait()
        return "done"


class City(BaseModel):
    """A form whose type knows more than its schema."""

    name: str

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "Atlantis":
            raise ValueError("nobody knows it")
        return name


def yes(ask: OpenAsk, arguments: JsonObject | None = None, digest: str | None = None) -> Approval:
    """An approval of what is asked, or of something else."""
    named = digest or ask.digest or ""
    return Approval(ask=ask.key, digest=named, decision="approve", arguments=arguments)


def no(ask: OpenAsk, reason: str | None = None) -> Denial:
    """A denial of what is asked."""
    return Denial(ask=ask.key, digest=ask.digest or "", decision="deny", reason=reason)


# --- stores, opening and closing --------------------------------------------------------------


def test_a_store_is_named_by_a_url(tmp_path: Path) -> None:
    """In memory or in a file.  Source: R-STORE-02."""
    assert isinstance(store_at("memory:"), MemoryStore)
    assert isinstance(store_at(f"sqlite:///{tmp_path}/tasks.db"), SqliteStore)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "sqlite:///",
        "sqlite://x",
        "x sqlite:///y",
        "pg:",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite:///:memory:?cache=shared",
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """At once, not when the engine is started.  Source: R-STORE-02."""
    with pytest.raises(InvalidInput, match="store"):
        Engine(ends, store=url)


def test_a_scheme_of_another_package_is_found_by_its_entry_point() -> None:
    """Named in the refusal of those that are none; a password is not.  Source: R-REPL-09."""
    with pytest.raises(InvalidInput, match="'postgresql://") as caught:
        store_at("mysql://ada:secret@db/tasks")
    assert "secret" not in str(caught.value)
    store = store_at("postgresql://ada:secret@db/tasks")
    assert "secret" not in repr(store)
    assert Engine(ends, store=store).is_replica


def test_only_a_shared_store_leaves_turns_to_others() -> None:
    """Nobody else would run them.  Source: R-REPL-01."""
    with pytest.raises(InvalidInput, match="takes_turns"):
        Engine(ends, store="memory:", takes_turns=False)


def test_memory_is_asked_for_by_its_own_url() -> None:
    """A file of that name would be a surprise, and options would be part of the name."""
    with pytest.raises(InvalidInput, match="'memory:'"):
        store_at("sqlite:///:memory:")
    with pytest.raises(InvalidInput, match="plain path"):
        store_at("sqlite:///a.db?mode=ro")


@pytest.mark.parametrize("agent", [None, "agent", (n for n in range(3))])
def test_what_is_no_agent_is_refused_at_once(agent: Any) -> None:  # noqa: ANN401
    """Not when the engine is started, nor at its first task."""
    with pytest.raises(TypeError, match="an async function"):
        Engine(agent, store="memory:")


async def test_an_agent_that_hands_its_coroutine_on_is_told_so() -> None:
    """A plain function around an async one is a plain function."""

    def agent(task: Any) -> Any:  # noqa: ANN401  what an author without types writes
        return ends(task)

    async with opened(agent) as world:
        handle = await world.submit()
        record = await handle.over()
        assert isinstance(record.details, Ended)
        assert record.details.code == "result_invalid"
        assert "make it an async function" in (record.details.message or "")


async def test_an_engine_has_sensible_settings_of_its_own() -> None:
    """The machine's clock, and the limits as they come."""
    engine = Engine(ends, store="memory:")
    assert engine.limits == Limits()
    assert isinstance(engine.clock, SystemClock)
    async with engine:
        handle = await engine.submit("hello", owner=OWNER)
        assert await soon(handle.result()) == "hello"


async def test_an_engine_that_is_not_open_does_nothing() -> None:
    """Neither before it is started nor after it is drained."""
    store = FlakyStore()
    engine = Engine(ends, store=store, clock=ManualClock())
    assert engine.statistics() == Statistics(accepting=False)
    for _ in range(2):
        with pytest.raises(NotAccepting):
            await engine.submit("x", owner=OWNER)
        with pytest.raises(NotAccepting):
            await engine.record("x", owner=OWNER)
        with pytest.raises(NotAccepting):
            await anext(engine.subscribe("x", owner=OWNER))
        with pytest.raises(NotAccepting):
            await engine.page(TaskQuery())
        with pytest.raises(NotAccepting):
            await engine.task("x", owner=OWNER)
        await engine.drain()
        await engine.start()
        await engine.drain()
    assert store.commits == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tools": [len]}, r"tools is of type list; a Toolbox\(\[\.\.\.\]\) is accepted"),
        ({"tools": []}, "tools is of type list"),
        ({"limits": {"drain_s": 1}}, "limits is of type dict; Limits"),
        ({"lifecycle": None}, "lifecycle is of type NoneType; LIFECYCLE"),
        ({"store": Path("tasks.db")}, "store is of type .*Path; a store, or the URL of one, is"),
        ({"store": MemoryStore}, "store is the class MemoryStore"),
        ({"store": None}, "store is of type NoneType"),
        ({"clock": ManualClock}, "clock is the class ManualClock; a Clock is accepted"),
        ({"clock": time}, "clock is of type module"),
        ({"observer": print}, "observer is of type builtin_function_or_method; an object that"),
        ({"observer": Observer}, "observer is of type .*; an object that is an Observer"),
    ],
)
def test_an_engine_is_made_of_what_it_takes(wrong: dict[str, Any], says: str) -> None:
    """It says so before it has opened anything.  Source: R-ENG-20."""
    with pytest.raises(TypeError, match=says):
        Engine(ends, **wrong)


@pytest.mark.parametrize("tells", [True, False])
async def test_a_start_that_fails_leaves_no_store_open(tmp_path: Path, *, tells: bool) -> None:
    """Whatever it failed of: the file is free for who starts after it.  Source: R-ENG-20."""
    observer: Any = Exits() if tells else None
    store = SqliteStore(tmp_path / "tasks.db")
    limits = Limits()
    if not tells:
        object.__delattr__(limits, "inbox_max")  # Nothing that lives in an open engine can be made.
    engine = Engine(ends, store=store, observer=observer, limits=limits)
    with pytest.raises(SystemExit if tells else AttributeError):
        await engine.start()
    async with Engine(ends, store=f"sqlite:///{tmp_path / 'tasks.db'}") as second:
        assert await (await second.submit("go", owner=OWNER)).result() == "go"


class Exits:
    """Ends the process when it hears that the engine opens."""

    def opened(self, _: Callable[[], Statistics]) -> None:
        """See `Observer`."""
        raise SystemExit(2)


async def test_an_engine_is_opened_once() -> None:
    """Two at once would be two writers."""
    async with opened(ends) as world:
        with pytest.raises(RuntimeError, match="open already"):
            await world.engine.start()
        assert await (await world.submit()).result() == "go"


async def test_an_engine_can_be_drained_by_several_at_once() -> None:
    """Each waits until it is closed; a start waits for them, too."""
    slow = Slow()
    async with opened(slow) as world:
        await world.submit()
        await until(lambda: bool(slow.begun))
        drains = [asyncio.ensure_future(world.engine.drain()) for _ in range(2)]
        await pause()
        start = asyncio.ensure_future(world.engine.start())
        await pause()
        assert not any(task.done() for task in [*drains, start])
        slow.go_on.set()
        await soon(asyncio.gather(*drains, start))
        assert world.engine.statistics().accepting


@pytest.mark.parametrize("call", ["open", "unfinished"])
async def test_an_engine_that_cannot_be_opened_holds_nothing(call: str) -> None:
    """It can be opened later."""
    tasks = asyncio.all_tasks()
    store = FlakyStore()
    store.fail(call)
    engine = Engine(ends, store=store, clock=ManualClock())
    with pytest.raises(StoreError):
        await engine.start()
    await pause()
    assert asyncio.all_tasks() == tasks
    assert not engine.statistics().accepting
    async with engine:
        assert await soon((await engine.submit("x", owner=OWNER)).result()) == "x"


async def test_the_statistics_count_what_is_held() -> None:
    """Right now."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1)) as world:
        await world.submit()
        await until(lambda: bool(slow.begun))
        await world.submit()
        await pause()
        assert world.engine.statistics() == Statistics(
            accepting=True, live=1, running=1, queued=1, abandoned=0
        )
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not world.engine.statistics().accepting
        slow.go_on.set()
        await soon(drain)


# --- submitting ---------------------------------------------------------------------------------


CONTENTS: list[tuple[Any, list[JsonObject] | None]] = [
    ("hello", [{"text": "hello"}]),
    ("", [{"text": ""}]),
    (Part(url="https://x", media_type="text/html"), None),
    ([Part(text="a"), Part(data=[1])], [{"text": "a"}, {"data": [1]}]),
    ({"n": 1}, [{"data": {"n": 1}}]),
    ({}, [{"data": {}}]),
]


@pytest.mark.parametrize(("content", "parts"), CONTENTS)
async def test_a_task_is_made_of_what_was_submitted(content: Any, parts: list[Any] | None) -> None:  # noqa: ANN401
    """It is durable before its maker knows.  Source: I18, R-ENG-01."""
    async with opened(asks) as world:
        handle = await world.engine.submit(
            content, owner=OWNER, context_id="c1", token=M1, metadata={"lang": "en"}, task_s=60
        )
        assert handle.created
        event = world.log(handle)[0]
        assert event.data["parts"] == (parts or [content.to_json()])
        assert event.data["metadata"] == {"lang": "en"}
        assert (event.data["token"], event.actor) == ("m1", OWNER)
        record = handle.record
        assert (record.context_id, record.owner, record.phase) == ("c1", OWNER, Phase.SUBMITTED)
        assert record.identity.due - record.identity.created_at == 60


async def test_each_task_has_an_id_and_a_context_that_nobody_can_guess() -> None:
    """128 bits of our own.  Source: T4, R-ENG-02."""
    async with opened(asks) as world:
        handles = [await world.submit() for _ in range(3)]
        ids = {handle.task_id for handle in handles} | {h.record.context_id for h in handles}
        assert len(ids) == 6
        assert all(len(made) == 32 for made in ids)


@pytest.mark.parametrize(
    "options",
    [
        {"owner": ""},
        {"owner": "x" * (NAME_CHARS_MAX + 1)},
        {"context_id": ""},
        {"context_id": "x" * (NAME_CHARS_MAX + 1)},
        {"token": ""},
        {"token": "x" * (NAME_CHARS_MAX + 1)},
        {"owner": None},
        {"owner": 7},
        {"context_id": 7},
        {"context_id": 0},
        {"token": 7},
        {"token": b"m1"},
        {"content": None},
        {"content": 7},
        {"content": b"hello"},
        {"content": ["hello"]},
        {"content": [Part(text="a"), {"text": "b"}]},
        {"content": {1: "x"}},
        {"content": {"n": b"x"}},
        {"metadata": 0},
        {"metadata": []},
        {"metadata": "x"},
        {"metadata": [("a", 1)]},
        {"metadata": {1: "x"}},
        {"task_s": "60"},
        {"task_s": True},
        {"task_s": 10**400},
        {"content": []},
        {"content": "x" * 2_000},
        {"content": {"n": float("nan")}},
        {"content": "half a \ud800 pair"},
        {"metadata": {"n": "x" * 2_000}},
        {"metadata": {"n": object()}},
        {"task_s": 0},
        {"task_s": -1},
        {"task_s": float("nan")},
        {"task_s": float("inf")},
    ],
)
async def test_what_cannot_be_a_task_is_refused_and_nothing_is_stored(
    options: dict[str, Any],
) -> None:
    """With what is wrong with it.  Source: issue 2, bad input."""
    async with opened(ends, limits=Limits(payload_bytes_max=1_000)) as world:
        settings: dict[str, Any] = {"content": "x", "owner": OWNER, **options}
        with pytest.raises(InvalidInput) as caught:
            await world.engine.submit(**settings)
        assert caught.value.problems
        assert world.store.commits == []
        assert (await world.engine.page(TaskQuery())).total == 0


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({"owner": 7}, "owner is of type int; a text of 1 to 1024 characters is accepted"),
        ({"owner": "\u4e00" * 427}, "owner has 1281 bytes; at most 1280 in UTF-8 are accepted"),
        ({"token": "\u4e00" * 427}, "token has 1281 bytes; at most 1280 in UTF-8 are accepted"),
        ({"content": 7}, "text, a Part, a sequence of Parts or a mapping"),
        ({"metadata": {1: 2}}, "a mapping with keys of text is accepted"),
    ],
)
async def test_a_refusal_names_what_is_accepted(options: dict[str, Any], accepted: str) -> None:
    """So that the caller can mend the call."""
    async with opened(ends) as world:
        settings: dict[str, Any] = {"content": "x", "owner": OWNER, **options}
        with pytest.raises(InvalidInput, match=accepted):
            await world.engine.submit(**settings)


async def test_what_the_caller_goes_on_to_change_is_not_the_task() -> None:
    """The log holds what was submitted."""
    metadata: dict[str, Any] = {"tags": ["a"]}
    content: dict[str, Any] = {"seats": [1]}
    async with opened(asks) as world:
        handle = await world.engine.submit(content, owner=OWNER, metadata=metadata)
        metadata["tags"].append("b")
        content["seats"].append(2)
        data = world.log(handle)[0].data
        assert (data["metadata"], data["parts"]) == ({"tags": ["a"]}, [{"data": {"seats": [1]}}])


async def test_a_draining_engine_takes_no_new_tasks() -> None:
    """What is there may still be answered.  Source: DESIGN 3, shutdown, R-ENG-13."""
    slow = Slow()
    async with opened(slow) as world:
        await world.submit()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        with pytest.raises(NotAccepting) as caught:
            await world.submit()
        assert caught.value.retry_after_s > 0
        slow.go_on.set()
        await soon(drain)


async def test_a_task_that_could_not_be_stored_does_not_exist() -> None:
    """And its room is given back.  Source: DESIGN 3."""
    limits = Limits(running_turns_max=1, queued_tasks_max=0, open_tasks_per_owner_max=1)
    async with opened(asks, limits=limits) as world:
        world.store.fail("commit")
        with pytest.raises(StoreError):
            await world.submit()
        assert (await world.engine.page(TaskQuery())).total == 0
        assert world.engine.statistics() == Statistics(accepting=True)
        await world.submit()


@pytest.mark.parametrize("call", ["commit", "commit, after"])
async def test_a_task_whose_maker_gave_up_waiting_is_run_all_the_same(call: str) -> None:
    """It may be stored already; a stored task that nobody starts would be lost.  Source: I29."""
    async with opened(ends) as world:
        gate = world.store.hold(call)
        submitting = asyncio.ensure_future(world.submit("x"))
        await gate.reached()
        submitting.cancel()
        await asyncio.wait([submitting])
        gate.open()
        await pause()
        page = await world.engine.page(TaskQuery(owner=OWNER))
        assert [record.shown for record in page.records] == [Phase.COMPLETED]
        assert world.engine.statistics() == Statistics(accepting=True)


async def test_a_drain_waits_for_a_task_that_is_being_stored() -> None:
    """It is acknowledged, and run by the next start."""
    async with opened(ends) as world:
        gate = world.store.hold("commit")
        submitting = asyncio.ensure_future(world.submit("x"))
        await gate.reached()
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        gate.open()
        handle = await soon(submitting)
        await soon(drain)
        assert world.stored(handle).phase is Phase.RUNNING
        await world.engine.start()
        assert await handle.result() == "x"


async def found(world: World) -> TaskHandle:
    """A task that somebody found in the store before its maker knew that it is there."""
    record = (await world.engine.page(TaskQuery())).records[0]
    return TaskHandle(world.engine, record, created=False)


async def test_a_task_that_is_watched_before_its_maker_knows_is_watched_to_its_end() -> None:
    """It is durable, so it can be found; there is one of it.  Source: I24."""
    async with opened(ends) as world:
        gate = world.store.hold("commit, after")
        submitting = asyncio.ensure_future(world.submit())
        await gate.reached()
        watching = asyncio.ensure_future(log_of(await found(world)))
        await pause()
        gate.open()
        await soon(submitting)
        assert triggers(await soon(watching)) == ["submit", "start", "complete"]


async def test_a_task_that_is_cancelled_before_its_maker_knows_takes_no_slot() -> None:
    """It is over before it could begin."""
    async with opened(ends, limits=Limits(running_turns_max=1, queued_tasks_max=0)) as world:
        gate = world.store.hold("commit, after")
        submitting = asyncio.ensure_future(world.submit())
        await gate.reached()
        handle = await found(world)
        await handle.cancel()
        assert (await handle.over()).shown is Phase.CANCELLED
        gate.open()
        await soon(submitting)
        await pause()
        assert await (await world.submit("next")).result() == "next"
        assert world.engine.statistics().running == 0


# --- tokens -------------------------------------------------------------------------------------


async def test_the_same_submission_with_the_same_token_is_one_task() -> None:
    """Also when it is over, and after a restart.  Source: DESIGN 3, I19, R-ENG-01."""
    store = FlakyStore()
    async with opened(ends, store=store) as world:
        first = await world.engine.submit("x", owner=OWNER, token=M1)
        await first.over()
    async with opened(ends, store=store) as world:
        again = await world.engine.submit("x", owner=OWNER, token=M1)
        assert (again.task_id, again.created) == (first.task_id, False)
        assert again.record.shown is Phase.COMPLETED
        assert (await world.engine.page(TaskQuery())).total == 1


async def test_another_submission_with_the_same_token_is_a_mistake() -> None:
    """Of this owner; another's tokens are their own.  Source: R-ENG-01, T26."""
    async with opened(asks) as world:
        first = await world.engine.submit("x", owner=OWNER, token=M1)
        for text, metadata in (("y", None), ("x", {"n": 1})):
            with pytest.raises(TokenReused) as caught:
                await world.engine.submit(text, owner=OWNER, token=M1, metadata=metadata)
            assert caught.value.token == M1
        other = await world.engine.submit("y", owner=STRANGER, token=M1)
        assert other.created
        assert other.task_id != first.task_id


async def test_the_same_submission_at_the_same_time_is_one_task() -> None:
    """One of them made it; all of them get it."""
    async with opened(ends) as world:
        handles = await asyncio.gather(
            *(world.engine.submit("x", owner=OWNER, token=M1) for _ in range(5))
        )
        assert len({handle.task_id for handle in handles}) == 1
        assert sorted(handle.created for handle in handles) == [False] * 4 + [True]
        results = await asyncio.gather(*(handle.result() for handle in handles))
        assert results == ["x"] * 5


async def test_there_is_always_room_for_a_repeat() -> None:
    """It makes no task, so no bound may keep a client from its own."""
    async with opened(asks, limits=Limits(open_tasks_per_owner_max=1)) as world:
        first = await world.engine.submit("x", owner=OWNER, token=M1)
        again = await world.engine.submit("x", owner=OWNER, token=M1)
        assert (again.task_id, again.created) == (first.task_id, False)
        with pytest.raises(TokenReused):
            await world.engine.submit("y", owner=OWNER, token=M1)
        with pytest.raises(LimitReached):
            await world.engine.submit("x", owner=OWNER, token=M2)


async def test_a_refused_repeat_gives_its_room_back() -> None:
    """A client that repeats itself a thousand times has one open task."""
    async with opened(asks, limits=Limits(open_tasks_per_owner_max=2)) as world:
        for _ in range(5):
            await world.engine.submit("x", owner=OWNER, token=M1)
        await world.submit()
        with pytest.raises(LimitReached):
            await world.submit()


# --- answering ----------------------------------------------------------------------------------


async def test_an_answer_is_kept_with_who_gave_it_and_what_they_said() -> None:
    """A trusted caller names the one who acts."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        record = await world.engine.answer(
            handle.task_id,
            Answer(ask=ask.key, value="Rome"),
            owner=None,
            actor="bob",
            token=M2,
            message=[Part(text="Rome, please")],
        )
        assert record.phase is Phase.RUNNING
        event = world.log(handle)[3]
        assert (event.trigger, event.actor) == (Trigger.PROVIDE_INPUT, "bob")
        assert event.data == {
            "key": "ask-1",
            "value": "Rome",
            "token": "m2",
            "message": [{"text": "Rome, please"}],
        }
        assert await handle.result() == "Rome"


async def test_a_trusted_caller_must_say_who_acts() -> None:
    """Somebody is always answerable for a decision."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        with pytest.raises(InvalidInput):
            await world.engine.answer(handle.task_id, Answer(ask=ask.key, value="x"), owner=None)
        with pytest.raises(InvalidInput):
            await world.engine.cancel(handle.task_id, owner=None, actor="")
        assert world.stored(handle).phase is Phase.WAITING_INPUT


async def test_an_answer_that_does_not_fit_leaves_the_ask_open() -> None:
    """By the schema, or by the type that only the waiting turn knows; each says what is wrong.

    Source: R-ENG-03.
    """

    async def agent(task: TaskContext) -> str:
        return (await task.ask("Where?", City)).name

    async with opened(agent) as world:
        handle, ask = await world.asking()
        for value, problem in (
            ({"name": 1}, "at /name"),
            ({}, "name"),
            ("Rome", ""),
            ({"name": "Atlantis"}, "nobody knows it"),
        ):
            with pytest.raises(AnswerInvalid) as caught:
                await handle.answer(ask.key, value)  # type: ignore[arg-type]
            assert caught.value.reason == "answer_fits"
            assert any(problem in found for found in caught.value.problems)
        assert world.stored(handle).seq == 3
        await handle.answer(ask.key, {"name": "Rome"})
        assert await handle.result() == "Rome"


async def test_an_error_is_bounded_whatever_was_answered() -> None:
    """Also where the turn waits with a type of its own.  Source: T22; a stranger's review."""

    async def agent(task: TaskContext) -> int:
        return len(await task.ask("Which?", list[str]))

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(AnswerInvalid) as caught:
            await handle.answer(ask.key, [1 for _ in range(100_000)])
        assert len(caught.value.problems) <= 51
        assert len(str(caught.value)) < 10_000
        await handle.answer(ask.key, ["x" for _ in range(100)])
        assert await handle.result() == 100


async def test_the_first_valid_answer_wins() -> None:
    """Every later one is refused, whatever it says.  Source: I07, R-ENG-05."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        outcomes = await asyncio.gather(
            *(handle.answer(ask.key, value) for value in ("a", "b", "c")), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes[1:]] == ["IllegalTrigger"] * 2
        assert await handle.result() == "a"
        with pytest.raises(IllegalTrigger):
            await handle.answer(ask.key, "d")


async def ask_both(task: TaskContext) -> object:
    """A question and a request for leave at once."""
    return await asyncio.gather(
        task.ask("A?", key="a"), task.authorize("pay", {"n": 1}, key="b", on_deny="tell_agent")
    )


#: How a client may be mistaken about what it answers, and the guard that says so.
MISTAKES: list[tuple[Callable[[TaskHandle, OpenAsk], Awaitable[object]], str]] = [
    (lambda h, _: h.answer("b", "yes"), "ask_wants_a_value"),
    (lambda h, b: h.approve("a", digest=b.digest or ""), "ask_wants_a_decision"),
    (lambda h, b: h.deny("a", digest=b.digest or ""), "ask_wants_a_decision"),
    (lambda h, _: h.answer("c", "x"), "ask_is_open"),
    (lambda h, b: h.approve("c", digest=b.digest or ""), "ask_is_open"),
    (lambda h, _: h.approve("b", digest="0" * 32), "digest_matches"),
    (lambda h, _: h.deny("b", digest="0" * 32), "digest_matches"),
    (lambda h, b: h.approve("b", digest=b.digest or "", arguments={"n": 2}), "edit_is_allowed"),
]


@pytest.mark.parametrize(("act", "reason"), MISTAKES)
async def test_an_answer_to_something_else_is_refused_and_changes_nothing(
    act: Callable[[TaskHandle, OpenAsk], Awaitable[object]], reason: str
) -> None:
    """An answer meant for a question can never approve a payment.  Source: I08, I13, I35."""
    async with opened(ask_both) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        before = world.stored(handle)
        with pytest.raises(GuardRefused) as caught:
            await act(handle, before.asks[1])
        assert caught.value.reason == reason
        assert world.stored(handle) == before


async def test_only_approvers_may_answer_and_never_the_agent() -> None:
    """Who they are is said when it is asked.  Source: I25, R-ENG-06, T5."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", {"n": 1}, approvers=["bob"])

    async with opened(agent) as world:
        handle, ask = await world.asking()
        for actor in (None, "mallory"):
            with pytest.raises(GuardRefused) as caught:
                await world.engine.decide(handle.task_id, yes(ask), owner=OWNER, actor=actor)
            assert caught.value.reason == "caller_may_answer"
        for actor in ("agent", "engine", "timer"):
            with pytest.raises(InvalidInput, match=f"actor is '{actor}'"):
                await world.engine.decide(handle.task_id, yes(ask), owner=OWNER, actor=actor)
        await world.engine.decide(handle.task_id, yes(ask), owner=None, actor="bob")
        assert await handle.result() == {"n": 1}


@pytest.mark.parametrize("actor", ["agent", "engine", "timer"])
async def test_no_caller_acts_in_the_name_of_a_machine(actor: str) -> None:
    """Who is called so hears it at once, and not when he answers.  Source: R-ENG-06, I25."""
    async with opened(asks) as world:
        with pytest.raises(InvalidInput, match=f"owner is '{actor}'.* other than agent, engine"):
            await world.engine.submit("x", owner=actor)
        handle, ask = await world.asking()
        with pytest.raises(InvalidInput, match=f"actor is '{actor}'"):
            await world.engine.answer(
                handle.task_id, Answer(ask=ask.key, value="x"), owner=OWNER, actor=actor
            )
        with pytest.raises(InvalidInput, match=f"actor is '{actor}'"):
            await world.engine.cancel(handle.task_id, owner=OWNER, actor=actor)
        assert world.stored(handle).asks == (ask,)


async def test_no_machine_is_named_among_approvers() -> None:
    """It would answer nothing; a list that names it is a mistake.  Source: I25, R-ENG-06."""

    async def agent(task: TaskContext) -> object:
        with pytest.raises(InvalidInput, match="an approver is 'timer', who never answers"):
            await task.authorize("pay", {"n": 1}, approvers=["ada", "timer"])
        return "refused"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "refused"


async def test_edited_arguments_are_approved_where_that_is_allowed() -> None:
    """They must fit the tool's schema; exactly they run.  Source: I14, R-ENG-07."""
    schema: JsonObject = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}}

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", {"n": 1}, schema=schema, allow_edit=True)

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(AnswerInvalid) as caught:
            await world.engine.decide(handle.task_id, yes(ask, {"n": 10}), owner=OWNER)
        assert caught.value.reason == "arguments_fit"
        await world.engine.decide(handle.task_id, yes(ask, {"n": 2}), owner=OWNER)
        event = world.log(handle)[3]
        assert (event.data["arguments"], event.data["edited"]) == ({"n": 2}, True)
        assert await handle.result() == {"n": 2}


@pytest.mark.parametrize("arguments", [None, {"n": 1}])
async def test_an_approval_of_just_what_was_asked_is_not_an_edit(
    arguments: JsonObject | None,
) -> None:
    """Whether it repeats the arguments or not."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", {"n": 1})

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await world.engine.decide(handle.task_id, yes(ask, arguments), owner=OWNER)
        assert world.log(handle)[3].data["edited"] is False
        assert await handle.result() == {"n": 1}


@pytest.mark.parametrize("arguments", [{"n": True}, {"n": 1.0}])
async def test_what_python_takes_for_equal_is_an_edit_to_a_tool(arguments: JsonObject) -> None:
    """1, true and 1.0 are three values in JSON, and to a tool.  Source: I13, I14."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", {"n": 1})

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(GuardRefused) as caught:
            await world.engine.decide(handle.task_id, yes(ask, arguments), owner=OWNER)
        assert caught.value.reason == "edit_is_allowed"
        await world.engine.decide(handle.task_id, yes(ask), owner=OWNER)
        assert json.dumps(await handle.result()) == '{"n": 1}'


async def test_a_denial_stops_the_task_or_is_told_to_the_agent() -> None:
    """As the ask declared; the reason goes with it.  Source: R-LIFE-16."""

    async def stops(task: TaskContext) -> None:
        await task.authorize("pay", {})

    async def told(task: TaskContext) -> str:
        try:
            await task.authorize("pay", {}, on_deny="tell_agent")
        except Denied as error:
            return f"denied: {error.reason}"
        return "paid"

    async with opened(stops) as world:
        handle, ask = await world.asking()
        record = await world.engine.decide(handle.task_id, no(ask, "too dear"), owner=OWNER)
        assert record.phase is Phase.CANCELLING
        assert (await handle.over()).shown is Phase.CANCELLED
    async with opened(told) as world:
        handle, ask = await world.asking()
        await world.engine.decide(handle.task_id, no(ask, "too dear"), owner=OWNER)
        assert await handle.result() == "denied: too dear"


async def test_what_is_said_to_a_task_is_bounded() -> None:
    """Answers, decisions, messages and reasons.  Source: T22."""
    long = "x" * 2_000

    async with opened(ask_both, limits=Limits(payload_bytes_max=1_000)) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        before = world.stored(handle)
        ask = before.asks[1]
        engine, task_id = world.engine, handle.task_id
        said = Answer(ask="a", value="x")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: engine.answer(task_id, Answer(ask="a", value=long), owner=OWNER),
            lambda: engine.answer(task_id, said, owner=OWNER, message=[Part(text=long)]),
            lambda: engine.answer(task_id, said, owner=OWNER, token=long),
            lambda: engine.decide(task_id, no(ask, long), owner=OWNER),
            lambda: engine.decide(task_id, yes(ask, {"n": long}), owner=OWNER),
            lambda: engine.cancel(task_id, owner=OWNER, reason=long),
        ]
        for call in calls:
            with pytest.raises(InvalidInput):
                await call()
        assert world.stored(handle) == before


UNTYPED: list[tuple[str, dict[str, Any]]] = [
    ("answer", {"actor": 7}),
    ("answer", {"actor": "x" * (NAME_CHARS_MAX + 1)}),
    ("answer", {"actor": "half a \ud800 pair"}),
    ("answer", {"token": 7}),
    ("answer", {"token": ""}),
    ("answer", {"token": "x" * (NAME_CHARS_MAX + 1)}),
    ("answer", {"message": None}),
    ("answer", {"message": 7}),
    ("answer", {"message": ["hello"]}),
    ("answer", {"message": [{"text": "hello"}]}),
    ("decide", {"actor": b"ada"}),
    ("decide", {"token": b"m1"}),
    ("decide", {"token": "x" * (NAME_CHARS_MAX + 1)}),
    ("decide", {"message": b"hello"}),
    ("cancel", {"actor": ["ada"]}),
    ("cancel", {"reason": 7}),
    ("cancel", {"reason": {"why": "x"}}),
]


@pytest.mark.parametrize(("call", "options"), UNTYPED)
async def test_what_is_said_to_a_task_is_of_its_kind(call: str, options: dict[str, Any]) -> None:
    """What is stored must be readable: nothing happens to the task.  Source: issue 2, bad input."""
    async with opened(ask_both) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        before = world.log(handle)
        said: dict[str, tuple[object, ...]] = {
            "answer": (Answer(ask="a", value="x"),),
            "decide": (no(world.stored(handle).asks[1]),),
            "cancel": (),
        }
        settings: dict[str, Any] = {"owner": OWNER, **options}
        with pytest.raises(InvalidInput, match="accepted"):
            await getattr(world.engine, call)(handle.task_id, *said[call], **settings)
        await pause()
        assert world.log(handle) == before


async def test_a_repeated_answer_with_the_same_token_is_no_error() -> None:
    """While the ask is closed, and when the task is over.  Source: DESIGN 3, R-ENG-05."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "Rome", token=M2)
        again = await handle.answer(ask.key, "Rome", token=M2)
        assert again.seq >= 4
        await handle.over()
        await handle.answer(ask.key, "Rome", token=M2)
        with pytest.raises(TokenReused):
            await handle.answer(ask.key, "Oslo", token=M2)
        with pytest.raises(IllegalTrigger):
            await handle.answer(ask.key, "Rome", token=M3)
        assert triggers(world.log(handle)).count("provide_input") == 1


async def test_the_same_answer_at_the_same_time_is_accepted_once() -> None:
    """And all who gave it are told that it is."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        records = await asyncio.gather(
            *(handle.answer(ask.key, "Rome", token=M2) for _ in range(4))
        )
        assert {record.phase for record in records} == {Phase.RUNNING}
        assert await handle.result() == "Rome"
        assert triggers(world.log(handle)).count("provide_input") == 1


async def test_a_token_is_good_for_one_request_of_any_kind() -> None:
    """That of a submission is no token for an answer, nor one answer's for another's."""

    async def agent(task: TaskContext) -> object:
        return await asyncio.gather(task.ask("A?", key="a"), task.ask("B?", key="b"))

    async with opened(agent) as world:
        handle = await world.engine.submit("x", owner=OWNER, token=M1)
        await until(lambda: len(world.stored(handle).asks) == 2)
        with pytest.raises(TokenReused):
            await handle.answer("a", "1", token=M1)
        one, other = await asyncio.gather(
            handle.answer("a", "1", token=M2),
            handle.answer("b", "2", token=M2),
            return_exceptions=True,
        )
        assert isinstance(other, TokenReused)
        assert not isinstance(one, BaseException)
        with pytest.raises(TokenReused):
            await world.engine.submit("x", owner=OWNER, token=M2)
        await handle.answer("b", "2", token=M3)
        assert await handle.result() == ["1", "2"]


async def test_a_cancel_may_be_meant_for_as_long_as_an_ask_is_open() -> None:
    """Who dismisses a question does not mean the task that somebody else has answered."""

    async def asks_twice(task: TaskContext) -> None:
        await task.ask("One?")
        await task.ask("Two?")

    async with opened(asks_twice) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "yes")
        await until(lambda: len(world.stored(handle).asks) == 1)
        with pytest.raises(GuardRefused) as caught:
            await world.engine.cancel(handle.task_id, owner=OWNER, ask=ask.key)
        assert caught.value.reason == "ask_is_open"
        assert "cancel" not in triggers(world.log(handle))
        (other,) = world.stored(handle).asks
        await world.engine.cancel(handle.task_id, owner=OWNER, ask=other.key)
        assert (await handle.over()).shown is Phase.CANCELLED
        with pytest.raises(IllegalTrigger):
            await world.engine.cancel(handle.task_id, owner=OWNER, ask=other.key)


async def test_what_is_too_large_is_found_before_it_is_said() -> None:
    """Who gives several answers at once must not have some of them taken.  Source: issue 5."""
    async with opened(asks, limits=Limits(payload_bytes_max=1_000)) as world:
        handle, ask = await world.asking()
        said = (
            Answer(ask=ask.key, value="x" * 1_000),
            Answer(ask=ask.key, value="\ud800"),
            Denial(ask=ask.key, digest="d", decision="deny", reason="x" * 1_000),
            Approval(ask=ask.key, digest="d", decision="approve", arguments={"x": "x" * 1_000}),
        )
        for one in said:
            assert await world.engine.problems_of(handle.task_id, one, owner=OWNER)
        small = Answer(ask=ask.key, value="x")
        assert await world.engine.problems_of(handle.task_id, small, owner=OWNER) == []


async def test_who_looks_again_and_again_leaves_nothing_behind() -> None:
    """Each look waits for the next write, and most give up before it comes."""
    gone = asyncio.Event()

    async def agent(_task: TaskContext) -> None:
        await gone.wait()

    async with opened(agent) as world:
        held = world.store.hold("commit, after")
        submitting = asyncio.ensure_future(world.submit())
        await held.reached()
        held.open()
        handle = await submitting
        await until(lambda: triggers(world.log(handle)) == ["submit", "start"])
        runtime = world.engine._runtime
        assert runtime is not None
        cell = runtime.writer.at_hand(handle.task_id)
        assert cell is not None
        cell.busy = True  # As it is while it waits for the disk.
        for _ in range(100):
            await world.engine.settled(handle.task_id, owner=OWNER, within_s=0.0)
        looking = [
            asyncio.ensure_future(world.engine.settled(handle.task_id, owner=OWNER, within_s=5))
            for _ in range(100)
        ]
        await pause()
        for look in looking:
            look.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await world.engine.settled(handle.task_id, owner=OWNER, within_s=0.0)
        cell.busy = False
        assert all(waiter.done() for waiter in cell._waiters)
        assert len(cell._waiters) < 250
        gone.set()


async def test_a_cancel_that_is_repeated_does_not_make_the_log_grow() -> None:
    """It is accepted, and changes nothing.  Source: R-LIFE-09."""
    cleaned = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        try:
            await task.ask("?")
        finally:
            await cleaned.wait()

    async with opened(agent) as world:
        handle, _ = await world.asking()
        for _ in range(3):
            assert (await handle.cancel()).phase is Phase.CANCELLING
        assert triggers(world.log(handle)).count("cancel") == 1
        cleaned.set()
        await handle.over()


async def test_an_answer_that_could_not_be_stored_can_be_given_again() -> None:
    """With the same token: nothing was used up."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        world.store.fail("commit", StoreError("the disk is full"))
        with pytest.raises(StoreError):
            await handle.answer(ask.key, "Rome", token=M2)
        assert world.stored(handle).ask(ask.key) == ask
        await handle.answer(ask.key, "Rome", token=M2)
        assert await handle.result() == "Rome"


async def test_an_answer_meets_the_conflicts_of_others_and_wins_or_loses_once() -> None:
    """It is judged again by what is stored."""
    async with opened(asks) as world:
        handle, ask = await world.asking()
        world.store.fail("commit", Conflict(handle.task_id, 3))
        await handle.answer(ask.key, "Rome")
        assert await handle.result() == "Rome"


async def test_an_answer_that_was_not_accepted_leaves_nothing_behind() -> None:
    """A parked task costs nothing here, however often it is addressed in vain."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, ask = await world.asking()
    async with opened(asks, store=store) as world:
        handle = world.handle(handle)
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: handle.answer("other", "x"),
            lambda: handle.answer(ask.key, 1),
            lambda: handle.approve(ask.key, digest="0"),
            lambda: world.engine.answer(handle.task_id, Answer(ask=ask.key, value="x"), owner=None),
            lambda: world.engine.answer(
                handle.task_id, Answer(ask=ask.key, value="x"), owner=STRANGER
            ),
        ]
        for attempt in attempts:
            with pytest.raises((GuardRefused, InvalidInput, UnknownTask, IllegalTrigger)):
                await attempt()
            await pause()
            assert world.engine.statistics().live == 0


# --- owners ------------------------------------------------------------------------------------


async def first_of(events: AsyncIterator[Event]) -> Event:
    """The first event of a stream."""
    return await anext(events)


async def resumed(engine: Engine, task_id: str, owner: str | None) -> None:
    """Resume a task that waits for nobody's decision, which an operator is told."""
    with suppress(InvalidInput):
        await engine.resume(task_id, "again", owner=owner)


async def forgotten(engine: Engine, task_id: str, owner: str | None) -> None:
    """Forgotten, if it were over."""
    with suppress(NotFinalized):
        await engine.forget(task_id, owner=owner)


CALLS: dict[str, Callable[[Engine, str, str | None], Awaitable[object]]] = {
    "task": lambda e, t, o: e.task(t, owner=o),
    "record": lambda e, t, o: e.record(t, owner=o),
    "settled": lambda e, t, o: e.settled(t, owner=o),
    "problems_of": lambda e, t, o: e.problems_of(t, Answer(ask="ask-1", value="x"), owner=o),
    "view": lambda e, t, o: e.view(t, owner=o),
    "events": lambda e, t, o: e.events(t, owner=o),
    "subscribe": lambda e, t, o: first_of(e.subscribe(t, owner=o)),
    "rest": lambda e, t, o: e.rest(t, owner=o),
    "over": lambda e, t, o: e.over(t, owner=o),
    "answer": lambda e, t, o: e.answer(t, Answer(ask="ask-1", value="x"), owner=o, actor="x"),
    "decline": lambda e, t, o: e.decline(t, "ask-1", owner=o, actor="x"),
    "decide": lambda e, t, o: e.decide(
        t, Denial(ask="ask-1", digest="d", decision="deny"), owner=o, actor="x"
    ),
    "resume": resumed,
    "cancel": lambda e, t, o: e.cancel(t, owner=o, actor="x"),
    "add_watch": lambda e, t, o: e.add_watch(t, NewWatch("w", "hook", {}), owner=o),
    "drop_watch": lambda e, t, o: e.drop_watch(t, "w", owner=o),
    "watches": lambda e, t, o: e.watches(t, owner=o),
    "forget": forgotten,
}
#: What is not about one task.
OTHER_CALLS = {"start", "drain", "statistics", "submit", "page", "counts", "purge"}


def test_every_call_about_a_task_is_in_the_table() -> None:
    """A new one fails here until it is checked below.  Source: T1."""
    public = {
        name
        for name in vars(Engine)
        if not name.startswith("_") and callable(getattr(Engine, name))
    }
    assert CALLS.keys() | OTHER_CALLS == public


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("owner", [STRANGER, "", "ADA", "ada "])
async def test_a_task_of_somebody_else_is_as_unknown_as_one_that_is_not_there(
    name: str, owner: str
) -> None:
    """The same error, and nothing happens to it.  Source: I26, T1."""
    async with opened(asks) as world:
        handle, _ = await world.asking()
        before = world.log(handle)
        errors: list[str] = []
        for task_id in (handle.task_id, "0" * 32):
            with pytest.raises(UnknownTask) as caught:
                await soon(CALLS[name](world.engine, task_id, owner))
            errors.append(str(caught.value).replace(task_id, "ID"))
        assert errors[0] == errors[1]
        await pause()
        assert world.log(handle) == before
        assert await world.store.watches(handle.task_id) == []


@pytest.mark.parametrize("name", CALLS)
async def test_a_name_that_no_task_can_have_is_unknown(name: str, tmp_path: Path) -> None:
    """Half a character cannot be asked for in any store, and is no fault of the store.

    Source: T9.
    """
    async with Engine(asks, store=SqliteStore(tmp_path / "tasks.db")) as engine:
        with pytest.raises(UnknownTask):
            await soon(CALLS[name](engine, "\ud800", OWNER))


async def test_a_name_that_nobody_can_have_is_refused_by_a_list(tmp_path: Path) -> None:
    """Half a character is no fault of the store.  Source: T9."""
    async with Engine(asks, store=SqliteStore(tmp_path / "tasks.db")) as engine:
        for what in ("owner", "owner_prefix", "context_id", "search"):
            names: dict[str, Any] = {what: "\ud800"}
            query = TaskQuery(**names)
            for asked in (engine.page, engine.counts):
                with pytest.raises(InvalidInput, match=f"{what} has half a character"):
                    await asked(query)


@pytest.mark.parametrize(
    "shown", [Phase.RUNNING, "running", {"running"}, [Phase.RUNNING], {Phase.RUNNING, None}]
)
async def test_phases_that_are_none_are_refused_by_a_list(shown: Any) -> None:  # noqa: ANN401
    """It says what is wanted instead.  Source: T9."""
    async with Engine(asks, store="memory:") as engine:
        with pytest.raises(InvalidInput, match=r"one as \{Phase.WAITING_AUTH\} is accepted"):
            await engine.page(TaskQuery(shown=shown))


@pytest.mark.parametrize("since", ["x", float("nan"), float("inf"), True, 10**400])
async def test_a_time_that_is_none_is_refused_by_a_list(since: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """A store found nothing for it, and said so.  Source: T9; a stranger's review."""
    async with Engine(asks, store=SqliteStore(tmp_path / "tasks.db")) as engine:
        with pytest.raises(InvalidInput, match="updated_since"):
            await engine.page(TaskQuery(updated_since=since))
        assert (await engine.page(TaskQuery(updated_since=-1))).total == 0


@pytest.mark.parametrize("limit", [-1, 1.5, True, "10", 2**31, 2**63 - 1, 10**30])
async def test_a_number_of_tasks_that_is_none_is_refused(limit: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Stores would make different things of it.  Source: T9."""
    async with Engine(asks, store=SqliteStore(tmp_path / "tasks.db")) as engine:
        with pytest.raises(InvalidInput, match="limit"):
            await engine.page(TaskQuery(limit=limit))
        assert (await engine.page(TaskQuery(limit=0))).total == 0


@pytest.mark.parametrize(
    "cursor",
    [
        (float("nan"), "t"),
        (float("inf"), "t"),
        (10**400, "t"),
        (1.0, "\ud800"),
        ("1", "t"),
        (1.0,),
        "t",
        (1.0, 2),
    ],
)
async def test_a_cursor_that_no_page_gave_is_refused(cursor: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """It is the caller's fault, and the store is not asked.  Source: T9."""
    async with Engine(asks, store=SqliteStore(tmp_path / "tasks.db")) as engine:
        with pytest.raises(InvalidInput, match="cursor"):
            await engine.page(TaskQuery(owner=OWNER, cursor=cursor))


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"over", "decide"}))
@pytest.mark.parametrize("owner", [OWNER, None])
async def test_a_task_is_there_for_its_owner_and_for_a_trusted_caller(
    name: str, owner: str | None
) -> None:
    """None is whoever the adapter trusts.  Source: I26."""
    async with opened(asks) as world:
        handle, _ = await world.asking()
        await soon(CALLS[name](world.engine, handle.task_id, owner))


async def test_a_page_shows_the_tasks_of_an_owner() -> None:
    """Newest change first, and how many there are in all."""
    async with opened(asks) as world:
        mine = [await world.submit() for _ in range(3)]
        await world.engine.submit("x", owner=STRANGER)
        for handle in mine:
            await handle.rest()
            await world.elapse(1)
        page = await world.engine.page(TaskQuery(owner=OWNER, limit=2))
        assert page.total == 3
        assert all(record.owner == OWNER for record in page.records)
        rest = await world.engine.page(TaskQuery(owner=OWNER, limit=2, cursor=page.next_cursor))
        shown = [record.task_id for record in [*page.records, *rest.records]]
        assert sorted(shown) == sorted(handle.task_id for handle in mine)


# --- bounds ------------------------------------------------------------------------------------


async def test_the_queue_is_bounded() -> None:
    """A refused submission is no task.  Source: I39, R-ENG-08."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1, queued_tasks_max=1)) as world:
        first, _ = await world.submit(), await world.submit()
        with pytest.raises(LimitReached) as caught:
            await world.submit()
        assert caught.value.limit == "queued_tasks_max"
        assert caught.value.retry_after_s
        assert (await world.engine.page(TaskQuery())).total == 2
        slow.go_on.set()
        await first.over()
        await world.submit()


async def test_an_owner_has_so_many_open_tasks_and_more_when_some_are_over() -> None:
    """Also after a restart: the store counts them.  Source: I39, R-ENG-09."""
    store = FlakyStore()
    limits = Limits(open_tasks_per_owner_max=2)
    async with opened(asks, store=store, limits=limits) as world:
        handles = [await world.submit() for _ in range(2)]
        with pytest.raises(LimitReached) as caught:
            await world.submit()
        assert caught.value.limit == "open_tasks_per_owner_max"
        await world.engine.submit("x", owner=STRANGER)
    async with opened(asks, store=store, limits=limits) as world:
        with pytest.raises(LimitReached):
            await world.submit()
        await world.handle(handles[0]).cancel()
        await world.handle(handles[0]).over()
        await world.submit()
        with pytest.raises(LimitReached):
            await world.submit()


async def test_two_first_submissions_at_once_are_counted_as_two() -> None:
    """The store was asked twice how many there are."""
    async with opened(asks, limits=Limits(open_tasks_per_owner_max=1)) as world:
        gates = [world.store.hold("open_tasks") for _ in range(2)]
        submitting = [asyncio.ensure_future(world.submit()) for _ in range(2)]
        for gate in gates:
            await gate.reached()
            gate.open()
        outcomes = await soon(asyncio.gather(*submitting, return_exceptions=True))
        assert sum(isinstance(outcome, LimitReached) for outcome in outcomes) == 1


async def test_a_task_that_is_hammered_refuses_at_once() -> None:
    """And handles what it took.  Source: DESIGN 3, bounds."""
    async with opened(asks, limits=Limits(inbox_max=2)) as world:
        handle, ask = await world.asking()
        gate = world.store.hold("commit")
        first = asyncio.ensure_future(handle.answer(ask.key, "Rome"))
        await gate.reached()
        more = [asyncio.ensure_future(handle.answer(ask.key, "x")) for _ in range(3)]
        await pause()
        assert [answering.done() for answering in more] == [False, False, True]
        with pytest.raises(LimitReached) as caught:
            await more[2]
        assert caught.value.limit == "inbox_max"
        gate.open()
        await soon(first)
        await soon(asyncio.wait(more))
        assert await handle.result() == "Rome"


async def test_a_task_has_so_many_watchers() -> None:
    """Whoever leaves makes room.  Source: T24, R-ENG-10."""
    async with opened(asks, limits=Limits(subscribers_max=2)) as world:
        handle, _ = await world.asking()
        streams = [handle.events() for _ in range(3)]
        for stream in streams[:2]:
            await anext(stream)
        with pytest.raises(LimitReached) as caught:
            await anext(streams[2])
        assert caught.value.limit == "subscribers_max"
        await closed(streams[0])
        fourth = handle.events()
        assert (await anext(fourth)).seq == 1
        for stream in (streams[1], fourth):
            await closed(stream)


async def test_those_who_only_wait_for_an_end_take_no_place_of_a_watcher() -> None:
    """Nor does whoever answers meanwhile.  Source: T24."""
    async with opened(asks, limits=Limits(subscribers_max=1)) as world:
        handle, ask = await world.asking()
        waiting = [asyncio.ensure_future(handle.over()) for _ in range(3)]
        await pause()
        stream = handle.events()
        assert (await anext(stream)).seq == 1
        with pytest.raises(LimitReached):
            await anext(handle.events())
        await closed(stream)
        await handle.answer(ask.key, "Rome")
        await soon(asyncio.wait(waiting))


@pytest.mark.parametrize("after", [-1, "1", None, 1.5, 2**31, 10**30])
async def test_a_place_in_the_log_is_a_number_from_zero(after: Any) -> None:  # noqa: ANN401
    """From the end of the log is no place: it moves."""
    async with opened(asks) as world:
        handle, _ = await world.asking()
        with pytest.raises(InvalidInput, match="0 to 2147483647 is accepted"):
            await anext(handle.events(after))
        with pytest.raises(InvalidInput, match="0 to 2147483647 is accepted"):
            await world.engine.events(handle.task_id, owner=OWNER, after=after)


async def closed(stream: AsyncIterator[Event]) -> None:
    """Stop reading a stream."""
    await stream.aclose()  # type: ignore[attr-defined]


# --- watching ----------------------------------------------------------------------------------


async def chatty(task: TaskContext) -> str:
    """Show something, ask, show something more."""
    await task.emit("a")
    city = await task.ask("Which city?")
    await task.emit("b")
    await task.progress("done")
    return city


TOLD = ["submit", "start", "emit", "ask", "provide_input", "emit", "progress", "complete"]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("after", range(len(TOLD) + 3))
async def test_a_watcher_sees_every_event_after_its_place_once(
    after: int, resident: object
) -> None:
    """Those that are there and those that come, in order.  Source: I24, I33, R-ENG-12."""
    store = FlakyStore()
    async with opened(chatty, store=store) as world:
        handle, ask = await world.asking()
        if resident:
            live = asyncio.ensure_future(collected(handle, after))
            await pause()
            await handle.answer(ask.key, "Rome")
            assert await soon(live) == list(range(after + 1, len(TOLD) + 1))
            return
    async with opened(chatty, store=store) as world:
        handle = world.handle(handle)
        live = asyncio.ensure_future(collected(handle, after))
        await pause()
        await handle.answer(ask.key, "Rome")
        assert await soon(live) == list(range(after + 1, len(TOLD) + 1))
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        assert await soon(collected(handle, after)) == list(range(after + 1, len(TOLD) + 1))


async def collected(handle: TaskHandle, after: int) -> list[int]:
    """The numbers of the events of a stream."""
    return [event.seq async for event in handle.events(after)]


@pytest.mark.parametrize("begins", range(1, len(TOLD) + 1))
async def test_a_watcher_that_begins_at_any_moment_misses_nothing(begins: int) -> None:
    """Between any two commits; a slow one is as good as a quick one.  Source: I24."""
    async with opened(chatty) as world:
        # The first commit has two of them.
        gates = [world.store.hold("commit") for _ in TOLD[1:]]
        submitting = asyncio.ensure_future(world.submit())
        watching: list[asyncio.Task[list[int]]] = []
        for n, gate in enumerate(gates, start=2):
            if TOLD[n - 1] == "provide_input":
                handle = await soon(submitting)
                answering = asyncio.ensure_future(handle.answer("ask-1", "Rome"))
                await gate.reached()
                if n == begins:
                    watching.append(asyncio.ensure_future(collected(handle, 0)))
                    await pause()
                gate.open()
                await soon(answering)
                continue
            await gate.reached()
            if n == begins and n > 2:
                handle = await soon(submitting)
                watching.append(asyncio.ensure_future(collected(handle, 0)))
                await pause()
            gate.open()
        if not watching:
            watching.append(asyncio.ensure_future(collected(await soon(submitting), 0)))
        assert await soon(watching[0]) == list(range(1, len(TOLD) + 1))


async def test_a_slow_watcher_holds_up_nobody_and_loses_nothing() -> None:
    """Nor does one that goes away.  Source: T23, R-ENG-12."""
    async with opened(chatty) as world:
        handle, ask = await world.asking()
        slow, gone, quick = handle.events(), handle.events(), handle.events()
        assert [(await anext(stream)).seq for stream in (slow, gone, quick)] == [1, 1, 1]
        waiting = asyncio.ensure_future(anext(gone))
        rest = asyncio.ensure_future(numbers(quick))
        await pause()
        waiting.cancel()
        await asyncio.wait([waiting])
        await closed(gone)
        await handle.answer(ask.key, "Rome")
        assert await soon(rest) == list(range(2, len(TOLD) + 1))
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        assert await soon(numbers(slow)) == list(range(2, len(TOLD) + 1))
        await pause()
        assert world.engine.statistics().live == 0


async def numbers(stream: AsyncIterator[Event]) -> list[int]:
    """The numbers of the events that are left in a stream."""
    return [event.seq async for event in stream]


async def test_a_watcher_is_not_shown_the_end_of_the_book_keeping() -> None:
    """Even if it has seen the outcome already."""
    async with opened(ends) as world:
        handle = await world.submit()
        await handle.over()
        for _ in range(2):
            assert await soon(collected(handle, 3)) == []
            assert await soon(collected(handle, 99)) == []
            await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
            await pause()


async def test_a_very_long_log_is_read_from_the_store() -> None:
    """By pages; it is too long to be kept at hand."""
    count = EVENTS_KEPT_MAX + EVENTS_PAGE

    async def agent(task: TaskContext) -> str:
        for n in range(count):
            await task.progress(str(n))
        city = await task.ask("Which city?")
        await task.progress("more")
        return city

    async with opened(agent, limits=Limits(log_events_max=100_000)) as world:
        handle = await world.submit()
        early = asyncio.ensure_future(collected(handle, 0))
        ask = (await handle.rest()).asks[0]
        late = asyncio.ensure_future(collected(handle, 0))
        await pause()
        view = await world.engine.view(handle.task_id, owner=OWNER)
        assert len(view.events) == view.record.seq == count + 3
        assert len(await world.engine.events(handle.task_id, owner=OWNER, after=10)) == count - 7
        await handle.answer(ask.key, "Rome")
        expected = list(range(1, count + 7))
        assert await soon(early) == expected
        assert await soon(late) == expected
        assert await handle.result() == "Rome"


async def test_a_stream_ends_when_the_engine_closes() -> None:
    """Quietly: its reader goes on elsewhere, or later.  Source: DESIGN 3, shutdown."""
    async with opened(asks) as world:
        handle, _ = await world.asking()
        watching = asyncio.ensure_future(log_of(handle))
        resting = asyncio.ensure_future(handle.over())
        await pause()
        await world.engine.drain()
        assert triggers(await soon(watching)) == ["submit", "start", "ask"]
        with pytest.raises(NotAccepting):
            await soon(resting)


@pytest.mark.parametrize("reads", [True, False])
async def test_the_stream_of_a_slow_watcher_ends_when_the_engine_closes(*, reads: bool) -> None:
    """Before it reads on from a store that is closed, and while it does."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, ask = await world.asking()
    async with opened(asks, store=store) as world:
        handle = world.handle(handle)
        stream = handle.events()
        await anext(stream)
        await handle.answer(ask.key, "Rome")
        await handle.over()
        gate = store.hold("events") if reads else None
        store.fail("events")
        watching = asyncio.ensure_future(collected_from(stream)) if gate else None
        if gate:
            await gate.reached()
        await world.engine.drain()
        if gate:
            gate.open()
        assert await soon(watching or collected_from(stream)) == ["start", "ask"]


async def collected_from(stream: AsyncIterator[Event]) -> list[str]:
    """What the rest of a stream tells."""
    return triggers([event async for event in stream])


async def test_a_watcher_is_shown_nothing_before_it_can_be_replied_to() -> None:
    """A reply to what the store has already, and the task has not, would be refused."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, ask = await world.asking()
    async with opened(asks, store=store) as world:
        handle = world.handle(handle)
        gate = store.hold("commit, after")
        answering = asyncio.ensure_future(handle.answer(ask.key, "Rome"))
        await gate.reached()
        stream = handle.events()
        shown = [(await soon(anext(stream))).trigger for _ in range(3)]
        assert shown == [Trigger.SUBMIT, Trigger.START, Trigger.ASK]
        coming = asyncio.ensure_future(anext(stream))
        await pause()
        early = coming.done()
        gate.open()
        await soon(answering)
        assert not early
        assert (await soon(coming)).trigger is Trigger.PROVIDE_INPUT


async def test_a_watcher_hears_of_a_store_that_fails_while_the_engine_is_open() -> None:
    """Then the stream has not ended: it broke."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, _ = await world.asking()
    async with opened(asks, store=store) as world:
        store.fail("events")
        with pytest.raises(StoreError):
            await anext(world.handle(handle).events())


async def test_a_task_is_found_again_after_a_restart() -> None:
    """Its handle does all that the first one did."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        first, ask = await world.asking()
    async with opened(asks, store=store) as world:
        handle = await world.engine.task(first.task_id, owner=OWNER)
        assert (handle.task_id, handle.created) == (first.task_id, False)
        assert handle.record.phase is Phase.WAITING_INPUT
        await handle.answer(ask.key, "Rome")
        assert await soon(handle.result()) == "Rome"


async def test_a_stream_ends_when_the_engine_is_closed_and_opened_again() -> None:
    """It belongs to the engine that was; nobody would wake it any more."""
    async with opened(asks) as world:
        handle, _ = await world.asking()
        watching = asyncio.ensure_future(log_of(handle))
        resting = asyncio.ensure_future(handle.over())
        await pause()
        await world.engine.drain()
        await world.engine.start()
        assert triggers(await soon(watching)) == ["submit", "start", "ask"]
        with pytest.raises(NotAccepting):
            await soon(resting)


async def test_a_view_is_of_one_commit() -> None:
    """The record is the fold of just these events.  Source: I20."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, ask = await world.asking()
        view = await world.engine.view(handle.task_id, owner=OWNER)
        assert [event.seq for event in view.events] == [1, 2, 3]
        assert view.record == world.stored(handle)
        assert await world.engine.rest(handle.task_id, owner=OWNER) == view
        assert await world.engine.events(handle.task_id, owner=OWNER, after=2) == [view.events[2]]
    async with opened(asks, store=store) as world:
        gate = store.hold("events")
        viewing = asyncio.ensure_future(world.engine.view(handle.task_id, owner=OWNER))
        await gate.reached()
        await world.handle(handle).answer(ask.key, "Rome")
        await world.handle(handle).over()
        gate.open()
        old = await soon(viewing)
        assert (len(old.events), old.record.seq) == (3, 3)
        assert await world.engine.rest(handle.task_id, owner=OWNER) == await world.engine.over(
            handle.task_id, owner=OWNER
        )


async def test_a_task_that_vanishes_while_it_is_looked_at_is_unknown() -> None:
    """Somebody cleaned the store."""
    async with opened(ends) as world:
        handle = await world.submit()
        await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        await pause()
        world.grows_cold()
        gate = world.store.hold("get, after")
        viewing = asyncio.ensure_future(world.engine.view(handle.task_id, owner=OWNER))
        await gate.reached()
        world.store._tasks.clear()
        gate.open()
        with pytest.raises(UnknownTask):
            await soon(viewing)


# --- durable watches ---------------------------------------------------------------------------


@dataclass(eq=False)
class Receiver:
    """A deliverer that keeps what it is given, and fails as it is told to."""

    failures: list[Exception] = field(default_factory=list[Exception])
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    got: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `Deliverer.deliver`."""
        assert view.record.task_id == watch.task_id
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.got += [(watch.watch_id, event.trigger.value) for event in events]


def told(receiver: Receiver, watch_id: str) -> list[str]:
    """What came to one watch."""
    return [trigger for known, trigger in receiver.got if known == watch_id]


async def test_a_task_is_finalized_when_everything_is_delivered() -> None:
    """Not before; its outcome is shown meanwhile.  Source: I21, I30."""
    receiver = Receiver(failures=[DeliveryFailed("busy")])
    async with opened(ends, deliverers={"hook": receiver}) as world:
        handle = await world.engine.submit(
            "x", owner=OWNER, watches=[NewWatch("w", "hook", {"url": "u"})]
        )
        assert (await handle.over()).phase is Phase.COMPLETED
        receiver.gate.set()
        await pause()
        assert world.stored(handle).phase is Phase.COMPLETED
        await world.elapse(10)
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        assert told(receiver, "w") == ["submit", "start", "complete"]
        await pause()
        assert world.engine.statistics().live == 0


async def test_what_is_owed_is_delivered_after_a_restart() -> None:
    """The cursor is in the store."""
    receiver = Receiver()
    store = FlakyStore()
    watches = [NewWatch("w", "hook", {})]
    async with opened(asks, store=store, deliverers={"hook": receiver}) as world:
        handle = await world.engine.submit("x", owner=OWNER, watches=watches)
        await handle.rest()
        receiver.gate.set()
        await until(lambda: told(receiver, "w") == ["submit", "start", "ask"])
    async with opened(asks, store=store, deliverers={"hook": receiver}) as world:
        await world.handle(handle).answer("ask-1", "x")
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        assert told(receiver, "w")[3:] == ["provide_input", "complete"]


async def test_a_watch_is_added_for_what_happens_from_now_on_and_dropped() -> None:
    """Also on a task to which nothing is happening."""
    receiver = Receiver()
    receiver.gate.set()
    store = FlakyStore()
    async with opened(asks, store=store, deliverers={"hook": receiver}) as world:
        resident, _ = await world.asking()
    async with opened(asks, store=store, deliverers={"hook": receiver}) as world:
        parked = world.handle(resident)
        resident, _ = await world.asking()
        for handle in (parked, resident):
            for watch_id in ("a", "b"):
                watch = NewWatch(watch_id, "hook", {"n": 1})
                added = await world.engine.add_watch(handle.task_id, watch, owner=OWNER)
                assert (added.cursor, added.config) == (3, {"n": 1})
            assert await world.engine.drop_watch(handle.task_id, "b", owner=OWNER)
            assert not await world.engine.drop_watch(handle.task_id, "b", owner=OWNER)
            watches = await world.engine.watches(handle.task_id, owner=OWNER)
            assert [watch.watch_id for watch in watches] == ["a"]
            await handle.answer("ask-1", "x")
            await until(lambda h=handle: world.stored(h).phase is Phase.FINALIZED)  # type: ignore[misc]
        assert told(receiver, "a") == ["provide_input", "complete"] * 2
        assert told(receiver, "b") == []


class DawdlingStore(FlakyStore):
    """Lets everybody else go first once it has read what watches there are."""

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        found = await super().watches(task_id)
        await pause()
        return found


@pytest.mark.parametrize("parked", [False, True])
async def test_watches_that_come_at_once_share_the_room_of_a_task(*, parked: bool) -> None:
    """Counting and adding are one step; one that is there may be replaced when it is full."""
    store = DawdlingStore()
    async with opened(asks, store=store) as world:
        handle, _ = await world.asking()
        if not parked:
            await shared_the_room(world, handle)
    if parked:
        async with opened(asks, store=store) as world:
            await shared_the_room(world, world.handle(handle))


async def shared_the_room(world: World, handle: TaskHandle) -> None:
    """Add more watches than a task may have, all at once and then one more."""
    engine = world.engine
    live = engine.statistics().live

    async def add(watch_id: str) -> None:
        watch = NewWatch(watch_id, "hook", {})
        await engine.add_watch(handle.task_id, watch, owner=OWNER, watches_max=2)

    adding = (add(watch_id) for watch_id in "aabbcd")
    outcomes = await soon(asyncio.gather(*adding, return_exceptions=True))
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 4 + [LimitReached] * 2
    assert [watch.watch_id for watch in await world.store.watches(handle.task_id)] == ["a", "b"]
    await add("a")
    with pytest.raises(LimitReached, match="watches_max is 2"):
        await add("e")
    assert await engine.drop_watch(handle.task_id, "a", owner=OWNER)
    await add("e")
    assert engine.statistics().live == live, "nothing is kept at hand for it"


async def test_who_serves_which_channel_can_be_read_and_not_changed() -> None:
    """An adapter that offers a channel can see whether anybody serves it."""
    receiver = Receiver()
    given = {"hook": receiver}
    engine = Engine(asks, store="memory:", deliverers=given)
    given.clear()
    assert dict(engine.deliverers) == {"hook": receiver}
    with pytest.raises(TypeError):
        engine.deliverers["other"] = receiver  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    assert dict(Engine(asks, store="memory:").deliverers) == {}


async def test_a_watch_that_cannot_be_served_does_not_keep_a_task_for_ever() -> None:
    """It is given up, and says why."""
    async with opened(ends) as world:
        handle = await world.engine.submit(
            "x", owner=OWNER, watches=[NewWatch("w", "no such channel", {})]
        )
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        watch = (await world.engine.watches(handle.task_id, owner=OWNER))[0]
        assert watch.given_up is not None


async def test_a_finalisation_that_cannot_read_its_task_comes_later() -> None:
    """The store failed just when everything was delivered."""
    receiver = Receiver()
    async with opened(ends, deliverers={"hook": receiver}) as world:
        watches = [NewWatch("w", "hook", {})]
        handle = await world.engine.submit("x", owner=OWNER, watches=watches)
        await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        world.store.fail("get", *(StoreError("the disk is on fire") for _ in range(2)))
        receiver.gate.set()
        await pause()
        assert world.stored(handle).phase is Phase.COMPLETED
        for _ in range(10):
            await world.elapse(1)
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
