"""What is fuzzed: a service's engine, made anew for every run with a simulated world around it."""

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType, ModuleType
from typing import Any, Final, TypeAlias, cast

from interlock._agent import Agent, AgentKind, Agents, Content, kind_of
from interlock._clock import Clock
from interlock._engine import Engine
from interlock._local_tools import LocalTools
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._outbox import Deliverer
from interlock._store import Store
from interlock._toolbox import Toolbox
from interlock.errors import InvalidInput
from interlock.models import Limits, parts_of
from interlock.testing.fuzz._answers_known import Known, known_in
from interlock.tools import ToolSource

#: Puts something around an agent before it is run: given its name, and the agent.
Wrap: TypeAlias = Callable[[str, Agent], Agent]

#: Where tool sources live that speak to other processes.
_NETWORKED: Final = "interlock_adapters."

#: What tasks are submitted with, unless a target says otherwise.
INPUTS: Final[tuple[Content, ...]] = ("hello", "do it", "", "again", "1", "a longer text\nof lines")


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of, but for the world around it."""

    agents: Mapping[str, Agent]
    tools: Toolbox | None = None
    limits: Limits | None = None
    lifecycle: Lifecycle = LIFECYCLE
    deliverers: Mapping[str, Deliverer] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Target:
    """Makes the engine of every run, with the user's agents, tools, limits and lifecycle."""

    #: Called for every engine, so that a factory's agents begin afresh.
    make: Callable[[], Parts]
    #: What tasks are submitted with.
    inputs: Sequence[Content] = INPUTS
    #: Called before every run.
    begin: Callable[[], object] = lambda: None
    #: Modules between whose lines another thread may go on: those of plain functions.
    lines_of: Sequence[ModuleType] = ()
    #: Modules whose locks each process has for itself, and those that they use.
    modules: Sequence[ModuleType] = ()
    #: What its policies, tools and agents compare with: some answers are made of it.
    known: Known = field(default_factory=Known)

    @staticmethod
    def of(
        found: object,
        *,
        inputs: Sequence[Content] = (),
        begin: Callable[[], object] | None = None,
    ) -> "Target":
        """What `found` is: an engine, an agent, agents by name, or a function that makes one.

        A target is taken as it is, but for what is given here beside it.

        A function without parameters is such a factory, and is called for every engine: use
        one where an agent or a tool keeps something, which is gone when its process is.
        `inputs` are what tasks are submitted with; without them a few texts are.  `begin` is
        called before every run: let it clear what outlives a process, such as a faked service.

        Raises:
            InvalidInput: it is none of these, or has tools that need a network; or something
                of the inputs cannot be submitted.
        """
        if isinstance(found, Target):
            given = _checked_inputs(inputs) or found.inputs
            return replace(found, inputs=given, begin=begin or found.begin)
        make = functools.partial(_made_by, found) if _is_factory(found) else None
        parts = _parts_of(found) if make is None else make()
        _check(parts)
        given = _checked_inputs(inputs) or INPUTS
        return Target(
            make or (lambda: parts),
            given,
            begin or (lambda: None),
            _modules_of(_on_threads(parts)),
            _modules_of((*parts.agents.values(), *_functions(parts.tools), found)),
            known_in(parts.tools, parts.agents.values()),
        )

    @property
    def lifecycle(self) -> Lifecycle:
        """What its tasks live by."""
        return self.make().lifecycle

    def engine(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        deliverers: Mapping[str, Deliverer] = MappingProxyType({}),
        lifecycle: Lifecycle | None = None,
        wrap: Wrap | None = None,
        source: Callable[[ToolSource], ToolSource] | None = None,
    ) -> Engine:
        """Make a fresh one on this store and by this clock.

        `deliverers` are added to its own; `lifecycle` stands in for its own and has to have
        the same rows; `wrap` is put around every agent, and `source` around every source of tools.
        """
        parts = self.make()
        # Opened once for each engine, and what one has opened is not the other's to close.
        tools = None if parts.tools is None else copy.copy(parts.tools)
        if tools is not None and source is not None:
            around = {name: source(each) for name, each in tools._sources.items()}  # noqa: SLF001
            vars(tools)["_sources"] = around
        wrapped = {
            name: agent if wrap is None else wrap(name, agent)
            for name, agent in parts.agents.items()
        }
        return Engine(
            wrapped,
            tools=tools,
            store=store,
            limits=parts.limits,
            clock=clock,
            deliverers={**parts.deliverers, **deliverers},
            new_id=new_id,
            lifecycle=lifecycle or parts.lifecycle,
        )


