"""An agent's own smolagents tool as a source of tools: called behind the gate, like any other."""

import base64
import io
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from pydantic import BaseModel

from interlock import JsonObject, JsonValue, Part
from interlock.tools import LOCAL, Tool, ToolOutcome, ToolResult, ToolUse
from interlock_adapters.smolagents._schema import schema_of
from interlock_adapters.smolagents._show import clean
from interlock_adapters.smolagents._types import LibTool

__all__ = ["OwnTool", "picture_of", "result_of"]


class OwnTool:
    """One tool that an agent brought with it."""

    def __init__(self, inner: LibTool) -> None:
        self.name: Final = LOCAL
        self._inner: Final = inner
        self.tool: Final = Tool(
            name=inner.name,
            source=self.name,
            description=inner.description,
            input_schema=schema_of(inner.inputs),
        )

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    def tools(self) -> Sequence[Tool]:
        """The one."""
        return [self.tool]

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """Run it, on a thread of its own; there its picture is made, which takes seconds."""
        del tool
        return await use.on_thread(partial(self._ran, arguments))

    def _ran(self, arguments: JsonObject) -> ToolResult:
        return result_of(self._inner(**arguments))

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """It is always done at once."""
        raise NotImplementedError(tool.name, arguments, token, answers, use)


def result_of(value: object) -> ToolResult:
    """What a tool returned, as the journal keeps it; what has no JSON is an error of the tool."""
    if isinstance(value, ToolResult):
        return value
    if isinstance(value, str):
        return ToolResult(parts=(Part(text=clean(str(value))),))
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if (picture := picture_of(value)) is not None:
        return ToolResult(parts=(picture,))
    try:
        said = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        kind = type(value).__name__
        why = f"the tool returned a {kind}, which is no JSON; it was run all the same"
        return ToolResult(parts=(Part(text=why),), is_error=True)
    return ToolResult(structured=cast("JsonValue", said))


def picture_of(value: Any) -> Part | None:  # noqa: ANN401  whatever a tool or an agent gives
    """An image of any library that is like PIL's, as a part; None if it is none."""
    if not (callable(getattr(value, "save", None)) and callable(getattr(value, "tobytes", None))):
        return None
    file = io.BytesIO()
    value.save(file, format="PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    return Part(raw=encoded, media_type="image/png")
