"""A tool runs once, for so long, and whatever it does or gives is told to the agent."""

import asyncio
import base64
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gates import AMOUNT, PAY, Bank, asked, calling, calling_on_a_thread, one_by_one, pay, told
from interlock import (
    Answer,
    JsonObject,
    JsonValue,
    Limits,
    Part,
    Phase,
    Policies,
    Policy,
    SyncTaskContext,
    TaskContext,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
    Trigger,
)
from interlock._agent import Agent
from interlock.errors import CallFailed, InvalidInput, Refused, ToolError
from support import OWNER, FlakyStore, Gate, World, opened, pause, soon, until

KINDS: list[Any] = [
    pytest.param(calling, id="coroutine"),
    pytest.param(calling_on_a_thread, id="thread"),
]


def named(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a tool of that name."""
    fn.__name__ = name
    return fn


async def said_of(agent: Agent, box: Toolbox) -> Any:  # noqa: ANN401
    """What the agent was told of its one call."""
    async with opened(agent, tools=box) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        return said[0]


# --- what tools raise ---------------------------------------------------------------------

RAISED: list[tuple[BaseException, bool, str]] = [
    (OSError("a secret"), False, "CallFailed: pay raised OSError"),
    (OSError("no secret"), True, "CallFailed: pay raised ToolError: OSError: no secret"),
    (ToolError("no such account"), False, "CallFailed: pay raised ToolError: no such account"),
    (SystemExit(1), False, "CallFailed: pay raised ToolError: it raised SystemExit"),
    (KeyboardInterrupt(), False, "CallFailed: pay raised ToolError: it raised KeyboardInterrupt"),
    (GeneratorExit(), True, "CallFailed: pay raised ToolError: it raised GeneratorExit"),
    (asyncio.CancelledError(), False, "CallFailed: pay raised ToolError: it was cancelled"),
    (StopIteration("a secret"), False, "CallFailed: pay raised RuntimeError"),
]


@pytest.mark.parametrize(("error", "shown", "said"), RAISED)
@pytest.mark.parametrize("where", ["coroutine", "thread"])
async def test_whatever_a_tool_raises_is_told_to_the_agent(
    error: BaseException,
    shown: bool,  # noqa: FBT001
    said: str,
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And ends neither the process nor the task; its traceback is in the log.

    Source: issue 4, bad input, R-ENG-18.
    """

    async def on_the_loop(amount: int) -> str:
        assert amount
        raise error

    def on_a_thread(amount: int) -> str:
        assert amount
        raise error

    fn = named("pay", on_the_loop if where == "coroutine" else on_a_thread)
    box = Toolbox([fn], policies=Policies({"pay": Policy(show_errors=shown)}))
    got = await said_of(calling(pay(5)), box)
    if isinstance(error, StopIteration) and shown is False:
        assert got.startswith("CallFailed: pay raised RuntimeError")
    else:
        assert got == said
    assert "a secret" not in got
    on_purpose = isinstance(error, ToolError | asyncio.CancelledError)
    assert len([r for r in caplog.records if r.exc_info]) == (0 if on_purpose else 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_tool_says_of_its_own_failure_is_a_result(kind: Any) -> None:  # noqa: ANN401
    """It is told, not raised.  Source: issue 4, build 3."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return ToolResult(parts=(Part(text="no such account"),), is_error=True)

    said = await said_of(kind(pay(5)), Toolbox([Bank(does=does)]))
    assert said == {"error": "no such account"}


@pytest.mark.parametrize("given", [None, "text", 5, {"parts": []}])
async def test_a_source_that_gives_no_result_has_failed(given: Any) -> None:  # noqa: ANN401
    """Source: issue 4, bad input."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return given  # type: ignore[no-any-return]

    said = await said_of(calling(pay(5)), Toolbox([Bank(does=does)]))
    assert "which is no result" in said


# --- time ---------------------------------------------------------------------------------


async def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    """The agent is told which limit it was, and may go on.

    Source: issue 4, bad input, R-GATE-08.
    """
    seen: list[str] = []

    async def does(arguments: JsonObject, _use: ToolUse) -> ToolResult:
        if arguments["amount"] == 5:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        return ToolResult(structured="ok")

    bank = Bank(does=does)
    box = Toolbox([bank], policies=Policies({"pay": Policy(timeout_s=10.0)}))
    async with opened(one_by_one(pay(5), pay(6)), tools=box) as world:
        handle = await world.submit()
        await until(lambda: bool(bank.ran))
        await world.elapse(9.9)
        assert seen == []
        await world.elapse(0.1)
        late, other = _list(await soon(handle.result()))
        assert "ToolTimedOut: no answer within 10 s" in late
        assert other == "ok"
        assert seen == ["cancelled"]


def _list(said: Any) -> list[Any]:  # noqa: ANN401
    assert isinstance(said, list)
    return [*said]


async def test_what_a_thread_gives_too_late_is_nobodys() -> None:
    """It cannot be cut short; its result is ignored.  Source: issue 4, bad input, R-GATE-08."""
    go_on, ended = threading.Event(), threading.Event()

    def work() -> str:
        """Work."""
        assert go_on.wait(5.0)
        ended.set()
        return "late"

    async with opened(calling(ToolCall("work")), tools=Toolbox([work])) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).calls != ())
        await pause()
        await world.elapse(300.0)
        (said,) = _list(await soon(handle.result()))
        assert "ToolTimedOut" in said
        go_on.set()
        await until(ended.is_set)
        await pause()
        assert [e.trigger for e in world.log(handle)].count(Trigger.CALLED) == 1


