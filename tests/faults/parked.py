"""Tasks of MCP that wait for a person while their server is killed, or told to stop.

The same client object of the SDK answers the server that comes after it, by `tasks/update` or
in the next round of a call, and gets the result; whatever was done was done once.  It answers
what is in doubt as somebody does who looks.

A request that breaks ends the SDK's own connection.  So half of the tasks are kept by clients as
they come, which say nothing while servers die; the others are of clients whose requests fail one
by one (`McpHttp`, as agents have it that call MCP servers), and are answered into the kills.
"""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import mcp_types as wire
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from faults.audit import audit_directory
from faults.client import PAUSE_S, Client, Json
from faults.evidence import DOUBT, Finding
from faults.failpoints import POINTS, Plan
from faults.mcp_client import INPUT_REQUIRED, INTERNAL, Handled, McpClient, Reply, Waiting
from faults.run import Server, Tally, Trouble, stop
from faults.server import Life
from faults.world import effects_in
from interlock_adapters.mcp_tools._http import McpHttp
from mcp_face import Host, connected

#: Each is two kills: one while both wait, one while they are answered.
ROUNDS: Final = 12
#: Seconds to a kill at random, and until a point is met at the latest.
WITHIN_S: Final = 0.4
POINT_S: Final = 1.0
#: Of progress, each a tenth of a second on a slow disk: it is under way for so long.
LINES: Final = 20
#: What is written meanwhile is too little for a checkpoint.
POINTS_MET: Final = tuple(point for point in POINTS if "checkpoint" not in point)
#: What did not go through while the server was away.
_LOST: Final = frozenset({INTERNAL, wire.CONNECTION_CLOSED, wire.REQUEST_TIMEOUT})


