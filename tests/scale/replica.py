"""A replica: an engine on a store that others have open, too, with A2A over HTTP in front.

`python -m scale.replica` is the process that forks replicas, of which there is one at a time;
it speaks as `faults.server` does.  Its port is the same for all of them, and refuses
connections while there is none.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.applications import Starlette

from faults import world
from faults.agent import take
from faults.failpoints import forget_doubts
from interlock import Engine, Limits
from interlock._replica import Replica
from interlock._store import Commit
from interlock.errors import Conflict
from interlock.stores import SharedStore, shared, store_at
from interlock_adapters.a2a import A2ASettings, a2a_routes
from interlock_adapters.postgres import PostgresStore
from scale.agents import AGENTS
from scale.witness import Witness

#: Nothing is refused for its number, and nobody is asked because of the kills.
LIMITS: Final = Limits(
    open_tasks_per_owner_max=100_000, recoveries_max=100_000, drain_s=5.0, grace_s=3.0
)

#: Seconds that a call takes, so that blows hit some of them.
CALL_S: Final = 0.1

#: Seconds from when a replica goes on to when it hears that its last commit is durable.
LATE_S: Final = 0.1

#: Bugs that can be planted.
MUTANTS: Final = ("answer_early", "unfenced", "call_twice", "always_sure")

#: `prctl` option: the signal that a process gets when its parent is gone.
_PDEATHSIG: Final = 1


class Life(NamedTuple):
    """How one replica lives."""

    #: Of the store.
    url: str
    directory: str
    #: Of `AGENTS`.
    agent: str = "coroutine"
    #: Seconds between two signs of life, and until a silent replica is taken for dead.
    heartbeat_s: float = 0.25
    dead_after_s: float = 2.0
    #: None parks never, 0 at once.
    park_after_s: float | None = 0.05
    #: It stops itself (SIGSTOP) at the n-th call that it wrote down and did not begin; 0 is never.
    freeze_at: int = 0
    #: One of `MUTANTS`, or "".
    mutant: str = ""


def store_of(life: Life) -> SharedStore:
    """The store that it shares."""
    if life.url.startswith("postgresql:"):
        return PostgresStore(life.url, heartbeat_s=life.heartbeat_s, dead_after_s=life.dead_after_s)
    store = store_at(life.url)
    assert shared(store)
    return store


def planned(store: SharedStore, life: Life) -> SharedStore:
    """The store, with what is planned to go wrong."""
    commit: Any = store.commit
    late: set[asyncio.Task[None]] = set()
    frozen = 0

    async def early(wanted: Commit) -> None:
        async def later() -> None:
            await asyncio.sleep(0.02)
            with contextlib.suppress(Exception):
                await commit(wanted)

        task = asyncio.create_task(later())
        late.add(task)
        task.add_done_callback(late.discard)

    async def unfenced(wanted: Commit) -> None:
        try:
            await commit(wanted)
        except Conflict:
            record = await store.get(wanted.record.task_id)
            if record is None or wanted.expected_seq == 0:
                raise
            events = tuple(
                replace(event, seq=seq) for seq, event in enumerate(wanted.events, record.seq + 1)
            )
            await commit(
                replace(wanted, record=replace(wanted.record, seq=events[-1].seq), events=events)
            )

    async def freezing(wanted: Commit) -> None:
        nonlocal frozen
        await commit(wanted)
        frozen += any(event.trigger == "call" for event in wanted.events)
        if frozen == life.freeze_at and wanted.events[-1].trigger == "call":
            frozen += 1
            os.kill(os.getpid(), signal.SIGSTOP)
            # Its own signs of life arrive before it goes on: they must not reassure it.
            await asyncio.sleep(LATE_S)

    kinds: dict[str, Callable[[Commit], Any]] = {"answer_early": early, "unfenced": unfenced}
    changed = kinds.get(life.mutant) or (freezing if life.freeze_at else None)
    if changed is not None:
        # In this process only: there is no such door in the engine.
        setattr(store, "commit", changed)  # noqa: B010
    return store


async def _sure(*_: object) -> bool:
    """A planted bug: nothing is asked before something is done that cannot be taken back."""
    return True


def serve(life: Life, listener: socket.socket) -> None:
    """Serve until killed, or told to stop."""
    directory = Path(life.directory)
    logging.basicConfig(
        filename=directory / "replicas.log", format="%(process)d %(asctime)s %(name)s %(message)s"
    )
    world.settle(directory / "world.jsonl")
    if life.mutant == "call_twice":
        forget_doubts()
    if life.mutant == "always_sure":
        setattr(Replica, "sure", _sure)  # noqa: B010
    take(CALL_S)
    engine = Engine(
        AGENTS[life.agent],
        store=planned(store_of(life), life),
        limits=LIMITS.model_copy(update={"park_after_s": life.park_after_s}),
        observer=Witness(directory),
    )
    config = uvicorn.Config(
        app_of(engine), log_config=None, log_level="warning", timeout_graceful_shutdown=5
    )
    server = _Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def app_of(engine: Engine) -> Starlette:
    """A2A of one engine."""
    settings = A2ASettings(name="scale", description="Is killed.", rpc_path="/rpc")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine:
            yield

    return Starlette(routes=a2a_routes(engine, settings), lifespan=lifespan)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _tell("ready")


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _die_with_parent() -> None:
    """Leave nothing behind, however the parent ends."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def _bound(port: int) -> socket.socket:
    """A socket that keeps the port; connections are refused until somebody listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def main() -> None:
    """Fork a replica for each line of the input."""
    _die_with_parent()
    kept = _bound(0)
    port = kept.getsockname()[1]
    _tell(f"port {port}")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _die_with_parent()
                serve(Life(*json.loads(line)), _bound(port))
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                logging.shutdown()
                os._exit(code)
        _tell(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        _tell(f"exit {os.waitstatus_to_exitcode(status)}")
    os._exit(0)  # To take down all that was imported would take longer than to import it.


if __name__ == "__main__":
    main()
