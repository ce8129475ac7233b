"""What happened to a task: the signal that was fired, and the event that was committed.

The payload of every trigger is JSON by construction, so that an event needs no
translation on its way to the log and back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from interlock._phases import Phase, Trigger

#: The payload of a trigger: a JSON object.  `_payload.py` says what each holds.
Data: TypeAlias = Mapping[str, Any]

#: Names and keys that begin so are the engine's own; nobody else may use them.
OWN: Final = "interlock:"
#: Actors that are not a person: everything else is a principal of the adapter's naming.
AGENT: Final = "agent"
ENGINE: Final = "engine"
TIMER: Final = "timer"
MACHINES: Final = frozenset({AGENT, ENGINE, TIMER})


class Signal(NamedTuple):
    """One occurrence of a trigger: what, with which data, by whom, when."""

    trigger: Trigger
    data: Data
    actor: str
    #: Seconds since 1970, from the engine's clock.
    at: float


@dataclass(frozen=True, slots=True)
class Event:
    """One committed entry of a task's log.  Sequence numbers start at 1 and have no gap."""

    seq: int
    at: float
    epoch: int
    trigger: Trigger
    #: None only for `submit`.
    source: Phase | None
    dest: Phase
    actor: str
    data: Data

    def to_json(self) -> dict[str, Any]:
        """The form in which stores and exporters keep it."""
        return {
            "seq": self.seq,
            "at": self.at,
            "epoch": self.epoch,
            "trigger": self.trigger.value,
            "source": None if self.source is None else self.source.value,
            "dest": self.dest.value,
            "actor": self.actor,
            "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Event":
        """The inverse of `to_json`, for what it made; anything else raises KeyError or ValueError.

        Numbers are taken as they come: `_machine.fold` finds those that do not fit.
        """
        source = entry["source"]
        return cls(
            seq=entry["seq"],
            at=entry["at"],
            epoch=entry["epoch"],
            trigger=Trigger(entry["trigger"]),
            source=None if source is None else Phase(source),
            dest=Phase(entry["dest"]),
            actor=entry["actor"],
            data=entry["data"],
        )
