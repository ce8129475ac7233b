"""What an agent is told of a tool's arguments, by the schema that they are checked by.

Source: ours; the schemas are such as MCP servers have.
"""

import copy
import json
import pickle
from typing import Any

import pytest

from interlock import JsonObject, Tool
from interlock_adapters.smolagents._schema import (
    ADDED_MAX,
    identifier,
    inputs_of,
    omissible,
    schema_of,
)
from interlock_adapters.smolagents._tool import ToolboxTool


def object_of(**properties: Any) -> dict[str, Any]:  # noqa: ANN401  schemas
    """The schema of an object, of which `a` is required."""
    return {"type": "object", "properties": properties, "required": ["a"]}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("search", "search"),
        ("my-tool", "my_tool"),
        ("bank__pay.now", "bank__pay_now"),
        ("1st", "_1st"),
        ("class", "class_"),
        ("größe", "gr__e"),
        ("", "_"),
    ],
)
def test_a_name_can_be_written_in_python(name: str, told: str) -> None:
    """Code calls tools by their names, and smolagents refuses any other."""
    assert identifier(name) == told
    assert told.isidentifier()


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["integer", "null"]}, "integer"),
        ({"type": ["integer", "string"]}, ["integer", "string"]),
        ({}, "any"),
        (True, "any"),
        ({"enum": ["a"]}, "any"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"anyOf": [{"type": "string"}, {"enum": [1]}]}, "any"),
        ({"$ref": "#/$defs/City"}, "object"),
        ({"$ref": "#/$defs/Nowhere"}, "any"),
        ({"$ref": "#/$defs/Loop"}, "any"),
        ({"type": "frog"}, "any"),
    ],
)
def test_types_are_told_as_the_library_knows_them(
    schema: Any,  # noqa: ANN401  a schema
    told: Any,  # noqa: ANN401  a name, or several
) -> None:
    """References are followed, and where a schema does not say, anything may be given.

    Source: R-SMOL-10.
    """
    defs: JsonObject = {"City": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}}
    inputs = inputs_of({**object_of(a=schema), "$defs": defs})
    assert inputs["a"]["type"] == told
    assert "$ref" not in inputs["a"]


def test_what_may_be_left_out_is_told_so() -> None:
    """An argument that is not required may be null for the library; for its tool it is left out.

    Source: R-SMOL-10.
    """
    schema = object_of(
        a={"type": "string"},
        b={"type": "string"},
        c={"type": ["string", "null"]},
        d={},
    )
    assert [name for name, said in inputs_of(schema).items() if said.get("nullable")] == [
        "b",
        "c",
        "d",
    ]
    assert omissible(schema) == {"b"}
    tool = ToolboxTool(Tool(name="t", source="s", input_schema=schema), "t")
    assert tool.arguments_of((), {"a": "x", "b": None, "c": None}) == {"a": "x", "c": None}


def test_arguments_may_come_by_position_or_as_one_object() -> None:
    """As the library reads them, and never more than there are."""
    tool = ToolboxTool(Tool(name="t", source="s", input_schema=object_of(a={}, b={})), "t")
    assert tool.arguments_of((1, 2), {}) == {"a": 1, "b": 2}
    assert tool.arguments_of(({"a": 1},), {}) == {"a": 1}
    assert tool.arguments_of(({"z": 1},), {}) == {"a": {"z": 1}}
    with pytest.raises(TypeError, match="takes 2 arguments, and 3 were given"):
        tool.arguments_of((1, 2, 3), {})


def test_a_schema_that_refers_to_itself_in_many_places_stays_small() -> None:
    """All of it is in every prompt, and a server of somebody else's wrote it.

    Source: R-SMOL-10.
    """
    node: JsonObject = {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/node"} for name in "abcd"},
    }
    fields = {"a": {"$ref": "#/$defs/node"}, "z": {"type": "string"}}
    inputs = inputs_of({**object_of(**fields), "$defs": {"node": node}})
    assert len(json.dumps(inputs)) < 64 * ADDED_MAX
    # Still as deep as there is room for, and what refers to nothing is whole.
    assert inputs["a"]["properties"]["d"]["properties"]["b"]["type"] == "object"
    assert inputs["z"]["type"] == "string"


def test_inputs_of_an_own_tool_are_a_schema() -> None:
    """Strict: an argument that it does not have is refused; an image has no type in JSON."""
    inputs: dict[str, Any] = {
        "q": {"type": "string", "description": "What."},
        "n": {"type": "integer", "description": "How many.", "nullable": True},
        "i": {"type": "image", "description": "A picture."},
    }
    assert schema_of(inputs) == {
        "type": "object",
        "properties": {
            "q": {"type": "string", "description": "What."},
            "n": {"type": ["integer", "null"], "description": "How many."},
            "i": {"description": "A picture."},
        },
        "required": ["q", "i"],
        "additionalProperties": False,
    }


def test_a_gated_tool_cannot_be_sent_elsewhere() -> None:
    """It stands for calls of one run: a copy is itself, and a pickle is refused."""
    tool = ToolboxTool(Tool(name="t", source="s"), "t")
    assert copy.deepcopy(tool) is tool
    with pytest.raises(TypeError, match="cannot be sent elsewhere"):
        pickle.dumps(tool)
