"""Replay every story in this folder.

A story is a list of commands, each followed by what came of it:

    +2 provide_input by ada key=city value="Ulm"

fires that trigger two seconds after the one before, by that actor, with those data.  What is
left out is what a sound engine would put there: the current epoch, the digest that was asked
about, ten seconds of grace.  Lines that begin with `#` are for the reader.

After a change that is meant to alter behaviour, run `make rewrite` and read the diff: commit it
only if you can say why every line moved.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from interlock._event import AGENT, ENGINE, TIMER, Event, Signal
from interlock._json import digest
from interlock._machine import LIFECYCLE, Move, fire, fold
from interlock._phases import Trigger
from interlock._record import Ended, Stopping, TaskRecord
from interlock.errors import AnswerInvalid, GuardRefused, Refused
from lives import named

HERE: Final = Path(__file__).parent
STORIES: Final = sorted(HERE.glob("*.txt"))

#: Who usually says it; everybody else is the client.
ACTOR_OF: Final = {
    **dict.fromkeys((Trigger.START, Trigger.CLAIM, Trigger.RECOVER, Trigger.FINALIZE), ENGINE),
    **dict.fromkeys((Trigger.EXPIRE, Trigger.OVERRUN, Trigger.ABANDON), TIMER),
    **dict.fromkeys((Trigger.ASK, Trigger.WITHDRAW, Trigger.EMIT, Trigger.PROGRESS), AGENT),
    **dict.fromkeys((Trigger.CALL, Trigger.CALLED, Trigger.NOTE), AGENT),
    **dict.fromkeys((Trigger.COMPLETE, Trigger.FAIL, Trigger.RETRY, Trigger.STOPPED), AGENT),
}
CLIENT: Final = "ada"

ROOM: Final = {"log_events_max": 99}
#: What a sound engine puts into a signal beside the epoch and the grace period, and without them.
USUAL: Final[dict[Trigger, dict[str, Any]]] = {
    Trigger.ASK: {
        "prompt": "?", "schema": {}, "on_expire": "fail", "after_s": 60, "asks_max": 9,
    },
    Trigger.EMIT: ROOM,
    Trigger.PROGRESS: ROOM,
    Trigger.NOTE: ROOM,
    Trigger.CALL: {"arguments": {"args": [], "kwargs": {}}, "idempotent": False, **ROOM},
    Trigger.CALLED: {"value": None},
}  # fmt: skip
USUAL_ALONE: Final[dict[Trigger, dict[str, Any]]] = {
    Trigger.START: {"run_s": None},
    Trigger.RECOVER: {"run_s": None},
    Trigger.FINALIZE: {"turn_alive": False, "deliveries_left": 0},
}
COMMAND: Final = re.compile(r"(?:\+(?P<after_s>[\d.]+) )?(?P<trigger>\w+)(?: by (?P<actor>\w+))?")


class Story:
    """One task, and the time at which it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.record: TaskRecord | None = None
        self.log: list[Event] = []

    def tell(self, command: str) -> Iterator[str]:
        """Do what the line says; what came of it, line by line."""
        found = COMMAND.match(command)
        assert found, f"not a command: {command!r}"
        self.now += float(found["after_s"] or 0)
        trigger = Trigger(found["trigger"])
        data = {**self.usual(trigger), **given(command[found.end() :])}
        if "after_s" in data:
            data["due"] = self.now + data.pop("after_s")
        if "rest_s" in data:
            data["not_before"] = self.now + data.pop("rest_s")
        if self.record and (ask := self.record.ask(data.get("key", ""))):
            data = {"digest": ask.digest, "arguments": ask.arguments, **data}
        actor = found["actor"] or ACTOR_OF.get(trigger, CLIENT)
        signal = Signal(trigger, data, actor, self.now)
        try:
            move = fire(self.record, signal) if self.record else LIFECYCLE.submit(signal)
        except Refused as error:
            yield from refused(error)
            return
        yield from moved(self.record, move)
        self.record = move.record
        self.log.append(move.event)
        assert fold(self.log) == self.record

    def usual(self, trigger: Trigger) -> dict[str, Any]:
        """The data that a story need not spell out."""
        if trigger is Trigger.SUBMIT:
            return {"task_id": "t", "owner": CLIENT, "context_id": "c", "parts": [], "after_s": 600}
        if trigger in USUAL_ALONE:
            return dict(USUAL_ALONE[trigger])
        data: dict[str, Any] = {"epoch": self.record.epoch if self.record else 0, "grace_s": 10}
        return {**data, **USUAL.get(trigger, {})}