async def test_a_tool_without_a_limit_has_all_the_time_of_its_task() -> None:
    """None is no limit.  Source: issue 4, build 2."""
    go_on = asyncio.Event()

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        await go_on.wait()
        return ToolResult(structured="ok")

    box = Toolbox([Bank(does=does)], policies=Policies({"pay": Policy(timeout_s=None)}))
    async with opened(calling(pay(5)), tools=box, limits=Limits(run_s=None)) as world:
        handle = await world.submit()
        await pause()
        await world.elapse(5_000.0)
        go_on.set()
        assert await soon(handle.result()) == ["ok"]


# --- people, while the call is open -------------------------------------------------------


async def pin(arguments: JsonObject, use: ToolUse) -> ToolResult:
    """A tool that asks for a PIN."""
    form: JsonObject = {"type": "string", "pattern": "^[0-9]{4}$"}
    given = await use.ask("pin", "the PIN?", form)
    return ToolResult(structured=[arguments["amount"], given])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_time_of_people_does_not_count_for_a_tool(kind: Any) -> None:  # noqa: ANN401
    """The call stays open meanwhile, and its task is not parked.  Source: API4."""
    box = Toolbox([Bank(does=pin)], policies=Policies({"pay": Policy(timeout_s=10.0)}))
    async with opened(kind(pay(5)), tools=box, limits=Limits(park_after_s=0.0)) as world:
        handle, ask = await world.asking()
        assert (ask.key, ask.prompt) == ("pay-1:live-1-1:pin", "the PIN?")
        await world.elapse(1_000.0)
        assert world.engine.statistics().live == 1
        await handle.answer(ask.key, "1234")
        assert await soon(handle.result()) == [[5, "1234"]]


async def test_a_live_ask_beside_other_asks_is_answered_on_its_own() -> None:
    """In whatever order the answers come.  Source: issue 4, build 1."""
    box = Toolbox([Bank(does=pin)], policies=Policies({"pay": Policy(timeout_s=10.0)}))
    async with opened(calling(pay(5), pay(6)), tools=box) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        await handle.answer(second.key, "2222")
        await world.elapse(100.0)
        await handle.answer(first.key, "1111")
        assert await soon(handle.result()) == [[5, "1111"], [6, "2222"]]


