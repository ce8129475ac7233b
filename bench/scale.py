"""Lives and parked tasks where processes share a store: PostgreSQL and Restate, beside SQLite.

    python -m bench.scale [--quick] [--only postgres|restate|sqlite|parked|statements] [--parked N]

Workers are processes of their own, and so is the load: clients that say what to do in a line of
JSON, the same for every arm.  A life is one from the submission to the durable completion, with
one call that is written down before and after ("step"), or a question before it that is answered
through another worker ("ask").  In the same run: procrastinate alone, which has no journal and
is the floor, and DBOS.  Whatever there is no time left for is said to be missing.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench._process import in_process
from bench._report import Bar, Report, Table, percentile
from bench._scale_driver import CLIENTS, Parked, Sample, ask_all, load, park, resume, view
from bench._scale_hosts import (
    ALONE,
    DBOS,
    POSTGRES,
    RESTATE,
    SQLITE,
    Arm,
    Held,
    Hosts,
    Size,
    workers,
)
from bench._scale_proc import cpu_s
from bench._scale_statements import statements
from bench.durable import file_system

#: Tasks parked before anything is measured, so that every thread, cache and connection is there.
WARM_UP: Final = 200
RSS_MIB: Final = 64.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    processes: tuple[int, ...] = (1, 2, 4)
    #: Seconds of each load, and before it.
    for_s: float = 6.0
    warm_s: float = 1.0
    parked: int = 100_000
    #: Seconds in which tasks are parked, on each store.
    park_s: float = 75.0
    resumes: int = 300
    #: Seconds for all.
    budget_s: float = 600.0


#: One process of what can be in no more.
QUICK: Final = Plan((2,), 1.0, 0.5, 100, 2.0, 20, 55.0)


class Lived(NamedTuple):
    """What a load came to, and what it took."""

    arm: str
    processes: int
    shape: str
    sample: Sample
    #: CPU milliseconds of one life.
    server_ms: float
    workers_ms: float
    connections: int


class Waited(NamedTuple):
    """What parked tasks came to."""

    arm: str
    processes: int
    parked: Parked
    before: Held
    after: Held
    #: asyncio tasks of the workers that were there more than before.
    tasks_more: int
    size: Size
    took_ms: list[float]
    #: Seconds until a new worker was open, and until it had shown one task.
    opened_s: float
    viewed_s: float


@dataclass(slots=True)
class Findings:
    """All that was found, and why the rest was not."""

    plan: Plan
    began: float = field(default_factory=time.monotonic)
    lived: list[Lived] = field(default_factory=list[Lived])
    waited: list[Waited] = field(default_factory=list[Waited])
    missing: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def has_time(self, what: str, for_s: float) -> bool:
        """Whether so many seconds are left; if not, that is noted."""
        left_s = self.plan.budget_s - (time.monotonic() - self.began)
        if left_s < for_s:
            self.missing.append((what, f"{left_s:.0f} s were left, and it takes {for_s:.0f}"))
            return False
        print(f"{what} ({left_s:.0f} s left)", flush=True)
        return True


# --- the parts ------------------------------------------------------------------------------


def live(hosts: Hosts, arm: Arm, processes: int, found: Findings) -> None:
    """Lives of every shape that the arm has, in so many processes."""
    plan = found.plan
    # Both begin after the workers and the driver have started.
    for_s = 4.0 + len(arm.shapes) * (plan.warm_s + plan.for_s + 1.0)
    if not found.has_time(f"{arm.name}, {processes} process(es)", for_s):
        return
    url = hosts.url(arm)
    with workers(arm, url, processes, hosts.folder) as running:
        for shape in arm.shapes:
            server_s, workers_s = cpu_s(hosts.pids(arm)), running.cpu_s()
            sample = in_process(partial(load, running.ports, shape, plan.warm_s, plan.for_s))
            server_s = cpu_s(hosts.pids(arm)) - server_s
            workers_s = running.cpu_s() - workers_s
            server_ms, workers_ms = (s / sample.lives * 1e3 for s in (server_s, workers_s))
            connections = hosts.connections(arm, url)
            found.lived.append(
                Lived(arm.name, processes, shape, sample, server_ms, workers_ms, connections)
            )


def wait(hosts: Hosts, arm: Arm, processes: int, found: Findings) -> None:
    """Park tasks, look at what they hold, and resume some at random."""
    plan = found.plan
    if not found.has_time(f"{arm.name}, parked", 8.0 + plan.park_s + plan.resumes * 0.05):
        return
    url = hosts.url(arm)
    with workers(arm, url, processes, hosts.folder, "0") as running:
        ports = running.ports
        in_process(partial(park, ports, min(WARM_UP, plan.parked), plan.park_s))
        tasks = sum(one["tasks"] for one in in_process(partial(ask_all, ports, "held")))
        before, empty = running.held(hosts.pids(arm)), hosts.size(arm, url)
        parked = in_process(partial(park, ports, plan.parked, plan.park_s))
        tasks -= sum(one["tasks"] for one in in_process(partial(ask_all, ports, "held")))
        after, full = running.held(hosts.pids(arm)), hosts.size(arm, url)
        more = Size(*(b - a for a, b in zip(empty, full, strict=True)))
        took_ms = in_process(partial(resume, ports, parked.tasks, plan.resumes))
        opened = view_anew(hosts, arm, url, parked) if arm.server else (0.0, 0.0)
    if not arm.server:  # One process at a time.
        opened = view_anew(hosts, arm, url, parked)
    found.waited.append(
        Waited(arm.name, processes, parked, before, after, -tasks, more, took_ms, *opened)
    )


def view_anew(hosts: Hosts, arm: Arm, url: str, parked: Parked) -> tuple[float, float]:
    """Seconds that one more worker takes to open, and to show a task that waits."""
    with workers(arm, url, 1, hosts.folder, "0") as another:
        (opened_s,), (port,) = another.started_s, another.ports
        took_s = in_process(partial(view, port, parked.tasks[-1]["id"]))
    return opened_s, opened_s + took_s


# --- the findings ---------------------------------------------------------------------------


def report_of(found: Findings, where: str) -> Report:
    """Tables of everything, ratios, and bars."""
    report = Report("scale", f"Replicas of one store, {CLIENTS} clients at once, on {where}")
    if found.lived:
        report.tables += [lives_table(found.lived), ratios_table(found.lived)]
    if found.waited:
        report.tables += waits_tables(found.waited)
    if found.missing:
        report.tables.append(Table("Not measured", ("what", "why"), found.missing))
    for one in found.waited:
        more = one.after.rss_mib - one.before.rss_mib
        name = f"{one.arm}, {len(one.parked.tasks):,} parked"
        report.bars += [
            Bar(f"{name}: RSS growth of a worker", more, RSS_MIB, " MiB"),
            Bar(f"{name}: asyncio tasks more", one.tasks_more, 0),
        ]
        report.samples[f"{one.arm}, answer to completion, ms"] = one.took_ms
    for lived in found.lived:
        name = f"{lived.arm}, {lived.processes}, {lived.shape}"
        report.samples[f"{name}, lives a second"] = [lived.sample.lives_s]
    return report


def lives_table(lived: list[Lived]) -> Table:
    """Lives a second, and what one takes."""
    rows: list[tuple[str, ...]] = [
        (
            one.arm,
            str(one.processes),
            one.shape,
            f"{one.sample.lives_s:.0f}",
            f"{one.sample.p50_ms:.1f}",
            f"{one.sample.p99_ms:.1f}",
            f"{one.server_ms:.2f}",
            f"{one.workers_ms:.2f}",
            str(one.connections or "-"),
        )
        for one in lived
    ]
    header = (
        *("store", "processes", "life", "lives a second", "p50, ms", "p99, ms"),
        *("CPU ms of the server", "CPU ms of the workers", "connections"),
    )
    return Table("Lives: submission to durable completion", header, rows)


def ratios_table(lived: list[Lived]) -> Table:
    """Lives a second and CPU of an engine's store, beside others of the same run."""
    of = {(one.arm, one.processes, one.shape): one for one in lived}
    pairs = [
        ((arm, processes, shape), base)
        for arm in (POSTGRES.name, RESTATE.name)
        for shape in ("step", "ask")
        for processes in (1, 2, 4)
        for base in (
            (SQLITE.name, 1, shape),
            (ALONE.name, 1, shape),
            (DBOS.name, 1, shape),
            (POSTGRES.name, processes, shape) if arm == RESTATE.name else (arm, 1, shape),
        )
        if (arm, processes, shape) != base
    ]
    rows: list[tuple[str, ...]] = []
    for ours, theirs in pairs:
        if ours in of and theirs in of:
            a, b = of[ours], of[theirs]
            lives = a.sample.lives_s / b.sample.lives_s
            cpu = (a.server_ms + a.workers_ms) / (b.server_ms + b.workers_ms)
            rows.append(
                (
                    f"{a.arm}, {a.processes}, {a.shape}",
                    f"{b.arm}, {b.processes}",
                    f"{lives:.2f}x",
                    f"{a.sample.p50_ms / b.sample.p50_ms:.2f}x",
                    f"{cpu:.2f}x",
                )
            )
    header = ("store, processes, life", "beside", "lives a second", "p50", "CPU of one life")
    return Table("Ratios", header, rows)


