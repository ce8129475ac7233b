"""The tools of an engine: where they come from, what they are called, and who has a say."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from interlock._local_tools import LocalTools
from interlock._plugins import Plugins
from interlock._schema import check_schema, problems_of
from interlock.errors import (
    AmbiguousTool,
    EngineError,
    InvalidInput,
    UnknownSource,
    UnknownTool,
)
from interlock.models import JsonObject
from interlock.policy import Policies, Policy, Refuse, RequiredInput
from interlock.tools import LOCAL, Refreshable, Tool, ToolSource

_log: Final = logging.getLogger("interlock.toolbox")

#: Bytes of one part of a result, as text or base64, that an agent is handed; more is shown as an
#: artifact.  A model's window is a few hundred kilobytes, shared by all results of a task.
RESULT_BYTES_MAX: Final = 65_536
#: Bytes of arguments that plugins may make.
ARGUMENT_BYTES_MAX: Final = 1_048_576
#: Schemas of which it is remembered whether they can be checked.
FAULTS_MAX: Final = 4_096
#: Why a tool is not called that is switched off.
NOT_ENABLED: Final = "it is not enabled"


@dataclass(frozen=True, slots=True)
class Found:
    """A tool, and where it is called."""

    tool: Tool
    source: ToolSource


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source as it is just now."""

    name: str
    #: Whether it can be reached, as far as it knows.
    available: bool
    #: Whether it can be asked anew what it has; others always say what they have.
    refreshable: bool
    #: All that it has, what is not enabled too.
    tools: tuple[Tool, ...]