def _is_factory(found: object) -> bool:
    """Whether it is a function that can be called with nothing."""
    if isinstance(found, Engine | Mapping) or not callable(found):
        return False
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        return False
    return _takes(found, 0)


def _takes(found: object, count: int) -> bool:
    """Whether it can be called with so many arguments, as far as anybody knows."""
    try:
        inspect.signature(cast("Callable[..., object]", found)).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return count > 0
    return True


def _made_by(factory: object) -> Parts:
    return _parts_of(cast("Callable[[], object]", factory)())


def _parts_of(found: object) -> Parts:
    if isinstance(found, Engine):
        return Parts(found.agents, found.tools, found.limits, found.lifecycle, found.deliverers)
    agent = cast("Any", found)
    try:
        return Parts(Agents(agent).by_name)
    except TypeError as error:
        kind = type(found).__name__
        accepted = (
            "an Engine, an agent, a mapping of names to agents, a Target, or a function without "
            "parameters that makes one of the first three is accepted"
        )
        raise InvalidInput([f"{kind} cannot be fuzzed: {error}; {accepted}"]) from None


def _checked_inputs(inputs: object) -> tuple[Content, ...]:
    """A list of what a client may submit.

    Raises:
        InvalidInput: it is none, or something in it cannot be submitted.
    """
    accepted = "a list of texts, JSON objects, parts or lists of parts is accepted"
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise InvalidInput([f"inputs is of type {type(inputs).__name__}; {accepted}"])
    given = cast("Sequence[Content]", inputs)
    for place, content in enumerate(given):
        try:
            parts_of(content)
        except InvalidInput as error:
            raise InvalidInput([f"inputs[{place}]: {error}"]) from None
        except ValueError as error:
            why = str(error).partition("\n")[0]
            raise InvalidInput(
                [f"inputs[{place}] cannot be submitted: {why}; {accepted}"]
            ) from None
    return tuple(given)


def _on_threads(parts: Parts) -> Iterator[object]:
    """The plain functions among agents and tools."""
    yield from (agent for agent in parts.agents.values() if kind_of(agent) is AgentKind.THREAD)
    for found in _functions(parts.tools):
        if inspect.isfunction(found) and not inspect.iscoroutinefunction(found):
            yield found


def _functions(tools: Toolbox | None) -> Iterator[object]:
    """What the tools are that are functions."""
    sources = () if tools is None else tools._sources.values()  # noqa: SLF001  see `_check`
    for source in sources:
        yield source
        if isinstance(source, LocalTools):
            yield from (made._fn for made in source._functions.values())  # noqa: SLF001  as above


def _modules_of(things: Iterable[object]) -> tuple[ModuleType, ...]:
    """The modules in which these are defined."""
    found: dict[str, ModuleType] = {}
    for thing in things:
        inner: Any = inspect.unwrap(cast("Any", thing)) if callable(thing) else thing
        while isinstance(inner, functools.partial):
            inner = inner.func  # pyright: ignore[reportUnknownMemberType]
        name = str(getattr(inner, "__module__", None) or type(inner).__module__)
        module = sys.modules.get(name)
        if module is not None and getattr(module, "__file__", None) is not None:
            found[name] = module
    return tuple(found.values())


def _check(parts: Parts) -> None:
    """Refuse what cannot be called, and what a simulation has no network for.

    Raises:
        InvalidInput: there is such an agent, or a source of tools is elsewhere.
    """
    for name, agent in parts.agents.items():
        if not _takes(agent, 1):
            why = "cannot be called with a task, its only argument; a factory is a plain function"
            raise InvalidInput([f"the agent {name!r} {why}, and not async"])
    tools = parts.tools or Toolbox()
    sources = tools._sources.values()  # noqa: SLF001  nobody else wants to know
    away = [s.name for s in sources if type(s).__module__.startswith(_NETWORKED)]
    if away:
        instead = "fuzz an engine whose sources are functions, or a faked source"
        why = "are reached over a network, which a simulation does not have"
        raise InvalidInput([f"the tools of {', '.join(away)} {why}: {instead}"])
