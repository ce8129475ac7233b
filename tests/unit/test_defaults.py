"""Defaults of a tool's schema are judged, shown and run: at every depth, and only where there are.

Source: a stranger's reading of the gate.
"""

import copy
import math
from typing import Final, Literal, cast

import pytest
from pydantic import BaseModel

from gates import asked, calling
from interlock import JsonObject, JsonValue, Policies, Policy, Tool, Toolbox, ToolCall
from interlock._defaults import with_defaults
from interlock.errors import InvalidInput
from interlock.policy import When
from support import opened, soon


class Line(BaseModel):
    """One thing of an order."""

    sku: str
    count: int = 1


class Card(BaseModel):
    """Paid by card."""

    kind: Literal["card"]
    secure: bool = True


class Cash(BaseModel):
    """Paid in notes."""

    kind: Literal["cash"]


class Order(BaseModel):
    """What is bought."""

    lines: list[Line]
    euro: int = 500
    extra: Line | None = None
    by: Card | Cash = Cash(kind="cash")
    notes: dict[str, Line] = {}


LARGE: Final = When(
    when={
        "properties": {"order": {"properties": {"euro": {"minimum": 100}}, "required": ["euro"]}},
        "required": ["order"],
    }
)


async def test_a_default_within_is_judged_shown_and_run() -> None:
    """Not only those on top: the tool would have bought for 500 unasked.  Source: R-GATE-03."""
    ran: list[Order] = []

    def buy(order: Order) -> str:
        ran.append(order)
        return "bought"

    box = Toolbox([buy], policies=Policies({"buy": Policy(confirm=LARGE)}))
    given: JsonObject = {
        "lines": [{"sku": "a"}, {"sku": "b", "count": 2}],
        "by": {"kind": "card"},
        "extra": {"sku": "c"},
        "notes": {"n": {"sku": "d"}},
    }
    async with opened(calling(ToolCall("buy", {"order": given})), tools=box) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        assert ran == []
        assert ask.arguments == {
            "order": {
                "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}],
                "euro": 500,
                "extra": {"sku": "c", "count": 1},
                "by": {"kind": "card", "secure": True},
                "notes": {"n": {"sku": "d", "count": 1}},
            }
        }
        await handle.approve(ask)
        assert await soon(handle.result()) == ["bought"]
    assert ask.arguments is not None
    assert [order.model_dump() for order in ran] == [ask.arguments["order"]]


async def test_no_default_is_filled_in_where_a_tool_says_that_there_is_none() -> None:
    """`city: str = None` has a default of null, which is no text: left out, it can be called.

    Source: R-GATE-13.
    """
    ran: list[object] = []

    def find(city: str = None, day: int | None = None) -> str:  # type: ignore[assignment]  # noqa: RUF013  as many write it
        ran.append((city, day))
        return "found"

    async with opened(calling(ToolCall("find", {})), tools=Toolbox([find])) as world:
        assert await soon((await world.submit()).result()) == ["found"]
    assert ran == [(None, None)]


def test_a_default_that_is_refused_otherwise_still_is() -> None:
    """It is what would run.  Source: R-GATE-03."""
    schema: JsonObject = {"properties": {"euro": {"type": "integer", "maximum": 9, "default": 10}}}
    assert with_defaults(Tool(name="pay", input_schema=schema), {}) == {"euro": 10}


def test_what_lacks_nothing_is_left_as_it_is() -> None:
    """The same object: it need not be judged again.  Source: ours."""
    tool = Tool(name="buy", input_schema={"properties": {"order": Order.model_json_schema()}})
    arguments: JsonObject = {"other": [{"a": 1}], "more": {"a": []}}
    assert with_defaults(tool, arguments) is arguments


def test_a_default_of_a_schema_that_holds_itself_comes_to_an_end() -> None:
    """It is filled in as it stands.  Source: ours."""
    node: JsonObject = {"properties": {"next": {"$ref": "#/$defs/node", "default": {}}}}
    schema: JsonObject = {"properties": {"at": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    filled = with_defaults(Tool(name="go", input_schema=schema), {"at": {"next": {"next": {}}}})
    assert filled == {"at": {"next": {"next": {"next": {}}}}}


def test_each_value_is_gone_into_once() -> None:
    """Once for each schema that it is under was twice as long for each level.

    Source: a stranger's reading.
    """
    node: JsonObject = {"properties": {"n": {"$ref": "#"}}}
    schema: JsonObject = {"allOf": [node, copy.deepcopy(node)], **copy.deepcopy(node)}
    schema["properties"] = {"n": {"$ref": "#"}, "last": {"default": True}}
    arguments: JsonObject = {}
    for _ in range(30):
        arguments = {"n": arguments}
    filled = with_defaults(Tool(name="go", input_schema=schema), arguments)
    for _ in range(30):
        assert filled["last"] is True
        filled = cast("JsonObject", filled["n"])
    assert filled == {"last": True}


#: A schema, a value, and what it is filled in to.
UNDER: Final[list[tuple[JsonObject, JsonValue, JsonValue]]] = [
    # What a place or a pattern owns is not of the rest.
    ({"prefixItems": [{}], "items": {"$ref": "#/$defs/d"}}, [{}, {}], [{}, {"x": 1}]),
    ({"prefixItems": [{"$ref": "#/$defs/d"}], "items": {}}, [{}, {}], [{"x": 1}, {}]),
    (
        {"patternProperties": {"^a": {}}, "additionalProperties": {"$ref": "#/$defs/d"}},
        {"a": {}, "b": {}},
        {"a": {}, "b": {"x": 1}},
    ),
    (
        {"patternProperties": {"^a": {"$ref": "#/$defs/d"}}, "properties": {"ab": {}}},
        {"ab": {}, "b": {}},
        {"ab": {"x": 1}, "b": {}},
    ),
    # Of two alternatives that fit nobody knows which it is.
    ({"anyOf": [{"$ref": "#/$defs/d"}, {"type": "object"}]}, {}, {}),
    ({"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}, {}, {"x": 1}),
    ({"oneOf": [{"required": ["x"]}, {"$ref": "#/$defs/d"}]}, {}, {"x": 1}),
    # The outer word counts.
    ({"properties": {"x": {"default": 2}}, "$ref": "#/$defs/d"}, {}, {"x": 2}),
]


@pytest.mark.parametrize(("schema", "value", "filled"), UNDER)
def test_which_schema_a_value_is_under(
    schema: JsonObject, value: JsonValue, filled: JsonValue
) -> None:
    """As where it is judged.  Source: a stranger's reading."""
    d: JsonObject = {"properties": {"x": {"default": 1}}}
    tool = Tool(name="go", input_schema={"properties": {"v": schema}, "$defs": {"d": d}})
    assert with_defaults(tool, {"v": value}) == {"v": filled}


def test_a_default_without_json_is_told_at_once() -> None:
    """In the words of the engine.  Source: R-GATE-13."""

    def wait(seconds: float = math.inf) -> str:
        return f"waited {seconds}"

    with pytest.raises(InvalidInput, match="wait is no tool: the default of an argument"):
        Toolbox([wait])
