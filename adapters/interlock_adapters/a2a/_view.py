"""A task's log as A2A shows it: a fold of events, pure.

The same fold gives the Task of a GetTask, the updates of a stream and the payloads of push
notifications, so that they cannot disagree.  It never sees the record: what the machine
keeps there follows from the events, and a test compares the two over whole lives.
`finalize` is invisible: a finalized task is shown as it was before.

It makes the protocol's JSON, which most readers get, and protobuf from that.  What is shown
how is decided in specs/a2a.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from a2a.types import Task, TaskArtifactUpdateEvent, TaskStatusUpdateEvent
from google.protobuf.json_format import ParseDict

from interlock import OVER, WAITING, Event, Phase, StopCause, Trigger
from interlock._phases import ANSWERS, CLOSES
from interlock_adapters._stops import STOPS
from interlock_adapters.a2a._json import (
    Json,
    answer_part,
    artifact_shown,
    ask_parts,
    part_shown,
    put_fraction,
    put_kept,
    rfc3339,
)
from interlock_adapters.a2a._map import (
    ABANDONED,
    CODE,
    DUE,
    EVENT,
    PHASE,
    SEQ,
    STATE_NAME_OF,
    TRIGGER,
)

Update: TypeAlias = TaskStatusUpdateEvent | TaskArtifactUpdateEvent

#: The artifact that holds what a completed task comes to.
RESULT: Final = "result"
_CAUSES: Final = {
    Trigger.CANCEL: StopCause.CLIENT,
    Trigger.DENY: StopCause.DENIED,
    Trigger.DECLINE: StopCause.DECLINED,
    Trigger.EXPIRE: StopCause.ASK_EXPIRED,
}
#: Triggers in which somebody says something; they make the history.
_SAID: Final = ANSWERS | {Trigger.SUBMIT, Trigger.ASK, Trigger.PROGRESS}
#: Triggers after which the status is what it was.
_QUIET: Final = frozenset(
    {
        Trigger.EMIT,
        Trigger.CLAIM,
        Trigger.RECOVER,
        Trigger.CALL,
        Trigger.CALLED,
        Trigger.NOTE,
        Trigger.FINALIZE,
    }
)


class Projection:
    """What the events fed so far amount to.  Feed every event of one task, in order."""

    __slots__ = (
        "_abandoned",
        "_artifacts",
        "_asks",
        "_at",
        "_cause",
        "_code",
        "_due",
        "_note",
        "_progress",
        "_result",
        "_said",
        "_status_seq",
        "context_id",
        "phase",
        "seq",
        "task_id",
    )

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.task_id = ""
        self.context_id = ""
        self.phase = Phase.SUBMITTED
        #: The last event that shows.
        self.seq = 0
        self._at = 0.0
        self._due = 0.0
        #: The event that the status is of.
        self._status_seq = 0
        #: Open asks by key, oldest first.
        self._asks: dict[str, Event] = {}
        #: The progress that the status tells now.
        self._progress: Event | None = None
        self._said: list[Event] = []
        self._artifacts: dict[str, Json] = {}
        self._result: Json | None = None
        #: Why the task stops or stopped; None unless it was told to.
        self._cause: StopCause | None = None
        self._code: str | None = None
        self._note: str | None = None
        self._abandoned = False
        for event in events:
            self.feed(event)

    def feed(self, event: Event) -> None:
        """Take one more event in."""
        trigger = event.trigger
        if trigger is Trigger.FINALIZE:
            return
        self.seq = event.seq
        self._at = event.at
        if trigger in _SAID:
            self._said.append(event)
        if not shows_status(event):
            if trigger is Trigger.EMIT:
                self._keep_chunk(event.data["artifact"])
            return
        self.phase = event.dest
        self._status_seq = event.seq
        self._progress = event if trigger is Trigger.PROGRESS else None
        if trigger is Trigger.SUBMIT:
            data = event.data
            self.task_id, self.context_id = data["task_id"], data["context_id"]
            self._due = data["due"]
            return
        if trigger is Trigger.ASK:
            self._asks[event.data["key"]] = event
        elif trigger in CLOSES:
            self._asks.pop(event.data["key"], None)
        elif trigger is Trigger.COMPLETE:
            self._keep_result(event)
        if event.dest not in WAITING:
            self._asks.clear()
            self._explain(event)

    def updates_json(self, event: Event) -> list[Json]:
        """Take one more event in, and return what a stream shows of it.

        Each update names in its metadata the last event of which all was shown: resuming
        after it, a reader misses nothing.
        """
        shown: list[Json] = []
        if event.trigger is Trigger.EMIT:
            chunk = event.data["artifact"]
            append = bool(chunk.get("append")) and chunk["artifact_id"] in self._artifacts
            self.feed(event)
            last = bool(chunk.get("last_chunk"))
            shown.append(
                self._artifact_update(artifact_shown(chunk), append=append, last_chunk=last)
            )
        else:
            self.feed(event)
            if event.trigger is Trigger.COMPLETE and self._result is not None:
                shown.append(self._artifact_update(self._result, append=False, last_chunk=True))
            if shows_status(event):
                shown.append(self._status_update(event.trigger))
        for update in shown:
            whole = update is shown[-1]
            place_of(update)[EVENT] = str(event.seq if whole else event.seq - 1)
        return shown

    def updates(self, event: Event) -> list[Update]:
        """As `updates_json`, as protobuf."""
        return [update_of(shown) for shown in self.updates_json(event)]

    def task_json(self, *, history_length: int | None = None, with_artifacts: bool = True) -> Json:
        """The task, with its latest `history_length` messages (None: with all)."""
        task: Json = {"id": self.task_id, "contextId": self.context_id, "status": self._status()}
        if with_artifacts and self._artifacts:
            task["artifacts"] = list(self._artifacts.values())
        if history_length != 0:
            said = [event for event in self._said if not self._is_in_status(event)]
            wanted = said if history_length is None else said[-history_length:]
            if wanted:
                task["history"] = [self._message(event) for event in wanted]
        task["metadata"] = self._metadata()
        return task

    # --- folding ------------------------------------------------------------------------

    def _keep_chunk(self, chunk: Mapping[str, Any]) -> None:
        artifact_id = chunk["artifact_id"]
        kept = self._artifacts.get(artifact_id)
        shown = artifact_shown(chunk)
        if kept is None or not chunk.get("append"):
            self._artifacts[artifact_id] = shown
            return
        parts = kept["parts"] + shown["parts"]
        metadata = kept.get("metadata", {}) | shown.get("metadata", {})
        # A new object: an update that is still on its way may hold the old one.
        grown = self._artifacts[artifact_id] = kept | shown | {"parts": parts}
        if metadata:
            grown["metadata"] = metadata

    def _keep_result(self, event: Event) -> None:
        parts = event.data["parts"]
        if not parts:
            return
        artifact_id = RESULT if RESULT not in self._artifacts else f"{RESULT}-{event.seq}"
        self._result = self._artifacts[artifact_id] = {
            "artifactId": artifact_id,
            "name": RESULT,
            "parts": [part_shown(part) for part in parts],
        }

    def _explain(self, event: Event) -> None:
        """Why the task is in a phase in which nothing is asked."""
        data = event.data
        match event.trigger:
            case Trigger.STOPPED | Trigger.ABANDON:
                self._abandoned = event.trigger is Trigger.ABANDON
            case Trigger.FAIL | Trigger.REJECT | Trigger.RETRY:
                self._code, self._note = data["code"], data["message"]
            case _ if event.dest is Phase.CANCELLING or event.dest in OVER:
                self._cause = _cause(event)
                self._code = None if self._cause is None else self._cause.value
                self._note = data.get("reason")
            case _:
                self._code = self._note = None

    # --- showing ------------------------------------------------------------------------

    def _artifact_update(self, artifact: Json, *, append: bool, last_chunk: bool) -> Json:
        return {
            "artifactUpdate": {
                "taskId": self.task_id,
                "contextId": self.context_id,
                "artifact": artifact,
                "append": append,
                "lastChunk": last_chunk,
                "metadata": {SEQ: self.seq},
            }
        }

    def _status_update(self, trigger: Trigger) -> Json:
        return {
            "statusUpdate": {
                "taskId": self.task_id,
                "contextId": self.context_id,
                "status": self._status(),
                "metadata": {TRIGGER: trigger.value, **self._metadata()},
            }
        }

    def _metadata(self) -> Json:
        metadata: Json = {SEQ: self.seq, PHASE: self.phase.value}
        if self._code is not None:
            metadata[CODE] = self._code
        if self.phase not in OVER:
            metadata[DUE] = rfc3339(self._due)
        elif self.phase is not Phase.COMPLETED:
            metadata[ABANDONED] = self._abandoned
        return metadata

    def _status(self) -> Json:
        status: Json = {"state": STATE_NAME_OF[self.phase.kin], "timestamp": rfc3339(self._at)}
        text = self._text()
        if text is None and not self._asks:
            return status
        parts: list[Json] = [] if text is None else [{"text": text}]
        for event in self._asks.values():
            parts += ask_parts(event, is_open=True)
        message = status["message"] = {
            "messageId": f"{self.task_id}/{self._status_seq}",
            "contextId": self.context_id,
            "taskId": self.task_id,
            "role": "ROLE_AGENT",
            "parts": parts,
        }
        if self._progress is not None:
            put_fraction(message, self._progress)
        return status

    def _text(self) -> str | None:
        """What the status says beside its asks."""
        if self._progress is not None:
            return str(self._progress.data["message"])
        if self._cause is None:
            return self._note
        while_stopping, stopped = STOPS[self._cause]
        text = stopped if self.phase in OVER else while_stopping
        return text if self._note is None else f"{text} {self._note}"

    def _is_in_status(self, event: Event) -> bool:
        if event.trigger is Trigger.ASK:
            return event.data["key"] in self._asks
        return event is self._progress

    def _message(self, event: Event) -> Json:
        """One entry of the history."""
        data = event.data
        message: Json = {
            # A message id given by a client is its own; the others are ours, and stable.
            "messageId": data.get("token") or f"{self.task_id}/{event.seq}",
            "contextId": self.context_id,
            "taskId": self.task_id,
            "role": "ROLE_USER",
        }
        match event.trigger:
            case Trigger.SUBMIT:
                message["parts"] = [part_shown(part) for part in data["parts"]]
                if data.get("metadata"):
                    put_kept(message, data["metadata"])
            case Trigger.ASK:
                message["role"] = "ROLE_AGENT"
                message["parts"] = ask_parts(event, is_open=False)
            case Trigger.PROGRESS:
                message["role"] = "ROLE_AGENT"
                message["parts"] = [{"text": data["message"]}]
                put_fraction(message, event)
            case _:
                parts = data.get("message") or [answer_part(event)]
                message["parts"] = [part_shown(part) for part in parts]
        return message


def task_json(
    events: Iterable[Event], *, history_length: int | None = None, with_artifacts: bool = True
) -> Json:
    """The task that a log amounts to; see `Projection.task_json`."""
    shown = Projection(events)
    return shown.task_json(history_length=history_length, with_artifacts=with_artifacts)


def task_of(events: Iterable[Event]) -> Task:
    """As `task_json`, as protobuf."""
    return ParseDict(task_json(events), Task())


def update_of(shown: Json) -> Update:
    """The update that its JSON stands for."""
    if "statusUpdate" in shown:
        return ParseDict(shown["statusUpdate"], TaskStatusUpdateEvent())
    return ParseDict(shown["artifactUpdate"], TaskArtifactUpdateEvent())


def place_of(shown: Json) -> Json:
    """The metadata of what a stream shows, which tell its place in the log."""
    (said,) = shown.values()
    metadata: Json = said["metadata"]
    return metadata


def shows_status(event: Event) -> bool:
    """Whether the status is another one after this event."""
    if event.trigger is Trigger.CANCEL:
        return event.source is not event.dest  # A repeat changes nothing.
    return event.trigger not in _QUIET


def _cause(event: Event) -> StopCause | None:
    """Why the task stops; None: it completed."""
    if event.trigger is Trigger.OVERRUN:
        is_run = event.data["timer"] == "run"
        return StopCause.RUN_DEADLINE if is_run else StopCause.TASK_DEADLINE
    return _CAUSES.get(event.trigger)
