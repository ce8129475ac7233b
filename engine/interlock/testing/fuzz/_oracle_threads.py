"""What must hold of the threads and tasks of an engine that is at rest: none is left (I30).

What an agent or a tool began itself is its own, and so is a function that will not end.
"""

import asyncio
import concurrent.futures.thread
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import interlock
from interlock._phases import OVER
from interlock._thread import Workers
from interlock.testing.fuzz._drive_process import Process
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._oracle_run import Broken
from interlock.testing.fuzz._sim_parts import SimTask
from interlock.testing.fuzz._sim_patches import THREAD
from interlock.testing.fuzz._sim_threads import SimThread

#: Where the engine's own code is.
_PACKAGE: Final = Path(interlock.__file__).parent
#: The names of the engine's threads, before the id of their task.
_TURN, _TOOLS = "turn ", "tools of "


def check_threads(process: Process, disk: Disk, threads: Sequence[SimThread]) -> None:
    """Check that each thread belongs to an agent that runs, or to a task that is not over.

    Raises:
        Broken: one does not.
    """
    threads = [thread for thread in threads if thread not in process.before]
    turns = Counter(t.name.removeprefix(_TURN) for t in threads if t.name.startswith(_TURN))
    for task_id, count in turns.items():
        # The agent is counted while it runs; beyond it a thread has nothing to do.
        if count > process.alive.turns[task_id]:
            raise Broken("I30", f"the agent of {task_id} has ended, and its thread is left")
        if not _may_run(process, disk, task_id):
            raise Broken("I30", f"{task_id} is over, and the thread of its agent is left")
    for thread in threads:
        task_id = thread.name.removeprefix(_TOOLS)
        if task_id == thread.name or not _is_over(process, disk, task_id):
            continue
        if not _is_at_work(thread):
            raise Broken("I30", f"{task_id} is over, and a thread for its tools is left")


def _may_run(process: Process, disk: Disk, task_id: str) -> bool:
    """Whether it is not over, or its agent would not end and was given up."""
    runtime = process.runtime
    if runtime is None or not _is_over(process, disk, task_id):
        return True  # What a closed engine did not wait for ends when it does.
    return any(turn.task_id == task_id for turn in runtime.abandoned)


def _is_over(process: Process, disk: Disk, task_id: str) -> bool:
    """Whether nothing of it runs, as far as the engine knows."""
    runtime, kept = process.runtime, disk.kept(task_id)
    cell = None if runtime is None else runtime.writer.at_hand(task_id)
    if cell is not None and cell.turn is not None and not cell.turn.over:
        return False
    return runtime is None or kept is None or kept[0].phase in OVER


def _is_at_work(thread: SimThread) -> bool:
    """Whether a function is being called there, and it does not wait for the next one."""
    frame: FrameType | None = sys._current_frames().get(thread.ident)  # noqa: SLF001  it is ours
    while frame is not None:
        if frame.f_code is Workers._job.__code__:  # noqa: SLF001  the oracle looks inside
            return True
        frame = frame.f_back
    return False


def _tasks() -> Iterator[tuple[SimTask, bool]]:
    """Every task that is left of a process, and whether it is the engine's; agents are not."""
    here = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is here or not isinstance(task, SimTask) or not task.process.alive:
            continue
        if task.get_name().startswith(_TURN):
            continue  # An agent that will not end, and was given up.
        work: Any = task.get_coro()
        code = getattr(work, "cr_code", None)
        yield task, code is not None and _PACKAGE in Path(code.co_filename).parents


def tasks_of_engine() -> Iterator[str]:
    """What the engine began and has not ended; agents, and what they began beside, are theirs."""
    for task, is_engines in _tasks():
        if is_engines:
            yield str(getattr(task.get_coro(), "__qualname__", task.get_name()))


def _begun(task: SimTask) -> str:
    """What a task does, and where that is written."""
    work: Any = task.get_coro()
    code: CodeType | None = getattr(work, "cr_code", None)
    if code is None:
        return task.get_name()
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{code.co_firstlineno})"


def left_by_agents(process: Process, threads: Sequence[SimThread]) -> Iterator[str]:
    """What agents and tools began and left behind when everything is over, a sentence for each.

    The threads of a pool wait there for more, and are not left.
    """
    after = "when everything was over"
    for task, is_engines in _tasks():
        if not is_engines:
            yield f"an agent or a tool left a task of asyncio behind, {_begun(task)}, {after}"
    queues: dict[object, object] = vars(concurrent.futures.thread)["_threads_queues"]
    pools = [vars(each).get(THREAD) for each in list(queues)]
    for thread in threads:
        if thread in pools or thread in process.before or thread.name.startswith((_TURN, _TOOLS)):
            continue
        name = re.sub("[0-9]+", "N", thread.name)
        yield f"an agent or a tool left a thread behind, {name!r}, {after}"
