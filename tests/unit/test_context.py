"""What an agent sees of its task: its calls, their bounds, and that a replay repeats nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from interlock import AskKind, Limits, TaskContext
from interlock._event import Data
from interlock._form import form_of
from interlock._json import digest
from interlock._phases import Trigger
from interlock._threaded import Returned
from interlock.errors import Denied, GuardRefused, InvalidInput, ResultInvalid
from interlock.models import JsonObject, JsonValue, Part
from support import ASKED, Stage, pause, raised, returned, until

CANARY = "sk-canary-7f3a"


class City(BaseModel):
    """A form whose type knows more than its schema."""

    name: str

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "Atlantis":
            raise ValueError("nobody knows it")
        return name


AgentBody = Callable[[TaskContext], Awaitable[Any]]


def stage_of(
    body: AgentBody,
    *,
    parts: list[JsonObject] | None = None,
    limits: Limits | None = None,
) -> Stage:
    """A stage for one turn of an async agent, begun."""
    stage = Stage(body, limits)
    if parts is not None:
        stage.turn.memory.request = {**stage.turn.memory.request, "parts": parts}
    stage.start()
    return stage


async def value_of(body: AgentBody, **options: Any) -> Any:  # noqa: ANN401  the agent's own value
    """What an agent that asks nothing returns."""
    return await returned(stage_of(body, **options))


# --- the task ------------------------------------------------------------------------------


async def test_the_input_is_what_the_task_was_submitted_with() -> None:
    """Its text parts joined, its first data part, all its parts, its metadata."""

    async def agent(task: TaskContext) -> object:
        given = task.input
        return [given.text, given.data, len(given.parts), given.metadata]

    parts: list[JsonObject] = [{"text": "a"}, {"data": None}, {"text": "b"}, {"data": 1}]
    assert await value_of(agent, parts=parts) == ["a\nb", None, 4, {"lang": "en"}]
    assert await value_of(agent, parts=[{"url": "https://x"}]) == ["", None, 1, {"lang": "en"}]
    assert await value_of(agent, parts=[{"data": {"n": 1}}]) == ["", {"n": 1}, 1, {"lang": "en"}]


async def test_what_an_agent_does_to_its_input_changes_nothing_but_its_copy() -> None:
    """The log holds what was submitted."""

    async def agent(task: TaskContext) -> object:
        task.input.metadata["lang"] = "fr"
        data = task.input.data
        assert isinstance(data, dict)
        data["n"] = 2
        return [task.input.metadata, task.input.data]

    assert await value_of(agent, parts=[{"data": {"n": 1}}]) == [{"lang": "en"}, {"n": 1}]


async def test_an_agent_sees_whose_task_it_is_and_how_long_it_may_take() -> None:
    """The deadline is the earliest there is, in seconds since 1970."""

    async def agent(task: TaskContext) -> object:
        seen = [task.task_id, task.owner, task.context_id, task.attempt]
        return [*seen, task.deadline, task.cancelled]

    stage = stage_of(agent)
    assert await returned(stage) == ["t", "ada", "c", 1, stage.record.due, False]


# --- ask -----------------------------------------------------------------------------------


async def test_an_ask_says_what_it_wants_and_until_when() -> None:
    """All that a client needs to answer it."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("Which city?", City, expires_s=60, approvers=["bob"])

    stage = stage_of(agent)
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.key, ask.kind, ask.prompt) == ("ask-1", AskKind.INPUT, "Which city?")
    assert ask.schema["properties"] == {"name": {"title": "Name", "type": "string"}}
    assert (ask.due - stage.clock.now(), ask.on_expire, ask.approvers) == (60, "fail", ("bob",))
    stage.tell(Trigger.WITHDRAW, {"key": "ask-1", "epoch": 1})
    stage.turn.stop()


