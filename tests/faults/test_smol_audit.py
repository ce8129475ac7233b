"""The auditor of killed agents must be able to fail: evidence in which only one thing is wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.evidence import Entry, Kept
from faults.smol_agents import KINDS
from faults.smol_audit import Case, judged
from faults.world import Effect

Json = dict[str, Any]
DOUBT = "interlock:in-doubt-1-s2.c0"
POST = Effect("t/s1.c0", "post", idempotent=False, pid=1, what={})
TRAVEL = Effect("t/s2.c0", "travel", idempotent=False, pid=1, what={})
SEARCH = Effect("t/s3.c0", "search", idempotent=True, pid=1, what={"arguments": {}, "gave": "s"})


def sound() -> Case:
    """A task that was killed once, in its second tool; all is well."""
    log: list[tuple[int, str, Json]] = [
        *call("m1", "model"),
        *call("s1.c0", "agency/post"),
        begun("m2", "model"),
        (2, "recover", {}),
        *call("m2", "model"),
        begun("s2.c0", "agency/travel"),
        (3, "recover", {}),
        (3, "ask", {"key": DOUBT}),
        (3, "provide_input", {"key": DOUBT, "value": {"decision": "use_value", "value": "x"}}),
        (3, "called", {"key": "s2.c0", "value": "x", "by": "answer"}),
        begun("s3.c0", "search"),
        (4, "recover", {}),
        *call("s3.c0", "search"),
        (4, "complete", {}),
    ]
    entries = [
        Entry(number, epoch, trigger, "", "", data)
        for number, (epoch, trigger, data) in enumerate(log, start=1)
    ]
    effects = [
        prompt("one"),
        gives(POST, {"what": "card"}, "#0000000a"),
        prompt("two"),
        prompt("two"),
        gives(TRAVEL, {"city": "Oslo"}, "#0000000b"),
        SEARCH,
        SEARCH,
    ]
    outcome: Json = {"result": "#0000000a #0000000b", "broken": [], "verify": []}
    task = Kept("t", "finalized", len(entries), entries)
    return Case(KINDS["mcp"], task, effects, outcome, kills=3)


def begun(key: str, name: str) -> tuple[int, str, Json]:
    """The beginning of a call."""
    return 1, "call", {"key": key, "name": name, "idempotent": name in {"model", "search"}}


def call(key: str, name: str) -> list[tuple[int, str, Json]]:
    """A call from its beginning to its end."""
    return [begun(key, name), (1, "called", {"key": key, "value": "done"})]


def prompt(name: str) -> Effect:
    """A prompt that was made."""
    return Effect(name, "model", idempotent=True, pid=1, what=None)


def gives(effect: Effect, arguments: Json, receipt: str) -> Effect:
    """An effect with what it was done with, and what it gave."""
    return effect._replace(what={"arguments": arguments, "gave": receipt})


def logged(case: Case, change: Callable[[list[Entry]], object]) -> Case:
    """The same with another log."""
    log = [*case.task.log]
    change(log)
    return replace(case, task=replace(case.task, log=log))


def without(trigger: str, key: str | None = None) -> Callable[[Case], Case]:
    """The same without some events."""

    def change(log: list[Entry]) -> None:
        log[:] = [e for e in log if e.trigger != trigger or e.data.get("key") != key]

    return lambda case: logged(case, change)


def done(*effects: Effect) -> Callable[[Case], Case]:
    """The same with more that was done."""
    return lambda case: replace(case, effects=[*case.effects, *effects])


def said(**outcome: Any) -> Callable[[Case], Case]:
    """The same with another outcome."""
    return lambda case: replace(case, outcome={**case.outcome, **outcome})


def appended(*events: tuple[int, str, Json]) -> Callable[[Case], Case]:
    """The same with more in its log."""

    def change(log: list[Entry]) -> None:
        log += [Entry(99, epoch, trigger, "", "", data) for epoch, trigger, data in events]

    return lambda case: logged(case, change)


BREAKS: list[tuple[str, Callable[[Case], Case]]] = [
    ("completed", without("complete")),
    ("completed", said(result="#0000000a")),
    ("completed", said(broken=["I16: a call"])),
    ("completed", said(verify=["the file"])),
    ("done_once", done(gives(POST, {"what": "card"}, "#0000000a"))),
    ("done_once", lambda case: replace(case, effects=[*case.effects, SEARCH])),
    (
        "done_once",
        lambda case: replace(
            case, effects=[e._replace(what={**e.what, "arguments": {}}) for e in case.once()]
        ),
    ),
    ("models", done(prompt("one"))),
    ("models", done(prompt("three"))),
    ("models", appended(*call("m1", "model"))),
    ("models", lambda case: replace(case, kills=0)),
    ("doubts", without("ask", DOUBT)),
    ("doubts", appended((4, "ask", {"key": "interlock:in-doubt-1-s1.c0"}))),
]


def test_nothing_is_found_where_all_is_well() -> None:
    """Repeats that are allowed are counted, and no findings.  Source: issue 4, bars."""
    verdict = judged(sound())
    assert verdict.findings == []
    assert verdict.figures["in doubt"] == 1
    assert verdict.figures["prompts repeated"] == 1
    assert verdict.figures["safe tools repeated"] == 1
    assert verdict.figures["tools"] == 2


@pytest.mark.parametrize(("rule", "broken"), BREAKS)
def test_each_rule_finds_what_it_is_for(rule: str, broken: Callable[[Case], Case]) -> None:
    """One thing is wrong, and that rule says so.  Source: issue 4, bars, R-JRN-09."""
    assert rule in {finding.rule for finding in judged(broken(sound())).findings}


def test_a_tool_that_was_run_twice_is_counted() -> None:
    """The figure that the bar is about.  Source: issue 4, bars."""
    again = done(gives(POST, {"what": "card"}, "#0000000a"))(sound())
    assert judged(again).figures["tools run twice"] == 1
