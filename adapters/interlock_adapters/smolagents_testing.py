"""For tests of agents of smolagents: a model that says what a script says.

script = ScriptedModel({"search": {"q": "Lisbon"}}, {"final_answer": {"answer": "done"}})
agent = ToolCallingAgent(tools=tools, model=ScriptedSmolModel(script))
"""

import json
from collections.abc import Generator
from itertools import groupby
from typing import Any, Final, cast

from smolagents import ChatMessage, MessageRole, Model  # type: ignore[import-untyped]  # no types
from smolagents.models import (  # type: ignore[import-untyped]  # as above
    ChatMessageStreamDelta,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    ChatMessageToolCallStreamDelta,
)
from smolagents.monitoring import TokenUsage  # type: ignore[import-untyped]  # as above

from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.smolagents._private import PLANNED, is_plan_prompt
from interlock_adapters.smolagents._types import MessageLike, Messages

__all__ = ["ScriptedSmolModel"]


class ScriptedSmolModel(Model):  # type: ignore[misc]  # the library has no types
    """Says the turns of a script, whichever process asks."""

    def __init__(self, script: ScriptedModel) -> None:
        super().__init__(model_id="scripted")  # pyright: ignore[reportUnknownMemberType]  # as above
        self.script: Final = script

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  # options are not looked at
        self,
        messages: Messages,
        stop_sequences: list[str] | None = None,
        **_: Any,  # noqa: ANN401
    ) -> MessageLike:
        """The turn that comes next, by what the prompt says was answered."""
        turn = self._turn(messages, stop_sequences)
        calls = [
            ChatMessageToolCall(
                id=cast("str", call.id),  # Or None, as some models have it.
                type="function",
                function=ChatMessageToolCallFunction(name=call.name, arguments=call.arguments),
            )
            for call in turn.calls
        ]
        said = ChatMessage(
            role=MessageRole.ASSISTANT,
            content=turn.text,
            tool_calls=calls or None,
            token_usage=TokenUsage(turn.input_tokens, turn.output_tokens),
        )
        return cast("MessageLike", said)

    def generate_stream(
        self,
        messages: Messages,
        stop_sequences: list[str] | None = None,
        **_: Any,  # noqa: ANN401
    ) -> Generator[object]:
        """The same, word by word."""
        turn = self._turn(messages, stop_sequences)
        for word in (turn.text or "").split(" "):
            yield ChatMessageStreamDelta(content=f"{word} ")
        for index, call in enumerate(turn.calls):
            # A stream has them as text, which is put together piece by piece.
            text = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
            function = ChatMessageToolCallFunction(name=call.name, arguments=text)
            yield ChatMessageStreamDelta(
                tool_calls=[
                    ChatMessageToolCallStreamDelta(
                        index=index, id=call.id, type="function", function=function
                    )
                ]
            )
        yield ChatMessageStreamDelta(token_usage=TokenUsage(turn.input_tokens, turn.output_tokens))

    def _turn(self, messages: Messages, stop_sequences: list[str] | None) -> ModelTurn:
        roles = [str(getattr(message.role, "value", message.role)) for message in messages]
        # An observation and an error of one step come one after the other.
        answered = sum(role == _RESPONSE for role, _ in groupby(roles))
        answered += sum(PLANNED in _text(message.content) for message in messages)
        heard = [
            _text(message.content)
            for message, role in zip(messages, roles, strict=True)
            if role == _RESPONSE
        ]
        return self.script.turn(answered, heard, plan=is_plan_prompt(stop_sequences))


_RESPONSE: Final = "tool-response"


def _text(content: object) -> str:
    match content:
        case str():
            return content
        case list():
            return "".join(_text(piece) for piece in cast("list[object]", content))
        case {"text": str(text)}:
            return text
        case _:
            return ""