async def test_an_ask_without_a_time_has_that_of_the_limits() -> None:
    """Every wait is bounded."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("?")

    stage = stage_of(agent, limits=Limits(ask_s=7))
    await stage.asked()
    assert stage.record.asks[0].due - stage.clock.now() == 7
    stage.provide("ask-1", "yes")
    assert await returned(stage) == "yes"


@pytest.mark.parametrize(
    ("form", "answer", "value"),
    [
        (str, "x", "x"),
        (int, 3, 3),
        (City, {"name": "Rome"}, City(name="Rome")),
        ({"type": "array"}, [1], [1]),
    ],
)
async def test_an_answer_becomes_a_value_of_the_form(
    form: type[Any], answer: object, value: object
) -> None:
    """A model's instance for a model, the JSON value for a schema.  Source: R-AGENT-03."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("?", form)

    stage = stage_of(agent)
    await stage.asked()
    stage.provide("ask-1", answer)
    assert await stage.end() == Returned(value)


async def test_what_an_agent_does_to_an_answer_changes_nothing_but_its_copy() -> None:
    """The log holds what was answered."""

    async def agent(task: TaskContext) -> object:
        answer = await task.ask("?", {"type": "object"})
        answer["n"] = 2
        return answer

    stage = stage_of(agent)
    await stage.asked()
    stage.provide("ask-1", {"n": 1})
    assert await returned(stage) == {"n": 2}
    assert stage.log[-1].data["value"] == {"n": 1}


@pytest.mark.parametrize(
    ("default", "stored"), [("Rome", "Rome"), (None, None), (City(name="Rome"), {"name": "Rome"})]
)
async def test_a_default_is_what_an_expiry_answers(default: object, stored: object) -> None:
    """Also when it is nothing at all."""
    schema: JsonObject = {"type": ["string", "null", "object"]}

    async def agent(task: TaskContext) -> object:
        return await task.ask("?", schema, default=default)

    stage = stage_of(agent)
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.on_expire, ask.default) == ("default", stored)
    stage.provide("ask-1", "x")
    await returned(stage)


async def test_what_was_asked_cannot_be_changed_by_who_asked_it() -> None:
    """The log is nobody's to write in, and neither is the default in it.  Source: R-AGENT-04."""
    stops: list[JsonValue] = ["Bern"]
    fallback: JsonObject = {"city": "Rome", "stops": stops}

    async def body(task: TaskContext) -> object:
        return await task.ask("?", {"type": "object"}, default=fallback)

    stage = stage_of(body)
    await stage.asked()
    fallback["city"] = "Atlantis"
    stops.append("Atlantis")
    assert stage.log[-1].data["default"] == {"city": "Rome", "stops": ["Bern"]}
    assert stage.record.asks[0].default == {"city": "Rome", "stops": ["Bern"]}
    stage.turn.cut_short()
    await stage.end()


