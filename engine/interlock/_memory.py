"""What a task's log says its agent has already done: the memory of a turn."""

from dataclasses import dataclass, field

from interlock._event import Data, Event
from interlock._phases import Trigger
from interlock.models import JsonValue


@dataclass(frozen=True, slots=True)
class Reply:
    """How an ask was closed: a value (or the approved arguments), or a denial."""

    value: JsonValue = None
    denied: bool = False
    reason: str | None = None


@dataclass(slots=True)
class Memory:
    """Answers by key, and how much was already shown; grows with each event."""

    request: Data = field(default_factory=dict[str, JsonValue])
    replies: dict[str, Reply] = field(default_factory=dict[str, Reply])
    #: Keys that the agent itself gave up; they never get a reply.
    withdrawn: set[str] = field(default_factory=set[str])
    #: Keys that an earlier attempt gave up: this one asks again, under another.
    spent: set[str] = field(default_factory=set[str])
    #: The numbers of the artifact chunks that were shown.
    emitted: set[int] = field(default_factory=set[int])
    progressed: int = 0
    _asked: dict[str, Data] = field(default_factory=dict[str, Data])

    def add(self, event: Event) -> None:
        """Take in the next event of the task."""
        data = event.data
        match event.trigger:
            case Trigger.SUBMIT:
                self.request = data
            case Trigger.ASK:
                self._asked[data["key"]] = data
            case Trigger.WITHDRAW:
                self.withdrawn.add(data["key"])
            case Trigger.RETRY:
                self.spent |= self.withdrawn
                self.withdrawn.clear()
            case Trigger.EMIT:
                self.emitted.add(data["n"])
            case Trigger.PROGRESS:
                self.progressed += 1
            case _:
                reply = self._reply(event)
                if reply is not None:
                    self.replies[data["key"]] = reply

    def _reply(self, event: Event) -> Reply | None:
        """What the event answers, if it answers an ask."""
        data = event.data
        match event.trigger:
            case Trigger.PROVIDE_INPUT:
                return Reply(data["value"])
            case Trigger.APPROVE:
                return Reply(data["arguments"])
            case Trigger.DENY:
                return Reply(denied=True, reason=data.get("reason"))
            case Trigger.EXPIRE:
                return _expired(self._asked[data["key"]])
            case _:
                return None


def _expired(asked: Data) -> Reply:
    if asked["on_expire"] == "default":
        return Reply(asked.get("default"))
    return Reply(denied=True, reason="nobody answered in time")
