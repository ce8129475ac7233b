"""Turns on Restate: an object for each task, whose one call at a time is the turn that is out.

The call is a loop of short steps.  Each takes the turn up here if this process does not have it,
and waits for a while.  So the server hears from it all the time, however long a tool takes: one
that hears nothing gives the call to another process, which takes the turn up once more.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

from pydantic_core import to_json
from restate import ObjectContext, TerminalError, VirtualObject

from interlock.errors import StoreError
from interlock.lifecycle import Phase, TaskRecord
from interlock.stores import RunTurn, Store, TurnWanted
from interlock_adapters.restate._host import made_object, names_of, step
from interlock_adapters.restate._link import Link
from interlock_adapters.restate._url import Place
from interlock_adapters.restate._wire import JSON, Request, key_of

_log: Final = logging.getLogger("interlock.restate")

#: With what the call of a turn ends, and after how many seconds it is made again: not at once
#: where that would come here again, and less soon where the run raised.  Behind `later` stands
#: the epoch of the task if it ran here and is handed on; see `RunTurn`.
_LEAVES: Final = {"over": 0.0, "full": 0.0, "later": 0.1, "failed": 1.0}
#: Seconds that a turn waits for a slot here before another process is tried, at least, and for
#: each that waits here.
_FULL_S: Final = 1.0
_FULL_EACH_S: Final = 0.02
#: Seconds between two beats, and after how many without one nothing is sure any more.
_BEAT_S: Final = 0.25
_SILENT_S: Final = 1.5
#: Seconds until tasks that have no turn are looked for again after the server failed.
_RETRY_S: Final = 1.0
#: Seconds that somebody waits for a count of the turns that wait.
_COUNT_S: Final = 0.5


class _Held:
    """A turn that is out here."""

    def __init__(self, key: str, run: "asyncio.Task[str]") -> None:
        self.key: Final = key
        self.run: Final = run
        #: When the call of it was heard of last, by a clock that goes on; None if it broke off.
        self.heard: float | None = time.monotonic()
        #: Whether a step of the call waits for it just now.
        self.is_awaited = False


class RestateTurns:
    """See `interlock.stores.Turns`."""

    def __init__(self, place: Place, link: Callable[[], Link], projection: Store) -> None:
        self._place: Final = place
        self._link: Final = link
        self._projection: Final = projection
        self._task, _, self._turn = names_of(place.namespace)
        self._run: RunTurn | None = None
        self._resting = True
        self._held: Final[dict[str, _Held]] = {}
        #: Until then it is not sure that what is out here is still this process's.
        self._doubtful_until = float("-inf")
        self._beat_at = time.monotonic()
        self._errands: Final[set[asyncio.Task[None]]] = set()
        #: The slots that are free, and how many turns wait here for one.
        self._free: asyncio.Semaphore | None = None
        self._queued = 0
        #: How many turns wait, as far as known; who counts them, and when that is done again.
        self._waiting = 0
        self._count: asyncio.Task[None] | None = None
        self._count_after = 0.0
        #: When the process was about to end, by a clock that goes on: it took up no more turns,
        #: and waited for those that were out.
        self._rested_at = self._stopped_at = math.inf

    def open(self) -> None:
        """The store is opened: that it ended before is over."""
        self._rested_at = self._stopped_at = math.inf

    def ends(self, began: float, patience_s: float) -> bool:
        """Whether the process is to end, and a call that began then is tried no more.

        Of one that rests turns go on: each call has its time.  Of one that stops nobody waits for
        the server to come back, however often a commit is tried anew.
        """
        last = min(max(began, self._rested_at), self._stopped_at) + patience_s
        return time.monotonic() >= last

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`; a store that serves no handlers takes none."""
        self._free = asyncio.Semaphore(slots)
        self._run = run
        self._resting = self._place.serve is None
        self.open()
        self._beat_at = time.monotonic()
        self._errand(self._beat())
        self._errand(self._look_for_lost())

    def _errand(self, errand: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(errand, name="restate")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    async def rest(self) -> None:
        """See `Turns.rest`."""
        self._resting = True
        self._rested_at = min(self._rested_at, time.monotonic())

    async def stop(self) -> None:
        """See `Turns.stop`."""
        await self.rest()
        self._stopped_at = min(self._stopped_at, time.monotonic())
        while self._held:
            await asyncio.wait([held.run for held in self._held.values()])
            await asyncio.sleep(0)  # Who waits for them takes note, and lets go.
        for errand in self._errands:
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        self._run = None

    async def waiting(self) -> int:
        """See `Turns.waiting`; of a task that has one out, the next does not count.

        What the server must look through for it grows with the tasks that wait: so it is asked
        the less often the longer it takes, and the number may be that old.
        """
        if self._count is None and time.monotonic() >= self._count_after:
            self._count = self._errand(self._counted())
        if self._count is not None:
            await asyncio.wait([self._count], timeout=_COUNT_S)
        return self._waiting

    async def _counted(self) -> None:
        began = time.monotonic()
        # Those out here may not be known to be yet.  No key, and no name of ours, holds a quote.
        here = ", ".join(["''", *(f"'{held.key}'" for held in self._held.values())])
        state = f"SELECT service_key FROM state WHERE service_name = '{self._turn}' AND key ="  # noqa: S608
        # A turn that waits for its time is `scheduled`, and for a moment one that is sent on.
        sql = (
            "SELECT COUNT(DISTINCT target_service_key) AS n "  # noqa: S608  as above
            "FROM sys_invocation_status "
            f"WHERE target_service_name = '{self._turn}' AND status != 'completed' "
            f"AND (status != 'scheduled' OR target_service_key IN ({state} 'sent')) "
            f"AND target_service_key NOT IN ({here}) "
            f"AND target_service_key NOT IN ({state} 'out')"
        )
        try:
            self._waiting = int((await self._link().query(sql))[0]["n"])
        except StoreError as error:
            _log.warning("turns that wait are not counted now: %s", error)
        finally:
            now = time.monotonic()
            self._count, self._count_after = None, now + 20 * (now - began)

    def is_sure(self) -> bool:
        """See `Turns.is_sure`."""
        now = time.monotonic()
        if now - self._beat_at > _SILENT_S or now < self._doubtful_until:
            return False
        heard_s = self._place.step_s + _SILENT_S
        return all(h.heard is not None and now - h.heard < heard_s for h in self._held.values())

    # --- the object ---------------------------------------------------------------------

    def object(self) -> VirtualObject:
        """The object of a task's turns, for the server."""
        turn = made_object(self._turn, self._place)

        async def run(ctx: ObjectContext, request: Request) -> None:
            """Have the turn run until nothing of the task runs any more."""
            wanted = TurnWanted(request["task_id"], request["epoch"], request["not_before"])
            call = ctx.request().id
            said, epoch = "begin", ""
            if request.get("sent"):
                ctx.clear("sent")
            while said not in _LEAVES:
                said, _, epoch = (await self._step(ctx, call, wanted, said)).partition(" ")
            if said != "over":
                # A new call may come to another process; this one could not.
                ctx.set("sent", 1, JSON)
                again = {**request, "sent": True}
                if epoch:  # Not in a journal that older handlers began.
                    again["epoch"] = int(epoch)
                delay_s = _LEAVES[said]
                delay = timedelta(seconds=delay_s) if delay_s else None
                ctx.generic_send(self._turn, "run", to_json(again), ctx.key(), delay)

        turn.handler(input_serde=JSON, output_serde=JSON)(run)
        return turn

    async def _step(self, ctx: ObjectContext, call: str, wanted: TurnWanted, before: str) -> str:
        async def hold() -> str:
            return await self._hold(call, wanted, at_once=before != "out")

        try:
            said = await step(ctx, "hold", hold)
        except TerminalError:
            # A call that is cancelled at the server.  Its task is not: that is for the engine.
            _log.warning("task %s: the call of its turn cannot be cancelled", wanted.task_id)
            return before
        if said == "out" and before != "out":
            ctx.set("out", 1, JSON)  # It is counted by that; see `waiting`.
        elif said.partition(" ")[0] in _LEAVES and before == "out":
            ctx.clear("out")
        return said

    async def _hold(self, call: str, wanted: TurnWanted, *, at_once: bool) -> str:
        """Wait for the turn, which is taken up if it is not out here: `out`, or as in _LEAVES."""
        held = self._held.get(call)
        if held is None:
            taken = await self._taken(call, wanted)
            if isinstance(taken, str):
                return taken
            held = self._held[call] = taken
            at_once = True
        held.heard, held.is_awaited = time.monotonic(), True
        try:
            # The server is to know at once that it is out; see `waiting`.
            await asyncio.wait([held.run], timeout=0 if at_once else self._place.step_s)
        except asyncio.CancelledError:
            held.heard = None  # The server gave up on this process, or lost it.
            if held.run.done():
                self._let_go(call)
            raise
        finally:
            held.is_awaited = False
        if not held.run.done():
            return "out"
        self._let_go(call)
        error = held.run.exception()
        if error is not None:
            _log.error("task %s: its turn failed (%s)", wanted.task_id, type(error).__name__)
            return "failed"
        return held.run.result()

    async def _taken(self, call: str, wanted: TurnWanted) -> _Held | str:
        free = self._free
        if free is None or not self._takes():
            return "later"
        self._queued += 1
        # Where many wait, the others have no time either.
        patience_s = max(_FULL_S, _FULL_EACH_S * self._queued)
        try:
            async with asyncio.timeout(min(patience_s, self._place.step_s)):
                await free.acquire()
        except TimeoutError:
            return "full" if patience_s <= self._place.step_s else "waits"
        finally:
            self._queued -= 1
        if self._run is None or self._resting:
            free.release()
            return "later"
        run = asyncio.get_running_loop().create_task(self._ran(self._run, wanted))
        held = _Held(key_of(wanted.task_id), run)

        def ended(_run: "asyncio.Task[str]") -> None:
            free.release()
            # If somebody asks for it yet, it is taken up once more, and nothing is left to do.
            if not held.is_awaited and self._held.get(call) is held:
                self._let_go(call)

        run.add_done_callback(ended)
        return held

    async def _ran(self, run: RunTurn, wanted: TurnWanted) -> str:
        """Run it; how its call ends."""
        over = await run(wanted)
        if over:
            return "over"
        if over is None:
            return "later"
        try:
            record = await self._projection.get(wanted.task_id)
        except StoreError as error:
            # Whoever takes it up believes that the one before is gone.
            _log.warning("task %s: it is handed on as it was wanted: %s", wanted.task_id, error)
            record = None
        return "later" if record is None else f"later {record.epoch}"

    def _takes(self) -> bool:
        return self._run is not None and not self._resting

    def _let_go(self, call: str) -> None:
        held = self._held.pop(call, None)
        if held is not None and held.run.done() and not held.run.cancelled():
            held.run.exception()  # Seen, although nobody may wait any more.

    # --- errands ------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Notice that this process stood still."""
        while True:
            now = time.monotonic()
            if now - self._beat_at > _SILENT_S:
                # What is out here may be somebody else's since; until then it will have been seen.
                self._doubtful_until = now + self._place.step_s + _SILENT_S
            self._beat_at = now
            await asyncio.sleep(_BEAT_S)

    async def _look_for_lost(self) -> None:
        """Want turns of tasks that are at work and that nobody has or wants a turn of."""
        while True:
            try:
                await self._want_lost()
            except StoreError as error:
                _log.warning("tasks without a turn are looked for later: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _want_lost(self) -> None:
        sql = (
            f"SELECT DISTINCT target_service_key AS k FROM sys_invocation_status "  # noqa: S608
            f"WHERE target_service_name = '{self._turn}' AND status != 'completed'"
        )
        wanted = {row["k"] for row in await self._link().query(sql)}
        last = ""
        while records := await self._projection.unfinished(last):
            last = records[-1].task_id
            for record in records:
                if key_of(record.task_id) not in wanted:
                    await self._want(record)

    async def _want(self, record: TaskRecord) -> None:
        if record.phase is Phase.FINALIZED:
            return
        request = {"task_id": record.task_id, "epoch": record.epoch}
        await self._link().call(self._task, key_of(record.task_id), "want", JSON.serialize(request))