def waits_tables(waited: list[Waited]) -> list[Table]:
    """What parked tasks hold, and how soon one goes on."""
    held: list[tuple[str, ...]] = []
    times: list[tuple[str, ...]] = []
    for one in waited:
        count, name = len(one.parked.tasks), f"{one.arm}, {one.processes}"
        held.append(
            (
                name,
                f"{count:,}",
                f"{one.before.rss_mib:.1f}",
                f"{one.after.rss_mib - one.before.rss_mib:+.1f}",
                f"{one.after.threads - one.before.threads:+.1f}",
                f"{one.before.server_rss_mib:.0f}",
                f"{one.after.server_rss_mib - one.before.server_rss_mib:+.0f}",
                f"{one.size.rows / count:.2f}",
                f"{one.size.database_bytes / count:.0f}",
                f"{one.size.server_bytes / count:.0f}",
            )
        )
        shares = [percentile(one.took_ms, share) for share in (0.5, 0.99)]
        times.append(
            (
                name,
                f"{count / one.parked.took_s:.0f}",
                *(f"{ms:.1f}" for ms in (*shares, max(one.took_ms))),
                f"{one.opened_s:.3f}",
                f"{one.viewed_s:.3f}",
            )
        )
    header = (
        *("store, processes", "parked", "RSS of a worker, MiB", "more", "threads more"),
        *("RSS of the server, MiB", "more", "rows of one", "bytes of one, database"),
        "bytes of one, Restate",
    )
    columns = (
        *("store, processes", "parked a second", "resumed: p50, ms", "p99, ms", "worst, ms"),
        *("one more opens, s", "and shows one, s"),
    )
    return [
        Table("Parked: what they hold", header, held),
        Table("Parked: how soon one goes on, and one more worker is open", columns, times),
    ]


