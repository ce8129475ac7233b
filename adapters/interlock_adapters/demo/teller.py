"""Prints what a client sees of a task, one line for each thing, in eighty columns."""

import json
import textwrap
from collections.abc import Sequence
from typing import Final, TextIO

from interlock import Answer, Denial, JsonObject, JsonValue, Phase
from interlock_adapters.cli._board import WIDTH, Journey, Travelled, picture
from interlock_adapters.cli._ink import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Ink, wants_colour
from interlock_adapters.demo.client import Chunk, Moved, Question, Reply, Said, Sight

#: Columns of the margin in which a line says whose it is.
_MARGIN: Final = 10
_INDENT: Final = " " * (_MARGIN + 2)

#: What stands between several things of one line, and a space at which no line ends.
_DOT: Final = " · "
_HARD: Final = "\N{NO-BREAK SPACE}"

_INK_OF: Final[dict[Phase, Ink]] = {
    Phase.COMPLETED: GREEN,
    Phase.CANCELLED: YELLOW,
    Phase.CANCELLING: YELLOW,
    Phase.FAILED: RED,
    Phase.TIMED_OUT: RED,
    Phase.REJECTED: RED,
}


class Teller:
    """Tells the story to a stream, in colour if that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream
        self._colour: Final = wants_colour(stream)

    def title(self, name: str, url: str, store: str, about: str = "") -> None:
        """What this is, and where."""
        self._print(f"\n  {self._in(BOLD, 'interlock demo')}   {name}, over A2A at {url}")
        self._print(self._in(DIM, f"  no key, no network; tasks are kept in {store}"))
        if about:
            self.hint(about)

    def act(self, title: str) -> None:
        """The heading of one task."""
        rule = "─" * (WIDTH - len(title) - 4)
        self._print(f"\n  {self._in(BOLD, title)} {self._in(DIM, rule)}\n")

    def hint(self, text: str) -> None:
        """What the reader may do."""
        self._print(self._in(DIM, textwrap.indent(text, "  ")))

    def says(self, text: str) -> None:
        """What the client sends to begin with."""
        self._row("you", text, GREEN)

    def show(self, sight: Sight) -> None:
        """One thing that the client saw."""
        match sight:
            case Moved(seq, move):
                number = self._in(DIM, f"#{seq}".rjust(_MARGIN))
                self._print(f"{number}  {self._move(move)}")
            case Said(text, fraction):
                done = "" if fraction is None else self._in(DIM, f"  {fraction:.0%}")
                self._row("agent", text, CYAN, after=done)
            case Chunk():
                self._chunk(sight)
            case Question():
                self._question(sight)

    def replied(self, reply: Reply) -> None:
        """What somebody answered, who did not type it."""
        match reply:
            case Answer(value=value):
                text = shown(value)
            case Denial():
                text = "no"
            case _:
                text = "yes, with exactly these arguments"
        self._row("you", text, GREEN)

    def refused(self, why: str) -> None:
        """Something was not accepted, and nothing has changed."""
        self._row("refused", why, RED)

    def prompt(self, text: str) -> None:
        """Ask for a line."""
        margin = self._in(GREEN, "you".rjust(_MARGIN))
        print(f"{margin}  {text}", end="", file=self._stream, flush=True)

    def end_line(self) -> None:
        """Leave a prompt that was not answered."""
        self._print("")

    def done(self, calls: int, repeated: int) -> None:
        """What was done outside, and how often anything was done once more."""
        noun = "call" if repeated == 1 else "calls"
        text = f"{calls} calls made outside, {repeated} {noun} repeated"
        self._print(f"\n{_INDENT}{self._in(RED if repeated else GREEN, text)}")

    def machine(self, journeys: Sequence[Journey]) -> None:
        """The whole lifecycle, with the journeys lit, and what their marks mean."""
        self.act("The machine, and the way through it")
        self._print(textwrap.indent(picture(journeys, colour=self._colour), " "))
        self._print("")
        for journey in journeys:
            steps = _DOT.join(f"{mark} {move.trigger}" for mark, move in journey.steps())
            first, *rest = _wrapped(steps, WIDTH - len(_INDENT))
            self._print(self._in(journey.ink, f"{journey.name.rjust(_MARGIN)}  {first}"))
            for line in rest:
                self._print(self._in(journey.ink, f"{_INDENT}{line}"))
        self._print(self._in(DIM, f"{'↻'.rjust(_MARGIN)}  things happen here that move nothing"))

    def _move(self, move: Travelled) -> str:
        source = "●" if move.source is None else move.source.value
        dest = self._in(_INK_OF.get(move.dest, BOLD), move.dest.value)
        return f"{source} ─{self._in(CYAN, move.trigger.value)}→ {dest}"

    def _chunk(self, chunk: Chunk) -> None:
        if chunk.append:
            name = f"{chunk.name}, {'the last piece' if chunk.last else 'one more piece'}"
        else:
            name = chunk.name
        lines = [line for content in chunk.content for line in content_of(content).splitlines()]
        self._row("shows", f"{name}:", CYAN)
        for line in lines:
            for piece in _wrapped(line, WIDTH - len(_INDENT) - 2):
                self._print(f"{_INDENT}  {piece}")

    def _question(self, question: Question) -> None:
        self._row("asks", question.prompt, YELLOW)
        if question.arguments is not None:
            ordered = in_order(question.arguments, question.form)
            self._table([(question.tool, "")])
            self._table([(f"  {name}", shown(value)) for name, value in ordered.items()])
        else:
            fields = fields_of(question.form)
            self._table([(name, described(schema)) for name, schema in fields.items()])

    def _table(self, rows: Sequence[tuple[str, str]]) -> None:
        width = max((len(name) for name, _ in rows), default=0)
        for name, text in rows:
            self._print(f"{_INDENT}  {name.ljust(width)}  {text}".rstrip())

    def _row(self, who: str, text: str, ink: Ink, *, after: str = "") -> None:
        lines = textwrap.wrap(text, WIDTH - _MARGIN - 2) or [""]
        self._print(f"{self._in(ink, who.rjust(_MARGIN))}  {lines[0]}{after}")
        for line in lines[1:]:
            self._print(_INDENT + line)

    def _in(self, ink: Ink, text: str) -> str:
        return ink(text) if self._colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _wrapped(line: str, width: int) -> list[str]:
    """The line in pieces; of several things with dots between them each stays whole."""
    if _DOT in line:
        line = line.replace(" ", _HARD).replace(_DOT.replace(" ", _HARD), f"{_HARD}· ")
    pieces = textwrap.wrap(line, width, break_on_hyphens=False)
    return [piece.replace(_HARD, " ") for piece in pieces] or [""]


def content_of(content: JsonValue) -> str:
    """What is in an artifact, as people read it: also JSON that is a text, and a tool call."""
    match content:
        case {"tool": str(tool), "arguments": dict(arguments), **rest} if not rest:
            return f"{tool}  {shown(arguments)}".rstrip()
        case str(text) if text.startswith("{"):
            try:
                return shown(json.loads(text))
            except ValueError:
                return text
        case _:
            return shown(content)


def shown(value: JsonValue) -> str:
    """JSON as people read it."""
    match value:
        case dict():
            return _DOT.join(f"{name} {shown(value[name])}" for name in sorted(value))
        case list():
            return ", ".join(shown(item) for item in value)
        case str():
            return value
        case _:
            return str(value)


def fields_of(form: JsonObject) -> dict[str, JsonObject]:
    """The fields of an object's schema by name, in the order in which it requires them."""
    fields = form.get("properties")
    if not isinstance(fields, dict):
        return {}
    ordered = in_order(fields, form)
    return {name: schema for name, schema in ordered.items() if isinstance(schema, dict)}


def in_order(fields: JsonObject, form: JsonObject) -> JsonObject:
    """The fields in a meaningful order: protobuf's objects have none, its lists have."""
    required = form.get("required")
    first = [str(name) for name in required] if isinstance(required, list) else []
    names = [name for name in first if name in fields]
    return {name: fields[name] for name in (*names, *sorted(fields.keys() - set(names)))}


def described(schema: JsonObject) -> str:
    """What a field wants, in words."""
    kind = {"integer": "a whole number", "string": "text"}.get(str(schema.get("type")), "a value")
    least = schema.get("minimum", schema.get("minLength"))
    most = schema.get("maximum", schema.get("maxLength"))
    bounds = f", {least} to {most}" if least is not None and most is not None else ""
    unit = " characters" if bounds and "maxLength" in schema else ""
    what = schema.get("description")
    return f"{what}: {kind}{bounds}{unit}" if isinstance(what, str) else f"{kind}{bounds}{unit}"
