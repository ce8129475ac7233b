"""One call of a function that the journal keeps: its name, its arguments, what it came to.

What a call returns is handed to the agent as the log has it, the first time as at every
replay, so that an agent cannot tell the two apart.
"""

import asyncio
import functools
import inspect
import json
import logging
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from interlock._form import faults_of
from interlock._json import copied, digest, dumped, own_copy, storable
from interlock._memory import CALL, Ended
from interlock._payload import NOT_MADE, CallEnded
from interlock.errors import (
    CallFailed,
    EngineError,
    InvalidInput,
    PluginFailed,
    Rejected,
    ReplayDiverged,
    ResultInvalid,
    Retryable,
    ToolError,
)
from interlock.models import JsonObject, JsonValue

_log: Final = logging.getLogger("interlock.agent")

#: Characters of what somebody says of a failure: a sentence for people, not a payload.
MESSAGE_CHARS_MAX: Final = 2_000

#: Errors of ours that a function may raise to say something to the engine.
_SAID: Final[dict[str, type[EngineError]]] = {
    Retryable.code: Retryable,
    Rejected.code: Rejected,
}


class InDoubt(BaseModel):
    """What a person says of a call of which nobody knows whether it was done."""

    #: Take `value` for its result, do it (perhaps a second time), or fail the task.
    decision: Literal["use_value", "run_again", "fail"]
    value: JsonValue = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function, and what it is called with."""

    #: Unlike any other of the task.
    key: str
    name: str
    arguments: JsonObject
    idempotent: bool
    #: Reads the result as the type that the function says it returns; None takes it as it is.
    adapter: TypeAdapter[Any] | None
    bytes_max: int
    #: By what whoever is called knows it: the same whenever this call is made again.
    token: str = ""
    #: Whether a retry does not make it again although it raised: of tools, as they cannot be
    #: trusted to raise before they have done anything.
    once: bool = False

    @property
    def fingerprint(self) -> str:
        """Stands for the function and its arguments."""
        return digest([self.name, self.arguments])

    def returned(self, value: object) -> Ended:
        """What a value that the function returned comes to in the log."""
        try:
            if self.adapter is None:
                said = dumped(value)
            else:
                said = self.adapter.dump_python(value, mode="json", warnings="error")
            copy = own_copy(said, what=f"the result of {self.name}", bytes_max=self.bytes_max)
            if self.adapter is not None:
                # It was done, so it must not be done again because nobody can read it.
                self._read(copy)
        except ResultInvalid as error:
            return _ended_by(error, str(error), done=True)
        except Exception as error:  # noqa: BLE001  a model's own code runs here
            why = f"the result of {self.name} is not of its type ({type(error).__name__})"
            return _ended_by(ResultInvalid(why), why, done=True)
        return Ended(copy)

    def value_of(self, ended: Ended) -> Any:
        """What the agent gets.

        Raises:
            CallFailed: the function raised.
            Retryable, Rejected: it raised that.
            ReplayDiverged: the function returns another type than it did.
        """
        if ended.error is not None:
            raise self.error_of(ended.error)
        try:
            return self._read(ended.value)
        except ValueError:
            raise ReplayDiverged(
                self.key,
                f"a result of {self.name!r}",
                "for a type that it does not fit",
                kind=CALL,
            ) from None

    def error_of(self, error: JsonObject) -> EngineError:
        """The error as the agent gets it, the first time as at every replay."""
        said = _SAID.get(str(error["code"]))
        if said is not None:
            return said(str(error["message"]))
        return CallFailed(self.name, str(error["kind"]), str(error["message"]))

    def problems_of(self, value: JsonValue) -> list[str]:
        """What keeps a value from being a result of the function."""
        try:
            self._read(value)
        except ValidationError as error:
            return faults_of(error)
        except Exception as error:  # noqa: BLE001  a model's own code runs here
            return [f"it could not be read as a result ({type(error).__name__})"]
        return []

    def _read(self, value: JsonValue) -> Any:
        if self.adapter is None:
            return copied(value)  # The memory's must not be changed.
        return self.adapter.validate_json(json.dumps(value))


def raised(error: BaseException, *, once: bool = False) -> Ended:
    """What an exception that the function raised comes to in the log.

    What may be made `once` may have been done when it raises, unless its tool says otherwise.
    """
    # What foreign errors say may hold a secret; what ours say is meant to be shown.
    done = error.done if isinstance(error, ToolError | PluginFailed) else once
    if isinstance(error, Retryable | Rejected):
        done = False  # It says itself that it was not.
    said = words_of(error) if isinstance(error, EngineError) else ""
    return _ended_by(error, said, done=done)


def log_raised(task_id: str, key: str, error: BaseException) -> None:
    """As `log_mistake`, on the event loop; not what comes of being cancelled."""
    doing = asyncio.current_task()
    if doing is None or not doing.cancelling():
        log_mistake(task_id, key, error)


def log_mistake(task_id: str, key: str, error: BaseException) -> None:
    """The traceback of what a function raised: it goes to the log and nowhere else.

    Not what is said on purpose.
    """
    if not isinstance(error, EngineError):
        _log.error("task %s: the call %r raised", task_id, key, exc_info=error)


def not_made(key: str) -> CallEnded:
    """What is written down of a call that was begun and then not made: it is as if it never was."""
    error: JsonObject = {"code": NOT_MADE, "kind": "", "message": ""}
    return {"epoch": 0, "key": key, "value": None, "error": error}


def words_of(error: BaseException) -> str:
    """The message, short enough for an event, and without halves of characters."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  a subclass's own code runs here
        text = ""
    return storable(text, MESSAGE_CHARS_MAX)


