"""Every defect of agent-runtime-sdk 0.1.0, and that it is none here: answers and messages.

Source: facts/agent-runtime-sdk.md §4, by its numbers; see `test_peer_defects.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import pytest

from a2a_faces import SETTINGS, Faces, faced
from interlock import JsonObject, Limits, Policies, Policy, TaskContext, Toolbox
from interlock_adapters.vocabulary import ENGLISH_AND_CHINESE
from legacy_peer import (
    FILE,
    Json,
    LegacyPeer,
    asks_of,
    decision,
    error_of,
    part_of,
    result_of,
    state_of,
)
from support import pause, soon, until

NOT_WANTED: Final = -32004
INVALID: Final = -32602


class Till:
    """Takes money, and remembers what."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.begun = 0
        self.go = asyncio.Event()

    async def pay(self, euro: int) -> str:
        """Pay."""
        self.paid.append(euro)
        return f"paid {euro}"


@pytest.fixture
async def till() -> Till:
    """An empty one."""
    return Till()


async def ask_then_pay(task: TaskContext) -> JsonObject:
    """Ask, and use a tool that wants confirmation."""
    name: str = await task.ask("Go on?")
    return {"name": name, "paid": (await task.call_tool("pay", {"euro": 5})).text}


async def two_questions(task: TaskContext) -> JsonObject:
    """Ask twice in one step."""
    name, many = await asyncio.gather(
        task.ask("Your name?", key="name"), task.ask("How many?", int, key="many")
    )
    return {"name": name, "many": many}


async def a_question_and_a_payment(task: TaskContext) -> JsonObject:
    """Ask and use a tool in one step."""
    name, paid = await asyncio.gather(
        task.ask("Your name?", key="name"), task.call_tool("pay", {"euro": 5})
    )
    return {"name": name, "paid": paid.text}


async def leave(task: TaskContext) -> JsonObject:
    """Ask for leave, and say what for it was given."""
    return await task.authorize("travel", {"to": "Oslo"})


async def question(task: TaskContext) -> str:
    """Ask."""
    city: str = await task.ask("Which city?")
    return city


async def payment(task: TaskContext) -> str:
    """Use a tool that wants confirmation."""
    return (await task.call_tool("pay", {"euro": 5})).text


STEPS: Final[dict[str, Callable[[TaskContext], Awaitable[object]]]] = {
    "ask, then pay": ask_then_pay,
    "two questions": two_questions,
    "a question and a payment": a_question_and_a_payment,
    "leave": leave,
    "ask": question,
    "pay": payment,
}


@pytest.fixture
async def faces(till: Till) -> AsyncGenerator[Faces]:
    """The agent, with a tool that wants confirmation, also by a word."""

    async def agent(task: TaskContext) -> object:
        if task.input.text in STEPS:
            return await STEPS[task.input.text](task)
        till.begun += 1
        await till.go.wait()
        await task.emit("a page", artifact_id="page")
        return "done"

    policies = Policies({"pay": Policy(confirm="always", by_text=True)})
    settings = SETTINGS.model_copy(update={"vocabulary": ENGLISH_AND_CHINESE})
    tools = Toolbox([till.pay], policies=policies)
    limits = Limits(park_after_s=0.0)
    async with faced(agent, settings=settings, tools=tools, limits=limits) as opened:
        yield opened


async def test_b04_a_repeated_answer_does_not_approve_what_comes_next(
    faces: Faces, till: Till
) -> None:
    """There: "yes" to a question, sent again, is leave for the tool; here even with words."""
    ada = LegacyPeer(faces)
    task = await ada.send("ask, then pay")
    waiting = await ada.send("yes", task=task["id"], message_id="answer")
    assert state_of(waiting) == "auth-required"
    for _ in range(3):
        assert await ada.send("yes", task=task["id"], message_id="answer") == waiting
    assert till.paid == []
    done = await ada.send(decision(asks_of(waiting)[0]), task=task["id"])
    assert result_of(done) == [{"name": "yes", "paid": "paid 5"}]


async def test_b05a_each_of_two_questions_gets_its_own_answer(faces: Faces) -> None:
    """There: the first is asked twice, and one answer is lost."""
    ada = LegacyPeer(faces)
    task = await ada.send("two questions")
    await pause()
    task = await ada.get(task["id"])
    assert [ask["ask"] for ask in asks_of(task)] == ["name", "many"]
    task = await ada.send({"ask": "many", "value": 42}, task=task["id"])
    assert [ask["ask"] for ask in asks_of(task)] == ["name"]
    done = await ada.send("BOB", task=task["id"])
    assert result_of(done) == [{"name": "BOB", "many": 42}]


@pytest.mark.parametrize("first", ["name", "pay"])
async def test_b05b_an_answer_beside_a_confirmation_is_not_lost(
    faces: Faces, till: Till, first: str
) -> None:
    """There: 10 of 10 are; here in either order."""
    ada = LegacyPeer(faces)
    task = await ada.send("a question and a payment")
    await pause()
    task = await ada.get(task["id"])
    asked = {ask["kind"]: ask for ask in asks_of(task)}
    answers = [{"ask": "name", "value": "BOB"}, decision(asked["auth"])]
    for answer in answers if first == "name" else reversed(answers):
        task = await ada.send(answer, task=task["id"])
    assert result_of(task) == [{"name": "BOB", "paid": "paid 5"}]
    assert till.paid == [5]


