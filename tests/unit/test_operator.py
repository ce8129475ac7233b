"""A store that no engine has open: answers, decisions and the end of a task are kept for the next.

R-SVC-04.  Threats: T5, T9.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock import (
    Answer,
    Approval,
    Denial,
    Engine,
    JsonObject,
    Limits,
    OpenAsk,
    SqliteStore,
    Store,
    TaskContext,
    TaskRecord,
    answer_stopped,
    cancel_stopped,
    decide_stopped,
    decline_stopped,
)
from interlock._phases import Phase, Trigger
from interlock.errors import (
    AnswerInvalid,
    GuardRefused,
    IllegalTrigger,
    InvalidInput,
    TaskNotCompleted,
    UnknownTask,
)
from interlock.testing import ManualClock
from support import OWNER, drained, soon

WHO = "olga"


async def agent(task: TaskContext) -> str:
    """Ask, or ask for leave, as the request says; then say what came."""
    match task.input.text:
        case "value":
            return await task.ask("Which city?", str, approvers=["olga", "role:clerk"])
        case "declined":
            return await task.ask("Which city?", str, default="Rome")
        case _:
            schema: JsonObject = {"properties": {"n": {"type": "integer"}}}
            said = await task.authorize(
                "pay", {"n": 1}, schema=schema, allow_edit=True, on_deny="tell_agent"
            )
            return f"paid {said['n']}"


class Place:
    """A file, the clock of whoever opens it, and the one task in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.task_id = ""

    def store(self) -> SqliteStore:
        """The file, not open."""
        return SqliteStore(self.path)

    async def asks(self, text: str) -> OpenAsk:
        """An engine takes a task, which asks, and is drained."""
        engine = Engine(agent, store=self.store(), clock=self.clock, limits=Limits())
        await engine.start()
        handle = await engine.submit(text, owner=OWNER)
        self.task_id = handle.task_id
        (ask,) = (await soon(handle.rest())).asks
        await drained(engine, self.clock)
        return ask

    async def with_store(self, work: Callable[[Store], Awaitable[TaskRecord]]) -> TaskRecord:
        """Do something while the store is open, and no engine."""
        store = self.store()
        await store.open()
        try:
            return await work(store)
        finally:
            assert await store.verify() == []
            await store.close()

    async def answers(self, ask: str, value: Any, **given: Any) -> TaskRecord:  # noqa: ANN401
        """Answer it while nobody has it open."""
        how: dict[str, Any] = {"actor": WHO, "at": self.clock.now()} | given
        said = Answer(ask=ask, value=value)
        return await self.with_store(lambda s: answer_stopped(s, self.task_id, said, **how))

    async def decides(self, ask: OpenAsk, **said: Any) -> TaskRecord:  # noqa: ANN401
        """Decide it while nobody has it open."""
        digest = said.pop("digest", ask.digest)
        if said.get("decision") == "deny":
            decision: Approval | Denial = Denial(ask=ask.key, digest=digest, **said)
        else:
            decision = Approval(ask=ask.key, digest=digest, decision="approve", **said)
        return await self.with_store(
            lambda s: decide_stopped(s, self.task_id, decision, actor=WHO, at=self.clock.now())
        )

    async def cancels(self, **given: Any) -> TaskRecord:  # noqa: ANN401
        """Cancel it while nobody has it open."""
        how: dict[str, Any] = {"actor": WHO, "at": self.clock.now()} | given
        return await self.with_store(lambda s: cancel_stopped(s, self.task_id, **how))

    async def result(self) -> object:
        """What the task comes to once an engine has the store again."""
        engine = Engine(agent, store=self.store(), clock=self.clock, limits=Limits())
        await engine.start()
        try:
            handle = await engine.task(self.task_id, owner=OWNER)
            return await soon(handle.result())
        finally:
            await drained(engine, self.clock)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file that is not there yet."""
    return Place(tmp_path / "tasks.db")


async def test_the_next_engine_goes_on_with_an_answer(place: Place) -> None:
    """What was said while it was away is as good as what is said to it.  Source: R-SVC-04."""
    ask = await place.asks("value")
    record = await place.answers(ask.key, "Oslo", roles=["auditor"])
    assert record.phase is Phase.RUNNING
    assert await place.result() == "Oslo"


async def test_a_role_may_answer_as_it_may_an_engine(place: Place) -> None:
    """And nobody else.  Source: R-SVC-02, R-SVC-04, T5."""
    ask = await place.asks("value")
    tries: list[dict[str, Any]] = [
        {"actor": "eve"},
        {"actor": "role:clerk"},
        {"actor": "eve", "roles": ["x"]},
    ]
    for given in tries:
        with pytest.raises(GuardRefused, match="its approvers are others"):
            await place.answers(ask.key, "Oslo", **given)
    await place.answers(ask.key, "Oslo", actor="eve", roles=["clerk"])
    assert await place.result() == "Oslo"


async def test_what_does_not_fit_changes_nothing(place: Place) -> None:
    """The same checks as an engine makes.  Source: R-SVC-04, T9."""
    ask = await place.asks("value")
    with pytest.raises(AnswerInvalid, match="string"):
        await place.answers(ask.key, 7)
    with pytest.raises(GuardRefused, match="is not open"):
        await place.answers("ask-9", "Oslo")
    with pytest.raises(InvalidInput, match="must say who acts"):
        await place.answers(ask.key, "Oslo", actor="")
    with pytest.raises(InvalidInput, match="the engine's own"):
        await place.answers(ask.key, "Oslo", actor="interlock:operator")
    with pytest.raises(InvalidInput, match="roles is of type str"):
        await place.answers(ask.key, "Oslo", roles="clerk")
    with pytest.raises(InvalidInput, match="at most"):
        await place.answers(ask.key, "Oslo" * 9, limits=Limits(payload_bytes_max=10))
    with pytest.raises(GuardRefused, match="time for answering"):
        await place.answers(ask.key, "Oslo", at=ask.due)
    for unknown in ("0" * 32, "\ud800"):
        place.task_id, kept = unknown, place.task_id
        with pytest.raises(UnknownTask):
            await place.answers(ask.key, "Oslo")
        place.task_id = kept
    await place.answers(ask.key, "Oslo")
    with pytest.raises(IllegalTrigger):
        await place.answers(ask.key, "Rome")
    assert await place.result() == "Oslo"


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ({}, "paid 1"),
        ({"arguments": {"n": 1}}, "paid 1"),
        ({"arguments": {"n": 7}, "reason": "more"}, "paid 7"),
    ],
)
async def test_the_next_engine_goes_on_with_an_approval(
    said: dict[str, Any], result: str, place: Place
) -> None:
    """As it is, or edited.  Source: R-SVC-04."""
    ask = await place.asks("leave")
    await place.decides(ask, **said)
    assert await place.result() == result
    engine_log = await _log(place)
    (approved,) = [event for event in engine_log if event.trigger is Trigger.APPROVE]
    assert approved.data["edited"] == (said.get("arguments", {"n": 1}) != {"n": 1})
    assert approved.actor == WHO


async def _log(place: Place) -> list[Any]:
    store = place.store()
    await store.open()
    try:
        return list(await store.events(place.task_id))
    finally:
        await store.close()


async def test_the_next_engine_goes_on_with_a_denial(place: Place) -> None:
    """The agent is told, with the reason.  Source: R-SVC-04."""
    ask = await place.asks("leave")
    await place.decides(ask, decision="deny", reason="too much")
    with pytest.raises(TaskNotCompleted, match="too much"):
        await place.result()


async def test_a_decision_is_bound_to_what_was_shown(place: Place) -> None:
    """Another digest, or arguments that do not fit: nothing changed.  Source: I13, R-SVC-04."""
    ask = await place.asks("leave")
    with pytest.raises(GuardRefused, match="names digest"):
        await place.decides(ask, digest="0" * 32)
    with pytest.raises(AnswerInvalid, match="integer"):
        await place.decides(ask, arguments={"n": "7"})
    with pytest.raises(GuardRefused, match="wants a decision"):
        await place.answers(ask.key, "yes")
    await place.decides(ask)
    assert await place.result() == "paid 1"


async def test_the_next_engine_goes_on_after_no_answer(place: Place) -> None:
    """With the default, if there is one.  Source: R-SVC-04."""
    ask = await place.asks("declined")
    now = place.clock.now()
    await place.with_store(
        lambda s: decline_stopped(s, place.task_id, ask.key, actor=WHO, at=now, reason="no idea")
    )
    assert await place.result() == "Rome"


async def test_the_next_engine_ends_what_was_cancelled(place: Place) -> None:
    """A repeat changes nothing; what is over cannot be cancelled.  Source: R-SVC-04."""
    await place.asks("value")
    record = await place.cancels(reason="no need")
    assert record.phase is Phase.CANCELLING
    assert await place.cancels(reason="again") == record
    with pytest.raises(TaskNotCompleted, match="no need"):
        await place.result()
    with pytest.raises(IllegalTrigger):
        await place.cancels()
    broken_ones: list[dict[str, Any]] = [{"reason": 7}, {"actor": ""}, {"reason": "\ud800"}]
    for broken in broken_ones:
        with pytest.raises(InvalidInput):
            await place.cancels(**broken)


async def test_a_clock_that_was_set_back_does_not_set_back_the_log(place: Place) -> None:
    """The log goes forward only.  Source: I09, R-SVC-04."""
    ask = await place.asks("value")
    before = (await _log(place))[-1].at
    record = await place.answers(ask.key, "Oslo", at=before - 1_000)
    assert record.updated_at == before
