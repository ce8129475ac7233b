"""The commands about tasks, against a served engine and against a file.  R-SVC-62 to 68; T20.

What is typed, what is shown, and what came of it in the engine or at the next start.
"""

import argparse
import asyncio
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from interlock import Engine, Limits, Phase, TaskRecord
from interlock_adapters._callers.principal import Role
from interlock_adapters.auth import BearerTokens, TokenEntry, hashed, new_token
from interlock_adapters.cli import _backup as cli_backup
from interlock_adapters.cli import _tasks as cli_tasks
from interlock_adapters.cli._common import FAILED, MISUSED, OK, age
from interlock_adapters.cli._tasks_desk import DeskError
from interlock_adapters.cli._tasks_server import ServerDesk, server_url, token_of
from interlock_adapters.cli._tasks_text import Bar, cut, table, width_of
from interlock_adapters.cli._words import clean
from managed import Served, agent

TOKEN: Final = new_token()
READER: Final = new_token()
ESCAPES: Final = "\x1b[2Jred\x07\u202e"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command: its exit code, and what went where."""
    parser = argparse.ArgumentParser(prog="interlock")
    add = parser.add_subparsers().add_parser

    def command(name: str, does: Any, summary: str) -> argparse.ArgumentParser:  # noqa: ANN401  argparse
        made = add(name, help=summary)
        made.set_defaults(run=does)
        return made

    cli_tasks.declare(command)
    cli_backup.declare(command("backup", cli_backup.run, "copy"))
    try:
        options = parser.parse_args(arguments)
        code: int = options.run(options)
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A service with two people."""
    everything = frozenset(Role)
    entries = [
        TokenEntry(hash=hashed(TOKEN), subject="root", roles=everything),
        TokenEntry(hash=hashed(READER), subject="joe"),
    ]
    with Served(BearerTokens(entries)) as made:
        yield made


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of who may do everything, in the environment."""
    monkeypatch.setenv("INTERLOCK_TOKEN", TOKEN)


@pytest.fixture
def where(served: Served, token: None) -> list[str]:
    """The arguments that name the service."""
    del token
    return ["--server", served.url]


class Filed:
    """A file with tasks in it, which no engine has open."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.where: Final = ["--store", f"sqlite:///{path}"]

    def engine(self) -> Engine:
        """An engine that has it."""
        limits = Limits(park_after_s=0)
        return Engine(agent, store=f"sqlite:///{self.path}", limits=limits)

    def task(self, text: str) -> TaskRecord:
        """A task of Ada's that came to a rest."""

        async def made() -> TaskRecord:
            async with asyncio.timeout(60), self.engine() as engine:
                handle = await engine.submit(text, owner="ada")
                record = await handle.rest()
                if text == "astray":
                    await handle.answer(record.asks[0].key, "x")
                    record = await handle.rest()
                return record

        return asyncio.run(made())

    def ended(self, task_id: str) -> TaskRecord:
        """What it comes to when the next engine opens the file."""

        async def over() -> TaskRecord:
            async with asyncio.timeout(60), self.engine() as engine:
                return (await engine.over(task_id, owner=None)).record

        return asyncio.run(over())


@pytest.fixture
def filed(tmp_path: Path) -> Filed:
    """A file of its own."""
    return Filed(tmp_path / "tasks.db")


# --- against a server -----------------------------------------------------------------