@pytest.mark.parametrize(
    ("form", "default"), [(int, "x"), (City, {"name": "Atlantis"}), (int, float("nan"))]
)
async def test_a_default_that_does_not_fit_is_refused_before_anybody_is_asked(
    form: type[Any], default: object
) -> None:
    """By the schema or by the type.  Nothing is stored."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("?", form, default=default)

    stage = stage_of(agent)
    assert isinstance(await raised(stage), InvalidInput)
    assert stage.triggers == []


@pytest.mark.parametrize(
    "expires_s", [0, -1, float("nan"), float("inf"), 10**400, True, "9", timedelta(1)]
)
async def test_a_wait_that_is_no_time_is_refused(expires_s: Any) -> None:  # noqa: ANN401
    """NaN would never expire, and stand in the way of every other deadline."""

    async def ask(task: TaskContext) -> object:
        return await task.ask("?", expires_s=expires_s)

    async def authorize(task: TaskContext) -> object:
        return await task.authorize("pay", {}, expires_s=expires_s)

    for agent in (ask, authorize):
        stage = stage_of(agent)
        error = await raised(stage)
        assert isinstance(error, InvalidInput)
        assert str(error).startswith("expires_s is ")
        assert stage.triggers == []


async def test_a_schema_that_cannot_be_checked_is_refused_before_anybody_is_asked() -> None:
    """An answer could never be judged by it."""

    async def ask(task: TaskContext) -> object:
        return await task.ask("?", {"contains": {}})

    async def authorize(task: TaskContext) -> object:
        return await task.authorize("pay", {}, schema={"unknown": {}})

    for agent in (ask, authorize):
        stage = stage_of(agent)
        assert isinstance(await raised(stage), InvalidInput)
        assert stage.triggers == []


@pytest.mark.parametrize("prompt", ["x" * 1_000, "half a \ud800 pair"])
async def test_an_ask_is_bounded_and_can_be_stored(prompt: str) -> None:
    """The prompt counts, like everything that is kept."""

    async def ask(task: TaskContext) -> object:
        return await task.ask(prompt)

    async def authorize(task: TaskContext) -> object:
        return await task.authorize("pay", {}, prompt=prompt)

    for agent in (ask, authorize):
        stage = stage_of(agent, limits=Limits(payload_bytes_max=500))
        assert isinstance(await raised(stage), ResultInvalid)
        assert stage.triggers == []


async def test_keys_are_counted_in_the_order_of_the_calls() -> None:
    """So that a replay asks under the same ones."""

    async def agent(task: TaskContext) -> object:
        return await asyncio.gather(
            task.ask("a"), task.authorize("pay", {}), task.ask("c", key="mine"), task.ask("d")
        )

    stage = stage_of(agent)
    await stage.asked(4)
    assert [ask.key for ask in stage.record.asks] == ["ask-1", "ask-2", "mine", "ask-4"]
    stage.turn.stop()


@pytest.mark.parametrize("closed", [True, False])
async def test_a_key_that_is_given_twice_is_a_mistake(closed: object) -> None:
    """Also when the first was answered: the second question is another.  Source: I06."""

    async def agent(task: TaskContext) -> object:
        first = asyncio.ensure_future(task.ask("Which city?", key="k"))
        await (first if closed else pause())
        try:
            await task.ask("Pay 1000?", key="k")
        except InvalidInput:
            return [await first]
        return None

    stage = stage_of(agent)
    await stage.asked()
    stage.provide("k", "Rome")
    assert await returned(stage) == ["Rome"]
    assert stage.triggers == ["ask", "provide_input"]


async def test_a_task_may_ask_so_often_and_no_more() -> None:
    """Over its whole life.  Source: DESIGN 3, bounds, R-ENG-10."""

    async def agent(task: TaskContext) -> object:
        await task.ask("?")
        try:
            await task.ask("?")
        except GuardRefused as error:
            return error.reason
        return None

    stage = stage_of(agent, limits=Limits(asks_max=1))
    await stage.asked()
    stage.provide("ask-1", "x")
    assert await returned(stage) == "asks_are_left"


async def test_an_answer_that_only_the_type_refuses_is_asked_for_again() -> None:
    """Nobody was there to say so when it came; the question now says what was wrong."""

    async def agent(task: TaskContext) -> object:
        return (await task.ask("Where?", City, key="a~b")).name

    stage = stage_of(agent)
    await stage.asked()
    stage.provide("a~b", {"name": "Atlantis"})
    await stage.asked()
    again = stage.record.asks[0]
    assert again.key == "a~b~2"
    assert again.prompt.startswith("Where?\n(at /name: ")
    stage.provide("a~b~2", {"name": "Atlantis"})
    await until(lambda: stage.record.ask("a~b~3") is not None)
    await pause()
    stage.provide("a~b~3", {"name": "Rome"})
    assert await returned(stage) == "Rome"


async def test_asking_again_comes_to_an_end() -> None:
    """By the bound on asks at the latest."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("Where?", City)

    stage = stage_of(agent, limits=Limits(asks_max=2))
    for key in ("ask-1", "ask-1~2"):
        await until(lambda key=key: stage.record.ask(key) is not None)  # type: ignore[misc]
        await pause()
        stage.provide(key, {"name": "Atlantis"})
    assert isinstance(await raised(stage), GuardRefused | InvalidInput)


