"""Our own examples, and the agent of the demo, are fuzzed as a user would fuzz theirs.

R-FUZZ-27.  Those whose tools are behind MCP get the same functions as tools of the service.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from example_files import EXAMPLES, module_at
from interlock import Engine, Policies, Policy, Toolbox
from interlock.testing.fuzz import Report, Target, fuzz
from interlock_adapters.demo.travel import EVERY_AIRLINE, Ledger, travel_agent
from interlock_adapters.smolagents import SmolAgent

#: Runs of each: few, so that all of them take some seconds.
RUNS: Final = 40


def embed(module: ModuleType) -> Target:
    """It asks one question."""
    return Target.of(module.agent)


def mcp_server(module: ModuleType) -> Target:
    """It asks by a form."""
    return Target.of({"book": module.book}, inputs=[{"city": "Rome"}, {"city": "", "nights": 3}])


def payment(module: ModuleType) -> Target:
    """It waits in a phase of its own."""
    return Target.of(Engine({"sell": module.sell}, lifecycle=module.LIFECYCLE))


def starlette_app(module: ModuleType) -> Target:
    """It asks, and is served."""
    return Target.of(module.agent)


def fastapi_app(module: ModuleType) -> Target:
    """It asks, and is served with all faces."""
    return Target.of(module.agent)


def tools(module: ModuleType) -> Target:
    """Its tool is under policy."""
    box = Toolbox([module.book], policies=module.policies)
    return Target.of(Engine(module.agent, tools=box))


def smolagents_mcp(module: ModuleType) -> Target:
    """A plain function on a thread, whose model is a script."""

    def make() -> Engine:
        must_ask = Policy(confirm="always", allow_edit=True, on_deny="tell_agent")
        box = Toolbox([module.book], policies=Policies({"local/book": must_ask}))
        return Engine(SmolAgent(module.make), tools=box)

    return Target.of(make)


def two_replicas(module: ModuleType) -> Target:
    """It calls, and its tool is under policy; who runs it is all the same."""
    box = Toolbox([module.book], policies=Policies({"book": Policy(confirm="always")}))
    return Target.of(Engine(module.agent, tools=box))


TARGETS: Final[tuple[Callable[[ModuleType], Target], ...]] = (
    *(embed, fastapi_app, mcp_server, payment, starlette_app, tools, smolagents_mcp),
    two_replicas,
)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """What gives an example by its name: its definitions only, in a folder of its own."""

    def left(main: Coroutine[Any, Any, None]) -> None:
        main.close()

    def loaded(name: str) -> ModuleType:
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "run", left)
            file = EXAMPLES / f"{name}.py"
            return module_at(file if file.exists() else EXAMPLES / name / "agent.py")

    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return loaded


def taken_in(report: Report) -> set[str]:
    """The triggers that something came of."""
    return {str(trigger) for _, trigger, _ in report.hits}


def test_no_example_is_left_out() -> None:
    """Whoever adds one says how it is fuzzed.  Source: R-FUZZ-27."""
    alone = {path.stem for path in EXAMPLES.glob("*.py")}
    folders = {path.parent.name for path in EXAMPLES.glob("*/agent.py")}
    assert {make.__name__ for make in TARGETS} == alone | folders


@pytest.mark.parametrize("make", TARGETS, ids=[make.__name__ for make in TARGETS])
def test_an_example_holds(
    make: Callable[[ModuleType], Target],
    load: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With every fault, and its tasks come to an end.  Source: R-FUZZ-27."""
    report = fuzz(make(load(make.__name__)), runs=RUNS)
    capsys.readouterr()
    assert report.failures == ()
    assert report.lives > RUNS
    assert taken_in(report) >= {"ask", "complete", "cancel", "expire"}


def test_the_agent_of_the_demo_holds(tmp_path: Path) -> None:
    """It works, asks, books, and waits for airlines that never answer.  Source: R-FUZZ-27."""
    done: list[str] = []

    class InMemory(Ledger):
        def enter(self, key: str) -> None:
            done.append(key)

    agent = travel_agent(0.5, InMemory(tmp_path / "unused"))
    inputs = ["A trip, please.", f"Ask {EVERY_AIRLINE}."]
    report = fuzz(Target.of(agent, inputs=inputs), runs=3 * RUNS)
    assert report.failures == ()
    assert report.lives > RUNS
    assert done
    assert taken_in(report) >= {"ask", "approve", "call", "called", "emit", "complete"}