class SdkWire:
    """The SDK's client, the same object whichever server is there."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def attempt(self, method: str, name: str, params: Json) -> Json | None:
        """See `Wire`."""
        try:
            result = await self._sent(method, name, params)
        except MCPError as error:
            if error.code in _LOST:
                return None
            return {"error": {"code": error.code, "message": str(error)}}
        except TimeoutError:
            return None
        return {"result": result.model_dump(by_alias=True, mode="json", exclude_none=True)}

    async def _sent(self, method: str, name: str, params: Json) -> wire.Result:
        match method:
            case "tools/call":
                replies = params.get("inputResponses")
                return await self._host.call(
                    name,
                    params["arguments"],
                    responses=None if replies is None else _elicited(replies),
                    state=params.get("requestState"),
                    meta=params["_meta"],
                )
            case "tasks/get":
                return await self._host.get(name)
            case _:
                return await self._host.update(name, params["inputResponses"])


def _elicited(replies: Mapping[str, Json]) -> dict[str, wire.ElicitResult]:
    return {key: wire.ElicitResult.model_validate(reply) for key, reply in replies.items()}


class Person:
    """Who answers the questions of one task, and knows what it must come to."""

    def __init__(self, name: str, directory: Path, lines: int = 0) -> None:
        """`lines` of progress come before the first question."""
        self._directory = directory
        self._names = {word: f"{word}-{name}" for word in ("charge", "ask", "order", "book")}
        names = self._names
        #: What the task is to do: what is done in it is done by one step each.
        self.steps: list[Json] = [
            {"do": "charge", "name": names["charge"]},
            *({"do": "progress", "name": f"{name} {line}"} for line in range(lines)),
            {"do": "ask", "name": names["ask"]},
            {"do": "order", "name": names["order"]},
            {
                "do": "authorize",
                "name": names["book"],
                "arguments": {"seat": name},
                "on_deny": "stop",
            },
        ]
        self._answer = f"answer of {name}"
        self.results = ["charge done", self._answer, "order done", "book done"]

    def reply(self, key: str, asked: Json) -> Reply:
        """What is said to a question."""
        if "decision" in asked["requestedSchema"]["properties"]:
            said = {"ask": key, "decision": "approve"}
            shown = self.steps[-1]["arguments"]
            what = {"op": "approve", "said": said, "shown": shown}
            return Reply(what, {"action": "accept", "content": {"decision": "approve"}})
        value = self._in_doubt(key) if key.startswith(DOUBT) else self._answer
        given = value if isinstance(value, str) else json.dumps(value)
        what = {"op": "answer", "said": {"ask": key, "value": value}}
        return Reply(what, {"action": "accept", "content": {"value": given}})

    def has(self, word: str) -> bool:
        """Whether it was done, as the world has it."""
        done = effects_in(self._directory / "world.jsonl")
        return any(self._names[word] in (effect.what, effect.leave) for effect in done)

    def _in_doubt(self, key: str) -> Json:
        # interlock:in-doubt-1-charge-1: how often it was begun, and the call.
        _, _, call = key.removeprefix(DOUBT).partition("-")
        word = call.partition("-")[0]
        if self.has(word):
            return {"decision": "use_value", "value": f"{word} done"}
        return {"decision": "run_again"}

    def problems(self, result: Json) -> list[str]:
        """What is wrong with what the task came to."""
        came_to = result.get("structuredContent", {}).get("results")
        return [] if came_to == self.results else [f"it came to {result}"]


class ParkedHandle(Handled):
    """A task of which the client has the handle."""

    def __init__(self, client: Client, host: Host, person: Person) -> None:
        super().__init__(client, SdkWire(host))
        self._steps = person.steps
        self._person = person

    def _reply(self, key: str, asked: Json) -> Reply:
        return self._person.reply(key, asked)

    async def park(self) -> None:
        """Have it wait for a person."""
        await self._submit()
        await self._look()
        while not self._open:
            await asyncio.sleep(PAUSE_S)
            await self._look()

    async def finish(self) -> list[str]:
        """Answer, and get the result; what is wrong with it."""
        await self._end()
        return self._person.problems(self.result)


class ParkedCall(Waiting):
    """A call whose caller waits, between two rounds of it."""

    def __init__(self, client: Client, host: Host, person: Person) -> None:
        super().__init__(client, SdkWire(host))
        self._steps = person.steps
        self._person = person
        self._last: Json = {}
        #: How often it was told no more than to come again.
        self.bare = 0

    def _reply(self, key: str, asked: Json) -> Reply:
        return self._person.reply(key, asked)

    async def begun(self) -> None:
        """Wait until it has done something."""
        while not self._person.has("charge"):  # noqa: ASYNC110  the world cannot tell
            await asyncio.sleep(PAUSE_S)

    async def park(self) -> None:
        """Have it ask."""
        self._last = await self._made()

    async def finish(self) -> list[str]:
        """Answer, and get the result; what is wrong with it."""
        await self._end(self._last)
        return self._person.problems(self.result)

    def _seen(self, result: Json) -> Json:
        self.bare += result.get("resultType") == INPUT_REQUIRED and not result.get("inputRequests")
        return super()._seen(result)


class Hosts(NamedTuple):
    """Two client objects: one that speaks the Tasks extension, and one that waits."""

    handles: Host
    waits: Host


@asynccontextmanager
async def plain(url: str) -> AsyncGenerator[Hosts]:
    """Clients as they come."""
    async with (
        connected(url, tasks=True, answers=()) as handles,
        connected(url, answers=()) as waits,
    ):
        yield Hosts(handles, waits)


@asynccontextmanager
async def tough(url: str) -> AsyncGenerator[Hosts]:
    """Clients that outlive a request of theirs."""
    async with (
        McpHttp({}, answer_bytes_max=10**6) as http,
        connected(streamable_http_client(url, http_client=http), tasks=True, answers=()) as handles,
        connected(streamable_http_client(url, http_client=http), answers=()) as waits,
    ):
        http.settle()
        yield Hosts(handles, waits)


class Hotel:
    """Where tasks are parked: a server that dies, and one that comes after it."""

    def __init__(self, server: Server, directory: Path, seed: str, life: Life) -> None:
        self.server = server
        self.dice = random.Random(seed)  # noqa: S311  it must be repeatable
        self.life = life
        self.tally = Tally()
        self._directory = directory
        self._client = McpClient(0, seed, server.url, directory / "client-0.jsonl")

    async def parked(self, name: str, hosts: Hosts) -> list[ParkedHandle | ParkedCall]:
        """One task of each kind, each waiting for a person."""
        guests: list[ParkedHandle | ParkedCall] = [
            self.handle(f"{name}-handle", hosts),
            self.call(f"{name}-round", hosts),
        ]
        for guest in guests:
            await guest.park()
        return guests

    def handle(self, name: str, hosts: Hosts) -> ParkedHandle:
        """A task of which the client has the handle."""
        self.tally.tasks += 1
        return ParkedHandle(self._client, hosts.handles, Person(name, self._directory))

    def call(self, name: str, hosts: Hosts, lines: int = 0) -> ParkedCall:
        """A call whose caller waits."""
        self.tally.tasks += 1
        return ParkedCall(self._client, hosts.waits, Person(name, self._directory, lines))

    async def start(self, plan: Plan | None = None) -> None:
        """A server, which may die before it is ready."""
        await self.server.start(self.life._replace(plan=plan or Plan()))

    async def killed(self, where: str, within_s: float) -> None:
        """Kill the server unless it dies before."""
        ended = asyncio.create_task(self.server.ended())
        done, _ = await asyncio.wait([ended], timeout=within_s)
        if not done:
            self.server.kill()
        if await ended != -signal.SIGKILL:
            raise Trouble("a server ended by itself")
        self.tally.kills[where if done else "at random"] += 1

    async def finish(self, guests: Sequence[ParkedHandle | ParkedCall]) -> None:
        """See that each gets its result."""
        for problems in await asyncio.gather(*(guest.finish() for guest in guests)):
            self.tally.findings += [Finding("parked", "", why) for why in problems]


async def mcp_parked(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Answered by the same client after kills and after a drain; nothing is done twice."""
    return await parked(server, directory, seed, life, ROUNDS)


