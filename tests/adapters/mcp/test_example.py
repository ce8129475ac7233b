"""The example of an MCP server, run as its user would run it."""

from pathlib import Path

import mcp_types as wire
import pytest
from starlette.applications import Starlette

from example_files import EXAMPLES, module_at
from mcp_face import ERAS, Era, accept, connected, text
from mcp_servers import listening, serving
from support import soon


def application(directory: Path) -> Starlette:
    """Its application, with its tasks in that directory."""
    module = module_at(EXAMPLES / "mcp_server.py")
    made = module.make_app(f"sqlite:///{directory}/tasks.db")
    assert isinstance(made, Starlette)
    return made


@pytest.mark.parametrize("era", ERAS)
async def test_the_example_books_a_trip(era: Era, tmp_path: Path) -> None:
    """It asks where to before there is a task, then for a seat, then for leave.

    Source: R-PKG-05.
    """
    answers = [accept(city="Rome"), accept(value="aisle"), accept(decision="approve")]
    async with (
        listening() as found,
        serving(application(tmp_path), found) as url,
        connected(url, era, answers=answers) as host,
    ):
        result = await soon(host.client.call_tool("book", {"nights": 3}))
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "3 nights in Rome, aisle."
    assert "270" in host.asked[2].message