async def test_a_live_ask_is_for_whom_the_policy_names_and_as_long_as_it_says() -> None:
    """Nobody in time is a no, which the tool is told.  Source: issue 4, build 2."""
    policy = Policy(approvers=("boss",), expires_s=60.0, on_deny="tell_agent")
    box = Toolbox([Bank(does=pin)], policies=Policies({"pay": policy}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        assert (ask.approvers, ask.due) == (("boss",), world.clock.now() + 60.0)
        with pytest.raises(Refused):
            await handle.answer(ask.key, "1234")
        await world.elapse(60.0)
        (said,) = _list(await soon(handle.result()))
        assert said.startswith("CallFailed: pay raised Denied")


async def test_a_form_that_cannot_be_checked_is_no_live_ask() -> None:
    """The tool is told.  Source: issue 4, bad input."""

    async def does(_arguments: JsonObject, use: ToolUse) -> ToolResult:
        with pytest.raises(InvalidInput):
            await use.ask("q", "?", {"$ref": "#/nowhere"})
        return ToolResult(structured="ok")

    assert await said_of(calling(pay(5)), Toolbox([Bank(does=does)])) == "ok"


async def test_a_tool_says_how_far_it_is() -> None:
    """As the agent itself would.  Source: API4, ToolUse."""

    async def does(_arguments: JsonObject, use: ToolUse) -> ToolResult:
        await use.progress("half way", 0.5)
        return ToolResult(structured=[use.task_id, use.owner, use.token])

    async with opened(calling(pay(5)), tools=Toolbox([Bank(does=does)])) as world:
        handle = await world.submit()
        result = await soon(handle.result())
        assert result == [[handle.task_id, OWNER, f"{handle.task_id}/pay-1"]]
        (said,) = [e.data for e in world.log(handle) if e.trigger is Trigger.PROGRESS]
        assert (said["message"], said["fraction"], said["within"]) == ("half way", 0.5, "pay-1")


# --- stops --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancel_reaches_the_tool(kind: Any) -> None:  # noqa: ANN401
    """And `cancelled` comes when it has ended.  Source: issue 4, build 3."""
    seen: list[str] = []
    clean = asyncio.Event()

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("told")
            await clean.wait()
            seen.append("clean")
        return ToolResult()

    bank = Bank(does=does)
    async with opened(kind(pay(5)), tools=Toolbox([bank])) as world:
        handle = await world.submit()
        await until(lambda: bool(bank.ran))
        await handle.cancel()
        await until(lambda: seen == ["told"])
        await pause()
        assert world.stored(handle).shown is Phase.CANCELLING
        clean.set()
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        assert seen == ["told", "clean"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_function_on_a_thread_is_waited_for_and_written_down(kind: Any) -> None:  # noqa: ANN401
    """It may have done something.  Source: API4, ToolUse."""
    go_on, begun = threading.Event(), threading.Event()

    def work() -> str:
        """Work."""
        begun.set()
        assert go_on.wait(5.0)
        return "done all the same"

    async with opened(kind(ToolCall("work")), tools=Toolbox([work])) as world:
        handle = await world.submit()
        await until(begun.is_set)
        await handle.cancel()
        await pause()
        assert world.stored(handle).shown is Phase.CANCELLING
        go_on.set()
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        (ended,) = [e.data for e in world.log(handle) if e.trigger is Trigger.CALLED]
        assert ended["value"] == {"result": {"parts": [{"text": "done all the same"}]}}


async def test_a_tool_that_is_stopped_while_it_asks_is_told() -> None:
    """The ask is closed with the task.  Source: DESIGN 2."""
    seen: list[str] = []

    async def does(arguments: JsonObject, use: ToolUse) -> ToolResult:
        try:
            return await pin(arguments, use)
        finally:
            seen.append("told")

    async with opened(calling(pay(5)), tools=Toolbox([Bank(does=does)])) as world:
        handle, _ = await world.asking()
        await handle.cancel()
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        assert seen == ["told"]


# --- results ------------------------------------------------------------------------------

SMALL = Limits(payload_bytes_max=100_000)


async def shown(result: ToolResult, **settings: Any) -> tuple[Any, list[JsonObject], World]:  # noqa: ANN401
    """What the agent gets of a result, and the artifacts."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return result

    got: list[ToolResult] = []

    async def agent(task: TaskContext) -> str:
        got.append(await task.call_tool("pay", {"amount": 5}))
        return "done"

    box = Toolbox([Bank(does=does)], **settings)
    async with opened(agent, tools=box, limits=SMALL) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "done"
        log = world.log(handle)
    return got[0], [e.data["artifact"] for e in log if e.trigger is Trigger.EMIT], world


async def test_a_large_text_is_shown_as_an_artifact_and_its_beginning_told() -> None:
    """A model's window is small.  Source: issue 4, build 3, R-GATE-09."""
    got, (artifact,), _ = await shown(ToolResult(parts=(Part(text="x" * 80_000),)))
    assert got.text.startswith("[text: shown to the user as artifact pay-1/1]\nIt begins:\nxxx")
    assert len(got.text) < 2_000
    assert artifact["artifact_id"] == "pay-1/1"
    assert artifact["parts"] == [{"text": "x" * 80_000}]


async def test_the_bound_is_that_of_the_toolbox_in_bytes() -> None:
    """Of JSON, however many each character has.  Source: API4, Toolbox."""
    got, artifacts, _ = await shown(
        ToolResult(parts=(Part(text="é" * 20), Part(text="e" * 20))), result_bytes_max=30
    )
    assert [artifact["artifact_id"] for artifact in artifacts] == ["pay-1/1"]
    assert got.parts[1] == Part(text="e" * 20)


async def test_what_is_binary_is_shown_and_never_told() -> None:
    """With its kind.  Source: issue 4, build 3."""
    raw = base64.b64encode(b"\x89PNG").decode()
    parts = (Part(text="a picture"), Part(raw=raw, media_type="image/png"))
    got, (artifact,), _ = await shown(ToolResult(parts=parts))
    assert got.text == "a picture\n[image/png: shown to the user as artifact pay-1/2]"
    assert artifact["parts"] == [{"raw": raw, "media_type": "image/png"}]


async def test_a_large_value_is_shown_as_an_artifact() -> None:
    """The agent gets a note instead of it.  Source: issue 4, build 3."""
    value: JsonValue = ["x" * 80_000]
    got, (artifact,), _ = await shown(ToolResult(structured=value))
    assert "structured" not in got.model_fields_set
    assert got.value == "[data: shown to the user as artifact pay-1/data]"
    assert artifact["parts"] == [{"data": value}]


@pytest.mark.parametrize(
    "result",
    [
        ToolResult(parts=(Part(text="x" * 50_000_000),)),
        ToolResult(parts=(Part(raw="QUJD" * 12_500_000),)),
        ToolResult(structured="x" * 50_000_000),
        ToolResult(parts=(Part(data="x" * 50_000_000),)),
    ],
    ids=["text", "raw", "structured", "data"],
)
async def test_fifty_megabytes_are_lost_and_said_to_be(result: ToolResult) -> None:
    """The call was made, and is not made again.  Source: issue 4, bad input."""
    got, artifacts, _ = await shown(result)
    assert "it is lost" in got.text
    assert len(got.text) < 2_000
    assert artifacts == []


async def test_many_small_parts_that_are_too_much_together_are_an_error() -> None:
    """The log has a bound.  Source: ours."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return ToolResult(parts=(Part(text="x" * 10_000),) * 20)

    bank = Bank(does=does)
    async with opened(calling(pay(5)), tools=Toolbox([bank]), limits=SMALL) as world:
        handle = await world.submit()
        (said,) = _list(await soon(handle.result()))
        assert said.startswith("CallFailed: pay raised ResultInvalid")
        assert len(bank.ran) == 1


def _set() -> Any:  # noqa: ANN401  the fault
    return {1, 2}


def _object() -> Any:  # noqa: ANN401  the fault
    return object()


@pytest.mark.parametrize("fn", [_set, _object])
async def test_what_is_no_json_is_told_by_its_type(fn: Callable[..., Any]) -> None:
    """Its own words may hold a secret.  Source: issue 4, bad input, R-GATE-09."""
    said = await said_of(calling(ToolCall("pay")), Toolbox([named("pay", fn)]))
    assert "which is no JSON" in said


def _deep() -> Any:  # noqa: ANN401  the fault
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    return deep


def _nan() -> float:
    return float("nan")


@pytest.mark.parametrize("fn", [_nan, _deep])
async def test_nan_and_depth_are_no_results(fn: Callable[..., Any]) -> None:
    """They could not be kept; the agent is told something else.  Source: issue 4, bad input."""
    said = await said_of(calling(ToolCall("pay")), Toolbox([named("pay", fn)]))
    assert isinstance(said, str)
    assert len(said) < 2_000


@pytest.mark.parametrize(
    ("result", "fits"),
    [
        (ToolResult(structured={"amount": 5}), True),
        (ToolResult(structured={"amount": "5"}), False),
        (ToolResult(parts=(Part(text="5"),)), False),
        (ToolResult(parts=(Part(text="no"),), is_error=True), True),
    ],
)
async def test_a_tool_that_lies_about_its_results(result: ToolResult, fits: bool) -> None:  # noqa: FBT001
    """The agent is told that it was called.  Source: issue 4, bad input, R-GATE-09."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return result

    tool = PAY.model_copy(update={"output_schema": AMOUNT})
    said = await said_of(calling(pay(5)), Toolbox([Bank(tool, does=does)]))
    assert (isinstance(said, str) and "it was called" in said) is not fits


async def test_a_claim_that_cannot_be_checked_is_none() -> None:
    """Nothing depends on it.  Source: ours."""
    tool = Tool(name="pay", source="bank", input_schema=AMOUNT, output_schema={"$ref": "#/nowhere"})
    assert await said_of(calling(pay(5)), Toolbox([Bank(tool)])) == {"ran": {"amount": 5}}


# --- what requests carry ------------------------------------------------------------------

SECRET = "Bearer s3cr3t"  # noqa: S105


async def test_what_requests_carry_reaches_tools_and_nothing_else() -> None:
    """Merged by the answers, never stored, gone with the task.  Source: API4, R-GATE-14."""
    saw: list[dict[str, str]] = []

    async def does(_arguments: JsonObject, use: ToolUse) -> ToolResult:
        saw.append(dict(use.carried))
        await use.ask("q", "go on?", {"type": "string"})
        saw.append(dict(use.carried))
        return ToolResult()

    async with opened(calling(pay(5)), tools=Toolbox([Bank(does=does)])) as world:
        carried = {"Authorization": SECRET}
        handle = await world.engine.submit("go", owner=OWNER, carried=carried)
        (ask,) = await asked(world, handle)
        carried["Authorization"] = "changed"
        answer = Answer(ask=ask.key, value="yes")
        await world.engine.answer(handle.task_id, answer, owner=OWNER, carried={"X-Trace": "1"})
        await soon(handle.over())
        assert saw == [
            {"authorization": SECRET},
            {"authorization": SECRET, "x-trace": "1"},
        ]
        kept = f"{world.log(handle)} {world.stored(handle)!r} {world.engine!r} {handle!r}"
        assert SECRET not in kept
        runtime = world.engine._runtime
        assert runtime is not None
        assert runtime._carried == {}


async def test_what_a_request_carried_is_gone_after_a_restart() -> None:
    """It was in memory alone.  Source: API4, R-GATE-14."""
    saw: list[dict[str, str]] = []

    async def does(_arguments: JsonObject, use: ToolUse) -> ToolResult:
        saw.append(dict(use.carried))
        return ToolResult()

    box = Toolbox([Bank(does=does)], policies=Policies({"pay": Policy(confirm="always")}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle = await world.engine.submit("go", owner=OWNER, carried={"a": SECRET})
        (ask,) = await asked(world, handle)
        store, clock = world.crash(), world.clock
    async with opened(calling(pay(5)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        assert ask.digest is not None
        await after.approve(ask.key, digest=ask.digest)
        await soon(after.over())
        assert saw == [{}]


@pytest.mark.parametrize(
    "carried", [{"a": 1}, {1: "a"}, "a", [("a", "b", "c")], {"a": "x" * 20_000}]
)
async def test_what_is_not_carried_is_refused_without_being_quoted(carried: Any) -> None:  # noqa: ANN401
    """It may be a secret.  Source: API4."""
    async with opened(calling(), tools=Toolbox([])) as world:
        with pytest.raises(InvalidInput) as caught:
            await world.engine.submit("go", owner=OWNER, carried=carried)
        assert "xxx" not in str(caught.value)


async def test_a_failed_call_raises_for_a_plain_function_too() -> None:
    """With the same words.  Source: API4."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        raise ToolError("closed")

    def agent(task: SyncTaskContext) -> str:
        assert [tool.qualified for tool in task.tools] == ["bank/pay"]
        with pytest.raises(CallFailed, match="closed"):
            task.call_tool("pay", {"amount": 5})
        return str(told(task.call_tools([pay(6)])[0]))

    async with opened(agent, tools=Toolbox([Bank(does=does)])) as world:
        handle = await world.submit()
        assert "closed" in str(await soon(handle.result()))


async def test_an_agent_has_a_result_while_it_is_written_down_and_reports_nothing_before() -> None:
    """Whatever it does with the result through its task is in the log after it.  Source: I15."""
    store, had = FlakyStore(), asyncio.Event()
    gates: list[Gate] = []

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        gates.append(store.hold("commit"))  # The next one: what the call came to.
        return ToolResult(structured="paid")

    async def agent(task: TaskContext) -> None:
        await task.call_tool("pay", {"amount": 5})
        had.set()
        await task.progress("paid")

    async with opened(agent, tools=Toolbox([Bank(does=does)]), store=store) as world:
        handle = await world.submit()
        await soon(had.wait())
        await pause(50)
        assert world.log(handle)[-1].trigger is Trigger.CALL
        gates[0].open()
        await soon(handle.over())
        said = [event.trigger for event in world.log(handle)]
    assert said[2:5] == [Trigger.CALL, Trigger.CALLED, Trigger.PROGRESS]


async def test_a_turn_is_over_only_when_what_its_last_call_came_to_is_durable() -> None:
    """An agent that ends at once ends after it.  Source: I15."""
    store = FlakyStore()
    gates: list[Gate] = []

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        gates.append(store.hold("commit"))
        return ToolResult()

    async with opened(calling(pay(5)), tools=Toolbox([Bank(does=does)]), store=store) as world:
        handle = await world.submit()
        await until(lambda: bool(gates))
        await pause(50)
        assert world.log(handle)[-1].trigger is Trigger.CALL
        gates[0].open()
        await soon(handle.result())
        said = [event.trigger for event in world.log(handle)]
    assert said[2:5] == [Trigger.CALL, Trigger.CALLED, Trigger.COMPLETE]
