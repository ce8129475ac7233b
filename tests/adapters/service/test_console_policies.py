"""Policies on the console: who sets which rule, and what is said of a fault.  R-SVC-81; T17."""

import json
import logging
from typing import Final

import httpx
import pytest

from console import Visitor, form_of, shown, words_of

OK: Final = httpx.codes.OK
SEE: Final = httpx.codes.SEE_OTHER
FORBIDDEN: Final = httpx.codes.FORBIDDEN
WRONG: Final = httpx.codes.UNPROCESSABLE_ENTITY


async def saving(visitor: Visitor, rule: str, body: str, **more: str) -> httpx.Response:
    """Save a rule."""
    fields = form_of((await visitor.get("/policies")).text, "/policies")
    return await visitor.post(
        "/policies", fields | {"rule": rule, "body": body, "do": "save"} | more
    )


async def test_an_operator_sets_and_drops_rules_and_each_is_audited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As YAML or JSON; one line each, with who it was.  Source: R-SVC-81."""
    caplog.set_level(logging.INFO, "interlock.audit")
    async with shown() as here:
        policies = here.world.engine.tools.policies
        visitor = await here.visitor("olga")
        yaml = "confirm:\n  when: {properties: {euro: {minimum: 100}}}\n# dear\non_deny: tell_agent"
        assert (await saving(visitor, "pay", yaml)).status_code == SEE
        assert policies.rules["pay"].on_deny == "tell_agent"
        assert (await saving(visitor, "*", '{"confirm": "never"}')).status_code == SEE
        assert policies.version == 3
        fields = form_of((await visitor.get("/policies")).text, "/policies")
        gone = await visitor.post("/policies", fields | {"rule": "*", "do": "drop"})
        assert gone.status_code == SEE
        assert "*" not in policies.rules
        lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "interlock.audit"]
        assert [(line["action"], line["actor"], line["rule"]) for line in lines] == [
            ("policy_set", "olga", "pay"),
            ("policy_set", "olga", "*"),
            ("policy_dropped", "olga", "*"),
        ]


@pytest.mark.parametrize(
    ("rule", "body", "says"),
    [
        ("book", "confirm: always\nenabled: perhaps", "line 2"),
        ("book", "confrim: always", "line 1: book: confrim: there is no such field"),
        ("book", "confirm: [", "line 1"),
        ("book", "", "there is nothing in it"),
        ("book", "confirm: {predicate: evil}", "accepted is never, always"),
        ("nothing", "{}", "nothing"),
        ("\U0001f600", "{}", "\U0001f600"),
        ("", "{}", "rule"),
        ("book", "confirm: ${HOME}", "line 1"),
        ("book", "}\nother: {}", "line 1"),
    ],
)
async def test_a_fault_is_shown_with_its_line_and_nothing_is_set(
    rule: str, body: str, says: str
) -> None:
    """And the text is there to be mended.  Source: R-SVC-81."""
    async with shown() as here:
        policies = here.world.engine.tools.policies
        before = dict(policies.rules)
        visitor = await here.visitor("olga")
        answer = await saving(visitor, rule, body)
        assert answer.status_code == WRONG
        assert says in words_of(answer.text)
        assert form_of(answer.text, "/policies")["body"].replace("\r\n", "\n") == (
            body or '{\n  "confirm": "always"\n}'
        )
        assert (policies.rules, policies.version) == (before, 1)


async def test_what_somebody_else_changed_meanwhile_is_not_overwritten() -> None:
    """It is shown as it is now.  Source: R-SVC-81."""
    async with shown() as here:
        visitor = await here.visitor("olga")
        answer = await saving(visitor, "book", "{}", version="0")
        assert answer.status_code == WRONG
        assert "somebody changed the policies meanwhile" in words_of(answer.text)
        assert here.world.engine.tools.policies.version == 1


@pytest.mark.parametrize("name", ["ada", "eve", "otto", "tilda"])
async def test_nobody_else_changes_a_rule(name: str) -> None:
    """By hand either, nor whoever operates for one tenant alone.  Source: R-SVC-81, T17."""
    async with shown() as here:
        visitor = await here.visitor(name)
        csrf = form_of((await visitor.get("/inbox")).text, "/sign-out")["csrf"]
        sent = {"csrf": csrf, "version": "1", "rule": "book", "body": "{}", "do": "save"}
        assert (await visitor.post("/policies", sent)).status_code == FORBIDDEN
        assert (await visitor.post("/policies", sent | {"do": "drop"})).status_code == FORBIDDEN
        assert here.world.engine.tools.policies.version == 1