def measure(hosts: Hosts, only: str | None, found: Findings) -> None:
    """Every part that is wanted; one that fails is noted, and the next goes on."""
    named = {"sqlite": [SQLITE], "postgres": [POSTGRES, ALONE, DBOS], "restate": [RESTATE]}
    arms = named.get(only or "", [SQLITE, POSTGRES, ALONE, DBOS, RESTATE])
    parts = [
        (live, arm, processes)
        for arm in (arms if only != "parked" else [])
        for processes in arm.processes
        if processes in found.plan.processes or len(arm.processes) == 1
    ]
    # First what there is the most to say about, should the time be short.
    arms = sorted(arms, key=lambda arm: arm is not POSTGRES)
    parts += [(wait, arm, min(2, max(arm.processes))) for arm in arms if "ask" in arm.shapes]
    for part, arm, processes in parts:
        try:
            part(hosts, arm, processes, found)
        except Exception as error:  # noqa: BLE001  the others can be measured all the same
            what = f"{arm.name}, {processes} process(es), {part.__name__}"
            found.missing.append((what, f"{type(error).__name__}: {error}"[:300]))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Replicas that share a store")
    parser.add_argument("--quick", action="store_true", help="a minute, and nothing is kept")
    choices = ["postgres", "restate", "sqlite", "parked", "statements"]
    parser.add_argument("--only", choices=choices)
    parser.add_argument("--parked", type=int, help="how many")
    parser.add_argument("--park-s", type=float, help="seconds for that, on each store")
    parser.add_argument("--budget-s", type=float, help="seconds for all")
    options = parser.parse_args()
    plan = QUICK if options.quick else Plan()
    given = {name: getattr(options, name) for name in ("parked", "park_s", "budget_s")}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        where = file_system(folder)
        if options.only == "statements":
            report = Report("scale-statements", f"Statements of a life on PostgreSQL, on {where}")
            report.tables += statements(Path(folder), plan.for_s)
            report.finish(keep=False)
            return
        found = Findings(plan)
        with Hosts(Path(folder)) as hosts:
            measure(hosts, options.only, found)
        report = report_of(found, where)
    report.finish(keep=not options.quick and options.only is None)


if __name__ == "__main__":
    main()
