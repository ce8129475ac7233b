"""Functions of the service as tools: the schema is read from the signature."""

import inspect
import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from interlock._form import faults_of
from interlock._json import dumped
from interlock.errors import InvalidInput, ToolError, UnknownTool
from interlock.models import JsonObject, JsonValue, Part
from interlock.tools import LOCAL, Tool, ToolOutcome, ToolResult, ToolUse


class _Function:
    """A function, and how its arguments are read."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Read the signature.

        Raises:
            InvalidInput: it cannot be called by names alone, or a type has no JSON.
        """
        self.name: Final = str(getattr(fn, "__name__", type(fn).__name__))
        self._fn: Final = fn
        # Python 3.13 makes descriptors of partials, and may find no arguments in one.
        if issubclass(type(fn), partial) or not inspect.isroutine(fn):
            raise InvalidInput([_no_function(fn)])
        self._is_async: Final = inspect.iscoroutinefunction(fn)
        #: The parameter that wants to be told of the call, if there is one.
        self._use: str | None = None
        #: What it says that it returns, by which a date, say, becomes JSON.
        self._returns: Any = Any
        try:
            self._arguments: Final = self._model()
            schema = self._schema()
        except (TypeError, ValueError, NameError, PydanticUserError) as error:
            raise InvalidInput([_unread(fn, self.name, error)]) from None
        #: What the arguments are called, by the fields of the model.
        self._names: Final = {
            field: str(info.alias) for field, info in self._arguments.model_fields.items()
        }
        docs = (inspect.getdoc(fn) or "").split("\n\n")[0]
        try:
            self.tool: Final = Tool(name=self.name, description=docs, input_schema=schema)
        except ValidationError:
            why = f"{self.name} is no tool: the default of an argument is a number without JSON"
            raise InvalidInput([why]) from None

    def _model(self) -> type[BaseModel]:
        hints = typing.get_type_hints(self._fn, include_extras=True)
        self._returns = hints.get("return", Any)
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(self._fn).parameters.items():
            if parameter.kind in {parameter.POSITIONAL_ONLY, *_STARRED}:
                why = f"{self.name} takes {parameter}; a tool is called by the names of arguments"
                raise InvalidInput([why])
            hint = hints.get(name, Any)
            if hint is ToolUse:
                self._use = name
                continue
            given: Any = parameter.default
            # An alias, since a model has names of its own that an argument may have too.
            field: Any = Field(... if given is parameter.empty else given, alias=name)
            fields[f"argument_{len(fields)}"] = (hint, field)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    def _schema(self) -> JsonObject:
        schema = self._arguments.model_json_schema()
        for model in schema.get("$defs", {}).values():
            # What a model does not know it drops: it was shown, approved, and would not run.
            if "properties" in model:
                model.setdefault("additionalProperties", False)
        return schema

    async def call(self, arguments: JsonObject, use: ToolUse) -> object:
        """What the function returns.

        Raises:
            ToolError: the arguments are not of their types.
            Exception: the function raised.
        """
        try:
            read = self._arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolError("; ".join(faults_of(error))) from None
        given = {name: getattr(read, field) for field, name in self._names.items()}
        if self._use is not None:
            given[self._use] = use
        if self._is_async:
            return await self._fn(**given)
        value = await use.on_thread(partial(self._fn, **given))
        return await value if inspect.isawaitable(value) else value

    def result_of(self, value: object) -> ToolResult:
        """What the function returned, as a result.

        Raises:
            ToolError: it is no JSON, nor of a type that says how it becomes JSON.
        """
        try:
            return result_of(value)
        except ValidationError:
            pass
        try:
            # Of what has no type anything would be taken, and called text.
            said = value if self._returns is Any else self._typed(value)
            return ToolResult(structured=cast("JsonValue", said))
        except Exception:  # noqa: BLE001  a model's own code runs here
            kind = type(value).__name__
            why = f"it was called, and gave a {kind}, which is no JSON"
            raise ToolError(why, done=True) from None

    def _typed(self, value: object) -> object:
        adapter: TypeAdapter[Any] = TypeAdapter(self._returns)
        return adapter.dump_python(value, mode="json", warnings="error")


def _unread(fn: Callable[..., Any], name: str, error: Exception) -> str:
    """Why the signature of what should be a tool could not be read."""
    if isinstance(error, NameError):
        given: dict[str, object] = getattr(fn, "__annotations__", {})
        which = next((which for which, of in given.items() if str(error.name) in str(of)), "")
        return f"{name} is no tool: the type of {which!r} is {error.name!r}, which is not there"
    if isinstance(error, PydanticUserError):
        for argument, hint in typing.get_type_hints(fn, include_extras=True).items():
            if argument != "return" and hint is not ToolUse and not _has_json(hint):
                why = f"{name} is no tool: its argument {argument!r} is {hint!r:.80}"
                return f"{why}, which has no JSON; text, numbers, lists and models have one"
    return f"{name} is no tool: its arguments cannot be read ({type(error).__name__})"


def _has_json(hint: Any) -> bool:
    """Whether an argument of that type can be shown to a model."""
    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError:
        return False
    return True


def _no_function(given: object) -> str:
    kind = type(given)
    where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"what is of type {where}{kind.__qualname__} is no tool; a function or a bound method is"


_STARRED: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class LocalTools:
    """A source whose tools are functions.  A parameter of type `ToolUse` is told of the call."""

    def __init__(self, functions: Sequence[Callable[..., Any]], *, name: str = LOCAL) -> None:
        """Read the signatures.

        Raises:
            InvalidInput: two have one name, or one cannot be called by names with JSON.
        """
        self.name: Final = name
        self._functions: Final[dict[str, _Function]] = {}
        for fn in functions:
            made = _Function(fn)
            if made.name in self._functions:
                raise InvalidInput([f"two functions are called {made.name!r}"])
            self._functions[made.name] = made
        self._tools: Final = [
            made.tool.model_copy(update={"source": name}) for made in self._functions.values()
        ]

    async def open(self) -> None:
        """They are there."""

    async def close(self) -> None:
        """They stay."""

    def tools(self) -> Sequence[Tool]:
        """One for each function."""
        return self._tools

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """Call the function."""
        fn = self._functions.get(tool.name)
        if fn is None:
            raise UnknownTool(tool.name, sorted(self._functions))
        return fn.result_of(await fn.call(arguments, use))

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """Never: a function gives its result at once."""
        raise AssertionError((tool.name, arguments, token, answers, use))


def result_of(value: object) -> ToolResult:
    """What a function returned, as a result."""
    match value:
        case ToolResult():
            return value
        case str():
            return ToolResult(parts=(Part(text=value),))
        case Part():
            return ToolResult(parts=(value,))
        case None:
            return ToolResult()
        case _:
            return ToolResult(structured=dumped(value))
