"""Tools that fail, hang, or are done without an answer: what an agent has to live with."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from interlock.models import JsonObject, JsonValue
from interlock.testing.fuzz._tape import Tape
from interlock.tools import Tool, ToolOutcome, ToolSource, ToolUse

#: What may become of a call; the first is the plainest, and stands for half of them.
_FATES: Final = ("", "", "", "", "fails", "hangs", "is slow", "is done, and its answer is lost")
#: Seconds that a slow call takes longer.
_SLOW_S: Final = 30.0


class WrappedSource:
    """A source of the user's, of which whoever extends this sees the calls."""

    def __init__(self, below: ToolSource) -> None:
        """Wrap `below`."""
        self._below: Final = below

    @property
    def name(self) -> str:
        """See `ToolSource.name`."""
        return self._below.name

    async def open(self) -> None:
        """See `ToolSource.open`."""
        await self._below.open()

    async def close(self) -> None:
        """See `ToolSource.close`."""
        await self._below.close()

    def tools(self) -> Sequence[Tool]:
        """See `ToolSource.tools`."""
        return self._below.tools()

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """See `ToolSource.call`."""
        return await self._below.call(tool, arguments, use)

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """See `ToolSource.go_on`."""
        return await self._below.go_on(tool, arguments, token, answers, use)


class FaultySource(WrappedSource):
    """A source of the user's, whose calls go wrong now and then."""

    def __init__(self, below: ToolSource, tape: Tape, say: Callable[[str], object]) -> None:
        """Wrap `below`; the tape decides, and the trace is told by `say`."""
        super().__init__(below)
        self._tape: Final = tape
        self._say: Final = say

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """See `ToolSource.call`."""
        return await self._made(tool, self._below.call(tool, arguments, use))

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """See `ToolSource.go_on`."""
        return await self._made(tool, self._below.go_on(tool, arguments, token, answers, use))

    async def _made(self, tool: Tool, leg: Coroutine[Any, Any, ToolOutcome]) -> ToolOutcome:
        fate = self._tape.pick(_FATES)
        if fate:
            self._say(f"(the tool {tool.name} {fate})")
        match fate:
            case "fails":
                leg.close()
                raise OSError("the tool of the simulation is away")
            case "hangs":
                leg.close()
                await asyncio.get_running_loop().create_future()
            case "is slow":
                try:
                    await asyncio.sleep(_SLOW_S)
                except BaseException:
                    leg.close()
                    raise
            case "is done, and its answer is lost":
                await leg
                raise OSError("the answer of the tool is lost")
            case _:
                pass
        return await leg
