"""Every defect of agent-runtime-sdk 0.1.0, and that it is none here: cancelling and time.

Source: facts/agent-runtime-sdk.md §4, by its numbers; specs/decisions/0009 says what it does
otherwise.  All of it through the face that its clients know, A2A 0.3 over JSON-RPC.  Answers
and messages are in `test_peer_defects_answers.py`, tools in `test_peer_defects_tools.py`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from a2a_faces import Faces, faced
from interlock import Limits, TaskContext, Trigger
from legacy_peer import (
    OVER,
    Json,
    LegacyPeer,
    asks_of,
    decision,
    error_of,
    result_of,
    state_of,
    texts_of,
)
from support import FlakyStore, pause, soon, until

#: The numbers of the source, as the names of the tests have them.
DEFECTS: Final = (
    "01 01b 01c 01d 01e 02 03 04 05a 05b 05c 06 07 07b 07c 08 09 10 11 12 13 14 15 16 17 18"
)
LIMITS: Final = Limits(ask_s=60.0, run_s=30.0, task_s=1_000.0, park_after_s=5.0, grace_s=2.0)


class Diary:
    """What the agents of these tests did outside."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.begun = 0
        #: Set to let the work go on.
        self.go = asyncio.Event()

    async def pay(self, euro: int) -> None:
        """What must not happen unseen."""
        self.paid.append(euro)


@pytest.fixture
async def diary() -> Diary:
    """An empty one."""
    return Diary()


@pytest.fixture
async def faces(diary: Diary) -> AsyncGenerator[Faces]:
    """An agent that works, asks, or wants leave, as it is told."""

    async def agent(task: TaskContext) -> object:
        match task.input.text:
            case "ask":
                return await task.ask("Which city?")
            case "pay":
                await task.authorize("pay", {"euro": 5}, key="pay")
                await task.call(diary.pay, 5)
                return "paid"
            case "ask, then work":
                await task.ask("Which city?")
            case "fail":
                raise ValueError("secret of the model")
            case _:
                pass
        diary.begun += 1
        await diary.go.wait()
        return "done"

    async with faced(agent, limits=LIMITS) as opened:
        yield opened


async def working(ada: LegacyPeer, diary: Diary) -> str:
    """A task at work; its id."""
    begun = diary.begun
    task = await ada.send("work", blocking=False)
    await until(lambda: diary.begun > begun)
    return str(task["id"])


def test_every_defect_has_a_test_of_its_name() -> None:
    """A test that is renamed or lost would leave a defect without one.  Source: R-A2A-23."""
    here = Path(__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in here.glob("test_peer_defects*.py")]
    named = {name for text in texts for name in re.findall(r"def test_b(\d\d[a-e]?)_", text)}
    assert named == set(DEFECTS.split())


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("what", ["work", "ask", "pay"])
async def test_b01_a_cancel_is_answered_canceled_in_every_phase(
    faces: Faces, diary: Diary, what: str, *, parked: bool
) -> None:
    """There: never; an error for a task at work, no answer at all for one that waits.

    Source: R-A2A-10.
    """
    ada = LegacyPeer(faces)
    if what == "work":
        task_id = await working(ada, diary)
    else:
        task_id = (await ada.send(what))["id"]
    if parked:
        await faces.world.elapse(10.0)
    cancelled = await ada.cancel(task_id)
    assert state_of(cancelled) == "canceled"
    assert texts_of(cancelled) == ["The task was cancelled."]
    assert await ada.get(task_id) == cancelled
    assert diary.paid == []


async def test_b01b_who_waits_for_a_task_that_is_cancelled_is_answered(
    faces: Faces, diary: Diary
) -> None:
    """There: HTTP 500 without JSON."""
    ada = LegacyPeer(faces)
    waiting = asyncio.create_task(ada.send("work"))
    await until(lambda: diary.begun == 1)
    task_id = faces.world.store.commits[0].record.task_id
    assert not waiting.done()
    cancelled = await ada.cancel(task_id)
    assert await soon(waiting) == cancelled
    assert state_of(cancelled) == "canceled"


