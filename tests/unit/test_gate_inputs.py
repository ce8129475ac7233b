"""What a policy requires and the agent did not give is asked for: exactly that, until complete."""

from typing import Any

import pytest

from gates import Bank, approve, asked, calling, calls
from interlock import (
    AskKind,
    JsonObject,
    Limits,
    Phase,
    Policies,
    Policy,
    RequiredInput,
    Tool,
    Toolbox,
    ToolCall,
)
from interlock._gate import ROUNDS_MAX
from interlock.errors import AnswerInvalid, Refused
from support import opened, pause, soon

BOOK: JsonObject = {
    "$defs": {"City": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "type": "object",
    "properties": {
        "to": {"$ref": "#/$defs/City", "description": "where to"},
        "seats": {"type": "integer", "minimum": 1},
        "note": {"type": "string"},
    },
    "required": ["to", "seats"],
    "additionalProperties": False,
}
TOOL = Tool(name="book", source="bank", input_schema=BOOK)
AT_ONCE = Limits(park_after_s=0.0)


def box(bank: Bank, *required: RequiredInput, **policy: Any) -> Toolbox:  # noqa: ANN401
    """A toolbox whose one tool requires these."""
    return Toolbox([bank], policies=Policies({"book": Policy(required_inputs=required, **policy)}))


def wanting(**arguments: Any) -> Any:  # noqa: ANN401
    """An agent that books with what it has."""
    return calling(ToolCall("book", arguments))


async def test_exactly_what_is_missing_is_asked_for() -> None:
    """With its type, description, default and the argument that it fills.

    Source: build 1, R-GATE-05.
    """
    bank = Bank(TOOL)
    required = (
        RequiredInput(name="to"),
        RequiredInput(name="seats", description="how many", default=2),
        RequiredInput(name="note"),
    )
    async with opened(wanting(note="window"), tools=box(bank, *required)) as world:
        handle, ask = await world.asking()
        assert (ask.kind, ask.key) == (AskKind.INPUT, "book-1:inputs")
        assert ask.prompt == "bank/book needs: to, seats"
        assert ask.schema == {
            "$defs": BOOK["$defs"],
            "type": "object",
            "properties": {
                "to": {"$ref": "#/$defs/City", "description": "where to", "x-argument": "to"},
                "seats": {
                    "type": "integer",
                    "minimum": 1,
                    "x-argument": "seats",
                    "description": "how many",
                    "default": 2,
                },
            },
            "required": ["to"],
            "additionalProperties": False,
        }
        await handle.answer(ask.key, {"to": "Rome"})
        await soon(handle.over())
        ran = {"note": "window", "to": "Rome", "seats": 2}
        assert [leg.arguments for leg in bank.ran] == [ran]
        (call,) = calls(world.log(handle))
        assert (call["arguments"], call["requested"]) == (ran, {"note": "window"})


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"to": "Rome"},
        {"to": "Paris", "seats": 1},
        {"to": "Rome", "seats": 0},
        {"to": "Rome", "seats": 1, "x": 1},
    ],
)
async def test_an_answer_that_is_not_complete_leaves_the_ask_open(answer: JsonObject) -> None:
    """The form is of the tool's own types.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    required = (RequiredInput(name="to"), RequiredInput(name="seats"))
    async with opened(wanting(), tools=box(bank, *required)) as world:
        handle, ask = await world.asking()
        with pytest.raises(AnswerInvalid):
            await handle.answer(ask.key, answer)
        assert world.stored(handle).asks == (ask,)
        await handle.answer(ask.key, {"to": "Oslo", "seats": 1})
        await soon(handle.over())
        assert len(bank.ran) == 1


@pytest.mark.parametrize("given", [{"to": ""}, {"to": "  "}, {"to": None}, {"to": []}, {"to": {}}])
async def test_what_an_agent_left_blank_is_missing(given: JsonObject) -> None:
    """A model fills in something.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    async with opened(
        wanting(seats=1, **given), tools=box(bank, RequiredInput(name="to"))
    ) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, {"to": "Rome"})
        await soon(handle.over())
        assert bank.ran[0].arguments == {"to": "Rome", "seats": 1}


@pytest.mark.parametrize("given", [0, False])
async def test_what_is_false_is_not_missing(given: Any) -> None:  # noqa: ANN401
    """Zero is an answer.  Source: ours."""
    bank = Bank(Tool(name="book", source="bank"))
    async with opened(wanting(n=given), tools=box(bank, RequiredInput(name="n"))) as world:
        handle = await world.submit()
        await soon(handle.over())
        assert bank.ran[0].arguments == {"n": given}


