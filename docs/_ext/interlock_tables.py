"""Tables that are made from the code: commands and options, error codes, limits.

Each directive writes Markdown and has it parsed in its place, as if it stood on the page.
"""

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, cast

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from interlock import errors
from interlock.models import Limits
from interlock_adapters import cli


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*head], *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- commands ---------------------------------------------------------------------------------


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, in the order in which help has them."""
    choices = [action.choices for action in parser._actions if action.choices]  # noqa: SLF001
    return dict(cast("dict[str, argparse.ArgumentParser]", choices[0]))


def _spelt(action: argparse.Action) -> str:
    """How an option or argument is written, as code."""
    if not action.option_strings:
        name = action.metavar or action.dest
        return f"`{name if isinstance(name, str) else ' '.join(name)}`"
    value = ""
    if action.nargs != 0:
        value = f" {action.metavar or '{' + ','.join(map(str, action.choices or ())) + '}'}"
        if value == " {}":
            value = f" {action.dest.upper()}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _options_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    formatter = parser._get_formatter()  # noqa: SLF001
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:  # noqa: SLF001
            continue
        # What the help itself shows: %(default)s and its like are put in.
        yield _spelt(action), _one_line(formatter._expand_help(action)) if action.help else ""  # noqa: SLF001


def cli_page() -> str:
    """Every command: what it does, how it is called, and its options."""
    sections: list[str] = []
    for name, parser in commands(cli._parser()).items():  # noqa: SLF001
        usage = _one_line(parser.format_usage().removeprefix("usage: "))
        rows = _table(("argument or option", "what"), _options_of(parser))
        said = f"## interlock {name}\n\n{parser.description}\n\n```text\n{usage}\n```\n\n{rows}"
        if parser.epilog:
            said += f"\n{_one_line(parser.epilog)}\n"
        sections.append(said)
    return "\n".join(sections)


# --- errors -----------------------------------------------------------------------------------


def error_codes() -> list[tuple[str, type[errors.EngineError]]]:
    """Each code with the class that has it, in the order of the codes."""
    found: dict[str, type[errors.EngineError]] = {}
    for name in errors.__all__:
        value = getattr(errors, name)
        if issubclass(value, errors.EngineError):
            assert value.code not in found, value.code
            found[value.code] = value
    return sorted(found.items())


def error_table() -> str:
    """The codes, with what they say."""
    rows = [
        (
            f"`{code}`",
            f"{{py:class}}`~interlock.errors.{error.__name__}`",
            f"{{py:class}}`~interlock.errors.{error.__base__.__name__}`"
            if error.__base__ and issubclass(error.__base__, errors.EngineError)
            else "",
            inspect.cleandoc(error.__doc__ or "").split("\n\n")[0],
        )
        for code, error in error_codes()
    ]
    return _table(("code", "error", "is a", "what"), ((*map(_one_line, row),) for row in rows))


# --- limits -----------------------------------------------------------------------------------

_SIGNS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def limits(
    model: type[BaseModel] = Limits, within: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Each limit: its key, what it comes as, what it may be, and what it is for."""
    told = ModuleAnalyzer.for_module(model.__module__).find_attr_docs()
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            yield from limits(type(default), f"{within}{name}.")
            continue
        bounds = [
            f"{sign} {getattr(rule, mark):g}"
            for rule in field.metadata
            for mark, sign in _SIGNS.items()
            if getattr(rule, mark, None) is not None
        ]
        if type(None) in getattr(field.annotation, "__args__", ()):
            bounds.append("or `None`")
        shown = "`None`" if default is None else f"`{json.dumps(default)}`"
        words = _one_line(" ".join(told.get((model.__name__, name), [])))
        yield f"`{within}{name}`", shown, ", ".join(bounds), words


def limits_table() -> str:
    """The limits of an engine."""
    return _table(("limit", "default", "may be", "what"), limits())


# --- directives -------------------------------------------------------------------------------


MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "cli": cli_page,
    "errors": error_table,
    "limits": limits_table,
}
_MADE: Final = re.compile(r"^```\{made\} (\w+)\n```$", re.MULTILINE)


class Made(SphinxDirective):
    """`{made} cli`, `{made} errors` or `{made} limits`: what the code says, as Markdown."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse what was made."""
        text = MAKERS[self.arguments[0]]()
        # The page is old when the code is new.
        self.env.note_reread()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def in_markdown(text: str) -> str:
    """A page with what its directives make, for whoever reads no HTML."""
    return _MADE.sub(lambda found: MAKERS[found[1]](), text)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("made", Made)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
