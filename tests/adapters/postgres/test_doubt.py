"""Who was silent for so long that others may have its turns is not sure of them.

Covers R-REPL-21, I32, I40.  The partition is a sign of life that does not arrive, and the
answer to a commit that does not either, on a real server.
"""

import asyncio
from collections.abc import Callable

from interlock import Engine, TaskContext, Trigger
from interlock.errors import StoreError
from interlock.stores import Commit
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.postgres._pool import Connection
from support import OWNER, Gate

#: So that a death is noticed soon.
HEARTBEAT_S, DEAD_AFTER_S = 0.2, 1.2


class Partitioned(PostgresStore):
    """A store to which the answer to the commit of a call comes when the test lets it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S)
        self.gate = Gate()
        #: Signs of life that arrived since the partition.
        self.signs = 0
        self._is_mute = False
        self._beats = self.turns._beat
        self.turns._beat = self._beat  # type: ignore[method-assign]

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await super().commit(commit)
        if commit.events[-1].trigger is Trigger.CALL:
            self._is_mute = True
            await self.gate.passed()

    def heals(self) -> None:
        """Let signs of life through again."""
        self._is_mute = False

    async def _beat(self, db: Connection) -> None:
        if self._is_mute:
            raise StoreError("a partition")
        await self._beats(db)
        self.signs += 1


async def test_a_call_is_not_made_when_its_task_was_taken_over_meanwhile(pg_url: str) -> None:
    """However many signs of life arrive before the answer that lets it begin.

    Source: R-REPL-21.
    """
    calls: list[str] = []

    def pay() -> str:
        calls.append("paid")
        return "paid"

    async def agent(task: TaskContext) -> str:
        return await task.call(pay)

    cut_off = Partitioned(pg_url)
    well = PostgresStore(pg_url, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S)
    one, two = Engine(agent, store=cut_off), Engine(agent, store=well)
    async with asyncio.timeout(60), one:
        handle = await one.submit("x", owner=OWNER)
        await cut_off.gate.reached()
        async with two:
            await _until(lambda: not cut_off.turns.is_sure())
            taken = await two.rest(handle.task_id, owner=OWNER)
            assert taken.record.epoch > 1
            cut_off.signs = 0
            cut_off.heals()
            # So many that it would have been taken for dead, and for alive again.
            await _until(lambda: cut_off.signs > 2 * DEAD_AFTER_S / HEARTBEAT_S)
            cut_off.gate.open()
            await _until(lambda: not cut_off.turns.held)
            assert calls == []
            log = [event.trigger for event in await well.events(handle.task_id)]
            assert log.count(Trigger.CALL) == 1
            assert Trigger.RECOVER in log


async def _until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0)
