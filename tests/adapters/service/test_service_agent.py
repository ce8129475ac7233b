"""Agents of smolagents by their definition: model, key, instructions, steps.

R-SVC-37.  T12 (code agents are off), T20 (the key).
"""

import os
from typing import Any, Final

import pytest

from interlock import Phase
from interlock.errors import InvalidInput
from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.config import AgentConfig, Config, ModelConfig
from interlock_adapters.service import Instructions, Service
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from openai_server import served

KEY: Final = "sk-canary"
DONE: Final = ModelTurn.calling("final_answer", answer="done")


def scripted() -> ScriptedSmolModel:
    """A model that answers at once."""
    return ScriptedSmolModel(ScriptedModel(DONE))


def config(**said: object) -> Config:
    """A service whose agent is made of that."""
    model = {"id": "m", "provider": f"{__name__}:scripted"}
    agent = {"model": model, **said}
    return Config.model_validate({"agent": agent, "store": "memory:"})


async def result(service: Service, text: str = "go") -> object:
    """What a new task comes to."""
    task = await service.engine.submit(text, owner="ada")
    return await task.result()


def prompt_of(asked: dict[str, Any]) -> str:
    """All that a model was told."""
    return str(asked["messages"])


async def test_a_definition_asks_its_model_with_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which is read when a model is made, and put nowhere.  R-SVC-37, T20."""
    monkeypatch.setenv("MODEL_KEY", "sk-first")
    before = dict(os.environ)
    with served(DONE, DONE) as server:
        model = {"id": "gpt-x", "api_base": server.url, "api_key_env": "MODEL_KEY"}
        service = Service.of(config(model=model, instructions="Be brief."))
        async with service.engine:
            assert await result(service) == "done"
            monkeypatch.setenv("MODEL_KEY", KEY)
            assert await result(service) == "done"
        assert server.keys == ["Bearer sk-first", f"Bearer {KEY}"]
        assert server.asked[0]["model"] == "gpt-x"
        assert "Be brief." in prompt_of(server.asked[0])
    assert {**before, "MODEL_KEY": KEY} == dict(os.environ)
    assert KEY not in repr(service.config)


async def test_instructions_that_change_are_for_the_next_task() -> None:
    """One that goes on is told what it was told at its beginning.  R-SVC-37."""
    ask = ModelTurn.calling("ask_user", question="Where to?")
    with served(ask, DONE, DONE) as server:
        service = Service.of(
            config(model={"id": "m", "api_base": server.url}, instructions="First words.")
        )
        assert service.instructions is not None
        async with service.engine:
            first = await service.engine.submit("go", owner="ada")
            waiting = await first.rest()
            assert waiting.phase is Phase.WAITING_INPUT
            service.instructions.set("Second words.")
            await first.answer(waiting.asks[0].key, "Lisbon")
            assert await first.result() == "done"
            assert await result(service) == "done"
        told = [prompt_of(asked) for asked in server.asked]
    assert ["First words." in one for one in told] == [True, True, False]
    assert ["Second words." in one for one in told] == [False, False, True]


async def test_a_model_may_come_from_anywhere_in_python() -> None:
    """R-SVC-37."""
    service = Service.of(config())
    async with service.engine:
        assert await result(service) == "done"


async def test_steps_have_a_bound() -> None:
    """R-SVC-37."""
    with served(ModelTurn("no tool"), ModelTurn("no tool"), ModelTurn("no tool")) as server:
        service = Service.of(config(model={"id": "m", "api_base": server.url}, max_steps=2))
        async with service.engine:
            task = await service.engine.submit("go", owner="ada")
            assert (await task.over()).shown is Phase.FAILED
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (
            ModelConfig(id="m", api_key_env="NOT_SET"),
            "agent.model.api_key_env: NOT_SET is not set; set it, or leave api_key_env out",
        ),
        (
            ModelConfig(id="m"),
            "agent.model: OpenAI wants a key; api_key_env names the variable that holds the key",
        ),
        (
            ModelConfig(id="m", provider="json:nothing"),
            "agent.model.provider: json:nothing: json has no nothing",
        ),
    ],
)
def test_a_model_that_cannot_be_asked_is_told_before_anything_starts(
    model: ModelConfig, fault: str
) -> None:
    """R-SVC-37."""
    with pytest.raises(InvalidInput) as caught:
        Service.of(Config(agent=AgentConfig(model=model), store="memory:"))
    assert caught.value.problems[0].startswith(fault)


def test_code_agents_are_off() -> None:
    """T12."""
    assert AgentConfig(model=ModelConfig(id="m")).allow_code is False


def test_instructions_have_bounds() -> None:
    """R-SVC-37."""
    instructions = Instructions("a")
    for text in ("x" * 65_537, "\ud800"):
        with pytest.raises(InvalidInput):
            instructions.set(text)
        assert instructions.get() == "a"


def test_an_agent_that_is_not_told_them_has_none() -> None:
    """Setting them would do nothing, and nobody would know.  R-SVC-37."""
    assert Service.of(Config(agent=_plain, store="memory:")).instructions is None


async def _plain(_task: object) -> str:
    return "done"
