"""What handlers tell the server to do, command by command: a journal is gone on with by others.

A stand-in for the SDK's context does each command at once, or has an older journal's answer.

Source: R-RST-13 (a turn that is handed on has the epoch of its task), R-RST-14 (what the
projection can never take is refused).
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

from restate import ObjectContext
from restate.serde import Serde

from interlock import MemoryStore
from interlock.errors import Conflict, StoreError, Unstorable
from interlock.stores import Commit, RunTurn, TurnWanted
from interlock.testing._store_contract import asked, claim_of, commit_of, started, submitted
from interlock_adapters.restate import RestateStore
from interlock_adapters.restate._link import Link
from interlock_adapters.restate._task import task_object
from interlock_adapters.restate._turns import RestateTurns
from interlock_adapters.restate._url import place_of
from interlock_adapters.restate._wire import request_of
from support import FlakyStore, soon

SUBMITTED: Final = submitted("t")
STARTED: Final = started(SUBMITTED)
WANTED: Final = {"task_id": "t", "epoch": SUBMITTED.record.epoch, "not_before": None}


class Journal:
    """An `ObjectContext` of one call."""

    def __init__(self, **known: object) -> None:
        #: What steps have come to before.
        self.known: Final = known
        self.state: Final[dict[str, bytes]] = {}
        #: Seconds of delay, and the body, of each call that is sent.
        self.sent: Final[list[tuple[float, Any]]] = []
        #: Handlers of other objects that were called.
        self.calls: Final[list[str]] = []

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

    def set(self, key: str, value: object, serde: Serde[Any]) -> None:
        """Keep it."""
        self.state[key] = serde.serialize(value)

    async def get(self, key: str, serde: Serde[Any]) -> object:
        """What is kept."""
        return serde.deserialize(self.state[key]) if key in self.state else None

    async def state_keys(self) -> list[str]:
        """Of what is kept."""
        return list(self.state)

    async def generic_call(self, _service: str, handler: str, _body: bytes, _key: str) -> bytes:
        """Of an object that answers None."""
        self.calls.append(handler)
        return b""

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


async def leaves_it(_wanted: TurnWanted) -> None:
    """Its agent is elsewhere."""


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
    for run, journal in ((leaves_it, Journal()), (gives_back, Journal(hold="later"))):
        [(_, body)] = await sent_on(run, journal)
        assert body == {**WANTED, "sent": True}


async def test_a_turn_that_raises_is_handed_on_after_a_while() -> None:
    """As it was wanted, and not ten times a second.  Source: R-RST-13."""
    [(delay_s, body)] = await sent_on(fails, Journal())
    assert body == {**WANTED, "sent": True}
    assert delay_s == 1.0


# --- what the projection can never take -----------------------------------------------


def host_on(projection: MemoryStore) -> RestateStore:
    """A store whose handlers the test calls."""
    return RestateStore("restate://127.0.0.1", projection=projection)


async def appended(host: RestateStore, journal: Journal, commit: Commit) -> Any:  # noqa: ANN401  any JSON
    """What the object of the task answers."""
    handler: Any = task_object(host).handlers["append"]
    return await soon(handler.fn(journal.context, json.loads(request_of(commit, 1.0))))


REFUSED: Final = {"is": "refused", "why": "an index row is too long"}


async def test_what_the_projection_can_never_take_is_refused() -> None:
    """Its token is free again, and the object as it was: all else goes on.  Source: R-RST-14."""
    memory, journal = FlakyStore(), Journal()
    host = host_on(memory)
    memory.fail("commit", Unstorable("an index row is too long"))
    move = submitted("t", token="m1")  # noqa: S106  no password
    commit = commit_of(move, claims=[claim_of(move)])
    assert await appended(host, journal, commit) == REFUSED
    assert journal.calls == ["reserve", "release"]
    assert journal.state == {}
    assert await appended(host, journal, commit) == {"is": "done"}
    before = dict(journal.state)
    memory.fail("commit", Unstorable("an index row is too long"))
    assert await appended(host, journal, commit_of(started(move))) == REFUSED
    assert journal.state == before
    assert await appended(host, journal, commit_of(started(move))) == {"is": "done"}
    assert await memory.get("t") == started(move).record


async def test_a_deadline_that_the_projection_can_never_take_is_left() -> None:
    """As when an event cannot be kept: nothing is half done.  Source: R-RST-14."""
    memory, journal = FlakyStore(), Journal()
    host = host_on(memory)
    assert await appended(host, journal, commit_of(SUBMITTED)) == {"is": "done"}
    before = dict(journal.state)
    memory.fail("commit", Unstorable("an index row is too long"))
    handler: Any = task_object(host).handlers["due"]
    journal.known["now"] = SUBMITTED.record.due
    await soon(handler.fn(journal.context, {"task_id": "t"}))
    assert journal.state.keys() == before.keys()
    await soon(handler.fn(journal.context, {"task_id": "t"}))
    record = await memory.get("t")
    assert record is not None
    assert record.seq > SUBMITTED.record.seq


async def test_a_projection_that_never_can_catch_up_is_no_hindrance() -> None:
    """Whoever writes is told; the object does not try for ever.  Source: R-RST-14."""
    memory, journal = FlakyStore(), Journal()
    assert await appended(host_on(memory), journal, commit_of(SUBMITTED, STARTED)) == {"is": "done"}
    lost, before = FlakyStore(), dict(journal.state)  # Restored from an old copy.
    host, move = host_on(lost), asked(STARTED, "k1")
    lost.fail("commit", Conflict("t", STARTED.record.seq), Unstorable("an index row is too long"))
    assert await appended(host, journal, commit_of(move)) == REFUSED
    lost.fail("commit", Unstorable("an index row is too long"))
    assert await appended(host, journal, commit_of(SUBMITTED)) == REFUSED
    assert journal.state == before
    assert await appended(host, journal, commit_of(move)) == {"is": "done"}
    assert await lost.get("t") == move.record
