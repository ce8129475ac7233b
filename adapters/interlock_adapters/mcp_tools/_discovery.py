"""Finding out what tools an MCP server has: every page, within bounds."""

from typing import Final

from mcp import ClientSession
from mcp_types import PaginatedRequestParams

from interlock import Tool
from interlock.errors import InvalidInput, SourceUnavailable
from interlock_adapters.mcp_tools._content import tool_of

#: Pages of a list: one that goes on longer has no end.
PAGES_MAX: Final = 100
#: Tools of one server: an agent is told of each.
TOOLS_MAX: Final = 5000


async def listed(source: str, session: ClientSession) -> tuple[Tool, ...]:
    """The tools of a server, as it lists them now.

    Raises:
        SourceUnavailable: its list has no end.
        InvalidInput: two tools have one name.
        MCPError: it does not list them.
        ValidationError: its list is none.
    """
    found: dict[str, Tool] = {}
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        params = None if cursor is None else PaginatedRequestParams(cursor=cursor)
        page = await session.list_tools(params=params)
        for tool in page.tools:
            if tool.name in found:
                raise InvalidInput([f"MCP server {source!r} has two tools {tool.name!r:.80}"])
            found[tool.name] = tool_of(source, tool)
        if len(found) > TOOLS_MAX:
            raise SourceUnavailable(source, f"it lists more than {TOOLS_MAX} tools")
        cursor = page.next_cursor
        if cursor is None:
            return tuple(found.values())
    raise SourceUnavailable(source, f"its list of tools goes on after {PAGES_MAX} pages")
