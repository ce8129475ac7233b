"""What a plain function sees of its task: the same calls, each blocking its thread."""

from typing import Any

from interlock import SyncTaskContext
from interlock._phases import Trigger
from support import Stage, returned


async def test_a_plain_function_sees_the_task_that_it_is_run_for() -> None:
    """The same properties as an async agent."""

    def agent(task: SyncTaskContext) -> object:
        seen = [task.task_id, task.owner, task.context_id, task.attempt, task.deadline]
        return [*seen, task.cancelled, task.input.text, task.input.metadata]

    stage = Stage(agent)
    stage.start()
    seen = await returned(stage)
    assert seen == ["t", "ada", "c", 1, stage.record.due, False, "hello", {"lang": "en"}]


async def test_a_plain_function_asks_and_shows_with_blocking_calls() -> None:
    """With every setting that the async calls have.  Source: R-AGENT-02."""

    def agent(task: SyncTaskContext) -> object:
        task.progress("begun", 0.1)
        shown = task.emit(
            "text",
            artifact_id="mine",
            name="n",
            description="d",
            metadata={"m": 1},
            append=True,
            last_chunk=True,
        )
        count = task.ask("How many?", int, default=1, expires_s=60, approvers=["bob"], key="n")
        city = task.ask("Which?")
        approved: dict[str, Any] = task.authorize(
            "pay",
            {"n": count},
            prompt="Pay?",
            schema={"type": "object"},
            allow_edit=True,
            on_deny="tell_agent",
            expires_s=30,
            approvers=["eve"],
            key="pay",
        )
        return [shown, count, city, approved]

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.key, ask.default, ask.approvers) == ("n", 1, ("bob",))
    assert ask.due - stage.clock.now() == 60
    stage.provide("n", 2, actor="bob")
    await stage.asked()
    stage.provide("ask-2", "Rome")
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.key, ask.prompt, ask.schema) == ("pay", "Pay?", {"type": "object"})
    assert (ask.allow_edit, ask.on_deny, ask.approvers) == (True, "tell_agent", ("eve",))
    assert ask.due - stage.clock.now() == 30
    data = {"key": "pay", "digest": ask.digest, "arguments": {"n": 3}}
    stage.tell(Trigger.APPROVE, data, actor="eve")
    assert await returned(stage) == ["mine", 2, "Rome", {"n": 3}]
    artifact = stage.log[3].data["artifact"]
    assert (artifact["name"], artifact["description"]) == ("n", "d")
    assert (artifact["append"], artifact["last_chunk"]) == (True, True)
    assert artifact["metadata"] == {"m": 1}
    assert stage.log[2].data["fraction"] == 0.1
