"""Clients that come through the balancer, and readers that follow each task to its end.

The clients are those of the fault harness.  With every third task goes a reader, who notes
each thing that a stream showed, where it was in the log, and how the stream ended; it comes
again with the last place that it saw, to whichever replica it is given.
"""

import asyncio
import itertools
import json
import random
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx

from faults.client import PAUSE_S, Client
from faults.world import write_line

Json = dict[str, Any]

#: Seconds without anything, after which a reader comes again: its replica may be frozen.
SILENT_S: Final = 6.0
#: Seconds for a task and its reader.  Whoever is killed again and again before anybody was
#: there for long enough to take it for dead gets no further meanwhile.
READ_S: Final = 120.0
#: How often a task works, and for how many seconds at most.
WORKS: Final = 3
WORK_S: Final = 0.4
#: Every n-th task is read.
READ_EVERY: Final = 3
#: How a stream says that there is no more: the task is over.
_ENDS: Final = frozenset({"completed", "failed", "cancelled", "timed_out", "rejected"})


class Reader:
    """Follows one task from its first event to its outcome, over as many streams as it takes."""

    def __init__(self, url: str, task_id: str, path: Path, *, after: int = 1) -> None:
        self._url = url
        self._task_id = task_id
        self._path = path
        self._streams = itertools.count(1)
        #: The place up to which everything was seen; 0 begins with the task as it is.
        self.place = after
        self.over = False

    async def run(self) -> None:
        """Read until the outcome; what goes wrong is written down, and is a finding."""
        # Whoever waits for the next event waits for as long as that takes.
        timeout = httpx.Timeout(5.0, read=SILENT_S)
        async with httpx.AsyncClient(
            base_url=self._url,
            headers={"A2A-Version": "1.0"},
            timeout=timeout,
            trust_env=False,
        ) as http:
            try:
                async with asyncio.timeout(READ_S):
                    while not self.over:
                        await self._stream(http)
            except TimeoutError:
                self._note(unread="it takes too long")

    async def _stream(self, http: httpx.AsyncClient) -> None:
        number = next(self._streams)
        self._note(stream=number, after=self.place)
        call = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask"}
        body = call | {"params": {"id": self._task_id}}
        headers = {"Last-Event-ID": str(self.place)} if self.place else {}
        try:
            async with http.stream("POST", "/rpc", json=body, headers=headers) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data:"):
                        self._shown(number, json.loads(line[5:]))
                    elif line.startswith("{"):
                        self._refused(number, json.loads(line))
        except httpx.TransportError as error:
            self._note(stream=number, cut=type(error).__name__)
        if not self.over:
            await asyncio.sleep(PAUSE_S)

    def _shown(self, stream: int, answer: Json) -> None:
        if "error" in answer:
            self._refused(stream, answer)
            return
        ((kind, shown),) = answer["result"].items()
        metadata = shown["metadata"]
        seq, place = int(metadata["interlock/seq"]), int(metadata["interlock/event"])
        self._note(stream=stream, shown=kind, seq=seq, place=place)
        self.place = max(self.place, place)
        self.over = self.over or metadata.get("interlock/phase") in _ENDS

    def _refused(self, stream: int, answer: Json) -> None:
        self._note(stream=stream, error=answer["error"])

    def _note(self, **line: Any) -> None:
        write_line(self._path, {"task": self._task_id, **line}, synced=False)


class ScaleClient(Client):
    """A client whose tasks are read by another one, too."""

    CALL_S: ClassVar[float] = READ_S / 2
    TASK_S: ClassVar[float] = READ_S

    def __init__(self, number: int, seed: str, url: str, directory: Path) -> None:
        super().__init__(number, seed, url, directory / f"client-{number}.jsonl")
        self._path = directory / f"stream-{number}.jsonl"
        self._at = url
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._seen: set[str] = set()
        self._pick = random.Random(f"{seed}/{number}/readers")  # noqa: S311  it must be repeatable

    def steps(self) -> list[Json]:
        """What a new task is to do: in between it works, so that blows hit what runs."""
        steps = super().steps()
        for number in range(WORKS):
            seconds = round(self.dice.uniform(0.0, WORK_S), 3)
            work = {"do": "work", "name": f"work-{number}", "seconds": seconds}
            steps.insert(self.dice.randrange(len(steps) + 1), work)
        return steps

    def note(self, **line: Any) -> None:
        """Write it down, and have what is new read."""
        super().note(**line)
        task_id = line.get("task") if line.get("fate") == "acked" else None
        if task_id and task_id not in self._seen:
            self._seen.add(task_id)
            if self._pick.randrange(READ_EVERY) == 0:
                reader = Reader(self._at, task_id, self._path)
                self._readers[task_id] = asyncio.create_task(reader.run())

    async def farewell(self, http: httpx.AsyncClient) -> None:
        """Wait for the readers: all that was begun is over."""
        del http
        await asyncio.gather(*self._readers.values())
