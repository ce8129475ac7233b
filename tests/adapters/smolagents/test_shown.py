"""What a task shows of its agent: plans, calls, what came of them; images; steps that run out.

Source: issue 4, build 4; facts/agent-runtime-sdk.md §4, B17.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    CodeAgent,
    Tool,
    ToolCallingAgent,
)

from interlock import Part, Phase, Toolbox, ToolResult, Trigger
from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    Desk,
    Stamp,
    answer,
    asks_of,
    asks_then,
    code,
    coder,
    events_of,
    failure_of,
    heard_last,
    message,
    shown,
    smol,
    speaker,
    told,
)

# --- plans --------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
async def test_plans_are_artifacts_of_the_step_that_they_come_before(*, streams: bool) -> None:
    """Two plans, a restart between them, and each is asked for and shown once."""
    script = ScriptedModel(
        ModelTurn("first plan", plan=True),
        {"ask_user": {"question": "?"}},
        ModelTurn("second plan", plan=True),
        heard_last,
    )
    model = ScriptedSmolModel(script)

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model, planning_interval=1, stream_outputs=streams)

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        store = world.crash()
    async with smol(make, Desk().box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s1.c0", "1A")
        assert await told(handle) == "1A"
        seen = shown(world, handle)
    assert len(seen["step-1/plan"]) == 1
    assert "first plan" in seen["step-1/plan"][0]
    assert "second plan" in seen["step-2/plan"][0]
    assert "step-1/text" not in seen
    assert script.prompts == 4


# --- artifacts ----------------------------------------------------------------------------


async def test_artifacts_say_their_step_kind_and_tool() -> None:
    """In metadata, for whoever draws them.  Source: R-SMOL-08."""
    async with smol(speaker({"search": {"q": "A"}}, heard_last), Desk().box()) as world:
        handle = await world.submit()
        await told(handle)
        call, observation = [
            event.data["artifact"] for event in events_of(world, handle, Trigger.EMIT)
        ]
    assert call["name"] == "step 1: call 1"
    assert call["metadata"] == {"step": 1, "kind": "call", "tool": "search"}
    assert observation["metadata"] == {"step": 1, "kind": "observation", "tool": "search"}


async def test_nothing_is_shown_where_nobody_wants_it() -> None:
    """`artifacts=False`: the log has the calls, and no pictures of them."""
    async with smol(
        speaker({"search": {"q": "A"}}, heard_last), Desk().box(), artifacts=False
    ) as world:
        handle = await world.submit()
        await told(handle)
        assert events_of(world, handle, Trigger.EMIT) == []


async def test_what_is_too_long_to_be_looked_at_is_cut() -> None:
    """The model is told all of it; the artifact says how much is missing."""

    def long() -> str:
        """Say much."""
        return "x" * 30_000

    def measured(heard: Sequence[str]) -> ModelTurn:
        return answer(str(len(heard[0])))

    script: list[Any] = [{"long": {}}, measured]
    async with smol(speaker(*script), Toolbox([long])) as world:
        handle = await world.submit()
        assert int(await told(handle)) > 30_000
        (text,) = shown(world, handle)["step-1/observation-1"]
    assert text.endswith("[10000 more characters]")


async def test_a_verbose_agent_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """And any other does not."""
    async with smol(speaker(answer("quiet")), Desk().box()) as world:
        await told(await world.submit())
    assert capsys.readouterr().out == ""
    async with smol(speaker(answer("loud")), Desk().box(), verbose=True) as world:
        await told(await world.submit())
    assert "loud" in capsys.readouterr().out


async def test_a_request_of_data_is_told_as_json() -> None:
    """With its text, if it has both."""
    heard: list[str] = []

    class Model(ScriptedSmolModel):
        """Keeps what it was asked."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            heard.append(str(messages[-1].content))
            return super().generate(messages, stop_sequences, **options)

    model = Model(ScriptedModel(answer("done")))

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model)

    async with smol(make, Desk().box()) as world:
        parts = [Part(text="Book"), Part(data={"to": "Köln"})]
        handle = await world.engine.submit(parts, owner="ada")
        await told(handle)
    assert 'Book\\n{"to": "Köln"}' in heard[0]


