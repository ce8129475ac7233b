"""Functions of the service as tools: the schema is the signature's."""

import functools
import threading
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from gates import calling, told
from interlock import Part, TaskContext, Toolbox, ToolCall, ToolResult, ToolUse
from interlock._local_tools import LocalTools, result_of
from interlock._schema import check_schema
from interlock.errors import EngineError, InvalidInput, UnknownTool
from support import opened, soon


class Trip(BaseModel):
    """A model."""

    to: str
    on: date


async def said_of(*functions: Callable[..., Any], **arguments: Any) -> Any:  # noqa: ANN401
    """What the first function's call comes to."""
    name = functions[0].__name__
    agent = calling(ToolCall(name, arguments))
    async with opened(agent, tools=Toolbox(functions)) as world:
        said = await soon((await world.submit()).result())
        assert isinstance(said, list)
        return said[0]


def book(trip: Trip, seats: Annotated[int, Field(ge=1)] = 1, *, note: str | None = None) -> Trip:
    """Book a trip.

    Not told to a model.
    """
    assert isinstance(trip, Trip)
    return trip.model_copy(update={"to": f"{trip.to} x{seats} {note}"})


def test_the_schema_is_read_from_the_signature() -> None:
    """With what is required, defaults and models.  Source: API4, Toolbox, R-GATE-13."""
    (tool,) = LocalTools([book]).tools()
    assert (tool.name, tool.source, tool.description) == ("book", "local", "Book a trip.")
    properties = tool.input_schema["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == {"trip", "seats", "note"}
    assert tool.input_schema["required"] == ["trip"]
    assert tool.input_schema["additionalProperties"] is False
    assert not tool.idempotent
    check_schema(tool.input_schema)


async def test_arguments_come_as_their_types_and_models_go_out_as_json() -> None:
    """The function is a plain one.  Source: API4, Toolbox, R-GATE-13."""
    said = await said_of(book, trip={"to": "Rome", "on": "2026-11-25"}, seats=2)
    assert said == {"to": "Rome x2 None", "on": "2026-11-25"}


async def test_what_a_type_wants_beyond_its_schema_is_told_to_the_agent() -> None:
    """Without the value.  Source: ours."""
    said = await said_of(book, trip={"to": "Rome", "on": "2026-11-31"})
    assert "2026-11-31" not in said
    assert said.startswith(("CallFailed", "ToolRefused"))


class Open(BaseModel, extra="allow"):
    """A model that keeps what it does not know."""

    a: int


async def test_what_a_model_would_drop_is_refused() -> None:
    """An approver would see it, and it would not run: `max_euro`, misspelt, is no limit.

    Source: R-GATE-03.
    """

    def keep(one: Open) -> Open:
        return one

    said = await said_of(book, trip={"to": "Rome", "on": "2026-11-25", "max_euro": 3})
    assert said == "ToolRefused: book was not called: at /trip: unknown field 'max_euro'"
    assert await said_of(keep, one={"a": 1, "b": 2}) == {"a": 1, "b": 2}


async def test_a_coroutine_function_runs_on_the_loop_and_a_plain_one_on_a_thread() -> None:
    """A plain one would hold up all others.  Source: API4, Toolbox."""
    main = threading.get_ident()

    async def coroutine() -> bool:
        return threading.get_ident() == main

    def plain() -> bool:
        return threading.get_ident() == main

    assert await said_of(coroutine) is True
    assert await said_of(plain) is False


async def test_a_parameter_of_type_tool_use_is_told_of_the_call() -> None:
    """And is no argument.  Source: API4, Toolbox."""

    async def who(greeting: str, use: ToolUse) -> str:
        return f"{greeting} {use.owner}"

    (tool,) = LocalTools([who]).tools()
    assert tool.input_schema["required"] == ["greeting"]
    assert await said_of(who, greeting="hello") == "hello ada"


async def test_an_argument_may_have_any_name() -> None:
    """Models have names of their own.  Source: ours."""

    def odd(model_config: str, copy: int, json: int = 1) -> list[Any]:
        return [model_config, copy, json]

    assert await said_of(odd, model_config="a", copy=2) == ["a", 2, 1]


async def test_a_plain_function_that_gives_a_coroutine_is_awaited() -> None:
    """A decorator may have hidden what it is.  Source: ours."""

    async def inner() -> str:
        return "done"

    def outer() -> Any:  # noqa: ANN401
        return inner()

    assert await said_of(outer) == "done"


class Adder:
    """An object that can be called, with a method that can, too."""

    def __call__(self, a: int) -> int:
        """Add one."""
        return a + 1

    def twice(self, a: int) -> int:
        """Double it."""
        return 2 * a


async def test_a_method_is_a_tool() -> None:
    """Without `self`.  Source: ours."""
    assert await said_of(Adder().twice, a=4) == 8


def _any(*args: int) -> int:
    return sum(args)


def _words(**kwargs: int) -> int:
    return sum(kwargs.values())


def _placed(a: int, /) -> int:
    return a


def _missing(a: "Nowhere") -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(a)  # pyright: ignore[reportUnknownArgumentType]


def _threading(lock: threading.Thread) -> str:
    return str(lock)


def _called_back(then: Callable[[int], int]) -> int:
    return then(1)


_KNOWN = "a tool is called by the names of arguments"
_HAVE = "which has no JSON; text, numbers, lists and models have one"
_IS = "a function or a bound method is"
NO_TOOLS: list[tuple[Any, str]] = [
    (_any, f"_any takes *args: int; {_KNOWN}"),
    (_words, f"_words takes **kwargs: int; {_KNOWN}"),
    (_placed, f"_placed takes a: int; {_KNOWN}"),
    (_missing, "_missing is no tool: the type of 'a' is 'Nowhere', which is not there"),
    (
        _threading,
        f"_threading is no tool: its argument 'lock' is {threading.Thread!r}, {_HAVE}",
    ),
    (
        _called_back,
        f"_called_back is no tool: its argument 'then' is {Callable[[int], int]!r}, {_HAVE}",
    ),
    (functools.partial(book, seats=2), f"what is of type functools.partial is no tool; {_IS}"),
    (5, f"what is of type int is no tool; {_IS}"),
    ("text", f"what is of type str is no tool; {_IS}"),
    (None, f"what is of type NoneType is no tool; {_IS}"),
]


@pytest.mark.parametrize(("fn", "why"), NO_TOOLS)
def test_what_cannot_be_called_by_names_with_json_is_no_tool(fn: Any, why: str) -> None:  # noqa: ANN401
    """It is refused when the toolbox is made, with the reason.  Source: API4, Toolbox."""
    with pytest.raises(InvalidInput) as caught:
        Toolbox([fn])
    assert str(caught.value) == why


@pytest.mark.parametrize("fn", [functools.partial(_any, 1), Adder()])
def test_what_has_no_signature_of_its_own_is_taken_or_refused_by_name(fn: Any) -> None:  # noqa: ANN401
    """Never an error of a library.  Source: ours."""
    try:
        Toolbox([fn])
    except EngineError as error:
        assert isinstance(error, InvalidInput)  # noqa: PT017


def test_two_functions_of_one_name_are_refused() -> None:
    """Source: issue 4, bad input."""
    with pytest.raises(InvalidInput, match="'book'"):
        Toolbox([book, book])


async def test_a_tool_of_another_source_is_not_known_to_it() -> None:
    """It calls its own.  Source: ours."""
    source = LocalTools([book], name="travel")
    await source.open()
    (tool,) = source.tools()
    assert tool.qualified == "travel/book"
    use: Any = None
    with pytest.raises(UnknownTool):
        await source.call(tool.model_copy(update={"name": "play"}), {}, use)
    with pytest.raises(AssertionError):
        await source.go_on(tool, {}, None, {}, use)
    await source.close()


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("text", ToolResult(parts=(Part(text="text"),))),
        (Part(url="https://x"), ToolResult(parts=(Part(url="https://x"),))),
        (None, ToolResult()),
        (5, ToolResult(structured=5)),
        (
            [Trip(to="Rome", on=date(2026, 1, 1))],
            ToolResult(structured=[{"to": "Rome", "on": "2026-01-01"}]),
        ),
        ({"a": (1, 2)}, ToolResult(structured={"a": [1, 2]})),
        (ToolResult(is_error=True), ToolResult(is_error=True)),
    ],
)
def test_what_a_function_returns_is_a_result(value: object, result: ToolResult) -> None:
    """Text is text, and everything else is a value.  Source: API4, Toolbox."""
    assert result_of(value) == result
    assert result_of(value).model_fields_set == result.model_fields_set


