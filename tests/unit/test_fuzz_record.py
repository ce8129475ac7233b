"""`interlock record`: a real task's log is a test that lives it again.

Sources: R-FUZZ-40 (the same again), R-FUZZ-41 (what has changed is found), R-FUZZ-42 (calls are
answered from the log), R-FUZZ-43 (the file and the command).
"""

import argparse
import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from interlock import (
    Answer,
    Approval,
    Denial,
    Engine,
    Event,
    JsonValue,
    Limits,
    Phase,
    Policies,
    Policy,
    Retry,
    SyncTaskContext,
    TaskContext,
    TaskHandle,
    Toolbox,
)
from interlock.errors import Retryable
from interlock.testing.fuzz._record import recorded_test
from interlock.testing.fuzz._recorded import Diverged, check_recorded
from interlock_adapters.cli import _record as cli_record
from support import World, opened, pause

LIMITS: Final = Limits(
    ask_s=60.0, run_s=300.0, task_s=2_000.0, grace_s=5.0, retry=Retry(attempts_max=2)
)
#: How often something was really done.
DONE: Final[list[str]] = []


async def charge(amount: int) -> str:
    """Something that must not be done by a test."""
    DONE.append(f"charged {amount}")
    return f"receipt {amount}"


def ring() -> str:
    """The same as a plain function."""
    DONE.append("rang")
    return "rung"


async def shop(task: TaskContext) -> str:
    """Ask, call, show, look at the time."""
    size = await task.ask("which size?", int)
    await task.authorize("pay", {"amount": size})
    receipt = await task.call(charge, size)
    noted = await task.journal_random()
    await task.emit(f"paid: {receipt}, {noted}", artifact_id="receipt")
    return receipt


def plainly(task: SyncTaskContext) -> str:
    """The same on a thread."""
    size = task.ask("which size?", int)
    receipt = task.call(charge, size)
    return f"{receipt}, {task.call(ring)}"


async def recorded(
    agent: Any,  # noqa: ANN401  any kind of agent
    live: Callable[[World, TaskHandle], Awaitable[None]],
    **settings: Any,  # noqa: ANN401  those of the engine
) -> list[Event]:
    """The log of one real task."""
    async with opened(agent, limits=LIMITS, **settings) as world:
        handle = await world.submit("shoes")
        await live(world, handle)
        return world.log(handle)


async def buys(world: World, handle: TaskHandle) -> None:
    """A person answers, after a while, and approves."""
    ask = (await handle.rest()).asks[0]
    await world.elapse(30.0)
    await world.engine.answer(handle.task_id, Answer(ask=ask.key, value=43), owner="ada")
    await approves(world, handle)


async def approves(world: World, handle: TaskHandle) -> None:
    """A person says yes to whatever is asked next."""
    ask = (await handle.rest()).asks[0]
    assert ask.digest is not None
    yes = Approval(ask=ask.key, digest=ask.digest, decision="approve", reason="go on")
    await world.engine.decide(handle.task_id, yes, owner="ada", actor="boss")
    await handle.rest()
    await pause()


def as_json(log: list[Event]) -> list[dict[str, Any]]:
    """As the file has it."""
    return [event.to_json() for event in log]


async def off_the_loop(agent: object, log: list[Event], wait_s: float = 5.0) -> None:
    """Check it as a test does that is no coroutine."""
    await asyncio.to_thread(check_recorded, agent, as_json(log), wait_s=wait_s)


async def test_a_task_is_lived_again_and_calls_nothing() -> None:
    """R-FUZZ-40, R-FUZZ-42."""
    log = await recorded(shop, buys)
    assert log[-1].dest is Phase.FINALIZED
    DONE.clear()
    await off_the_loop(Engine(shop, limits=LIMITS), log)
    assert DONE == []


async def test_an_agent_on_a_thread_is_too() -> None:
    """R-FUZZ-40, R-FUZZ-42.  With no thread left at the end."""

    async def answers(world: World, handle: TaskHandle) -> None:
        ask = (await handle.rest()).asks[0]
        await world.engine.answer(handle.task_id, Answer(ask=ask.key, value=43), owner="ada")
        await handle.rest()
        await pause()

    log = await recorded(plainly, answers)
    assert log[-1].dest is Phase.FINALIZED
    DONE.clear()
    await off_the_loop(Engine(plainly, limits=LIMITS), log)
    assert DONE == []


