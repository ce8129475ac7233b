"""What an agent is handed of a result: what is large or binary is shown as an artifact instead."""

from typing import Any, Final, Protocol

from interlock._json import encoded
from interlock._toolbox import Toolbox, label_of
from interlock.errors import ResultInvalid
from interlock.models import JsonValue, Limits, Part
from interlock.tools import Tool, ToolResult

#: Characters of a text that is shown as an artifact which the agent is still handed.
EXCERPT_CHARS: Final = 1_000


class Desk(Protocol):
    """What it needs of its turn."""

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def toolbox(self) -> Toolbox:
        """The tools of the engine."""
        ...


class Show(Protocol):
    """Shows an artifact."""

    async def __call__(
        self,
        content: Any,  # noqa: ANN401  as `TaskContext.emit`
        /,
        *,
        artifact_id: str | None = None,
        name: str | None = None,
    ) -> str:
        """Its id, when it is durable."""
        ...


class Handover:
    """Makes a result small enough for an agent, and for the log."""

    def __init__(self, show: Show, desk: Desk) -> None:
        self._show: Final = show
        self._desk: Final = desk

    async def kept(self, result: ToolResult, key: str, tool: Tool) -> ToolResult:
        """The result, with an artifact's name where something was too large or is binary."""
        parts = [
            await self._part(part, f"{key}/{n}", tool) for n, part in enumerate(result.parts, 1)
        ]
        if "structured" in result.model_fields_set and not self._is_small(result.structured):
            note = await self._shown(Part(data=result.structured), f"{key}/data", tool, "data")
            given = {"parts": (*parts, Part(text=note)), "is_error": result.is_error}
            return ToolResult.model_validate(given)
        update: dict[str, Any] = {"parts": tuple(parts)}
        return result.model_copy(update=update) if parts else result

    async def _part(self, part: Part, artifact_id: str, tool: Tool) -> Part:
        if part.raw is not None:
            kind = part.media_type or "binary"
            return Part(text=await self._shown(part, artifact_id, tool, kind))
        if part.text is not None and len(part.text) > self._desk.toolbox.result_bytes_max // 4:
            # A character has at most four bytes; only what may be too large is measured.
            return await self._text(part, part.text, artifact_id, tool)
        if "data" in part.model_fields_set and not self._is_small(part.data):
            return Part(text=await self._shown(part, artifact_id, tool, "data"))
        return part

    async def _text(self, part: Part, text: str, artifact_id: str, tool: Tool) -> Part:
        if len(text) <= self._desk.limits.payload_bytes_max and self._is_small(text):
            return part
        note = await self._shown(part, artifact_id, tool, "text")
        return Part(text=f"{note}\nIt begins:\n{text[:EXCERPT_CHARS]}")

    def _is_small(self, value: JsonValue) -> bool:
        try:
            encoded(value, what="it", bytes_max=self._desk.toolbox.result_bytes_max)
        except ResultInvalid:
            return False
        return True

    async def _shown(self, part: Part, artifact_id: str, tool: Tool, kind: str) -> str:
        """What the agent is told of something that it is not handed."""
        size = len(part.raw or part.text or "")
        bytes_max = self._desk.limits.payload_bytes_max
        # Not encoded to be measured, where it is plain that it is too large.
        if size <= bytes_max and await self._is_shown(part, artifact_id, tool):
            return f"[{kind}: shown to the user as artifact {artifact_id}]"
        return (
            f"[{kind}: the tool was called and gave this, but it is lost: it is larger than the "
            f"{bytes_max} bytes that are kept]"
        )

    async def _is_shown(self, part: Part, artifact_id: str, tool: Tool) -> bool:
        try:
            await self._show(part, artifact_id=artifact_id, name=label_of(tool))
        except ResultInvalid:
            return False
        return True
