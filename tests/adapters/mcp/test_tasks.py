"""The Tasks extension (SEP-2663): a call becomes a task, that is looked at and answered."""

import asyncio

import mcp_types as wire
import pytest
from mcp import MCPError
from pydantic import BaseModel, field_validator

from interlock import Answer, Limits, Phase, Retention, TaskContext
from interlock_adapters.mcp import McpFault
from interlock_adapters.mcp_tools._task import Created, Detailed
from mcp_face import DECLINE, DISMISS, accept, raw, scene, text, tool
from support import FlakyStore, pause, soon, until

GO = {"message": "go"}


class City(BaseModel):
    """Where to go."""

    city: str


async def travels(task: TaskContext) -> str:
    """Ask two things at once."""
    one, two = await asyncio.gather(
        task.ask("Where from?", City, key="from"), task.ask("Where to?", City, key="to")
    )
    return f"{one.city} to {two.city}"


async def waits(_task: TaskContext) -> None:
    """Work for ever."""
    await asyncio.Event().wait()


async def test_the_handle_is_durable_and_says_no_more_than_it_may() -> None:
    """Flat, and without result, error, questions or state.  Source: R-MCP-02."""
    async with scene(waits) as here, here.host(tasks=True) as host:
        result = await host.call("agent", GO)
        assert isinstance(result, Created)
        record = await here.store.get(result.task_id)
    assert record is not None
    shown = result.model_dump(by_alias=True, exclude_none=True)
    assert shown["status"] == "working"
    assert {"taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"} <= set(
        shown
    )
    assert not {"result", "error", "inputRequests", "requestState"} & set(shown)


async def test_a_task_that_completes_has_what_its_caller_would_have_got() -> None:
    """`tasks/get` gives exactly the result of the call."""

    async def adds(_task: TaskContext) -> object:
        return {"sum": 3}

    async with scene(adds) as here, here.host(tasks=True) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.over(task_id, owner=None))
        detailed = await host.get(task_id)
        async with here.host() as waiting:
            result = await waiting.result("agent", GO)
    assert detailed.status == "completed"
    expected = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    del expected["_meta"]  # Which server it was, put on every answer by the SDK.
    assert detailed.result == expected


async def test_questions_are_answered_one_by_one_and_the_rest_stays() -> None:
    """Partial answers; the acknowledgement comes when they are durable.  Source: R-MCP-02."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        asked = await host.get(task_id)
        await host.update(task_id, {"from": raw(accept(city="Rome"))})
        rest = await host.get(task_id)
        await host.update(task_id, {"to": raw(accept(city="Oslo"))})
        await soon(here.engine.over(task_id, owner=None))
        done = await host.get(task_id)
    assert (asked.status, set(asked.input_requests or {})) == ("input_required", {"from", "to"})
    assert (rest.status, set(rest.input_requests or {})) == ("input_required", {"to"})
    assert done.result is not None
    assert text(wire.CallToolResult.model_validate(done.result)) == "Rome to Oslo"


async def test_an_answer_that_does_not_fit_is_refused_and_none_of_its_request_is_taken() -> None:
    """Whatever the rest of it is worth."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        before = await soon(here.asking(task_id, 2))
        for wrong in (accept(city=7), accept(), accept(city="Oslo", more=1)):
            with pytest.raises(MCPError, match="to: ") as caught:
                await host.update(task_id, {"from": raw(accept(city="Rome")), "to": raw(wrong)})
            assert caught.value.code == wire.INVALID_PARAMS
        with pytest.raises(MCPError, match="elicitation"):
            await host.update(task_id, {"to": {"city": "Oslo"}})
        after = await here.record(task_id)
    assert after.seq == before.seq


async def test_an_answer_that_is_too_large_is_refused_and_none_of_its_request_is_taken() -> None:
    """However well it fits otherwise."""
    limits = Limits(payload_bytes_max=2_000)
    async with (
        scene(travels, limits=limits) as here,
        here.host(tasks=True, answers=()) as host,
    ):
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        said = {"from": raw(accept(city="Rome")), "to": raw(accept(city="x" * 2_000))}
        with pytest.raises(MCPError, match="to: the answer"):
            await host.update(task_id, said)
        assert len((await here.record(task_id)).asks) == 2


async def test_what_is_not_asked_or_no_longer_is_left_alone_and_told() -> None:
    """The acknowledgement says why."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        answer = Answer(ask="from", value={"city": "Kyiv"})
        await here.engine.answer(task_id, answer, owner=here.owner)
        ack = await host.update(
            task_id, {"from": raw(accept(city="Rome")), "nonsense": {"ignored": True}}
        )
        view = await here.engine.view(task_id, owner=None)
    assert ack.meta is not None
    assert ack.meta["interlock/ignored"] == {"from": "already answered", "nonsense": "not asked"}
    answers = [e.data["value"] for e in view.events if e.trigger == "provide_input"]
    assert answers == [{"city": "Kyiv"}]


@pytest.mark.parametrize("said", [DECLINE, DISMISS])
async def test_who_will_not_answer_stops_the_task(said: wire.ElicitResult) -> None:
    """`cancelled`, by another trigger each."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        await host.update(task_id, {"from": raw(said)})
        view = await soon(here.engine.over(task_id, owner=None))
        detailed = await host.get(task_id)
    assert detailed.status == "cancelled"
    expected = "decline" if said is DECLINE else "cancel"
    assert any(event.trigger == expected for event in view.events)


