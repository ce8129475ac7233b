"""The moves of a run: what clients, people, the clock and bad luck do to an engine."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from interlock._outbox import NewWatch
from interlock._phases import LIVE, OVER, Phase, Trigger
from interlock._record import AskKind, TaskRecord
from interlock.testing.fuzz import _moves_answer as answers
from interlock.testing.fuzz import _moves_late as signals
from interlock.testing.fuzz._drive_process import CHANNEL
from interlock.testing.fuzz._oracle_run import FORGOTTEN_S

if TYPE_CHECKING:
    from interlock.testing.fuzz._drive_world import World

V = TypeVar("V")

#: Does it; what it did, as a line of the trace, or None if there was nothing to do it to.
Act: TypeAlias = "Callable[[World], Awaitable[None]]"

#: Tasks of one run at most.
TASKS_MAX: Final = 5
#: Followers of one run at most.
FOLLOWERS_MAX: Final = 3
#: Commits until a process dies in one, at most.
_DIES_IN_MAX: Final = 4
#: Seconds just beside a deadline.
_BESIDE_S: Final = 0.001

#: What a trace says of the shortest wait.
SECOND: Final = "a second passes"
#: Seconds that some tasks have.
_SOON_S: Final = 15.0

#: Who submits.
OWNERS: Final = ("ada", "bob")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of move."""

    name: str
    act: Act
    #: Whether there is something to do it to just now.
    possible: "Callable[[World], bool]"
    #: What it fires, or leads to.
    triggers: frozenset[Trigger] = frozenset()
    #: The fault that it belongs to; None for what is nobody's fault.
    fault: str | None = None
    #: How often it is chosen on a whim, compared with others.
    weight: int = 1
    #: The same in a run whose clients help: they say what is asked for, and end nothing early.
    helpful: int = 1


async def _submit(run: "World") -> None:
    if run.submissions >= TASKS_MAX:
        return
    text = run.tape.pick(run.target.inputs)
    owner = run.tape.pick(OWNERS)
    names = list(run.process.engine.agents)
    agent = run.tape.pick(names) if len(names) > 1 else None
    task_s = _SOON_S if run.tape.chance(5) else None
    watched = run.tape.chance(3)
    watches = (NewWatch("watch", CHANNEL, {}),) if watched else ()
    token = run.new_token()
    said = f"{owner} submits {text!r:.60}" + (f" to {agent}" if agent else "")
    said += f", to be over in {task_s:.0f} s" if task_s else ""
    step = run.say(said + (", watched" if watched else ""))

    async def submit() -> TaskRecord:
        engine = run.process.engine
        handle = await engine.submit(
            text, owner=owner, agent=agent, token=token, task_s=task_s, watches=watches
        )
        return handle.record

    run.request(step, submit, promise=run.submitted)
    if "duplicate" in run.faults and run.tape.chance(6):
        run.request(run.say("... and repeats it"), submit, promise=run.submitted)


def _live(run: "World") -> list[TaskRecord]:
    return [record for record in run.disk.records if record.phase not in OVER]


async def _cancel(run: "World") -> None:
    # Also what is over: then it must be refused, and change nothing.
    records = run.disk.records
    if not records:
        return
    record = run.choose(records, [r.phase in LIVE for r in records])
    times = 2 if "duplicate" in run.faults and run.tape.chance(5) else 1
    over = record.phase in OVER
    for _ in range(times):
        run.request(
            run.say(f"{record.owner} cancels {record.task_id}"),
            lambda: run.process.engine.cancel(record.task_id, owner=record.owner),
            must_fail="I05" if over else None,
        )


async def _stranger(run: "World") -> None:
    records = run.disk.records
    if not records:
        return
    record = run.tape.pick(records)
    run.request(
        run.say(f"mallory cancels {record.task_id}"),
        lambda: run.process.engine.cancel(record.task_id, owner="mallory"),
        must_fail="I26",
    )


async def _wait(run: "World") -> None:
    now = run.process.clock.now()
    dues = sorted({t.due for r in run.disk.records for t in r.timers() if t.due > now})
    ways = ["a second", "to the next deadline", "until just before the next deadline"]
    if "late" in run.faults:
        ways += ["to just after the next deadline", "well beyond the next deadline"]
    # Who helps does not let a deadline pass while somebody is asked.
    soon = not dues or run.aims & AGENTS or (run.helps and run.asks())
    at = run.tape.towards(len(ways), [0] if soon else [1, *range(len(ways))])
    if not dues or at == 0:
        run.say(SECOND)
        await run.elapse(1.0)
        return
    left = dues[0] - now
    beyond = {1: 0.0, 2: -_BESIDE_S, 3: _BESIDE_S, 4: left + 10.0}[at]
    run.say(f"time passes {ways[at]} ({left:.0f} s)")
    await run.elapse(max(left + beyond, 0.0))


async def _follow(run: "World") -> None:
    records = run.disk.records
    gone = [f for f in run.followers if not f.connected and not f.ended]
    if gone and run.tape.chance(2):
        follower = run.tape.pick(gone)
        run.say(f"{follower.name} comes back to {follower.task_id} after event {follower.place}")
        run.follow(follower)
    elif records and len(run.followers) < FOLLOWERS_MAX:
        record = run.tape.pick(records)
        after = run.tape.choose(record.seq + 1)
        follower = run.new_follower(record, after)
        run.say(f"{follower.name} follows {record.task_id} after event {after}")
        run.follow(follower)


async def _drop(run: "World") -> None:
    there = [f for f in run.followers if f.connected]
    if there:
        follower = run.tape.pick(there)
        run.say(f"{follower.name} loses its connection")
        run.drop(follower)