# --- images and other values --------------------------------------------------------------


def picture() -> Image.Image:
    """Two red points."""
    return Image.new("RGB", (2, 1), (255, 0, 0))


class Camera(Tool):  # type: ignore[misc]  # the library has no types
    """An agent's own tool that makes an image."""

    name = "camera"
    description = "Takes a picture."
    inputs: dict[str, Any] = {}  # noqa: RUF012  the library wants it so
    output_type = "image"

    def forward(self) -> Image.Image:
        """Take it."""
        return picture()


async def test_an_image_that_a_tool_made_is_an_artifact_and_not_a_text() -> None:
    """The model is told that it is there; its bytes are in the log once."""
    script: list[Any] = [{"camera": {}}, heard_last]
    async with smol(speaker(*script, own=[Camera()])) as world:
        handle = await world.submit()
        said = await told(handle)
        parts = [
            part
            for event in events_of(world, handle, Trigger.EMIT)
            for part in event.data["artifact"]["parts"]
            if part.get("raw")
        ]
    assert "image/png" in said
    (part,) = parts
    assert Image.open(io.BytesIO(base64.b64decode(part["raw"]))).size == (2, 1)


async def test_an_image_may_be_the_answer() -> None:
    """As one part of the result."""
    made = coder(code("final_answer(picture)"))

    def make(task: object, tools: list[Any]) -> object:
        agent: Any = made(task, tools)
        agent.state["picture"] = picture()
        return agent

    async with smol(make, Desk().box()) as world:
        (part,) = await told(await world.submit())
    assert part.media_type == "image/png"
    assert Image.open(io.BytesIO(base64.b64decode(part.raw))).size == (2, 1)


@pytest.mark.parametrize("value", ["text", "5", "[1, 'a', None]", "{'a': 1.5}", "True", "''"])
async def test_an_answer_is_any_json(value: str) -> None:
    """Of code above all: the result of the task is the value, and not its print."""
    async with smol(coder(code(f"final_answer({value!r})")), Desk().box()) as world:
        assert await told(await world.submit()) == value
    if value != "text":
        async with smol(coder(code(f"final_answer({value})")), Desk().box()) as world:
            assert await told(await world.submit()) == eval(value)  # noqa: S307  a literal above


