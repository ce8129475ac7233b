"""What a stranger's second reading of the adapter proved, so that it stays mended."""

import threading
from typing import Any

import pytest
from smolagents import Tool  # type: ignore[import-untyped]  # it has no types

from gates import Bank
from interlock import Tool as EngineTool
from interlock import Toolbox
from interlock_adapters.smolagents._model import _cleaned
from smol import Desk, answer, code, coder, heard_last, message, shown, smol, speaker, told

DEEP = '{"q": ' + "[" * 250 + "]" * 250 + "}"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"q": "half \\ud83d"}', "are not JSON: at /q: a text with half a character"),
        (DEEP, "are nested deeper than 200 levels, which is too deep"),
    ],
)
async def test_a_call_that_cannot_be_stored_is_told_and_its_siblings_run(
    arguments: str, why: str
) -> None:
    """Half of an emoji, as models write it in JSON: the whole task failed, for its artifact.

    Source: R-SMOL-04.
    """
    desk = Desk()
    both = message(("search", {"q": "LIS"}), ("search", arguments))
    async with smol(speaker(both, heard_last), desk.box()) as world:
        handle = await world.submit()
        said = await told(handle)
        calls = shown(world, handle)
    assert said.splitlines() == [
        "3 flights to LIS",
        f"search: the arguments of local/search {why}",
    ]
    assert desk.ran == [("search", "LIS")]
    assert calls["step-1/call-2"] == [{"tool": "search"}]


async def test_code_is_told_of_such_a_call_as_well() -> None:
    """By the gate, and not by the artifact.  Source: R-SMOL-05."""
    desk = Desk()
    tried = """
    try:
        search(chr(0xd83d))
    except Exception as error:
        final_answer(str(error))
    """
    async with smol(coder(code(tried)), desk.box()) as world:
        said = await told(await world.submit())
    assert "the arguments of local/search are not JSON: at /q: " in said
    assert desk.ran == []


def test_arguments_that_a_client_has_read_already_lose_halves_of_characters() -> None:
    """As those do that come as text.  Source: R-SMOL-03."""
    given = {"a\ud83d": ["b\ud83d", {"c": "d\ud83d"}, 1, None]}
    assert _cleaned(given) == {"a?": ["b?", {"c": "d?"}, 1, None]}


class Slow:
    """A picture, as the adapter knows one, that says on which thread it was packed."""

    def __init__(self, threads: list[int]) -> None:
        self.threads = threads

    def tobytes(self) -> bytes:
        """See PIL."""
        return b""

    def save(self, file: Any, format: str) -> None:  # noqa: A002, ANN401  PIL's
        """See PIL."""
        self.threads.append(threading.get_ident())
        file.write(format.encode())


class Camera(Tool):  # type: ignore[misc]  # the library has no types
    """An agent's own tool that makes a picture."""

    name = "camera"
    description = "Takes a picture."
    inputs: dict[str, Any] = {}  # noqa: RUF012  the library wants it so
    output_type = "any"

    def __init__(self, threads: list[int]) -> None:
        self.threads = threads
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as above

    def forward(self) -> Slow:
        """Take it."""
        return Slow(self.threads)


async def test_a_picture_is_packed_where_its_tool_ran() -> None:
    """It takes seconds, in which the event loop did nothing for anybody.  Source: ours."""
    threads: list[int] = []
    script: list[Any] = [{"camera": {}}, heard_last]
    async with smol(speaker(*script, own=[Camera(threads)])) as world:
        assert "image/png" in await told(await world.submit())
    (packed,) = threads
    assert packed != threading.get_ident()


def named(*names: str, source: str = "bank") -> list[EngineTool]:
    """Tools of these names."""
    return [EngineTool(name=name, source=source, input_schema={}) for name in names]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["see", "pay-now", "pay_now"], []),
        (["see", "final_answer", "ask_user", "ask_auth"], []),
        (["see", "pay"], ["pay"]),
    ],
)
async def test_tools_of_one_name_are_not_offered_and_end_no_task(
    ours: list[str], theirs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A server lists what it likes, also after the start; every task failed then.

    Source: R-SMOL-01, R-GATE-17.
    """
    offered: list[str] = []
    bank, other = Bank(*named(*ours)), Bank(*named("late", source="other"), name="other")
    make = speaker(answer("done"))

    def seen(task: Any, tools: list[Any]) -> object:  # noqa: ANN401  as the library's
        offered.extend(tool.name for tool in tools)
        return make(task, tools)

    async with smol(seen, Toolbox([bank, other])) as world:
        other.has += named(*theirs, source="other")
        assert await told(await world.submit()) == "done"
    assert offered == ["see", "late", "ask_user", "ask_auth"]
    warned = [r.getMessage() for r in caplog.records if r.name == "interlock.smolagents"]
    assert len(warned) == len(ours) + len(theirs) - 1
    assert warned[0] == f"tool bank/{ours[1]} is not offered: another has its name"
