"""The commands about tasks on a store that processes share, while they run.

R-SCALE-37 (every command, and no agent runs in it), R-SCALE-38 (what is for files says what does
it here), R-SCALE-39 (who loses a race is judged by what is so then).  I17, I23; T20.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest

from interlock import (
    Answer,
    Engine,
    Policies,
    Policy,
    TaskContext,
    TaskRecord,
    Toolbox,
    answer_stopped,
    cancel_stopped,
)
from interlock.errors import Refused
from interlock_adapters.cli import main
from interlock_adapters.cli._tasks_store import _without_handlers
from interlock_adapters.postgres import PostgresStore
from support import soon

CANARY: Final = "canary-of-the-command-7f3a9"


def pay(euro: int) -> str:
    """Pay."""
    return f"paid {euro}"


async def agent(task: TaskContext) -> str:
    """Do what the input says."""
    match task.input.text:
        case "ask":
            return await task.ask("Which?", str)
        case "pay":
            return (await task.call_tool("pay", {"euro": 2})).text
        case "two":
            return "".join(await asyncio.gather(task.ask("One?", str), task.ask("Two?", str)))
        case "wait":
            await asyncio.Event().wait()
            return ""
        case _:
            return "done"


def engine_on(url: str) -> Engine:
    """A replica."""
    tools = Toolbox([pay], policies=Policies({"pay": Policy(confirm="always", allow_edit=True)}))
    return Engine(agent, tools=tools, store=url)


@dataclass
class Typing:
    """Somebody at a terminal, beside a replica that runs."""

    engine: Engine
    url: str
    capsys: pytest.CaptureFixture[str]

    async def run(self, *words: str, code: int = 0) -> str:
        """What a command says that comes to that."""
        # A command has an event loop of its own.
        found = await asyncio.to_thread(main, [*words, "--store", self.url])
        out, err = self.capsys.readouterr()
        assert found == code, (words, out, err)
        assert "Traceback" not in err
        return out + err

    async def said(self, *words: str) -> Any:  # noqa: ANN401  JSON
        """The same as JSON."""
        return json.loads(await self.run(*words, "--json"))

    async def task(self, text: str) -> TaskRecord:
        """A task that came to a rest."""
        return await soon((await self.engine.submit(text, owner="ada")).rest())

    async def result(self, task_id: str) -> object:
        """What it comes to."""
        return await soon((await self.engine.task(task_id, owner="ada")).result())


@asynccontextmanager
async def typing(url: str, capsys: pytest.CaptureFixture[str]) -> AsyncGenerator[Typing]:
    """Somebody who types while a replica runs."""
    async with engine_on(url) as engine:
        yield Typing(engine, url, capsys)


async def test_tasks_are_shown_and_changed_while_replicas_run(
    pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command, and whoever has the turns goes on at once.  R-SCALE-37, I23."""
    async with typing(pg_url, capsys) as at:
        asking, paying, waiting = [await at.task(text) for text in ("ask", "pay", "ask")]
        page = await at.said("tasks", "--phase", "waiting_input", "--limit", "1")
        assert (page["total"], len(page["tasks"])) == (2, 1)
        assert "Which?" in await at.run("show", asking.task_id)
        assert (await at.said("answer", asking.task_id, "Rome"))["phase"] == "running"
        assert await at.result(asking.task_id) == "Rome"
        digest = paying.asks[0].digest
        words = ("approve", paying.task_id, "--digest", str(digest), "--arguments", '{"euro": 5}')
        assert "is running\n" in await at.run(*words, "--as", "joe")
        assert await at.result(paying.task_id) == "paid 5"
        events = (await at.said("show", paying.task_id, "--events"))["events"]
        assert [e["actor"] for e in events if e["trigger"] == "approve"] == ["joe"]
        await at.run("cancel", waiting.task_id, "--reason", "no more")
        assert (await soon(at.engine.over(waiting.task_id, owner=None))).record.shown == "cancelled"
        denied = await at.task("pay")
        await at.run("deny", denied.task_id)
        assert (await soon(at.engine.over(denied.task_id, owner=None))).record.shown == "cancelled"


