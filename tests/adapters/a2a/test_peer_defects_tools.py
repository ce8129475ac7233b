"""Every defect of agent-runtime-sdk 0.1.0, and that it is none here: tools.

Source: facts/agent-runtime-sdk.md §4, by its numbers; see `test_peer_defects.py`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from a2a_faces import SETTINGS, Faces, faced
from interlock import (
    Engine,
    JsonObject,
    JsonValue,
    Limits,
    MemoryStore,
    Part,
    Policies,
    Policy,
    RequiredInput,
    SyncTaskContext,
    TaskContext,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
)
from interlock._agent import Agent
from interlock.errors import SourceUnavailable, UnknownTool
from interlock.testing import ManualClock
from interlock_adapters.mcp_tools import McpLimits, McpServer
from legacy_peer import LegacyPeer, asks_of, decision, error_of, result_of, state_of, texts_of
from support import pause, soon, until

PAY: Final[JsonObject] = {
    "type": "object",
    "properties": {"euro": {"type": "integer"}},
    "required": ["euro"],
}
BOOK: Final[JsonObject] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "seat": {"type": "string"}},
    "required": ["city", "seat"],
}


class Bank:
    """A source of tools, as an MCP server would be one; remembers what it was told."""

    def __init__(self) -> None:
        self.name: Final = "bank"
        self.paid: list[JsonObject] = []
        self.carried: list[dict[str, str]] = []
        #: Calls that hang now, and how many were cut off.
        self.hanging = 0
        self.cut_off = 0
        self.refuses = False

    async def open(self) -> None:
        """See `ToolSource`."""
        if self.refuses:
            raise SourceUnavailable(self.name, "connection refused")

    async def close(self) -> None:
        """See `ToolSource`."""

    def tools(self) -> Sequence[Tool]:
        """See `ToolSource`."""
        pay = Tool(name="pay", source=self.name, input_schema=PAY)
        book = Tool(name="book", source=self.name, input_schema=BOOK)
        return [pay, book, Tool(name="hang", source=self.name)]

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolResult:
        """See `ToolSource`."""
        self.carried.append(dict(use.carried))
        if tool.name == "hang":
            await self._hang()
        self.paid.append(arguments)
        return ToolResult(parts=(Part(text=" ".join(str(v) for v in arguments.values())),))

    async def go_on(
        self, tool: Tool, arguments: JsonObject, token: JsonValue, answers: JsonObject, use: ToolUse
    ) -> ToolResult:
        """See `ToolSource`."""
        raise NotImplementedError

    async def _hang(self) -> None:
        self.hanging += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        finally:
            self.hanging -= 1


@pytest.fixture
async def bank() -> Bank:
    """One without history."""
    return Bank()


LIMITS: Final = Limits(run_s=30.0, grace_s=2.0, park_after_s=0.0)


@asynccontextmanager
async def banking(
    agent: Agent, bank: Bank, policies: Mapping[str, Policy] | None = None, **settings: object
) -> AsyncGenerator[Faces]:
    """The agent, with the bank."""
    tools = Toolbox([bank], policies=Policies(policies))
    made = SETTINGS.model_copy(update=settings)
    async with faced(agent, tools=tools, limits=LIMITS, settings=made) as faces:
        yield faces


def agent_threads() -> list[str]:
    """Threads that run an agent or a tool."""
    named = ("turn ", "tool ", "call ")
    return [one.name for one in threading.enumerate() if one.name.startswith(named)]


@pytest.mark.parametrize("times", [1, 5])
async def test_b01d_a_cancel_in_a_tool_reaches_it_and_frees_the_thread(
    bank: Bank, times: int
) -> None:
    """There: the worker's thread waits for ever for a loop that is gone."""

    def agent(task: SyncTaskContext) -> str:
        return task.call_tool("hang").text

    async with banking(agent, bank) as faces:
        ada = LegacyPeer(faces)
        tasks = [await ada.send("go", blocking=False) for _ in range(times)]
        await until(lambda: bank.hanging == times)
        assert len(agent_threads()) == times
        for task in tasks:
            assert state_of(await ada.cancel(task["id"])) == "canceled"
        assert (bank.hanging, bank.cut_off) == (0, times)
        await until(lambda: agent_threads() == [])


