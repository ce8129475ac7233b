"""Each public name is documented once, in one module; annotations and other modules link there.

A class is written in a private module, and may be imported from several public ones, such as
`interlock` and `interlock.lifecycle`.  `MODULES` says in which order a home is looked for.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import BaseModel
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from interlock import SyncTaskContext, TaskContext, TaskHandle

#: Every public module, the most exact first: what `interlock` gives, too, is at home in the other.
MODULES: Final = (
    "interlock.errors",
    "interlock.models",
    "interlock.policy",
    "interlock.tools",
    "interlock.forms",
    "interlock.diagram",
    "interlock.testing",
    "interlock.testing.fuzz",
    "interlock.testing.hypothesis",
    "interlock.testing.model",
    "interlock",
    "interlock.lifecycle",
    "interlock.stores",
    "interlock_adapters.auth",
    "interlock_adapters.telemetry",
    "interlock_adapters.config",
    "interlock_adapters.a2a",
    "interlock_adapters.mcp",
    "interlock_adapters.mcp_tools",
    "interlock_adapters.mcp_testing",
    "interlock_adapters.smolagents",
    "interlock_adapters.smolagents_testing",
    "interlock_adapters.policies",
    "interlock_adapters.vocabulary",
    "interlock_adapters.management",
    "interlock_adapters.service",
    "interlock_adapters.console",
    "interlock_adapters.server",
    "interlock_adapters.logs",
    "interlock_adapters.prometheus",
    "interlock_adapters.postgres",
    "interlock_adapters.restate",
    "interlock_adapters.crosscheck",
    "interlock_adapters.cli",
)


#: A longer definition says less than its words.
VALUE_MAX: Final = 100


def public(module: str) -> list[str]:
    """The public names of a module, sorted."""
    return sorted(importlib.import_module(module).__all__)


def _own_name(value: object) -> str | None:
    """Where a class or function was written; of other values nobody can say."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return None


@cache
def homes() -> dict[str, str]:
    """The public name of each class and function, by where it was written."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name in public(module):
            own = _own_name(getattr(importlib.import_module(module), name))
            if own is not None:
                found.setdefault(own, f"{module}.{name}")
    return found


@cache
def _homes_of_values() -> dict[str, str]:
    """The module of each public name that is neither class nor function."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name in public(module):
            if _own_name(getattr(importlib.import_module(module), name)) is None:
                found.setdefault(name, f"{module}.{name}")
    return found


def home_of(module: str, name: str) -> str:
    """The full name under which a public name of a module is documented."""
    own = _own_name(getattr(importlib.import_module(module), name))
    return homes()[own] if own is not None else _homes_of_values()[name]


class Names(SphinxDirective):
    """`{names} interlock`: every public name of a module, each a link to where it is documented."""

    required_arguments = 1
    # Of an instance in the base class: a variable of the class to every checker but one.
    option_spec = {"elsewhere": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """One paragraph of links."""
        module = self.arguments[0]
        names = [(name, home_of(module, name)) for name in public(module)]
        if "elsewhere" in self.options:
            names = [(name, home) for name, home in names if home != f"{module}.{name}"]
        paragraph = nodes.paragraph()
        for number, (name, home) in enumerate(names):
            if number:
                paragraph += nodes.Text(", ")
            reference = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=home, refexplicit=True, refwarn=True
            )
            reference += nodes.literal("", name)
            paragraph += reference
        return [paragraph]


