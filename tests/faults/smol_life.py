"""One life of a process with one task: opens the engine, answers what is asked, and is killed.

What a person would know who looks at the world decides what is said to a call in doubt.
"""

import asyncio
import json
import logging
import os
import signal
import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults import failpoints, world
from faults.failpoints import Plan
from faults.smol_agents import KINDS, Kind, KindName, own_call
from interlock import AskKind, Engine, Limits, OpenAsk, TaskHandle, Trigger
from interlock._journal import Journal
from interlock._sqlite import SqliteStore
from interlock.testing import violations
from interlock_adapters.smolagents import SmolAgent

#: Nobody is asked because of the kills.
LIMITS: Final = Limits(recoveries_max=1_000, drain_s=5.0, grace_s=3.0)
#: Seconds after which a life hangs.
HANG_S: Final = 120.0
DOUBT: Final = "interlock:in-doubt-"
OPERATOR: Final = "interlock:operator-"
OUTCOME: Final = "outcome.json"
WORLD: Final = "world.jsonl"
LOG: Final = "life.log"
STORE: Final = "tasks.db"


class Life(NamedTuple):
    """How one process lives."""

    directory: Path
    kind: KindName
    plan: Plan = Plan()
    #: Seconds after which it is killed, wherever it is; None never.
    within_s: float | None = None
    #: Bytes that are torn off the end of what it wrote, as by a disk that had not yet all of it.
    torn_off: int = 0
    #: A planted bug: what is in doubt is simply made again.
    forgets_doubts: bool = False
    park_after_s: float | None = 0.0


def live(life: Life) -> int:
    """Fork a process that lives so, and wait for its end; its code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, life.within_s or HANG_S)
            asyncio.run(_lived(life))
            code = 0
        except BaseException:  # noqa: BLE001  this process ends here, whatever it is
            with (life.directory / LOG).open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
        finally:
            logging.shutdown()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if life.torn_off and code == -signal.SIGKILL:
        _tear(life.directory / f"{STORE}-wal", life.torn_off)
    return code


def _tear(log: Path, off: int) -> None:
    """Leave half of the last transaction in the log of changes."""
    size = log.stat().st_size
    os.truncate(log, max(0, size - off))


async def _lived(life: Life) -> None:
    logging.basicConfig(
        filename=life.directory / LOG, format="%(process)d %(name)s %(message)s", force=True
    )
    world.settle(life.directory / WORLD)
    failpoints.follow(life.plan)
    if life.forgets_doubts:
        _forget_doubts()
    kind, path = KINDS[life.kind], life.directory / STORE
    engine = Engine(
        SmolAgent(kind.make, allow_code=life.kind == "code"),
        tools=kind.toolbox(),
        store=SqliteStore(path),
        limits=LIMITS.model_copy(update={"park_after_s": life.park_after_s}),
    )
    async with engine:
        handle = await engine.submit("Book a flight.", owner="ada", token="the task")  # noqa: S106
        while (record := await handle.rest()).asks:
            await _answered(engine, handle, record.asks[0], kind, life.directory / WORLD)
        view = await engine.view(handle.task_id, owner="ada")
        result = await handle.result()
    store = SqliteStore(path)
    await store.open()
    outcome = {"result": result, "broken": violations(view.events), "verify": await store.verify()}
    await store.close()
    (life.directory / OUTCOME).write_text(json.dumps(outcome), encoding="utf-8")


async def _answered(
    engine: Engine, handle: TaskHandle, ask: OpenAsk, kind: Kind, world_file: Path
) -> None:
    """Say what a person would."""
    if ask.key.startswith(OPERATOR):
        raise AssertionError(f"an operator is asked: {ask.prompt}")
    if ask.key.startswith(DOUBT):
        await handle.answer(ask.key, await _known(engine, handle, ask, world_file))
    elif ask.kind is AskKind.INPUT:
        (answer,) = [said for words, said in kind.answers.items() if words in ask.prompt]
        await handle.answer(ask.key, answer)
    elif ask.arguments in kind.denied:
        await handle.deny(ask, reason="too far")
    else:
        await handle.approve(ask)


async def _known(
    engine: Engine, handle: TaskHandle, ask: OpenAsk, world_file: Path
) -> dict[str, Any]:
    """Whether a call in doubt was done, and what it gave, by the world."""
    _, key = ask.key.removeprefix(DOUBT).split("-", 1)
    view = await engine.view(handle.task_id, owner="ada")
    begun = next(e.data for e in view.events if e.trigger is Trigger.CALL and e.data["key"] == key)
    names = {f"{handle.task_id}/{key}", own_call(begun["name"], begun["arguments"])}
    for effect in world.effects_in(world_file):
        if effect.call in names:
            return {"decision": "use_value", "value": effect.what["gave"]}
    return {"decision": "run_again"}


def _forget_doubts() -> None:
    async def nothing(*_: object) -> None:
        return None

    setattr(Journal, "_in_doubt", nothing)  # noqa: B010
