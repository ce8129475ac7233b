"""`interlock diagram`: the lifecycle as a picture, or in the notation of another tool.

A layer shows something on it: one task's path, where tasks are, what was taken how often, or what
is different in another lifecycle.  A page (`html`) has as many of them as are asked for.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, cast

from interlock import (
    LIFECYCLE,
    Event,
    Lifecycle,
    diagram,
    stored_log,
    stored_moves,
    stored_phases,
)
from interlock.diagram import Look, Picture
from interlock.errors import InvalidInput, StoreError, UnknownTask
from interlock_adapters.cli import _lifecycles
from interlock_adapters.cli._board import picture
from interlock_adapters.cli._common import (
    FAILED,
    MISUSED,
    OK,
    SQLITE,
    NotFound,
    complain,
    sqlite_path,
)
from interlock_adapters.cli._ink import wants_colour
from interlock_adapters.cli._lifecycles import Unsound, lifecycle_named


class _Misused(Exception):
    """The command was called wrongly; says how."""


@dataclass(slots=True)
class Drawn:
    """What is to be drawn, and what is shown on it."""

    lifecycle: Lifecycle
    #: Of two versions, where one is compared with another.
    picture: Picture
    layers: dict[str, Look] = field(default_factory=dict[str, Look])
    #: What a page can replay.
    events: Sequence[Event] = ()
    title: str = diagram.NEUTRAL.title
    #: Whether less is shown than the lifecycle has.
    simple: bool = False
    #: Whether somebody said what it is called.
    titled: bool = False

    @property
    def look(self) -> Look:
        """The one layer, where there is only one picture."""
        return next(iter(self.layers.values()), Look(self.title))


def _board(_drawn: Drawn) -> str:
    return picture(colour=False) + "\n"


#: What makes each format, and how the name of a file in it ends.
FORMATS: Final[dict[str, tuple[Callable[[Drawn], str | bytes], str]]] = {
    "mermaid": (lambda drawn: diagram.mermaid(drawn.picture, drawn.look), ".mmd"),
    "text": (_board, ".txt"),
    "dot": (lambda drawn: diagram.dot(drawn.picture, drawn.look), ".dot"),
    "svg": (lambda drawn: diagram.svg(drawn.picture, drawn.look), ".svg"),
    "png": (lambda drawn: diagram.png(drawn.picture, drawn.look), ".png"),
    "html": (
        lambda drawn: diagram.page(drawn.picture, drawn.layers, drawn.events, drawn.title),
        ".html",
    ),
    "plantuml": (lambda drawn: diagram.plantuml(drawn.picture, drawn.look), ".puml"),
    "table": (lambda drawn: diagram.table(drawn.lifecycle), ".md"),
    "scxml": (lambda drawn: diagram.scxml(drawn.lifecycle), ".scxml"),
    "json": (lambda drawn: diagram.xstate(drawn.lifecycle), ".json"),
}
_BY_ENDING: Final = {ending: name for name, (_, ending) in FORMATS.items()}
#: Formats that have no place for a layer.
_PLAIN: Final = frozenset({"text", "table", "scxml", "json"})
#: And those that have none for a title.
_UNTITLED: Final = _PLAIN | {"mermaid"}
_PICTURES: Final = "html, svg, png, dot, mermaid or plantuml"


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    _lifecycles.declare(parser)
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="mermaid for code hosts, text for terminals, svg and png for pages, html for one with "
        "layers to switch, table for Markdown, json for XState (default: what the name of the "
        "file says, or mermaid)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write it there instead of printing it"
    )
    parser.add_argument("--title", metavar="TEXT", help="what stands under the picture")
    parser.add_argument(
        "--simple",
        action="store_true",
        help="leave out effects, and the rows that only an agent with two open asks takes",
    )
    layers = parser.add_argument_group("layers", "one of them; of html, any")
    layers.add_argument(
        "--task", metavar="TASK_ID", help="the path of a task of --store; html can replay it"
    )
    layers.add_argument(
        "--population", action="store_true", help="how many tasks of --store are in each phase"
    )
    layers.add_argument(
        "--coverage",
        metavar="FILE",
        help="how often each row was taken: a file of a test or fuzz run, or the store itself "
        f"({SQLITE}PATH)",
    )
    layers.add_argument(
        "--only-taken",
        action="store_true",
        help="with --coverage: leave out the rows that were never taken",
    )
    layers.add_argument(
        "--against",
        metavar="MODULE:LIFECYCLE|shipped",
        help="what is different from that, an older version; `shipped` is the one that is shipped",
    )
    layers.add_argument(
        "--store", metavar=f"{SQLITE}PATH", help="where the tasks are; it may be in use"
    )


def run(options: argparse.Namespace) -> int:
    """Print or write: 0 done, 1 it cannot be drawn or written, 2 called wrongly."""
    output: Path | None = options.output
    try:
        name = _format_of(options, output)
        drawn = _drawn(options, lifecycle_named(options.lifecycle))
        _check(name, drawn)
    except (_Misused, NotFound, Unsound, argparse.ArgumentTypeError) as error:
        return complain(str(error), MISUSED)
    except (InvalidInput, StoreError, UnknownTask) as error:
        return complain(str(error), FAILED)
    except KeyError as error:
        what = _move(error.args[0])
        if options.simple and options.task is not None:
            return complain(f"--simple leaves out {what}: draw it without", FAILED)
        return complain(f"the lifecycle does not have {what}: name the one that has", FAILED)
    return _draw(name, drawn, output)


def _move(missing: object) -> str:
    if isinstance(missing, tuple):
        source, dest = (str(end or "new") for end in cast("tuple[object, ...]", missing))
        return f"the move from {source} to {dest}"
    return f"the phase {missing}"


def _format_of(options: argparse.Namespace, output: Path | None) -> str:
    name: str | None = options.format
    if name is None:
        name = "mermaid" if output is None else _BY_ENDING.get(output.suffix.lower())
    if name is None:
        endings = ", ".join(_BY_ENDING)
        raise _Misused(f"{output}: say --format, or end the name in {endings}")
    if name == "png" and output is None and sys.stdout.isatty():
        raise _Misused("a PNG is no text: name a file with --output, or pipe it somewhere")
    return name


def _drawn(options: argparse.Namespace, lifecycle: Lifecycle) -> Drawn:
    """The picture and what is shown on it.

    Raises:
        _Misused, NotFound, Unsound, ArgumentTypeError: as `run`; a layer wants a store.
        InvalidInput, StoreError, UnknownTask: what a layer shows cannot be read.
        KeyError: it is of another lifecycle.
    """
    hits = None if options.coverage is None else _hits_in(options.coverage)
    shown = _shown(options, lifecycle, hits)
    drawn = Drawn(
        lifecycle, diagram.picture_of(shown), simple=bool(options.simple or options.only_taken)
    )
    if options.simple:
        drawn.title += ", one ask at a time"
    if options.against is not None:
        old = _older(options.against)
        before = diagram.simplified(old) if options.simple else old
        drawn.picture, drawn.layers["difference"] = diagram.difference(before, shown)
    if options.task is not None:
        drawn.events = stored_log(_store_of(options), options.task)
        drawn.title = f"Task {options.task}"
        drawn.layers["path"] = diagram.path_of(drawn.picture, drawn.events, drawn.title)
    if options.population:
        counts = stored_phases(_store_of(options))
        drawn.layers["population"] = diagram.population(drawn.picture, counts)
    if hits is not None:
        drawn.layers["coverage"] = diagram.coverage(drawn.picture, hits)
    if options.title is not None:
        drawn.title, drawn.titled = options.title, True
        drawn.layers = {
            name: replace(look, title=options.title) for name, look in drawn.layers.items()
        }
    return drawn


def _shown(
    options: argparse.Namespace, lifecycle: Lifecycle, hits: Mapping[diagram.Key, int] | None
) -> diagram.Declared:
    """The lifecycle, or what is left of it where less is to be shown."""
    if options.only_taken and (hits is None or options.against is not None):
        raise _Misused("--only-taken leaves out what --coverage says was never taken")
    shown: diagram.Declared = diagram.simplified(lifecycle) if options.simple else lifecycle
    return diagram.taken(shown, hits) if options.only_taken and hits is not None else shown


def _older(where: str) -> Lifecycle:
    if where == "shipped":
        return LIFECYCLE
    try:
        return lifecycle_named(where)
    except NotFound as error:
        raise NotFound(f"{error}, or `shipped` for the one that is shipped") from None


def _store_of(options: argparse.Namespace) -> Path:
    if options.store is None:
        raise _Misused(f"--task and --population need --store {SQLITE}PATH")
    return sqlite_path(options.store)


def _hits_in(where: str) -> dict[diagram.Key, int]:
    if where.startswith(SQLITE):
        return stored_moves(sqlite_path(where))
    try:
        text = Path(where).read_bytes()
    except OSError as error:
        raise _Misused(f"{where} cannot be read: {error.strerror}") from None
    try:
        return dict(diagram.hits_of_json(text))
    except InvalidInput as error:
        raise _Misused(f"{where} is no file of coverage: {error}") from None


def _check(name: str, drawn: Drawn) -> None:
    """See that the format can show what was asked for.

    Raises:
        _Misused: it cannot.
    """
    if name in _PLAIN and drawn.simple:
        raise _Misused(f"{name} is the whole lifecycle: try {_PICTURES}")
    if name in _UNTITLED and drawn.titled:
        raise _Misused(f"{name} has no title: try html, svg, png, dot or plantuml")
    if name == "text" and drawn.lifecycle is not LIFECYCLE:
        raise _Misused("text has places for the shipped phases only: try svg")
    if drawn.layers and name in _PLAIN:
        raise _Misused(f"{name} has no layers: try {_PICTURES}")
    if len(drawn.layers) > 1 and name != "html":
        raise _Misused(f"{name} shows one layer, not {' and '.join(drawn.layers)}: try html")


def _draw(name: str, drawn: Drawn, output: Path | None) -> int:
    if name == "text" and output is None:
        # For people, in colour, and with question marks where a terminal cannot show it.
        sys.stdout.write(picture(colour=wants_colour(sys.stdout)) + "\n")
        return OK
    make, _ = FORMATS[name]
    try:
        made = make(drawn)
    except diagram.GraphvizMissing as missing:
        return complain(str(missing), FAILED)
    return _write(made.encode() if isinstance(made, str) else made, output)


def _write(document: bytes, output: Path | None) -> int:
    if output is None:
        # All of them are declared as UTF-8, or taken for it: whatever this terminal speaks.
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        return OK
    try:
        output.write_bytes(document)
    except OSError as error:
        return complain(f"{output} cannot be written: {error.strerror}", FAILED)
    return OK
