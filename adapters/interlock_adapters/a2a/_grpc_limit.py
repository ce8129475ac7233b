"""A guard in front of the gRPC servicers: how much a request may hold.

Protobuf reads a message quickly, and bounds its bytes and its depth; to copy it value by
value is slow, and nobody else is served meanwhile.
"""

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from interlock_adapters.a2a._unquoted import UNREADABLE, unread

#: Bytes of the smallest value on the wire: a tag, and that it is empty.
_VALUE_BYTES_MIN: Final = 2


class Limited:
    """A servicer whose methods see only requests of up to so many values.

    What the methods cannot read is told without quoting it.
    """

    def __init__(self, servicer: object, values_max: int) -> None:
        """Stand in front of `servicer`."""
        self._servicer: Final = servicer
        self._values_max: Final = values_max

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The method of the servicer, guarded; the generated code asks for each once."""
        method: Callable[..., Any] = getattr(self._servicer, name)
        guarded = _streaming if inspect.isasyncgenfunction(method) else _unary
        return guarded(method, self._values_max)


def _unary(method: Callable[..., Any], values_max: int) -> Callable[..., Any]:
    async def answer(request: Message, context: "grpc.aio.ServicerContext[Any, Any]") -> object:
        await _check(request, context, values_max)
        try:
            return await method(request, context)
        except UNREADABLE as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, unread(error))

    return answer


def _streaming(method: Callable[..., Any], values_max: int) -> Callable[..., Any]:
    async def stream(
        request: Message, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncGenerator[object]:
        await _check(request, context, values_max)
        try:
            async with aclosing(method(request, context)) as shown:
                async for one in shown:
                    yield one
        except UNREADABLE as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, unread(error))

    return stream


async def _check(
    request: Message, context: "grpc.aio.ServicerContext[Any, Any]", values_max: int
) -> None:
    if has_more(request, values_max):
        why = f"the request has more than {values_max} values"
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)


def has_more(message: Message, values_max: int) -> bool:
    """Whether a message holds more messages, elements and members than that, at any depth."""
    if message.ByteSize() <= _VALUE_BYTES_MIN * values_max:  # So it is of nearly every request.
        return False
    values = 1
    waiting = [message]
    while waiting:
        for _, value in waiting.pop().ListFields():
            held = _held(value)
            values += len(held)
            if values > values_max:
                return True
            waiting.extend(one for one in _elements(held) if isinstance(one, Message))
    return False


def _held(value: object) -> Sequence[object] | Mapping[Any, object]:
    """The values of a field; a number or a text has no more of them than its message."""
    if isinstance(value, Message):
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | Mapping):
        return ()
    return cast("Sequence[object] | Mapping[Any, object]", value)


def _elements(held: Sequence[object] | Mapping[Any, object]) -> Sequence[object]:
    return list(held.values()) if isinstance(held, Mapping) else held
