"""What both halves of `bench.peer` have in common: the scripted model and the plain tools.

Needs smolagents and nothing else, so that it runs in the peer's environment as in ours.  The
first word of a task says what its model does: one call of a tool, then the final answer; after
"say", only that.
"""

import time
import uuid
from typing import Any, Final

from smolagents import ChatMessage, MessageRole, Model  # type: ignore[import-untyped]  # no types
from smolagents.models import (  # type: ignore[import-untyped]  # as above
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
)
from smolagents.monitoring import TokenUsage  # type: ignore[import-untyped]  # as above

#: Longer than a cancel takes, short enough to wait out a tool that cannot be stopped.
NAP_S: Final = 6.0
QUESTION: Final = "Which city?"
RESULT: Final = "done"
ASK_USER: Final = "ask_user"

#: The one tool call of a task, by its first word.
CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "work": ("look_up", {"city": "Oslo"}),
    "ask": (ASK_USER, {}),
    "pay": ("pay", {"amount": 5, "to": "Alice"}),
    "nap": ("nap", {"seconds": NAP_S}),
}
#: What a tool's result, as the model is told it, must hold for the task to be done.
PROOF: Final = {"work": "fair", "ask": "Oslo", "pay": "paid 5 to Alice", "nap": "rested"}

#: Not worth a count: the model answers at once and for nothing.
_USED: Final = TokenUsage(input_tokens=1, output_tokens=1)
_TASK: Final = "New task:"


class ScriptedModel(Model):  # type: ignore[misc]  # as above
    """Answers at once, from the messages alone: it may be made anew at any step."""

    def __init__(self, **_: Any) -> None:  # noqa: ANN401  the peer's factory passes its own
        super().__init__(model_id="scripted")  # pyright: ignore[reportUnknownMemberType]  # as above

    def generate(
        self,
        messages: list[Any],
        *_: Any,  # noqa: ANN401  smolagents' own, unused here
        tools_to_call_from: list[Any] | None = None,
        **__: Any,  # noqa: ANN401
    ) -> ChatMessage:
        """The tool call that the task's first word names; once it was made, the answer."""
        name, arguments = _next_call(messages)
        if name == ASK_USER:
            (inputs,) = (tool.inputs for tool in tools_to_call_from or [] if tool.name == name)
            # The peer calls its argument otherwise than we do ours.
            arguments = dict.fromkeys(inputs, QUESTION)
        call = ChatMessageToolCall(
            id=uuid.uuid4().hex,
            type="function",
            function=ChatMessageToolCallFunction(name=name, arguments=arguments),
        )
        return ChatMessage(
            role=MessageRole.ASSISTANT, content="", tool_calls=[call], token_usage=_USED
        )


def _next_call(messages: list[Any]) -> tuple[str, dict[str, Any]]:
    task = next(text for text in map(_text, reversed(messages)) if _TASK in text)
    word = task.partition(_TASK)[2].split()[0]
    told = [_text(one) for one in messages if one.role == MessageRole.TOOL_RESPONSE]
    if word in CALLS and not told:
        name, arguments = CALLS[word]
        return name, {**arguments}
    done = word not in PROOF or PROOF[word] in told[-1]
    return "final_answer", {"answer": RESULT if done else f"the tool says: {told[-1]}"}


def _text(message: Any) -> str:  # noqa: ANN401  a ChatMessage
    content: str | list[dict[str, Any]] | None = message.content
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


# --- the tools of the arms without MCP; smolagents insists on the words about arguments -----


def look_up(city: str) -> str:
    """Looks up the weather of a city.

    Args:
        city: Its name.
    """
    return f"{city}: fair"


def pay(amount: int, to: str) -> str:
    """Pays somebody an amount.

    Args:
        amount: How much.
        to: Whom.
    """
    return f"paid {amount} to {to}"


def nap(seconds: float) -> str:
    """Does nothing for so many seconds.

    Args:
        seconds: How many.
    """
    time.sleep(seconds)
    return "rested"