async def test_to_cancel_is_acknowledged_and_tells_the_truth_meanwhile() -> None:
    """`working` until the turn has ended, then `cancelled`; once more is no error.

    Source: R-MCP-02.
    """
    begun, ending, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(_task: TaskContext) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()

    async with scene(stubborn) as here, here.host(tasks=True) as host:
        task_id = await host.created("agent", GO)
        await soon(begun.wait())
        ack = await host.cancel(task_id)
        await soon(ending.wait())
        meanwhile = await host.get(task_id)
        end.set()
        await soon(here.engine.over(task_id, owner=None))
        done = await host.get(task_id)
        again = await host.cancel(task_id)
    for one in (ack, again):
        shown = one.model_dump(by_alias=True, exclude_none=True)
        assert not {"taskId", "status", "result"} & set(shown)
    assert meanwhile.status == "working"
    assert meanwhile.status_message is not None
    assert "cancelled" in meanwhile.status_message
    assert done.status == "cancelled"


async def test_a_failure_is_completed_with_an_error_and_a_fault_is_failed() -> None:
    """SEP-2663: `failed` is for errors of JSON-RPC."""

    async def fails(_task: TaskContext) -> None:
        raise RuntimeError("no")

    async def faulty(_task: TaskContext) -> None:
        raise McpFault(-32002, "there is no such flight")

    async with scene({"fails": fails, "faulty": faulty}) as here, here.host(tasks=True) as host:
        shown: list[Detailed] = []
        for name in ("fails", "faulty"):
            task_id = await host.created(name, GO)
            await soon(here.engine.over(task_id, owner=None))
            shown.append(await host.get(task_id))
    failed, fault = shown
    assert failed.status == "completed"
    assert failed.result is not None
    assert failed.result["isError"] is True
    assert (fault.status, fault.result) == ("failed", None)
    assert fault.error is not None
    assert (fault.error["code"], fault.error["message"]) == (-32002, "there is no such flight")


async def test_hanging_up_after_the_handle_is_out_cancels_nothing() -> None:
    """Whoever has the id comes back."""
    async with scene(waits) as here:
        async with here.host(tasks=True) as host:
            task_id = await host.created("agent", GO)
            await until(lambda: here.engine.statistics().running == 1)
        record = await here.record(task_id)
    assert record.phase is Phase.RUNNING


async def test_a_client_that_does_not_speak_the_extension_is_refused_before_the_id() -> None:
    """-32021 for each method, also where there is no such task."""
    async with scene(waits) as here, here.host() as host:
        for asked in (host.get("x"), host.update("x", {}), host.cancel("x")):
            with pytest.raises(MCPError) as caught:
                await asked
            assert caught.value.code == wire.MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_who_is_called_like_a_machine_is_told_so() -> None:
    """It could submit and then answer nothing: a refusal that says why, and no fault of ours."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        here.owner = "engine"
        with pytest.raises(MCPError, match="owner is 'engine'") as caught:
            await host.created("agent", GO)
    assert caught.value.code == wire.INVALID_PARAMS


async def test_tasks_of_others_are_not_there() -> None:
    """The same answer as for what never was."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        before = await soon(here.asking(task_id, 2))
        here.owner = "eve"
        told: list[tuple[int, str]] = []
        for name in (task_id, "nonsense"):
            for asked in (
                host.get(name),
                host.update(name, {"from": raw(accept(city="Eve's"))}),
                host.cancel(name),
            ):
                with pytest.raises(MCPError) as caught:
                    await asked
                told.append((caught.value.code, caught.value.message))
        after = await here.record(task_id)
    assert set(told) == {(wire.INVALID_PARAMS, "there is no such task")}
    assert after.seq == before.seq


async def test_progress_is_the_message_of_the_status() -> None:
    """The latest line."""

    async def works(task: TaskContext) -> None:
        await task.progress("packing")
        await task.progress("still packing")
        await asyncio.Event().wait()

    async with scene(works) as here, here.host(tasks=True) as host:
        task_id = await host.created("agent", GO)
        async for event in here.engine.subscribe(task_id, owner=None):
            if event.data.get("message") == "still packing":
                break
        detailed = await host.get(task_id)
    assert (detailed.status, detailed.status_message) == ("working", "still packing")


