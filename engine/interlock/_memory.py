"""What a task's log says its agent has already done: the memory of a turn."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from interlock._event import OWN, Data, Event
from interlock._json import digest
from interlock._payload import NOT_MADE, Asked
from interlock._phases import Trigger
from interlock.errors import ReplayDiverged
from interlock.models import JsonObject, JsonValue

#: The keys of what an operator is asked about a task whose turns cannot go on.
OPERATOR: Final = OWN + "operator-"
#: The keys of what a person is asked about a call of which nobody knows whether it was done.
IN_DOUBT: Final = OWN + "in-doubt-"
#: The kinds of entries that an agent asks for by key.
ASK, CALL, NOTE = "ask", "call", "note"
#: What an operator may decide (see `Engine.resume`).
AGAIN, SKIP, FROM_SCRATCH = "again", "skip", "from_scratch"


@dataclass(frozen=True, slots=True)
class Reply:
    """How an ask was closed: a value (or the approved arguments), or a no."""

    value: JsonValue = None
    denied: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What a call came to: a value, or an error."""

    value: JsonValue = None
    error: JsonObject | None = None
    #: A person says so, and nobody saw it.
    told: bool = False


@dataclass(slots=True)
class Called:
    """A call that was begun, and what it came to as far as anybody knows."""

    name: str
    #: What the agent wanted it to be called with.
    requested: JsonValue
    attempt: int
    idempotent: bool
    #: The last event with which it was begun, by attempt; and the one with which it ended.
    begun_in: dict[int, int]
    #: What it was really called with.
    arguments: JsonObject
    #: `source/name`, of a tool that the gate let through, and who may answer for it.
    tool: str = ""
    approvers: tuple[str, ...] = ()
    ended_at: int = 0
    #: How often it was begun.
    begun: int = 1
    #: None: it may have been done and it may not.
    ended: Ended | None = None
    _digest: str = ""

    @property
    def digest(self) -> str:
        """Stands for the function and what it was to be called with."""
        # Made when it is asked for: of most calls nobody does, unless a turn is run again.
        self._digest = self._digest or digest([self.name, self.requested])
        return self._digest

    @property
    def failed(self) -> bool:
        """Whether it was not done: the function raised."""
        error = None if self.ended is None else self.ended.error
        return error is not None and not error.get("done", False)


