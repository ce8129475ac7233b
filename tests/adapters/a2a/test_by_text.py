"""Decisions by a word: where the deployment and the policy want it, and nowhere else."""

from collections.abc import AsyncGenerator
from typing import Final

import pytest
from a2a.types import InvalidParamsError, TaskState

from a2a_faces import BINDINGS, FACES, SETTINGS, Faces, asks_of, data, faced, message, refused
from interlock import Policies, Policy, TaskContext, Toolbox, ToolCall
from interlock.errors import EngineError
from interlock_adapters.vocabulary import ENGLISH_AND_CHINESE

WORDS: Final = SETTINGS.model_copy(update={"vocabulary": ENGLISH_AND_CHINESE})
POLICIES: Final = {
    "pay": Policy(confirm="always", by_text=True, on_deny="tell_agent"),
    "travel": Policy(confirm="always", approvers=("grace",), by_text=True),
    "erase": Policy(confirm="always"),
}


class Done:
    """What was done."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def pay(self) -> str:
        """Pay."""
        self.names.append("pay")
        return "paid"

    async def travel(self) -> str:
        """Travel."""
        self.names.append("travel")
        return "travelled"

    async def erase(self) -> str:
        """Erase."""
        self.names.append("erase")
        return "erased"


@pytest.fixture
async def done() -> Done:
    """Nothing yet."""
    return Done()


@pytest.fixture
async def faces(done: Done) -> AsyncGenerator[Faces]:
    """An agent that calls the tools it is told, at once."""

    async def agent(task: TaskContext) -> str:
        came = await task.call_tools([ToolCall(name) for name in task.input.text.split()])
        return ", ".join(one.code if isinstance(one, EngineError) else one.text for one in came)

    tools = Toolbox([done.pay, done.travel, done.erase], policies=Policies(POLICIES))
    async with faced(agent, tools=tools, settings=WORDS) as opened:
        yield opened


@pytest.mark.parametrize(("binding", "version"), FACES)
@pytest.mark.parametrize(
    ("text", "came"), [("Yes", "paid"), (" 同意\n", "paid"), ("no", "denied"), ("不行", "denied")]
)
async def test_a_word_decides(
    faces: Faces, done: Done, binding: str, version: str, text: str, came: str
) -> None:
    """Over every binding, and the log has the digest that was decided.  Source: R-A2A-05."""
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("pay"))
    (ask,) = asks_of(task)
    ended = await ada.send(message(text, task=task))
    assert ended.artifacts[0].parts[0].text == came
    assert done.names == (["pay"] if came == "paid" else [])
    (decided,) = [
        event
        for event in faces.world.store._tasks[task.id].events
        if event.trigger in {"approve", "deny"}
    ]
    assert (decided.data["digest"], decided.actor) == (ask["digest"], "ada")
    assert decided.data["message"] == [{"text": text}]


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("text", ["sure", "yes, but cheaper", "stop", "no, wait", "", "好"])
async def test_a_text_that_is_no_word_is_told_so_and_the_wait_goes_on(
    faces: Faces, done: Done, binding: str, text: str
) -> None:
    """With the typed form and the words that would be taken."""
    ada = faces.peer(binding)
    task = await ada.send(message("pay"))
    (ask,) = asks_of(task)
    told = await refused(faces, ada.send(message(text, task=task)), InvalidParamsError)
    assert "the text is neither yes nor no" in told
    assert f'"digest": "{ask["digest"]}"' in told
    assert "同意" in told
    assert await ada.get(task.id) == task
    assert done.names == []
    ended = await ada.send(message("ok", task=task))
    assert ended.status.state == TaskState.TASK_STATE_COMPLETED


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ("erase", "a text decides nothing"),  # Its policy does not say by_text.
        ("pay erase", "a text decides nothing"),
        ("pay pay", "a text decides nothing"),  # Which of the two?
        ("travel", "its approvers are others"),  # Another's decision, by a word as by a form.
    ],
)
async def test_a_word_decides_nothing_that_a_form_could_not_or_that_is_not_clear(
    faces: Faces, done: Done, tools: str, why: str
) -> None:
    """Nothing changed, and nothing ran."""
    ada = faces.peer(BINDINGS[0])
    task = await ada.send(message(tools))
    before = await ada.get(task.id)
    with pytest.raises(Exception, match=why):
        await ada.send(message("yes", task=task))
    assert await ada.get(task.id) == before
    assert done.names == []


async def test_a_word_for_the_last_of_several_decides_that_one(faces: Faces, done: Done) -> None:
    """Once all others are decided by their forms, it can mean no other."""
    ada = faces.peer(BINDINGS[0])
    task = await ada.send(message("pay erase"))
    erase = next(ask for ask in asks_of(await ada.get(task.id)) if ask["tool"] == "erase")
    decision = {"ask": erase["ask"], "digest": erase["digest"], "decision": "approve"}
    task = await ada.send(message(data(decision), task=task))
    ended = await ada.send(message("no", task=task))
    assert ended.artifacts[0].parts[0].text == "denied, erased"
    assert done.names == ["erase"]


async def test_without_a_vocabulary_no_text_ever_decides(done: Done) -> None:
    """Whatever a policy says: as it comes, there are no words.  Source: R-A2A-05."""

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("pay")).text

    tools = Toolbox([done.pay], policies=Policies({"pay": POLICIES["pay"]}))
    async with faced(agent, tools=tools) as faces:
        ada = faces.peer(BINDINGS[0])
        task = await ada.send(message("go"))
        told = await refused(faces, ada.send(message("yes", task=task)), InvalidParamsError)
        assert "a text decides nothing" in told
        assert "approved" not in told
    assert done.names == []
