"""Spans and metrics of whole lives, as OpenTelemetry's own exporters in memory have them.

Requirements: R-SVC-85 (the tree of spans), R-SVC-86 (links and parents across restarts),
R-SVC-87 (metrics), R-SVC-88 (no content unless asked for; `redact` fails closed), R-SVC-89
(Langfuse).  Threats: T20 (I38).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from gates import Bank
from interlock import (
    Answer,
    Approval,
    JsonObject,
    Limits,
    Phase,
    Policies,
    Policy,
    Retry,
    Statistics,
    SyncTaskContext,
    TaskContext,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
    Usage,
    model_call,
)
from interlock.errors import EngineError, Retryable, TaskNotCompleted
from interlock.testing import ManualClock
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.telemetry import REDACTED, Langfuse, Redact, Telemetry
from smol import Desk, answer, speaker
from support import OWNER, FlakyStore, World, opened, soon, until

AT_ONCE: Final = Limits(park_after_s=0.0, retry=Retry(attempts_max=2, backoff_s=10.0))
CANARY: Final = "canary-5f1e"


@dataclass
class Scope:
    """A telemetry with exporters in memory, which outlive each process."""

    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        """Set up OpenTelemetry's SDK."""
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])

    def telemetry(
        self,
        *,
        redact: Redact | None = None,
        content: bool = False,
        langfuse: Langfuse | None = None,
    ) -> Telemetry:
        """Of a process."""
        return Telemetry(
            self.tracers, self.meters, redact=redact, content=content, langfuse=langfuse
        )

    @property
    def ended(self) -> list[ReadableSpan]:
        """Every span that has ended, in the order of their ends."""
        return list(self.spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of one name."""
        return [span for span in self.ended if span.name == name]

    def tree(self) -> list[str]:
        """The spans in the order of their beginnings, each below its parent."""
        below: dict[int | None, list[ReadableSpan]] = {}
        known = {_id(span): span for span in self.ended}
        for span in self.ended:
            parent = None if span.parent is None else span.parent.span_id
            below.setdefault(parent if parent in known else None, []).append(span)
        # The clock of the task's own span is the engine's, and stands in another year.
        lines: list[str] = []

        def show(parent: int | None, depth: int) -> None:
            order = {id(span): n for n, span in enumerate(below.get(parent, []))}
            for span in sorted(
                below.get(parent, []),
                key=lambda s: (s.name == "task", order[id(s)]),
            ):
                lines.append("  " * depth + _words(span))
                show(_id(span), depth + 1)

        show(None, 0)
        return lines

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """The points of a metric, by the values of their attributes in the order of their names.

        Of a histogram how many there were, and their sum.
        """
        found: dict[tuple[str, ...], Any] = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == name else ():
                        about: Mapping[str, Any] = point.attributes or {}
                        key = tuple(str(about[one]) for one in sorted(about))
                        value: Any = getattr(point, "value", None)
                        found[key] = (
                            (getattr(point, "count", None), getattr(point, "sum", None))
                            if value is None
                            else value
                        )
        return found


def _id(span: ReadableSpan) -> int:
    return cast("SpanContext", span.context).span_id


def _words(span: ReadableSpan) -> str:
    about = span.attributes or {}
    said = [
        str(about[name])
        for name in (
            "interlock.turn.outcome",
            "interlock.call.outcome",
            "interlock.task.outcome",
            "error.type",
        )
        if name in about
    ]
    replay = " replay" if about.get("interlock.turn.replay") else ""
    return f"{span.name}{replay} [{' '.join(said)}]"


def think(prompt: str) -> JsonObject:
    """A model."""
    return {"content": f"about {prompt}", "in": 7, "out": 3}


def tokens(said: JsonObject) -> Usage:
    """What it took."""
    taken, made = said["in"], said["out"]
    assert isinstance(taken, int)
    assert isinstance(made, int)
    return Usage(taken, made)


thinking: Final[Callable[[str], JsonObject]] = model_call(
    think, model="m-1", provider="acme", usage=tokens
)


async def lives(task: TaskContext) -> str:
    """Asks, thinks, fails once, pays, and is done."""
    name = await task.ask("Who?")
    await task.call(thinking, name)
    if task.attempt == 1:
        raise Retryable("try again")
    await task.call_tool("pay", {"amount": 5})
    return f"paid for {name}"


def till() -> Toolbox:
    """A tool that a person has to allow."""
    return Toolbox([Bank()], policies=Policies({"bank/pay": Policy(confirm="always")}))


async def whole_life(scope: Scope, clock: ManualClock) -> tuple[str, World]:
    """Ask, park, restart, answer, model call, failure, retry, approval, restart, tool call."""
    store = FlakyStore()
    async with opened(
        lives, store=store, clock=clock, tools=till(), limits=AT_ONCE, observer=scope.telemetry()
    ) as world:
        with scope.tracers.get_tracer("server").start_as_current_span("POST /"):
            handle, ask = await world.asking()
        clock.advance(100.0)
    async with opened(
        lives,
        store=FlakyStore(store),
        clock=clock,
        tools=till(),
        limits=AT_ONCE,
        observer=scope.telemetry(),
    ) as world:
        await world.engine.answer(handle.task_id, Answer(ask=ask.key, value="eve"), owner=OWNER)
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await world.elapse(10.0)
        await until(lambda: world.stored(handle).phase is Phase.WAITING_AUTH)
        clock.advance(1_000.0)
        (asked,) = world.stored(handle).asks
        assert asked.digest is not None
        approval = Approval(decision="approve", ask=asked.key, digest=asked.digest)
        await world.engine.decide(handle.task_id, approval, owner=OWNER)
        assert await soon(world.handle(handle).result()) == "paid for eve"
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    return handle.task_id, world


async def test_a_whole_life_is_one_tree_over_restarts_and_retries() -> None:
    """What a replay hands back has no span again.  Source: issue 8, build 6, R-SVC-85."""
    scope = Scope()
    task_id, _ = await whole_life(scope, ManualClock())
    assert scope.tree() == [
        "POST / []",
        "  submit []",
        "    invoke_agent agent [parked]",
        "    invoke_agent agent replay [failed retryable]",
        "      chat m-1 [returned]",
        "    invoke_agent agent replay [parked]",
        "    invoke_agent agent replay [returned]",
        "      execute_tool pay [returned]",
        "    task [completed]",
    ]
    assert len({span.context.trace_id for span in scope.ended if span.context}) == 1
    ours = [span for span in scope.ended if span.name != "POST /"]
    assert all((span.attributes or {})["interlock.task.id"] == task_id for span in ours)


async def test_turns_are_linked_as_far_as_one_process_knows() -> None:
    """Each to the one before; the first of a process hangs on the submission.  R-SVC-86."""
    scope = Scope()
    await whole_life(scope, ManualClock())
    turns = scope.named("invoke_agent agent")
    linked = [[link.context.span_id for link in turn.links] for turn in turns]
    assert linked == [[], [], [_id(turns[1])], [_id(turns[2])]]
    assert {turn.kind for turn in turns} == {SpanKind.CONSUMER}


async def test_the_span_of_a_task_has_its_real_start_and_end() -> None:
    """By the engine's clock.  Source: issue 8, build 6."""
    scope, clock = Scope(), ManualClock()
    began = clock.now()
    await whole_life(scope, clock)
    (task,) = scope.named("task")
    assert (task.start_time, task.end_time) == (int(began * 1e9), int(clock.now() * 1e9))
    assert task.attributes is not None
    assert task.attributes["interlock.task.attempts"] == 2


async def test_calls_say_by_the_conventions_what_they_are() -> None:
    """Names of gen_ai.*; no arguments, results or keys.  R-SVC-85, T20."""
    scope = Scope()
    task_id, world = await whole_life(scope, ManualClock())
    context_id = world.store._tasks[task_id].record.context_id
    (model,), (tool,) = scope.named("chat m-1"), scope.named("execute_tool pay")
    common = {"interlock.task.id": task_id, "gen_ai.conversation.id": context_id}
    assert model.attributes == common | {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.provider.name": "acme",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "interlock.call.kind": "model",
        "interlock.call.outcome": "returned",
    }
    assert tool.attributes == common | {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "pay",
        "interlock.tool": "bank/pay",
        "interlock.call.kind": "tool",
        "interlock.call.outcome": "returned",
    }


async def test_metrics_of_a_whole_life_are_exact() -> None:
    """Stays by the engine's clock; two processes add up.  Source: issue 8, build 6, R-SVC-87."""
    scope = Scope()
    task_id, world = await whole_life(scope, ManualClock())
    log = world.store._tasks[task_id].events
    counted: dict[tuple[str, ...], int] = {}
    for event in log:
        source = () if event.source is None else (event.source.value,)
        key = (event.dest.value, *source, event.trigger.value)
        counted[key] = counted.get(key, 0) + 1
    assert scope.points("interlock.transitions") == counted
    assert scope.points("interlock.task.phase.duration") == {
        ("submitted",): (2, 10.0),
        ("running",): (4, 0.0),
        ("waiting_input",): (1, 100.0),
        ("waiting_auth",): (1, 1_000.0),
    }
    assert scope.points("interlock.task.duration") == {("completed",): (1, 1_110.0)}
    turns = scope.points("interlock.turn.duration")
    assert {key: count for key, (count, _) in turns.items()} == {
        ("agent", "parked"): 2,
        ("agent", "returned"): 1,
        ("retryable", "agent", "failed"): 1,
    }
    assert scope.points("gen_ai.client.token.usage") == {
        ("chat", "acme", "m-1", "input"): (1, 7),
        ("chat", "acme", "m-1", "output"): (1, 3),
    }
    calls = scope.points("interlock.call.duration")
    assert {key: count for key, (count, _) in calls.items()} == {
        ("tool", "bank/pay", "returned"): 1
    }
    ((commits, _),) = scope.points("interlock.commit.duration").values()
    assert 0 < commits <= len(log)


async def test_tasks_are_counted_by_phase_also_after_a_restart() -> None:
    """Until they are over.  Source: issue 8, build 6, R-SVC-87."""
    scope, store, clock = Scope(), FlakyStore(), ManualClock()

    async def asks(task: TaskContext) -> str:
        return await task.ask("Who?")

    async with opened(asks, store=store, clock=clock, limits=AT_ONCE, observer=scope.telemetry()):
        assert scope.points("interlock.tasks") == {}
    again = FlakyStore(store)
    async with opened(
        asks, store=again, clock=clock, limits=AT_ONCE, observer=scope.telemetry()
    ) as world:
        handles = [(await world.asking())[0] for _ in range(3)]
    scope = Scope()  # Another process has nothing of the first.
    async with opened(
        asks, store=FlakyStore(again), clock=clock, limits=AT_ONCE, observer=scope.telemetry()
    ) as world:
        await until(lambda: scope.points("interlock.tasks") == {("waiting_input",): 3})
        assert scope.points("interlock.engine.running") == {(): 0}
        await world.engine.cancel(handles[0].task_id, owner=OWNER)
        await until(lambda: world.stored(handles[0]).phase is Phase.FINALIZED)
        assert scope.points("interlock.tasks")["waiting_input",] == 2
        assert sum(scope.points("interlock.tasks").values()) == 2
    assert scope.points("interlock.engine.running") == {}


async def test_calls_in_doubt_are_counted_until_a_person_has_judged() -> None:
    """Also those that the process found when it began.  R-SVC-87."""
    store, clock = FlakyStore(), ManualClock()

    async def never(_: JsonObject, use: ToolUse) -> ToolResult:
        del use
        store.dead = True  # The process ends in the middle of the call.
        return ToolResult(structured={})

    async def pays(task: TaskContext) -> str:
        await task.call_tool("pay", {"amount": 5})
        return "paid"

    async with opened(pays, store=store, clock=clock, tools=Toolbox([Bank(does=never)])) as world:
        handle = await world.submit()
        await until(lambda: store.dead)
        alive = world.crash()
        scope = Scope()
        async with opened(
            pays, store=alive, clock=clock, tools=Toolbox([Bank()]), observer=scope.telemetry()
        ) as later:
            asked = (await soon(later.handle(handle).rest())).asks
            assert scope.points("interlock.calls.in_doubt") == {(): 1}
            said: JsonObject = {"decision": "run_again"}
            answer = Answer(ask=asked[0].key, value=said)
            await later.engine.answer(handle.task_id, answer, owner=OWNER)
            assert await soon(later.handle(handle).result()) == "paid"
            assert scope.points("interlock.calls.in_doubt") == {(): 0}


async def test_a_refused_tool_has_a_span_but_never_the_name_a_model_made_up() -> None:
    """Cardinality and content.  R-SVC-85, T20."""
    scope = Scope()

    async def agent(task: TaskContext) -> int:
        wanted = [ToolCall(CANARY, {}), ToolCall("pay", {"amount": CANARY})]
        said = await task.call_tools(wanted)
        return sum(isinstance(one, EngineError) for one in said)

    async with opened(agent, tools=Toolbox([Bank()]), observer=scope.telemetry()) as world:
        assert await soon((await world.submit()).result()) == 2
    assert sorted(line.strip() for line in scope.tree() if "execute_tool" in line) == [
        "execute_tool pay [refused tool_refused]",
        "execute_tool unknown [refused unknown_tool]",
    ]
    assert sorted(scope.points("interlock.tool.refusals").items()) == [
        (("tool_refused", "bank/pay"), 1),
        (("unknown_tool",), 1),
    ]


async def test_calls_of_a_thread_hang_on_their_turn() -> None:
    """Also where the agent is a plain function.  R-SVC-85."""
    scope = Scope()

    def agent(task: SyncTaskContext) -> str:
        with scope.tracers.get_tracer("agent").start_as_current_span("own"):
            task.call(thinking, "x")
        task.call_tool("pay", {"amount": 1})
        return "done"

    async with opened(agent, tools=Toolbox([Bank()]), observer=scope.telemetry()) as world:
        await soon((await world.submit()).result())
    assert scope.tree() == [
        "submit []",
        "  invoke_agent agent [returned]",
        "    own []",
        "      chat m-1 [returned]",
        "    execute_tool pay [returned]",
        "  task [completed]",
    ]


async def test_an_agent_of_smolagents_says_which_model_it_asked() -> None:
    """Its model calls and tool calls; a failed task is an error.  R-SVC-85."""
    scope, desk = Scope(), Desk()
    agent = SmolAgent(speaker({"search": {"q": "Rome"}}, answer("done")))
    tools = Toolbox([desk.search])
    async with opened(agent, tools=tools, observer=scope.telemetry()) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    lines = [line.strip() for line in scope.tree()]
    assert lines[2:-1] == [
        "chat scripted [returned]",
        "execute_tool search [returned]",
        "chat scripted [returned]",
    ]
    assert (scope.named("chat scripted")[0].attributes or {})["gen_ai.usage.input_tokens"] == 10


async def test_a_failed_task_is_an_error_with_a_code_and_no_words() -> None:
    """R-SVC-85, T20."""
    scope = Scope()

    async def agent(task: TaskContext) -> None:
        raise ValueError(f"{CANARY} of {task.task_id}")

    async with opened(agent, observer=scope.telemetry()) as world:
        with pytest.raises(TaskNotCompleted):
            await soon((await world.submit()).result())
    (task,) = scope.named("task")
    assert task.status.status_code is StatusCode.ERROR
    assert (task.attributes or {})["error.type"] == "agent_error"
    (turn,) = scope.named("invoke_agent agent")
    assert (turn.attributes or {})["error.type"] == "ValueError"
    assert CANARY not in _all(scope)


def _all(scope: Scope) -> str:
    """Everything that leaves."""
    data = scope.reader.get_metrics_data()
    return "".join(span.to_json() for span in scope.ended) + (
        "" if data is None else data.to_json()
    )


async def secretive(task: TaskContext) -> str:
    """Says secrets wherever something can be said."""
    said = await task.ask(f"{CANARY} prompt", default=f"{CANARY} default")
    await task.call(thinking, f"{CANARY} {said}")
    await task.emit(f"{CANARY} artifact", name=f"{CANARY} name")
    await task.progress(f"{CANARY} progress")
    await task.call_tool("pay", {"amount": 5}, key=f"{CANARY} key")
    return f"{CANARY} result"


async def secret_life(scope: Scope, telemetry: Telemetry) -> None:
    """A life with secrets in the request, its owner, token, metadata, answers and reasons."""

    async def does(_: JsonObject, use: ToolUse) -> ToolResult:
        await use.progress(f"{CANARY} tool")
        return ToolResult(structured={"said": f"{CANARY} output"})

    tools = Toolbox([Bank(does=does)], policies=Policies({"bank/pay": Policy(confirm="always")}))
    async with opened(secretive, tools=tools, limits=AT_ONCE, observer=telemetry) as world:
        handle = await world.engine.submit(
            f"{CANARY} request",
            owner=f"{CANARY} owner",
            token=f"{CANARY} token",
            metadata={CANARY: CANARY},
            carried={"authorization": f"Bearer {CANARY}"},
        )
        (ask,) = (await soon(handle.rest())).asks
        answer = Answer(ask=ask.key, value=f"{CANARY} answer")
        await world.engine.answer(handle.task_id, answer, owner=None, actor=f"{CANARY} actor")
        await until(lambda: world.stored(handle).phase is Phase.WAITING_AUTH)
        (asked,) = world.stored(handle).asks
        assert asked.digest is not None
        approval = Approval(
            decision="approve", ask=asked.key, digest=asked.digest, reason=f"{CANARY} reason"
        )
        await world.engine.decide(handle.task_id, approval, owner=None, actor=f"{CANARY} boss")
        await soon(handle.result())
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    assert len(scope.ended) == 7


async def test_no_field_of_a_task_leaves_unless_it_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Canaries in every field, with DEBUG on.  I38, T20, R-SVC-88."""
    scope = Scope()
    with caplog.at_level(logging.DEBUG):
        await secret_life(scope, scope.telemetry())
    assert CANARY not in _all(scope)
    moves = [r for r in caplog.records if r.name == "interlock.transitions"]
    assert [getattr(r, "seq", 0) for r in moves] == list(range(1, len(moves) + 1))
    assert moves[-1].getMessage().endswith(": completed -> finalized")
    assert CANARY not in "".join(r.getMessage() for r in moves)


async def test_content_is_there_where_it_is_asked_for_and_redact_sees_all_of_it() -> None:
    """Every attribute and name passes the hook.  R-SVC-88."""
    scope, seen = Scope(), set[str]()
    await secret_life(scope, scope.telemetry(content=True))
    shown = _all(scope)
    for what in ("request", "result", "output", "key"):
        assert f"{CANARY} {what}" in shown
    scope = Scope()

    def redact(name: str, value: object) -> Any:  # noqa: ANN401  JSON
        seen.add(name)
        return value.replace(CANARY, "***") if isinstance(value, str) else value

    await secret_life(scope, scope.telemetry(content=True, redact=redact))
    assert CANARY not in _all(scope)
    assert "***" in _all(scope)
    left = {name for span in scope.ended for name in span.attributes or {}}
    assert left | {"name"} <= seen


@pytest.mark.parametrize("given", [RuntimeError(CANARY), object(), [1], {"a": 1}])
async def test_a_hook_that_fails_lets_nothing_out(given: Any) -> None:  # noqa: ANN401
    """It fails closed, and harms no task.  R-SVC-88, T20."""
    scope = Scope()

    def redact(_: str, __: object) -> Any:  # noqa: ANN401  what it must not give
        if isinstance(given, Exception):
            raise given
        return given

    await secret_life(scope, scope.telemetry(content=True, redact=redact))
    values = [value for span in scope.ended for value in (span.attributes or {}).values()]
    assert set(values) == {REDACTED}
    assert {span.name for span in scope.ended} == {REDACTED}
    assert CANARY not in _all(scope)


async def test_langfuse_groups_by_session_user_and_tags() -> None:
    """On every span; the owner leaves only then, and as the option says.  R-SVC-89."""
    scope = Scope()
    langfuse = Langfuse(tags=("a2a", "prod"), user=str.upper)
    async with opened(lambda_agent, observer=scope.telemetry(langfuse=langfuse)) as world:
        handle = await world.submit()
        await soon(handle.result())
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    context_id = world.stored(handle).context_id
    assert len(scope.ended) == 3
    for span in scope.ended:
        about = span.attributes or {}
        assert about["langfuse.session.id"] == context_id
        assert about["langfuse.user.id"] == OWNER.upper()
        assert about["langfuse.trace.tags"] == ("a2a", "prod")


async def lambda_agent(task: TaskContext) -> str:
    """Says so."""
    return f"hello {len(task.task_id)}"


async def test_a_submission_that_fails_ends_its_span_as_an_error() -> None:
    """And nothing is left open.  R-SVC-85."""
    scope, telemetry = Scope(), None
    store = FlakyStore()
    telemetry = scope.telemetry()
    async with opened(lambda_agent, store=store, observer=telemetry) as world:
        store.fail("commit")
        with pytest.raises(EngineError):
            await world.submit()
        (span,) = scope.named("submit")
        assert span.status.status_code is StatusCode.ERROR
    spans = telemetry._spans
    assert (spans._submits, spans._turns, spans._calls, spans._tasks) == ({}, {}, {}, {})


async def test_nothing_is_kept_of_tasks_that_are_over() -> None:
    """A process lives long.  R-SVC-85, R-SVC-87."""
    scope = Scope()
    telemetry = scope.telemetry()
    async with opened(lambda_agent, observer=telemetry) as world:
        for _ in range(5):
            await soon((await world.submit()).result())
        await until(lambda: len(world.engine._runtime.writer) == 0)  # type: ignore[union-attr]
    spans, metrics = telemetry._spans, telemetry._metrics
    assert (spans._submits, spans._turns, spans._calls, spans._tasks) == ({}, {}, {}, {})
    assert (metrics._since, metrics._began, metrics._known) == ({}, {}, None)


async def test_calls_one_after_the_other_stand_side_by_side() -> None:
    """What was current in a call is not when it is over: on the loop and on threads.  R-SVC-85."""
    for agent in (twice, twice_on_a_thread):
        scope = Scope()
        async with opened(agent, tools=Toolbox([Bank()]), observer=scope.telemetry()) as world:
            await soon((await world.submit()).result())
        assert scope.tree()[1:] == [
            "  invoke_agent agent [returned]",
            *["    chat m-1 [returned]", "    execute_tool pay [returned]"] * 2,
            "  task [completed]",
        ]


async def twice(task: TaskContext) -> str:
    """Calls a model and a tool, twice."""
    for _ in range(2):
        await task.call(thinking, "x")
        await task.call_tool("pay", {"amount": 1})
    return "done"


def twice_on_a_thread(task: SyncTaskContext) -> str:
    """The same on a thread."""
    for _ in range(2):
        task.call(thinking, "x")
        task.call_tool("pay", {"amount": 1})
    return "done"


async def test_a_task_that_moves_before_it_is_found_is_counted_once() -> None:
    """Pages of what waits come late, and may be old.  R-SVC-87."""
    async with opened(lives, tools=till(), limits=AT_ONCE) as world:
        (moved, ask), (other, _) = await world.asking(), await world.asking()
        waits, waits_too = world.stored(moved), world.stored(other)
        await moved.answer(ask.key, "eve")
        events = world.log(moved)[waits.seq :]
        after = world.stored(moved)
        assert after.phase is Phase.RUNNING
    scope = Scope()
    telemetry = scope.telemetry()
    telemetry.opened(lambda: Statistics(accepting=True))
    telemetry.committed(waits, after, events, 0.0)
    telemetry.found([waits, waits_too], last=False)
    telemetry.found([waits_too], last=True)
    assert scope.points("interlock.tasks") == {("running",): 1, ("waiting_input",): 1}
