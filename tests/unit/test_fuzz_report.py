"""What a fuzzing comes to, for people, programs, CI servers and eyes.

Sources: R-FUZZ-30 (merging), R-FUZZ-31 (invariants of one's own), R-FUZZ-32 (coverage),
R-FUZZ-33 (the documents), R-FUZZ-34 (the reproduction).
"""

import json
import re
import runpy
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from interlock import LIFECYCLE, Event, Phase, TaskRecord, Trigger
from interlock._record import Queued
from interlock.diagram import hits_of_json, hits_to_json
from interlock.errors import InvalidInput
from interlock.testing import fuzz as public
from interlock.testing.fuzz import Failure, Report, invariant, invariants_of
from interlock.testing.fuzz._coverage import Share, coverage_of
from interlock.testing.fuzz._render import (
    CHECKS,
    html_of,
    json_of,
    junit_of,
    svg_of,
    text_of,
)
from interlock.testing.fuzz._report import broken
from interlock.testing.fuzz._reproduction import About, pasted
from lives import task

START: Final = (Phase.SUBMITTED, Trigger.START, Phase.RUNNING)
SUBMIT: Final = (None, Trigger.SUBMIT, Phase.SUBMITTED)
BAD: Final = Failure(
    "I17", "id-1: event 9 is of an older epoch", 42, tuple(range(30)), ("ada submits 'go'", "crash")
)
ONE: Final = Report(
    runs=2,
    lives=3,
    steps=10,
    seconds=0.5,
    hits={SUBMIT: 3, START: 2},
    guards={"report_is_current": (5, 1), "ask_is_open": (2, 0)},
    failures=(BAD,),
    digests=("a", "b"),
)


def test_reports_are_merged() -> None:
    """R-FUZZ-30.  Of one kind the failure with the shortest tape stays."""
    shorter = Failure("I17", "the same", 43, (1, 2), ("ada submits 'go'",))
    other = Failure("user", "sizes: wrong", 44, (0,), ())
    more = Report(
        runs=1,
        lives=1,
        steps=1,
        seconds=1.5,
        hits={START: 1},
        guards={"report_is_current": (0, 2)},
        failures=(shorter, other),
        digests=("c",),
    )
    merged = Report.merged([ONE, more])
    assert (merged.runs, merged.lives, merged.steps, merged.seconds) == (3, 4, 11, 2.0)
    assert merged.hits == {SUBMIT: 3, START: 3}
    assert merged.guards == {"report_is_current": (5, 3), "ask_is_open": (2, 0)}
    assert merged.failures == (shorter, other)
    assert merged.digests == ("a", "b", "c")
    assert Report.merged([]) == Report(hits={}, guards={})


def test_invariants_of_a_module_are_found_in_their_order() -> None:
    """R-FUZZ-31.  Only those that are marked, each once."""
    module = types.ModuleType("shop")

    @invariant
    def first(_record: TaskRecord, _log: Sequence[Event]) -> None:
        """Hold."""

    @invariant
    def second(_record: TaskRecord, _log: Sequence[Event]) -> bool:
        return False

    def neither(_record: TaskRecord, _log: Sequence[Event]) -> None:
        """Not marked."""

    vars(module).update(first=first, other=neither, second=second, again=first, number=3)
    assert invariants_of(module) == (first, second)


