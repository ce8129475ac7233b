"""The rounds: two replicas under load, one kind of blow after another, an end, and the audit."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from faults.evidence import Finding
from faults.run import Loading, Server
from interlock import Phase, TaskQuery
from interlock.stores import SharedStore
from scale.audit import Scaled, gathered, handovers, judged
from scale.cluster import REPLICAS, Cluster, clustered, forkers
from scale.hosts import Host
from scale.load import ScaleClient
from scale.replica import Life, store_of

#: Clients of a round, each with one task at a time, unless said otherwise.
CLIENTS: Final = 4
#: Seconds that a task may take from its outcome to being finalized: a replica that was killed
#: in between leaves that to others, who look for it now and then.
FINALIZED_S: Final = 45.0
#: So many times longer than it takes to be taken for dead is a frozen replica kept.
FROZEN: Final = 2.0


class Place(NamedTuple):
    """Where rounds take place, one after the other."""

    host: Host
    replicas: list[Server]
    clients: int


@contextlib.asynccontextmanager
async def placed(
    host: AbstractAsyncContextManager[Host], *, clients: int = CLIENTS
) -> AsyncGenerator[Place]:
    """A place for rounds, for as long as a block lasts."""
    async with host as started, forkers() as replicas:
        yield Place(started, replicas, clients)


@dataclass
class Tally:
    """What a round came to."""

    blows: Counter[str] = field(default_factory=Counter[str])
    findings: list[Finding] = field(default_factory=list[Finding])
    figures: Counter[str] = field(default_factory=Counter[str])
    #: Seconds from a blow to the next claim elsewhere, by blow.
    handovers: dict[str, list[float]] = field(default_factory=dict[str, list[float]])


@dataclass
class Round:
    """A round under way."""

    cluster: Cluster
    host: Host
    clients: int
    dice: random.Random
    tally: Tally

    async def wait(self, least_s: float, most_s: float) -> None:
        """Let some time pass, under load."""
        await asyncio.sleep(self.dice.uniform(least_s, most_s))

    def victim(self) -> int:
        """A replica: mostly that which holds more turns."""
        if self.dice.random() < 0.3:
            return self.dice.randrange(REPLICAS)
        takes = Counter(
            line["pid"]
            for line in self.cluster.witnessed()[-200:]
            if line.get("trigger") in {"start", "claim", "recover"}
        )
        pids = [replica.pid for replica in self.cluster.replicas]
        return max(range(REPLICAS), key=lambda number: takes[pids[number]])

    async def settled(self) -> None:
        """Wait until everything is finalized; what takes too long is a finding."""
        store = reading(self.host, self.cluster.life)
        await store.open()
        try:
            # With a planted bug it may never come to that.
            end = time.monotonic() + (5.0 if self.cluster.life.mutant else FINALIZED_S)
            while left := await _unfinalized(store):
                if time.monotonic() > end:
                    self.tally.findings.append(Finding("settled", "", f"left over: {left}"))
                    return
                await asyncio.sleep(0.2)
        finally:
            await store.close()


def reading(host: Host, life: Life) -> SharedStore:
    """The store of replicas, to be looked at."""
    return store_of(life._replace(url=host.reader(life.url)))


async def _unfinalized(store: SharedStore) -> dict[Phase, int]:
    counts = await store.counts(TaskQuery())
    if not counts:
        return {}
    # What is finalized counts under its outcome; so every task is looked at.
    left: Counter[Phase] = Counter()
    cursor = None
    while True:
        page = await store.page(TaskQuery(limit=500, cursor=cursor))
        left.update(r.phase for r in page.records if r.phase is not Phase.FINALIZED)
        cursor = page.next_cursor
        if cursor is None:
            return dict(left)


Blows: TypeAlias = Callable[[Round, int], Awaitable[None]]


async def kills(run: Round, times: int) -> None:
    """Kill a replica at a random instant, and start it again a random while later."""
    for _ in range(times):
        await run.wait(0.05, 1.6)
        victim = run.victim()
        await run.cluster.kill(victim)
        run.tally.blows["kills"] += 1
        await run.wait(0.0, 0.8)
        await run.cluster.start(victim)


async def stops(run: Round, times: int) -> None:
    """Stop a replica for longer than its lease; then it goes on, and gets requests at once."""
    for _ in range(times):
        await run.wait(0.3, 1.0)
        victim = run.victim()
        await _kept_frozen(run, victim)
        await run.wait(0.5, 1.0)


async def _kept_frozen(run: Round, victim: int) -> None:
    cluster = run.cluster
    cluster.freeze(victim)
    # A balancer would notice, and stop asking it.
    await asyncio.sleep(0.3)
    cluster.proxy.out.add(victim)
    await asyncio.sleep(FROZEN * cluster.life.dead_after_s)
    cluster.proxy.out.clear()
    cluster.thaw(victim)
    run.tally.blows["stops"] += 1


async def brinks(run: Round, times: int) -> None:
    """A replica stops itself between writing down that it makes a call and making it."""
    for _ in range(times):
        await run.wait(0.1, 0.5)
        victim = run.dice.randrange(REPLICAS)
        await run.cluster.drain(victim)
        planned = run.cluster.life._replace(freeze_at=run.dice.randint(1, 6))
        await run.cluster.start(victim, planned)
        if await run.cluster.frozen(victim, 20.0):
            run.tally.blows["stops on the brink of a call"] += 1
            await _kept_frozen(run, victim)
            await run.wait(0.5, 1.0)


async def restarts(run: Round, times: int) -> None:
    """The server of the store fails, and comes back a random while later."""
    for _ in range(times):
        await run.wait(0.5, 2.0)
        run.cluster.blow("store stops")
        await run.host.fail()
        await run.wait(0.0, 1.5)
        await run.host.come_back()
        run.cluster.blow("store starts")
        run.tally.blows["restarts of the store"] += 1
    await run.wait(0.5, 1.0)


async def rolls(run: Round, times: int) -> None:
    """One replica after the other is drained and started again, as for a new version."""
    for number in range(times):
        await run.wait(0.3, 1.0)
        victim = number % REPLICAS
        await run.cluster.drain(victim)
        run.tally.blows["drains"] += 1
        await run.cluster.start(victim)


BLOWS: Final[dict[str, Blows]] = {
    blows.__name__: blows for blows in (kills, stops, brinks, restarts, rolls)
}


@contextlib.asynccontextmanager
async def loaded(run: Round, seed: str) -> AsyncGenerator[None]:
    """Both replicas under load, for as long as a block lasts; then all that was begun ends."""
    loading = Loading()
    cluster = run.cluster
    await asyncio.gather(*(cluster.start(number) for number in range(REPLICAS)))
    async with asyncio.TaskGroup() as group:
        for number in range(run.clients):
            client = ScaleClient(number, seed, cluster.proxy.url, cluster.directory)
            loading.clients.append(client)
            loading.errands.append(group.create_task(client.run(loading.goes_on)))
        yield
        await loading.end()
    await run.settled()
    await asyncio.gather(*(cluster.drain(number) for number in range(REPLICAS)))


async def round_of(
    place: Place, directory: Path, seed: str, blows: Blows, times: int, **life: Any
) -> Tally:
    """One round in a directory, on a store of its own.

    Raises:
        Trouble: a replica ended by itself, or would not come up or stop.
    """
    host, replicas, clients = place
    url = await host.fresh()
    run_life = Life(url, str(directory), **life)
    tally = Tally()
    async with clustered(replicas, run_life) as cluster:
        # The dice decide what is done and when, and not what the kernel makes of it.
        run = Round(cluster, host, clients, random.Random(seed), tally)  # noqa: S311
        async with loaded(run, seed):
            await blows(run, times)
    evidence = await gathered(reading(host, run_life), directory)
    report = judged(evidence)
    tally.findings += report.findings
    tally.figures += report.figures
    _timed(tally, evidence)
    return tally


def _timed(tally: Tally, evidence: Scaled) -> None:
    for blow in ("kill", "freeze", "drain"):
        tally.handovers[blow] = handovers(evidence, blow)