async def test_an_agent_that_asks_otherwise_is_found() -> None:
    """R-FUZZ-41.  The message says which event, and quotes no value."""

    async def changed(task: TaskContext) -> str:
        size = await task.ask("which size, please?", int)
        return await task.call(charge, size)

    log = await recorded(shop, buys)
    with pytest.raises(Diverged, match=r"event 3 is ask .*, and was ask .*: prompt differs"):
        await off_the_loop(changed, log)


async def test_another_outcome_is_found() -> None:
    """R-FUZZ-41."""

    async def ends(task: TaskContext) -> str:
        return "done" if task.input.text else "nothing"

    async def ends_otherwise(task: TaskContext) -> str:
        return "all done" if task.input.text else "nothing"

    async def waits(_world: World, handle: TaskHandle) -> None:
        await handle.rest()
        await pause()

    log = await recorded(ends, waits)
    await off_the_loop(ends, log)
    with pytest.raises(Diverged, match="complete"):
        await off_the_loop(ends_otherwise, log)


async def test_deadlines_and_retries_are_lived_again() -> None:
    """R-FUZZ-40.  An attempt that fails, a back-off, and a question that nobody answers."""

    async def late(task: TaskContext) -> str:
        if task.attempt == 1:
            raise Retryable("not yet")
        return str(await task.ask("which size?", int, default=7))

    async def sleeps(world: World, handle: TaskHandle) -> None:
        await world.elapse(2.0)
        await handle.rest()
        await world.elapse(60.0)

    log = await recorded(late, sleeps)
    assert [event.trigger.value for event in log] == [
        *("submit", "start", "retry", "start", "ask", "expire", "complete", "finalize")
    ]
    await off_the_loop(Engine(late, limits=LIMITS), log)


async def test_a_cancel_comes_within_the_call_again() -> None:
    """R-FUZZ-40, R-FUZZ-42.  A call that was cut short is cut short, and was not made."""

    async def works(task: TaskContext) -> str:
        return await task.call(hangs)

    async def hangs() -> str:
        await asyncio.Event().wait()
        return "never"

    async def cancels(world: World, handle: TaskHandle) -> None:
        await pause()
        await world.engine.cancel(handle.task_id, owner="ada", reason="enough")
        await handle.rest()
        await pause()

    log = await recorded(works, cancels)
    assert log[-1].dest is Phase.FINALIZED
    await off_the_loop(Engine(works, limits=LIMITS), log)


async def test_a_crash_is_lived_again() -> None:
    """R-FUZZ-40.  What began before it is in doubt again, and decided as it was."""

    async def works(task: TaskContext) -> str:
        return await task.call(charge, 3)

    async def hangs(task: TaskContext) -> str:
        async def charge(amount: int) -> str:
            await asyncio.Event().wait()
            return f"never {amount}"

        return await task.call(charge, 3)

    async with opened(hangs, limits=LIMITS) as world:
        handle = await world.submit("shoes")
        await pause()
        async with opened(works, store=world.crash(), limits=LIMITS) as after:
            ask = (await after.handle(handle).rest()).asks[0]
            word: JsonValue = {"decision": "use_value", "value": "by hand"}
            await after.engine.answer(handle.task_id, Answer(ask=ask.key, value=word), owner="ada")
            await after.handle(handle).rest()
            await pause()
            log = after.log(handle)
    assert "recover" in [event.trigger.value for event in log]
    await off_the_loop(Engine(works, limits=LIMITS), log)


async def test_what_was_said_at_once_is_said_at_once() -> None:
    """R-FUZZ-40.  An answer and a cancel, between which the agent could do nothing."""

    async def at_once(world: World, handle: TaskHandle) -> None:
        ask = (await handle.rest()).asks[0]
        answer = Answer(ask=ask.key, value=43)
        await asyncio.gather(
            world.engine.answer(handle.task_id, answer, owner="ada"),
            world.engine.cancel(handle.task_id, owner="ada"),
        )
        await handle.rest()
        await pause()

    log = await recorded(shop, at_once)
    assert [event.trigger.value for event in log[3:5]] == ["provide_input", "cancel"]
    await off_the_loop(Engine(shop, limits=LIMITS), log)