def test_tasks_of_a_server_are_listed(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for programs.  Source: R-SVC-62."""
    record = served.task("ask", "zoe")
    code, out, err = run(capsys, "tasks", *where, "--search", "zoe")
    assert (code, err) == (OK, "")
    head, row = out.splitlines()
    assert head.split() == ["TASK", "PHASE", "CHANGED", "OWNER", "WAITS", "FOR"]
    assert row.startswith(f"{record.task_id}  waiting_input  ")
    assert row.endswith("zoe    ask-1: Which?")
    code, out, _ = run(capsys, "tasks", *where, "--search", "zoe", "--json")
    said = json.loads(out)
    assert (said["total"], said["tasks"][0]["task_id"]) == (1, record.task_id)
    code, out, _ = run(capsys, "tasks", *where, "--search", "zoe", "--phase", "completed")
    assert (code, out) == (OK, "no tasks\n")


def test_a_limit_beyond_one_page_is_kept(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And what there is besides is said.  Source: R-SVC-62."""
    for _ in range(3):
        served.task("done", "many")
    _, out, _ = run(capsys, "tasks", *where, "--search", "many", "--limit", "2")
    assert out.splitlines()[-1] == "2 of 3; --limit shows more"
    _, out, _ = run(capsys, "tasks", *where, "--search", "many", "--limit", "500", "--json")
    assert len(json.loads(out)["tasks"]) == 3


def test_an_answer_goes_to_the_server(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The only ask is meant; a text needs no quotes.  Source: R-SVC-63."""
    record = served.task("ask")
    code, out, err = run(capsys, "answer", record.task_id, "12", *where)
    assert (code, out, err) == (OK, f"task {record.task_id} is running\n", "")
    code, out, _ = run(capsys, "show", record.task_id, *where, "--events")
    assert code == OK
    assert "by root" in out
    code, _, err = run(capsys, "answer", record.task_id, "12", *where)
    assert code == FAILED
    assert "has no ask for a value; nothing is open" in err
    assert len(err.splitlines()) == 1


def test_an_answer_is_refused_to_the_server(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Which stops a task that has no default, and says why.  Source: R-SVC-63."""
    record = served.task("ask")
    code, out, err = run(capsys, "decline", record.task_id, *where, "--reason", "not mine")
    assert (code, out, err) == (OK, f"task {record.task_id} is cancelling\n", "")
    _, out, _ = run(capsys, "show", record.task_id, *where, "--events", "--json")
    (declined,) = [e for e in json.loads(out)["events"] if e["trigger"] == "decline"]
    assert declined["data"]["reason"] == "not mine"
    code, _, err = run(capsys, "decline", served.task("authorize").task_id, *where)
    assert (code, "has no ask for a value; open are: ask-1" in err) == (FAILED, True)


def test_a_number_that_no_store_holds_is_refused_before_it_is_sent(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """However deep it is in what was typed.  Source: R-SVC-63."""
    digest = served.task("authorize").asks[0].digest or ""
    at = ["approve", served.task("authorize").task_id, *where, "--digest", digest]
    for typed in ('{"euro": 1e999}', '{"euro": [{"of": -1e999}]}', '{"euro": NaN}'):
        code, _, err = run(capsys, *at, "--arguments", typed)
        assert (code, "numbers up to 1.7e308 are accepted" in err) == (MISUSED, True)


def test_an_approval_needs_what_somebody_saw(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody can be asked, that is the digest.  Source: R-SVC-63, T7."""
    record = served.task("authorize")
    code, out, _ = run(capsys, "show", record.task_id, *where)
    digest = record.asks[0].digest or ""
    assert digest in out
    assert '"euro": 1' in out
    at = ["approve", record.task_id, *where]
    code, _, err = run(capsys, *at)
    assert code == MISUSED
    assert "--digest" in err
    code, _, err = run(capsys, *at, "--digest", "0" * 64)
    assert code == FAILED
    assert "digest" in err
    code, _, err = run(capsys, *at, "--digest", digest, "--arguments", "{")
    assert (code, "is no JSON" in err) == (MISUSED, True)
    code, out, err = run(capsys, *at, "--digest", digest, "--arguments", '{"euro": 3}', "--json")
    assert (code, err) == (OK, "")
    assert json.loads(out)["task_id"] == record.task_id
    # A value is no decision.
    again = served.task("authorize")
    code, _, err = run(capsys, "answer", again.task_id, "x", *where)
    assert (code, "open are: ask-1" in err) == (FAILED, True)
    code, _, err = run(capsys, "deny", again.task_id, *where, "--digest", digest)
    assert (code, "digest" in err) == (FAILED, True)
    code, out, _ = run(capsys, "deny", again.task_id, *where, "--reason", "no")
    assert code == OK
    code, _, _ = run(capsys, "cancel", again.task_id, *where)
    assert code in {OK, FAILED}  # It may be over by now.


def test_an_approval_is_confirmed_at_a_terminal(
    served: Served,
    where: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shown is what would run, and only a yes is one.  Source: R-SVC-63, T7."""
    record = served.task("authorize")
    for said, code in (("no\n", FAILED), ("\n", FAILED), ("y\n", OK)):
        typed, shown = Terminal(said), Terminal()
        monkeypatch.setattr("sys.stdin", typed)
        with monkeypatch.context() as patched:
            patched.setattr("sys.stderr", shown)
            came, _, _ = run(capsys, "approve", record.task_id, *where)
        assert came == code
        assert '"euro": 1' in shown.getvalue()


class Terminal(io.StringIO):
    """A stream that somebody sits at."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_orders_to_a_server(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Cancel, resume and purge.  Source: R-SVC-64."""
    record = served.task("ask")
    code, out, _ = run(capsys, "cancel", record.task_id, *where, "--reason", "enough")
    assert (code, out) == (OK, f"task {record.task_id} is cancelling\n")
    record = served.task("astray")
    code, out, _ = run(capsys, "resume", record.task_id, *where, "--from-scratch")
    assert (code, out) == (OK, f"task {record.task_id} goes on now\n")
    code, _, err = run(capsys, "purge", record.task_id, *where)
    assert (code, len(err.splitlines())) == (FAILED, 1)
    code, out, err = run(capsys, "purge", *where, "--older-than", "0s", "--json")
    assert (code, err) == (OK, "")
    assert json.loads(out)["purged"] >= 1


def test_who_is_not_known_is_told_what_is_accepted(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, without the token.  Source: R-SVC-65, T20."""
    monkeypatch.delenv("INTERLOCK_TOKEN", raising=False)
    code, _, err = run(capsys, "tasks", "--server", served.url)
    assert (code, "INTERLOCK_TOKEN or --token-file" in err) == (FAILED, True)
    monkeypatch.setenv("INTERLOCK_TOKEN", "wrong-token")
    code, _, err = run(capsys, "tasks", "--server", served.url)
    assert (code, "wrong-token" in err, "a valid one is needed" in err) == (FAILED, False, True)
    monkeypatch.setenv("INTERLOCK_TOKEN", READER)
    code, _, err = run(capsys, "purge", "--server", served.url, "--older-than", "1d")
    assert (code, "'operator'" in err, len(err.splitlines())) == (FAILED, True, 1)
    code, _, err = run(capsys, "show", served.task("ask").task_id, "--server", served.url)
    assert (code, err) == (FAILED, "interlock: there is no such task\n")


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """And is one line.  Source: R-SVC-65."""
    file = tmp_path / "token"
    file.write_text("abc\n")
    assert token_of(file, {"INTERLOCK_TOKEN": "other"}) == "abc"
    assert token_of(None, {"INTERLOCK_TOKEN": "other"}) == "other"
    assert token_of(None, {}) is None
    for content in ("", "two words", "two\nlines", "ä"):
        file.write_text(content)
        with pytest.raises(DeskError, match="is accepted"):
            token_of(file, {})
    with pytest.raises(DeskError, match="cannot be read"):
        token_of(tmp_path / "nowhere", {})


def test_a_token_does_not_go_over_the_network_in_clear() -> None:
    """Unless somebody says that the network may be trusted.  Source: R-SVC-65, T20."""
    with pytest.raises(DeskError, match="https is accepted"):
        ServerDesk("http://example.org/manage", "t")
    for url, token, in_clear in (
        ("https://example.org/manage", "t", False),
        ("http://127.0.0.1/manage", "t", False),
        ("http://example.org/manage", None, False),
        ("http://example.org/manage", "t", True),
    ):
        ServerDesk(url, token, in_clear=in_clear).close()


def test_a_proxy_is_not_told_what_goes_to_this_machine(
    where: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be told the token, in clear.  Source: R-SVC-65, T20."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    code, _, err = run(capsys, "tasks", *where)
    assert (code, err) == (OK, "")


def test_addresses_of_servers() -> None:
    """Of a service, or of its management.  Source: R-SVC-65."""
    assert server_url("http://h:1") == "http://h:1/manage"
    assert server_url("https://h/") == "https://h/manage"
    assert server_url("https://h/app/manage/") == "https://h/app/manage"
    for wrong in ("h:1", "ftp://h", "http://", "http://h?x=1", "http://me:pw@h", "http://h:x",
                  "http://h:99999", "http://[::1", "http://a\u2603b"):  # fmt: skip
        with pytest.raises(ValueError, match=r"accepted|never"):
            server_url(wrong)


def test_a_server_that_is_not_there_or_another(
    served: Served, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says which.  Source: R-SVC-65."""
    code, _, err = run(capsys, "tasks", "--server", "http://127.0.0.1:9")
    assert (code, "is it running?" in err, len(err.splitlines())) == (FAILED, True, 1)
    code, _, err = run(capsys, "tasks", "--server", f"{served.url}/elsewhere")
    assert (code, "no management API" in err) == (FAILED, True)
    # As an application of FastAPI says it: its words are no problem of ours.
    desk = ServerDesk("http://127.0.0.1:9/manage", None)
    assert "no management API" in desk._problem_of(
        httpx.Response(404, json={"detail": "Not Found"})
    )
    desk.close()
    code, _, err = run(capsys, "tasks", "--server", "nowhere")
    assert (code, "as http://127.0.0.1:8000" in err) == (MISUSED, True)
    code, _, err = run(capsys, "cancel", "t", *where, "--as", "ada")
    assert (code, "--as goes with --store only" in err) == (MISUSED, True)


# --- against a file -------------------------------------------------------------------


def test_a_file_is_read_while_an_engine_has_it(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not changed: the lock says so, and what to do.  Source: R-SVC-66."""
    record = filed.task("ask")

    async def meanwhile() -> None:
        async with asyncio.timeout(60), filed.engine():
            code, out, _ = await asyncio.to_thread(run, capsys, "tasks", *filed.where)
            assert (code, record.task_id in out) == (OK, True)
            show = ("show", record.task_id, *filed.where, "--json", "--events")
            code, out, _ = await asyncio.to_thread(run, capsys, *show)
            said = json.loads(out)
            assert [event["seq"] for event in said["events"]] == [1, 2, 3]
            assert said["asks"][0]["may_answer"] is True
            answer = ("answer", record.task_id, "x", *filed.where)
            code, _, err = await asyncio.to_thread(run, capsys, *answer)
            assert code == FAILED
            assert "is open already" in err
            assert "stop it first, or say --server URL" in err

    asyncio.run(meanwhile())


def test_an_answer_in_a_file_is_acted_on_at_the_next_start(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checked now; and who it was is in the log.  Source: R-SVC-66."""
    record = filed.task("ask")
    at = ["answer", record.task_id, "Lisbon", *filed.where, "--as", "ada"]
    code, out, err = run(capsys, *at)
    then = "; the engine goes on with it at the next start"
    assert (code, out, err) == (OK, f"task {record.task_id} is running{then}\n", "")
    assert filed.ended(record.task_id).phase is Phase.COMPLETED
    _, out, _ = run(capsys, "show", record.task_id, *filed.where, "--json", "--events")
    said = json.loads(out)
    assert said["result"] == [{"text": "Lisbon"}]
    (answered,) = [e for e in said["events"] if e["trigger"] == "provide_input"]
    assert answered["actor"] == "ada"


def test_decisions_and_orders_in_a_file(filed: Filed, capsys: pytest.CaptureFixture[str]) -> None:
    """As with a server.  Source: R-SVC-66."""
    approved, denied = filed.task("authorize"), filed.task("authorize")
    cancelled, astray, declined = filed.task("ask"), filed.task("astray"), filed.task("ask")
    digest = approved.asks[0].digest or ""
    edited = ["--digest", digest, "--arguments", '{"euro": 7}']
    for arguments in (
        ["approve", approved.task_id, *filed.where, *edited],
        ["deny", denied.task_id, *filed.where, "--reason", "no"],
        ["cancel", cancelled.task_id, *filed.where],
        ["decline", declined.task_id, *filed.where],
        ["resume", astray.task_id, *filed.where, "--from-scratch", "--as", "carol"],
    ):
        code, _, err = run(capsys, *arguments)
        assert (code, err) == (OK, "")
    assert filed.ended(approved.task_id).phase is Phase.COMPLETED
    assert filed.ended(denied.task_id).shown is Phase.CANCELLED
    assert filed.ended(cancelled.task_id).shown is Phase.CANCELLED
    assert filed.ended(declined.task_id).shown is Phase.CANCELLED
    _, out, _ = run(capsys, "show", approved.task_id, *filed.where)
    assert "result    7" in out
    assert "approve        ask-1  by cli:" in out
    _, out, _ = run(capsys, "show", approved.task_id, *filed.where, "--events")
    assert 'ask-1: with {"euro": 7}, edited\n' in out
    _, out, _ = run(capsys, "show", denied.task_id, *filed.where)
    assert "deny           ask-1  by cli:" in out
    assert ": no\n" in out
    _, out, _ = run(capsys, "show", denied.task_id, *filed.where, "--events")
    assert "ask-1; no\n" in out
    assert "by cli:" in out
    _, out, _ = run(capsys, "show", astray.task_id, *filed.where, "--events")
    assert "by carol" in out
    assert "by interlock:operator" not in out
    code, _, err = run(capsys, "cancel", approved.task_id, *filed.where)
    assert (code, len(err.splitlines())) == (FAILED, 1)


def test_a_purge_of_a_file(filed: Filed, capsys: pytest.CaptureFixture[str]) -> None:
    """By age, or one; what goes on stays.  Source: R-SVC-67."""
    waiting, done, other = filed.task("ask"), filed.task("done"), filed.task("done")
    filed.ended(done.task_id)
    code, _, err = run(capsys, "purge", waiting.task_id, *filed.where)
    assert (code, "is waiting_input, and not finalized" in err) == (FAILED, True)
    code, out, _ = run(capsys, "purge", done.task_id, *filed.where)
    assert (code, out) == (OK, "1 task forgotten\n")
    code, out, _ = run(capsys, "purge", *filed.where, "--older-than", "30d")
    assert (code, out) == (OK, "0 tasks forgotten\n")
    code, out, _ = run(capsys, "purge", *filed.where, "--older-than", "0s")
    assert (code, out) == (OK, "1 task forgotten\n")
    _, out, _ = run(capsys, "tasks", *filed.where, "--json")
    assert [task["task_id"] for task in json.loads(out)["tasks"]] == [waiting.task_id]
    code, _, err = run(capsys, "show", other.task_id, *filed.where)
    assert (code, err) == (FAILED, f"interlock: no task '{other.task_id}'\n")


def test_tasks_that_cannot_be_read_are_not_offered_by_a_limit(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """They live by a lifecycle that was not named; no limit shows them.  Source: R-SVC-66."""
    tasks = [filed.task("ask") for _ in range(3)]
    with sqlite3.connect(filed.path) as db:
        for record in tasks[:2]:
            db.execute(
                "UPDATE task SET snapshot = replace(snapshot, 'waiting_input', 'waiting_godot')"
                " WHERE task_id = ?",
                (record.task_id,),
            )
    db.close()
    _, out, _ = run(capsys, "tasks", *filed.where)
    assert out.splitlines()[-1].startswith("1 of 3; 2 cannot be read: name their --lifecycle")
    _, out, _ = run(capsys, "tasks", *filed.where, "--limit", "1")
    assert out.splitlines()[-1] == "1 of 3; --limit shows more"


def test_a_backup_names_its_store_as_verify_does(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """First, or as an option; once.  Source: R-SVC-67."""
    filed.task("done")
    url, copy = filed.where[1], str(filed.path.with_name("copy.db"))
    assert run(capsys, "backup", url, copy)[0] == OK
    for words in ((copy,), (url, copy, *filed.where)):
        code, _, err = run(capsys, "backup", *words)
        assert (code, "say once what is copied, sqlite:///PATH, before FILE" in err) == (
            MISUSED,
            True,
        )


def test_a_backup_is_a_file_of_its_own(filed: Filed, capsys: pytest.CaptureFixture[str]) -> None:
    """Sound, never over another; also while an engine has the file.  Source: R-SVC-67."""
    record = filed.task("ask")
    copy = filed.path.with_name("copy.db")

    async def meanwhile() -> None:
        async with asyncio.timeout(60), filed.engine():
            at = ("backup", str(copy), *filed.where)
            code, out, err = await asyncio.to_thread(run, capsys, *at)
            assert (code, err) == (OK, "")
            assert out.startswith(f"{copy}: 1 tasks, 3 events, ")

    asyncio.run(meanwhile())
    code, _, err = run(capsys, "backup", str(copy), *filed.where)
    assert (code, "is there already" in err) == (FAILED, True)
    code, out, _ = run(capsys, "tasks", "--store", f"sqlite:///{copy}", "--json")
    assert json.loads(out)["tasks"][0]["task_id"] == record.task_id


def test_a_backup_says_what_is_wrong_with_it(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is kept, for it is as good as what was copied.  Source: R-SVC-67."""
    filed.task("done")
    with sqlite3.connect(filed.path) as db:
        db.execute("UPDATE event SET actor = 'mallory' WHERE seq = 2")
    db.close()
    code, out, err = run(
        capsys, "backup", str(filed.path.with_name("c.db")), *filed.where, "--json"
    )
    assert (code, "finding" in err) == (FAILED, True)
    assert json.loads(out)["findings"]


def test_files_that_are_none(
    tmp_path: Path, filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made where nothing was.  Source: R-SVC-66."""
    nowhere = tmp_path / "nowhere.db"
    for arguments in (["tasks"], ["show", "t"], ["cancel", "t"], ["purge", "--older-than", "1d"]):
        code, _, err = run(capsys, *arguments, "--store", f"sqlite:///{nowhere}")
        assert (code, err) == (FAILED, f"interlock: there is no file {nowhere}\n")
    assert not nowhere.exists()
    filed.task("done")
    code, _, err = run(capsys, "tasks", *filed.where, "--phase", "dancing")
    assert (code, "the phases are: submitted, running" in err) == (FAILED, True)


def test_a_file_needs_no_extra(filed: Filed) -> None:
    """Neither a web framework nor an HTTP client.  Source: R-SVC-66."""
    filed.task("ask")
    code = (
        "import argparse, sys\n"
        "for name in ('fastapi', 'starlette', 'httpx', 'jwt'): sys.modules[name] = None\n"
        "from interlock_adapters.cli import _tasks as cli_tasks\n"
        "parser = argparse.ArgumentParser()\n"
        "add = parser.add_subparsers().add_parser\n"
        "def command(name, run, _):\n"
        "    made = add(name)\n"
        "    made.set_defaults(run=run)\n"
        "    return made\n"
        "cli_tasks.declare(command)\n"
        "options = parser.parse_args()\n"
        "sys.exit(options.run(options))\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environ = {**os.environ, "PYTHONPATH": path}

    def done(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", code, "tasks", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environ
        )

    assert "waiting_input" in done(*filed.where).stdout
    refused = done("--server", "http://127.0.0.1:9")
    assert refused.returncode == FAILED
    assert "pip install 'interlock[service]'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


# --- what is typed and shown ----------------------------------------------------------

WRONG: Final[Sequence[tuple[list[str], str]]] = (
    (["tasks"], "--server"),
    (["tasks", "--server", "http://h", "--store", "sqlite:///f"], "not allowed with"),
    (["tasks", "--store", "f.db"], "sqlite:///PATH"),
    (["tasks", "--store", "sqlite:///f", "--limit", "0"], "from 1 on"),
    (["purge", "--store", "sqlite:///f"], "--older-than"),
    (["purge", "--store", "sqlite:///f", "--older-than", "30"], "as 90s, 45min, 12h or 30d"),
    (["resume", "t", "--store", "sqlite:///f"], "--again"),
)


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_call_that_cannot_be_meant_says_what_can(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: R-SVC-68."""
    code, _, err = run(capsys, *arguments)
    assert code == MISUSED
    assert said in err


HALF: Final = "\udcff"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tasks", "--search", HALF], "has half a character; whole text is accepted"),
        (["tasks", "--limit", "9" * 30], "tasks are accepted"),
        (["cancel", "T", "--reason", HALF], "the reason is not JSON"),
    ],
)
def test_what_a_store_cannot_be_asked_is_told_in_one_line(
    filed: Filed, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """An argument need not be text: the shell passes bytes.  Source: R-SVC-68."""
    task = filed.task("ask").task_id
    given = [task if argument == "T" else argument for argument in arguments]
    code, out, err = run(capsys, *given, *filed.where)
    assert (code, out) == (FAILED, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["tasks", "--search", HALF], ["cancel", "t", "--reason", HALF]]
)
def test_what_cannot_be_sent_is_told_in_one_line(
    where: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Source: R-SVC-68."""
    code, out, err = run(capsys, *arguments, *where)
    assert (code, out) == (FAILED, "")
    assert err == "interlock: it has half a character; whole text is accepted\n"


def test_an_input_that_is_no_text_is_told_in_one_line(
    filed: Filed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source: R-SVC-68."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    code, _, err = run(capsys, "answer", filed.task("ask").task_id, "-", *filed.where)
    assert (code, err) == (MISUSED, "interlock: the input is no text in utf-8\n")


def test_lengths_of_time() -> None:
    """Source: R-SVC-68."""
    assert [age(text) for text in ("90s", "1.5h", "45min", "2m", "30d")] == [
        90.0, 5400.0, 2700.0, 120.0, 2_592_000.0,
    ]  # fmt: skip


def test_what_others_wrote_does_not_command_the_terminal(
    filed: Filed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences are shown as signs.  Source: T20, R-SVC-68."""

    async def fill() -> None:
        async with asyncio.timeout(60), filed.engine() as engine:
            await (await engine.submit(ESCAPES, owner=f"ada{ESCAPES}")).over()

    asyncio.run(fill())
    _, out, _ = run(capsys, "tasks", *filed.where)
    task_id = out.splitlines()[1].split()[0]
    _, shown, _ = run(capsys, "show", task_id, *filed.where, "--events")
    assert "red" in shown
    for text in (out, shown):
        assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert clean("a\nb\x1b") == "a b\ufffd"


def test_a_table_fits_its_terminal() -> None:
    """Wide characters count as two, ids are never cut.  Source: R-SVC-68."""
    rows = [["0123456789abcdef", "日本語" * 10, "x" * 50], ["short", "y", "z"]]
    for width in (120, 60, 40):
        lines = table(("ID", "NAME", "TEXT"), rows, width)
        assert all(width_of(line) <= width for line in lines)
        assert lines[1].startswith("0123456789abcdef  ")
    assert "x" * 50 in table(("ID", "NAME", "TEXT"), rows, None)[1]
    assert cut("日本語", 4) == "日…"
    assert width_of("e\u0301") == 1


def test_a_bar_is_shown_at_a_terminal_only() -> None:
    """And leaves nothing behind.  Source: R-SVC-68."""
    shown, piped = Terminal(), io.StringIO()
    for stream in (shown, piped):
        with Bar(stream) as bar:
            bar("copying", 1, 4)
            bar("forgotten", 1200, 0)
    assert piped.getvalue() == ""
    first, second, blank, end = shown.getvalue().split("\r")[1:]
    assert first == "copying [######..................]  25% of 4"
    assert second.rstrip() == "forgotten: 1,200"
    assert (blank.strip(), end) == ("", "")
