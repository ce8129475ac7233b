"""The page for those who come from agent-runtime-sdk: what it says of clients is so here.

R-DOCS-23 (the service of the page, called by a client of A2A 0.3), R-DOCS-24 (the same in Python,
and its words and links are those of the code).
"""

import ast
import asyncio
import gc
import re
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp

from doc_blocks import blocks_on
from example_files import module_at
from interlock import Limits, Policy
from interlock.testing import ModelCall, ModelTurn
from interlock_adapters.config import load_config
from interlock_adapters.service import Service
from interlock_adapters.vocabulary import ENGLISH_AND_CHINESE
from openai_server import served

#: A model's client that goes down with a denied turn is closed when the collector comes by.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning"
)
ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "howto" / "migrate.md"
#: What each language is for; that of before.py was run by hand, where its package is.
CHECKED: Final = frozenset({"python", "yaml", "json"})
DONE: Final = ModelTurn(calls=(ModelCall("final_answer", {"answer": "done"}),))
PAY: Final = ModelTurn(calls=(ModelCall("pay", {"amount": "5", "to": "Alice"}),))
TWO: Final = ModelTurn(
    calls=(
        ModelCall("pay", {"amount": "5", "to": "Alice"}),
        ModelCall("pay", {"amount": "5000", "to": "Bob"}),
    )
)


def file_of(name: str) -> str:
    """The file of that name that the page shows."""
    (text,) = (block.text for block in blocks_on(PAGE) if block.file == name)
    return text


@pytest.fixture(autouse=True)
def forgotten() -> Generator[None]:
    """Modules of the page are forgotten, and so is where they were."""
    path, had = [*sys.path], {*sys.modules}
    yield
    gc.collect()
    sys.path[:] = path
    for name in ({*sys.modules} - had) & {"plugin", "after", "after_example"}:
        del sys.modules[name]


@asynccontextmanager
async def bank() -> AsyncGenerator[tuple[str, list[str]]]:
    """The URL of an MCP server over HTTP, and what it paid."""
    server, paid = MCPServer("bank", log_level="WARNING"), list[str]()

    def pay(amount: float, to: str) -> str:
        """Pay somebody."""
        paid.append(f"{amount:g} to {to}")
        return f"paid {amount} to {to}"

    server.tool()(pay)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", ws="none")
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", paid
    finally:
        running.should_exit = True
        await serving


class Caller:
    """A client of A2A 0.3 that says no version, as it is on the wire."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http: Final = http
        self._sent = 0

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """What comes back."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = (await self._http.post("/", json=body)).json()
        return answer

    async def send(self, said: object, task: str = "") -> dict[str, Any]:
        """A message: a text or data."""
        self._sent += 1
        part = (
            {"kind": "text", "text": said}
            if isinstance(said, str)
            else {"kind": "data", "data": said}
        )
        message: dict[str, Any] = {
            "kind": "message",
            "messageId": str(self._sent),
            "role": "user",
            "parts": [part],
        }
        if task:
            message["taskId"] = task
        return await self.call("message/send", {"message": message})


@asynccontextmanager
async def calling(app: ASGIApp, lifespan: Any) -> AsyncGenerator[Caller]:  # noqa: ANN401
    """A client of an application that is up."""
    here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        lifespan(app),
        httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:10020") as http,
    ):
        yield Caller(http)


@asynccontextmanager
async def page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *script: ModelTurn
) -> AsyncGenerator[tuple[Caller, list[str]]]:
    """The service of the page with that model, its client, and what it paid."""
    for name in ("app.yaml", "plugin.py"):
        (folder / name).write_text(file_of(name))
    monkeypatch.chdir(folder)
    async with bank() as (url, paid):
        with served(*script) as model:
            for name, value in variables(model.url, url).items():
                monkeypatch.setenv(name, value)
            service = Service.of(load_config(folder / "app.yaml"))
            app: Any = service.app
            async with calling(app, app.router.lifespan_context) as caller:
                yield caller, paid