def _candidates(target: str) -> Iterator[str]:
    """Under which names a name that an annotation has may be documented."""
    known = homes()
    head, tail = target, ""
    while head:
        if head in known:
            yield known[head] + tail
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    last = target.rpartition(".")[2]
    if last in _homes_of_values():
        yield _homes_of_values()[last]
    if target == last:  # As a docstring says it.
        yield from (home for home in known.values() if home.rpartition(".")[2] == last)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Find what an annotation means by a private name, or by a bare one."""
    if node.get("refdomain") != "py":
        return None
    domain, source = env.domains.python_domain, node.get("refdoc", env.docname)
    for name in _candidates(str(node["reftarget"])):
        found = domain.resolve_xref(env, source, app.builder, "obj", name, node, content)
        if found is not None:
            return found
    return None


def skip(
    app: Sphinx,
    what: str,
    name: str,
    value: Any,  # noqa: ANN401
    _skipped: bool,  # noqa: FBT001
    _options: object,
) -> bool | None:
    """Leave out of a module what is at home in another, and values, which `{values}` has."""
    if what != "module":
        return None
    own = _own_name(value)
    here = f"{app.env.current_document.autodoc_module}.{name}"
    # None leaves it to the rest of Sphinx, such as `exclude-members`.
    return True if own is None or homes().get(own) != here else None


# --- docstrings, signatures, bases --------------------------------------------------------------

#: A plural: to Sphinx no literal ends before a letter.
_PLURAL: Final = re.compile(r"(`[^`]+`)(?=\w)")


def as_restructured(
    _app: Sphinx,
    _what: str,
    _name: str,
    _value: object,
    _options: object,
    lines: list[str],
) -> None:
    """Make of a docstring in the manner of Markdown one that Sphinx reads."""
    told: list[str] = []
    above, is_raises = "", False
    for line in lines:
        if line == "Raises:":
            is_raises = True
            continue
        is_inner = line.startswith("    ")
        is_raises = is_raises and (is_inner or not line)
        is_code = is_inner and above[:1] not in {" ", "*"} and bool(told) and not told[-1]
        if is_raises and is_inner and line[4] != " ":
            line = f":raises {line[4:]}"  # noqa: PLW2901
        elif is_code and not is_raises:
            told += ["::", ""]
        told.append(line if line.startswith("        ") or is_code else _PLURAL.sub(r"\1\\ ", line))
        above = line or above
    lines[:] = told


_UNWRITTEN: Final = re.compile(r" ?= ?<(?:[^<>]|<[^<>]*>)*>(?=[,)])")


def _all_bare(parameters: list[Any]) -> list[Any]:
    return [_bare(one) for one in parameters]


def _bare(annotation: Any) -> Any:  # noqa: ANN401
    """An annotation without what a checker of values knows besides."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) is Literal:
        return annotation
    bare = tuple(
        _all_bare(cast("Any", one)) if isinstance(one, list) else _bare(one) for one in arguments
    )
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return Union[bare]  # noqa: UP007
    return (
        annotation.copy_with(bare)
        if hasattr(annotation, "copy_with")
        else get_origin(annotation)[bare]
    )


def strip(_app: Sphinx, value: Any, _is_bound: bool) -> None:  # noqa: ANN401, FBT001
    """Show of the parameters of a function their types, without bounds and patterns."""
    with suppress(AttributeError, TypeError, NameError):
        value.__annotations__ = {
            name: _bare(hint) for name, hint in get_type_hints(value, include_extras=True).items()
        }


def strip_models(_app: Sphinx) -> None:
    """Show of the fields of models their types: tables have their bounds."""
    for module in MODULES:
        for name in public(module):
            value = getattr(importlib.import_module(module), name)
            if inspect.isclass(value) and issubclass(value, BaseModel):
                value.__annotations__ = {
                    key: _bare(hint) for key, hint in value.__annotations__.items()
                }


def signature(
    _app: Sphinx,
    what: str,
    _name: str,
    value: Any,  # noqa: ANN401
    _options: object,
    parameters: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """None for a model, whose fields stand below it, nor for a class that nobody makes."""
    if what == "class":
        is_made = not issubclass(
            value, BaseModel | TaskContext | SyncTaskContext | TaskHandle | Enum
        )
        if not is_made or getattr(value, "_is_protocol", False):
            return "", None
    # Of a default that cannot be written, such as a factory, one sees that there is one.
    return None if parameters is None else (_UNWRITTEN.sub("=...", parameters), returned)


def public_bases(_app: Sphinx, _name: str, value: type, _options: object, bases: list[Any]) -> None:
    """Name instead of a private base the next public one."""
    known = homes()
    bases[:] = [
        base
        for base in value.__mro__[1:]
        if not str(base.__module__).startswith("interlock") or _own_name(base) in known
    ][:1]


# --- values ---------------------------------------------------------------------------------------


def _written(module: str, name: str) -> tuple[str, str]:
    """The module that a value is written in, and its definition."""
    tree = ast.parse(source := inspect.getsource(importlib.import_module(module)))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _written(str(node.module), alias.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
                return module, ast.get_source_segment(source, node.value or target) or ""
    return module, ""


def value_page(module: str) -> str:
    """The values of a module that are at home there, as Markdown."""
    told = ""
    for name in public(module):
        if _homes_of_values().get(name) != f"{module}.{name}":
            continue
        where, definition = _written(module, name)
        words = ModuleAnalyzer.for_module(where).find_attr_docs().get(("", name), [])
        options = f":module: {module}\n"
        if 0 < len(definition) < VALUE_MAX and "\n" not in definition:
            options += f":value: {definition}\n"
        told += f"```{{py:data}} {name}\n{options}\n{' '.join(words)}\n```\n\n"
    return told


class Values(SphinxDirective):
    """`{values} interlock`: constants and type aliases, which autodoc does not find."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One entry for each."""
        return self.parse_text_to_nodes(value_page(self.arguments[0]))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives and the hooks."""
    app.add_directive("names", Names)
    app.add_directive("values", Values)
    app.connect("builder-inited", strip_models)
    app.connect("autodoc-before-process-signature", strip)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", as_restructured)
    app.connect("autodoc-process-bases", public_bases)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
