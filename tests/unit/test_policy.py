"""Policies: what they say, which rule decides, and what no document may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from interlock import JsonObject, Policies, Policy, RequiredInput, Tool, When
from interlock.errors import AmbiguousTool, InvalidInput, UnknownTool

PAY = Tool(name="pay", source="bank")
TOOLS = [PAY, Tool(name="pay", source="shop"), Tool(name="look", source="shop")]


def policy(n: int) -> Policy:
    """A policy unlike the others."""
    return Policy(expires_s=float(n))


@pytest.mark.parametrize(
    ("rules", "decides"),
    [
        (["bank/pay", "pay", "bank/*", "*"], "bank/pay"),
        (["pay", "bank/*", "*"], "pay"),
        (["bank/*", "*"], "bank/*"),
        (["*"], "*"),
        (["shop/pay", "shop/*", "look"], "default"),
        ([], "default"),
    ],
)
def test_the_most_exact_rule_decides(rules: list[str], decides: str) -> None:
    """However they are ordered.  Source: issue 4, build 2, R-GATE-07."""
    made = {rule: policy(n) for n, rule in enumerate(rules, 1)}
    for given in (made, dict(reversed(made.items()))):
        decided = Policies(given).of(PAY)
        assert (decided.rule, decided.version) == (decides, 1)
        assert decided.policy == made.get(decides, Policy())


def test_a_change_counts_at_once_and_has_a_number() -> None:
    """It is in the log of every call after it.  Source: issue 4, build 2, R-GATE-06."""
    policies = Policies()
    before = policies.rules
    assert policies.set("pay", policy(1)) == 2
    assert policies.of(PAY).policy == policy(1)
    assert policies.set("pay", policy(2)) == 3
    assert policies.drop("pay") == 4
    assert (policies.of(PAY).rule, policies.of(PAY).version) == ("default", 4)
    assert before == {}
    assert (policies.version, dict(policies.rules)) == (4, {})


def test_what_a_rule_says_is_a_policy() -> None:
    """And not a document of one, which `Policies.of_json` reads.  Source: R-ENG-20."""
    document: Any = {"confirm": "always"}
    says = "rule 'pay' is of type dict; a Policy is accepted"
    with pytest.raises(TypeError, match=says):
        Policies({"pay": document})
    policies = Policies()
    with pytest.raises(TypeError, match=says):
        policies.set("pay", document)
    assert policies.version == 1


def test_a_rule_that_is_not_there_is_not_dropped() -> None:
    """The error says which are.  Source: issue 4, build 2."""
    policies = Policies({"pay": Policy()})
    with pytest.raises(InvalidInput, match="the rules are: pay"):
        policies.drop("play")
    assert policies.version == 1


@pytest.mark.parametrize("rule", ["", "/pay", 5, None])
def test_what_is_no_name_is_no_rule(rule: Any) -> None:  # noqa: ANN401
    """At once, not when the tools are known.  Source: issue 4, build 2."""
    with pytest.raises(InvalidInput):
        Policies({rule: Policy()})
    with pytest.raises(InvalidInput):
        Policies().set(rule, Policy())


@pytest.mark.parametrize("rule", ["play", "bank/play", "nobody/*", "nobody/pay", "bank/look"])
def test_a_rule_that_names_no_tool_is_an_error_once_they_are_known(rule: str) -> None:
    """A misspelt one would protect nothing.  Source: issue 4, build 2, R-GATE-07."""
    policies = Policies({rule: Policy()})
    with pytest.raises(UnknownTool) as caught:
        policies.know(TOOLS)
    assert caught.value.known == ("bank/pay", "shop/look", "shop/pay")
    policies = Policies()
    policies.know(TOOLS)
    with pytest.raises(UnknownTool):
        policies.set(rule, Policy())
    assert (policies.version, dict(policies.rules)) == (1, {})


def test_a_bare_name_of_several_tools_is_an_error_once_they_are_known() -> None:
    """It could mean the wrong one.  Source: issue 4, build 2."""
    with pytest.raises(AmbiguousTool) as caught:
        Policies({"pay": Policy()}).know(TOOLS)
    assert caught.value.named == ("bank/pay", "shop/pay")


@pytest.mark.parametrize("rule", ["bank/pay", "look", "shop/*", "*"])
def test_a_rule_that_means_something_is_taken(rule: str) -> None:
    """Before and after the tools are known.  Source: issue 4, build 2."""
    policies = Policies({rule: Policy()})
    policies.know(TOOLS)
    assert policies.set(rule, policy(1)) == 2


CLOSED: JsonObject = {
    "type": "object",
    "properties": {"iban": {}, "eur": {}},
    "additionalProperties": False,
}


@pytest.mark.parametrize("rule", ["bank/send", "send"])
@pytest.mark.parametrize(
    "wanted", [RequiredInput(name="ibn"), RequiredInput(name="iban", argument="ibn")]
)
def test_a_required_input_that_is_no_argument_is_an_error_once_they_are_known(
    rule: str, wanted: RequiredInput
) -> None:
    """A person would be asked for it, and then the call refused.  Source: R-GATE-05."""
    tools = [*TOOLS, Tool(name="send", source="bank", input_schema=CLOSED)]
    policies, wants = Policies(), Policy(required_inputs=(wanted,))
    policies.know(tools)
    for known in (lambda: Policies({rule: wants}).know(tools), lambda: policies.set(rule, wants)):
        with pytest.raises(InvalidInput) as caught:
            known()
        assert str(caught.value) == (
            f"rule {rule!r}: required input {wanted.name!r} fills no argument of bank/send; "
            "its arguments are: eur, iban"
        )
    assert policies.version == 1


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("bank/*", CLOSED),
        ("send", {"type": "object"}),
        ("send", {"type": "object", "properties": {"iban": {}}}),
        ("send", {**CLOSED, "patternProperties": {"^i": {}}}),
        ("send", {**CLOSED, "properties": {"ibn": {}}}),
    ],
)
def test_a_required_input_that_may_be_an_argument_is_taken(rule: str, schema: JsonObject) -> None:
    """Of some tool of many, or of one that takes what it does not list.  Source: R-GATE-05."""
    wants = Policy(required_inputs=(RequiredInput(name="ibn"),))
    Policies({rule: wants}).know([Tool(name="send", source="bank", input_schema=schema)])


@pytest.mark.parametrize("rule", ["away/pay", "away/*", "play"])
def test_of_a_source_that_is_away_nobody_knows(rule: str) -> None:
    """So its rules are taken.  Source: issue 4, build 3."""
    policies = Policies({rule: Policy()})
    policies.know(TOOLS, ["away"])
    with pytest.raises(UnknownTool):
        policies.set("bank/play", Policy())


def test_a_tool_that_turns_up_under_a_bare_name_of_another_is_off() -> None:
    """The rule was not made for it, and a laxer one might be.  Source: issue 4, bad input."""
    policies = Policies({"look": policy(1), "*": policy(2)})
    policies.know(TOOLS)
    assert policies.of(TOOLS[2]).policy == policy(1)
    late = policies.of(Tool(name="look", source="evil"))
    assert (late.policy.enabled, late.rule) == (False, "look")
    policies.know([*TOOLS[:2], Tool(name="look", source="evil")])
    assert policies.of(Tool(name="look", source="evil")).policy == policy(1)


def test_a_full_name_is_of_one_tool_whatever_others_call_theirs() -> None:
    """`bank/pay` of `evil` is `evil/bank/pay`.  Source: issue 4, bad input."""
    evil = Tool(name="bank/pay", source="evil")
    policies = Policies({"bank/pay": policy(1), "evil/*": policy(2)})
    policies.know([*TOOLS, evil])
    assert policies.of(evil).policy == policy(2)
    assert policies.of(PAY).policy == policy(1)


# --- documents ----------------------------------------------------------------------------

DOCUMENT: JsonObject = {
    "bank/pay": {
        "confirm": {"when": {"properties": {"amount": {"minimum": 100}}}},
        "required_inputs": [
            {"name": "to", "schema": {"type": "string"}, "default": None},
            {"name": "amount", "argument": "n", "description": "how much"},
        ],
        "prompt": "Pay?",
        "allow_edit": True,
        "on_deny": "tell_agent",
        "on_expire": "fail",
        "expires_s": 60.0,
        "timeout_s": None,
        "idempotent": True,
        "approvers": ["boss"],
        "by_text": True,
        "show_errors": True,
    },
    "*": {"enabled": False},
}


def test_a_document_says_all_that_a_policy_can() -> None:
    """And the log has it as it was said.  Source: issue 4, build 2."""
    policies = Policies.of_json(DOCUMENT)
    made = policies.rules["bank/pay"]
    assert made.to_json() == DOCUMENT["bank/pay"]
    assert made.wants_confirmation({"amount": 100})
    assert not made.wants_confirmation({"amount": 99})
    to, amount = made.required_inputs
    assert (to.target, to.has_default, to.default) == ("to", True, None)
    assert (amount.target, amount.has_default) == ("n", False)
    assert not policies.rules["*"].enabled


def required(*inputs: JsonObject, **more: Any) -> JsonObject:  # noqa: ANN401
    """A document with these."""
    return {"pay": {"required_inputs": list(inputs), **more}}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"pay": {"confirm": "sometimes"}}, "/pay/confirm"),
        ({"pay": {"confirm": True}}, "/pay/confirm"),
        ({"pay": {"confirms": "always"}}, "/pay/confirms"),
        ({"pay": {"confirm": {"when": {"unevaluatedProperties": False}}}}, "/pay/confirm"),
        ({"pay": {"confirm": {"predicate": "os.system"}}}, "a predicate is code"),
        ({"pay": {"confirm": print}}, "a predicate is code"),
        ({"pay": {"timeout_s": 0}}, "/pay/timeout_s"),
        ({"pay": {"timeout_s": float("inf")}}, "/pay/timeout_s"),
        ({"pay": {"expires_s": -1}}, "/pay/expires_s"),
        ({"pay": {"on_deny": "default"}}, "/pay/on_deny"),
        ({"pay": {"on_expire": "stop"}}, "/pay/on_expire"),
        ({"pay": {"approvers": [""]}}, "an approver has a name"),
        ({"pay": {"approvers": ["ada", "agent"]}}, "'agent' never approves anything"),
        ({"pay": {"prompt": ""}}, "/pay/prompt"),
        ({"pay": 5}, "/pay"),
        (required({"name": ""}), "/pay/required_inputs/0/name"),
        (required({"name": "a"}, {"name": "a"}), "two required inputs have one name"),
        (required({"name": "a", "argument": "b"}, {"name": "b"}), "fill one argument"),
        (required({"name": "a"}, on_expire="default"), "a required input has none"),
        (required({"name": "a", "schema": {"$ref": "#/nowhere"}}), "/pay/required_inputs/0"),
        ({"/pay": {}}, "rule '/pay'"),
    ],
)
def test_a_document_that_says_something_else_is_refused_with_the_place(
    document: Any,  # noqa: ANN401
    place: str,
) -> None:
    """Nothing is guessed.  Source: issue 4, build 2."""
    with pytest.raises(InvalidInput) as caught:
        Policies.of_json(document)
    assert place in str(caught.value)


# --- policies themselves ------------------------------------------------------------------


def test_a_predicate_is_kept_by_its_name() -> None:
    """Code is in no log.  Source: issue 4, build 2."""

    def expensive(_arguments: JsonObject) -> bool:
        return True

    said = Policy(confirm=expensive).to_json()["confirm"]
    assert isinstance(said, dict)
    assert str(said["predicate"]).endswith("expensive")


class Costly:
    """A predicate that is an object."""

    def __call__(self, arguments: JsonObject) -> bool:
        """Whether it is."""
        return bool(arguments)


def test_a_predicate_may_be_an_object() -> None:
    """It has the name of its class.  Source: ours."""
    made = Policy(confirm=Costly())
    assert made.to_json() == {"confirm": {"predicate": "Costly"}}
    assert made.wants_confirmation({"a": 1})
    assert not made.wants_confirmation({})


@pytest.mark.parametrize("said", [None, 0, 1, "yes"])
def test_a_predicate_says_true_or_false(said: Any) -> None:  # noqa: ANN401
    """Anything else is a fault in it.  Source: issue 4, build 1."""
    with pytest.raises(TypeError):
        Policy(confirm=lambda _: said).wants_confirmation({})


def test_what_is_not_set_is_not_said() -> None:
    """The log grows with each call.  Source: ours."""
    assert Policy().to_json() == {}
    assert Policy(timeout_s=300.0).to_json() == {"timeout_s": 300.0}


def test_a_condition_that_cannot_be_checked_is_none() -> None:
    """It would never hold, or always.  Source: issue 4, build 2."""
    with pytest.raises(ValidationError):
        When(when={"unevaluatedProperties": False})
    with pytest.raises(ValidationError):
        RequiredInput(name="a", schema={"unevaluatedProperties": False})


def test_a_copy_of_a_policy_is_described_as_it_is() -> None:
    """What is kept of one is never that of another.  Source: a fault that was."""
    policies = Policies({"pay": Policy(confirm="always")})
    tool = Tool(name="pay", source="bank")
    before = policies.of(tool)
    policies.set("pay", before.policy.model_copy(update={"prompt": "Really?"}))
    after = policies.of(tool)
    assert (before.said, after.said) == (
        {"confirm": "always"},
        {"confirm": "always", "prompt": "Really?"},
    )
    assert before.digest != after.digest
