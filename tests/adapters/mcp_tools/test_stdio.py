"""Servers that are processes, spoken to by their pipes."""

import asyncio
import gc
import io
import os
import sys
from collections.abc import Awaitable
from pathlib import Path

import pytest
from mcp import StdioServerParameters

from interlock.errors import SourceUnavailable, ToolError
from interlock_adapters.mcp_tools import McpServer
from mcp_servers import ERAS, ONCE, Era, NotingClock, RecordingUse, called, cancelled, opened, tool
from support import pause, soon, until

SERVER = str(Path(__file__).parent / "stdio_server.py")

each_era = pytest.mark.parametrize("era", ERAS)


def started(notes: Path, era: Era, *, shared: bool = True) -> McpServer:
    """A source whose server is a process."""
    notes.touch()
    command = [sys.executable, SERVER, str(notes)]
    return McpServer("pipes", command=command, era=era, limits=ONCE, shared=shared)


def lives(process: object) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return "(zombie)" not in Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def open_files() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (their names do not matter)


def has_text(path: Path) -> bool:
    """Whether somebody has written there."""
    return path.exists() and path.read_text(encoding="utf-8") != ""


async def number(source: McpServer) -> object:
    """Which process answers."""
    result = await called(source, "process")
    assert isinstance(result.structured, dict)
    return result.structured["result"]


@each_era
async def test_a_process_serves_while_the_source_is_open(tmp_path: Path, era: Era) -> None:
    """One process for all calls; gone with its pipes afterwards.

    Source: issue 4, build 3, R-SRC-01.
    """
    async with opened(started(tmp_path / "warm-up", era)):
        pass
    before = open_files()
    async with opened(started(tmp_path / "notes", era)) as source:
        first, second = await number(source), await number(source)
        assert first == second
        assert lives(first)
    assert not lives(first)
    assert open_files() == before


@pytest.mark.parametrize("stream", ["none", "a buffer", "closed"])
async def test_a_process_is_started_wherever_our_own_errors_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """Also where that is nothing that a process could be given.  Source: ours, the demo's tests."""
    closed = (tmp_path / "errors").open("w", encoding="utf-8")
    closed.close()
    streams = {"none": None, "a buffer": io.StringIO(), "closed": closed}
    monkeypatch.setattr(sys, "stderr", streams[stream])
    async with opened(started(tmp_path / "notes", "modern")) as source:
        assert isinstance(await number(source), int)


@each_era
async def test_a_process_that_dies_in_a_call_fails_it_and_is_started_again(
    tmp_path: Path, era: Era
) -> None:
    """The call is not made twice; the next one finds a new process.  Source: issue 4."""
    async with opened(started(tmp_path / "notes", era)) as source:
        first = await number(source)
        with pytest.raises(SourceUnavailable, match="'pipes'"):
            await called(source, "die")
        second = await number(source)
        assert first != second
        assert not lives(first)
    assert not lives(second)


@each_era
async def test_a_process_that_died_between_calls_is_not_called(tmp_path: Path, era: Era) -> None:
    """A cut pipe is noticed before anything is sent.  Source: ours."""
    async with opened(started(tmp_path / "notes", era)) as source:
        first = await number(source)
        assert isinstance(first, int)
        os.kill(first, 9)
        link = source._connections._link
        assert link is not None
        await until(lambda: link.lost)
        assert await number(source) != first


@each_era
async def test_a_cancel_goes_through_the_pipe(tmp_path: Path, era: Era) -> None:
    """The tool in the other process sees it.  Source: MCP cancellation."""
    notes = tmp_path / "notes"
    async with opened(started(notes, era)) as source:
        call = asyncio.create_task(source.call(tool(source, "hang"), {}, RecordingUse()))
        await until(lambda: "hanging" in notes.read_text(encoding="utf-8"))
        await cancelled(call)
        await until(lambda: "cancelled" in notes.read_text(encoding="utf-8"))


async def test_a_question_over_a_pipe_is_put_to_the_one_call_that_is_open(tmp_path: Path) -> None:
    """There is nobody else whose it could be.  Source: ours."""
    use = RecordingUse(answers=[{"city": "Oslo"}])
    async with opened(started(tmp_path / "notes", "legacy")) as source:
        assert (await called(source, "book", use)).text == "accept:Oslo"


async def test_a_question_over_a_pipe_with_two_calls_open_is_put_to_nobody(tmp_path: Path) -> None:
    """Better refused than told to somebody else's task.  Source: ours."""
    notes = tmp_path / "notes"
    asking, other = RecordingUse(answers=[{"city": "Oslo"}]), RecordingUse()
    async with opened(started(notes, "legacy")) as source:
        hanging = asyncio.create_task(source.call(tool(source, "hang"), {}, other))
        await until(lambda: "hanging" in notes.read_text(encoding="utf-8"))
        with pytest.raises(ToolError, match="'pipes': it is not known which of several"):
            await called(source, "book", asking)
        assert (asking.asked, other.asked) == ([], [])
        await cancelled(hanging)


async def test_calls_with_processes_of_their_own_can_ask_side_by_side(tmp_path: Path) -> None:
    """`shared=False`: dear, and never ambiguous.  Source: issue 4, build 3."""
    notes = tmp_path / "notes"
    asking, other = RecordingUse(answers=[{"city": "Oslo"}]), RecordingUse()
    async with opened(started(notes, "legacy", shared=False)) as source:
        hanging = asyncio.create_task(source.call(tool(source, "hang"), {}, other))
        await until(lambda: "hanging" in notes.read_text(encoding="utf-8"))
        assert (await called(source, "book", asking)).text == "accept:Oslo"
        await cancelled(hanging)


async def test_a_command_that_is_not_there_is_an_error_that_names_the_server() -> None:
    """And tells no argument, which may be a secret.  Source: issue 4."""
    parameters = StdioServerParameters(command="/nowhere/at/all", args=["--token", "s3cret"])
    source = McpServer("pipes", command=parameters, limits=ONCE)
    with pytest.raises(SourceUnavailable, match=r"'pipes'.*No such file") as caught:
        await soon(source.open())
    assert "s3cret" not in str(caught.value) + repr(source)


async def given_up(clock: NotingClock, command: list[str], ready: Awaitable[None]) -> None:
    """Start a server that says nothing, and let its time be over once something is so."""
    source = McpServer("mute", command=command, clock=clock, limits=ONCE)
    opening = asyncio.create_task(source.open())
    await until(lambda: 20.0 in clock.delays)
    await ready
    clock.advance(20.0)
    with pytest.raises(SourceUnavailable, match=r"'mute'.*no answer within 20 s"):
        await soon(opening)


async def test_a_process_that_says_nothing_is_given_up_and_ended(tmp_path: Path) -> None:
    """It is not left behind.  Source: issue 4, bad input."""
    notes = tmp_path / "notes"
    script = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(notes)]
    await given_up(NotingClock(), command, until(lambda: has_text(notes)))
    assert not lives(notes.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4, 5, 6, 8, 10])
def test_a_process_that_is_only_being_started_is_waited_for_when_given_up(rounds: int) -> None:
    """At whatever step of its start: a zombie, or a pipe, would be complained of.  Source: ours."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    asyncio.run(given_up(NotingClock(), command, pause(rounds)))
    gc.collect()