async def test_deadlines_that_came_together_come_together() -> None:
    """R-FUZZ-40.  As after a night in which the machine slept."""

    async def asks(task: TaskContext) -> int:
        return await task.ask("which size?", int, default=7)

    async def sleeps(world: World, handle: TaskHandle) -> None:
        await handle.rest()
        await world.elapse(2_000.0)

    log = await recorded(asks, sleeps)
    assert [event.trigger.value for event in log[3:5]] == ["expire", "overrun"]
    await off_the_loop(Engine(asks, limits=LIMITS), log)


async def test_nothing_gets_past_a_crash_that_comes_first() -> None:
    """R-FUZZ-40.  What the agent can do at once now, it did after the crash then."""

    async def waits(task: TaskContext) -> str:
        await asyncio.Event().wait()
        return task.input.text

    async def goes_on(task: TaskContext) -> str:
        await task.progress("on it")
        return task.input.text

    async with opened(waits, limits=LIMITS) as world:
        handle = await world.submit("shoes")
        await pause()
        async with opened(goes_on, store=world.crash(), limits=LIMITS) as after:
            await after.handle(handle).rest()
            await pause()
            log = after.log(handle)
    assert [event.trigger.value for event in log[:4]] == ["submit", "start", "recover", "progress"]
    await off_the_loop(Engine(goes_on, limits=LIMITS), log)


async def test_what_came_during_a_call_comes_during_it() -> None:
    """R-FUZZ-42.  An answer to another branch was there before the call ended."""
    ends = asyncio.Event()

    async def works() -> str:
        await ends.wait()
        return "worked"

    async def both(task: TaskContext) -> str:
        async def asks() -> None:
            await task.progress("thinking")
            await task.ask("which size?", int)

        work, _ = await asyncio.gather(task.call(works), asks())
        return work

    async def answers(world: World, handle: TaskHandle) -> None:
        ask = (await handle.rest()).asks[0]
        await world.engine.answer(handle.task_id, Answer(ask=ask.key, value=43), owner="ada")
        await pause()
        ends.set()
        await pause()

    log = await recorded(both, answers)
    assert [event.trigger.value for event in log[2:]] == [
        *("progress", "call", "ask", "provide_input", "called", "complete", "finalize")
    ]
    await off_the_loop(Engine(both, limits=LIMITS), log)


async def test_a_tool_behind_the_gate_is_answered_from_the_log() -> None:
    """R-FUZZ-42.  Its policy asks again, and is approved again."""

    async def buy(task: TaskContext) -> str:
        return (await task.call_tool("charge", {"amount": 3})).text

    def tools() -> Toolbox:
        return Toolbox([charge], policies=Policies({"charge": Policy(confirm="always")}))

    log = await recorded(buy, approves, tools=tools())
    assert log[-1].dest is Phase.FINALIZED
    DONE.clear()
    await off_the_loop(lambda: Engine(buy, limits=LIMITS, tools=tools()), log)
    assert DONE == []


async def test_who_answers_in_a_role_does_so_again() -> None:
    """R-FUZZ-40.  It was once refused, since nobody said the role again."""

    async def buys_for(task: TaskContext) -> str:
        size = await task.ask("which size?", int, approvers=["role:clerk"])
        await task.authorize("pay", {"amount": size}, approvers=["role:boss"])
        return "paid"

    async def in_roles(world: World, handle: TaskHandle) -> None:
        ask = (await handle.rest()).asks[0]
        said = Answer(ask=ask.key, value=43)
        of: dict[str, Any] = {"owner": "ada", "actor": "bob"}
        await world.engine.answer(handle.task_id, said, roles=["clerk"], **of)
        ask = (await handle.rest()).asks[0]
        assert ask.digest is not None
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        await world.engine.decide(handle.task_id, yes, roles=["boss"], **of)
        await handle.rest()
        await pause()

    log = await recorded(buys_for, in_roles)
    assert log[-1].dest is Phase.FINALIZED
    await off_the_loop(Engine(buys_for, limits=LIMITS), log)


