"""What a model says is written down once; what becomes of one that does not answer.

Source: issue 4, build 4; facts/peers-and-smolagents.md §4 (iv).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    CodeAgent,
    ToolCallingAgent,
)
from smolagents.models import ChatMessageStreamDelta  # type: ignore[import-untyped]  # as above

from interlock import Limits, Phase, Retry, TaskHandle, Trigger
from interlock.errors import Retryable
from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    Desk,
    Factory,
    Failing,
    answer,
    asks_of,
    code,
    events_of,
    failure_of,
    heard_last,
    message,
    shown,
    smol,
    speaker,
    told,
)
from support import World, pause, until


class TextModel(ScriptedSmolModel):
    """Has no calls of its own: it writes them as text, which the library reads."""

    def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
        """See `Model`: the calls are left out."""
        said: Any = super().generate(messages, stop_sequences, **options)
        said.tool_calls = None
        return said


def agent_of(model: Any, **settings: Any) -> Factory:  # noqa: ANN401  a model, and as the agent
    """Makes agents around a model."""

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model, **settings)

    return make


def answers_of(world: World, handle: TaskHandle) -> list[Any]:
    """What the log has of the model's answers."""
    called = events_of(world, handle, Trigger.CALLED)
    return [e.data["value"] for e in called if str(e.data["key"]).startswith("m")]


# --- answers ------------------------------------------------------------------------------


def _answered_in_text(heard: Sequence[str]) -> str:
    first = heard[0].removeprefix("Observation:\n")
    return f'Action:\n{{"name": "final_answer", "arguments": "{first}"}}'