async def test_a_log_full_of_unfit_answers_ends_in_an_error() -> None:
    """A replay under a smaller bound must not go on for ever."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("Where?", City)

    stage = Stage(agent, Limits(asks_max=1))
    schema = form_of(City).schema
    stage.tell(Trigger.ASK, {**ASKED, "key": "ask-1", "prompt": "Where?", "schema": schema})
    stage.provide("ask-1", {"name": "Atlantis"})
    stage.start()
    error = await raised(stage)
    assert isinstance(error, InvalidInput)
    assert "no answer" in str(error)


# --- authorize -----------------------------------------------------------------------------


async def test_a_request_for_leave_shows_exactly_what_would_be_done() -> None:
    """With a digest that a decision must name.  Source: I13, R-AGENT-04."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", {"to": "bob"}, expires_s=9, approvers=["eve"])

    stage = stage_of(agent)
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.kind, ask.prompt, ask.tool) == (AskKind.AUTH, "Allow pay?", "pay")
    assert (ask.arguments, ask.on_expire, ask.on_deny) == ({"to": "bob"}, "deny", "stop")
    assert (ask.allow_edit, ask.approvers, ask.schema) == (False, ("eve",), {})
    assert ask.digest is not None
    stage.turn.stop()


def approval(stage: Stage, arguments: JsonObject) -> Data:
    """A yes to what is asked first."""
    ask = stage.record.asks[0]
    return {"key": ask.key, "digest": ask.digest, "arguments": arguments}


async def test_the_approved_arguments_are_what_the_agent_gets() -> None:
    """Edited or not; exactly these will run.  Source: I14, R-AGENT-04."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize(
            "pay", {"n": 1}, schema={"type": "object"}, allow_edit=True, prompt="Pay?"
        )

    stage = stage_of(agent)
    await stage.asked()
    assert stage.record.asks[0].prompt == "Pay?"
    stage.tell(Trigger.APPROVE, approval(stage, {"n": 2}))
    assert await returned(stage) == {"n": 2}


async def test_arguments_cannot_be_changed_while_somebody_decides() -> None:
    """Nor the log by what the agent does with the approved ones.  Source: I13, T6."""
    arguments: dict[str, Any] = {"to": ["bob"]}
    schema: dict[str, Any] = {"type": "object"}

    async def agent(task: TaskContext) -> object:
        approved: dict[str, Any] = await task.authorize("pay", arguments, schema=schema)
        approved["to"].append("eve")
        return approved

    stage = stage_of(agent)
    await stage.asked()
    arguments["to"].append("mallory")
    schema["maxProperties"] = 0
    ask = stage.record.asks[0]
    assert (ask.arguments, ask.schema) == ({"to": ["bob"]}, {"type": "object"})
    stage.tell(Trigger.APPROVE, approval(stage, {"to": ["bob"]}))
    assert await returned(stage) == {"to": ["bob", "eve"]}
    assert stage.log[-1].data["arguments"] == {"to": ["bob"]}


async def test_the_digest_is_of_the_task_the_ask_the_tool_and_the_arguments() -> None:
    """A yes to one call is a yes to no other."""

    async def agent(task: TaskContext) -> object:
        return await asyncio.gather(
            task.authorize("pay", {"n": 1}),
            task.authorize("pay", {"n": 1}),
            task.authorize("pay", {"n": True}),
            task.authorize("get", {"n": 1}),
        )

    stage = stage_of(agent)
    await stage.asked(4)
    assert len({ask.digest for ask in stage.record.asks}) == 4
    stage.turn.stop()


@pytest.mark.parametrize(
    ("arguments", "schema", "error"),
    [
        ({"n": "x"}, {"properties": {"n": {"type": "integer"}}}, InvalidInput),
        ({"n": object()}, None, ResultInvalid),
        ({"n": float("nan")}, None, ResultInvalid),
        ({"n": "x" * 1_000}, None, ResultInvalid),
    ],
)
async def test_arguments_that_could_not_run_are_not_shown_to_anybody(
    arguments: dict[str, Any], schema: JsonObject | None, error: type[Exception]
) -> None:
    """They must be JSON, fit the tool's schema, and have a size."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("pay", arguments, schema=schema)

    stage = stage_of(agent, limits=Limits(payload_bytes_max=500))
    assert isinstance(await raised(stage), error)
    assert stage.triggers == []