def variables(model: str, mcp: str) -> dict[str, str]:
    """Those that the page names."""
    return {
        "MODEL_SOURCE_MODEL_ID": "scripted",
        "MODEL_SOURCE_API_BASE": model,
        "MODEL_SOURCE_API_KEY": "k",
        "MCP_BANK_URL": mcp,
    }


def state_of(answer: dict[str, Any]) -> str:
    """Of the task that came back."""
    return str(answer["result"]["status"]["state"])


def asks_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of the message of a task that waits."""
    parts = answer["result"]["status"]["message"]["parts"]
    return [part["data"] for part in parts if part["kind"] == "data"]


async def test_a_client_in_words_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auth-required`, then "yes", then `completed` with the artifact.  R-DOCS-23."""
    async with page(tmp_path, monkeypatch, PAY, DONE) as (caller, paid):
        waits = await caller.send("Pay Alice.")
        assert (state_of(waits), paid) == ("auth-required", [])
        over = await caller.send("同意", waits["result"]["id"])
        assert (state_of(over), paid) == ("completed", ["5 to Alice"])
        names = [artifact["artifactId"] for artifact in over["result"]["artifacts"]]
        assert names[-1] == "result"


async def test_data_without_a_name_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is accepted is said, in the form of the page; denied is `canceled` and stays.

    R-DOCS-23.
    """
    async with page(tmp_path, monkeypatch, PAY) as (caller, paid):
        waits = await caller.send("Pay Alice.")
        task_id = waits["result"]["id"]
        error = (await caller.send({"approve": True}, task_id))["error"]
        assert "decides nothing" in error["message"]
        (form,) = (ast.literal_eval(b.text) for b in blocks_on(PAGE) if b.language == "json")
        assert all(f'"{key}"' in error["message"] for key in form)
        (asked,) = (ask for ask in asks_of(waits) if "digest" in ask)
        decision = {"ask": asked["ask"], "digest": asked["digest"], "decision": "deny"}
        assert form.keys() == decision.keys()
        assert state_of(await caller.send(decision, task_id)) == "canceled"
        assert state_of(await caller.call("tasks/get", {"id": task_id})) == "canceled"
        assert paid == []


async def test_each_of_two_calls_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a cancel of a task that waits is answered with the cancelled task.  R-DOCS-23."""
    async with page(tmp_path, monkeypatch, TWO) as (caller, paid):
        waits = await caller.send("Pay both.")
        asked = [ask["arguments"] for ask in asks_of(waits) if "digest" in ask]
        assert asked == [{"amount": 5, "to": "Alice"}, {"amount": 5000, "to": "Bob"}]
        cancelled = await caller.call("tasks/cancel", {"id": waits["result"]["id"]})
        assert (state_of(cancelled), paid) == ("canceled", [])


async def test_the_same_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for the same, on the same path.  R-DOCS-24."""
    for name in ("after.py", "plugin.py"):
        (tmp_path / name).write_text(file_of(name))
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))
    async with bank() as (url, _):
        with served(PAY) as model:
            for name, value in variables(model.url, url).items():
                monkeypatch.setenv(name, value)
            app = module_at(tmp_path / "after.py").app
            async with calling(app, app.router.lifespan_context) as caller:
                assert state_of(await caller.send("Pay Alice.")) == "auth-required"


def test_what_it_names_is_there() -> None:
    """Settings, defaults, words, links.  R-DOCS-24."""
    text = PAGE.read_text(encoding="utf-8")
    compile(file_of("before.py"), "before.py", "exec")
    assert not Policy().allow_edit
    assert {"ask_s", "task_s", "run_s", "grace_s"} <= {*Limits.model_fields}
    assert (Limits().ask_s, Limits().task_s, Limits().run_s) == (86_400, 604_800, 3_600)
    words = {word for said in ("approve", "deny") for word in getattr(ENGLISH_AND_CHINESE, said)}
    named = re.findall(r"^    (?:approve|deny)_words: \[(.*)\]$", text, re.MULTILINE)
    assert {word.strip('" ') for line in named for word in line.split(",")} <= words
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGE.parent / target).exists(), target