class Toolbox:
    """Tools, their policies and plugins.  An engine opens and closes it."""

    def __init__(
        self,
        sources: Sequence[ToolSource | Callable[..., Any]] = (),
        *,
        policies: Policies | None = None,
        plugins: Sequence[object] = (),
        qualified: bool = False,
        agent_tools: Sequence[str] = (),
        result_bytes_max: int = RESULT_BYTES_MAX,
    ) -> None:
        """Take sources, and functions, which together become the source `local`.

        With `qualified`, agents see a tool as `source__name`; without, two sources must not
        have tools of one name.  `agent_tools` names what agents bring themselves, so that
        rules may name it.

        Raises:
            InvalidInput: two sources have one name, or a function is no tool, or a plugin none.
            TypeError: the policies are none.
        """
        _check_policies(policies)
        given = [source for source in sources if isinstance(source, ToolSource)]
        functions = [source for source in sources if not isinstance(source, ToolSource)]
        if functions:
            given.append(LocalTools(functions))
        names = [source.name for source in given]
        if len(set(names)) < len(names) or any("/" in name or not name for name in names):
            raise InvalidInput(
                [f"the sources are called {names}; each has a name of its own, without a slash"]
            )
        self.policies: Final = policies or Policies()
        self.plugins: Final = Plugins(plugins, bytes_max=ARGUMENT_BYTES_MAX)
        self.result_bytes_max: Final = result_bytes_max
        self._sources: Final = {source.name: source for source in given}
        self._qualified: Final = qualified
        self._brought: Final = tuple(Tool(name=name) for name in agent_tools)
        self._opened = AsyncExitStack()

    async def open(self) -> None:
        """Open every source, and check that names and rules mean one tool each.

        Raises:
            SourceUnavailable: a source cannot be reached, and is not optional.
            InvalidInput: two tools have one name, or a rule wants what is no argument of its tool.
            UnknownTool, AmbiguousTool: a rule names no tool, or several.
        """
        async with AsyncExitStack() as stack:
            for source in self._sources.values():
                stack.push_async_callback(source.close)
                await source.open()
            self.check()
            self._opened = stack.pop_all()

    def check(self) -> None:
        """Check that names and rules mean one tool each, as far as it is known what there is.

        A source that has no tools, since it was not opened say, may have any.

        Raises:
            InvalidInput: two tools have one name, or a rule wants what is no argument of its tool.
            UnknownTool, AmbiguousTool: a rule names no tool, or several.
        """
        self._check({name: source.tools() for name, source in self._sources.items()})

    async def close(self) -> None:
        """Close every source."""
        await self._opened.aclose()

    @property
    def tools(self) -> list[Tool]:
        """The tools that are enabled now."""
        return [tool for tool in self._all() if self.policies.of(tool).policy.enabled]

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Where tools come from, by name, each as it is just now: for who looks after it."""
        return MappingProxyType({name: _state(source) for name, source in self._sources.items()})

    async def rediscover(self, source: str) -> SourceState:
        """Ask a source anew what tools it has; they count from the next call on.

        Calls that are under way go on as they began.

        Raises:
            UnknownSource: there is no such source.
            SourceUnavailable: it cannot be reached; its tools stay as they were.
            InvalidInput: two tools would have one name, or a rule would want what is no argument
                of its tool; the tools stay as they were.
            UnknownTool, AmbiguousTool: a rule would name no tool, or several; likewise.
        """
        found = self._sources.get(source)
        if found is None:
            raise UnknownSource(source, sorted(self._sources))

        def check(tools: Sequence[Tool]) -> None:
            others = {name: other.tools() for name, other in self._sources.items()}
            self._check({**others, source: tools})

        if isinstance(found, Refreshable):
            await found.refresh(check)
        else:
            check(found.tools())
        return _state(found)

    def find(self, name: str) -> Tool:
        """The tool that `source/name`, the name that agents see, or a bare name means.

        Raises:
            UnknownTool, AmbiguousTool: it means none, or several.
        """
        return self.found(name).tool

    def found(self, name: str) -> Found:
        """The tool of that name, and its source; see `find`."""
        every = self._all()
        for named in (_qualified, self.name_of, _bare) if "/" in name else (self.name_of, _bare):
            matches = [
                tool
                for tool in every
                if named(tool) == name
                and (named is _qualified or not self._is_anothers(name, tool))
            ]
            if len(matches) == 1:
                return Found(matches[0], self._sources[matches[0].source])
            if matches:
                raise AmbiguousTool(name, [tool.qualified for tool in matches])
        raise UnknownTool(name, sorted(self.name_of(tool) for tool in self.tools))

    def _is_anothers(self, name: str, tool: Tool) -> bool:
        """Whether a name says that it is of another source, which may be away just now."""
        marks = ("/", "__") if self._qualified else ("/",)
        others = [source for source in self._sources if source != tool.source]
        is_full = self._qualified and name == self.name_of(tool)
        return not is_full and any(name.startswith(f"{o}{mark}") for o in others for mark in marks)

    def name_of(self, tool: Tool) -> str:
        """What agents call it."""
        return f"{tool.source}__{tool.name}" if self._qualified else tool.name

    def instructions(self) -> str:
        """What the plugins add to what agents are told."""
        return self.plugins.instructions()

    def format_result(self, value: Any) -> Any:  # noqa: ANN401  whatever an agent comes to
        """An agent's final result, as the plugins want it.

        Raises:
            PluginFailed: a plugin raised.
        """
        return self.plugins.formatted(value)

    async def problems_of_edit(self, label: str, arguments: JsonObject) -> list[str]:
        """What keeps a call from being made with the arguments that an approver wants.

        A tool that is in no toolbox is the agent's own affair.
        """
        for tool in self._all():
            if label_of(tool) == label:
                return await self.problems(tool, arguments, self.policies.of(tool).policy)
        return []

    async def problems(self, tool: Tool, arguments: JsonObject, policy: Policy) -> list[str]:
        """What keeps a call from being made with exactly these arguments."""
        try:
            said = await self.plugins.policy(tool, arguments, policy)
        except EngineError as error:
            return [str(error)]
        if isinstance(said, Refuse):
            return [said.reason]
        if not said.enabled or not self.policies.of(tool).policy.enabled:
            return [NOT_ENABLED]
        missing = [w.name for w in said.required_inputs if is_wanting(arguments, w)]
        if missing:
            return [f"{name} is missing, or not what the policy wants" for name in missing]
        return problems_with(tool, arguments)

    def _all(self) -> list[Tool]:
        return [tool for source in self._sources.values() for tool in source.tools()]

    def _check(self, tools: Mapping[str, Sequence[Tool]]) -> None:
        """Take what each source has for what rules may name, if names and rules mean one each.

        Raises:
            InvalidInput: two tools have one name, or a rule wants what is no argument of its tool.
            UnknownTool, AmbiguousTool: a rule names no tool, or several.
        """
        every = [tool for found in tools.values() for tool in found]
        self._check_names(every)
        away = {name for name, found in tools.items() if not found}
        self.policies.know((*every, *self._brought), away)

    def _check_names(self, every: Sequence[Tool]) -> None:
        """Refuse tools that agents, or rules, could not tell apart.

        Raises:
            InvalidInput: there are some.
        """
        problems: list[str] = []
        by_name: dict[str, list[Tool]] = {}
        for tool in every:
            by_name.setdefault(self.name_of(tool), []).append(tool)
        for name, tools in by_name.items():
            if len(tools) > 1:
                whose = ", ".join(tool.qualified for tool in tools)
                again = "" if self._qualified else "; qualified=True calls them apart"
                problems.append(f"several tools are called {name!r}: {whose}{again}")
        if problems:
            raise InvalidInput(problems)


def _check_policies(policies: object) -> None:
    if not (policies is None or isinstance(policies, Policies)):
        kind = type(policies).__name__
        raise TypeError(
            f"policies is of type {kind}; Policies are accepted: Policies({{'book': Policy(...)}})"
        )


def _state(source: ToolSource) -> SourceState:
    available = bool(getattr(source, "available", True))
    refreshable = isinstance(source, Refreshable)
    return SourceState(source.name, available, refreshable, tuple(source.tools()))


def _qualified(tool: Tool) -> str:
    return tool.qualified


def _bare(tool: Tool) -> str:
    return tool.name


def label_of(tool: Tool) -> str:
    """What people are shown."""
    return tool.name if tool.source == LOCAL else tool.qualified


def is_missing(arguments: JsonObject, name: str) -> bool:
    """Whether an argument was not given: absent, null, blank or empty."""
    value = arguments.get(name)
    if isinstance(value, str):
        return not value.strip()
    return value is None or value in ([], {})


def is_wanting(arguments: JsonObject, wanted: RequiredInput) -> bool:
    """Whether a required input was not given, or not as the policy wants it."""
    if is_missing(arguments, wanted.target):
        return True
    return wanted.form is not None and bool(problems_of(arguments[wanted.target], wanted.form))


def problems_with(tool: Tool, arguments: JsonObject, *, without: Sequence[str] = ()) -> list[str]:
    """What is wrong with arguments by the tool's schema, arguments `without` left out."""
    schema = tool.input_schema
    fault = _fault_of(schema)
    if fault is not None:
        # The schema is the source's claim; what cannot be checked is not called.
        _log.warning("tool %s cannot be called: %s", tool.qualified, fault)
        return [f"its schema cannot be checked: {fault}"]
    if without:
        arguments = {name: arguments[name] for name in arguments if name not in without}
        required = schema.get("required")
        if isinstance(required, list):
            schema = {**schema, "required": [name for name in required if name not in without]}
    return problems_of(arguments, schema)


def _fault_of(schema: JsonObject) -> str | None:
    """Why arguments cannot be checked against a schema, which is looked at once."""
    known = _FAULTS.get(id(schema))
    if known is None or known[0] is not schema:
        if len(_FAULTS) >= FAULTS_MAX:
            _FAULTS.clear()
        known = _FAULTS[id(schema)] = (schema, _fault_found(schema))
    return known[1]


def _fault_found(schema: JsonObject) -> str | None:
    try:
        check_schema(schema)
    except InvalidInput as error:
        return str(error)
    return None


#: By the identity of what is kept here too, so that it stays that schema's.
_FAULTS: Final[dict[int, tuple[JsonObject, str | None]]] = {}