async def test_a_denial_that_is_told_is_an_error_with_a_reason() -> None:
    """Of the ask that it is about."""

    async def agent(task: TaskContext) -> object:
        try:
            await task.authorize("pay", {}, on_deny="tell_agent")
        except Denied as error:
            return [error.key, error.reason]
        return None

    stage = stage_of(agent)
    await stage.asked()
    ask = stage.record.asks[0]
    stage.tell(Trigger.DENY, {"key": ask.key, "digest": ask.digest, "reason": "too dear"})
    assert await returned(stage) == ["ask-1", "too dear"]


# --- emit and progress ---------------------------------------------------------------------


async def test_an_artifact_is_shown_with_all_that_is_said_of_it() -> None:
    """And its id is given back, to append to.  Source: R-AGENT-05."""

    async def agent(task: TaskContext) -> object:
        return [
            await task.emit("text"),
            await task.emit([Part(text="a"), Part(data=1)], artifact_id="mine", name="n"),
            await task.emit(
                {"n": 1},
                artifact_id="mine",
                description="d",
                metadata={"m": 1},
                append=True,
                last_chunk=True,
            ),
        ]

    stage = stage_of(agent)
    assert await returned(stage) == ["artifact-1", "mine", "mine"]
    first, second, third = [event.data["artifact"] for event in stage.log[2:]]
    assert first["parts"] == [{"text": "text"}]
    assert (second["artifact_id"], second["name"]) == ("mine", "n")
    assert second["parts"] == [{"text": "a"}, {"data": 1}]
    assert (third["append"], third["last_chunk"]) == (True, True)
    assert (third["description"], third["metadata"]) == ("d", {"m": 1})


@pytest.mark.parametrize("artifact_id", [None, ""])
async def test_a_chunk_says_to_what_it_is_appended(artifact_id: str | None) -> None:
    """It became an artifact of its own, each time; within a call it is the call's.

    Source: R-AGENT-05.
    """

    async def agent(task: TaskContext) -> object:
        async def shows() -> None:
            await task.emit("a")
            await task.emit("b", append=True, artifact_id=artifact_id)

        await task.call(shows)
        with pytest.raises(InvalidInput, match="append needs the artifact_id it adds to"):
            await task.emit("b", append=True, artifact_id=artifact_id)
        return await task.emit("c")

    stage = stage_of(agent)
    assert await returned(stage) == "artifact-1"
    shown = [e.data["artifact"] for e in stage.log if e.trigger is Trigger.EMIT]
    assert [(one["artifact_id"], one["append"]) for one in shown] == [
        ("shows-1", False),
        ("shows-1", True),
        ("artifact-1", False),
    ]


async def test_what_was_shown_is_not_shown_again() -> None:
    """A replay goes through the same calls and says nothing.  Source: DESIGN 3, R-JRN-05."""

    async def agent(task: TaskContext) -> object:
        ids = [await task.emit("a"), await task.emit("b")]
        await task.progress("1")
        await task.progress("2")
        return ids

    stage = Stage(agent)
    shown: JsonObject = {
        "artifact_id": "artifact-1",
        "parts": [{"text": "a"}],
        "name": None,
        "description": None,
        "metadata": None,
        "append": False,
        "last_chunk": False,
    }
    stage.turn.memory.emitted = {1: digest(shown)}
    stage.turn.memory.progressed = Counter([digest(["1", None])])
    stage.start()
    assert await returned(stage) == ["artifact-1", "artifact-2"]
    assert stage.triggers == ["emit", "progress"]
    assert stage.log[2].data["artifact"]["parts"] == [{"text": "b"}]
    assert stage.log[3].data["message"] == "2"


