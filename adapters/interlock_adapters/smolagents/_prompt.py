"""What stands for a prompt: the digest by which a replay knows that it asks the same again.

A prompt of step 200 holds all steps before it, so each message is taken in once more at every
step: no JSON is made of what is plain text.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from interlock_adapters.smolagents._types import MessageLike, Messages, Options

__all__ = ["PromptDigests"]

_ADDRESS: Final = re.compile(" at 0x[0-9a-fA-F]+")
#: Hexadecimal digits: 128 bits.
DIGITS: Final = 32


class PromptDigests:
    """Digests of the prompts of one run."""

    def __init__(self) -> None:
        #: By the identity of what is kept here too, so that it stays that object's.
        self._known: Final[dict[int, tuple[object, bytes]]] = {}

    def of(self, messages: Messages, options: Options) -> str:
        """The digest of everything that a model is asked with."""
        whole = hashlib.sha256()
        for message in messages:
            self._take(whole, message)
        tools = cast("Sequence[object]", options.get("tools_to_call_from") or ())
        for tool in tools:
            _framed(whole, "tool", self._once(tool))
        others = {
            name: value
            for name, value in options.items()
            if name != "tools_to_call_from" and value is not None
        }
        _framed(whole, "options", self._json(others))
        return whole.hexdigest()[:DIGITS]

    def _take(self, whole: "hashlib._Hash", message: MessageLike) -> None:
        role = str(getattr(message.role, "value", message.role))
        match message.content:
            case str(text):
                _framed(whole, f"{role} text", _lasting(text))
            case [{"type": "text", "text": str(text), **rest}] if not rest:
                _framed(whole, f"{role} text", _lasting(text))
            case content:
                _framed(whole, f"{role} content", self._json(content))
        if message.tool_calls:
            calls = [
                [call.id, call.function.name, call.function.arguments]
                for call in message.tool_calls
            ]
            _framed(whole, "calls", self._json(calls))

    def _json(self, value: object) -> bytes:
        return json.dumps(value, sort_keys=True, default=self._foreign).encode()

    def _foreign(self, value: object) -> object:
        """What JSON has no form for: images, above all."""
        return self._once(value).hex()

    def _once(self, value: object) -> bytes:
        """The digest of an object that comes with every prompt, made once."""
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = (value, hashlib.sha256(_bytes(value)).digest())
        return known[1]


def _lasting(text: str) -> bytes:
    """A text without where things lie in memory, which is elsewhere in every process."""
    if " at 0x" in text:
        text = _ADDRESS.sub(" at 0x", text)
    return text.encode("utf-8", "surrogatepass")


def _framed(whole: "hashlib._Hash", what: str, content: bytes) -> None:
    """Take in a piece so that no two sequences of pieces look alike."""
    whole.update(f"{what} {len(content)}:".encode())
    whole.update(content)


def _bytes(value: object) -> bytes:
    """An object's content, without addresses or times."""
    inputs = getattr(value, "inputs", None)
    if isinstance(inputs, Mapping):
        named = [getattr(value, name, None) for name in ("name", "description", "output_type")]
        return json.dumps([*named, inputs], sort_keys=True, default=str).encode()
    pixels: Any = getattr(value, "tobytes", None)
    if callable(pixels):
        size, mode = getattr(value, "size", None), getattr(value, "mode", None)
        return f"{size} {mode} ".encode() + cast("bytes", pixels())
    # What an object prints may be where it lies in memory.
    plain: object = getattr(value, "value", "")
    return f"{type(value).__name__} {plain if isinstance(plain, str | int) else ''}".encode()
