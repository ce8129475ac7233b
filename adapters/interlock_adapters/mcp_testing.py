"""An MCP server for tests of what is built on `McpServer`: in this process, and scripted.

    bank = ScriptedMcp("bank")

    @bank.mcp.tool()
    def pay(amount: int) -> str:
        return "paid"

    bank.answer("pay", ConnectionError("no line"))      # instead of calling it, once
    engine = Engine(agent, tools=Toolbox([bank.source()]))
    assert bank.calls == [("pay", {"amount": 5})]

`mcp` is the SDK's own server, with all that it can do.
"""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

from interlock import Clock
from interlock_adapters.mcp_tools import McpLimits, McpServer

import mcp_types as wire  # isort: skip  (`mcp_tools` says what to install if it is missing)
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext  # isort: skip
from mcp.server.mcpserver import Extension, MCPServer  # isort: skip

__all__ = ["ScriptedMcp"]


class ScriptedMcp:
    """An MCP server in this process that notes its calls, and answers some by a script."""

    def __init__(self, name: str = "test", *, extensions: Sequence[Extension] = ()) -> None:
        self._script: Final = _Script(self._has_result)
        #: The server: give it tools.
        self.mcp: Final = MCPServer(
            name, extensions=[self._script, *extensions], log_level="CRITICAL"
        )

    async def _has_result(self, tool: str) -> bool:
        """Whether the SDK promises that the tool's text is also there as structured content."""
        for listed in await self.mcp.list_tools():
            if listed.name == tool:
                return "result" in (listed.output_schema or {}).get("properties", {})
        return False

    @property
    def calls(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """Every call that reached it: the tool and its arguments."""
        return self._script.calls

    def answer(self, tool: str, *outcomes: str | wire.CallToolResult | Exception) -> None:
        """Answer the next calls of a tool so, one each, without calling it."""
        self._script.outcomes[tool].extend(outcomes)

    def source(
        self,
        *,
        era: Literal["legacy", "modern"] = "modern",
        limits: McpLimits | None = None,
        clock: Clock | None = None,
    ) -> McpServer:
        """Its tools, as an engine gets them."""
        return McpServer(self.mcp.name, server=self.mcp, era=era, limits=limits, clock=clock)


class _Script(Extension):
    identifier = "interlock/script"

    def __init__(self, has_result: Callable[[str], Awaitable[bool]]) -> None:
        self._has_result: Final = has_result
        self.calls: Final[list[tuple[str, dict[str, Any]]]] = []
        self.outcomes: Final = defaultdict[str, deque[str | wire.CallToolResult | Exception]](deque)

    async def intercept_tool_call(
        self,
        params: wire.CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
    ) -> HandlerResult:
        self.calls.append((params.name, dict(params.arguments or {})))
        if not self.outcomes[params.name]:
            return await call_next(ctx)
        match self.outcomes[params.name].popleft():
            case str(text):
                return await self._text(params.name, text)
            case wire.CallToolResult() as result:
                return result
            case Exception() as error:
                raise error

    async def _text(self, tool: str, text: str) -> wire.CallToolResult:
        content: list[wire.ContentBlock] = [wire.TextContent(type="text", text=text)]
        if await self._has_result(tool):
            return wire.CallToolResult(content=content, structured_content={"result": text})
        return wire.CallToolResult(content=content)
