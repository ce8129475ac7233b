"""How procrastinate's worker reaches the database: over our connections, and not to be shaken.

A worker of procrastinate's ends when one of its requests fails, and waits for its jobs then.
Here nothing that it asks for fails while the server is away.  Its signs of life and its
judgement of others are made by `PostgresTurns`, which goes on while the worker stops.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, LiteralString, Protocol

from procrastinate.connector import BaseAsyncConnector, Notify
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg.rows import dict_row

from interlock.errors import StoreError
from interlock_adapters.postgres._clock import Hints
from interlock_adapters.postgres._pool import Connection, Pool

_log: Final = logging.getLogger("interlock.postgres")


class Holder(Protocol):
    """The process as the worker's requests see it: whose jobs these are."""

    #: Who this process is for procrastinate.
    worker_id: int
    #: Jobs that are out here.
    held: set[int]
    #: How many fetches are under way.
    fetching: int
    #: Takes up nothing more.
    is_resting: bool

    async def give_back(self, job_id: int) -> None:
        """Put a new job in the place of one that is out here."""

    async def insist(self, action: Callable[[], Awaitable[object]], job_id: int) -> None:
        """Do it, however long the server is away; after that the job is not this process's."""


class Connector(BaseAsyncConnector):
    """Lets procrastinate use our connections, and our ear."""

    def __init__(self, pool: Pool, hints: Hints) -> None:
        self._pool: Final = pool
        self._hints: Final = hints

    async def open_async(self, pool: Any | None = None) -> None:  # noqa: ANN401  theirs
        """Nothing to do: the store opens and closes it."""
        del pool

    async def close_async(self) -> None:
        """Nothing to do."""

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:  # noqa: ANN401  theirs
        """Run it."""
        await self._rows(query, arguments)

    async def execute_query_one_async(
        self,
        query: LiteralString,
        **arguments: Any,  # noqa: ANN401  theirs
    ) -> dict[str, Any]:
        """Run it, for one row."""
        return (await self._rows(query, arguments))[0]

    async def execute_query_all_async(
        self,
        query: LiteralString,
        **arguments: Any,  # noqa: ANN401  theirs
    ) -> list[dict[str, Any]]:
        """Run it, for all rows."""
        return await self._rows(query, arguments)

    async def _rows(self, query: LiteralString, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        async def run(db: Connection) -> list[dict[str, Any]]:
            async with db.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(query, arguments)
                return [] if cursor.description is None else await cursor.fetchall()

        return await self._pool.once(run, "the queue of turns cannot be used")

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Pass on what the store's own listener hears of the queue, until cancelled."""
        stirred = asyncio.Event()
        self._hints.stir = stirred.set
        (channel,) = channels
        try:
            while True:
                await stirred.wait()
                stirred.clear()
                said = '{"type": "job_inserted", "job_id": 0}'
                await on_notification(channel=channel, payload=said)
        finally:
            self._hints.stir = None


class Manager(JobManager):
    """What the worker asks for.  Nothing here raises: an outage must not end the worker."""

    def __init__(self, holder: Holder, connector: Connector) -> None:
        super().__init__(connector)
        self._holder: Final = holder

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """See there; none while the server is away, and none for who rests."""
        del worker_id  # It may have had to become another one.
        holder = self._holder
        if holder.is_resting:
            return None
        holder.fetching += 1
        try:
            job = await super().fetch_job(queues, holder.worker_id)
            if job is not None and job.id is not None:
                holder.held.add(job.id)
        except StoreError as error:
            # If one was fetched after all, the sweep finds it.
            _log.debug("no turn can be fetched: %s", error)
            return None
        finally:
            holder.fetching -= 1
        if job is not None and job.id is not None and holder.is_resting:
            await holder.give_back(job.id)
            return None
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001  theirs
        """Delete it, if it is still this process's; otherwise leave it to whoever has it."""
        assert job.id is not None
        if status is not Status.SUCCEEDED:
            # It was cancelled, or is not to be understood here.  The sweep hands it out again,
            # or whoever is left when this process is gone.
            self._holder.held.discard(job.id)
            return
        if job.id not in self._holder.held:
            return  # It was given back, or was to be and is left: then its turn is still wanted.
        await self._holder.insist(
            lambda: super(Manager, self).finish_job(job, status, delete_job), job.id
        )

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """None: a turn is stopped by its task."""
        del queue
        return []

    async def register_worker(self) -> int:
        """It is registered already."""
        return self._holder.worker_id

    async def unregister_worker(self, worker_id: int) -> None:
        """Not before all is over."""

    async def update_heartbeat(self, worker_id: int) -> None:
        """Not here: the signs go on while it stops."""

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Not here: that is not for who has just come."""
        del seconds_since_heartbeat
        return []
