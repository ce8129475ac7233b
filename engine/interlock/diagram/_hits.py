"""How often each row was taken, as a file: what a run of tests or a fuzz run leaves behind."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interlock._event import Event
from interlock._form import faults_of
from interlock._phases import Phase, Trigger
from interlock._transitions import Key
from interlock.errors import InvalidInput

#: What the file says that it is.
FORMAT: Final = "interlock-coverage/1"


class _Move(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    source: Phase | None
    trigger: Trigger
    dest: Phase
    count: int = Field(ge=0)


class _File(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    format: str = Field(pattern=f"^{FORMAT}$")
    moves: list[_Move]


def hits_of(events: Iterable[Event]) -> Counter[Key]:
    """How often each row was taken, by events of any number of tasks."""
    return Counter((event.source, event.trigger, event.dest) for event in events)


def hits_to_json(hits: Mapping[Key, int]) -> str:
    """The file; the same counts give the same bytes."""
    ordered = sorted(hits, key=lambda key: (key[0] or "", key[1], key[2]))
    moves = [
        {"source": source, "trigger": trigger, "dest": dest, "count": hits[source, trigger, dest]}
        for source, trigger, dest in ordered
    ]
    return json.dumps({"format": FORMAT, "moves": moves}, indent=1) + "\n"


def _foreign(error: ValidationError) -> list[str]:
    """The phases that no lifecycle of this process has, if there are any, once each."""
    faults = error.errors(include_url=False)
    named = [f["input"] for f in faults if f["type"] == "enum" and f["loc"][-1] != "trigger"]
    names = sorted({name for name in named if isinstance(name, str)})
    return [f"it has a phase {name!r:.40}: name the lifecycle that has it" for name in names]


def hits_of_json(text: str | bytes) -> Counter[Key]:
    """What such a file says; rows that it names twice are added up.

    Raises:
        InvalidInput: it is no such file.
    """
    try:
        file = _File.model_validate_json(text)
    except ValidationError as error:
        # One unknown phase is in many rows, and would be told in all of them.
        raise InvalidInput(_foreign(error) or faults_of(error)) from None
    hits: Counter[Key] = Counter()
    for move in file.moves:
        hits[move.source, move.trigger, move.dest] += move.count
    return hits
