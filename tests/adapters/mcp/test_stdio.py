"""The face over the pipes of a process of its own, in both eras."""

import os
import sys
from pathlib import Path

import mcp_types as wire
import pytest
from mcp import StdioServerParameters

from interlock_adapters.mcp_tools._task import Created
from mcp_face import ERAS, Era, accept, connected, raw, text
from support import soon

FACE = Path(__file__).with_name("stdio_face.py")


def process(directory: Path) -> StdioServerParameters:
    """How it is started."""
    arguments = [str(FACE), str(directory / "tasks.db")]
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment)


@pytest.mark.parametrize("era", ERAS)
async def test_a_question_and_its_answer_go_over_pipes(era: Era, tmp_path: Path) -> None:
    """Live in the one era, in rounds in the other.  Source: R-MCP-11."""
    answers = [accept(value="Ada")]
    async with connected(process(tmp_path), era, answers=answers) as host:
        result = await soon(host.client.call_tool("agent", {"message": "hi"}))
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "hello Ada"


async def test_a_task_outlives_the_process(tmp_path: Path) -> None:
    """The next one, on the same file, takes the answer.  Source: R-MCP-11."""
    async with connected(process(tmp_path), tasks=True, answers=()) as host:
        made = await host.call("agent", {"message": "hi"})
        assert isinstance(made, Created)
        while (await host.get(made.task_id)).status != "input_required":
            pass
    async with connected(process(tmp_path), tasks=True, answers=()) as host:
        await host.update(made.task_id, {"who": raw(accept(value="Ada"))})
        while (done := await host.get(made.task_id)).status != "completed":
            pass
    assert done.result is not None
    assert text(wire.CallToolResult.model_validate(done.result)) == "hello Ada"
