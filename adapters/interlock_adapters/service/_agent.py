"""The agent of a configuration: what an import path names, or what a definition is made of."""

import sys
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

from interlock import Agent, Engine, Lifecycle
from interlock.errors import InvalidInput
from interlock_adapters.config import Config, ServiceConfig
from interlock_adapters.config._parts import (
    INSTRUCTIONS_CHARS_MAX,
    AgentConfig,
    ModelConfig,
)

if TYPE_CHECKING:
    from interlock import SyncTaskContext


class Instructions:
    """What agents are told besides; it can be changed, for the tasks that begin from then on.

    A plugin of the toolbox: each task keeps in its log what it was told at its beginning, so
    that one which goes on is told the same.  After a restart it is as the configuration says.
    """

    def __init__(self, text: str = "") -> None:
        self._text = text
        self._held: Final = Lock()  # Agents read it on threads.

    def instructions(self) -> str:
        """For the toolbox."""
        return self.get()

    def get(self) -> str:
        """The text as it is now."""
        with self._held:
            return self._text

    def set(self, text: str) -> None:
        """Another text, for the next task.

        Raises:
            InvalidInput: it is longer than `INSTRUCTIONS_CHARS_MAX`, or no whole text.
        """
        if len(text) > INSTRUCTIONS_CHARS_MAX:
            wanted = f"{INSTRUCTIONS_CHARS_MAX} are accepted"
            raise InvalidInput([f"the instructions have {len(text)} characters; {wanted}"])
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(
                ["the instructions hold half a character; text is accepted"]
            ) from None
        with self._held:
            self._text = text


def needs(where: str, extra: str, missing: ModuleNotFoundError) -> InvalidInput:
    """The error of a part that is on and whose extra is not installed."""
    install = f"pip install 'interlock[{extra}]'"
    return InvalidInput(
        [f"{where}: {missing.name} is missing; it needs the {extra} extra: {install}"]
    )


def resolved(config: ServiceConfig, named: object, *place: str | int) -> object:
    """A thing of Python that a configuration names, or has; modules beside its file are found.

    Raises:
        InvalidInput: there is no such thing; says where it is named.
    """
    if not isinstance(named, str):
        return named
    # It brings the whole command line along, which a service made of objects does without.
    from interlock_adapters.cli._common import NotFound  # noqa: PLC0415
    from interlock_adapters.cli._found import module_and_object  # noqa: PLC0415

    beside = str(config.base.resolve())
    if beside not in sys.path:
        sys.path.insert(0, beside)
    try:
        return module_and_object(named)[1]
    except NotFound as error:
        raise InvalidInput([f"{config.at(*place)}: {error}"]) from error


def agent_of(config: Config) -> "Agent | Mapping[str, Agent]":
    """What runs the tasks.

    Raises:
        InvalidInput: it cannot be found or made; says where.
    """
    if isinstance(config.agent, AgentConfig):
        return _smol_agent(config, config.agent)
    found = resolved(config, config.agent, "agent")
    if isinstance(found, Engine) or not (callable(found) or isinstance(found, Mapping)):
        kind = type(found).__name__
        wanted = "an agent (a function of the task), or a mapping of names to agents, is accepted"
        raise InvalidInput([f"{config.at('agent')}: it is of type {kind}; {wanted}"])
    return cast("Agent | Mapping[str, Agent]", found)


def lifecycle_of(config: Config) -> Lifecycle | None:
    """The lifecycle that is named; None is the shipped one.

    Raises:
        InvalidInput: it cannot be found, or is none.
    """
    found = resolved(config, config.lifecycle, "lifecycle")
    if found is None or isinstance(found, Lifecycle):
        return found
    raise InvalidInput(
        [f"{config.at('lifecycle')}: it is of type {type(found).__name__}, not Lifecycle"]
    )


def _smol_agent(config: Config, definition: AgentConfig) -> Agent:
    try:
        # Of extras: other agents do without.
        from smolagents import (  # type: ignore[import-untyped]  # noqa: PLC0415  it has no types
            CodeAgent,
            OpenAIModel,
            ToolCallingAgent,
        )

        from interlock_adapters.smolagents import SmolAgent  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise needs(config.at("agent"), "smolagents", missing) from None
    model_of = _model_maker(config, definition.model, OpenAIModel)
    kind = cast("Callable[..., object]", CodeAgent if definition.allow_code else ToolCallingAgent)

    def make(_task: "SyncTaskContext", tools: list[Any]) -> object:
        return kind(tools=tools, model=model_of(), max_steps=definition.max_steps)

    agent = SmolAgent(make, allow_code=definition.allow_code, on_max_steps=definition.on_max_steps)
    return cast("Agent", agent)


def _model_maker(
    config: Config, model: ModelConfig, openai: Callable[..., object]
) -> Callable[[], object]:
    """What makes the model of one run.  The key is read then, and is put nowhere else."""
    at = ("agent", "model")
    if model.provider != "openai":
        made = resolved(config, model.provider, *at, "provider")
        return cast("Callable[[], object]", made) if _makes(made) else lambda: made
    name = model.api_key_env
    if name is not None and not config.environ.get(name):
        wanted = "set it, or leave api_key_env out for a server without keys"
        raise InvalidInput([f"{config.at(*at, 'api_key_env')}: {name} is not set; {wanted}"])
    if name is None and model.api_base is None:
        wanted = "api_key_env names the variable that holds the key"
        raise InvalidInput([f"{config.at(*at)}: OpenAI wants a key; {wanted}"])

    def make() -> object:
        key = "none" if name is None else config.environ.get(name, "")
        return openai(model.id, api_base=model.api_base, api_key=key)

    return make


def _makes(made: object) -> bool:
    """Whether it makes a model; a model can be called, too."""
    return callable(made) and (isinstance(made, type) or not hasattr(made, "generate"))
