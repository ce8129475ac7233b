"""Any order of signals keeps the promises of a life, and the record is what the log says.

The machine drives `fire` alone, without engine and store, against a model of the world: which
questions are open and until when, whether a turn is alive and under which epoch, how much run
time is left.  Each rule predicts from that model whether its signal is accepted.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock._effects import (
    Effect,
    Release,
    ResumeTurn,
    StartTurn,
    StopTurn,
    TimerKind,
)
from interlock._event import AGENT, ENGINE, TIMER, Event, Signal
from interlock._json import digest
from interlock._machine import LIFECYCLE, Move, fire, fold
from interlock._phases import WAITING, Phase, Trigger
from interlock._record import TaskRecord
from interlock.errors import IllegalTrigger, Refused
from interlock.testing import violations

OWNER: Final = "ada"
KEYS: Final = ("a", "b", "c", "d", "e")
#: Which of the open asks a signal is about, and what is wrong with it: mostly nothing.
PICKED: Final = st.integers(0, 3)
#: Random signals alone would hardly ever be right in all their data at once.
SPOILT: Final = st.sampled_from(["", "", "", "", "key", "kind", "actor", "data", "late", "ghost"])
ASKS_MAX: Final = 5
LOG_MAX: Final = 60
GRACE_S: Final = 5.0
ARGUMENTS: Final = {"seats": 1}


@dataclass(frozen=True)
class Question:
    """What the world knows of an open ask."""

    kind: str
    due: float
    on_expire: str
    on_deny: str
    allow_edit: bool
    approvers: tuple[str, ...]
    digest: str

    def accepts(self, actor: str, at: float) -> bool:
        """Whether that person may still answer."""
        human = actor not in {AGENT, ENGINE, TIMER}
        return human and at < self.due and (not self.approvers or actor in self.approvers)

    @property
    def stops_on_decline(self) -> bool:
        """What its policy says."""
        return self.on_expire != "default" and self.on_deny == "stop"

    @property
    def stops_on_expiry(self) -> bool:
        """What its policy says."""
        return self.on_expire == "fail" or (self.on_expire == "deny" and self.on_deny == "stop")


class Life(RuleBasedStateMachine):
    """One task from its submission on, with everybody who has a say in it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.forget()

    def forget(self) -> None:
        """A blank world for the next task."""
        self.log: list[Event] = []
        self.open: dict[str, Question] = {}
        self.spent: set[str] = set()
        #: The epoch of the turn that is alive and counts; None if there is none.
        self.turn: int | None = None
        self.not_before: float | None = None
        self.run_due: float | None = None
        self.run_left_s: float | None = None
        self.stop: str | None = None
        self.grace_due = 0.0
        self.outcome: Phase | None = None
        self.over = False
        self.releases = 0

    # --- firing, and what the world makes of it ---------------------------------------

    @initialize(task_s=st.sampled_from([50.0, 500.0]))
    def the_first_begins(self, task_s: float) -> None:
        """There is always a task."""
        self.submit(task_s)

    @precondition(lambda self: self.over)
    @rule(task_s=st.sampled_from([50.0, 500.0]))
    def another_begins(self, task_s: float) -> None:
        """With the end of one there is room for the next."""
        self.stored()
        self.forget()
        self.submit(task_s)

    def submit(self, task_s: float) -> None:
        """A task begins."""
        self.due = self.now + task_s
        data: dict[str, Any] = {"task_id": "t", "owner": OWNER, "context_id": "c", "due": self.due}
        move = LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, OWNER, self.now))
        self.record: TaskRecord = move.record
        self.log.append(move.event)

    def send(
        self, trigger: Trigger, actor: str, data: Mapping[str, Any], *, fits: bool
    ) -> Move | None:
        """Fire, compare with the prediction, keep the log; None if it was refused."""
        before = copy.deepcopy(self.record)
        signal = Signal(trigger, data, actor, self.now)
        if not fits:
            with pytest.raises(Refused) as caught:
                fire(self.record, signal)
            assert self.record == before
            assert (caught.value.phase, caught.value.trigger) == (before.phase, trigger)
            return None
        move = fire(self.record, signal)
        assert self.record == before
        self.record = move.record
        self.log.append(move.event)
        for effect in move.effects:
            self.act(effect)
        return move

    def act(self, effect: Effect) -> None:
        """The world does as it is told, and asserts that it can."""
        match effect:
            case StartTurn(replay=replay):
                assert replay or self.turn is None, "two turns at once"
                self.turn = self.record.epoch
            case ResumeTurn():
                assert self.turn is not None
                self.turn = self.record.epoch
            case StopTurn():
                assert self.turn is not None, "no turn was there to stop"
            case Release():
                self.releases += 1
            case _:
                pass

    @property
    def phase(self) -> Phase:
        """Where the task stands, told from the world's facts alone."""
        if self.over:
            return Phase.FINALIZED
        if self.outcome is not None:
            return self.outcome
        if self.stop is not None:
            return Phase.CANCELLING
        if any(question.kind == "auth" for question in self.open.values()):
            return Phase.WAITING_AUTH
        if self.open:
            return Phase.WAITING_INPUT
        return Phase.SUBMITTED if self.turn is None else Phase.RUNNING

    @property
    def at_work(self) -> bool:
        """Whether the agent may act: it runs, or another branch of it waits."""
        return self.phase is Phase.RUNNING or self.phase in WAITING

    def epoch(self, *, stale: bool) -> int:
        """The current epoch, or that of a turn which was fenced off."""
        return self.record.epoch - 1 if stale else self.record.epoch

    def close(self, key: str) -> None:
        """One question less; with the last, the run clock goes on."""
        del self.open[key]
        self.spent.add(key)
        if not self.open:
            left = self.run_left_s
            self.run_due, self.run_left_s = None if left is None else self.now + left, None

    def stopping(self, cause: str) -> None:
        """The turn was told to stop; nothing is open any more."""
        self.stop, self.grace_due = cause, self.now + GRACE_S
        self.spent |= set(self.open)
        self.open, self.run_due, self.run_left_s = {}, None, None

    def ended(self, outcome: Phase) -> None:
        """The task has its outcome; its turn is gone or fenced off."""
        self.outcome, self.stop, self.turn, self.run_due = outcome, None, None, None
        self.not_before = None

    def picked(self, nth: int, kinds: tuple[str, ...] = ("input", "auth")) -> str:
        """The key of an open ask of those kinds, if there is one, else some key."""
        keys = sorted(key for key, question in self.open.items() if question.kind in kinds)
        return keys[nth % len(keys)] if keys else KEYS[nth]

    def person(self, question: Question | None, *, wrong: bool) -> str:
        """Who answers: one who may, or one who may not."""
        if wrong:
            return OWNER if question and question.approvers else AGENT
        return question.approvers[0] if question and question.approvers else OWNER

    # --- time -------------------------------------------------------------------------

    @precondition(lambda self: self.record.seq % 3 == 2)
    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def time_passes(self, seconds: float) -> None:
        """A while."""
        self.now += seconds

    @precondition(lambda self: self.record.due is not None and self.lived)
    @rule(to_the_instant=st.booleans())
    def the_next_deadline_comes(self, *, to_the_instant: bool) -> None:
        """Up to the very instant, or just before it."""
        assert self.record.due is not None
        self.now = max(self.now, self.record.due - (0.0 if to_the_instant else 0.25))

    # --- the engine -------------------------------------------------------------------

    @precondition(lambda self: self.phase is Phase.SUBMITTED)
    @rule(run_s=st.sampled_from([None, 20.0, 200.0]))
    def a_slot_is_free(self, run_s: float | None) -> None:
        """It starts, unless it was told to wait first."""
        fits = self.not_before is None or self.now >= self.not_before
        if self.send(Trigger.START, ENGINE, {"run_s": run_s}, fits=fits):
            self.run_due = None if run_s is None else self.now + run_s
            self.not_before = None

    @precondition(lambda self: self.phase is Phase.SUBMITTED and self.lived)
    @rule(stale=st.booleans())
    def it_is_not_admitted(self, *, stale: bool) -> None:
        """By whoever knows how it stands: a turn that failed and is to be tried again is nobody."""
        data = {"epoch": self.epoch(stale=stale), "code": "c", "message": "m"}
        if self.send(Trigger.REJECT, ENGINE, data, fits=not stale):
            self.ended(Phase.REJECTED)

    @precondition(lambda self: self.turn is not None and self.record.seq % 3 == 0)
    @rule(run_s=st.sampled_from([None, 20.0]))
    def the_worker_is_lost(self, run_s: float | None) -> None:
        """A running turn is replayed, a stopping one is fenced; a parked one is not needed."""
        fits = self.phase in {Phase.RUNNING, Phase.CANCELLING}
        if self.send(Trigger.RECOVER, ENGINE, {"run_s": run_s}, fits=fits):
            assert self.turn is not None
            if self.phase is Phase.RUNNING:
                assert self.turn == self.record.epoch
                self.run_due = None if run_s is None else self.now + run_s
            self.turn = self.record.epoch

    @precondition(lambda self: self.outcome is not None)
    @rule(deliveries_left=st.integers(0, 1))
    def the_last_is_delivered(self, deliveries_left: int) -> None:
        """It is finalized once, when nothing is held for it any more."""
        data = {"turn_alive": self.turn is not None, "deliveries_left": deliveries_left}
        fits = not self.over and self.turn is None and deliveries_left == 0
        if self.send(Trigger.FINALIZE, ENGINE, data, fits=fits):
            self.over = True

    # --- the agent --------------------------------------------------------------------

    @precondition(lambda self: self.at_work)
    @rule(
        nth=st.integers(0, len(KEYS) - 1),
        kind=st.sampled_from(["input", "auth"]),
        after_s=st.sampled_from([5.0, 40.0]),
        policy=st.fixed_dictionaries(
            {
                "on_expire": st.sampled_from(["fail", "deny", "default"]),
                "on_deny": st.sampled_from(["stop", "tell_agent"]),
                "allow_edit": st.booleans(),
                "approvers": st.sampled_from([(), (), ("boss",)]),
            }
        ),
        spoilt=SPOILT,
    )
    def the_agent_asks(
        self, nth: int, kind: str, after_s: float, policy: dict[str, Any], spoilt: str
    ) -> None:
        """A new question, if its key is new and the agent is not a ghost."""
        unused = [key for key in KEYS if key not in self.spent and key not in self.open]
        key = unused[nth % len(unused)] if unused and spoilt != "key" else KEYS[nth]
        stale = spoilt == "ghost"
        question = Question(kind, self.now + after_s, digest=digest(ARGUMENTS), **policy)
        data: dict[str, Any] = {
            "epoch": self.epoch(stale=stale), "key": key, "kind": kind, "prompt": "?",
            "due": question.due, "asks_max": ASKS_MAX, "default": "d", "tool": "book",
            "schema": {"type": "string"} if kind == "input" else {"maxProperties": 1},
            "arguments": ARGUMENTS, "digest": question.digest, **policy,
            "approvers": list(question.approvers),
        }  # fmt: skip
        known = self.spent | set(self.open)
        fits = not stale and key not in known and len(known) < ASKS_MAX
        running = self.phase is Phase.RUNNING
        if self.send(Trigger.ASK, AGENT, data, fits=fits):
            if running:
                left = None if self.run_due is None else max(0.0, self.run_due - self.now)
                self.run_left_s, self.run_due = left, None
            self.open[key] = question

    @precondition(lambda self: self.open)
    @rule(nth=PICKED, spoilt=SPOILT)
    def the_agent_withdraws(self, nth: int, spoilt: str) -> None:
        """It no longer wants to know; its turn goes on as it is."""
        key, stale = KEYS[nth] if spoilt == "key" else self.picked(nth), spoilt == "ghost"
        data = {"epoch": self.epoch(stale=stale), "key": key}
        if self.send(Trigger.WITHDRAW, AGENT, data, fits=not stale and key in self.open):
            self.close(key)

    @precondition(lambda self: self.at_work and self.record.seq % 3 == 1)
    @rule(trigger=st.sampled_from([Trigger.EMIT, Trigger.PROGRESS]), stale=st.booleans())
    def the_agent_shows_something(self, trigger: Trigger, *, stale: bool) -> None:
        """As long as its log has room."""
        data = {"epoch": self.epoch(stale=stale), "log_events_max": LOG_MAX}
        self.send(trigger, AGENT, data, fits=not stale and self.record.seq < LOG_MAX)

    @precondition(lambda self: self.phase is Phase.RUNNING and self.lived)
    @rule(
        trigger=st.sampled_from([Trigger.COMPLETE, Trigger.FAIL, Trigger.RETRY, Trigger.REJECT]),
        stale=st.booleans(),
    )
    def the_agent_ends(self, trigger: Trigger, *, stale: bool) -> None:
        """Its own end, or a failure that may pass."""
        again = self.now + 7.0
        data: dict[str, Any] = {"epoch": self.epoch(stale=stale), "code": "c", "message": "m"}
        data |= {"parts": [], "not_before": again}
        if not self.send(trigger, AGENT, data, fits=not stale):
            return
        if trigger is Trigger.RETRY:
            self.turn, self.run_due, self.not_before = None, None, again
        else:
            outcomes = {Trigger.COMPLETE: Phase.COMPLETED, Trigger.REJECT: Phase.REJECTED}
            self.ended(outcomes.get(trigger, Phase.FAILED))

    @precondition(lambda self: self.stop is not None)
    @rule(stale=st.booleans())
    def the_turn_has_ended(self, *, stale: bool) -> None:
        """Only then is the task stopped."""
        data = {"epoch": self.epoch(stale=stale)}
        outcome = self.outcome_of_the_stop()
        if self.send(Trigger.STOPPED, AGENT, data, fits=not stale):
            self.ended(outcome)

    # --- people -----------------------------------------------------------------------

    @precondition(lambda self: self.open)
    @rule(nth=PICKED, spoilt=SPOILT)
    def somebody_answers(self, nth: int, spoilt: str) -> None:
        """Any answer at any time: late, twice, by the wrong one, to the wrong question."""
        key = KEYS[nth] if spoilt == "key" else self.picked(nth, ("input",))
        question, good = self.open.get(key), spoilt != "data"
        actor = self.person(question, wrong=spoilt == "actor")
        allowed = question is not None and question.accepts(actor, self.now)
        wanted = allowed and question is not None and question.kind == "input"
        data = {"key": key, "value": "x" if good else 5}
        if self.send(Trigger.PROVIDE_INPUT, actor, data, fits=wanted and good):
            self.close(key)

    @precondition(lambda self: self.open and self.record.seq % 3 == 0)
    @rule(nth=PICKED, spoilt=SPOILT)
    def somebody_declines(self, nth: int, spoilt: str) -> None:
        """As an answer, but for its value."""
        key = KEYS[nth] if spoilt == "key" else self.picked(nth, ("input",))
        question = self.open.get(key)
        actor = self.person(question, wrong=spoilt == "actor")
        allowed = question is not None and question.accepts(actor, self.now)
        fits = allowed and question is not None and question.kind == "input"
        if not self.send(Trigger.DECLINE, actor, {"key": key, "grace_s": GRACE_S}, fits=fits):
            return
        assert question is not None
        if question.stops_on_decline:
            self.stopping("declined")
        else:
            self.close(key)

    @precondition(lambda self: self.open)
    @rule(
        nth=PICKED,
        spoilt=SPOILT,
        arguments=st.sampled_from([ARGUMENTS, ARGUMENTS, {"seats": 2}, {"seats": 2, "class": 1}]),
        yes=st.booleans(),
    )
    def somebody_decides(
        self, nth: int, spoilt: str, arguments: dict[str, int], *, yes: bool
    ) -> None:
        """Yes to these arguments, or no; about what the digest names."""
        key = KEYS[nth] if spoilt == "key" else self.picked(nth, ("auth",))
        question, named = self.open.get(key), spoilt != "data"
        actor = self.person(question, wrong=spoilt == "actor")
        allowed = question is not None and question.accepts(actor, self.now)
        fits = allowed and question is not None and question.kind == "auth" and named
        if yes:
            unchanged = arguments == ARGUMENTS
            fits = fits and question is not None and (unchanged or question.allow_edit)
            fits = fits and len(arguments) == 1
        data = {
            "key": key, "digest": digest(ARGUMENTS) if named else "another", "grace_s": GRACE_S,
            "arguments": arguments, "edited": arguments != ARGUMENTS,
        }  # fmt: skip
        if not self.send(Trigger.APPROVE if yes else Trigger.DENY, actor, data, fits=fits):
            return
        assert question is not None
        if not yes and question.on_deny == "stop":
            self.stopping("denied")
        else:
            self.close(key)

    @precondition(lambda self: self.lived and self.record.seq % 4 == 3)
    @rule()
    def the_client_cancels(self) -> None:
        """Accepted as long as nothing is over; a repeat changes nothing."""
        phase = self.phase
        fits = self.outcome is None
        before = self.record.details
        if not self.send(Trigger.CANCEL, OWNER, {"grace_s": GRACE_S}, fits=fits):
            return
        if phase is Phase.SUBMITTED:
            self.ended(Phase.CANCELLED)
        elif phase is Phase.CANCELLING:
            assert self.record.details == before
        else:
            self.stopping("cancelled_by_client")

    # --- timers -----------------------------------------------------------------------

    @precondition(lambda self: self.open)
    @rule(nth=PICKED, spoilt=SPOILT)
    def an_ask_expires(self, nth: int, spoilt: str) -> None:
        """Its own timer, in its own time; a stale or early one changes nothing."""
        key = KEYS[nth] if spoilt == "key" else self.picked(nth)
        question, actor = self.open.get(key), OWNER if spoilt == "actor" else TIMER
        if question is not None and spoilt != "late":
            self.now = max(self.now, question.due)
        fits = question is not None and actor == TIMER and self.now >= question.due
        if not self.send(Trigger.EXPIRE, actor, {"key": key, "grace_s": GRACE_S}, fits=fits):
            return
        assert question is not None
        if question.stops_on_expiry:
            self.stopping("ask_expired")
        else:
            self.close(key)

    @precondition(lambda self: self.lived or self.outcome is not None)
    @rule(kind=st.sampled_from(["run", "task"]), actor=st.sampled_from([TIMER, TIMER, OWNER]))
    def a_deadline_passes(self, kind: str, actor: str) -> None:
        """Of the run, whose clock stands still in a wait, or of the whole task."""
        phase = self.phase
        due = self.run_due if kind == "run" else self.due
        passed = due is not None and self.now >= due and actor == TIMER
        fits = passed and self.outcome is None and self.stop is None
        data = {"timer": kind, "grace_s": GRACE_S}
        if not self.send(Trigger.OVERRUN, actor, data, fits=fits):
            return
        if phase is Phase.SUBMITTED:
            self.ended(Phase.TIMED_OUT)
        else:
            self.stopping(f"{kind}_deadline")

    @precondition(lambda self: self.stop is not None)
    @rule(actor=st.sampled_from([TIMER, TIMER, OWNER]))
    def the_grace_time_is_over(self, actor: str) -> None:
        """The turn is given up: fenced off, and said so in the record (I31)."""
        data = {"epoch": self.record.epoch}
        fits, outcome = actor == TIMER and self.now >= self.grace_due, self.outcome_of_the_stop()
        if move := self.send(Trigger.ABANDON, actor, data, fits=fits):
            assert move.record.epoch == move.event.epoch > self.log[-2].epoch
            self.ended(outcome)

    # --- nonsense ---------------------------------------------------------------------

    @precondition(lambda self: self.record.seq % 4 == 0)
    @rule(trigger=st.sampled_from(Trigger))
    def something_comes_that_has_no_place_here(self, trigger: Trigger) -> None:
        """Whatever the phase has no row for is refused before its data are looked at."""
        if trigger not in LIFECYCLE.allowed(self.record.phase):
            before = copy.deepcopy(self.record)
            with pytest.raises(IllegalTrigger) as caught:
                fire(self.record, Signal(trigger, {}, OWNER, self.now))
            assert caught.value.allowed == LIFECYCLE.allowed(before.phase)
            assert self.record == before

    # --- what must be so after every step ---------------------------------------------

    @property
    def lived(self) -> bool:
        """Endings come late, or there would be little to see before them."""
        return len(self.spent) > 1 or self.record.seq > 7

    def outcome_of_the_stop(self) -> Phase:
        """The outcome that follows from the cause."""
        assert self.stop is not None
        if self.stop.endswith("deadline"):
            return Phase.TIMED_OUT
        return Phase.FAILED if self.stop == "ask_expired" else Phase.CANCELLED

    @invariant()
    def the_phase_is_what_the_world_knows(self) -> None:
        """I04, I05, I07: the facts and the phase never part."""
        assert self.record.phase is self.phase
        assert self.record.shown is (self.outcome or self.phase)
        assert {ask.key for ask in self.record.asks} == set(self.open)
        assert set(self.record.closed) == self.spent
        assert len(self.record.closed) == len(self.spent)

    @invariant()
    def the_log_keeps_every_promise(self) -> None:
        """I01 to I14, I17, I25, read from the events alone."""
        assert violations(self.log) == []

    @invariant()
    def exactly_the_timers_that_the_world_expects_are_armed(self) -> None:
        """I21, I22: a wait has one for each ask, the end has none, no phase before it lacks one."""
        expected: set[tuple[TimerKind, str, float]] = set()
        if self.stop is not None:
            expected = {(TimerKind.GRACE, "", self.grace_due)}
        elif self.outcome is None:
            expected = {(TimerKind.TASK, "", self.due)}
            expected |= {(TimerKind.ASK, key, ask.due) for key, ask in self.open.items()}
            if self.run_due is not None:
                expected.add((TimerKind.RUN, "", self.run_due))
            if self.not_before is not None:
                expected.add((TimerKind.RETRY, "", self.not_before))
        armed = list(self.record.timers())
        assert len(armed) == len(expected)
        assert {(timer.kind, timer.key, timer.due) for timer in armed} == expected
        assert (self.record.due is None) == (self.outcome is not None)

    @invariant()
    def the_current_turn_has_the_current_epoch(self) -> None:
        """I17, I32: whoever else reports is a ghost."""
        assert self.turn in {None, self.record.epoch}
        assert (self.turn is not None) == (self.at_work or self.stop is not None)
        assert self.releases == (self.outcome is not None)

    @invariant()
    def the_record_is_the_fold_of_the_log(self) -> None:
        """I20, I27: what the store keeps beside the log can be computed again."""
        assert fold(self.log) == self.record

    def stored(self) -> None:
        """I27: the same after events and record have been through JSON."""
        entries = [json.loads(json.dumps(event.to_json())) for event in self.log]
        events = [Event.from_json(entry) for entry in entries]
        assert events == self.log
        assert fold(events) == self.record
        assert TaskRecord.from_json(self.record.to_json()) == self.record

    def teardown(self) -> None:
        """I28: from wherever it stands, time alone leads to an outcome."""
        self.stored()
        while self.log and self.outcome is None:
            self.the_next_deadline_comes(to_the_instant=True)
            (timer, *_) = sorted(self.record.timers(), key=lambda timer: timer.due)
            match timer.kind:
                case TimerKind.RETRY:
                    self.a_slot_is_free(None)
                case TimerKind.ASK:
                    self.an_ask_expires(sorted(self.open).index(timer.key), "")
                case TimerKind.GRACE:
                    self.the_grace_time_is_over(TIMER)
                case TimerKind.RUN | TimerKind.TASK:
                    self.a_deadline_passes(timer.kind.value, TIMER)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=2 * settings().max_examples)
