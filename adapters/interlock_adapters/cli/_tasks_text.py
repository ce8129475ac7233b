"""Tasks for people at a terminal: plain tables that fit it, and nothing that could command it.

What agents and clients wrote is shown without control characters: a terminal obeys them.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self, TextIO

from interlock_adapters._shown.times import utc
from interlock_adapters.cli._tasks_desk import Json
from interlock_adapters.cli._words import clean, left, span

_DOTS: Final = "…"
#: Columns between two cells.
_GAP: Final = 2
#: A column is not made narrower than this, however narrow the terminal.
_NARROW: Final = 6
_WIDE: Final = frozenset("WF")
#: Characters of a bar.
_BAR: Final = 24


def width_of(text: str) -> int:
    """Columns that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in _WIDE else 1
        for c in text
    )


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits, with a sign that there is more."""
    if width_of(text) <= width:
        return text
    taken, room = "", width - 1
    for c in text:
        room -= width_of(c)
        if room < 0:
            break
        taken += c
    return taken + _DOTS


def columns_of(stream: TextIO) -> int | None:
    """Columns of a terminal; None where nobody looks at it and nothing needs to be cut."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lines of a table; cells are cut, the widest columns first, until it fits."""
    lines = [list(head), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(width_of(line[n]) for line in lines) for n in range(len(head))]
    while width is not None and sum(widths) + _GAP * (len(head) - 1) > width:
        widest = max(range(1, len(widths)), key=lambda n: widths[n])  # The first is the id.
        if widths[widest] <= _NARROW:
            break
        widths[widest] -= 1
    return [_line(line, widths).rstrip() for line in lines]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded: list[str] = []
    for cell, width in zip(cells, widths, strict=True):
        shown = cut(cell, width)
        padded.append(shown + " " * (width - width_of(shown)))
    return (" " * _GAP).join(padded)


def tasks_text(page: Json, *, limit: int, now: float, width: int | None) -> str:
    """Tasks as a table, of which so many were asked for at most."""
    tasks: list[Json] = page["tasks"]
    left_out = page["total"] - len(tasks)
    # A page that is not full has all that can be read.
    unreadable = left_out if len(tasks) < limit else 0
    if not tasks and not unreadable:
        return "no tasks"
    head = ("TASK", "PHASE", "CHANGED", "OWNER", "WAITS FOR")
    rows = [
        (
            task["task_id"],
            task["phase"],
            f"{span(now - task['updated_at'])} ago",
            task["owner"],
            _waits_for(task),
        )
        for task in tasks
    ]
    lines = table(head, rows, width) if rows else []
    if unreadable > 0:
        why = "cannot be read: name their --lifecycle, or ask interlock doctor"
        lines += ["", f"{len(tasks)} of {page['total']}; {unreadable} {why}"]
    elif left_out > 0:
        lines += ["", f"{len(tasks)} of {page['total']}; --limit shows more"]
    return "\n".join(lines)


def _waits_for(task: Json) -> str:
    asks: list[Json] = task["asks"]
    if asks:
        more = f" (and {len(asks) - 1} more)" if len(asks) > 1 else ""
        return f"{asks[0]['key']}: {asks[0]['prompt']}{more}"
    return task["message"] or ""


def task_text(task: Json, *, now: float, events: Sequence[Json] = ()) -> str:
    """One task, with what it asks first."""
    return "\n".join([*_head(task, now), *_asks(task, now), *_made(task), *_log(events)])


def _head(task: Json, now: float) -> Iterator[str]:
    phase = task["phase"] + (f" ({clean(task['code'])})" if task["code"] else "")
    yield f"task      {clean(task['task_id'])}"
    yield f"phase     {phase}, for {span(now - task['updated_at'])}"
    if task["message"]:
        yield f"          {clean(task['message'])}"
    if task["abandoned"]:
        yield "          its turn would not end, and was given up"
    yield f"owner     {clean(task['owner'])}"
    yield f"context   {clean(task['context_id'])}"
    yield f"created   {_time(task['created_at'])}, attempt {task['attempt']}, event {task['seq']}"
    if task["due"] is not None:
        yield f"due       {_time(task['due'])}, {left(task['due'] - now)}"
    yield f"input     {_parts(task['input'])}"
    can = dict.fromkeys(possible["trigger"] for possible in task["can"])
    yield f"can       {', '.join(can) or 'nothing'}"


def _asks(task: Json, now: float) -> Iterator[str]:
    for ask in task["asks"]:
        yield ""
        yield from ask_lines(ask, now=now)