async def _crash(run: "World") -> None:
    run.say("the process dies, and another begins")
    await run.crash()


async def _crash_in_commit(run: "World") -> None:
    commits = run.tape.choose(_DIES_IN_MAX)
    run.say(f"the process is to die in its {commits + 1}. commit from now")
    run.process.store.dies_in = commits


async def _drain(run: "World") -> None:
    run.say("the engine is drained, and opened again")
    await run.reopen()


async def _forget(run: "World") -> None:
    if not _has_finalized(run):
        return
    reopens = run.tape.chance(3)
    run.say(
        "time passes until what is over is forgotten"
        + (", and the engine is opened again" if reopens else "")
    )
    await run.forgotten(reopens=reopens)


async def _slow(run: "World") -> None:
    store = run.process.store
    store.slow_s = 0.0 if store.slow_s else 0.3
    run.say("the store is slow" if store.slow_s else "the store is fast again")


async def _fail(run: "World") -> None:
    store = run.process.store
    store.fails = not store.fails
    run.say("the store fails" if store.fails else "the store works again")


async def _set_clock(run: "World") -> None:
    seconds = run.tape.pick((-1.0, -30.0, -3_600.0, 1.0, 30.0, 3_600.0))
    run.say(f"the clock is set {'back' if seconds < 0 else 'forward'} by {abs(seconds):.0f} s")
    run.simulation.set_clock(seconds)
    if seconds > 0:
        # Deadlines pass that nobody sees before the engine looks again, within a minute.
        run.trouble_until = max(run.trouble_until, run.simulation.now + FORGOTTEN_S)


async def _lose(run: "World") -> None:
    run.receiver.loses = not run.receiver.loses
    run.say("the receiver of watches is " + ("away" if run.receiver.loses else "back"))


async def _operate(run: "World") -> None:
    stuck = run.stuck()
    if not stuck:
        return
    record, ask = run.tape.pick(stuck)
    choices = ask.schema.get("enum")
    assert isinstance(choices, list)
    decision = run.tape.pick(choices)
    run.request(
        run.say(f"an operator lets {record.task_id} go on: {decision}"),
        lambda: run.process.engine.resume(record.task_id, decision),  # type: ignore[arg-type]
    )


def _has_ask(kind: AskKind) -> "Callable[[World], bool]":
    return lambda run: any(ask.kind is kind for _, ask in run.asks())


def _has_closed(run: "World") -> bool:
    return any(record.closed for record in run.disk.records)


def _has_finalized(run: "World") -> bool:
    # A store that is away is not so for as long as that takes.
    return run.is_quiet and any(r.phase is Phase.FINALIZED for r in run.disk.records)


def _has_queued(run: "World") -> bool:
    return any(record.phase is Phase.SUBMITTED for record in run.disk.records)


def _of(*triggers: Trigger) -> frozenset[Trigger]:
    return frozenset(triggers)


T = Trigger

#: What follows when an agent goes on for a while.
AGENTS: Final = _of(
    *(T.ASK, T.WITHDRAW, T.CALL, T.CALLED, T.NOTE, T.EMIT, T.PROGRESS),
    *(T.COMPLETE, T.FAIL, T.RETRY, T.REJECT, T.STOPPED),
)

#: Every kind, the plainest first; a tape names them by their place.
KINDS: Final[Sequence[Kind]] = (
    Kind("submit", _submit, lambda r: r.submissions < TASKS_MAX, _of(T.SUBMIT), weight=3),
    Kind(
        "wait",
        _wait,
        lambda r: bool(r.disk.records),
        AGENTS | _of(T.EXPIRE, T.OVERRUN, T.ABANDON, T.START),
        weight=3,
    ),
    Kind("answer", answers.answer, _has_ask(AskKind.INPUT), _of(T.PROVIDE_INPUT), None, 4, 30),
    Kind("approve", answers.approve, _has_ask(AskKind.AUTH), _of(T.APPROVE), None, 3, 30),
    Kind("deny", answers.deny, _has_ask(AskKind.AUTH), _of(T.DENY), weight=2, helpful=0),
    Kind("decline", answers.decline, _has_ask(AskKind.INPUT), _of(T.DECLINE), None, 2, 0),
    Kind("cancel", _cancel, lambda r: bool(_live(r)), _of(T.CANCEL), helpful=0),
    Kind("follow", _follow, lambda r: bool(r.disk.records), weight=2),
    Kind(
        "drop",
        _drop,
        lambda r: any(f.connected for f in r.followers),
        fault="disconnect",
        weight=4,
    ),
    Kind("operate", _operate, lambda r: bool(r.stuck()), _of(T.PROVIDE_INPUT), None, 3, 8),
    Kind("drain", _drain, lambda r: bool(r.disk.records), _of(T.RECOVER)),
    Kind("stranger", _stranger, lambda r: bool(r.disk.records)),
    Kind("crash", _crash, lambda r: bool(r.disk.records), _of(T.RECOVER), "crash", 2),
    Kind("crash in commit", _crash_in_commit, lambda _r: True, _of(T.RECOVER), "crash", 2),
    Kind("stale", answers.stale, _has_closed, fault="late"),
    Kind("late", signals.late, lambda r: bool(_live(r)), fault="late", weight=2),
    Kind("reject", signals.reject, _has_queued, _of(T.REJECT), helpful=0),
    Kind("slow", _slow, lambda r: bool(r.disk.records), fault="slow-store"),
    Kind("fail", _fail, lambda r: bool(r.disk.records), fault="failing-store"),
    Kind("clock", _set_clock, lambda r: bool(r.disk.records), fault="clock"),
    Kind("forget", _forget, _has_finalized),
    Kind("lose", _lose, lambda r: bool(r.disk.records), fault="disconnect"),
)
