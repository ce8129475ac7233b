"""What the console's pages show of tasks: read from records and logs, nothing decided here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock import (
    LIVE,
    WAITING,
    AskKind,
    JsonObject,
    JsonValue,
    OpenAsk,
    Phase,
    TaskRecord,
)
from interlock._guards import ROLE
from interlock.policy import Policies, Policy
from interlock_adapters._callers.access import Access, is_for_operator
from interlock_adapters._callers.principal import Principal
from interlock_adapters.console._forms import FormView, form_view
from interlock_adapters.console._text import SHOWN_CHARS_MAX, json_text, shown, shown_json, whole

_OUTCOME_MARKS: Final = {"completed": "✓", "failed": "✗", "rejected": "✗", "timed_out": "!"}
_MARKS: Final = {"submitted": "○", "running": "▶", "cancelling": "■", "cancelled": "■"}


@dataclass(frozen=True, slots=True)
class PhaseBadge:
    """A phase as people see it: a word and a mark, never a colour alone."""

    value: str
    words: str
    mark: str
    #: A class of the style sheet.
    kind: str


def badge(phase: Phase) -> PhaseBadge:
    """How a phase is shown; further ones of an extended lifecycle as those they are like."""
    kin = phase.kin.value
    mark = "?" if phase in WAITING else _OUTCOME_MARKS.get(kin) or _MARKS.get(kin, "•")
    kind = "waiting" if phase in WAITING else "live" if phase in LIVE else kin.replace("_", "-")
    return PhaseBadge(phase.value, phase.value.replace("_", " "), mark, kind)


@dataclass(frozen=True, slots=True)
class AskCard:
    """An open ask with its form, as one principal sees it."""

    dom_id: str
    #: Changes if anything does that a form was filled in for.
    version: str
    task_id: str
    key: str
    #: `auth`, `input` or `operator`.
    kind: str
    prompt: str
    owner: str
    due: float
    asked_at: float
    on_expire: str
    tool: str
    arguments: str
    #: Whether all of the arguments are there: otherwise it is decided where they are.
    is_whole: bool
    digest: str
    allow_edit: bool
    on_deny: str
    who: tuple[str, ...]
    may: bool
    #: None where nothing is filled in.
    form: FormView | None
    choices: tuple[str, ...]
    #: By which a form that is sent twice counts once.
    token: str
    said: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule of the policies."""

    rule: str
    #: What was set, as JSON text.
    body: str
    #: Its predicate is code: it can be replaced here, and not be edited.
    is_code: bool
    confirm: str


def card_id(task_id: str, key: str) -> str:
    """The id of an ask's element: keys may hold anything."""
    return f"ask-{_digest(task_id, key)[:24]}"


def _digest(*said: str) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def ask_card(
    access: Access,
    record: TaskRecord,
    ask: OpenAsk,
    *,
    seed: str,
    posted: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    said: tuple[str, ...] = (),
    brief: bool = False,
) -> AskCard:
    """The card of an ask; with what somebody posted, it is filled in as they left it.

    A `brief` one, among many, has no more of long arguments than a text has elsewhere.

    `seed` is a secret of who looks: the same card has the same token for them, and others have
    another one.
    """
    operator = is_for_operator(ask)
    may = access.may_resume(record) if operator else access.may_answer(record, ask)
    text = "" if ask.arguments is None else json_text(ask.arguments)
    arguments = whole(text)
    is_whole = not brief or len(arguments) <= SHOWN_CHARS_MAX
    form: FormView | None = None
    if is_whole and not operator and may and (ask.kind is AskKind.INPUT or ask.allow_edit):
        value, has_value = start_of(ask)
        form = form_view(ask.schema, value, has_value=has_value, posted=posted, problems=problems)
    choices = ask.schema.get("enum") if operator else None
    given = posted or {}
    return AskCard(
        dom_id=card_id(record.task_id, ask.key),
        version=f"{ask.digest or ask.key} {ask.due} {may}",
        task_id=record.task_id,
        key=ask.key,
        kind="operator" if operator else ask.kind.value,
        prompt=shown(ask.prompt),
        owner=shown(record.owner),
        due=ask.due,
        asked_at=ask.asked_at,
        on_expire=ask.on_expire,
        tool=shown(ask.tool or ""),
        arguments=arguments if is_whole else shown(text),
        is_whole=is_whole,
        digest=ask.digest or "",
        allow_edit=ask.allow_edit,
        on_deny=ask.on_deny,
        who=_who(ask, operator=operator),
        may=may,
        form=form,
        choices=tuple(str(each) for each in choices) if isinstance(choices, list) else (),
        token=_digest(seed, record.task_id, ask.key, ask.digest or "")[:32],
        said=said,
        reason=given.get("reason", ""),
    )


def start_of(ask: OpenAsk) -> tuple[JsonValue, bool]:
    """What the form of an ask is filled in with at first, and whether that is anything."""
    if ask.kind is AskKind.AUTH:
        return ask.arguments, True
    return ask.default, ask.default is not None


def _who(ask: OpenAsk, *, operator: bool) -> tuple[str, ...]:
    if operator:
        return ("an operator",)
    if not ask.approvers:
        return ("the task's owner, or an approver",)
    return tuple(
        f"an approver in the role {shown(name.removeprefix(ROLE))}"
        if name.startswith(ROLE)
        else shown(name)
        for name in ask.approvers
    )


def who_is(principal: Principal) -> str:
    """How a person is called on pages."""
    return shown(principal.name or principal.subject)


# --- policies ------------------------------------------------------------------------


def rule_views(policies: Policies) -> list[RuleView]:
    """The rules as they are, by name."""
    return [_rule_view(rule, policy) for rule, policy in sorted(policies.rules.items())]


def _rule_view(rule: str, policy: Policy) -> RuleView:
    said: JsonObject = policy.to_json()
    confirm: JsonValue = said.get("confirm", "never")
    is_code = isinstance(confirm, dict) and "predicate" in confirm
    words = confirm if isinstance(confirm, str) else "by code" if is_code else "sometimes"
    return RuleView(rule, shown_json(said), is_code, words)
