"""What handlers tell the server to do, command by command: a journal is gone on with by others.

A stand-in for the SDK's context does each command at once, or has an older journal's answer.

Source: R-RST-13 (a turn that is handed on has the epoch of its task).
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

from restate import ObjectContext

from interlock import MemoryStore
from interlock.errors import StoreError
from interlock.stores import RunTurn, TurnWanted
from interlock.testing._store_contract import commit_of, started, submitted
from interlock_adapters.restate._link import Link
from interlock_adapters.restate._turns import RestateTurns
from interlock_adapters.restate._url import place_of
from support import soon

SUBMITTED: Final = submitted("t")
STARTED: Final = started(SUBMITTED)
WANTED: Final = {"task_id": "t", "epoch": SUBMITTED.record.epoch, "not_before": None}


class Journal:
    """An `ObjectContext` of one call."""

    def __init__(self, **known: object) -> None:
        #: What steps have come to before.
        self.known: Final = known
        self.state: Final[dict[str, Any]] = {}
        #: Seconds of delay, and the body, of each call that is sent.
        self.sent: Final[list[tuple[float, Any]]] = []

    @property
    def context(self) -> ObjectContext:
        """As handlers see it."""
        return cast("ObjectContext", self)

    def request(self) -> object:
        """Of one id."""
        return SimpleNamespace(id="call")

    def key(self) -> str:
        """The key of the object."""
        return "t"

    def set(self, key: str, value: object, _serde: object) -> None:
        """Keep it."""
        self.state[key] = value

    def clear(self, key: str) -> None:
        """Keep it no more."""
        self.state.pop(key, None)

    async def run_typed(
        self, name: str, action: Callable[[], Awaitable[object]], _options: object
    ) -> object:
        """A step."""
        return self.known[name] if name in self.known else await action()

    def generic_send(
        self, _service: str, _handler: str, body: bytes, _key: str, delay: timedelta | None
    ) -> None:
        """Another call."""
        self.sent.append((0.0 if delay is None else delay.total_seconds(), json.loads(body)))


def no_link() -> Link:
    """There is no server."""
    raise StoreError("there is no server")


async def sent_on(run: RunTurn, journal: Journal) -> list[tuple[float, Any]]:
    """What the call of a turn sends on whose task goes on meanwhile."""
    memory = MemoryStore()
    await memory.commit(commit_of(SUBMITTED, STARTED))
    turns = RestateTurns(place_of("restate://127.0.0.1"), no_link, memory)
    await turns.start(run, slots=1)
    try:
        handler: Any = turns.object().handlers["run"]
        await soon(handler.fn(journal.context, dict(WANTED)))
    finally:
        await turns.stop()
    return journal.sent


async def gives_back(_wanted: TurnWanted) -> bool:
    """It is for somebody else."""
    return False


async def fails(_wanted: TurnWanted) -> bool:
    """What no run should do."""
    raise StoreError("the test says so")


async def test_a_turn_that_is_handed_on_has_the_epoch_of_its_task() -> None:
    """Else a deploy looks like a crash to whoever takes it up.  Source: R-RST-13."""
    [(_, body)] = await sent_on(gives_back, Journal())
    assert body == {**WANTED, "epoch": STARTED.record.epoch, "sent": True}
    assert STARTED.record.epoch != SUBMITTED.record.epoch


async def test_a_turn_that_does_not_run_here_is_handed_on_as_it_was_wanted() -> None:
    """Whoever had it before may have died; the next is to know.  Source: R-RST-13.

    So is one of a journal that began before a step said the epoch.
    """
    [(_, body)] = await sent_on(gives_back, Journal(hold="later"))
    assert body == {**WANTED, "sent": True}


async def test_a_turn_that_raises_is_handed_on_after_a_while() -> None:
    """As it was wanted, and not ten times a second.  Source: R-RST-13."""
    [(delay_s, body)] = await sent_on(fails, Journal())
    assert body == {**WANTED, "sent": True}
    assert delay_s == 1.0