@dataclass(slots=True)
class Memory:
    """What was asked, called and shown, and what came of it; grows with each event."""

    request: Data = field(default_factory=dict[str, JsonValue])
    #: Which attempt of the task this is.
    attempt: int = 0
    replies: dict[str, Reply] = field(default_factory=dict[str, Reply])
    #: What was asked, and in which attempt.
    asked: dict[str, tuple[int, Data]] = field(default_factory=dict[str, tuple[int, Data]])
    calls: dict[str, Called] = field(default_factory=dict[str, Called])
    notes: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    #: Kinds and keys that count for nothing any more: what an earlier turn gave up, or an operator
    #: struck out.  Nothing is handed back for them, so this turn does it anew.
    spent: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    #: Digests of the artifact chunks that were shown, by their numbers.
    emitted: dict[int, str] = field(default_factory=dict[int, str])
    #: How often each line of progress was told, by its digest.
    progressed: Counter[str] = field(default_factory=Counter[str])
    _withdrawn: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    #: How often calls were begun that are not among `calls`, since they were not made in the end.
    _begun_before: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def is_new(self) -> bool:
        """Whether nothing was done yet that could be handed back."""
        done = (self.asked, self.calls, self.notes, self.emitted, self.progressed)
        return not any(done)

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
                self._withdrawn.add((ASK, data["key"]))
            case Trigger.CALL | Trigger.CALLED | Trigger.NOTE:
                self._journal(event)
            case Trigger.EMIT | Trigger.PROGRESS if "within" in data:
                pass  # It is of a call, which is not made again.
            case Trigger.EMIT:
                self.emitted[data["n"]] = digest(data["artifact"])
            case Trigger.PROGRESS:
                self.progressed[digest([data["message"], data["fraction"]])] += 1
            case _:
                self._reply(event)

    def key_for(self, asked: Asked) -> str:
        """The key under which a question is asked, or was asked before.

        That is its own, `k`, unless `k` was given up, or was another question of an earlier
        attempt; then `k@2`, and so on.

        Raises:
            ReplayDiverged: this very attempt asked something else by that key.
        """
        for key in self._keys(ASK, asked["key"]):
            attempt, recorded = self.asked.get(key, (0, None))
            if recorded is None or _question(recorded) == _question(asked):
                return key
            if attempt == self.attempt:
                was, now = _words(recorded), _words(asked)
                more = "" if was != now else " in another form, or with other arguments"
                raise ReplayDiverged(key, was, now + more)
        raise AssertionError("counting never ends")

    def asked_now(self, base: str) -> Data | None:
        """What this attempt asked under a key, `base` or one that was counted from it."""
        for key in self._keys(ASK, base):
            attempt, recorded = self.asked.get(key, (0, None))
            if recorded is None or attempt == self.attempt:
                return recorded
        raise AssertionError("counting never ends")

    def call_key(self, base: str, name: str, fingerprint: str) -> tuple[str, str]:
        """The key under which a function is called, or was called before; and its token.

        The key is its own, unless that was another call of an earlier attempt, or one that
        failed then: a retry does again what failed, and not what was done.  The token is the
        key of the first of these that is the same call: whoever is called knows it by that.

        Raises:
            ReplayDiverged: this very attempt called something else by that key.
        """
        token = ""
        for key in self._keys(CALL, base):
            recorded = self.calls.get(key)
            if recorded is None:
                return key, token or key
            if (recorded.name, recorded.digest) == (name, fingerprint):
                token = token or key
                if not self._is_tried_again(key, recorded):
                    return key, token
            elif recorded.attempt == self.attempt:
                other = "" if recorded.name != name else " with other arguments"
                asked = f"for {name!r}{other}"
                raise ReplayDiverged(key, f"the call {recorded.name!r}", asked, kind=CALL)
        raise AssertionError("counting never ends")

    def _is_tried_again(self, key: str, call: Called) -> bool:
        """Whether a call failed in an earlier attempt, and was not made again there."""
        if call.attempt == self.attempt or not call.failed:
            return False
        # A key of the agent's own names a call that is no other, whatever it is called with.
        counted = re.compile(re.escape(call.name) + r"-[0-9]+(@[0-9]+)?")
        if not counted.fullmatch(key):
            return True
        return not any(
            (other.name, other.digest) == (call.name, call.digest)
            and other.begun_in.get(call.attempt, 0) > call.ended_at
            and not (other.failed and other.attempt == call.attempt)
            and counted.fullmatch(name)
            for name, other in self.calls.items()
        )

    def note_key(self, base: str) -> str:
        """The key of a note, past those that an operator struck out."""
        return next(self._keys(NOTE, base))

    def _keys(self, kind: str, base: str) -> Iterator[str]:
        for again in itertools.count(1):
            key = base if again == 1 else f"{base}@{again}"
            if (kind, key) not in self.spent:
                yield key

    def _journal(self, event: Event) -> None:
        """Take in what the agent did outside."""
        data = event.data
        match event.trigger:
            case Trigger.CALL:
                self._begun(data, event.seq)
            case Trigger.CALLED if data.get("error", {}).get("code") == NOT_MADE:
                # As if it had not been begun this once; the times before are counted on, since
                # what a person said of one of them must not be taken for an answer again.
                self._begun_before[data["key"]] = self.calls.pop(data["key"]).begun - 1
            case Trigger.CALLED:
                self.calls[data["key"]].ended = Ended(
                    data["value"], data.get("error"), told="by" in data
                )
                self.calls[data["key"]].ended_at = event.seq
            case _:
                self.notes[data["key"]] = data["value"]

    def _begun(self, data: Data, seq: int) -> None:
        known = self.calls.get(data["key"])
        if known is not None:
            known.begun += 1
            # What it comes to now is of this attempt, and no more to be tried again in it.
            known.attempt = self.attempt
            known.begun_in[self.attempt] = seq
            return
        arguments = data["arguments"]
        self.calls[data["key"]] = Called(
            data["name"],
            data.get("requested", arguments),
            self.attempt,
            data["idempotent"],
            {self.attempt: seq},
            arguments,
            data.get("tool", ""),
            tuple(data.get("policy", {}).get("approvers", ())),
            begun=self._begun_before.pop(data["key"], 0) + 1,
        )

    def _reply(self, event: Event) -> None:
        """Keep what the event answers, if it answers an ask."""
        data = event.data
        match event.trigger:
            case Trigger.PROVIDE_INPUT:
                if data["key"].startswith(OPERATOR):
                    self._decided(self.asked[data["key"]][1], data["value"])
                reply = Reply(data["value"])
            case Trigger.APPROVE:
                reply = Reply(data["arguments"])
            case Trigger.DENY:
                reply = Reply(denied=True, reason=data.get("reason"))
            case Trigger.DECLINE:
                reply = _declined(self.asked[data["key"]][1], data)
            case Trigger.EXPIRE:
                reply = _expired(self.asked[data["key"]][1])
            case _:
                return
        self.replies[data["key"]] = reply

    def _decided(self, question: Data, decision: JsonValue) -> None:
        """An operator has said how a task goes on whose turns could not."""
        if decision == SKIP and "about" in question:
            self.spent.add((question["about"]["kind"], question["about"]["key"]))
        elif decision == FROM_SCRATCH:
            kept = ((ASK, self.asked), (CALL, self.calls), (NOTE, self.notes))
            self.spent |= {(kind, key) for kind, entries in kept for key in entries}


def _question(asked: Data | Asked) -> str:
    """Stands for what is asked, whenever and under whatever key."""
    names = ("kind", "prompt", "schema", "tool", "arguments")
    return digest([asked.get(name) for name in names])


def _words(asked: Data | Asked) -> str:
    """What is asked, for people; arguments and answers may be secret and are left out."""
    tool = asked.get("tool")
    return f"for leave to call {tool!r}" if tool else f"the question {asked['prompt']!r:.80}"


def _declined(asked: Data, said: Data) -> Reply:
    if asked["on_expire"] == "default":
        return Reply(asked.get("default"))
    return Reply(denied=True, reason=said.get("reason") or "the question was declined")


def _expired(asked: Data) -> Reply:
    if asked["on_expire"] == "default":
        return Reply(asked.get("default"))
    return Reply(denied=True, reason="nobody answered in time")
