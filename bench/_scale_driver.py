"""The load of `bench.scale`, from a process of its own: many clients at once, on all workers.

A client has a worker of its own, and another one at which it answers; with one worker they are
the same.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench._report import percentile
from bench._scale_wire import Json, Worker

#: Clients at once, of all workers together.
CLIENTS: Final = 32
#: One owner may not have too many open tasks.
TASKS_PER_OWNER: Final = 500


class Sample(NamedTuple):
    """What a load came to.

    `lives` are all; those a second that ended within the time, after the warm-up; and of all that
    ended after the warm-up how long they took, also those that were under way at the end.
    """

    lives: int
    lives_s: float
    p50_ms: float
    p99_ms: float


class Parked(NamedTuple):
    """Tasks that wait, each as an `answer` is to name it, and how long they took to make."""

    tasks: list[Json]
    took_s: float


async def load(
    ports: Sequence[int], shape: str, warm_s: float, for_s: float, at_once: int = CLIENTS
) -> Sample:
    """Live lives of that shape ("step" or "ask") for so long, after a warm-up."""
    took_ms: list[float] = []
    lives = within = 0
    counted_from = time.perf_counter() + warm_s
    end = counted_from + for_s

    async def client(number: int) -> None:
        nonlocal lives, within
        home, other = [await Worker.at(ports[(number + at) % len(ports)]) for at in range(2)]
        owner = f"client {number}"
        while (at := time.perf_counter()) < end:
            if shape == "step":
                await home.ask("life", owner=owner)
            else:
                waiting = await home.ask("park", owner=owner)
                await other.ask("answer", **waiting)
            over = time.perf_counter()
            lives += 1
            within += counted_from <= over < end
            if over >= counted_from:
                took_ms.append((over - at) * 1e3)
        home.close()
        other.close()

    async with asyncio.TaskGroup() as clients:
        for number in range(at_once):
            clients.create_task(client(number))
    all_s = time.perf_counter() - counted_from
    # Where few ended within the time they came in a burst or not at all: then by all, to the last.
    lives_s = within / for_s if within >= at_once else len(took_ms) / all_s
    p50_ms, p99_ms = (percentile(took_ms, share) for share in (0.5, 0.99))
    return Sample(lives, lives_s, p50_ms, p99_ms)


async def park(ports: Sequence[int], count: int, for_s: float) -> Parked:
    """Make so many that wait, or as many as can be made in that time."""
    made: list[Json] = []
    numbers = iter(range(count))
    began = time.perf_counter()
    end = began + for_s

    async def client(number: int) -> None:
        worker = await Worker.at(ports[number % len(ports)])
        for task in numbers:
            if time.perf_counter() >= end:
                break
            made.append(await worker.ask("park", owner=f"owner {task // TASKS_PER_OWNER}"))
        worker.close()

    async with asyncio.TaskGroup() as clients:
        for number in range(2 * CLIENTS):
            clients.create_task(client(number))
    return Parked(made, time.perf_counter() - began)


async def resume(ports: Sequence[int], tasks: Sequence[Json], count: int) -> list[float]:
    """Answer some at random, one after the other, at each worker in turn.

    Milliseconds from each answer to its durable completion.
    """
    workers = [await Worker.at(port) for port in ports]
    picked = random.Random(3).sample(tasks, min(count, len(tasks)))  # noqa: S311  no secret
    took_ms: list[float] = []
    for number, task in enumerate(picked):
        began = time.perf_counter()
        await workers[number % len(workers)].ask("answer", **task)
        took_ms.append((time.perf_counter() - began) * 1e3)
    for worker in workers:
        worker.close()
    return took_ms


async def view(port: int, task_id: str) -> float:
    """Seconds until the worker has shown a task."""
    worker = await Worker.at(port)
    began = time.perf_counter()
    await worker.ask("view", id=task_id)
    took_s = time.perf_counter() - began
    worker.close()
    return took_s


async def ask_all(ports: Sequence[int], do: str, **what: object) -> list[Json]:
    """Have each worker do it."""
    answers: list[Json] = []
    for port in ports:
        worker = await Worker.at(port)
        answers.append(await worker.ask(do, **what))
        worker.close()
    return answers