async def test_a_task_that_runs_elsewhere_is_cancelled(
    pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its holder is told.  R-SCALE-37."""
    async with typing(pg_url, capsys) as at:
        handle = await at.engine.submit("wait", owner="ada")
        async for event in handle.events():
            if event.dest == "running":
                break
        await at.run("cancel", handle.task_id)
        assert (await soon(at.engine.over(handle.task_id, owner=None))).record.shown == "cancelled"


async def test_what_nobody_runs_waits_for_who_does(
    pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No agent runs in a command.  R-SCALE-37."""
    async with engine_on(pg_url) as engine:
        record = await soon((await engine.submit("ask", owner="ada")).rest())
    done = await asyncio.to_thread(main, ["answer", record.task_id, "Rome", "--store", pg_url])
    assert (done, capsys.readouterr().err) == (0, "")
    async with engine_on(pg_url) as engine:
        assert await soon((await engine.task(record.task_id, owner=None)).result()) == "Rome"


async def test_what_is_over_is_forgotten(pg_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One, and all that are old enough.  R-SCALE-37."""
    async with typing(pg_url, capsys) as at:
        first, second = [await at.task("done") for _ in range(2)]
        waiting = await at.task("ask")
        assert "finalized" in await at.run("purge", waiting.task_id, code=1)
        assert "1 task forgotten" in await at.run("purge", first.task_id)
        assert "0 tasks forgotten" in await at.run("purge", "--older-than", "30d")
        assert await at.said("purge", "--older-than", "0s") == {"purged": 1}
        assert "no task" in await at.run("show", second.task_id, code=1)
        assert (await at.said("tasks"))["total"] == 1


async def test_logs_are_checked(pg_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And what is for files alone says what does it here.  R-SCALE-38."""
    url = pg_url.replace("postgres@", f"postgres:{CANARY}@")
    async with typing(pg_url, capsys) as at:
        await at.task("ask")
        for words, code, said in (
            (["verify", url], 0, "is sound"),
            (["doctor", url], 2, "interlock verify checks logs"),
            (["backup", "--store", url, "copy.db"], 2, "pg_dump"),
            (["tasks", "--store", f"mysql://a:{CANARY}@h"], 2, "as postgresql://host/database"),
        ):
            try:
                found = await asyncio.to_thread(main, words)
            except SystemExit as left:
                found = int(left.code or 0)
            out, err = capsys.readouterr()
            assert found == code, (out, err)
            assert said in out + err
            assert CANARY not in out + err


async def test_a_database_without_tasks_is_left_without_them(
    pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name may have a slip in it.  Source: R-SCALE-37, R-CLI-02."""
    for arguments in (["verify", pg_url], ["tasks", "--store", pg_url]):
        assert await asyncio.to_thread(main, arguments) == 1
        out, err = capsys.readouterr()
        assert (out, "there are no tasks in its schema 'interlock'" in err) == ("", True)
    async with await psycopg.AsyncConnection.connect(pg_url) as db:
        found = await db.execute("SELECT FROM pg_namespace WHERE nspname = 'interlock'")
        assert found.rowcount == 0


def test_a_server_that_is_away_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the password.  R-SCALE-37, T20."""
    url = f"postgresql://app:{CANARY}@127.0.0.1:9/tasks"
    for words in (["tasks", "--store", url], ["verify", url]):
        assert main(words) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "127.0.0.1:9/tasks: no connection" in err
        assert len(err.splitlines()) == 1
        assert CANARY not in err


async def test_who_loses_a_race_is_judged_by_what_is_so_then(pg_url: str) -> None:
    """Two answers to two asks are both taken; of two to one ask the first is.  R-SCALE-39, I17."""
    async with engine_on(pg_url) as engine:
        record = await soon((await engine.submit("two", owner="ada")).rest())
        one, two = [ask.key for ask in record.asks]
    store = PostgresStore(pg_url)
    await store.open()
    try:
        given = [Answer(ask=key, value=f"{key}.") for key in (one, two, one)]
        done = await asyncio.gather(
            *(
                answer_stopped(store, record.task_id, a, actor="ada", at=store.clock.now())
                for a in given
            ),
            return_exceptions=True,
        )
        # Whoever has a slot goes on at once: with one turn, however many answers there were.
        assert await store.turns.waiting() == 1
        refused = [each for each in done if isinstance(each, BaseException)]
        assert [isinstance(each, Refused) for each in refused] == [True]
        with pytest.raises(Refused):
            await answer_stopped(store, record.task_id, given[0], actor="ada", at=store.clock.now())
    finally:
        await store.close()
    async with engine_on(pg_url) as engine:
        said = await soon((await engine.task(record.task_id, owner=None)).result())
    assert said == f"{one}.{two}."


async def test_what_is_over_is_not_cancelled(pg_url: str) -> None:
    """As by an engine.  R-SCALE-39."""
    async with engine_on(pg_url) as engine:
        record = await soon((await engine.submit("done", owner="ada")).rest())
    store = PostgresStore(pg_url)
    await store.open()
    try:
        with pytest.raises(Refused):
            await cancel_stopped(store, record.task_id, actor="ada", at=store.clock.now())
    finally:
        await store.close()


def test_on_restate_a_command_serves_no_handlers() -> None:
    """Whatever the URL of the workers says.  R-SCALE-37."""
    url = "restate://h:8080?projection=postgresql%3A%2F%2Fdb%2Ft&serve=0.0.0.0%3A9080&share=1"
    assert _without_handlers(url) == (
        "restate://h:8080?projection=postgresql%3A%2F%2Fdb%2Ft&serve=off&register=no"
    )
