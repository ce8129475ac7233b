"""A scripted model says its turns by what a prompt shows, and tells what was never said."""

import pytest

from interlock.testing import ModelCall, ModelTurn, ScriptedModel, ScriptExhausted


def test_a_turn_is_found_by_what_was_answered() -> None:
    """So another process goes on in the middle.  Source: issue 4, build 7."""
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
    """At the end of the block, unless it failed by itself.  Source: issue 4, build 7."""
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
