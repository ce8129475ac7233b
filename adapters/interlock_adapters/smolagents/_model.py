"""A model whose every answer is written down: a run that is replayed gets it from the log.

A prompt is known by its place (`Seat.next_model_key`) and compared by its digest, so an agent
that asks something else than before is not handed an answer that was to another question.
"""

import gc
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any, Final, cast

from smolagents import ChatMessage, MessageRole, Model  # type: ignore[import-untyped]  # no types
from smolagents.models import (  # type: ignore[import-untyped]  # as above
    ChatMessageStreamDelta,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    ChatMessageToolCallStreamDelta,
)
from smolagents.monitoring import TokenUsage  # type: ignore[import-untyped]  # as above

from interlock import Usage, model_call
from interlock.errors import EngineError, TaskStopped
from interlock.models import JsonObject
from interlock_adapters.smolagents._failure import RunEnds, failed_of, said_of
from interlock_adapters.smolagents._private import is_plan_prompt, joined
from interlock_adapters.smolagents._run import NotGated, Seat
from interlock_adapters.smolagents._show import Shown, clean
from interlock_adapters.smolagents._types import (
    DeltaLike,
    LibModel,
    MessageLike,
    Messages,
    Options,
)

__all__ = ["JournaledModel"]

#: Characters that are shown at once while a model answers: each piece is an event of the log.
CHUNK_CHARS_MIN: Final = 64

#: By the library's classes, the providers as the OpenTelemetry conventions name them.
_PROVIDERS: Final = {
    "AmazonBedrockModel": "aws.bedrock",
    "AzureOpenAIModel": "azure.ai.openai",
    "InferenceClientModel": "hugging_face",
    "OpenAIModel": "openai",
}