def ask_lines(ask: Json, *, now: float) -> Iterator[str]:
    """An open ask, with exactly what would run."""
    kind = "decision" if ask["kind"] == "auth" else "value"
    yield f"ASKS for a {kind}: {clean(ask['key'])}"
    yield f"  {clean(ask['prompt'])}"
    if ask["tool"] is not None:
        yield f"  tool       {clean(ask['tool'])}"
    if ask["arguments"] is not None:
        yield "  arguments"
        yield from (f"    {line}" for line in _pretty(ask["arguments"]))
        yield f"  digest     {ask['digest']}"
        yield f"  edits      {'allowed' if ask['allow_edit'] else 'not allowed'}"
    elif ask["schema"]:
        yield f"  schema     {clean(json.dumps(ask['schema'], ensure_ascii=False))}"
    if ask["approvers"]:
        yield f"  approvers  {clean(', '.join(ask['approvers']))}"
    yield f"  until      {_time(ask['due'])}, {left(ask['due'] - now)}; then {ask['on_expire']}"


def _made(task: Json) -> Iterator[str]:
    if task["closed"]:
        yield ""
        yield "asked"
    for ask in task["closed"]:
        why = "" if ask["reason"] is None else f": {clean(ask['reason'])}"
        yield f"  {ask['trigger']:13}  {clean(ask['key'])}  by {clean(ask['actor'])}{why}"
        yield f"{'':17}{clean(_question(ask))}"
    if task["journal"]:
        yield ""
        yield "journal"
    for call in task["journal"]:
        arguments = json.dumps(call["arguments"], ensure_ascii=False)
        yield f"  {call['state']:8}  {clean(call['key'])}: {clean(call['name'])} {clean(arguments)}"
        if call["error"] is not None:
            yield f"            {clean(json.dumps(call['error'], ensure_ascii=False))}"
    for artifact in task["artifacts"]:
        yield ""
        yield f"artifact {clean(artifact['name'] or artifact['artifact_id'])}"
        yield f"  {_parts(artifact['parts'])}"
    if task["result"] is not None:
        yield ""
        yield f"result    {_parts(task['result'])}"


def _question(ask: Json) -> str:
    said: str = ask["prompt"]
    if ask["arguments"] is None:
        return said
    return f"{said} {json.dumps(ask['arguments'], ensure_ascii=False)}"


def _log(events: Sequence[Json]) -> Iterator[str]:
    if events:
        yield ""
    for event in events:
        came = event["source"] or "(new)"
        way = event["dest"] if event["source"] == event["dest"] else f"{came} → {event['dest']}"
        what = f"{event['seq']:4}  {_time(event['at'])}  {event['trigger']:13}  {way}"
        yield f"{what}  by {clean(event['actor'])}"
        if decided := _decided(event):
            yield f"{'':26}{clean(decided)}"


def _decided(event: Json) -> str:
    """What somebody decided of which ask, and why; nothing for other events."""
    data = event["data"]
    match event["trigger"]:
        case "approve":
            arguments = json.dumps(data["arguments"], ensure_ascii=False)
            what = f"{data['key']}: with {arguments}{', edited' if data['edited'] else ''}"
        case "deny" | "decline":
            what = data["key"]
        case _:
            return ""
    return what if data.get("reason") is None else f"{what}; {data['reason']}"


def _parts(parts: Sequence[Json]) -> str:
    return clean(" | ".join(_part(part) for part in parts)) or "(nothing)"


def _part(part: Json) -> str:
    match part:
        case {"text": str() as text}:
            return text
        case {"url": str() as url}:
            return url
        case {"raw": str() as raw}:
            return f"({len(raw)} characters of base64)"
        case _:
            return json.dumps(part.get("data"), ensure_ascii=False)


def _pretty(value: Any) -> list[str]:  # noqa: ANN401  JSON
    return [clean(line) for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines()]


def _time(at: float) -> str:
    return utc(at).strftime("%Y-%m-%d %H:%M:%S UTC")


class Bar:
    """How far long work is, on one line of a terminal; elsewhere nothing."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: Final = stream or sys.stderr
        self._is_seen: Final = self._stream.isatty()
        self._shown = ""

    def __call__(self, what: str, done: int, of: int) -> None:
        """So much is done of so much; 0 where nobody knows."""
        if not self._is_seen:
            return
        if of:
            part = min(1.0, done / of)
            full = round(part * _BAR)
            text = f"{what} [{'#' * full}{'.' * (_BAR - full)}] {part:4.0%} of {of:,}"
        else:
            text = f"{what}: {done:,}"
        if text != self._shown:
            blank = " " * max(0, len(self._shown) - len(text))
            self._stream.write(f"\r{text}{blank}")
            self._stream.flush()
            self._shown = text

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave an empty line behind."""
        if self._shown:
            self._stream.write(f"\r{' ' * len(self._shown)}\r")
            self._stream.flush()
            self._shown = ""
