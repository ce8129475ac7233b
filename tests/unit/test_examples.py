"""The examples run as they are printed."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette

from example_files import EXAMPLES, module_at
from interlock.testing import ModelTurn
from openai_server import served

ROOT: Final = Path(__file__).parents[2]
#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60

CARD: Final = "/.well-known/agent-card.json"
RPC: Final = "/a2a/rpc"


def code_of(path: Path) -> str:
    """What a file says after its docstring."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.parse(text).body[0].end_lineno
    return "\n".join(text.splitlines()[docstring:]).strip()


async def call(client: httpx.AsyncClient, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of one JSON-RPC call."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = (await client.post(RPC, json=body, headers={"A2A-Version": "1.0"})).json()
    assert "error" not in answer, answer["error"]
    result: dict[str, Any] = answer["result"]
    return result


def said(text: str, **ids: str) -> dict[str, Any]:
    """The parameters of a SendMessage."""
    message = {"role": "ROLE_USER", "messageId": text, "parts": [{"text": text}], **ids}
    return {"message": message}


def test_the_embed_example_asks_and_completes(tmp_path: Path) -> None:
    """It is the first program that anybody runs, in a folder of their own.

    Source: DESIGN 3, R-PKG-05.
    """
    done = subprocess.run(
        [sys.executable, EXAMPLES / "embed.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("A flight, please. To Lisbon, as you wish.\n", "")
    assert done.returncode == 0


def test_the_tools_example_asks_before_it_books(tmp_path: Path) -> None:
    """What is shown is what runs.  Source: DESIGN 7b."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "tools.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    shown = "Allow book? {'flight': 'TP1', 'price': 430}\nbooked TP1 for 430\n"
    assert (done.stdout, done.stderr) == (shown, "")
    assert done.returncode == 0


def test_the_smolagents_example_books_what_was_approved_and_nothing_else(tmp_path: Path) -> None:
    """Of two calls in one message one is changed, and the other refused.  Source: issue 4."""
    done = smolagents_example(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "person: Allow airline/book? {'flight': 'TP1', 'seat': '30E'}",
        "  yes, but seat 1A",
        "person: Allow airline/book? {'flight': 'TP2', 'seat': '30E'}",
        "  no",
        "  (the airline books 1A on TP1)",
        "booked 1A on TP1",
        "book was not run, since the user denied it: one flight is enough",
    ]


def test_the_smolagents_example_takes_a_model_that_is_reached_over_http(tmp_path: Path) -> None:
    """A model asks what it likes, and is told what came of it.  Source: issue 4, build 4."""
    script = [
        ModelTurn.calling("ask_user", question="Window or aisle?"),
        ModelTurn.calling("book", flight="TP2", seat="2A"),
        ModelTurn.calling("final_answer", answer="Nothing was booked."),
    ]
    with served(*script) as server:
        done = smolagents_example(tmp_path, OPENAI_BASE_URL=server.url, OPENAI_MODEL="ours")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "person: Window or aisle?",
        "  as you think best",
        "person: Allow airline/book? {'flight': 'TP2', 'seat': '2A'}",
        "  no",
        "Nothing was booked.",
    ]
    assert [asked["model"] for asked in server.asked] == ["ours"] * 3
    assert "one flight is enough" in str(server.asked[-1]["messages"])


def smolagents_example(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the example, with that of the environment which concerns a model."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, EXAMPLES / "smolagents_mcp.py"],
        cwd=folder,
        env={**others, **environ},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def test_the_embed_example_is_ten_lines_long() -> None:
    """Beside its imports, as the design promises.  Source: DESIGN, use 1."""
    lines = [line for line in code_of(EXAMPLES / "embed.py").splitlines() if line.strip()]
    assert len([line for line in lines if "import" not in line]) <= 10


def test_the_readme_shows_the_embed_example_as_it_is() -> None:
    """A program that is printed and never run is wrong by next month.

    Source: STYLE 2.11, R-PKG-05.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- embed -->\s*```python\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == code_of(EXAMPLES / "embed.py")


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    """The application of `starlette_app.py`, with its tasks in a folder of this test."""
    made = module_at(EXAMPLES / "starlette_app.py").make_app(f"sqlite:///{tmp_path}/tasks.db")
    assert isinstance(made, Starlette)
    return made


async def test_an_application_serves_the_agent_beside_its_own_routes(app: Starlette) -> None:
    """Its health is its own, the card and the tasks are the agent's.  Source: DESIGN, use 1."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/health")).json() == {"accepting": True}
        assert (await client.get(CARD)).json()["name"] == "Travel"

        task = (await call(client, "SendMessage", said("A flight, please.")))["task"]
        assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        task = (await call(client, "SendMessage", said("Lisbon", taskId=task["id"])))["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        result = task["artifacts"][-1]["parts"]
        assert result == [{"text": "A flight to Lisbon, as you wish."}]


async def test_the_application_starts_and_drains_the_engine(app: Starlette) -> None:
    """The engine lives exactly as long as the application.  Source: ours."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/health")).json() == {"accepting": False}
        async with app.router.lifespan_context(app):
            assert (await client.get("/health")).json() == {"accepting": True}
        assert (await client.get("/health")).json() == {"accepting": False}