async def test_b01c_a_cancelled_task_leaves_nothing_behind(faces: Faces, diary: Diary) -> None:
    """There: an agent, a queue and an id for ever, for each one."""
    ada = LegacyPeer(faces)
    await ada.cancel(await working(ada, diary))
    await pause()
    before = len(asyncio.all_tasks())
    for _ in range(10):
        assert state_of(await ada.cancel(await working(ada, diary))) == "canceled"
    await pause()
    assert len(asyncio.all_tasks()) == before
    held = faces.world.engine.statistics()
    assert (held.live, held.running, held.queued, held.abandoned) == (0, 0, 0, 0)


@pytest.mark.parametrize("head_start", [-60, *range(-12, 13, 2)])
async def test_b01e_approve_and_cancel_at_once_are_both_told_the_truth(
    faces: Faces, diary: Diary, head_start: int
) -> None:
    """There: both unanswered, or the tool ran and no approver was told so."""
    ada = LegacyPeer(faces)
    task = await ada.send("pay")
    (ask,) = asks_of(task)

    async def approve() -> Json:
        await pause(max(head_start, 0))
        return await ada.sent(decision(ask), task=task["id"])

    async def cancel() -> Json:
        await pause(max(-head_start, 0))
        return await ada.call("tasks/cancel", {"id": task["id"]})

    approved, cancelled = await soon(asyncio.gather(approve(), cancel()))
    await pause()
    outcome = await ada.get(task["id"])
    assert state_of(outcome) in {"canceled", "completed"}
    if "error" in approved:
        error_of(approved)
        assert (state_of(outcome), diary.paid) == ("canceled", [])
    if "error" in cancelled:
        error_of(cancelled)
        assert (state_of(outcome), diary.paid) == ("completed", [5])
    if state_of(outcome) == "completed":
        assert result_of(outcome) == ["paid"]
    if diary.paid:
        assert "result" in approved


def test_b06_a_limit_that_is_no_number_is_refused_at_the_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There: read from the environment at each wait, so that every wait failed and leaked."""
    with pytest.raises(ValidationError):
        Limits.model_validate({"ask_s": "abc"})
    monkeypatch.setenv("MCP_AGENT_WAIT_TIMEOUT_SECONDS", "abc")
    monkeypatch.setenv("MCP_AGENT_TASK_TIMEOUT_SECONDS", "abc")
    assert Limits() == Limits(ask_s=86_400.0)


async def test_b06_an_error_while_a_task_waits_does_not_end_the_wait(
    faces: Faces,
) -> None:
    """There: any error in the driver left the worker behind for ever."""
    ada = LegacyPeer(faces)
    task = await ada.send("ask")
    faces.world.store.breaks("commit")
    answer = await ada.sent("Oslo", task=task["id"])
    assert answer["error"]["code"] == -32603
    faces.world.store.mends("commit")
    assert await ada.get(task["id"]) == task
    assert result_of(await ada.send("Oslo", task=task["id"])) == ["Oslo"]


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("what", ["ask", "pay"])
async def test_b07_a_wait_that_nobody_answers_ends_where_everybody_can_see_it(
    faces: Faces, diary: Diary, what: str, *, parked: bool
) -> None:
    """There: the task disappears, and nobody is ever told why."""
    ada = LegacyPeer(faces)
    task = await ada.send(what)
    assert state_of(task) in {"input-required", "auth-required"}
    if parked:
        await faces.world.elapse(10.0)
    await faces.world.elapse(60.0)
    ended = await ada.get(task["id"])
    assert state_of(ended) == "failed"
    assert texts_of(ended) == ["The task failed: nobody answered in time."]
    assert ended["metadata"]["interlock/code"] == "ask_expired"
    assert diary.paid == []
    assert await ada.get(task["id"]) == ended
    refused = await ada.refusal("Oslo", task=task["id"])
    assert "takes no further messages" in refused["message"]


async def test_b07b_the_time_that_people_take_is_not_the_task_s(faces: Faces) -> None:
    """There: the task's timer ran while somebody was thinking."""
    ada = LegacyPeer(faces)
    task = await ada.send("ask")
    await faces.world.elapse(59.0)  # Nearly twice what a task may run for.
    assert await ada.get(task["id"]) == task
    assert result_of(await ada.send("Oslo", task=task["id"])) == ["Oslo"]