def call_of(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    key: str,
    idempotent: bool,
    bytes_max: int,
) -> Call:
    """The call, checked.

    Raises:
        InvalidInput: it is no function, or its arguments are not JSON.
    """
    name = name_of(fn)
    said = {"args": [dumped(arg) for arg in args], "kwargs": dumped(dict(kwargs))}
    try:
        arguments = own_copy(said, what=f"what {name} is called with", bytes_max=bytes_max)
    except ResultInvalid as error:
        raise InvalidInput(
            [f"{error}; bind what is not JSON beforehand, with functools.partial"]
        ) from None
    return Call(key, name, cast("JsonObject", arguments), idempotent, _adapter_of(fn), bytes_max)


def name_of(fn: Callable[..., Any]) -> str:
    """The name under which calls of a function are counted and kept.

    Raises:
        InvalidInput: it is no function.
    """
    if not callable(cast("object", fn)):
        raise InvalidInput([f"a function is called, and this is of type {type(fn).__name__}"])
    bare = _bare(fn)
    return str(getattr(bare, "__name__", type(bare).__name__))


def _bare(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = cast("Any", fn).func
    return fn


def _ended_by(error: BaseException, message: str, *, done: bool = False) -> Ended:
    code = error.code if isinstance(error, EngineError) else "call_failed"
    said: JsonObject = {"code": code, "kind": type(error).__name__, "message": message}
    return Ended(None, {**said, "done": True} if done else said)


def _adapter_of(fn: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """What reads its results; None where it does not say what they are.

    Raises:
        InvalidInput: it says that they are something which has no JSON.
    """
    bare = _bare(fn)
    if not inspect.isroutine(bare):
        bare = type(bare).__call__
    try:
        hint: Any = typing.get_type_hints(bare).get("return", Any)
    except Exception:  # noqa: BLE001  it may name what only a type checker can find
        return None
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar) or _is_awaitable(hint):
        return None
    try:
        try:
            return _adapter_made(hint)
        except TypeError:
            return TypeAdapter(hint)  # A hint that has no hash.
    except PydanticUserError:
        why = f"{name_of(fn)} says that it returns {hint!r:.80}, which has no JSON"
        raise InvalidInput([f"{why}; let it return text, numbers, lists or a model"]) from None


def _is_awaitable(hint: object) -> bool:
    of = typing.get_origin(hint) or hint
    return isinstance(of, type) and issubclass(of, Awaitable)


_adapter_made: Final = functools.lru_cache(maxsize=256)(TypeAdapter[Any])