def test_an_invariant_is_broken_by_an_assertion_or_by_false(tmp_path: Path) -> None:
    """R-FUZZ-31.  And by whatever else it raises: nobody knows whether it holds."""
    record = task(Phase.SUBMITTED, Queued())

    def asserts(_record: TaskRecord, log: Sequence[Event]) -> None:
        assert log, "the log is empty"

    def answers(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return bool(log)

    def holds(_record: TaskRecord, _log: Sequence[Event]) -> None:
        """Nothing."""

    def faulty(_record: TaskRecord, log: Sequence[Event]) -> object:
        return log[0]

    assert broken(asserts, record, ()) == "the log is empty"
    assert broken(answers, record, ()) == "it does not hold"
    assert broken(holds, record, ()) is None

    # As it is where pytest has put no words into it.
    file = tmp_path / "shop.py"
    file.write_text("def silent(record, log):\n    assert len(log) > 2\n", encoding="utf-8")
    silent = runpy.run_path(str(file))["silent"]
    assert broken(silent, record, ()) == "assert len(log) > 2 (shop.py:2) does not hold"
    said = broken(faulty, record, ())
    assert said is not None
    assert said.startswith("it raises IndexError: tuple index out of range at test_fuzz_")

    def later(_record: TaskRecord, _log: Sequence[Event]) -> object:
        async def never() -> None: ...

        return never()

    assert broken(later, record, ()) == "it is no plain function, and nobody awaits it"


def test_what_nobody_would_await_is_not_marked() -> None:
    """R-FUZZ-31.  It would never be broken."""

    async def awaited(_record: TaskRecord, _log: Sequence[Event]) -> None: ...

    with pytest.raises(InvalidInput, match="awaited is no plain function; a plain function"):
        invariant(awaited)


def test_every_check_that_is_listed_is_one() -> None:
    """R-FUZZ-33.  No report says of anything that it holds if nobody has looked."""
    places = [Path(public.__file__).parent, Path(public.__file__).parents[1] / "_oracle.py"]
    files = [
        file for place in places for file in (place.glob("*.py") if place.is_dir() else [place])
    ]
    code = "\n".join(file.read_text() for file in files if file.name != "_render.py")
    for kind in CHECKS:
        assert re.search(rf'"{kind}["]|yield f?"{kind}: ', code), kind


def test_coverage_counts_rows_and_both_answers_of_guards() -> None:
    """R-FUZZ-32.  What is not of the table does not count."""
    foreign = (Phase.FINALIZED, Trigger.START, Phase.RUNNING)
    covered = coverage_of(Report(hits={**ONE.hits, foreign: 9}, guards=ONE.guards), LIFECYCLE.table)
    assert (covered.transitions.seen, covered.transitions.of) == (2, len(LIFECYCLE.table))
    assert START not in covered.never
    assert (Phase.RUNNING, Trigger.COMPLETE, Phase.COMPLETED) in covered.never
    assert "report_is_current" not in covered.one_sided
    assert covered.one_sided["ask_is_open"] == ("refused",)
    assert covered.one_sided["digest_matches"] == ("held", "refused")


def test_all_is_all_and_nearly_all_is_not() -> None:
    """R-FUZZ-32.  No rounding up: 100 means that nothing is missing."""
    every = {(row.source, row.trigger, row.dest): 1 for row in LIFECYCLE.table}
    assert coverage_of(Report(hits=every), LIFECYCLE.table).transitions.percent == 100
    del every[START]
    assert coverage_of(Report(hits=every), LIFECYCLE.table).transitions.percent < 100
    assert str(Share(99_999, 100_000)) == "99999 of 100000 (99.9 %)"
    assert str(Share(0, 0)) == "0 of 0 (100.0 %)"


def test_the_text_says_what_people_want_to_know() -> None:
    """R-FUZZ-33."""
    text = text_of(ONE, LIFECYCLE, About("shop:engine", ["transitions: 2 of 75 is under 100 %"]))
    for words in (
        "shop:engine: 2 runs, 3 task lives, 10 steps in 0.5 s",
        "never taken: running --complete--> completed",
        "never refused: ask_is_open",
        "FAILED I17: id-1: event 9 is of an older epoch",
        "FAILED: I17; see below\n  outcomes: ",
        "invariants of yours: none (",
        "seed 42, 2 steps:",
        "1 ada submits 'go'",
        "def test_i17_of_seed_42() -> None:",
        "is under 100 %",
        "1 kind of failure",
    ):
        assert words in text
    assert text_of(Report(), LIFECYCLE, About("shop:engine")).endswith("no failure\n")


def test_on_a_screen_the_text_is_short() -> None:
    """R-FUZZ-33.  First what was within reach, and how many of them there are."""
    lines = text_of(ONE, LIFECYCLE, About("shop:engine"), named_max=5).splitlines()
    never = [line for line in lines if "never taken" in line]
    assert len(never) == 5
    assert all(line.split()[2] in {"new", "submitted", "running"} for line in never)
    left = len(LIFECYCLE.table) - 2 - 5
    assert f"    and {left} more: a .txt, .json or .html report names all" in lines
    assert len(lines) < 70
    full = text_of(ONE, LIFECYCLE, About("shop:engine"))
    assert full.count("never taken") == len(LIFECYCLE.table) - 2


def test_outcomes_and_errors_are_told() -> None:
    """R-FUZZ-33.  That nothing completed, too."""
    raised = {"AttributeError at shop.py:7": 3, "KeyError at shop.py:9": 2_000}
    report = Report(runs=5, lives=5, outcomes={"failed": 3, "cancelled": 2}, errors=raised)
    text = text_of(report, LIFECYCLE, About("shop:engine"))
    assert "  outcomes: 0 completed, 3 failed, 2 cancelled\n" in text
    # An agent that fails at once breaks no promise: whoever is content with that is warned.
    assert text.splitlines()[-1].startswith("no failure; but no life completed, so much of the")
    once = Report(runs=1, lives=5, outcomes={"failed": 5})
    assert text_of(once, LIFECYCLE, About("shop:engine")).endswith("\nno failure\n")
    checked = About("shop:engine", checked=["nobody_pays_twice", "all_is_said"])
    mine = text_of(report, LIFECYCLE, checked)
    assert "  invariants of yours: nobody_pays_twice, all_is_said\n" in mine
    assert "KeyError at shop.py:9 (2,000 times)\n    agents raised: AttributeError at" in text
    document = json.loads(json_of(report, LIFECYCLE, About("shop:engine")))
    assert document["errors"] == raised
    assert document["outcomes"] == {"cancelled": 2, "failed": 3}
    assert "0 completed, 3 failed" in junit_of(report, LIFECYCLE, About("shop:engine"))
    merged = Report.merged([report, report])
    assert merged.outcomes == {"failed": 6, "cancelled": 4}
    assert merged.errors["KeyError at shop.py:9"] == 4_000


def test_a_failure_is_told_with_what_it_breaks_and_what_came_after() -> None:
    """R-FUZZ-33, R-FUZZ-34.  Seconds that pass are one step."""
    steps = ("ada submits 'go'", *["a second passes"] * 5, "the process dies", "a second passes")
    after = ("then id-001: expire ship -> running; call ship-1",)
    failure = replace(BAD, steps=steps, after=after)
    text = text_of(Report(failures=(failure,)), LIFECYCLE, About("shop:engine"))
    assert (
        "FAILED I17: id-1: event 9 is of an older epoch\n  what has to hold: epochs never" in text
    )
    wanted = ["ada submits 'go'", "5 seconds pass", "the process dies", "a second passes"]
    trace = "".join(f"  {number:3} {step}\n" for number, step in enumerate(wanted, 1))
    assert f"8 steps:\n{trace}      {after[0]}\n" in text
    assert all(f"    # {line}\n" in text for line in (*wanted, *after))
    document = json.loads(json_of(Report(failures=(failure,)), LIFECYCLE, About("shop:engine")))
    assert document["failures"][0]["after"] == list(after)


def test_it_is_told_where_lives_end() -> None:
    """R-FUZZ-33.  Inputs are to blame only where nobody was asked anything."""
    ends = {"at ask 'order'": 89, "after ask 'order'": 10}
    few = Report(runs=30, lives=100, outcomes={"failed": 99, "completed": 1}, ends=ends)
    where = "most lives end at ask 'order': 89 of 100"
    assert f"\n    {where}\n" in text_of(few, LIFECYCLE, About("shop:engine"))
    many = replace(few, outcomes={"failed": 60, "completed": 40})
    assert where not in text_of(many, LIFECYCLE, About("shop:engine"))
    none = text_of(replace(few, outcomes={"failed": 100}), LIFECYCLE, About("shop:engine"))
    assert where in none.splitlines()[-1]
    assert "inputs" not in none.splitlines()[-1]
    early = replace(few, outcomes={"failed": 100}, ends={"before the first ask": 100})
    assert "inputs" in text_of(early, LIFECYCLE, About("shop:engine")).splitlines()[-1]
    assert json.loads(json_of(few, LIFECYCLE, About("shop:engine")))["ends"] == ends
    assert Report.merged([few, few]).ends["at ask 'order'"] == 178


def test_an_invariant_that_fails_has_a_case_of_its_own() -> None:
    """R-FUZZ-33."""
    report = Report(failures=(Failure("user:paid", "paid: twice", 1, (), ()),))
    made = junit_of(report, LIFECYCLE, About("shop:engine"))
    assert 'name="user:paid: user:paid"' in made
    assert "the invariants of your own" not in made
    assert "the invariants of your own" in junit_of(Report(), LIFECYCLE, About("shop:engine"))


def test_the_json_is_stable_and_complete() -> None:
    """R-FUZZ-33.  Whatever order the counts came in."""
    turned = Report(
        runs=2,
        lives=3,
        steps=10,
        seconds=0.5,
        hits=dict(reversed([*ONE.hits.items()])),
        guards=dict(reversed([*ONE.guards.items()])),
        failures=ONE.failures,
        digests=ONE.digests,
    )
    made = json_of(ONE, LIFECYCLE, About("shop:engine"))
    assert made == json_of(turned, LIFECYCLE, About("shop:engine"))
    document = json.loads(made)
    assert document["format"] == "interlock-fuzz/1"
    assert document["transitions"]["seen"] == 2
    assert len(document["transitions"]["rows"]) == len(LIFECYCLE.table)
    assert document["failures"][0]["tape"] == list(range(30))
    assert document["guards"]["answers"]["ask_is_open"] == {"held": 2, "refused": 0}


def test_the_junit_has_a_case_for_each_kind_of_check() -> None:
    """R-FUZZ-33.  What failed is in its own, and no character makes it unreadable."""
    odd = Failure("wonder", "a \x00 <b> ]]> & \ud800", 1, (), ("\x1b[31m",))
    report = Report(failures=(BAD, odd), hits=ONE.hits)
    suites = ET.fromstring(  # noqa: S314  our own
        junit_of(report, LIFECYCLE, About("shop:engine", ["transitions: too few"]))
    )
    (suite,) = suites
    cases = suite.findall("testcase")
    assert suite.get("tests") == str(len(cases)) == str(len(CHECKS) + 2)
    failed = {case.get("name"): case.find("failure") for case in cases}
    failed = {name: found for name, found in failed.items() if found is not None}
    assert list(failed) == ["I17: epochs never go back", "wonder: wonder", "coverage"]
    assert suite.get("failures") == "3"
    said = failed["I17: epochs never go back"]
    assert said is not None
    assert "replay(" in (said.text or "")


def test_the_pictures_show_what_was_taken() -> None:
    """R-FUZZ-33."""
    picture = svg_of(ONE, LIFECYCLE, About("shop:engine"))
    assert f"2 of {len(LIFECYCLE.table)} rows" in picture
    assert picture.lstrip().startswith("<")
    page = html_of(ONE, LIFECYCLE, About("shop:engine"))
    assert "interlock fuzz shop:engine" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert hits_of_json(hits_to_json(ONE.hits)) == ONE.hits


def test_the_reproduction_is_a_test_that_can_be_pasted() -> None:
    """R-FUZZ-34.  Whatever a message holds, it stays a comment."""
    hostile = Failure("user", 'x"""\nimport os\nos.abort()\r# \u2028end', 7, (3,), ("a\nb",))
    for failure in (BAD, hostile, Failure("?!", "", 0, (), ())):
        source = pasted(failure, About("shop.service:make.engine"))
        compile(source, "pasted", "exec")
        code = [line for line in source.splitlines() if line and not line.lstrip().startswith("#")]
        assert code[0] == "import shop.service"
        assert "    target = Target.of(shop.service.make.engine)" in code
        assert not any("abort" in line for line in code)
        assert all(len(line) <= 100 for line in code)


def test_the_reproduction_runs_with_the_same_faults_and_invariants() -> None:
    """R-FUZZ-34.  With other ones it would be another run."""
    plain = pasted(BAD, About("shop:engine"))
    assert "faults=" not in plain
    assert "invariants" not in plain
    source = pasted(BAD, About("shop:engine", (), frozenset({"crash", "clock"}), "test_shop"))
    assert "import test_shop" in source
    assert 'faults={"clock", "crash"}, invariants=invariants_of(test_shop)' in source
    assert "faults=frozenset()" in pasted(BAD, About("shop:engine", (), frozenset()))


def test_the_reproduction_names_invariants_that_were_given() -> None:
    """R-FUZZ-34.  And by what sets were ordered."""
    about = About("shop:engine", given=("shop:paid", "rules:sized"), hash_seed="0")
    source = pasted(BAD, about)
    compile(source, "pasted", "exec")
    assert source.startswith("import rules\nimport shop\n")
    assert "invariants=[shop.paid, rules.sized]" in source
    assert "invariants_of" not in source
    assert "PYTHONHASHSEED=0" in source
    assert "was not set" in pasted(BAD, About("shop:engine", hash_seed="random"))


def test_everything_public_is_there_when_it_is_asked_for() -> None:
    """R-FUZZ-30.  And nothing else is."""
    for name in public.__all__:
        assert getattr(public, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = public.nothing
