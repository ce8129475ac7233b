"""What goes over the wire to the objects, and what they keep: all of it JSON."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from pydantic_core import from_json, to_json
from restate.serde import Serde

from interlock.errors import Unstorable
from interlock.lifecycle import Event, Signal, TaskRecord, Trigger
from interlock.stores import Claim, Commit, Watch

#: Commits that an object remembers, so that one which is sent twice is made once.
REMEMBERED_MAX: Final = 16


#: What handlers are sent, and what they answer.
Request: TypeAlias = dict[str, Any]


class Json(Serde[Any]):
    """JSON as every store has it: nothing at all is None."""

    def serialize(self, obj: object) -> bytes:
        """The value as JSON."""
        return b"" if obj is None else to_json(obj)

    def deserialize(self, buf: bytes) -> Any:  # noqa: ANN401  any JSON
        """The inverse of `serialize`."""
        return from_json(buf) if buf else None


JSON: Final = Json()


def key_of(task_id: str) -> str:
    """The key of a task's objects: its id, percent-encoded as in a URL."""
    return quote(task_id, safe="")


def token_key(owner: str, token: str) -> str:
    """The key of the object of a token; no part of an owner can be taken for one of a token."""
    return f"{quote(owner, safe='')}/{quote(token, safe='')}"


def request_of(commit: Commit, now: float) -> bytes:
    """The request to append what a commit holds: its signals, and nothing that follows from them.

    `now` is the time by the store's clock, which delays are counted from.

    Raises:
        Unstorable: something in it is not JSON.
    """
    turn = commit.turn
    try:
        return to_json(
            {
                "id": secrets.token_hex(12),
                "task_id": commit.record.task_id,
                "now": now,
                "expected": commit.expected_seq,
                "signals": [[e.trigger.value, dict(e.data), e.actor, e.at] for e in commit.events],
                # Nothing but a check: another lifecycle might make something else of it.
                "leads": [leads(event) for event in commit.events],
                "claims": [claim_json(claim) for claim in commit.claims],
                "watches": [watch_json(watch) for watch in commit.watches],
                "turn": None if turn is None else [turn.epoch, turn.not_before],
            }
        )
    except (ValueError, TypeError) as error:
        # Only the kind of fault: the data may hold a secret.
        raise Unstorable(f"a commit is not JSON ({type(error).__name__})") from None


@dataclass(slots=True)
class Append:
    """A request as an object reads it."""

    id: str
    now: float
    expected: int
    signals: list[list[Any]]
    leads: list[list[Any]]
    claims: tuple[Claim, ...]
    watches: tuple[Watch, ...]
    turn: tuple[int, float | None] | None

    @classmethod
    def of(cls, task_id: str, request: Request) -> "Append":
        """What `request_of` made for that task."""
        turn = request["turn"]
        return cls(
            request["id"],
            request["now"],
            request["expected"],
            request["signals"],
            request["leads"],
            tuple(claim_of(claim) for claim in request["claims"]),
            tuple(watch_of(task_id, watch) for watch in request["watches"]),
            None if turn is None else (turn[0], turn[1]),
        )


def signal_of(entry: Sequence[Any]) -> Signal:
    """A signal of a request; raises ValueError for a trigger that nobody here knows."""
    trigger, data, actor, at = entry
    return Signal(Trigger(trigger), data, actor, at)


def leads(event: Event) -> list[Any]:
    """Where a move has led."""
    return [event.dest.value, event.epoch]


def claim_json(claim: Claim) -> list[str]:
    """The inverse of `claim_of`."""
    return [claim.owner, claim.token, claim.task_id, claim.digest]


def claim_of(entry: Sequence[str]) -> Claim:
    """The inverse of `claim_json`."""
    return Claim(*entry)


def watch_json(watch: Watch) -> list[Any]:
    """The inverse of `watch_of`."""
    state = [watch.cursor, watch.attempts, watch.not_before, watch.given_up]
    return [watch.watch_id, watch.channel, watch.config, *state]


def watch_of(task_id: str, entry: Sequence[Any]) -> Watch:
    """The inverse of `watch_json`."""
    watch_id, channel, config, cursor, attempts, not_before, given_up = entry
    return Watch(watch_id, task_id, channel, config, cursor, attempts, not_before, given_up)


@dataclass(slots=True)
class Head:
    """What an object has at hand of its task: all but the log."""

    record: TaskRecord | None = None
    #: The commits that were made last.
    done: list[str] = field(default_factory=list[str])
    #: The tokens that it used up, as keys.
    tokens: list[str] = field(default_factory=list[str])
    #: When it is to look at its deadlines next, seconds since 1970.
    armed: float | None = None

    @property
    def seq(self) -> int:
        """The number of the last event, 0 for none."""
        return 0 if self.record is None else self.record.seq

    def json(self) -> dict[str, Any]:
        """The form in which it is kept."""
        record = None if self.record is None else self.record.to_json().decode()
        done = self.done[-REMEMBERED_MAX:]
        return {"record": record, "done": done, "tokens": [*self.tokens], "armed": self.armed}

    @classmethod
    def of(cls, kept: dict[str, Any] | None) -> "Head":
        """The inverse of `json`; raises ValueError if nobody here has heard of its phase."""
        if kept is None:
            return cls()
        record = None if kept["record"] is None else TaskRecord.from_json(kept["record"])
        return cls(record, kept["done"], kept["tokens"], kept["armed"])


def page_key(first_seq: int) -> str:
    """The key of the page of the log that begins with that event; sorts as the log does."""
    return f"log{first_seq:012d}"


def events_json(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events as they are kept."""
    return [event.to_json() for event in events]
