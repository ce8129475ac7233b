"""YAML as JSON, with the line of every value: strict where YAML is lax.

A key twice in one mapping is an error (the last would win unseen), and so is what is no JSON:
dates, sets, keys that are no text, tags of any kind.  `<<` merges work.

In a file, which is as trusted as the code, `${NAME}` and `${NAME:-default}` in a value stand
for a variable of the environment; `$${` is a literal `${`.  As in a shell the default is also
taken for a variable that is empty.  What comes in cannot make keys or structure: an unquoted
value is read again as one number, truth value or text, a quoted one stays text.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from interlock import JsonValue
from interlock.errors import InvalidInput

try:
    import yaml
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "reading YAML needs the yaml extra: pip install 'interlock[yaml]'", name=_missing.name
    ) from _missing

Path: TypeAlias = tuple[str | int, ...]

#: Levels of nesting; also what stops a document that contains itself.
NESTING_MAX: Final = 100
#: Values of a document: a few aliases of aliases would make more than any memory holds.
VALUES_MAX: Final = 100_000

_REFERENCE: Final = re.compile(
    r"(?P<literal>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<bad>\$\{)"
)
_TAG: Final = "tag:yaml.org,2002:"
#: YAML's scalars that JSON has too.
_KINDS: Final = frozenset({"null", "bool", "int", "float", "str"})
#: Words that YAML 1.1 takes for truth values, and that are names as well.
_WORDS: Final = frozenset({"on", "off", "yes", "no"})


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML text says, and where."""

    name: str
    value: JsonValue
    lines: Mapping[Path, int]

    def at(self, path: Path) -> str:
        """`name:line` of a value, or of the nearest one around it."""
        while path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines[path]}"


def read(text: str, name: str, environ: Mapping[str, str] | None) -> Document:
    """The one document of a text; with `environ` its references are expanded.

    Raises:
        InvalidInput: it is not such YAML; each problem with its line.
    """
    try:
        reading = _Reading(yaml.SafeLoader(text), name, environ)
        node = reading.loader.get_single_node()
        if node is None:
            raise InvalidInput([f"{name}: there is nothing in it"])
        value = reading.value(node, ())
    except yaml.MarkedYAMLError as error:
        raise InvalidInput([_syntax_problem(name, error)]) from None
    except yaml.YAMLError:
        raise InvalidInput([f"{name}: a character that YAML does not allow"]) from None
    except RecursionError:
        raise InvalidInput([f"{name}: nested deeper than {NESTING_MAX} levels"]) from None
    if reading.problems:
        raise InvalidInput(reading.problems)
    return Document(name, value, reading.lines)


def written(value: JsonValue) -> str:
    """The YAML text that a file must have for `read` to give the value."""
    # Some releases of the stubs have a parameter of a type that pyright does not know.
    return yaml.safe_dump(  # pyright: ignore[reportUnknownMemberType]
        _escaped(value), sort_keys=False, allow_unicode=True, width=100
    )


def _escaped(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return value.replace("${", "$${")
        case list():
            return [_escaped(item) for item in value]
        case dict():
            return {name: _escaped(item) for name, item in value.items()}
        case _:
            return value


def _is_text(key: yaml.ScalarNode) -> bool:
    """Whether a key is a text, also where YAML 1.1 takes a word such as `on` for a truth value."""
    return key.tag == f"{_TAG}str" or (key.tag == f"{_TAG}bool" and key.value.lower() in _WORDS)


def _name_of(key: yaml.Node) -> object:
    """What a key is told apart by."""
    return key.value if isinstance(key, yaml.ScalarNode) else id(key)


def _syntax_problem(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = name if mark is None else f"{name}:{mark.line + 1}"
    said = ", ".join(part for part in (error.context, error.problem) if part)
    hint = ""
    if "alias" in said:
        hint = ' (a name that begins with * is quoted: "*")'
    elif "mapping values are not allowed" in said:
        hint = " (a value with a colon in it is quoted: 'memory:')"
    elif "flow" in said:
        hint = " (within braces and brackets a ${NAME} is quoted)"
    return f"{where}: {said}{hint}"


@dataclass(slots=True)
class _Reading:
    """One walk over the nodes of a document."""

    loader: yaml.SafeLoader
    name: str
    environ: Mapping[str, str] | None
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    problems: list[str] = field(default_factory=list[str])

    def value(self, node: yaml.Node, path: Path) -> JsonValue:
        self.lines[path] = node.start_mark.line + 1
        if len(path) > NESTING_MAX:
            raise RecursionError
        if len(self.lines) > VALUES_MAX:
            raise InvalidInput([f"{self.name}: {VALUES_MAX:,} values or fewer are accepted"])
        match node:
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                self._refuse_repeats(node)
                self._merge(node)
                return {key: self.value(item, (*path, key)) for key, item in self._items(node)}
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(item, (*path, n)) for n, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node)
            case _:
                return self._problem(node, "a tag has no meaning here; values are plain JSON")

    def _items(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or not _is_text(key):
                self._problem(key, "a key is a text; quote it")
            else:
                yield key.value, item

    def _merge(self, node: yaml.MappingNode) -> None:
        """Put the keys of `<<` among the node's own, which win.

        Those of what is merged come first, and each key stays once: otherwise merges of merges
        would double them over and over.
        """
        for key, item in node.value:
            if key.tag == f"{_TAG}merge":
                for merged in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                    if isinstance(merged, yaml.MappingNode):
                        self._merge(merged)
        self.loader.flatten_mapping(node)
        # A key that is no text is a fault of its own, and stays for that.
        node.value = [*{_name_of(key): (key, item) for key, item in node.value}.values()]

    def _refuse_repeats(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                self._problem(key, f"{key.value!r:.80} is there already, in line {seen[key.value]}")
            seen[key.value] = line

    def _scalar(self, node: yaml.ScalarNode) -> JsonValue:
        text = _REFERENCE.sub(lambda found: self._expanded(node, found), node.value)
        loader = cast("Any", self.loader)  # The stubs have no types for it.
        tag: str = node.tag
        if text != node.value and node.style is None:
            tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        kind = tag.removeprefix(_TAG)
        if kind not in _KINDS:
            return self._problem(node, f"a {kind} is no JSON; quote it")
        try:
            value: JsonValue = loader.construct_object(
                yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, style=node.style)
            )
        except (ValueError, KeyError):
            return self._problem(node, f"it is no {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self._problem(node, "infinity and NaN are no JSON")
        return value

    def _expanded(self, node: yaml.Node, found: re.Match[str]) -> str:
        if found["literal"]:
            return "${"
        if self.environ is None:
            self._problem(node, "${...} is for files; a literal one is written $${...}")
        elif found["bad"]:
            self._problem(
                node,
                "${ begins no reference: ${NAME} and ${NAME:-default} are accepted, "
                "and $${ for a literal ${",
            )
        else:
            name, default = found["name"], found["default"]
            given = self.environ.get(name)
            if default is not None:
                return given or default
            if given is not None:
                return given
            self._problem(node, f"${{{name}}} is not set; set it, or say ${{{name}:-default}}")
        return ""

    def _problem(self, node: yaml.Node, what: str) -> JsonValue:
        """Note it, and read on: all that is wrong is told at once."""
        self.problems.append(f"{self.name}:{node.start_mark.line + 1}: {what}")
        return None