async def test_what_could_not_be_shown_does_not_make_a_replay_repeat_what_was() -> None:
    """The chunks are told apart by their number, not by their count."""

    async def agent(task: TaskContext) -> object:
        for text in ("x" * 1_000, "small"):
            try:
                await task.emit(text)
            except ResultInvalid:
                await task.progress("too large")
        try:
            await task.progress("y" * 1_000)
        except ResultInvalid:
            await task.progress("too long")
        return "done"

    limits = Limits(payload_bytes_max=500)
    stage = stage_of(agent, limits=limits)
    assert await returned(stage) == "done"
    shown = stage.log[2:]
    again = Stage(agent, limits)
    for event in shown:
        again.turn.memory.add(event)
    again.start()
    assert await returned(again) == "done"
    assert again.triggers == []


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
async def test_a_fraction_is_a_part_of_the_whole(fraction: float) -> None:
    """Nothing is shown otherwise."""

    async def agent(task: TaskContext) -> None:
        await task.progress("on it", fraction)

    stage = stage_of(agent)
    assert isinstance(await raised(stage), InvalidInput)
    assert stage.triggers == []


async def test_progress_is_a_line_and_a_fraction_or_just_a_line() -> None:
    """Both are kept as they are.  Source: R-AGENT-05."""

    async def agent(task: TaskContext) -> None:
        await task.progress("begun")
        await task.progress("half", 0.5)

    stage = stage_of(agent)
    await returned(stage)
    lines = [(event.data["message"], event.data["fraction"]) for event in stage.log[2:]]
    assert lines == [("begun", None), ("half", 0.5)]


async def test_the_log_of_a_task_is_bounded() -> None:
    """What an agent writes is refused then; its end is not.  Source: R-ENG-10."""

    async def agent(task: TaskContext) -> object:
        reasons: list[str] = []
        for _ in range(20):
            try:
                await task.emit("x")
                await task.progress("x")
            except GuardRefused as error:
                reasons.append(error.reason)
        return reasons

    stage = stage_of(agent, limits=Limits(log_events_max=16))
    assert set(await returned(stage)) == {"log_has_room"}
    assert stage.record.seq == 16


class Secretive:
    """Not JSON; its text holds a secret."""

    def __repr__(self) -> str:
        """A text that must never be shown."""
        return CANARY


@pytest.mark.parametrize("content", [{"n": float("nan")}, {"n": Secretive()}, []])
async def test_what_is_nothing_or_not_json_cannot_be_shown(content: Any) -> None:  # noqa: ANN401
    """Nor does the error quote it.  Source: I38."""

    async def agent(task: TaskContext) -> None:
        await task.emit(content)

    stage = stage_of(agent)
    error = await raised(stage)
    assert isinstance(error, InvalidInput)
    assert CANARY not in str(error)
    assert stage.triggers == []


# --- a later attempt -------------------------------------------------------------------------


async def test_what_an_earlier_attempt_gave_up_is_asked_again_under_another_key() -> None:
    """A key is never used twice, and this attempt wants an answer.  Source: I06, I29."""

    async def agent(task: TaskContext) -> object:
        return [await task.ask("?"), await task.authorize("pay", {})]

    stage = Stage(agent)
    for key in ("ask-1", "ask-2"):
        stage.tell(Trigger.ASK, {**ASKED, "key": key})
        stage.tell(Trigger.WITHDRAW, {"key": key, "epoch": stage.record.epoch})
    stage.tell(
        Trigger.RETRY,
        {"epoch": stage.record.epoch, "code": "c", "message": "m", "not_before": None},
    )
    stage.tell(Trigger.START, {"run_s": None})
    stage.start()
    await stage.asked()
    assert stage.record.asks[0].key == "ask-1@2"
    stage.provide("ask-1@2", "x")
    await stage.asked()
    assert stage.record.asks[0].key == "ask-2@2"
    stage.tell(Trigger.APPROVE, approval(stage, {}))
    assert await returned(stage) == ["x", {}]
