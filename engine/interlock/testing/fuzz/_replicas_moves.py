"""What goes wrong among replicas, beside all that does with one engine."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from interlock._phases import Trigger
from interlock.testing.fuzz._moves import KINDS, Kind

if TYPE_CHECKING:
    from interlock.testing.fuzz._drive_world import World
    from interlock.testing.fuzz._replicas import ReplicaRun

#: Faults that only replicas know, by the name that switches each on or off.
REPLICA_FAULTS: Final = frozenset({"silence", "hints"})

#: Commits until a process is stopped, at most.
_FREEZES_IN_MAX: Final = 4
#: Seconds by which hints may come late.
_LATE_S: Final = (0.2, 2.0)


async def _silence(run: "ReplicaRun") -> None:
    name = run.process.name
    if run.memory.is_silent(name):
        run.say(f"the heart of {name} beats again")
        run.memory.wake(name)
    else:
        run.say(f"the heart of {name} stops")
        run.memory.silence(name)
        run.expect_trouble()


async def _zombie(run: "ReplicaRun") -> None:
    """It is silent for so long that its turns go to others, and then wakes up."""
    name = run.process.name
    run.say(f"{name} is silent for longer than it may be")
    run.memory.silence(name)
    run.expect_trouble()
    await run.elapse(run.memory.dead_after_s + (0.0 if run.tape.chance(2) else 1.0))
    if run.tape.chance(2):
        run.memory.wake(name)


async def _freeze(run: "ReplicaRun") -> None:
    commits = run.tape.choose(_FREEZES_IN_MAX)
    holders = [run.memory.holder(record.task_id) for record in run.disk.records]
    names = [name for name in holders if name is not None and not run.memory.has_died(name)]
    name = run.tape.pick(names or [run.process.name])
    store = run.store_of(name)
    # Just before something is done outside is the worst time of all.
    store.freezes_at = None if run.tape.chance(3) else Trigger.CALL
    store.freezes_in = 0 if store.freezes_at is not None else commits
    when = "when it next begins a call" if store.freezes_at else f"after {commits + 1} commits"
    run.say(f"{name} is to be stopped {when}, and goes on later")


async def _hints(run: "ReplicaRun") -> None:
    memory = run.memory
    way = run.tape.choose(2 + len(_LATE_S))
    memory.drop_hints = way == 1
    memory.hint_s = _LATE_S[way - 2] if way > 1 else 0.0
    words = f"come {memory.hint_s} s late" if memory.hint_s else "come at once"
    run.say(f"hints {'get lost' if memory.drop_hints else words}")


def _of(act: "Callable[[ReplicaRun], Awaitable[None]]") -> "Callable[[World], Awaitable[None]]":
    """It is only chosen in a run that has replicas."""
    return cast("Callable[[World], Awaitable[None]]", act)


#: All kinds of moves of a run with replicas; a tape names them by their place.
REPLICA_KINDS: Final[Sequence[Kind]] = (
    *KINDS,
    Kind(
        "silence",
        _of(_silence),
        lambda r: bool(r.disk.records),
        frozenset({Trigger.RECOVER}),
        "silence",
    ),
    Kind(
        "zombie",
        _of(_zombie),
        lambda r: bool(r.disk.records),
        frozenset({Trigger.RECOVER}),
        "silence",
        2,
    ),
    Kind(
        "freeze",
        _of(_freeze),
        lambda r: bool(r.disk.records),
        frozenset({Trigger.RECOVER}),
        "silence",
        6,
    ),
    Kind("hints", _of(_hints), lambda _r: True, fault="hints"),
)
