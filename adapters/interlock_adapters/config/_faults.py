"""What is wrong with a configuration, each fault with its line and with what would be accepted."""

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from interlock import JsonValue, Policy
from interlock_adapters._yaml import Document, Path
from interlock_adapters.policies import rule_problems

#: What is accepted where pydantic only names a type of Python.
_ACCEPTED: Final = {
    "tuple_type": "a list is accepted",
    "list_type": "a list is accepted",
    "frozen_set_type": "a list is accepted",
    "set_type": "a list is accepted",
    "dict_type": "a mapping is accepted",
    "model_type": "a mapping is accepted",
    "string_type": "a text is accepted (quote it)",
    "bool_type": "true or false is accepted",
    "bool_parsing": "true or false is accepted",
    "path_type": "the path of a file is accepted",
}


def faults_of(error: ValidationError, document: Document, model: type[BaseModel]) -> list[str]:
    """Every fault as `file:line: place: what`, in the order of the file.

    No value is quoted: it may be a secret.
    """
    found: dict[tuple[int, str], None] = {}
    for fault in error.errors(include_url=False, include_input=False):
        loc = tuple(s for s in fault["loc"] if not (isinstance(s, str) and s.startswith("<")))
        rules = _rules_around(loc, model)
        if rules is not None:
            for text in _policy_faults(rules, document):
                found[_line(document, rules), text] = None
            continue
        place = ".".join(str(step) for step in loc)
        text = f"{document.at(loc)}: {f'{place}: ' if place else ''}{_what(fault, loc, model)}"
        found[_line(document, loc), text] = None
    return [text for _, text in sorted(found, key=lambda key: key[0])]


def _line(document: Document, path: Path) -> int:
    return int(document.at(path).rpartition(":")[2])


def _what(fault: ErrorDetails, loc: Path, model: type[BaseModel]) -> str:
    """What is wrong, without the words of Python."""
    around = _models(model, loc[:-1])
    names = [field.alias or name for m in around for name, field in m.model_fields.items()]
    match fault["type"]:
        case "extra_forbidden":
            close = get_close_matches(str(loc[-1]), names, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            return f"there is no such setting{guess}; the settings are: {', '.join(names)}"
        case "missing":
            said = _of_field(around, str(loc[-1]))
            return f"it is missing; {said} is accepted"
        case "string_pattern_mismatch":
            return f"{_of_field(around, str(loc[-1]))} is accepted"
        case kind if kind in _ACCEPTED:
            fields = ", ".join(n for m in _models(model, loc) for n in m.model_fields)
            return f"{_ACCEPTED[kind]}{': ' if fields else ''}{fields}"
        case _:
            return fault["msg"].removeprefix("Value error, ")


#: What a setting is, where its name does not say it.
_EXAMPLES: Final = {
    "agent": "a module:name as agent:book, or a definition {model: {id: ...}}",
    "url": "an address as https://shop.example/mcp",
    "host": "an address to listen on, as 127.0.0.1",
    "api_base": "an address as http://127.0.0.1:11434/v1",
    "store": "'memory:', sqlite:///path/to/file.db or postgresql://host/database",
    "api_key_env": "the name of a variable of the environment, as OPENAI_API_KEY",
    "provider": "openai, or a module:name that makes a model",
    "lifecycle": "a module:name as shop.lifecycle:LIFECYCLE",
    "path": "a path as /mcp",
    "rpc_path": "a path as /a2a/rpc",
    "rest_path": "a path as /a2a",
}


_KINDS: Final[Mapping[object, str]] = {str: "a text", int: "a whole number", bool: "true or false"}


def _of_field(around: list[type[BaseModel]], name: str) -> str:
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    for model in around:
        field = model.model_fields.get(name)
        kind = None if field is None else cast("object", field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return f"a mapping of {', '.join(kind.model_fields)}"
        if kind in _KINDS:
            return _KINDS[kind]
    return "a value of its kind"


def _rules_around(loc: Path, model: type[BaseModel]) -> Path | None:
    """The mapping of policies that a place is in: policies have faults of their own words."""
    for end in range(len(loc)):
        if loc[end] == "policies" and _holds_policies(model, loc[: end + 1]) and end + 1 < len(loc):
            return loc[: end + 1]
    return None


def _holds_policies(model: type[BaseModel], path: Path) -> bool:
    return any(get_origin(n) is dict and Policy in get_args(n) for n in _nodes(model, path))


def _policy_faults(path: Path, document: Document) -> Iterator[str]:
    rules = _value_at(document.value, path)
    if not isinstance(rules, dict):
        yield f"{document.at(path)}: {'.'.join(map(str, path))}: a mapping of rules is accepted"
        return
    below = within(document, path)
    for rule, body in rules.items():
        yield from rule_problems(rule, body, below)


def within(document: Document, path: Path) -> Document:
    """A part of a document, as a document."""
    depth = len(path)
    lines = {at[depth:]: line for at, line in document.lines.items() if at[:depth] == path}
    lines.setdefault((), _line(document, path))
    return Document(document.name, _value_at(document.value, path), lines)


def _value_at(value: JsonValue, path: Path) -> JsonValue:
    for step in path:
        match value:
            case dict():
                value = value.get(str(step))
            case list() if isinstance(step, int):
                value = value[step]
            case _:
                return None
    return value


# --- types along a place ------------------------------------------------------------------


def _models(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    return [n for n in _nodes(model, path) if isinstance(n, type) and issubclass(n, BaseModel)]


def _nodes(model: type[BaseModel], path: Path) -> list[Any]:
    """What may be at a place, by the annotations of the models on the way."""
    nodes: list[Any] = [model]
    for step in path:
        nodes = [inner for node in nodes for inner in _below(node, step)]
    return nodes


def _below(node: Any, step: str | int) -> Iterator[Any]:  # noqa: ANN401  an annotation
    origin, arguments = get_origin(node), get_args(node)
    if isinstance(node, type) and issubclass(node, BaseModel):
        fields = {f.alias or name: f for name, f in node.model_fields.items()}
        if step in fields:
            yield from _flat(fields[step].annotation)
    elif origin in {dict, Mapping} and len(arguments) > 1:
        yield from _flat(arguments[1])
    elif origin in {tuple, list, frozenset} and arguments:
        yield from _flat(arguments[0])


def _flat(annotation: Any) -> Iterator[Any]:  # noqa: ANN401  as above
    """The alternatives of an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for alternative in get_args(annotation):
            yield from _flat(alternative)
    else:
        yield annotation


def faults_of_list(error: ValidationError, document: Document, item: type[BaseModel]) -> list[str]:
    """The same for a document that is a list of one model."""
    found: dict[str, None] = {}
    for fault in error.errors(include_url=False, include_input=False):
        loc = tuple(s for s in fault["loc"] if not (isinstance(s, str) and s.startswith("<")))
        place = ".".join(str(step) for step in loc)
        what = _what(fault, loc[1:], item) if len(loc) > 1 else "a list of mappings is accepted"
        found[f"{document.at(loc)}: {f'{place}: ' if place else ''}{what}"] = None
    return [*found]