class JournaledModel(Model):  # type: ignore[misc]  # the library has no types
    """Stands in for a model of an agent within one run."""

    def __init__(self, inner: LibModel, seat: Seat) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  # as above
            flatten_messages_as_text=inner.flatten_messages_as_text,
            tool_name_key=inner.tool_name_key,
            tool_arguments_key=inner.tool_arguments_key,
            model_id=inner.model_id,
        )
        self._inner: Final = inner
        self._seat: Final = seat
        self._shown: Final = Shown(seat)

    def __getattr__(self, name: str) -> object:
        """What only the model itself has."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  # options are passed on
        self,
        messages: Messages,
        stop_sequences: list[str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> MessageLike:
        """See `Model.generate`; from the log if it was asked before."""
        options = {**options, "stop_sequences": stop_sequences}
        seat = self._seat
        with seat.run.at_work():
            key = seat.next_model_key()
            answer = partial(self._answered, messages, options)
            try:
                said = seat.run.task.call(
                    self._seen(partial(model, answer)),
                    prompt=seat.run.digests.of(messages, options),
                    key=key,
                    idempotent=True,
                )
            except EngineError as error:
                raise RunEnds(failed_of(error)) from error
        message = _message(cast("JsonObject", said), key)
        if not seat.streams and not is_plan_prompt(stop_sequences):
            seat.said = cast("str | None", message.content)
        return message

    def generate_stream(  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        self,
        messages: Messages,
        stop_sequences: list[str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Iterator[DeltaLike]:
        """The same answer in one piece: what is shown while it comes is shown by the task."""
        message = self.generate(messages, stop_sequences, **options)
        calls = [
            ChatMessageToolCallStreamDelta(
                index=index,
                id=call.id,
                type="function",
                function=ChatMessageToolCallFunction(
                    name=call.function.name, arguments=_as_text(call.function.arguments)
                ),
            )
            for index, call in enumerate(message.tool_calls or [])
        ]
        yield ChatMessageStreamDelta(
            content=message.content,
            tool_calls=calls or None,
            token_usage=cast("Any", message.token_usage),
        )

    def parse_tool_calls(  # pyright: ignore[reportIncompatibleMethodOverride]  # a protocol of ours
        self, message: MessageLike
    ) -> MessageLike:
        """Read tool calls out of a text; they are named by their place, and not by chance."""
        named = bool(message.tool_calls)
        message = self._inner.parse_tool_calls(message)
        if not named:
            for index, call in enumerate(message.tool_calls or []):
                call.id = f"{self._seat.model_key}.{index}"
        return message

    def _seen(self, fn: Callable[..., object]) -> Callable[..., object]:
        """The same, as a call of this model for who observes the engine."""
        named = self._inner.model_id
        provider = _PROVIDERS.get(type(self._inner).__name__, "")
        name = named if isinstance(named, str) else ""
        return model_call(fn, model=name, provider=provider, usage=_usage)

    def _answered(self, messages: Messages, options: Options) -> JsonObject:
        """Ask the model itself.

        Raises:
            Retryable, ModelFailed: it did not answer.
        """
        inner, seat = self._inner, self._seat
        given = {name: value for name, value in options.items() if value is not None}
        try:
            if seat.streams and hasattr(inner, "generate_stream"):
                deltas = inner.generate_stream(messages, **given)
                with closed(deltas):
                    return _json(joined(list(self._live(deltas, given))))
            return _json(inner.generate(messages, **given))
        except Exception as error:
            if isinstance(error, EngineError | AssertionError | NotGated):
                raise  # Somebody's own words: a script of a test, or a model that knows of us.
            raise said_of(error, transient=seat.run.settings.retryable(error)) from error

    def _live(self, deltas: Iterator[DeltaLike], options: Options) -> Generator[DeltaLike]:
        """Show an answer while it comes, and stop listening when the task is stopped."""
        what = "plan" if is_plan_prompt(options.get("stop_sequences")) else "text"
        held, first = "", True
        for delta in deltas:
            if self._seat.run.task.cancelled:
                raise TaskStopped
            yield delta
            held += delta.content or ""
            if len(held) >= CHUNK_CHARS_MIN:
                self._shown.chunk(what, held, first=first)
                held, first = "", False
        if held.strip():
            self._shown.chunk(what, held, first=first)


def model(answered: Any, *, prompt: str) -> object:  # noqa: ANN401  a partial
    """Ask a model; the name and `prompt` are what the log keeps of it."""
    del prompt
    return answered()


@contextmanager
def closed(deltas: Iterator[DeltaLike]) -> Generator[None]:
    """A block at the end of which a stream is closed, and its connection with it."""
    try:
        yield
    finally:
        if isinstance(deltas, Generator) and getgeneratorstate(cast("Any", deltas)) != GEN_CLOSED:
            deltas.close()
            # OpenAI's stream refers to itself: it hangs up only when it is collected, and until
            # then the model goes on, and is paid.
            gc.collect()


def _usage(said: JsonObject) -> Usage | None:
    """The tokens that an answer took, as the log has it."""
    usage = cast("dict[str, int] | None", said.get("token_usage"))
    return Usage(usage["input"], usage["output"]) if usage else None


def _json(message: MessageLike) -> JsonObject:
    """A message as the log keeps it."""
    said: JsonObject = {"content": _text(message.content)}
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.id if isinstance(call.id, str) else None,
                "name": _cleaned(call.function.name),
                "arguments": _cleaned(call.function.arguments),
            }
            for call in message.tool_calls
        ]
    usage = message.token_usage
    if usage is not None:
        said["token_usage"] = {"input": usage.input_tokens, "output": usage.output_tokens}
    return said


def _as_text(arguments: Any) -> str:  # noqa: ANN401  JSON, or what a model takes for it
    """Arguments as a stream has them, which is put together piece by piece."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _cleaned(arguments: object) -> Any:  # noqa: ANN401  JSON, or what a model takes for it
    match arguments:
        case str():
            return clean(arguments)
        case list():
            return [_cleaned(each) for each in cast("list[object]", arguments)]
        case dict():
            items = cast("dict[object, object]", arguments).items()
            return {_cleaned(name): _cleaned(each) for name, each in items}
        case _:
            return arguments


def _text(content: object) -> str | None:
    """The text of a message, which some models give in pieces."""
    match content:
        case None:
            return None
        case str():
            return clean(content)
        case list():
            pieces = cast("list[object]", content)
            return clean("".join(_text(piece) or "" for piece in pieces))
        case {"text": str(text)}:
            return clean(text)
        case _:
            return ""


def _message(said: JsonObject, key: str) -> MessageLike:
    """The message that the log has."""
    usage = cast("dict[str, int] | None", said.get("token_usage"))
    calls = cast("list[dict[str, Any]]", said.get("tool_calls") or [])
    made = ChatMessage(
        role=MessageRole.ASSISTANT,
        content=cast("str | None", said["content"]),
        tool_calls=[
            ChatMessageToolCall(
                function=ChatMessageToolCallFunction(
                    arguments=call["arguments"], name=call["name"]
                ),
                id=name,
                type="function",
            )
            for call, name in zip(calls, _names(calls, key), strict=True)
        ]
        or None,
        token_usage=TokenUsage(usage["input"], usage["output"]) if usage else None,
    )
    return cast("MessageLike", made)


def _names(calls: list[dict[str, Any]], key: str) -> list[str]:
    """A name for each call that no other of the message has: the model's own, or its place."""
    names: list[str] = []
    for index, call in enumerate(calls):
        name = call["id"]
        if not isinstance(name, str) or not name:
            name = f"{key}.{index}"
        while name in names:
            name = f"{name}~{index}"
        names.append(name)
    return names