async def test_a_blank_answer_is_refused() -> None:
    """A blank is no input.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    agent = wanting(to="Rome", seats=1)
    async with opened(agent, tools=box(bank, RequiredInput(name="note"))) as world:
        handle, ask = await world.asking()
        for blank in ("", " \n"):
            with pytest.raises(AnswerInvalid):
                await handle.answer(ask.key, {"note": blank})
        await handle.answer(ask.key, {"note": "aisle"})
        await soon(handle.over())
        assert bank.ran[0].arguments["note"] == "aisle"


async def test_an_input_fills_the_argument_that_it_names() -> None:
    """By a name and a form of its own.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    form: JsonObject = {"type": "string", "enum": ["Rome"]}
    required = RequiredInput(name="destination", argument="to", schema=form)
    async with opened(wanting(seats=1), tools=box(bank, required)) as world:
        handle, ask = await world.asking()
        properties = ask.schema["properties"]
        assert properties == {"destination": {**form, "x-argument": "to"}}
        await handle.answer(ask.key, {"destination": "Rome"})
        await soon(handle.over())
        assert bank.ran[0].arguments == {"to": "Rome", "seats": 1}


@pytest.mark.parametrize("limits", [Limits(), AT_ONCE])
async def test_it_asks_again_for_what_is_still_missing(limits: Limits) -> None:
    """For that alone, and also after the agent was run again.

    Source: issue 4, build 1, R-GATE-05.
    """
    bank = Bank(Tool(name="book", source="bank"))
    required = (RequiredInput(name="a", schema={}), RequiredInput(name="b", schema={}))
    async with opened(wanting(), tools=box(bank, *required), limits=limits) as world:
        handle, ask = await world.asking()
        await pause()
        await handle.answer(ask.key, {"a": 1, "b": None})
        (ask,) = await asked(world, handle)
        assert (ask.key, list(ask.schema["properties"])) == ("book-1:inputs~2", ["b"])  # type: ignore[arg-type]
        await pause()
        await handle.answer(ask.key, {"b": 2})
        await soon(handle.over())
        assert bank.ran[0].arguments == {"a": 1, "b": 2}


async def test_it_does_not_ask_for_ever() -> None:
    """A person who never answers must not fill the log.  Source: ours."""
    bank = Bank(Tool(name="book", source="bank"))
    required = RequiredInput(name="a", schema={})
    async with opened(wanting(), tools=box(bank, required)) as world:
        handle = await world.submit()
        for _ in range(ROUNDS_MAX):
            (ask,) = await asked(world, handle)
            await handle.answer(ask.key, {"a": None})
            await pause()
        assert await soon(handle.result()) == ["ToolRefused: book was not called: nobody gave a"]
        assert bank.ran == []


async def test_a_default_may_be_null() -> None:
    """Then it is no reason to ask again.  Source: ours."""
    bank = Bank(Tool(name="book", source="bank"))
    required = RequiredInput(name="a", schema={}, default=None)
    async with opened(wanting(), tools=box(bank, required)) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, {})
        await soon(handle.over())
        assert bank.ran[0].arguments == {"a": None}


@pytest.mark.parametrize(
    ("on_expire", "on_deny", "phase"),
    [
        ("default", "stop", Phase.COMPLETED),
        ("deny", "tell_agent", Phase.COMPLETED),
        ("deny", "stop", Phase.FAILED),
        ("fail", "tell_agent", Phase.FAILED),
    ],
)
async def test_what_follows_when_nobody_answers(on_expire: Any, on_deny: Any, phase: Phase) -> None:  # noqa: ANN401
    """As the policy says.  Source: issue 4, build 2."""
    bank = Bank(TOOL)
    required = RequiredInput(name="to", default="Rome")
    policy: dict[str, Any] = {"on_expire": on_expire, "on_deny": on_deny, "expires_s": 60.0}
    async with opened(wanting(seats=1), tools=box(bank, required, **policy)) as world:
        handle, _ = await world.asking()
        await world.elapse(60.0)
        assert (await soon(handle.over())).shown is phase
        ran = [leg.arguments for leg in bank.ran]
        assert ran == ([{"to": "Rome", "seats": 1}] if on_expire == "default" else [])


