"""Runs and their reports: repeatable, whatever runs them, and covering the lifecycle.

R-FUZZ-12 to R-FUZZ-16.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fuzz_examples import SCRIPTS, agent, example
from interlock import Event, TaskContext, TaskRecord
from interlock.errors import InvalidInput
from interlock.testing.fuzz._drive import ran
from interlock.testing.fuzz._drive_world import Plan
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._report import Report
from interlock.testing.fuzz._run import ROUND, fuzz, replay
from interlock.testing.fuzz._target import Target

TARGET = Target.of(example, inputs=SCRIPTS)


def test_the_same_seeds_give_the_same_report() -> None:
    """Whatever number of processes runs them.  Source: R-FUZZ-12."""
    one = fuzz(TARGET, seed=7, runs=40)
    two = fuzz(TARGET, seed=7, runs=40, jobs=2)
    assert replace(one, seconds=0.0) == replace(two, seconds=0.0)
    assert one.runs == 40
    assert len(set(one.digests)) > 30


DIGESTS = """
import json
from fuzz_examples import SCRIPTS, example
from interlock.testing.fuzz._run import fuzz
from interlock.testing.fuzz._target import Target
print(json.dumps(fuzz(Target.of(example, inputs=SCRIPTS), runs=100).digests))
"""


def test_another_process_gives_the_same_logs() -> None:
    """100 seeds, in processes whose hashes are salted otherwise.  Source: R-FUZZ-12."""
    digests = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", DIGESTS],
                capture_output=True,
                check=True,
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PYTHONHASHSEED": salt},
            ).stdout
        )
        for salt in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 100


def test_most_of_the_lifecycle_is_covered_soon() -> None:
    """Steering leads to rows that chance takes long to find.  Source: R-FUZZ-13."""
    report = fuzz(TARGET, runs=320)
    rows = {(row.source, row.trigger, row.dest) for row in TARGET.lifecycle.table}
    assert report.failures == ()
    assert set(report.hits) <= rows
    assert len(set(report.hits)) >= 0.85 * len(rows)
    held, refused = report.guards["report_is_current"]
    assert held > 0
    assert refused > 0
    assert report.lives >= 320
    assert report.steps > report.lives


def test_without_faults_nothing_goes_wrong_in_the_trace() -> None:
    """Faults that are switched off do not happen.  Source: R-FUZZ-14."""

    def always_broken(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return not any(event.trigger == "complete" for event in log)

    target = Target.of(agent, inputs=("progress",))
    report = fuzz(target, faults=frozenset(), invariants=[always_broken])
    [failure] = report.failures
    assert failure.kind == "user:always_broken"
    assert failure.steps == ("ada submits 'progress' -> accepted",)


def test_every_fault_happens() -> None:
    """Each has its words in a trace.  Source: R-FUZZ-14."""
    words = {
        "crash": "process dies",
        "late": "which is closed",
        "duplicate": "... and repeats it",
        "concurrent": "at once",
        "slow-store": "the store is slow",
        "failing-store": "the store fails",
        "clock": "the clock is set back",
        "disconnect": "loses its connection",
    }
    plan = Plan(TARGET, ALL_FAULTS, (), TARGET.lifecycle)
    text = "\n".join(line for seed in range(200) for line in ran(plan, seed).trace)
    assert [name for name, said in words.items() if said not in text] == []


def test_a_failure_is_replayed_by_its_tape_and_by_its_seed() -> None:
    """The tape is the short trace, the seed all of it.  Source: R-FUZZ-15."""

    def no_two_asks(record: TaskRecord, _log: Sequence[Event]) -> None:
        assert len(record.asks) < 2, "two asks\nand more of it"

    report = fuzz(TARGET, invariants=[no_two_asks])
    [failure] = report.failures
    assert failure.message == "two asks"
    assert len(failure.steps) <= 2
    again = replay(TARGET, failure.seed, failure.tape, invariants=[no_two_asks])
    assert again == failure
    whole = replay(TARGET, failure.seed, invariants=[no_two_asks])
    assert whole is not None
    assert whole.kind == "user:no_two_asks"
    assert replay(TARGET, failure.seed, failure.tape) is None


def test_what_breaks_when_the_moves_are_over_is_in_the_trace() -> None:
    """The ask expires by itself at the end: the log says so.  Source: R-FUZZ-15."""

    async def ships(task: TaskContext) -> str:
        ok = await task.ask("ship?", bool, key="ship", default=True, expires_s=30.0)
        return await task.call(str, ok)

    def nobody_ships_unasked(_record: TaskRecord, log: Sequence[Event]) -> None:
        expired = [event for event in log if event.trigger == "expire"]
        assert not expired or not any(event.trigger == "call" for event in log)

    report = fuzz(Target.of(ships), invariants=[nobody_ships_unasked])
    [failure] = report.failures
    assert failure.steps == ("ada submits 'hello' -> accepted",)
    [after] = failure.after
    assert after.startswith("then id-001: submit -> submitted; start -> running; ask ship -> ")
    assert "; expire ship -> running; call " in after


def test_a_failing_fuzzing_ends_with_its_round() -> None:
    """And shrinks the failure of the first seed, in processes as well.  Source: R-FUZZ-15."""

    def nothing_is_over(record: TaskRecord, _log: Sequence[Event]) -> bool:
        return not record.closed

    reports = [fuzz(TARGET, invariants=[nothing_is_over], jobs=jobs) for jobs in (1, 2)]
    assert replace(reports[0], seconds=0.0) == replace(reports[1], seconds=0.0)
    assert reports[0].runs == ROUND


def test_each_run_is_told_of_and_time_is_a_bound() -> None:
    """Progress comes by run, in their order.  Source: R-FUZZ-16."""
    told: list[Report] = []
    report = fuzz(TARGET, seed=3, for_s=0.01, on_run=told.append)
    assert 0 < report.runs == len(told) < ROUND
    assert tuple(one.digests[0] for one in told) == report.digests
    assert {one.runs for one in told} == {1}


@pytest.mark.parametrize(
    "options",
    [{"faults": {"fire"}}, {"runs": 0}, {"for_s": 0.0}, {"jobs": 0}],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    """With what is accepted.  Source: R-FUZZ-16."""
    with pytest.raises(InvalidInput, match="accepted"):
        fuzz(TARGET, **options)  # type: ignore[arg-type]


def test_what_outlives_a_process_begins_anew_with_each_run() -> None:
    """A faked service is cleared before every run.  Source: R-FUZZ-11."""
    done: list[str] = []
    begun: list[int] = []

    async def works(task: TaskContext) -> None:
        done.append(task.task_id)

    def begin() -> None:
        begun.append(len(done))
        done.clear()

    assert fuzz(Target.of(works, begin=begin), runs=5).failures == ()
    assert len(begun) == 6  # The first run is repeated.
    assert "replica" not in ALL_FAULTS  # Not before two engines can share a store.
