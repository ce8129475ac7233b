"""Policies of tools as YAML.

    booking/search: {}
    booking/book:
      confirm: always
      allow_edit: true
      approvers: [ada]
    payments/pay:
      confirm:
        when: {properties: {euro: {minimum: 100}}, required: [euro]}
      required_inputs:
        - {name: iban, description: "Which account?", schema: {type: string}}
      timeout_s: ${PAY_TIMEOUT_S:-30}
    "*": {confirm: always}

A mapping of rules to policies (`interlock.Policy` says what is in one), the most exact rule
first to decide.  Only a file is expanded from the environment (see `_yaml`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from interlock import JsonObject, JsonValue
from interlock.errors import InvalidInput
from interlock.policy import Policies, Policy, RequiredInput, When
from interlock_adapters._yaml import Document, read, written

__all__ = ["dump_policies", "load_policies"]

_CONFIRM: Final = (
    "accepted is never, always, or {when: ...} with a JSON schema that the arguments fit "
    "if a person must confirm"
)


def load_policies(source: Path | str, *, environ: Mapping[str, str] | None = None) -> Policies:
    """The policies of a file, given as a `Path`, or of a YAML text.

    In a file `${NAME}` and `${NAME:-default}` are expanded from `environ`, by default the
    process's own.

    Raises:
        InvalidInput: these are no policies; each problem with its line, and what would do.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path):
        try:
            text = source.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InvalidInput([f"{source}: it is not written in UTF-8"]) from None
        document = read(text, str(source), os.environ if environ is None else environ)
    else:
        document = read(source, "policies", None)
    rules = _rules_of(document, is_text=isinstance(source, str))
    problems = [problem for rule in rules for problem in rule_problems(rule, rules[rule], document)]
    if problems:
        raise InvalidInput(problems)
    return Policies.of_json(rules)


def dump_policies(policies: Policies) -> str:
    """The YAML of policies, as a file; `load_policies` gives the same ones.

    Raises:
        InvalidInput: a policy has a predicate that is code.
    """
    code = [r for r, policy in policies.rules.items() if not _is_data(policy)]
    if code:
        raise InvalidInput(
            [f"{rule}: its confirm is a function, and cannot be written down" for rule in code]
        )
    return written({rule: policy.to_json() for rule, policy in policies.rules.items()})


def _is_data(policy: Policy) -> bool:
    return isinstance(policy.confirm, str | When)


def _rules_of(document: Document, *, is_text: bool) -> JsonObject:
    rules = document.value
    if isinstance(rules, dict):
        return rules
    hint = "; a file is given as a Path" if is_text and isinstance(rules, str) else ""
    accepted = "a mapping of rules to policies is accepted, as booking/book: {confirm: always}"
    raise InvalidInput([f"{document.at(())}: {accepted}{hint}"])


def rule_problems(rule: str, body: JsonValue, document: Document) -> list[str]:
    """What is wrong with one rule of a document: the engine judges, this says where.

    For configurations, which have such rules in them.
    """
    at = document.at((rule,))
    if body is None:
        return [f"{at}: {rule}: there is nothing in it; {{}} is a policy without conditions"]
    if not isinstance(body, dict):
        return [f"{at}: {rule}: a policy is a mapping: {_fields(Policy)}"]
    try:
        Policies.of_json({rule: {}})
    except InvalidInput as error:
        return [f"{at}: {problem}" for problem in error.problems]
    try:
        Policy.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return [*_of_confirm(rule, faults, document), *_of_fields(rule, faults, document)]
    return []


def _of_confirm(rule: str, faults: list[ErrorDetails], document: Document) -> Iterator[str]:
    """One line in place of one for each alternative."""
    found = [fault for fault in faults if fault["loc"][:1] == ("confirm",)]
    if found:
        # What is wrong with a schema; else what is accepted says all.
        schemas = [_what(f) for f in found if _what(f).startswith("schema")]
        own = "".join(f"{what}; " for what in schemas)
        yield f"{document.at((rule, 'confirm'))}: {rule}: confirm: {own}{_CONFIRM}"


def _of_fields(rule: str, faults: list[ErrorDetails], document: Document) -> Iterator[str]:
    for fault in faults:
        if fault["loc"][:1] != ("confirm",):
            yield _said(rule, fault, document)


def _what(fault: ErrorDetails) -> str:
    """What is wrong, without the words of Python."""
    if fault["type"] == "tuple_type":
        return "a list is accepted, as [ada]"
    if fault["type"] == "model_type":
        return "a mapping is accepted, as {name: seat}"
    return fault["msg"].removeprefix("Value error, ")


def _said(rule: str, fault: ErrorDetails, document: Document) -> str:
    loc, what = fault["loc"], _what(fault)
    if fault["type"] == "extra_forbidden":
        model = RequiredInput if len(loc) > 1 else Policy
        what = f"there is no such field; the fields are: {_fields(model)}"
    place = ".".join(str(step) for step in loc)
    return f"{document.at((rule, *loc))}: {rule}: {f'{place}: ' if place else ''}{what}"


def _fields(model: type[BaseModel]) -> str:
    return ", ".join(field.alias or name for name, field in model.model_fields.items())
