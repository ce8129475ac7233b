"""The console hears of changes from the engine, and looks at nothing.  R-SVC-47."""

import asyncio
from contextvars import Context
from typing import Any, cast

from interlock import Engine, Observer, TaskContext
from interlock_adapters.config import Config, FacesConfig, ServiceConfig
from interlock_adapters.console._pulse import Pulse
from interlock_adapters.service import Service
from interlock_adapters.service._changes import Changes
from interlock_adapters.service._telemetry import observed
from support import soon


async def _agent(task: TaskContext) -> str:
    await task.progress("on the way")
    return "done"


async def _never(_: float) -> None:
    raise AssertionError("nothing is looked at")


async def test_a_commit_wakes_who_listens() -> None:
    """At once, and nobody looks at the store.  Source: R-SVC-47."""
    changes = Changes()
    async with Engine(_agent, store="memory:", observer=changes) as engine:
        pulse = Pulse(engine, sleep=_never, looks=False, look_s=3_600)
        changes.heard = pulse.heard
        async with pulse.listening():
            handle = await engine.submit("x", owner="ada")
            assert await soon(pulse.after(0, 60)) == 1
            await handle.result()
        await engine.submit("y", owner="ada")
        await asyncio.sleep(0)
        assert pulse.beats == 1


async def test_a_busy_engine_wakes_them_now_and_then() -> None:
    """Not for every commit; the last one is not missed.  Source: R-SVC-47."""
    async with Engine(_agent, store="memory:") as engine:
        pulse = Pulse(engine, looks=False, look_s=0.05)
        async with pulse.listening():
            for beats in range(3):
                for _ in range(100):
                    pulse.heard()
                assert pulse.beats == beats
                assert await soon(pulse.after(beats, 60)) == beats + 1


class _Other:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever it is called with
        def news(*about: object, **named: object) -> str:
            self.told.append((name, about, named))
            return "its answer"

        return news


def test_what_is_told_is_passed_on() -> None:
    """All of it, as it was said; alone it says nothing.  Source: R-SVC-47."""
    news = [name for name in vars(Observer) if not name.startswith("_")]
    assert {"committed", "submitting"} <= {*news}
    given: dict[str, tuple[object, ...]] = {
        "opened": (object(),),
        "found": ((),),
        "closed": (),
        "submitting": ("t", "ada", "c", "agent"),
        "submitted": ("t",),
        "committed": (None, object(), (), 0.5),
        "turn_began": (object(), Context()),
        "turn_ended": (object(), "returned", ""),
        "call_began": (object(),),
        "call_ended": (object(), "returned", "", 1),
        "refused": (object(), "tool", "error"),
    }
    for name in news:
        other = _Other()
        about, named = given[name], {"last": True} if name == "found" else {}
        said = getattr(Changes(cast("Observer", other)), name)(*about, **named)
        assert other.told == [(name, about, named)]
        assert said == ("its answer" if name == "submitting" else None)
        assert getattr(Changes(), name)(*about, **named) is None


def test_a_service_with_a_console_is_heard() -> None:
    """And one without is not observed.  Source: R-SVC-47."""
    assert observed(ServiceConfig(faces=FacesConfig(console=False))).observer is None
    told = observed(ServiceConfig())
    assert isinstance(told.observer, Changes)
    Service(Engine(_agent, store="memory:", observer=told.observer), told=told)
    assert told.changes is not None
    assert told.changes.heard is not None
    whole = Service.of(Config(agent=_agent, store="memory:"))
    assert whole.not_ready() == "the engine is not open"
