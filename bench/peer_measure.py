"""What `bench.peer` measures of one server: the same requests and the same clock for both.

Everything is bounded, in number and in time.  What a server does not answer, or answers with
an error, is a finding and no reason to stop.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from bench.peer_client import APPROVE, DENY, Client, Failed, Shown
from bench.peer_process import Server
from bench.peer_script import RESULT

V = TypeVar("V")

#: What tasks do, as the first word of their text, and how many clients at once.
LOADS: Final = (("say", 1), ("say", 64), ("work", 1), ("work", 8), ("work", 64))
#: The longest that a load may take, in seconds.
LOAD_S: Final = 30.0
#: A cancel that takes longer has no answer.
CANCEL_S: Final = 4.0
#: Until the tool has begun that is to be cancelled.
BEGUN_S: Final = 0.3
#: Longer than ours keeps the coroutine of a task that waits (Limits.park_after_s).
SETTLED_S: Final = 6.0
#: Clients that make the tasks that are to wait, and answer them.
PARKERS: Final = 8
#: What the peer says to an answer that comes too soon after its question.
INTERNAL: Final = -32603


class Counts(NamedTuple):
    """How much of each."""

    warm_up: int = 24
    #: Tasks of each load.
    load: tuple[int, ...] = (40, 320, 60, 160, 320)
    asks: int = 40
    cancels: int = 3
    parked: int = 500


QUICK: Final = Counts(8, (8, 96, 8, 32, 96), 8, 1, 100)


@dataclass(slots=True)
class Findings:
    """All of one arm, over the rounds."""

    samples: dict[str, list[float]] = field(
        default_factory=lambda: defaultdict[str, list[float]](list)
    )
    #: How often what was said.
    said: dict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict[str, Counter[str]](Counter)
    )
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def note(self, metric: str, *samples: float) -> None:
        """More samples of it."""
        self.samples[metric] += [round(sample, 2) for sample in samples]


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncGenerator[Sequence[Client]]:
    """So many of them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(port)) for _ in range(count)]


async def timed(reply: Awaitable[V]) -> tuple[float, V]:
    """Milliseconds until it was there, and it."""
    began = time.perf_counter()
    value = await reply
    return (time.perf_counter() - began) * 1e3, value


def expect(shown: Shown, state: str) -> None:
    """Stop the bench when a server does not do the work."""
    if shown.state != state:
        raise RuntimeError(f"{shown.state}, and not {state}: {shown.text}")
    if state == "completed" and RESULT not in shown.text.split():
        raise RuntimeError(f"not done: {shown.text}")


# --- tasks that nobody is asked about -------------------------------------------------------


async def load(port: int, kind: str, at_once: int, count: int) -> list[float]:
    """Tasks from so many clients at once; the milliseconds that each took."""
    took: list[float] = []
    numbers = iter(range(count))
    give_up = time.monotonic() + LOAD_S

    async def work(client: Client) -> None:
        for _ in numbers:
            if time.monotonic() > give_up:
                return
            ms, shown = await timed(client.send(f"{kind} it"))
            expect(shown, "completed")
            took.append(ms)

    async with clients(port, at_once) as all_of_them, asyncio.TaskGroup() as group:
        for client in all_of_them:
            group.create_task(work(client))
    return took


async def throughput(server: Server, counts: Counts, found: Findings) -> None:
    """Submit to completed, by loads."""
    for (kind, at_once), count in zip(LOADS, counts.load, strict=True):
        # Its first tasks make threads and connections.
        await load(server.port, kind, at_once, max(at_once, counts.warm_up))
        cpu_s, began = server.cpu_s(), time.perf_counter()
        took = await load(server.port, kind, at_once, count)
        wall_s = time.perf_counter() - began
        found.note(f"{kind} {at_once}", *took)
        found.note(f"tasks/s {kind} {at_once}", len(took) / wall_s)
        found.note(f"cpu {kind} {at_once}", (server.cpu_s() - cpu_s) / len(took) * 1e3)


# --- tasks that ask -------------------------------------------------------------------------


async def replied(client: Client, reply: Awaitable[Shown], task_id: str) -> tuple[float, str]:
    """Milliseconds, and the state or the error; after an error the task is waited for."""
    began = time.perf_counter()
    try:
        shown = await reply
    except Failed as error:
        took_ms = (time.perf_counter() - began) * 1e3
        await client.over(task_id, CANCEL_S)
        return took_ms, str(error)
    took_ms = (time.perf_counter() - began) * 1e3
    if shown.state == "completed":
        expect(shown, "completed")
    return took_ms, shown.state


