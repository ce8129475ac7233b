"""What a task's log says its agent has already done: the memory of a turn."""

import itertools
from dataclasses import dataclass, field

from interlock._event import Data, Event
from interlock._json import digest
from interlock._payload import Asked
from interlock._phases import Trigger
from interlock.errors import ReplayDiverged
from interlock.models import JsonValue


@dataclass(frozen=True, slots=True)
class Reply:
    """How an ask was closed: a value (or the approved arguments), or a denial."""

    value: JsonValue = None
    denied: bool = False
    reason: str | None = None


@dataclass(slots=True)
class Memory:
    """What was asked and answered, by key, and what was shown; grows with each event."""

    request: Data = field(default_factory=dict[str, JsonValue])
    #: Which attempt of the task this is.
    attempt: int = 0
    replies: dict[str, Reply] = field(default_factory=dict[str, Reply])
    #: What was asked, and in which attempt.
    asked: dict[str, tuple[int, Data]] = field(default_factory=dict[str, tuple[int, Data]])
    #: Keys that an earlier turn gave up: they never get a reply, so this one asks anew.
    spent: set[str] = field(default_factory=set[str])
    #: Digests of the artifact chunks that were shown, by their numbers.
    emitted: dict[int, str] = field(default_factory=dict[int, str])
    #: Digests of the progress lines, in their order.
    progressed: list[str] = field(default_factory=list[str])
    _withdrawn: set[str] = field(default_factory=set[str])

    def begin(self) -> None:
        """A turn begins with what is remembered by now."""
        self.spent |= self._withdrawn

    def add(self, event: Event) -> None:
        """Take in the next event of the task."""
        data = event.data
        match event.trigger:
            case Trigger.SUBMIT:
                self.request = data
            case Trigger.START:
                self.attempt += 1
            case Trigger.ASK:
                self.asked[data["key"]] = (self.attempt, data)
            case Trigger.WITHDRAW:
                self._withdrawn.add(data["key"])
            case Trigger.EMIT:
                self.emitted[data["n"]] = digest(data["artifact"])
            case Trigger.PROGRESS:
                self.progressed.append(digest([data["message"], data["fraction"]]))
            case _:
                reply = self._reply(event)
                if reply is not None:
                    self.replies[data["key"]] = reply

    def key_for(self, asked: Asked) -> str:
        """The key under which a question is asked, or was asked before.

        That is its own, `k`, unless `k` was given up, or was another question of an earlier
        attempt; then `k@2`, and so on.

        Raises:
            ReplayDiverged: this very attempt asked something else by that key.
        """
        for again in itertools.count(1):
            key = asked["key"] if again == 1 else f"{asked['key']}@{again}"
            if key in self.spent:
                continue
            attempt, recorded = self.asked.get(key, (0, None))
            if recorded is None or _question(recorded) == _question(asked):
                return key
            if attempt == self.attempt:
                raise ReplayDiverged(key, _words(recorded), _words(asked))
        raise AssertionError("counting never ends")

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
                return _expired(self.asked[data["key"]][1])
            case _:
                return None


def _question(asked: Data | Asked) -> str:
    """Stands for what is asked, whenever and under whatever key."""
    names = ("kind", "prompt", "schema", "tool", "arguments")
    return digest([asked.get(name) for name in names])


def _words(asked: Data | Asked) -> str:
    """What is asked, for people; arguments and answers may be secret and are left out."""
    tool = asked.get("tool")
    return f"for leave to call {tool!r}" if tool else f"the question {asked['prompt']!r:.80}"


def _expired(asked: Data) -> Reply:
    if asked["on_expire"] == "default":
        return Reply(asked.get("default"))
    return Reply(denied=True, reason="nobody answered in time")
