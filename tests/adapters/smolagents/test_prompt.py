"""The digest of a prompt: the same for the same question, another for any other.

Source: facts/peers-and-smolagents.md §4 (iv).
"""

from typing import Any, Final

import pytest
from PIL import Image
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    ChatMessage,
    MessageRole,
)

from interlock import Tool
from interlock_adapters.smolagents._prompt import PromptDigests
from interlock_adapters.smolagents._tool import ToolboxTool


def said(content: Any, role: Any = MessageRole.USER, calls: Any = None) -> Any:  # noqa: ANN401  the library's
    """A message."""
    return ChatMessage(role=role, content=content, tool_calls=calls)


def text(words: str) -> list[dict[str, Any]]:
    """A text as the library has it."""
    return [{"type": "text", "text": words}]


def image(red: int) -> list[dict[str, Any]]:
    """An image as the library has it, a new object each time."""
    return [{"type": "image", "image": Image.new("RGB", (2, 2), (red, 0, 0))}]


def tool(schema: dict[str, Any], name: str = "t") -> ToolboxTool:
    """A tool, a new object each time."""
    return ToolboxTool(Tool(name=name, source="s", input_schema=schema), name)


def schema(kind: str) -> dict[str, Any]:
    """The schema of one argument."""
    return {"type": "object", "properties": {"a": {"type": kind}}}


def asked(*messages: Any, **options: Any) -> tuple[list[Any], dict[str, Any]]:  # noqa: ANN401  the library's
    """What a model is asked with."""
    return list(messages), options


#: Questions of which no two are the same.
QUESTIONS: Final[list[Any]] = [
    lambda: asked(said("a")),
    lambda: asked(said("b")),
    lambda: asked(said("a"), said("b")),
    lambda: asked(said("ab")),
    lambda: asked(said("a", MessageRole.SYSTEM)),
    lambda: asked(said([*text("a"), *text("b")])),
    lambda: asked(said(text("\ud800"))),
    lambda: asked(said(image(1))),
    lambda: asked(said(image(2))),
    lambda: asked(said([*text("a"), *image(1)])),
    lambda: asked(said("a"), stop_sequences=["x"]),
    lambda: asked(said("a"), temperature=0.5),
    lambda: asked(said("a"), tools_to_call_from=[tool(schema("string"))]),
    lambda: asked(said("a"), tools_to_call_from=[tool(schema("integer"))]),
    lambda: asked(said("a"), tools_to_call_from=[tool(schema("string"), "u")]),
    lambda: asked(said("a"), tools_to_call_from=[tool(schema("string"))] * 2),
]


@pytest.mark.parametrize("at", range(len(QUESTIONS)))
def test_the_same_question_has_the_same_digest_in_every_run(at: int) -> None:
    """Whatever objects it is made of: no address, no time, no order of a set is in it.

    Source: R-SMOL-09.
    """
    one, other = QUESTIONS[at](), QUESTIONS[at]()
    assert PromptDigests().of(*one) == PromptDigests().of(*other)
    digests = PromptDigests()
    assert digests.of(*one) == digests.of(*one) == digests.of(*other)


def test_no_two_questions_have_one_digest() -> None:
    """A text, a role, a pixel, a type of an argument: anything that is other.

    Source: R-SMOL-09.
    """
    digests = {PromptDigests().of(*question()) for question in QUESTIONS}
    assert len(digests) == len(QUESTIONS)


def test_an_option_without_a_value_is_none() -> None:
    """A library that begins to pass `None` for something asks nothing else."""
    digests = PromptDigests()
    assert digests.of([said("a")], {"x": None}) == digests.of([said("a")], {})


def test_what_a_text_is_wrapped_in_makes_no_difference() -> None:
    """Plain, or as one piece."""
    digests = PromptDigests()
    assert digests.of([said("a")], {}) == digests.of([said(text("a"))], {})