class Model:
    """A model that is slow, and an agent around it that would not be stopped."""

    def __init__(self) -> None:
        self.thinking = 0
        self.answered = threading.Event()
        #: What came of the tool call that the model wanted.
        self.came: list[str] = []

    async def stubborn(self, task: TaskContext) -> str:
        """Swallows its cancellation, and goes on to the tool."""
        self.thinking += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.came.append("told to stop")
        try:
            return (await task.call_tool("pay", {"euro": 5})).text
        except BaseException as error:
            self.came.append(type(error).__name__)
            raise

    def plain(self, task: SyncTaskContext) -> str:
        """Sits in its model's call, deaf to everything, and goes on to the tool."""
        self.thinking += 1
        assert self.answered.wait(5.0)
        try:
            return task.call_tool("pay", {"euro": 5}).text
        except BaseException as error:
            self.came.append(type(error).__name__)
            raise


@pytest.mark.parametrize("confirm", ["never", "always"])
@pytest.mark.parametrize("why", ["cancelled", "out of time"])
@pytest.mark.parametrize("kind", ["stubborn", "plain"])
async def test_b02_nothing_runs_after_a_task_was_stopped_in_its_model_s_call(
    bank: Bank, kind: str, why: str, confirm: str
) -> None:
    """There: the tool runs, and nobody was asked."""
    model = Model()
    agent: Agent = model.stubborn if kind == "stubborn" else model.plain
    policies = {"bank/pay": Policy.model_validate({"confirm": confirm})}
    async with banking(agent, bank, policies, cancel_wait_s=0.0) as faces:
        ada = LegacyPeer(faces)
        task = await ada.send("go", blocking=False)
        await until(lambda: model.thinking == 1)
        assert len(agent_threads()) == (kind == "plain")
        if why == "cancelled":
            await ada.cancel(task["id"])
        else:
            await faces.world.elapse(31.0)
        model.answered.set()
        await until(lambda: bool(model.came) and agent_threads() == [])
        await pause()
        ended = await ada.get(task["id"])
        assert state_of(ended) == ("canceled" if why == "cancelled" else "failed")
        assert asks_of(ended) == []
    assert bank.paid == []
    assert model.came[-1] != "told to stop", "the agent never came to the tool"


async def batch(task: TaskContext) -> JsonObject:
    """Two calls of one tool in one message of a model."""
    calls = [ToolCall("pay", {"euro": euro}) for euro in (5, 5_000_000)]
    came = await task.call_tools(calls)
    return {
        str(n): one.text if isinstance(one, ToolResult) else one.code for n, one in enumerate(came)
    }


@pytest.mark.parametrize("allowed", [0, 1])
async def test_b03_two_calls_of_one_tool_are_asked_each_on_its_own(
    bank: Bank, allowed: int
) -> None:
    """There: a person is shown 5 twice, and 5,000,000 runs.  Source: R-A2A-23."""
    policies = {"bank/pay": Policy(confirm="always", on_deny="tell_agent")}
    async with banking(batch, bank, policies) as faces:
        ada = LegacyPeer(faces)
        task = await ada.send("go")
        await pause()
        asks = asks_of(await ada.get(task["id"]))
        assert [ask["arguments"] for ask in asks] == [{"euro": 5}, {"euro": 5_000_000}]
        assert len({ask["digest"] for ask in asks}) == 2
        # The one's leave is none for the other.
        crossed = {**decision(asks[0]), "ask": asks[1]["ask"]}
        await ada.refusal(crossed, task=task["id"])
        # Nor is a stranger's.
        stranger = await LegacyPeer(faces, "bob").sent(decision(asks[0]), task=task["id"])
        assert error_of(stranger)["code"] == -32001
        assert bank.paid == []
        task = await ada.send(decision(asks[allowed]), task=task["id"])
        task = await ada.send(decision(asks[1 - allowed], "deny"), task=task["id"])
        amount = (5, 5_000_000)[allowed]
        assert bank.paid == [{"euro": amount}]
        assert result_of(task) == [{str(allowed): str(amount), str(1 - allowed): "denied"}]