async def test_b07b_a_deadline_after_an_answer_is_told_to_who_answered(
    faces: Faces, diary: Diary
) -> None:
    """There: the last word to the answer was "working", and then the task was gone."""
    ada = LegacyPeer(faces)
    task = await ada.send("ask, then work")
    answering = asyncio.create_task(ada.send("Oslo", task=task["id"]))
    await until(lambda: diary.begun == 1)
    await faces.world.elapse(31.0)
    ended = await soon(answering)
    assert state_of(ended) == "failed"
    assert texts_of(ended) == ["The task ran for too long."]
    assert ended["metadata"]["interlock/phase"] == "timed_out"
    assert await ada.get(task["id"]) == ended


@pytest.mark.parametrize("first", ["approval", "expiry"])
async def test_b07c_an_approval_that_races_the_deadline_ends_in_one_of_two_ways(
    faces: Faces, diary: Diary, first: str
) -> None:
    """There: "working" for ever, in the store alone."""
    store: FlakyStore = faces.world.store
    ada = LegacyPeer(faces)
    task = await ada.send("pay")
    (ask,) = asks_of(task)
    gate = store.hold("commit")
    if first == "approval":
        answering = asyncio.create_task(ada.sent(decision(ask), task=task["id"]))
        await gate.reached()
        await faces.world.elapse(61.0)
    else:
        await faces.world.elapse(61.0)
        await gate.reached()
        answering = asyncio.create_task(ada.sent(decision(ask), task=task["id"]))
        await pause()
    gate.open()
    answer = await soon(answering)
    await pause()
    ended = await ada.get(task["id"])
    if first == "approval":
        assert result_of(ended) == ["paid"]
        assert (answer["result"], diary.paid) == (ended, [5])
    else:
        assert state_of(ended) in OVER - {"completed"}
        assert (error_of(answer)["code"], diary.paid) == (-32004, [])
    held = faces.world.engine.statistics()
    assert (held.live, held.running) == (0, 0)


@pytest.mark.parametrize("how", ["fail", "deny", "cancel", "expire", "run out"])
async def test_b17_a_task_that_went_wrong_stays_readable(
    faces: Faces, diary: Diary, how: str
) -> None:
    """There: the reply says "failed", and the next look finds no task."""
    ada = LegacyPeer(faces)
    match how:
        case "fail":
            told = await ada.send("fail")
        case "deny":
            task = await ada.send("pay")
            (ask,) = asks_of(task)
            told = await ada.send(decision(ask, "deny", reason="too much"), task=task["id"])
        case "cancel":
            told = await ada.cancel((await ada.send("ask"))["id"])
        case "expire":
            task = await ada.send("ask")
            await faces.world.elapse(61.0)
            told = await ada.get(task["id"])
        case _:
            waiting = asyncio.create_task(ada.send("work"))
            await until(lambda: diary.begun == 1)
            await faces.world.elapse(31.0)
            told = await soon(waiting)
    assert state_of(told) in {"failed", "canceled"}
    assert texts_of(told) != []
    assert "secret" not in str(told)
    await faces.world.elapse(3_000.0)
    assert await ada.get(told["id"]) == told
    assert diary.paid == []
    log = faces.world.store._tasks[told["id"]].events
    assert log[-1].trigger is Trigger.FINALIZE