def given(text: str) -> dict[str, Any]:
    """`name=value` pairs; a value is JSON, or a word."""
    data: dict[str, Any] = {}
    while text := text.lstrip():
        name, _, text = text.partition("=")
        word = text.split(maxsplit=1)[0]
        try:
            data[name], end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            end = 0
        if not end or text[end:].lstrip() == text[end:] != "":
            data[name], end = word, len(word)
        text = text[end:]
    if "tool" in data:
        data["digest"] = digest([data["tool"], data["arguments"]])
    return data


def refused(error: Refused) -> Iterator[str]:
    """The error as its caller sees it."""
    yield f"  {error.code}" + (f" {error.reason}" if isinstance(error, GuardRefused) else "")
    if isinstance(error, AnswerInvalid):
        yield from (f"    {problem}" for problem in error.problems)
    else:
        yield f"    {error}"


def moved(before: TaskRecord | None, move: Move) -> Iterator[str]:
    """The move, its effects, and what the record says now."""
    record = move.record
    source = "(new)" if before is None else before.phase
    epoch = "" if before is not None and before.epoch == record.epoch else f", epoch {record.epoch}"
    yield f"  {source} -> {record.phase}{epoch}"
    if move.effects:
        yield f"    {', '.join(map(named, move.effects))}"
    if record.calls:
        yield f"    calls without an end: {', '.join(record.calls)}"
    for ask in record.asks:
        yield f"    asks {ask.key} ({ask.kind}) until {ask.due:g}"
    match record.details:
        case Stopping(cause=cause, grace_due=due):
            yield f"    stops: {cause}, has until {due:g}"
        case Ended(outcome=outcome, code=code, message=message, abandoned=abandoned):
            why = f" ({code})" if code else ""
            said = f": {message}" if message else ""
            yield f"    ended: {outcome}{why}{said}{', abandoned' if abandoned else ''}"
        case _:
            pass
    timers = [f"{timer.kind} {timer.key} {timer.due:g}".split() for timer in record.timers()]
    yield "    timers: " + (", ".join(" ".join(timer) for timer in timers) or "none")


def play(text: str) -> Iterator[str]:
    """The story as it is told now."""
    story = Story()
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        comments = [line for line in lines if line.startswith("#")]
        yield from comments
        commands = [line for line in lines if line not in comments and not line.startswith(" ")]
        for command in commands:
            yield command
            yield from story.tell(command)
        yield ""


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_is_told_as_it_happens(path: Path) -> None:
    """The script's text is what the machine does; `make rewrite` tells it anew.

    Source: R-LIFE-19.
    """
    text = path.read_text(encoding="utf-8")
    played = "\n".join(play(text)).strip() + "\n"
    if os.environ.get("REWRITE"):
        path.write_text(played, encoding="utf-8")
    assert played == path.read_text(encoding="utf-8")


def test_there_are_stories_and_together_they_use_every_trigger() -> None:
    """A trigger that occurs in no story has never been looked at in one.  Source: R-LIFE-19."""
    assert len(STORIES) >= 10
    told = "\n".join(path.read_text(encoding="utf-8") for path in STORIES)
    missing = [
        trigger
        for trigger in Trigger
        if not re.search(rf"^(\+\S+ )?{trigger}\b", told, re.MULTILINE)
    ]
    assert missing == []
