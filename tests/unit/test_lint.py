"""Each fault that can be planted in a table is found when it is loaded, and named."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from interlock._changes import unchanged
from interlock._effects import Publish
from interlock._event import Signal
from interlock._guards import guard
from interlock._lint import lint
from interlock._machine import Lifecycle
from interlock._phases import OUTCOMES, Phase, Trigger
from interlock._record import TaskRecord
from interlock._transitions import TABLE, Row
from lives import amended

Table = Sequence[Row]
P, T = Phase, Trigger


def where(source: Phase | None, trigger: Trigger) -> list[Row]:
    """The rows of that pair."""
    return [row for row in TABLE if (row.source, row.trigger) == (source, trigger)]


def without(source: Phase | None, trigger: Trigger) -> Table:
    """The table without that pair."""
    return [row for row in TABLE if row not in where(source, trigger)]


def with_row(source: Phase, trigger: Trigger, dest: Phase, at: int | None = None) -> Table:
    """The table with one more row, by default at its end."""
    row = amended(TABLE[-1], source=source, trigger=trigger, dest=dest)
    place = len(TABLE) if at is None else at
    return [*TABLE[:place], row, *TABLE[place:]]


@guard("is paying")
def is_paying(_record: TaskRecord, _signal: Signal) -> bool:
    """Always so."""
    return True


def beside(source: Phase, trigger: Trigger, dest: Phase) -> Table:
    """The table with a row before those of that pair."""
    (first, *_) = where(source, trigger)
    at = TABLE.index(first)
    row = Row(trigger, source, dest, unchanged, when=is_paying)
    return [*TABLE[:at], row, *TABLE[at:]]


def changed(source: Phase | None, trigger: Trigger, **changes: Any) -> Table:  # noqa: ANN401
    """The table with the first row of that pair changed."""
    (row, *_) = where(source, trigger)
    return [amended(each, **changes) if each is row else each for each in TABLE]


#: What is planted, and a finding that names it.
FAULTS: Final[list[tuple[str, Callable[[], Table], str]]] = [
    (
        "a row twice",
        lambda: [*TABLE, TABLE[-1]],
        "finalized: is there already; a row of yours may not have the same source, trigger and",
    ),
    (
        "a row behind an unguarded one",
        lambda: with_row(P.RUNNING, T.CANCEL, P.FAILED),
        "cancel from running to failed: never reached, cancel from running to cancelling has no",
    ),
    (
        "a pair whose last row is guarded",
        lambda: changed(P.RUNNING, T.CANCEL, when=where(P.RUNNING, T.ASK)[0].when),
        "(source, trigger), which must have no `when`; this one has [asks_for_a_decision]",
    ),
    ("no row that makes a task", lambda: without(None, T.SUBMIT), "exactly one row makes a task"),
    (
        "a task that begins elsewhere",
        lambda: changed(None, T.SUBMIT, dest=P.RUNNING),
        "exactly one row makes a task, and it is submitted",
    ),
    (
        "a phase that nothing leads to",
        lambda: [row for row in TABLE if row.dest is not P.REJECTED],
        "rejected: no way leads there",
    ),
    (
        "a phase without an end",
        lambda: [row for row in TABLE if row.source is not P.CANCELLING or row.dest is row.source],
        "cancelling: no outcome can be reached from there",
    ),
    (
        "a wait that leads nowhere",
        lambda: [row for row in TABLE if row.source is not P.WAITING_AUTH],
        "waiting_auth: no outcome can be reached from there",
    ),
    (
        "an outcome that is never finalized",
        lambda: without(P.FAILED, T.FINALIZE),
        "failed: an outcome leads to finalized and nowhere else",
    ),
    (
        "an outcome with a way out",
        lambda: with_row(P.COMPLETED, T.RETRY, P.SUBMITTED),
        "completed: an outcome leads to finalized and nowhere else",
    ),
    (
        "something after finalized",
        lambda: with_row(P.FINALIZED, T.RETRY, P.SUBMITTED),
        "finalized: nothing follows it",
    ),
    *(
        (
            f"no {trigger} in {phase}",
            lambda phase=phase, trigger=trigger: without(phase, trigger),
            f"{phase}: no row for {trigger}",
        )
        for phase in (P.SUBMITTED, P.RUNNING, P.WAITING_INPUT, P.WAITING_AUTH)
        for trigger in (T.CANCEL, T.OVERRUN)
    ),
    *(
        (
            f"no expiry in {phase}",
            lambda phase=phase: without(phase, T.EXPIRE),
            f"{phase}: a wait that nothing ends: no row for expire",
        )
        for phase in (P.WAITING_INPUT, P.WAITING_AUTH)
    ),
    *(
        (
            f"no refusal in {phase}",
            lambda phase=phase: without(phase, T.DECLINE),
            f"{phase}: a question that nobody can refuse: no row for decline",
        )
        for phase in (P.WAITING_INPUT, P.WAITING_AUTH)
    ),
    (
        "cancelling without its timer",
        lambda: changed(P.RUNNING, T.CANCEL, effects=(Publish(),)),
        "cancel from running to cancelling: enters cancelling without arming timer grace",
    ),
    (
        "cancelling that nothing gives up",
        lambda: without(P.CANCELLING, T.ABANDON),
        "cancelling: no row for abandon",
    ),
    (
        "a wait without its timer",
        lambda: changed(P.RUNNING, T.ASK, effects=(Publish(),)),
        "waiting_auth [asks_for_a_decision]: enters waiting_auth without arming timer ask",
    ),
    *(
        (
            f"{trigger} in {source} that leads to {dest}",
            lambda source=source, trigger=trigger, dest=dest: beside(source, trigger, dest),
            f"to {dest} [is_paying]: {trigger} may lead from there to {may} only",
        )
        for source, trigger, dest, may in (
            (P.SUBMITTED, T.CANCEL, P.SUBMITTED, "cancelled"),
            (P.SUBMITTED, T.CANCEL, P.RUNNING, "cancelled"),
            (P.RUNNING, T.CANCEL, P.RUNNING, "cancelling"),
            (P.WAITING_INPUT, T.CANCEL, P.WAITING_INPUT, "cancelling"),
            (P.WAITING_AUTH, T.CANCEL, P.RUNNING, "cancelling"),
            (P.WAITING_INPUT, T.CANCEL, P.COMPLETED, "cancelling"),
            (P.WAITING_INPUT, T.CANCEL, P.CANCELLED, "cancelling"),
            (P.CANCELLING, T.CANCEL, P.RUNNING, "cancelling"),
            (P.SUBMITTED, T.OVERRUN, P.SUBMITTED, "timed_out"),
            (P.RUNNING, T.OVERRUN, P.RUNNING, "cancelling"),
            (P.WAITING_AUTH, T.OVERRUN, P.TIMED_OUT, "cancelling"),
            (P.WAITING_INPUT, T.EXPIRE, P.COMPLETED, "cancelling, running or a wait"),
            (P.WAITING_AUTH, T.EXPIRE, P.SUBMITTED, "cancelling, running or a wait"),
            (P.CANCELLING, T.STOPPED, P.COMPLETED, "timed_out, failed or cancelled"),
            (P.CANCELLING, T.ABANDON, P.CANCELLING, "timed_out, failed or cancelled"),
        )
    ),
    (
        "an expiry that closes no ask",
        lambda: changed(P.WAITING_INPUT, T.EXPIRE, change=unchanged),
        "to cancelling [expiry_stops_the_task]: closes no ask, which would expire for ever",
    ),
]


def test_the_shipped_table_has_no_finding() -> None:
    """What is loaded at import is sound."""
    assert lint(TABLE) == []


@pytest.mark.parametrize(
    ("plant", "finding"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_planted_fault_is_found_and_named(plant: Callable[[], Table], finding: str) -> None:
    """A lint that never fires is none; and what it finds is never loaded.

    Sources: R-LIFE-03, R-LIFE-22 (what stops a task).
    """
    findings = lint(plant())
    assert any(finding in said for said in findings), findings
    with pytest.raises(ValueError, match="not sound") as caught:
        Lifecycle(plant())
    assert all(said in str(caught.value) for said in findings)


def test_an_empty_table_has_everything_missing() -> None:
    """Every check stands on its own: none needs another to have passed."""
    findings = lint([])
    assert sum("no way leads there" in said for said in findings) == len(Phase)
    assert sum("leads to finalized" in said for said in findings) == len(OUTCOMES)
    assert sum("no row for" in said for said in findings) == 2 * 4 + 2 * 2 + 2


def test_of_several_guarded_rows_the_last_is_named_once() -> None:
    """It is the one that a row for all the rest is missing behind."""
    guarded = [amended(row, when=is_paying) for row in where(P.WAITING_AUTH, T.APPROVE)]
    rest = without(P.WAITING_AUTH, T.APPROVE)
    (finding,) = lint([*rest, *guarded])
    assert finding.startswith("approve from waiting_auth to waiting_input [is_paying]: is the last")


def test_the_order_of_guarded_rows_is_left_to_their_author() -> None:
    """Two guarded rows before the open one may stand either way round."""
    rows = where(P.WAITING_AUTH, T.APPROVE)
    swapped = {rows[0]: rows[1], rows[1]: rows[0]}
    assert lint([swapped.get(row, row) for row in TABLE]) == []