async def test_a_denial_stops_it_again() -> None:
    """R-FUZZ-40."""

    async def denies(world: World, handle: TaskHandle) -> None:
        ask = (await handle.rest()).asks[0]
        assert ask.digest is not None
        no = Denial(ask=ask.key, digest=ask.digest, decision="deny")
        await world.engine.decide(handle.task_id, no, owner="ada")
        await handle.rest()
        await pause()

    async def pays(task: TaskContext) -> str:
        await task.authorize("pay", {"amount": 1})
        return "paid"

    log = await recorded(pays, denies)
    await off_the_loop(Engine(pays, limits=LIMITS), log)


SERVICE: Final = """
from interlock import Engine, TaskContext

async def agent(task: TaskContext) -> str:
    return f"{await task.ask('how many?', int)} of them"

engine = Engine(agent)
"""


async def test_the_command_writes_a_test_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-43.  And says that it may hold secrets: in its head, and when it is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "recorded_service.py").write_text(SERVICE)
    service = importlib.import_module("recorded_service")
    async with Engine(service.agent, store="sqlite:///tasks.db") as engine:
        handle = await engine.submit("go", owner="ada")
        ask = (await handle.rest()).asks[0]
        await engine.answer(handle.task_id, Answer(ask=ask.key, value=3), owner="ada")
        await handle.rest()
    parser = argparse.ArgumentParser()
    cli_record.declare(parser)
    arguments = [handle.task_id, "--store", "sqlite:///tasks.db"]
    arguments += ["--agent", "recorded_service:engine", "--output", "test_it.py"]
    assert cli_record.run(parser.parse_args(arguments)) == 0
    assert "look for secrets" in capsys.readouterr().err
    source = (tmp_path / "test_it.py").read_text()
    assert "CAREFUL" in source.partition("import")[0]
    written = importlib.import_module("test_it")
    tests = [value for name, value in vars(written).items() if name.startswith("test_")]
    assert len(tests) == 1
    await asyncio.to_thread(tests[0])
    for name in ("recorded_service", "test_it"):
        del sys.modules[name]
    # Into a directory from which a plain pytest would not find the service.
    (tmp_path / "checks").mkdir()
    assert cli_record.run(parser.parse_args([*arguments[:-1], "checks"])) == 0
    (made,) = (tmp_path / "checks").glob("test_task_*.py")
    assert made.read_text() == source
    assert f"run `python -m pytest checks/{made.name}`, so that recorded_service is found" in (
        capsys.readouterr().err
    )
    assert "`python -m pytest`" in source


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("nowhere", "write MODULE:NAME"),
        ("nowhere:engine", "No module named 'nowhere'"),
        ("json:JSONDecodeErr", "json has no JSONDecodeErr"),
        ("string:ascii_letters", "cannot be fuzzed"),
    ],
)
def test_what_is_no_agent_is_said_in_one_line(
    agent: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-43."""
    parser = argparse.ArgumentParser()
    cli_record.declare(parser)
    options = parser.parse_args(["id", "--store", "sqlite:///tasks.db", "--agent", agent])
    assert cli_record.run(options) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_factory_that_raises_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-43."""
    made = 'def engine():\n    raise RuntimeError("no database here")\n'
    (tmp_path / "recorded_nothing.py").write_text(made)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    parser = argparse.ArgumentParser()
    cli_record.declare(parser)
    named = ["--store", "sqlite:///tasks.db", "--agent", "recorded_nothing:engine"]
    assert cli_record.run(parser.parse_args(["id", *named])) == 2
    err = capsys.readouterr().err
    assert err == "interlock: recorded_nothing:engine raises RuntimeError: no database here\n"


def test_a_task_whose_id_is_hostile_is_only_a_name() -> None:
    """R-FUZZ-43."""
    hostile = 'x"""\nimport os\n"""'
    source = recorded_test([], hostile, "a:b")
    compile(source, "test", "exec")
    assert "\nimport os" not in source
