"""What streams show of events, made and written out once for all readers of a task.

An update follows from the log as far as its event, so readers of one task are shown the same.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from interlock import Event
from interlock_adapters.a2a._json import Json, dumped
from interlock_adapters.a2a._view import Projection

#: Characters of updates that are kept for further readers.
KEPT_CHARS_MAX: Final = 16_777_216


class Shared(dict[str, Any]):
    """An update as JSON, and how it is written.  It has many readers and is not to be changed."""

    def __init__(self, shown: Json) -> None:
        """Write it out."""
        super().__init__(shown)
        self.text: Final = written_out(shown)


def written_out(shown: Json) -> str:
    """As it is said in a response."""
    return shown.text if isinstance(shown, Shared) else dumped(shown)


class Updates:
    """The updates of all tasks that came last."""

    def __init__(self, chars_max: int = KEPT_CHARS_MAX) -> None:
        """Keep as many as have so many characters, those that were last asked for."""
        self._kept: Final[OrderedDict[tuple[str, int], tuple[Shared, ...]]] = OrderedDict()
        self._chars_max: Final = chars_max
        #: Of all that is kept.
        self.chars_kept = 0

    def get(self, task_id: str, seq: int) -> tuple[Shared, ...] | None:
        """What is shown of an event, if somebody was shown it lately."""
        key = (task_id, seq)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
        return known

    def keep(self, task_id: str, seq: int, shown: Iterable[Json]) -> tuple[Shared, ...]:
        """What is shown of an event, for others as well."""
        made = self._kept[task_id, seq] = tuple(map(Shared, shown))
        self.chars_kept += _chars(made)
        while self.chars_kept > self._chars_max:
            self.chars_kept -= _chars(self._kept.popitem(last=False)[1])
        return made


class Follower:
    """One reader of a task."""

    def __init__(self, shown: Projection, updates: Updates) -> None:
        """Go on after what `shown` has been fed, which is the follower's own from here on."""
        self._shown: Final = shown
        self._updates: Final = updates
        #: Events of which others had made the updates: they are fed when that is needed.
        self._unfed: Final[list[Event]] = []

    def updates(self, event: Event) -> Sequence[Json]:
        """What the reader is shown of the next event."""
        task_id = self._shown.task_id
        known = self._updates.get(task_id, event.seq)
        if known is not None:
            self._unfed.append(event)
            return known
        for missed in self._unfed:
            self._shown.feed(missed)
        self._unfed.clear()
        return self._updates.keep(task_id, event.seq, self._shown.updates_json(event))


def _chars(shown: Sequence[Shared]) -> int:
    # An event of which nothing is shown takes room as well.
    return 64 + sum(len(one.text) for one in shown)
