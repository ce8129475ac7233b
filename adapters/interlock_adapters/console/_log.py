"""What a task's page shows of its log: lines, content, calls; read, and nothing decided here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from interlock import Ended, Event, Phase, Stopping, TaskRecord, Trigger
from interlock_adapters.console._text import shown, shown_json, web_url

#: Events of a log on one page; the later ones, and a link to the earlier.
EVENTS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class PartView:
    """One piece of content."""

    kind: str
    text: str
    #: Where a browser may be sent; None for everything but a web page.
    link: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """Something the agent made, with all that was appended to it."""

    artifact_id: str
    name: str
    description: str
    parts: tuple[PartView, ...]


@dataclass(frozen=True, slots=True)
class CallView:
    """A call of the journal: what was called, and what came of it."""

    key: str
    name: str
    arguments: str
    state: str
    result: str
    began_at: float


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a log."""

    seq: int
    at: float
    trigger: str
    moved: bool
    source: str
    dest: str
    actor: str
    words: str
    data: str


def event_row(event: Event) -> EventRow:
    """One line of a log."""
    return EventRow(
        seq=event.seq,
        at=event.at,
        trigger=event.trigger.value,
        moved=event.source != event.dest,
        source="" if event.source is None else event.source.value,
        dest=event.dest.value,
        actor=shown(event.actor),
        words=shown(_words(event)),
        data=shown_json(dict(event.data)),
    )


#: What of an event's data says most of it, the first that there is.
_SAYS: Final[Mapping[Trigger, tuple[str, ...]]] = {
    Trigger.ASK: ("tool", "prompt"),
    Trigger.PROGRESS: ("message",),
    Trigger.FAIL: ("message", "code"),
    Trigger.REJECT: ("message", "code"),
    Trigger.RETRY: ("message", "code"),
    Trigger.CALL: ("tool", "name"),
    Trigger.APPROVE: ("reason",),
    Trigger.DENY: ("reason",),
    Trigger.DECLINE: ("reason",),
    Trigger.CANCEL: ("reason",),
}


def _words(event: Event) -> str:
    """The one thing of an event that says most."""
    data = event.data
    match event.trigger:
        case Trigger.SUBMIT | Trigger.COMPLETE:
            return _first_text(data.get("parts", ()))
        case Trigger.CALLED:
            error = data.get("error")
            return f"failed: {error.get('code')}" if error else "done"
        case Trigger.EMIT:
            artifact = data["artifact"]
            return str(artifact.get("name") or artifact["artifact_id"])
        case _:
            said = [data.get(name) for name in _SAYS.get(event.trigger, ())]
            if data.get("edited"):
                said.insert(0, "with other arguments")
            return str(next((each for each in said if each), ""))


def _first_text(parts: Sequence[Mapping[str, Any]]) -> str:
    texts = (part["text"] for part in parts if isinstance(part.get("text"), str))
    return str(next(texts, ""))[:200]


def part_view(part: Mapping[str, Any]) -> PartView:
    """One piece of content; what no page can show is described."""
    media = shown(str(part.get("media_type") or ""))
    name = shown(str(part.get("filename") or ""))
    note = ", ".join(each for each in (name, media) if each)
    if isinstance(text := part.get("text"), str):
        return PartView("text", shown(text), note=note)
    if isinstance(url := part.get("url"), str):
        return PartView("url", shown(url), link=web_url(url), note=note)
    if isinstance(raw := part.get("raw"), str):
        size = len(raw) * 3 // 4
        return PartView("raw", f"{size:,} bytes, not shown", note=note)
    return PartView("data", shown_json(part.get("data")), note=note)


def input_of(events: Sequence[Event]) -> tuple[PartView, ...]:
    """What the task was submitted with."""
    return _parts(events[0].data.get("parts", ())) if events else ()


def result_of_log(events: Sequence[Event]) -> tuple[PartView, ...] | None:
    """What the agent returned; None before that."""
    for event in reversed(events):
        if event.trigger is Trigger.COMPLETE:
            return _parts(event.data.get("parts", ()))
    return None


def _parts(parts: Sequence[Mapping[str, Any]]) -> tuple[PartView, ...]:
    return tuple(part_view(part) for part in parts)


def artifacts_of(events: Sequence[Event]) -> list[ArtifactView]:
    """The artifacts, in the order in which each began."""
    made: dict[str, ArtifactView] = {}
    for event in events:
        if event.trigger is not Trigger.EMIT:
            continue
        said = event.data["artifact"]
        key, parts = str(said["artifact_id"]), _parts(said.get("parts", ()))
        earlier = made.get(key)
        if said.get("append") and earlier is not None:
            parts = earlier.parts + parts
        made[key] = ArtifactView(
            artifact_id=shown(key),
            name=shown(str(said.get("name") or (earlier.name if earlier else "") or key)),
            description=shown(str(said.get("description") or "")),
            parts=parts,
        )
    return list(made.values())


def calls_of(record: TaskRecord, events: Sequence[Event]) -> list[CallView]:
    """The calls of the journal, oldest first, with how each stands."""
    begun: dict[str, Event] = {}
    ended: dict[str, Event] = {}
    for event in events:
        if event.trigger is Trigger.CALL:
            begun[str(event.data["key"])] = event
        elif event.trigger is Trigger.CALLED:
            ended[str(event.data["key"])] = event
    return [
        CallView(
            key=shown(key),
            name=shown(str(call.data.get("tool") or call.data.get("name", ""))),
            arguments=shown_json(call.data.get("arguments")),
            state=_state(record, key, ended.get(key)),
            result=_result(ended.get(key)),
            began_at=call.at,
        )
        for key, call in begun.items()
    ]


def _state(record: TaskRecord, key: str, end: Event | None) -> str:
    """`in doubt` is a call that may have been made, and of which nobody will hear."""
    if key in record.calls:
        is_at_work = record.phase is Phase.RUNNING or record.phase is Phase.CANCELLING
        return "running" if is_at_work else "in doubt"
    if end is None:
        return "running"
    return "failed" if end.data.get("error") else "done"


def _result(end: Event | None) -> str:
    if end is None:
        return ""
    error = end.data.get("error")
    return shown_json(error or end.data.get("value"))


def ending_of(record: TaskRecord) -> tuple[str, str]:
    """Why the task ended or is being stopped: a code and words, empty if there is nothing."""
    match record.details:
        case Ended(code=code, message=message):
            return shown(code or ""), shown(message or "")
        case Stopping(cause=cause, message=message):
            return cause.value, shown(message or "")
        case _:
            return "", ""


def path_words(events: Sequence[Event]) -> list[str]:
    """The phases that the task went through, in order: the picture for who cannot see it."""
    return list(_path(events))


def _path(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        if event.source != event.dest:
            yield event.dest.value.replace("_", " ")