async def test_calls_in_a_text_are_named_by_their_place() -> None:
    """The library names them by chance; a replay asks what the first run asked."""
    script = ScriptedModel(
        'Action:\n{"name": "search", "arguments": {"q": "A"}}',
        'Action:\n{"name": "ask_user", "arguments": {"question": "?"}}',
        _answered_in_text,
    )
    desk = Desk()
    async with smol(agent_of(TextModel(script)), desk.box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        store = world.crash()
    async with smol(agent_of(TextModel(script)), desk.box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s2.c0", "x")
        assert await told(handle) == "3 flights to A"
    assert desk.ran == [("search", "A")]


async def test_what_tokens_an_answer_took_is_in_the_log() -> None:
    """With the answer that took them, once, whatever is replayed."""
    script = [
        ModelTurn("x", asks_turn().calls, input_tokens=100, output_tokens=7),
        answer("done"),
    ]
    async with smol(speaker(*script), Desk().box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        await told(handle)
        usage = [said["token_usage"] for said in answers_of(world, handle)]
    assert usage == [{"input": 100, "output": 7}, {"input": 10, "output": 5}]


def asks_turn() -> ModelTurn:
    """A turn that asks the user."""
    return ModelTurn.calling("ask_user", question="?")


async def test_half_a_character_in_an_answer_is_stored() -> None:
    """A lone surrogate has no UTF-8; the task must not fail for it."""
    script = [message(("search", {"q": "A"}), text="bad \ud800 text"), heard_last]
    async with smol(speaker(*script), Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == "3 flights to A"
        assert shown(world, handle)["step-1/text"] == ["bad ? text"]


async def test_the_words_beside_calls_are_shown_before_them() -> None:
    """In the order in which things happen."""
    script = [message(("search", {"q": "A"}), text="I look."), heard_last]
    async with smol(speaker(*script), Desk().box()) as world:
        handle = await world.submit()
        await told(handle)
        assert list(shown(world, handle)) == [
            "step-1/text",
            "step-1/call-1",
            "step-1/observation-1",
        ]


async def test_an_answer_in_pieces_is_one_text() -> None:
    """Some models give a list; what is no text in it is left out."""

    class Pieces(ScriptedSmolModel):
        """Says its text in pieces."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            told_so: Any = super().generate(messages, stop_sequences, **options)
            told_so.content = [{"type": "text", "text": "a"}, "b", {"type": "image"}]
            return told_so

    async with smol(agent_of(Pieces(ScriptedModel(answer("done")))), Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == "done"
        assert [one["content"] for one in answers_of(world, handle)] == ["ab"]


async def test_what_else_asks_the_model_is_in_the_log_too() -> None:
    """A callback of an agent that streams from its model: a prompt like any other, sent once."""
    script = ScriptedModel({"search": {"q": "A"}}, asks_turn(), answer("done"))
    own = ScriptedSmolModel(script)
    heard: list[str] = []

    def make(task: object, tools: list[Any]) -> object:
        del task

        def critic(step: Any, agent: Any) -> None:  # noqa: ANN401  the library's
            if step.step_number == 1 and type(step).__name__ == "ActionStep":
                (delta,) = agent.model.generate_stream([])
                heard.append(delta.tool_calls[0].function.arguments)
                assert agent.model.script is script

        return ToolCallingAgent(tools, own, step_callbacks=[critic])

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        assert await told(handle) == "done"
        keys = [event.data["key"] for event in events_of(world, handle, Trigger.CALLED)]
    assert keys == ["m1", "s1.c0", "m2", "m3", "m4"]
    assert heard == ['{"q": "A"}'] * 2
    assert script.prompts == 4


# --- streams ------------------------------------------------------------------------------

LONG = " ".join(f"word{at}" for at in range(40))


async def test_a_streamed_answer_is_shown_while_it_comes_and_written_down_once() -> None:
    """Chunks of one artifact, the first of which starts it; a replay shows none again.

    Source: R-SMOL-03.
    """
    script = ScriptedModel(ModelTurn(LONG, asks_turn().calls), heard_last)
    made = agent_of(ScriptedSmolModel(script), stream_outputs=True)
    async with smol(made, Desk().box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        before = shown(world, handle)["step-1/text"]
        store = world.crash()
    async with smol(made, Desk().box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s1.c0", "1A")
        assert await told(handle) == "1A"
        pieces = shown(world, handle)["step-1/text"]
        said = answers_of(world, handle)
        appended = [
            event.data["artifact"]["append"]
            for event in events_of(world, handle, Trigger.EMIT)
            if event.data["artifact"]["artifact_id"] == "step-1/text"
        ]
    assert len(before) > 2
    assert pieces == before
    assert "".join(pieces).strip() == LONG
    assert appended == [False, *[True] * (len(pieces) - 1)]
    assert [one["content"].strip() for one in said] == [LONG, ""]
    assert script.prompts == 2


async def test_code_is_streamed_too() -> None:
    """A `CodeAgent` that streams: its text is shown as it comes, and not once more."""
    turn = code(f"# {LONG}\nfinal_answer(search('A'))")
    model = ScriptedSmolModel(ScriptedModel(turn))

    def make(task: object, tools: list[Any]) -> object:
        del task
        return CodeAgent(tools, model, stream_outputs=True)

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == "3 flights to A"
        pieces = shown(world, handle)["step-1/text"]
    assert "".join(pieces).count(LONG) == 1


class Endless(ScriptedSmolModel):
    """Streams until it is told to stop."""

    def __init__(self, piece: str | None) -> None:
        super().__init__(ScriptedModel())
        self.piece = piece
        self.pieces = 0
        self.closed = False

    def generate_stream(self, messages: Any, stop_sequences: Any = None, **_: Any) -> Any:  # noqa: ANN401  the library's
        """See `Model`."""
        del messages, stop_sequences

        def pieces() -> Iterator[Any]:
            try:
                while True:
                    self.pieces += 1
                    yield ChatMessageStreamDelta(content=self.piece)
            finally:
                self.closed = True

        return pieces()


@pytest.mark.parametrize("piece", ["and so on ", None])
async def test_a_stop_while_a_model_streams_ends_the_stream(piece: str | None) -> None:
    """Its connection is closed, and the task is cancelled, whether it shows anything or not."""
    model = Endless(piece)
    made = agent_of(model, stream_outputs=True)
    async with smol(made, Desk().box(), limits=Limits(log_events_max=1_000_000)) as world:
        handle = await world.submit()
        await until(lambda: model.pieces > 50)
        await handle.cancel()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert model.closed


# --- failures -----------------------------------------------------------------------------


class Answered(Exception):
    """What a client raises for an HTTP answer; quotes what it should not."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        super().__init__(f"{status_code}: bad key sk-secret")


class APIConnectionError(Exception):
    """Named like that of the OpenAI client."""


def script_of_one() -> ScriptedModel:
    """A model that would answer."""
    return ScriptedModel(answer("done"))


@pytest.mark.parametrize(
    "error",
    [
        Answered(429),
        Answered(500),
        Answered(503),
        Answered(408),
        ConnectionResetError("sk-secret"),
        TimeoutError("sk-secret"),
        APIConnectionError("sk-secret"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:24],
)
@pytest.mark.parametrize("retries", [False, True])
async def test_a_failure_that_may_pass_is_tried_again_if_the_limits_say_so(
    error: Exception, *, retries: bool
) -> None:
    """As a `Retryable`: as it comes the task fails with that code, and never with a secret."""
    model = Failing(script_of_one(), error)
    limits = Limits(retry=Retry(attempts_max=2)) if retries else Limits()
    async with smol(agent_of(model), Desk().box(), limits=limits) as world:
        handle = await world.submit()
        if retries:
            await until(lambda: bool(events_of(world, handle, Trigger.RETRY)))
            await world.elapse(3_600)
            assert await told(handle) == "done"
            assert model.asked == 2
        else:
            failed = await failure_of(handle)
            assert failed.cause == "retryable"
            assert "the model is not available" in str(failed)
        assert "sk-secret" not in repr(world.log(handle))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_failure_that_stays_fails_the_task(status: int) -> None:
    """`ModelFailed` with the status, without what the client quotes; it is asked once.

    Source: R-SMOL-03.
    """
    model = Failing(script_of_one(), Answered(status))
    limits = Limits(retry=Retry(attempts_max=3))
    async with smol(agent_of(model), Desk().box(), limits=limits) as world:
        handle = await world.submit()
        failed = await failure_of(handle)
        assert "sk-secret" not in repr(world.log(handle))
    assert failed.cause == "model_failed"
    assert f"HTTP {status}" in str(failed)
    assert model.asked == 1


def always(error: Exception) -> bool:
    """It may pass, whatever it is."""
    return str(error) != ""


def never(error: Exception) -> bool:
    """It stays, whatever it is."""
    return not always(error)


@pytest.mark.parametrize(("retryable", "cause"), [(always, "retryable"), (never, "model_failed")])
async def test_who_knows_better_says_what_may_pass(
    retryable: Callable[[Exception], bool], cause: str
) -> None:
    """`SmolAgent(retryable=...)` decides for both kinds."""
    model = Failing(script_of_one(), ValueError("sk-secret"))
    async with smol(agent_of(model), Desk().box(), retryable=retryable) as world:
        failed = await failure_of(await world.submit())
    assert failed.cause == cause
    assert "sk-secret" not in str(failed)


async def test_an_error_of_the_engine_in_a_model_is_its_own() -> None:
    """A model that knows of us says what it says."""
    model = Failing(script_of_one(), Retryable("in an hour"))
    async with smol(agent_of(model), Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert "in an hour" in str(failed)


async def test_a_retry_repeats_no_tool() -> None:
    """What was done in the first attempt is not done in the second."""
    desk = Desk()
    script = ScriptedModel({"search": {"q": "A"}}, heard_last)
    model = Failing(script)
    said: list[int] = []

    class Once(Failing):
        """Fails at its second prompt."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            said.append(1)
            if len(said) == 2:
                raise Answered(503)
            return model.generate(messages, stop_sequences, **options)

    limits = Limits(retry=Retry(attempts_max=2))
    async with smol(agent_of(Once(script)), desk.box(), limits=limits) as world:
        handle = await world.submit()
        await until(lambda: bool(events_of(world, handle, Trigger.RETRY)))
        await world.elapse(3_600)
        assert await told(handle) == "3 flights to A"
    await pause()
    assert desk.ran == [("search", "A")]


async def test_a_model_that_says_no_json_fails_the_task() -> None:
    """Arguments that cannot be written down are not called, and not lost either."""
    model = ScriptedSmolModel(ScriptedModel(message(("search", {"q": {1, 2}})), heard_last))
    async with smol(agent_of(model), Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert failed.outcome is Phase.FAILED