async def test_b05c_who_asked_for_leave_is_told_for_what_it_got_it(faces: Faces) -> None:
    """There: an empty text."""
    ada = LegacyPeer(faces)
    task = await ada.send("leave")
    done = await ada.send(decision(asks_of(task)[0]), task=task["id"])
    assert result_of(done) == [{"to": "Oslo"}]


async def _answered_at_once(ada: LegacyPeer, what: str, answer: object) -> Json:
    """Answer on the first sight of the ask, while the stream that showed it is still open."""
    async with ada.stream(what) as shown:
        async for update in shown:
            if update.get("status", {}).get("state") in {"input-required", "auth-required"}:
                said = decision(asks_of(update)[0]) if answer is None else answer
                return await ada.sent(said, task=update.get("taskId") or update["id"])
    raise AssertionError("it never asked")


@pytest.mark.parametrize("what", ["ask", "pay"])
async def test_b08_a_quick_answer_is_taken(faces: Faces, what: str) -> None:
    """There: an internal error while the task goes on, once in five.  Source: R-A2A-23."""
    ada = LegacyPeer(faces)
    wanted = {"ask": (["Oslo"], "Oslo"), "pay": (["paid 5"], None)}
    for _ in range(10):
        response = await soon(_answered_at_once(ada, what, wanted[what][1]))
        assert result_of(response["result"]) == wanted[what][0]


async def test_b09_of_two_answers_at_once_one_is_taken_and_the_other_is_told(
    faces: Faces,
) -> None:
    """There: the loser gets an internal error."""
    ada = LegacyPeer(faces)
    task = await ada.send("ask")
    responses = await asyncio.gather(
        *(ada.sent(city, task=task["id"]) for city in ("Oslo", "Rome"))
    )
    (taken,) = [one for one in responses if "result" in one]
    (refused,) = [one for one in responses if "error" in one]
    assert result_of(taken["result"])[0] in {"Oslo", "Rome"}
    assert error_of(refused)["code"] in {NOT_WANTED, INVALID}
    assert result_of(await ada.get(task["id"])) == result_of(taken["result"])


@pytest.mark.parametrize("first", ["approve", "deny"])
async def test_b09_of_yes_and_no_at_once_the_first_one_counts(
    faces: Faces, till: Till, first: str
) -> None:
    """There: yes, always."""
    ada = LegacyPeer(faces)
    task = await ada.send("pay")
    (ask,) = asks_of(task)
    second = "deny" if first == "approve" else "approve"
    heard, refused = await asyncio.gather(
        *(ada.sent(decision(ask, one), task=task["id"]) for one in (first, second))
    )
    assert error_of(refused)["code"] in {NOT_WANTED, INVALID}
    outcome = state_of(await ada.get(task["id"]))
    assert (outcome, till.paid) == (("completed", [5]) if first == "approve" else ("canceled", []))
    assert state_of(heard["result"]) == outcome


async def test_b10_a_message_to_a_task_at_work_is_refused_and_takes_nothing_from_others(
    faces: Faces, till: Till
) -> None:
    """There: its text is dropped without a word, and it steals the first reader's events."""
    ada = LegacyPeer(faces)
    shown: list[Json] = []

    async def read() -> None:
        async with ada.stream("work") as updates:
            shown.append(await anext(updates))
            shown.extend([update async for update in updates])

    reading = asyncio.create_task(read())
    await until(lambda: till.begun == 1 and bool(shown))
    error = await ada.refusal("hurry up", task=shown[0]["id"])
    assert error["code"] == NOT_WANTED
    assert error["message"].endswith("it takes: CancelTask")
    till.go.set()
    await soon(reading)
    artifacts = [one["artifact"]["artifactId"] for one in shown if "artifact" in one]
    assert artifacts == ["page", "result"]
    assert (state_of(shown[-1]), shown[-1]["final"]) == ("completed", True)


@pytest.mark.parametrize("what", ["ask", "pay"])
async def test_b11_a_message_that_says_nothing_leaves_the_task_waiting(
    faces: Faces, till: Till, what: str
) -> None:
    """There: a file makes "working" of it for ever, and {} answers with an empty text."""
    ada = LegacyPeer(faces)
    task = await ada.send(what)
    for parts in ([FILE], [part_of({})]):
        error = await ada.refusal(task=task["id"], parts=parts)
        assert error["code"] == INVALID
    assert await ada.get(task["id"]) == task
    answer = "Oslo" if what == "ask" else decision(asks_of(task)[0])
    assert state_of(await ada.send(answer, task=task["id"])) == "completed"
    assert till.paid == ([] if what == "ask" else [5])


@pytest.mark.parametrize("late_by", range(6))
async def test_b14_messages_while_a_task_ends_do_not_change_how_it_ended(
    faces: Faces, till: Till, late_by: int
) -> None:
    """There: "completed" is overwritten by "working", for ever."""
    ada = LegacyPeer(faces)
    task = await ada.send("work", blocking=False)
    await until(lambda: till.begun == 1)

    async def pester(rounds: int) -> int:
        await pause(rounds)
        return int(error_of(await ada.sent("more", task=task["id"]))["code"])

    till.go.set()
    refused = await asyncio.gather(*(pester(3 * late_by + more) for more in range(4)))
    assert set(refused) == {NOT_WANTED}
    await pause()
    done = await ada.get(task["id"])
    assert result_of(done) == ["done"]
    assert await ada.get(task["id"]) == done