async def test_b03_an_edit_of_the_one_call_is_none_of_the_other(bank: Bank) -> None:
    """There: the second question shows the first call as edited, and runs with its own."""
    policies = {"bank/pay": Policy(confirm="always", allow_edit=True, on_deny="tell_agent")}
    async with banking(batch, bank, policies) as faces:
        ada = LegacyPeer(faces)
        task = await ada.send("go")
        await pause()
        first, second = asks_of(await ada.get(task["id"]))
        edited = decision(first, arguments={"euro": 3})
        task = await ada.send(edited, task=task["id"])
        (still,) = asks_of(task)
        assert (still["arguments"], still["digest"]) == ({"euro": 5_000_000}, second["digest"])
        done = await ada.send(decision(still), task=task["id"])
        assert state_of(done) == "completed"
    assert sorted(str(paid["euro"]) for paid in bank.paid) == ["3", "5000000"]


async def test_b12_a_source_that_is_silent_keeps_nobody_else_waiting(bank: Bank) -> None:
    """There: one task froze the whole server for 30 s and more, its health check too."""

    async def agent(task: TaskContext) -> str:
        tool = "hang" if task.input.text == "hang" else "pay"
        return (await task.call_tool(tool, {} if tool == "hang" else {"euro": 5})).text

    async with banking(agent, bank, {"hang": Policy(timeout_s=10.0)}) as faces:
        ada = LegacyPeer(faces)
        stuck = await ada.send("hang", blocking=False)
        await until(lambda: bank.hanging == 1)
        assert result_of(await ada.send("pay")) == ["5"]
        card = await soon(faces.http.get("/.well-known/agent-card.json"))
        assert card.status_code == 200
        assert state_of(await ada.get(stuck["id"])) == "working"
        await faces.world.elapse(11.0)
        ended = await ada.get(stuck["id"])
        assert (state_of(ended), bank.hanging) == ("failed", 0)


async def test_b12_a_source_that_is_down_is_named_when_the_engine_starts(bank: Bank) -> None:
    """There: 123 s of a server that answers nobody, at the first task."""
    bank.refuses = True
    engine = Engine(batch, tools=Toolbox([bank]), store=MemoryStore())
    with pytest.raises(SourceUnavailable, match="'bank' is not available: connection refused"):
        await soon(engine.start())
    bank.refuses = False
    async with engine:
        assert engine.tools.find("pay").qualified == "bank/pay"


@asynccontextmanager
async def server_that_is(how: str) -> AsyncGenerator[str]:
    """The URL of an MCP server that refuses every connection, or takes it and says nothing."""
    over = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    if how == "refusing":
        listening.close()
    yield f"http://127.0.0.1:{port}/mcp"
    over.set()
    listening.close()


async def ticking(clock: ManualClock) -> None:
    """Let time go on until this is cancelled."""
    while True:
        await pause()
        clock.advance(1.0)


@pytest.mark.parametrize("how", ["refusing", "silent"])
async def test_b12_an_mcp_server_that_is_down_keeps_nobody_waiting(bank: Bank, how: str) -> None:
    """A real connection that never comes to anything, while the service has other work."""

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("pay", {"euro": 5})).text

    clock = ManualClock()
    limits = McpLimits(attempts=1, connect_s=20.0)
    async with server_that_is(how) as url, asyncio.TaskGroup() as beside:
        far = McpServer("far", url=url, optional=True, limits=limits, clock=clock)
        time_goes_on = beside.create_task(ticking(clock))
        async with faced(agent, tools=Toolbox([bank, far])) as faces:
            ada = LegacyPeer(faces)
            assert result_of(await ada.send("go")) == ["5"]
            card = await soon(faces.http.get("/.well-known/agent-card.json"))
            assert card.status_code == 200
            assert [tool.source for tool in faces.world.engine.tools.tools] == ["bank"] * 3
        time_goes_on.cancel()


class Formats:
    """A plugin that cannot do the one thing it is for."""

    name: Final = "formats"

    def format_result(self, value: object) -> object:
        """See the list of hooks."""
        raise ValueError(f"secret {value}")


