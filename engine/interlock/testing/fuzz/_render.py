"""A report for whoever wants it: people, programs, a CI server, a picture."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from interlock import diagram
from interlock._machine import Lifecycle
from interlock._phases import Phase
from interlock.models import JsonObject, JsonValue
from interlock.testing.fuzz._coverage import Coverage, arrow, coverage_of
from interlock.testing.fuzz._ends import BEFORE
from interlock.testing.fuzz._report import USER, Failure, Report
from interlock.testing.fuzz._reproduction import About, merged, pasted
from interlock.testing.fuzz._sim_lines import INTERRUPTED

#: What the JSON says that it is.
FORMAT: Final = "interlock-fuzz/1"

#: What is looked at in every run, by the kind of the failure that it would be
#: (specs/invariants.md).  A failure of any other kind is listed behind these.
CHECKS: Final[Mapping[str, str]] = {
    "I01": "sequence numbers have no gap",
    "I02": "each event begins where the one before it ended",
    "I03": "every event is a row of the table",
    "I04": "one outcome",
    "I05": "nothing follows finalized",
    "I06": "the key of an ask is used once",
    "I07": "an ask is closed once",
    "I08": "an answer names an open ask of its kind",
    "I09": "an answer in time wins over the expiry",
    "I10": "nothing expires before its time",
    "I11": "nothing is done after a stop",
    "I12": "what needs a yes is called only after one",
    "I13": "what runs is what was approved",
    "I14": "other arguments only where editing is allowed",
    "I15": "what is done outside was begun in the log",
    "I16": "a call is made once",
    "I17": "epochs never go back",
    "I18": "what was acknowledged is in the log",
    "I20": "the record is the fold of the log, also through JSON",
    "I21": "a finalized task holds nothing",
    "I24": "a watcher sees a log without gaps",
    "I25": "the agent never answers itself",
    "I26": "a task is there for its owner only",
    "I28": "every task comes to an outcome",
    "I29": "an answer wakes the turn",
    "I30": "after the end nothing is left",
    "I31": "nobody's grace time ends early",
    "I33": "a stream has one last event",
    "I39": "nothing grows beyond its limit",
    "T5": "only who may approve something does",
    "answer_fits": "an answer fits what was asked",
    "bug": "the engine finds no bug in itself",
    "deadlock": "no run stands still",
    "delivery": "what is watched is delivered",
    "drain": "the engine closes",
    "hang": "every request is answered",
    "inbox": "nothing that was sent to a task is left lying",
    "log": "nothing is logged as an error",
    "purge": "what is forgotten is gone altogether, and neither too early nor too late",
    "raised": "no request, and no run, raises what nobody expects",
    "recover": "no task is recovered more often than it may be",
    "replay": "the same decisions give the same log, in runs that are repeated",
    "start": "a task begins when there is room for it",
    "steps": "every run comes to its end",
    "timer": "no deadline is forgotten",
    "turns": "one turn of a task is alive",
    "uncaught": "nobody leaves an error for the event loop",
    USER: "the invariants of your own",
}

#: Of rows, guards and errors so many are named one by one; and on a screen.
_NAMED_MAX: Final = 100
BRIEFLY: Final = 5
#: So many runs should have brought a life to its end.
_MANY_RUNS: Final = 5
#: Where fewer than one life in so many completes it is told where they end.
_FEW: Final = 4


def text_of(
    report: Report, lifecycle: Lifecycle, about: About, *, named_max: int = _NAMED_MAX
) -> str:
    """For people: what was run, what was covered, and each failure with what reproduces it.

    Of what was not covered at most `named_max` of a kind are named, the nearest first.
    """
    covered = coverage_of(report, lifecycle.table)
    return "\n".join([*_lines(report, covered, about, named_max), ""])


def _lines(report: Report, covered: Coverage, about: About, named_max: int) -> Iterator[str]:
    yield f"{about.where}: {_counted(report)}"
    if report.failures:  # First, since the rest may be long.
        yield f"  FAILED: {', '.join(failure.kind for failure in report.failures)}; see below"
    yield f"  outcomes: {_outcomes(report) or 'none'}"
    if report.outcomes.get(Phase.COMPLETED.value, 0) * _FEW < report.lives and report.ends:
        yield f"    {_most_end(report)}"
    raised = sorted(report.errors.items(), key=lambda entry: -entry[1])
    yield from _some([f"    agents raised: {what} ({n:,} times)" for what, n in raised], named_max)
    notes = sorted(report.notes.items(), key=lambda entry: -entry[1])
    yield from _some([f"    note: {what} ({n:,} times)" for what, n in notes], named_max)
    yield f"  transitions: {covered.transitions}"
    yield from _some([f"    never taken: {arrow(key)}" for key in covered.never], named_max)
    yield f"  guards: {covered.guards} both held and refused"
    one_sided = [f"    never {' or '.join(w)}: {name}" for name, w in covered.one_sided.items()]
    yield from _some(one_sided, named_max)
    yield f"  invariants of yours: {_yours(about)}"
    if about.threaded:
        yield f"  plain functions on threads: interrupted {INTERRUPTED}"
    for failure in report.failures:
        yield ""
        yield from told(failure, about)
    yield ""
    yield from about.under
    count = len(report.failures)
    if count:
        yield f"{count} kind{'s' * (count != 1)} of failure"
    else:
        yield f"no failure{_in_vain(report)}"


def _yours(about: About) -> str:
    return ", ".join(about.checked) or "none (a function marked @invariant, beside what is fuzzed)"


def _in_vain(report: Report) -> str:
    """That it may say little, where no life of many came to its end."""
    if report.runs < _MANY_RUNS or not report.lives or Phase.COMPLETED.value in report.outcomes:
        return ""
    said = "; but no life completed, so much of the agent may not have been reached: "
    where = _most_end(report)
    if where and BEFORE not in where:
        return f"{said}{where}; see what it raised, or run longer"
    return (
        f"{said}give it inputs that it takes (Target.of(..., inputs=[...])), or see what it raised"
    )


def _most_end(report: Report) -> str:
    """Where most lives end that do not complete, in words; "" if there is no such place."""
    if not report.ends:
        return ""
    place, count = max(report.ends.items(), key=lambda entry: entry[1])
    return f"most lives end {place}: {count:,} of {report.lives:,}"


def _outcomes(report: Report) -> str:
    """Each with its number, the most frequent first; that nothing completed is worth a word."""
    counts = sorted(report.outcomes.items(), key=lambda entry: (-entry[1], entry[0]))
    if report.lives and Phase.COMPLETED.value not in report.outcomes:
        counts.insert(0, (Phase.COMPLETED.value, 0))
    return ", ".join(f"{count:,} {name}" for name, count in counts)


def _counted(report: Report) -> str:
    speed = f", {report.lives / report.seconds:,.0f} lives a second" if report.seconds else ""
    return (
        f"{report.runs:,} runs, {report.lives:,} task lives, {report.steps:,} steps "
        f"in {report.seconds:.1f} s{speed}"
    )


def _some(lines: Sequence[str], named_max: int) -> list[str]:
    left = len(lines) - named_max
    where = "" if named_max != BRIEFLY else ": a .txt, .json or .html report names all"
    return [*lines[:named_max], *([f"    and {left} more{where}"] if left > 0 else [])]


def told(failure: Failure, about: About) -> Iterator[str]:
    """One failure in lines: what, how it came to it, and the test."""
    yield f"FAILED {failure.kind}: {failure.message}"
    if failure.kind in CHECKS:
        yield f"  what has to hold: {CHECKS[failure.kind]}"
    steps = f"{len(failure.steps)} step{'s' * (len(failure.steps) != 1)}"
    yield f"  seed {failure.seed}, {steps}:"
    yield from (f"  {number:3} {step}" for number, step in enumerate(merged(failure.steps), 1))
    yield from (f"      {line}" for line in failure.after)
    yield "  reproduce it with this test:"
    yield ""
    yield from (f"    {line}".rstrip() for line in pasted(failure, about).splitlines())


def json_of(report: Report, lifecycle: Lifecycle, about: About) -> str:
    """For programs; the same report gives the same bytes."""
    covered = coverage_of(report, lifecycle.table)
    rows: list[JsonValue] = [
        {
            "source": row.source,
            "trigger": row.trigger,
            "dest": row.dest,
            "count": report.hits.get(row.key, 0),
        }
        for row in lifecycle.table
    ]
    guards: JsonObject = {
        name: {"held": held, "refused": refused}
        for name, (held, refused) in sorted(report.guards.items())
    }
    document: JsonObject = {
        "format": FORMAT,
        "target": about.where,
        "runs": report.runs,
        "lives": report.lives,
        "steps": report.steps,
        "seconds": round(report.seconds, 3),
        "outcomes": dict(sorted(report.outcomes.items())),
        "errors": dict(sorted(report.errors.items())),
        "notes": dict(sorted(report.notes.items())),
        "ends": dict(sorted(report.ends.items())),
        "transitions": {
            "seen": covered.transitions.seen,
            "of": covered.transitions.of,
            "percent": round(covered.transitions.percent, 1),
            "rows": rows,
        },
        "guards": {
            "seen": covered.guards.seen,
            "of": covered.guards.of,
            "percent": round(covered.guards.percent, 1),
            "answers": guards,
        },
        "failures": [_failure(failure, about) for failure in report.failures],
        "under": list(about.under),
        "digests": list(report.digests),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _failure(failure: Failure, about: About) -> JsonObject:
    return {
        "kind": failure.kind,
        "message": failure.message,
        "seed": failure.seed,
        "tape": list(failure.tape),
        "steps": list(failure.steps),
        "after": list(failure.after),
        "test": pasted(failure, about),
    }


def junit_of(report: Report, lifecycle: Lifecycle, about: About) -> str:
    """For a CI server: one test case for each kind of check, and one for the bounds."""
    covered = coverage_of(report, lifecycle.table)
    failed = {failure.kind: failure for failure in report.failures}
    kinds = {**CHECKS, **{kind: CHECKS.get(kind, kind) for kind in failed}}
    if any(kind.startswith(f"{USER}:") for kind in failed):
        del kinds[USER]  # Those that do not hold are there by their names.
    suite = ET.Element(
        "testsuite",
        name=f"interlock fuzz {about.where}",
        tests=str(len(kinds) + 1),
        failures=str(len(failed) + bool(about.under)),
        errors="0",
        skipped="0",
        time=f"{report.seconds:.3f}",
    )
    for kind, words in kinds.items():
        case = ET.SubElement(suite, "testcase", classname="interlock.fuzz", name=f"{kind}: {words}")
        if (failure := failed.get(kind)) is not None:
            said = ET.SubElement(case, "failure", type=kind, message=_allowed(failure.message))
            said.text = _allowed("\n".join(told(failure, about)))
    case = ET.SubElement(suite, "testcase", classname="interlock.fuzz", name="coverage")
    if about.under:
        said = ET.SubElement(case, "failure", type="coverage", message="; ".join(about.under))
        said.text = "\n".join(f"never taken: {arrow(key)}" for key in covered.never)
    out = ET.SubElement(suite, "system-out")
    words = f"{_counted(report)}\noutcomes: {_outcomes(report)}\n"
    out.text = _allowed(f"{words}transitions: {covered.transitions}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _allowed(text: str) -> str:
    """Without the characters that no XML document may have."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )


def svg_of(report: Report, lifecycle: Lifecycle, about: About) -> str:
    """The lifecycle, each row as wide as it was often taken.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    return diagram.svg(lifecycle, _look(report, lifecycle, about))


def html_of(report: Report, lifecycle: Lifecycle, about: About) -> str:
    """The same as a page.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    look = _look(report, lifecycle, about)
    return diagram.page(lifecycle, {"coverage": look}, title=f"interlock fuzz {about.where}")


def _look(report: Report, lifecycle: Lifecycle, about: About) -> diagram.Look:
    return diagram.coverage(diagram.picture_of(lifecycle), report.hits, f"Fuzzing of {about.where}")
