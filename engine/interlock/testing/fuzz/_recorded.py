"""A recorded task, lived again: the same requests in the same order must come to the same log.

What people said comes from the log, and what the agent called is answered from it.  The agent's
own code runs, and so do the engine, its policies, limits and lifecycle.  Deadlines pass by a
clock that is set; where an agent waits by itself, it does so in real time.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from interlock._conclusion import OPERATOR_NAME
from interlock._engine import Engine, Resumption
from interlock._event import MACHINES, TIMER, Event
from interlock._memory import OPERATOR
from interlock._phases import Trigger
from interlock._store import Commit, MemoryStore
from interlock._turn import Turn
from interlock.models import Answer, Approval, Denial, Part
from interlock.testing._clock import ManualClock
from interlock.testing.fuzz._calls import Script, answered_by
from interlock.testing.fuzz._ended import end_all
from interlock.testing.fuzz._target import Target

V = TypeVar("V")

#: Seconds of real time until an event that does not come is missed.
WAIT_S: Final = 10.0
#: Seconds of real time that the threads of agents have at the end.
_THREADS_S: Final = 1.0
#: Rounds of the event loop in which nothing more must come at the end.
_ROUNDS: Final = 60

#: What is compared of an event beside its move, where it has it: what was asked or called, and
#: what came of the task.
_COMPARED: Final = ("key", "code", "parts", "name", "tool", "arguments", "prompt")


class Diverged(AssertionError):
    """The task went another way than it did when it was recorded; says where."""


def check_recorded(
    found: object, log: Sequence[Mapping[str, Any]], *, wait_s: float = WAIT_S
) -> None:
    """Live a recorded task again with an engine or agent (`Target.of`).

    `log` is its events as JSON objects, from the first one on.  `wait_s` is how many seconds of
    real time an event may take.

    Raises:
        Diverged: it went another way.
        InvalidInput: `found` is nothing that can be run.
    """
    # What a call showed while it was made is not shown again: it is not made.
    recorded = [event for event in map(Event.from_json, log) if "within" not in event.data]
    player = _Player(Target.of(found), recorded, wait_s)
    with answered_by(Script(recorded, player.store)):
        try:
            player.play()
        finally:
            player.close()


class _Store(MemoryStore):
    """It holds back what would come too early: behind a crash that comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Event] = []
        #: Events that may be written until the process dies.
        self.room: float = float("inf")
        self._more: asyncio.Event = asyncio.Event()

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        if len(self.log) + len(commit.events) > self.room:
            await asyncio.get_running_loop().create_future()
        await super().commit(commit)
        self.log.extend(commit.events)
        self._more.set()
        self._more = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until there are so many events."""
        while len(self.log) < count:
            await self._more.wait()


class _Player:
    """Does what the log says that was done to the task."""

    def __init__(self, target: Target, recorded: Sequence[Event], wait_s: float) -> None:
        assert recorded, "a log has events"
        assert recorded[0].trigger is Trigger.SUBMIT, "a log begins with submit"
        self._target: Final = target
        self._recorded: Final = recorded
        self._wait_s: Final = wait_s
        self._loop: Final = asyncio.new_event_loop()
        self._clock = ManualClock(recorded[0].at)
        self.store: Final = _Store()
        self._task_id: Final[str] = recorded[0].data["task_id"]
        self._engine = self._made()

    def _made(self) -> Engine:
        return self._target.engine(
            store=self.store, clock=self._clock, new_id=lambda: self._task_id
        )

    def play(self) -> None:
        """Live the whole log.

        Raises:
            Diverged: something else came.
        """
        self._hold_back(0)
        self._run(self._engine.start())
        for at, event in enumerate(self._recorded):
            self._come_to(at)
            if len(self.store.log) == at:
                self._cause(at, event)
                self._come_to(at + 1)
        self._run(_pause())
        self._compare(len(self.store.log))

    def _come_to(self, count: int) -> None:
        """Wait for so many events, and see that they are those of the record."""

        async def wait() -> None:
            async with asyncio.timeout(self._wait_s):
                await self.store.until(count)

        try:
            self._run(wait())
        except TimeoutError:
            self._compare(len(self.store.log))
            missing = _told(self._recorded[len(self.store.log)])
            raise Diverged(f"after {len(self.store.log)} events {missing} does not come") from None
        self._compare(len(self.store.log))

    def _compare(self, count: int) -> None:
        for at in range(count):
            came = self.store.log[at]
            if at >= len(self._recorded):
                raise Diverged(f"event {at + 1} was not recorded: {_told(came)}")
            if _seen(came) != _seen(self._recorded[at]):
                was = self._recorded[at]
                differs = ", ".join(_differing(came, was))
                raise Diverged(
                    f"event {at + 1} is {_told(came)}, and was {_told(was)}: {differs} differs"
                )

    def _cause(self, at: int, event: Event) -> None:
        """Do what makes this event come, if it is not the agent or the engine that does."""
        if event.trigger is Trigger.RECOVER:
            self._crash(at)
        elif event.actor == TIMER or (event.trigger is Trigger.START and at > 1):
            self._fall_due(len(self._row(at, lambda e: e.actor == TIMER)) or 1)
        elif _is_said(event):
            self._go_on(event.at - self._recorded[max(at - 1, 0)].at)
            # At once, for the agent did nothing in between: it might now.
            said = self._row(at, _is_said)

            async def together() -> None:
                await asyncio.gather(*map(self._say, said))

            self._run(together())

    def _row(self, at: int, fits: Callable[[Event], bool]) -> list[Event]:
        """The events from there on that fit, up to the first that does not."""
        return list(itertools.takewhile(fits, self._recorded[at:]))

    def _fall_due(self, count: int) -> None:
        """Time passes until so many deadlines of the task have come."""
        record = self._run(self.store.get(self._task_id))
        dues = [] if record is None else sorted(timer.due for timer in record.timers())
        if dues:
            self._elapse(max(dues[min(count, len(dues)) - 1] - self._clock.now(), 0.0))

    def _go_on(self, seconds: float) -> None:
        """Some seconds pass, but no deadline of the task."""
        record = self._run(self.store.get(self._task_id))
        if record is not None and record.due is not None:
            seconds = min(seconds, max(record.due - self._clock.now(), 0.0) / 2)
        self._elapse(max(seconds, 0.0))

    def _elapse(self, seconds: float) -> None:
        async def advance() -> None:
            self._clock.advance(seconds)
            await _pause()

        self._run(advance())

    async def _say(self, event: Event) -> None:
        data, owner = event.data, self._recorded[0].data["owner"]
        of: dict[str, Any] = {"owner": owner, "actor": event.actor}
        acting = {**of, "roles": data.get("roles", ())}
        match event.trigger:
            case Trigger.SUBMIT:
                await self._submit(data)
            case Trigger.PROVIDE_INPUT if data["key"].startswith(OPERATOR):
                decision = cast("Resumption", data["value"])
                who = None if event.actor == OPERATOR_NAME else event.actor
                await self._engine.resume(self._task_id, decision, actor=who)
            case Trigger.PROVIDE_INPUT:
                answer = Answer(ask=data["key"], value=data["value"])
                await self._engine.answer(self._task_id, answer, **acting)
            case Trigger.DECLINE:
                reason = data.get("reason")
                await self._engine.decline(self._task_id, data["key"], reason=reason, **acting)
            case Trigger.APPROVE | Trigger.DENY:
                await self._engine.decide(self._task_id, _decision(event), **acting)
            case Trigger.CANCEL:
                await self._engine.cancel(self._task_id, reason=data.get("reason"), **of)
            case _:
                raise Diverged(f"nobody can be the cause of {_told(event)}")

    async def _submit(self, data: Mapping[str, Any]) -> None:
        await self._engine.submit(
            [Part.model_validate(part) for part in data["parts"]],
            owner=data["owner"],
            agent=data.get("agent"),
            context_id=data["context_id"],
            metadata=data.get("metadata"),
            task_s=max(data["due"] - self._recorded[0].at, 1.0),
        )

    # --- the process ---------------------------------------------------------------------

    def _crash(self, at: int) -> None:
        """The process dies, and another takes over."""
        self._kill()
        self._hold_back(at + 1)
        self._clock = ManualClock(self._clock.now())
        self._engine = self._made()
        self._run(self._engine.start())

    def _hold_back(self, start: int) -> None:
        """Let nothing be written behind the next crash that comes at or after `start`."""
        crashes = (
            at
            for at, event in enumerate(self._recorded)
            if at >= start and event.trigger is Trigger.RECOVER
        )
        self.store.room = next(crashes, float("inf"))

    def _turns(self) -> list[Turn]:
        runtime = self._engine._runtime  # noqa: SLF001
        cells = () if runtime is None else runtime.writer.cells()
        return [cell.turn for cell in cells if cell.turn is not None]

    def _kill(self) -> None:
        """What was alive is gone, without a word to the store."""
        for turn in self._turns():
            turn.fence()
            turn.let_go()
        end_all(self._loop)

    def close(self) -> None:
        """Let go of everything; threads may come to their end before that."""
        turns = self._turns()
        for turn in turns:
            turn.fence()
        if turns:
            ends = [turn.done for turn in turns]
            self._loop.run_until_complete(asyncio.wait(ends, timeout=_THREADS_S))
        self._kill()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, V]) -> V:
        return self._loop.run_until_complete(coroutine)


async def _pause() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def _is_said(event: Event) -> bool:
    """Whether it is of somebody's saying."""
    return event.actor not in MACHINES or event.trigger is Trigger.SUBMIT


def _decision(event: Event) -> Approval | Denial:
    data = event.data
    said: dict[str, Any] = {
        "ask": data["key"],
        "digest": data["digest"],
        "reason": data.get("reason"),
    }
    if event.trigger is Trigger.DENY:
        return Denial(decision="deny", **said)
    arguments = data["arguments"] if data["edited"] else None
    return Approval(decision="approve", arguments=arguments, **said)


def _seen(event: Event) -> Mapping[str, object]:
    """What must be the same again."""
    return {
        "trigger": event.trigger,
        "source": event.source,
        "dest": event.dest,
        # Whether a turn or the engine says that it has stopped depends on whether it was parked.
        "actor": None if event.actor in MACHINES else event.actor,
        **{name: event.data.get(name) for name in _COMPARED},
    }


def _differing(one: Event, other: Event) -> list[str]:
    """The names of what is not the same; what it is may be secret."""
    a, b = _seen(one), _seen(other)
    return [name for name in a if a[name] != b[name]]


def _told(event: Event) -> str:
    """An event in a few words; what it carries may be secret, and is told by name only."""
    key = event.data.get("key") or event.data.get("code") or ""
    return f"{event.trigger}{f' {key}' if key else ''} to {event.dest}"