async def test_b13_a_plugin_that_cannot_format_a_result_fails_the_task_and_no_more() -> None:
    """There: the thread, the agent and the task stay for ever."""
    tools = Toolbox(plugins=[Formats()])

    def agent(task: SyncTaskContext) -> object:
        return tools.format_result(task.input.text)

    async with faced(agent, tools=tools) as faces:
        ada = LegacyPeer(faces)
        for _ in range(5):
            ended = await ada.send("done")
            assert state_of(ended) == "failed"
            assert "secret" not in str(texts_of(ended))
            assert await ada.get(ended["id"]) == ended
        await until(lambda: agent_threads() == [])
        await pause()
        held = faces.world.engine.statistics()
        assert (held.live, held.running, held.queued) == (0, 0, 0)


async def test_b15_policies_are_changed_by_the_service_alone_and_not_for_tools_unknown(
    bank: Bank,
) -> None:
    """There: a PUT without authentication switches a confirmation off, also of a wrong name.

    There is no management over HTTP here (specs/decisions/0009): who may call what is decided
    in the process, and each change has a number that is written down with every call.
    """
    async with banking(batch, bank, {"bank/pay": Policy(confirm="always")}) as faces:
        policies = faces.world.engine.tools.policies
        for path in ("/management/mcps/bank/tools/pay/policy", "/management/config"):
            for method in ("GET", "PUT"):
                answer = await soon(faces.http.request(method, path, json={}))
                assert answer.status_code == 404
        with pytest.raises(UnknownTool, match="no tool 'bank/pey'"):
            policies.set("bank/pey", Policy())
        assert (policies.version, dict(policies.rules)) == (
            1,
            {"bank/pay": Policy(confirm="always")},
        )
        assert policies.set("bank/pay", Policy(confirm="never")) == 2
        done = await LegacyPeer(faces).send("go")
        assert state_of(done) == "completed"
        log = faces.world.store._tasks[done["id"]].events
        assert [e.data["policy"]["version"] for e in log if "policy" in e.data] == [2, 2]


CREDENTIAL: Final = "Bearer canary-1f9c"


async def test_b16_a_header_that_is_to_be_carried_is_carried_whatever_its_name(
    bank: Bank,
) -> None:
    """There: all but three fixed names are dropped without a word, and later ones too."""

    async def agent(task: TaskContext) -> str:
        await task.call_tool("pay", {"euro": 1})
        await task.ask("Go on?")
        await task.call_tool("pay", {"euro": 2})
        return "paid"

    carry = ("authorization", "x-custom")
    async with banking(agent, bank, carry_headers=carry) as faces:
        ada = LegacyPeer(faces, authorization=CREDENTIAL, x_custom="7", x_other="no")
        task = await ada.send("go")
        renewed = {"authorization": "Bearer renewed"}
        done = await ada.send("yes", task=task["id"], headers=renewed)
        assert result_of(done) == ["paid"]
        assert bank.carried == [
            {"authorization": CREDENTIAL, "x-custom": "7"},
            {"authorization": "Bearer renewed", "x-custom": "7"},
        ]
        assert "canary" not in str(done)


@pytest.mark.parametrize("answer", ["Oslo", {"city": "Oslo"}])
async def test_b18_a_text_fills_the_one_input_that_has_no_default(
    bank: Bank, answer: object
) -> None:
    """There: it is asked for again without end, and defaults count only beside an answer."""

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("book", {})).text

    wanted = (RequiredInput(name="city"), RequiredInput(name="seat", default="aisle"))
    async with banking(agent, bank, {"book": Policy(required_inputs=wanted)}) as faces:
        ada = LegacyPeer(faces)
        task = await ada.send("go")
        (ask,) = asks_of(task)
        assert ask["schema"]["required"] == ["city"]
        assert set(ask["schema"]["properties"]) == {"city", "seat"}
        assert result_of(await ada.send(answer, task=task["id"])) == ["Oslo aisle"]
    assert bank.paid == [{"city": "Oslo", "seat": "aisle"}]