@pytest.mark.parametrize(
    ("on_expire", "on_deny", "phase"),
    [
        ("default", "stop", Phase.COMPLETED),
        ("default", "tell_agent", Phase.COMPLETED),
        ("deny", "tell_agent", Phase.COMPLETED),
        ("deny", "stop", Phase.CANCELLED),
        ("fail", "tell_agent", Phase.COMPLETED),
        ("fail", "stop", Phase.CANCELLED),
    ],
)
async def test_what_follows_when_somebody_declines(
    on_expire: Any,  # noqa: ANN401
    on_deny: Any,  # noqa: ANN401
    phase: Phase,
) -> None:
    """It is a no, so `on_deny` says what becomes of it, unless there are defaults.

    Source: specs/transitions.md, decision 20.
    """
    bank = Bank(TOOL)
    required = RequiredInput(name="to", default="Rome")
    policy: dict[str, Any] = {"on_expire": on_expire, "on_deny": on_deny}
    async with opened(wanting(seats=1), tools=box(bank, required, **policy)) as world:
        handle, ask = await world.asking()
        await handle.decline(ask.key, reason="not there")
        record = await soon(handle.over())
        assert record.shown is phase
        ran = [leg.arguments for leg in bank.ran]
        assert ran == ([{"to": "Rome", "seats": 1}] if on_expire == "default" else [])
        if on_expire != "default" and on_deny == "tell_agent":
            assert "not there" in str(await handle.result())


async def test_only_an_approver_may_give_an_input() -> None:
    """It is theirs to say.  Source: issue 4, build 2."""
    bank = Bank(TOOL)
    agent = wanting(seats=1)
    async with opened(
        agent, tools=box(bank, RequiredInput(name="to"), approvers=("boss",))
    ) as world:
        handle, ask = await world.asking()
        with pytest.raises(Refused):
            await handle.answer(ask.key, {"to": "Rome"})
        assert bank.ran == []


async def test_inputs_come_first_and_are_shown_with_the_confirmation() -> None:
    """A person approves what will run.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    toolbox = box(bank, RequiredInput(name="to"), confirm="always")
    async with opened(wanting(seats=1), tools=toolbox, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await pause()
        await handle.answer(ask.key, {"to": "Oslo"})
        (ask,) = await asked(world, handle)
        assert ask.arguments == {"to": "Oslo", "seats": 1}
        await pause()
        await approve(world, handle, ask)
        await soon(handle.over())
        assert [leg.arguments for leg in bank.ran] == [{"to": "Oslo", "seats": 1}]


async def test_other_faults_are_found_before_anybody_is_asked() -> None:
    """Nobody is asked for what cannot help.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    async with opened(wanting(seats=0), tools=box(bank, RequiredInput(name="to"))) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        assert "/seats" in str(said[0])


async def test_inputs_that_do_not_make_the_arguments_fit_keep_the_call_back() -> None:
    """A form of the policy's own may be wider than the tool's.  Source: issue 4, build 1."""
    bank = Bank(TOOL)
    required = RequiredInput(name="to", schema={"type": "string"})
    async with opened(wanting(seats=1), tools=box(bank, required)) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, {"to": "Paris"})
        said = await soon(handle.result())
        assert isinstance(said, list)
        assert str(said[0]).startswith("ToolRefused")
        assert bank.ran == []


async def test_a_form_of_its_own_may_refer_to_itself() -> None:
    """What it refers to moves with it.  Source: ours."""
    form: JsonObject = {
        "$defs": {"City": {"enum": ["Rome"]}},
        "type": "array",
        "items": {"$ref": "#/$defs/City"},
    }
    bank = Bank(Tool(name="book", source="bank"))
    required = RequiredInput(name="to/~%", schema=form)
    async with opened(wanting(), tools=box(bank, required)) as world:
        handle, ask = await world.asking()
        with pytest.raises(AnswerInvalid):
            await handle.answer(ask.key, {"to/~%": ["Oslo"]})
        await handle.answer(ask.key, {"to/~%": ["Rome"]})
        await soon(handle.over())
        assert bank.ran[0].arguments == {"to/~%": ["Rome"]}


async def test_nobody_is_asked_for_what_is_no_argument() -> None:
    """By a rule of many tools, which nobody could check before.  Source: R-GATE-05."""
    bank = Bank(TOOL)
    rules = {"bank/*": Policy(required_inputs=(RequiredInput(name="window"),))}
    tools = Toolbox([bank], policies=Policies(rules))
    async with opened(wanting(to="Rome", seats=1), tools=tools) as world:
        said = await soon((await world.submit()).result())
    why = "required input 'window' fills no argument of bank/book"
    arguments = "its arguments are: note, seats, to"
    assert said == [f"ToolRefused: book was not called: {why}; {arguments}"]
    assert bank.ran == []