async def asks(port: int, counts: Counts, found: Findings) -> None:
    """A question, by message/send and by message/stream, and its answer at once."""
    async with clients(port, 2) as (client, other):
        for _ in range(counts.asks):
            ms, asked = await timed(client.send("ask me"))
            expect(asked, "input-required")
            found.note("ask", ms)
            ms, said = await replied(client, client.answer(asked), asked.task_id)
            _answered(found, "answer", ms, said)
        for _ in range(counts.asks):
            ms, asked = await timed(streamed(other, "ask me", "input-required"))
            found.note("ask, streamed", ms)
            ms, said = await replied(client, client.answer(asked), asked.task_id)
            _answered(found, "answer to a stream", ms, said)


async def approvals(port: int, counts: Counts, found: Findings) -> None:
    """A tool that wants an approval: each is approved at once, and as many are denied."""
    async with clients(port, 1) as (client,):
        for decision in (APPROVE, DENY):
            for _ in range(counts.asks):
                ms, asked = await timed(client.send("pay her"))
                expect(asked, "auth-required")
                found.note("pay", ms)
                reply = client.decide(asked, decision)
                ms, said = await replied(client, reply, asked.task_id)
                _answered(found, decision, ms, said)
                if decision == DENY:
                    found.said["denied, later"][await state_of(client, asked.task_id)] += 1


def _answered(found: Findings, kind: str, ms: float, said: str) -> None:
    """An error is no answer: it is counted, and its time is not taken for one."""
    found.said[kind][said] += 1
    if not said.startswith(str(INTERNAL)):
        found.note(kind, ms)


async def streamed(client: Client, text: str, state: str) -> Shown:
    """A new task at its first event with that state; then its stream is left."""
    async with aclosing(client.stream(text)) as events:
        async for shown in events:
            if shown.state == state:
                return shown
    raise RuntimeError(f"the stream ended without {state}")


async def state_of(client: Client, task_id: str) -> str:
    """What tasks/get says."""
    try:
        return (await client.get(task_id)).state
    except Failed as error:
        return str(error)


# --- cancel ---------------------------------------------------------------------------------


async def cancels(port: int, counts: Counts, found: Findings) -> None:
    """A cancel in a tool and one of a task that waits; leaves some servers unwell."""
    for _ in range(counts.cancels):
        async with clients(port, 2) as (client, other):
            working = await streamed(client, "nap a while", "working")
            await asyncio.sleep(BEGUN_S)
            await cancel(other, working.task_id, "cancel working", found)
        async with clients(port, 1) as (client,):
            asked = await client.send("ask me")
            expect(asked, "input-required")
            await cancel(client, asked.task_id, "cancel waiting", found)


async def cancel(client: Client, task_id: str, kind: str, found: Findings) -> None:
    """What is said, how soon, what tasks/get says then, and when it is over."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(CANCEL_S):
            said = (await client.cancel(task_id)).state
    except Failed as error:
        said = str(error)
    except TimeoutError:
        said = f"no answer in {CANCEL_S:g} s"
    found.note(kind, (time.perf_counter() - began) * 1e3)
    found.said[kind][said] += 1
    found.said[f"{kind}, later"][await client.over(task_id, 2 * CANCEL_S)] += 1
    found.note(f"{kind}, over", (time.perf_counter() - began) * 1e3)


# --- many that wait -------------------------------------------------------------------------


async def parked(server: Server, counts: Counts, found: Findings) -> None:
    """What the process holds for tasks that wait, and whether they all go on afterwards."""
    await load(server.port, "work", PARKERS, counts.warm_up)
    asked: list[Shown] = []
    numbers = iter(range(counts.parked))

    async def ask(client: Client) -> None:
        for _ in numbers:
            asked.append(await client.send("ask me"))
            expect(asked[-1], "input-required")

    async def answer(client: Client) -> None:
        while waiting:
            one = waiting.pop()
            _, said = await replied(client, client.answer(one), one.task_id)
            found.said["parked, answered"][said] += 1

    async with clients(server.port, PARKERS) as all_of_them:
        # Each has its connection then.
        await asyncio.gather(*(client.send("say it") for client in all_of_them))
        before = server.held()
        await asyncio.gather(*map(ask, all_of_them))
        await asyncio.sleep(SETTLED_S)
        after = server.held()
        found.note("threads", after.threads)
        found.note("threads more", after.threads - before.threads)
        found.note("rss", after.rss_mb)
        found.note("rss more", after.rss_mb - before.rss_mb)
        found.note("files more", after.files - before.files)
        found.note("say, beside", *await load(server.port, "say", 1, counts.asks // 4))
        waiting = [*asked]
        ms, _ = await timed(asyncio.gather(*map(answer, all_of_them)))
    found.note("answered/s", len(asked) / ms * 1e3)