async def test_a_result_becomes_json_by_the_type_that_the_function_says() -> None:
    """As that of a call: it was refused once it was done.  Source: R-GATE-13."""

    def moved(on: date) -> date:
        return on

    def typed(on: date) -> dict[str, list[date]]:
        return {"days": [on, on]}

    assert await said_of(moved, on="2026-11-30") == "2026-11-30"
    assert await said_of(typed, on="2026-11-30") == {"days": ["2026-11-30"] * 2}


async def test_a_result_that_no_type_makes_json_was_made_all_the_same() -> None:
    """Whoever says nothing, or something else, is not guessed at.  Source: R-GATE-13."""

    def untyped(on: date):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return on

    def lies(on: date) -> int:
        return on  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def threads(on: date) -> threading.Thread:
        return threading.Thread(name=str(on))

    for fn, kind in ((untyped, "date"), (lies, "date"), (threads, "Thread")):
        said = await said_of(fn, on="2026-11-30")
        assert said.endswith(f"it was called, and gave a {kind}, which is no JSON")


async def test_a_tool_is_not_called_with_arguments_beyond_its_own() -> None:
    """A misspelt one would be lost.  Source: ours."""

    async def agent(task: TaskContext) -> str:
        return str(told((await task.call_tools([ToolCall("book", {"tripp": 1})]))[0]))

    async with opened(agent, tools=Toolbox([book])) as world:
        assert str(await soon((await world.submit()).result())).startswith("ToolRefused")