async def test_what_only_others_may_answer_is_none_of_the_clients_questions() -> None:
    """`working`: the owner has nothing to do."""

    async def asks(task: TaskContext) -> str:
        return await task.ask("May it?", str, approvers=["boss"], key="leave")

    async with scene(asks) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        detailed = await host.get(task_id)
        ack = await host.update(task_id, {"leave": raw(accept(value="yes"))})
        record = await here.record(task_id)
    assert (detailed.status, detailed.input_requests) == ("working", None)
    assert ack.meta is not None
    assert ack.meta["interlock/ignored"] == {"leave": "somebody else is asked"}
    assert record.phase is Phase.WAITING_INPUT


@pytest.mark.parametrize(
    ("retention", "ttl_ms"),
    [
        (Retention(age_s=60.0), 60_000),
        (Retention(age_s=None), None),
        (Retention(age_s=60.0, tasks_max=5, at_least_s=7.0), 7_000),
    ],
)
async def test_the_time_to_live_is_that_of_the_engines_retention(
    retention: Retention, ttl_ms: int | None
) -> None:
    """A client may rely on it; null is for ever."""
    async with (
        scene(waits, limits=Limits(retention=retention)) as here,
        here.host(tasks=True) as host,
    ):
        result = await host.call("agent", GO)
    assert isinstance(result, Created)
    shown = result.model_dump(by_alias=True)
    assert shown["ttlMs"] == ttl_ms


async def test_tools_that_are_never_tasks_are_called_and_waited_for() -> None:
    """Although the client speaks the extension."""

    async def quick(_task: TaskContext) -> str:
        return "done"

    async with (
        scene(quick, tool("agent", tasks="never")) as here,
        here.host(tasks=True) as host,
    ):
        result = await host.result("agent", GO)
    assert text(result) == "done"


async def test_arguments_are_asked_for_first_and_then_it_is_a_task() -> None:
    """Rounds before the handle (SEP-2663)."""

    async def goes(task: TaskContext) -> str:
        return City.model_validate(task.input.data).city

    declared = tool("agent", input=City, ask_first=("city",), tasks="required")
    async with scene(goes, declared) as here, here.host(tasks=True, answers=()) as host:
        first = await host.call("agent", {})
        assert isinstance(first, wire.InputRequiredResult)
        made = await host.call("agent", {}, responses={"arguments": accept(city="Rome")})
        assert isinstance(made, Created)
        await soon(here.engine.over(made.task_id, owner=None))
        done = await host.get(made.task_id)
    assert done.result is not None
    assert text(wire.CallToolResult.model_validate(done.result)) == "Rome"


async def test_the_extension_is_announced() -> None:
    """In `server/discover`."""
    async with scene(waits) as here, here.host(tasks=True) as host:
        request = wire.DiscoverRequest(params=wire.RequestParams())
        found = await soon(host.client.session.send_request(request, wire.DiscoverResult))
    assert found.capabilities.extensions == {"io.modelcontextprotocol/tasks": {}}


class Even(BaseModel):
    """A number, of which the schema does not say that it is even."""

    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n


async def test_when_the_agents_own_form_refuses_one_answer_none_is_taken() -> None:
    """It wants more than its schema can say."""

    async def asks(task: TaskContext) -> str:
        one, two = await asyncio.gather(task.ask("A?", key="a"), task.ask("B?", Even, key="b"))
        return f"{one} {two.n}"

    async with scene(asks) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        await pause()  # Until the agent listens.
        with pytest.raises(MCPError, match="b: at /n: Value error, odd"):
            await host.update(task_id, {"a": raw(accept(value="x")), "b": raw(accept(n=1))})
        seen = await host.get(task_id)
        await host.update(task_id, {"a": raw(accept(value="x")), "b": raw(accept(n=2))})
        await soon(here.engine.over(task_id, owner=None))
    assert set(seen.input_requests or {}) == {"a", "b"}


async def test_an_answer_beside_one_that_stops_the_task_is_left_alone() -> None:
    """It was taken in order, and the second had nobody to go to."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        ack = await host.update(task_id, {"from": raw(DECLINE), "to": raw(accept(city="Oslo"))})
        await soon(here.engine.over(task_id, owner=None))
        detailed = await host.get(task_id)
    assert ack.meta is not None
    assert ack.meta["interlock/ignored"] == {"to": "closed: the task has stopped"}
    assert detailed.status == "cancelled"


@pytest.mark.parametrize("said", [accept(city="Rome"), DECLINE, DISMISS])
async def test_what_could_not_be_written_is_not_acknowledged(said: wire.ElicitResult) -> None:
    """The disk is full: the client must say it again."""
    store = FlakyStore()
    async with scene(travels, store=store) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id, 2))
        store.breaks("commit")
        with pytest.raises(MCPError, match="the store failed") as caught:
            await host.update(task_id, {"from": raw(said)})
        store.mends("commit")
    assert caught.value.data["reason"] == "store_error"
    assert "disk" not in str(caught.value)  # The words of a store may name a file.
