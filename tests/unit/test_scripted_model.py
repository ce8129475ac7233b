"""A scripted model says its turns by what a prompt shows, and tells what was never said."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from interlock.testing import ModelCall, ModelTurn, ScriptedModel, ScriptExhausted


def test_a_turn_is_found_by_what_was_answered() -> None:
    """So another process goes on in the middle.  Source: issue 4, build 7, R-CLI-09."""
    model = ScriptedModel("one", {"search": {"q": "LIS"}}, lambda heard: f"three: {heard[-1]}")
    assert model.turn(2, ["found"]).text == "three: found"
    assert model.turn(1).calls == (ModelCall("search", {"q": "LIS"}),)
    assert model.turn(1) == ModelTurn.calling("search", q="LIS")
    assert model.prompts == 3
    assert model.unsaid == []


def test_a_turn_beyond_the_script_is_an_error() -> None:
    """A model that is asked too often is a test that does not know its agent.  Source: ours."""
    model = ScriptedModel("one")
    with pytest.raises(ScriptExhausted, match="turn 2 of a script of 1"):
        model.turn(1)


def test_a_turn_that_nobody_asked_for_is_an_error() -> None:
    """At the end of the block, unless it failed by itself.  Source: issue 4, build 7, R-CLI-09."""
    with pytest.raises(AssertionError, match=r"turns \[2\]"), ScriptedModel("one", "two") as model:
        model.turn(0)
    with pytest.raises(KeyError), ScriptedModel("one"):
        raise KeyError


def test_a_plan_is_found_by_the_turns_that_are_none() -> None:
    """A prompt for a new plan does not show the plans before it.  Source: ours."""
    first, second = ModelTurn("A", plan=True), ModelTurn("B", plan=True)
    model = ScriptedModel(first, "one", "two", second, "three")
    assert model.turn(0, plan=True) is first
    assert model.turn(1).text == "one"
    assert model.turn(2, plan=True) is second
    with pytest.raises(ScriptExhausted, match="turn 4 is not one"):
        model.turn(3)
    with pytest.raises(ScriptExhausted, match="turn 6"):
        model.turn(1, plan=True)


def test_a_script_of_any_form_is_turns() -> None:
    """A text, a mapping with a call for each tool, a turn, and functions of what was heard."""
    model = ScriptedModel(
        "words",
        {"search": {"q": "A"}, "ask_user": {"question": "?"}},
        ModelTurn("both", (ModelCall("search", "{broken", "id"),), input_tokens=1, output_tokens=2),
        lambda heard: ModelTurn.calling("final_answer", answer=" ".join(heard)),
    )
    assert model.turn(0) == ModelTurn("words")
    assert [call.name for call in model.turn(1).calls] == ["search", "ask_user"]
    assert model.turn(2).calls[0].arguments == "{broken"
    assert model.turn(3, ["a", "b"]).calls == (ModelCall("final_answer", {"answer": "a b"}),)


def test_a_turn_cannot_be_changed_through_what_the_script_says() -> None:
    """Whoever edits the arguments of a call does not edit the script."""
    given = {"search": {"q": "A"}}
    model = ScriptedModel(given)
    model.turn(0).calls[0].arguments["q"] = "B"
    assert model.turn(0).calls[0].arguments == {"q": "A"}
    assert given == {"search": {"q": "A"}}


def test_a_turn_that_another_process_said_counts_as_said() -> None:
    """A process that begins in the middle has not missed what came before.  Source: ours."""
    with ScriptedModel("one", "two", "three") as model:
        model.turn(2)


def test_a_plan_is_not_said_to_a_prompt_that_wants_none() -> None:
    """Nor a turn to one that wants a plan.  Source: ours."""
    model = ScriptedModel("one", ModelTurn("A", plan=True))
    with pytest.raises(ScriptExhausted, match="asked for a turn; turn 2 is not one"):
        model.turn(1)
    assert model.turn(1, plan=True).text == "A"


def test_threads_may_ask_at_once() -> None:
    """Prompts are counted however many agents share the script.  Source: ours."""
    model = ScriptedModel("one")
    with ThreadPoolExecutor(4) as pool:
        said = [turn.text for turn in pool.map(model.turn, [0] * 64)]
    assert said == ["one"] * 64
    assert model.prompts == 64
