"""The agents of an engine as tools of MCP: what is listed, and what a call brings."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import mcp_types as wire

from interlock import Engine, Event, JsonObject, JsonValue, Part
from interlock.errors import InvalidInput
from interlock.forms import Form, form_of, problems_of
from interlock_adapters.mcp._fields import wants_secret
from interlock_adapters.mcp._settings import McpSettings, McpTool, TaskUse

#: Where a task keeps, in its metadata, which tool was called.
TOOL: Final = "interlock/mcp_tool"
#: The argument of a tool that declares none.
MESSAGE: Final = "message"
_TEXT: Final[JsonObject] = {
    "type": "object",
    "properties": {MESSAGE: {"type": "string", "description": "What is wanted, in words."}},
    "required": [MESSAGE],
}
#: What 2025-11-25 calls it.
_SUPPORT: Final[dict[TaskUse, Any]] = {
    "never": "forbidden",
    "optional": "optional",
    "required": "required",
}


@dataclass(frozen=True, slots=True)
class Offered:
    """One tool, ready to be called."""

    settings: McpTool
    #: What its arguments must fit, once all are there.
    form: Form
    #: The same without what is asked for first.
    schema: JsonObject
    output: JsonObject | None
    #: Its result is no object, and is given as `{"result": ...}`.
    wraps: bool

    @property
    def name(self) -> str:
        """Its name in the protocol."""
        return self.settings.name

    def listed(self, *, experimental: bool) -> wire.Tool:
        """As `tools/list` shows it."""
        told = self.settings
        support = wire.ToolExecution(task_support=_SUPPORT[told.tasks]) if experimental else None
        return wire.Tool(
            name=told.name,
            title=told.title,
            description=told.description,
            input_schema=self.schema,
            output_schema=self.output,
            annotations=told.annotations,
            execution=support,
        )

    def missing(self, arguments: Mapping[str, JsonValue]) -> list[str]:
        """Which arguments are to be asked for first."""
        return [name for name in self.settings.ask_first if name not in arguments]

    def problems(self, arguments: JsonObject) -> list[str]:
        """What is wrong with the arguments."""
        return problems_of(arguments, self.form.schema) or self.form.problems_of(arguments)

    def content(self, arguments: JsonObject) -> Part:
        """The arguments, as the agent gets them."""
        if self.settings.input is None:
            return Part(text=str(arguments[MESSAGE]))
        return Part(data=arguments)


def tool_name(submitted: Event) -> str | None:
    """Which tool was called, by the first event of a task; None if it came another way."""
    metadata: JsonObject = submitted.data.get("metadata") or {}
    name = metadata.get(TOOL)
    return name if isinstance(name, str) else None


class Catalog:
    """The tools of an engine."""

    def __init__(self, engine: Engine, settings: McpSettings) -> None:
        """Read the settings.

        Raises:
            InvalidInput: they do not make tools.
        """
        told = settings.tools or tuple(
            McpTool(name=name, agent=name, description=_said_of(agent))
            for name, agent in engine.agents.items()
        )
        problems: list[str] = []
        self._tools: Final[dict[str, Offered]] = {}
        for tool in told:
            try:
                _check_names(tool, engine, self._tools)
                self._tools[tool.name] = _offered(tool)
            except InvalidInput as error:
                problems += [f"MCP tool {tool.name!r}: {problem}" for problem in error.problems]
        if problems:
            raise InvalidInput(problems)
        self._experimental: Final = settings.experimental_tasks

    def get(self, name: object) -> Offered | None:
        """The tool of that name."""
        return self._tools.get(name) if isinstance(name, str) else None

    def listed(self) -> list[wire.Tool]:
        """All of them."""
        return [tool.listed(experimental=self._experimental) for tool in self._tools.values()]

    def schema_of(self, name: str) -> Mapping[str, Any] | None:
        """What headers that repeat arguments are compared with (2026-07-28)."""
        tool = self._tools.get(name)
        return None if tool is None else tool.schema


def _check_names(tool: McpTool, engine: Engine, others: Mapping[str, Offered]) -> None:
    """See that a tool is one of its name, and of an agent that there is.

    Raises:
        InvalidInput: it is not.
    """
    if tool.agent is not None and tool.agent not in engine.agents:
        accepted = ", ".join(map(repr, engine.agents))
        raise InvalidInput([f"there is no agent {tool.agent!r}; there is {accepted}"])
    if tool.name in others:
        raise InvalidInput(["there are two of this name"])


def _offered(tool: McpTool) -> Offered:
    form = form_of(_TEXT if tool.input is None else tool.input)
    if form.schema.get("type") != "object":
        raise InvalidInput(["its input is no object; a model or a schema of an object is accepted"])
    schema = dict(form.schema)
    fields = schema.get("properties")
    known = fields if isinstance(fields, dict) else {}
    if unknown := [name for name in tool.ask_first if name not in known]:
        raise InvalidInput([f"ask_first names {unknown[0]!r}, which is no field of its input"])
    if secret := [name for name in tool.ask_first if wants_secret(known[name])]:
        why = "which is a secret, and no form may ask for one"
        raise InvalidInput([f"ask_first names {secret[0]!r}, {why}"])
    required = schema.get("required")
    if tool.ask_first and isinstance(required, list):
        schema["required"] = [name for name in required if name not in tool.ask_first]
    output = None if tool.output is None else form_of(tool.output).schema
    wraps = output is not None and output.get("type") != "object"
    if output is not None and wraps:
        output = _wrapped(output)
    return Offered(tool, form, schema, output, wraps)


def _wrapped(output: JsonObject) -> JsonObject:
    """Until 2025-11-25 a structured result is an object."""
    inner = dict(output)
    outer: JsonObject = {
        name: inner.pop(name) for name in ("$defs", "definitions") if name in inner
    }
    # References in it point at the root, which is ours now.
    return {
        **outer,
        "type": "object",
        "properties": {"result": inner},
        "required": ["result"],
    }


def _said_of(agent: object) -> str:
    """What an agent says about itself, or that it says nothing."""
    inner: Any = agent
    while isinstance(inner, partial):
        inner = inner.func
    said = inspect.getdoc(inner) if inspect.isroutine(inner) else None
    return said or "An agent."