async def test_an_answer_without_json_fails_the_task_loudly() -> None:
    """A task is not completed with something that nobody can read."""
    async with smol(coder(code("final_answer({1, 2})")), Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert failed.outcome is Phase.FAILED


async def test_an_own_tool_without_json_ran_all_the_same() -> None:
    """Its result cannot be kept, and the model is told just that."""

    class Odd(Stamp):
        """Returns a set."""

        def forward(self, paper: str) -> Any:  # noqa: ANN401  not what it says
            """Stamp it."""
            super().forward(paper)
            return {1, 2}

    stamped: list[str] = []
    script = [{"stamp": {"paper": "x"}}, heard_last]
    async with smol(speaker(*script, own=[Odd(stamped)])) as world:
        said = await told(await world.submit())
    assert said == "the tool returned a set, which is no JSON; it was run all the same"
    assert stamped == ["x"]


async def test_a_result_that_says_it_failed_is_told() -> None:
    """`is_error`: the words of the tool; in code it is raised."""

    def pay() -> ToolResult:
        """Pay."""
        return ToolResult(parts=(Part(text="no money"),), is_error=True)

    async with smol(speaker({"pay": {}}, heard_last), Toolbox([pay])) as world:
        assert await told(await world.submit()) == "no money"
    source = "try:\n    pay()\nexcept Exception as e:\n    final_answer(str(e))"
    async with smol(coder(code(source)), Toolbox([pay])) as world:
        assert "no money" in await told(await world.submit())


async def test_every_kind_of_part_is_told_in_words() -> None:
    """Texts as they are, data as JSON, a URL by itself, bytes by their kind."""

    def mixed() -> ToolResult:
        """Give everything."""
        png = base64.b64encode(b"png").decode()
        parts = (
            Part(text="words"),
            Part(data={"n": 1}),
            Part(url="https://a.example/x"),
            Part(raw=png, media_type="image/png"),
        )
        return ToolResult(parts=parts)

    async with smol(speaker({"mixed": {}}, heard_last), Toolbox([mixed])) as world:
        lines = (await told(await world.submit())).splitlines()
    assert lines[:3] == ["words", '{"n": 1}', "https://a.example/x"]
    assert "image/png" in lines[3]


async def test_a_value_is_told_as_json_and_given_to_code_as_it_is() -> None:
    """What a function returned that is no text."""
    async with smol(speaker({"count": {"n": 3}}, heard_last), Desk().box()) as world:
        assert await told(await world.submit()) == '{"n": 3}'
    async with smol(coder(code('final_answer(count(3)["n"] + 1)')), Desk().box()) as world:
        assert await told(await world.submit()) == 4


# --- steps that run out -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ToolCallingAgent, CodeAgent])
async def test_an_agent_without_an_answer_fails_its_task(
    kind: Any,  # noqa: ANN401  a class
) -> None:
    """B17: the task is not completed with nothing, nor with a text about an error.

    Source: R-SMOL-08.
    """
    turns = [{"search": {"q": "A"}}] if kind is ToolCallingAgent else [code("search('A')")]
    made = (speaker if kind is ToolCallingAgent else coder)(*turns, max_steps=1)
    async with smol(made, Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert failed.cause == "max_steps"
    assert "the agent came to no final answer within its 1 steps" in str(failed)


async def test_the_library_may_have_the_model_answer_at_the_end() -> None:
    """With `on_max_steps="answer"`: one more prompt, which is in the log as well."""
    script = [*asks_then("from what there is"), "never asked"]
    made = speaker(*script, max_steps=1)
    async with smol(made, Desk().box(), on_max_steps="answer") as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        assert await told(handle) == "from what there is"
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert keys == ["m1", "m2"]


async def test_a_model_that_fails_at_the_end_is_no_answer() -> None:
    """The library would answer with the error's text; here the task fails with it."""

    class Model(ScriptedSmolModel):
        """Fails at its second prompt."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            if self.script.prompts:
                raise ValueError("sk-secret")
            return super().generate(messages, stop_sequences, **options)

    def make(task: object, tools: list[Any]) -> object:
        del task
        model = Model(ScriptedModel({"search": {"q": "A"}}))
        return ToolCallingAgent(tools, model, max_steps=1)

    async with smol(make, Desk().box(), on_max_steps="answer") as world:
        failed = await failure_of(await world.submit())
    assert failed.cause == "model_failed"
    assert "secret" not in str(failed)


async def test_an_answer_in_the_last_step_is_one() -> None:
    """The last step may be the one that answers."""
    made = speaker({"search": {"q": "A"}}, answer("done"), max_steps=2)
    async with smol(made, Desk().box()) as world:
        assert await told(await world.submit()) == "done"


async def test_a_check_of_the_answer_that_fails_is_told_to_the_model() -> None:
    """`final_answer_checks` of the library work as they do there."""

    def long_enough(said: str, *_: Any, **__: Any) -> bool:  # noqa: ANN401  the library's
        return len(said) > 3

    script = [answer("x"), message(("final_answer", {"answer": "long"}))]
    made = speaker(*script, final_answer_checks=[long_enough])
    async with smol(made, Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == "long"
        assert "long_enough" in shown(world, handle)["step-1/error"][0]