async def parked(server: Server, directory: Path, seed: str, life: Life, rounds: int) -> Tally:
    """So many rounds of two kills, and one drain."""
    hotel, url = Hotel(server, directory, seed, life), f"{server.url}/mcp"
    await hotel.start()
    async with plain(url) as quiet, tough(url) as busy:
        for number in range(rounds):
            await _killed_twice(hotel, number, quiet, busy)
        await _drained(hotel, quiet, busy)
        await stop(server)
    report = await asyncio.to_thread(audit_directory, directory)
    hotel.tally.findings += report.findings
    hotel.tally.figures += report.figures
    times = Counter(effect.call for effect in effects_in(directory / "world.jsonl"))
    for call, number in times.items():
        if number > 1:
            hotel.tally.findings.append(Finding("twice", call, f"it was done {number} times"))
    return hotel.tally


async def _killed_twice(hotel: Hotel, number: int, quiet: Hosts, busy: Hosts) -> None:
    """Once while all wait, once while half are answered, wherever that is by then."""
    dice = hotel.dice
    sleepers = await hotel.parked(f"{number}-quiet", quiet)
    answered = await hotel.parked(f"{number}-busy", busy)
    await hotel.killed("", dice.random() * 0.05)
    plan = _plan(number, dice)
    await hotel.start(plan)
    answering = asyncio.create_task(hotel.finish(answered))
    await hotel.killed(plan.point, POINT_S if plan.point else dice.random() * WITHIN_S)
    await hotel.start()
    await answering
    await hotel.finish(sleepers)


def _plan(number: int, dice: random.Random) -> Plan:
    """In turn: at a random instant, around something that is done, at any other point."""
    match number % 3:
        case 0:
            return Plan()
        case 1:
            return Plan(dice.choice(["before_effect", "after_effect"]), dice.randint(1, 4))
        case _:
            point, after_us = dice.choice(POINTS_MET), dice.randint(0, 2_000)
            return Plan(point, dice.randint(1, 5), after_us=after_us)


async def _drained(hotel: Hotel, quiet: Hosts, busy: Hosts) -> None:
    """Told to stop while all wait, and once more while a call is under way on a slow disk."""
    guests = await hotel.parked("drained-quiet", quiet) + await hotel.parked("drained-busy", busy)
    await stop(hotel.server)
    await hotel.start(Plan(disk="slow"))
    under_way = hotel.call("under-way", quiet, LINES)
    parking = asyncio.create_task(under_way.park())
    await under_way.begun()
    await stop(hotel.server)
    await hotel.start()
    await parking
    await hotel.finish([*guests, under_way])
    hotel.tally.figures["calls that a drain ended"] += under_way.bare
