"""What may be called, and on what conditions: one policy for each tool.

A policy is data, except for predicates given as functions.  Rules name tools; the most exact
rule that names a tool decides.  A change counts from the next call on, and every call is
written down with the policy that decided it.  It is long because a policy, the rules and what
is wrong with either belong together.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias, cast

from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from interlock._event import MACHINES
from interlock._form import faults_of
from interlock._guards import ROLE
from interlock._json import digest
from interlock._record import OnDeny, OnExpire
from interlock._schema import check_schema, fits
from interlock.errors import AmbiguousTool, InvalidInput, UnknownTool
from interlock.models import JsonObject, JsonValue, Value
from interlock.tools import Tool

__all__ = ["Policies", "Policy", "Refuse", "RequiredInput", "When"]

#: Says of arguments whether a person must confirm the call.
Predicate: TypeAlias = Callable[[JsonObject], bool]


class NoVerdict(TypeError):
    """A predicate said neither True nor False; the words are ours and hold nothing of anybody's."""


#: Characters of the names of a tool's arguments in an error.
ARGUMENTS_CHARS_MAX: Final = 500
#: Rules that name no single tool.
_ANY: Final = "*"


def _checked(schema: JsonObject | None) -> JsonObject | None:
    """A schema that values can be checked against.

    Raises:
        ValueError: it uses what they cannot.
    """
    if schema is not None:
        try:
            check_schema(schema)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
    return schema


class RequiredInput(Value):
    """Something that a person gives before the tool is called, unless the agent did."""

    model_config: ClassVar[ConfigDict] = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    name: str = Field(min_length=1)
    #: The JSON schema of the value; None takes the tool's own for that argument.
    form: JsonObject | None = Field(default=None, alias="schema")
    description: str | None = None
    #: What it is if nobody says otherwise; absent unless it was set.
    default: JsonValue = None
    #: The argument that it fills; None is the one of its own name.
    argument: str | None = None

    @model_validator(mode="after")
    def _form_is_checkable(self) -> Self:
        _checked(self.form)
        return self

    @property
    def target(self) -> str:
        """The argument that it fills."""
        return self.name if self.argument is None else self.argument

    @property
    def has_default(self) -> bool:
        """Whether a default was given, which may be None."""
        return "default" in self.model_fields_set


def unfit_inputs(tool: Tool, wanted: Iterable[RequiredInput]) -> list[str]:
    """What is wrong with required inputs that no call of a tool would be let through with."""
    properties = tool.input_schema.get("properties", {})
    is_closed = tool.input_schema.get("additionalProperties") is False
    if (
        not is_closed
        or "patternProperties" in tool.input_schema
        or not isinstance(properties, dict)
    ):
        return []
    have = ", ".join(sorted(properties)) or "none"
    return [
        f"required input {one.name!r} fills no argument of {tool.qualified}; "
        f"its arguments are: {have:.{ARGUMENTS_CHARS_MAX}}"
        for one in wanted
        if one.target not in properties
    ]


class When(Value):
    """Confirmation is wanted of calls whose arguments fit a JSON schema."""

    #: The schema.
    when: JsonObject

    @model_validator(mode="after")
    def _is_checkable(self) -> Self:
        _checked(self.when)
        return self

    def __call__(self, arguments: JsonObject) -> bool:
        """Whether these arguments fit.

        Raises:
            Unchecked: nobody can tell, which is not to be taken for a no.
        """
        return fits(arguments, self.when)


class Policy(Value):
    """On what conditions a tool is called."""

    #: Not enabled, it is not shown to agents, and a call of it is refused.
    enabled: bool = True
    #: Whether a person sees the exact arguments and says yes first.
    confirm: Literal["never", "always"] | When | Predicate = "never"
    #: What a person is asked for if the agent did not give it.
    required_inputs: tuple[RequiredInput, ...] = ()
    #: What people are told beside the arguments; None says which tool it is.
    prompt: str | None = Field(default=None, min_length=1)
    #: Whether whoever confirms may send other arguments.
    allow_edit: bool = False
    #: Whether a no stops the task, or is told to the agent.
    on_deny: OnDeny = "stop"
    #: When nobody answers in time: the tool is not called (the task is stopped as `ask_expired`,
    #: or the agent is told, by `on_deny`), or the task fails anyway, or the defaults are taken.
    #: A confirmation has no default: for it that is `deny`.  Silence is never taken for a no.
    on_expire: OnExpire = "deny"
    #: Seconds that people have; None is `Limits.ask_s`.
    expires_s: Annotated[float, Field(gt=0)] | None = None
    #: Seconds that the tool has for one leg, people's time not counted; None is no limit.
    timeout_s: Annotated[float, Field(gt=0)] | None = 300.0
    #: Whether it may be called again when nobody knows if it was; None is as its source says.
    idempotent: bool | None = None
    #: Who may answer and confirm: names, and `role:NAME` for whoever acts in that role; empty is
    #: whoever may see the task.
    approvers: tuple[str, ...] = ()
    #: Whether plain words may confirm it, where an adapter has a vocabulary.
    by_text: bool = False
    #: Whether an agent is told what an exception of the tool says; it may hold a secret.
    show_errors: bool = False

    @field_validator("confirm", mode="before")
    @classmethod
    def _says_when(cls, confirm: object) -> object:
        if confirm in ("never", "always") or callable(confirm) or isinstance(confirm, Mapping):
            return When.model_validate(confirm) if isinstance(confirm, Mapping) else confirm
        raise ValueError("it is 'never', 'always', {'when': JSON schema}, or in code a function")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        names = [wanted.name for wanted in self.required_inputs]
        targets = [wanted.target for wanted in self.required_inputs]
        if len(set(names)) < len(names) or len(set(targets)) < len(targets):
            raise ValueError("two required inputs have one name, or fill one argument")
        if self.on_expire == "default" and not all(w.has_default for w in self.required_inputs):
            raise ValueError("on_expire is 'default', and a required input has none")
        if any(approver in {"", ROLE} for approver in self.approvers):
            raise ValueError("an approver has a name")
        if machines := sorted(MACHINES.intersection(self.approvers)):
            raise ValueError(
                f"{machines[0]!r} never approves anything: the engine itself acts under that name; "
                "other names, and role:NAME, are accepted"
            )
        return self

    def wants_confirmation(self, arguments: JsonObject) -> bool:
        """Whether a person must say yes to these arguments.

        Raises:
            TypeError: a predicate says neither True nor False.
            Exception: whatever a predicate of the service raises.
        """
        match self.confirm:
            case "never":
                return False
            case "always":
                return True
            case _:
                # A copy: who judges must not change what is shown, and run.
                said = cast("object", self.confirm(copy.deepcopy(arguments)))
                if inspect.iscoroutine(said):
                    said.close()  # Nobody awaits it.
                if not isinstance(said, bool):
                    raise NoVerdict(f"a predicate gave a {type(said).__name__}, not True or False")
                return said

    def to_json(self) -> JsonObject:
        """What was set of it, for the log; a predicate by its name."""
        said = self.model_dump(mode="json", exclude_unset=True, exclude={"confirm"})
        if "confirm" in self.model_fields_set:
            said["confirm"] = _confirm_json(self.confirm)
        return said


def _confirm_json(confirm: object) -> JsonValue:
    match confirm:
        case str():
            return confirm
        case When():
            return {"when": confirm.when}
        case _:
            name = getattr(confirm, "__qualname__", type(confirm).__qualname__)
            return {"predicate": str(name)}


@dataclass(frozen=True, slots=True)
class Refuse:
    """Given by a plugin: this call is not made; the reason is told to the agent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The policy of one tool now, and where it comes from."""

    policy: Policy
    #: `Policy.to_json`, not to be changed, and what stands for it.
    said: JsonObject
    digest: str
    #: The rule that decided, `default` if none did.
    rule: str
    #: The number of the change after which it was so.
    version: int


#: Of a tool that no rule names.
_DEFAULT: Final = Policy()
_OFF: Final = Policy(enabled=False)
_RULES: Final[TypeAdapter[dict[str, Policy]]] = TypeAdapter(dict[str, Policy])


class Policies:
    """The rules of an engine: `source/tool`, `tool`, `source/*` or `*`, the most exact first.

    A rule that is a bare name must name one tool; with several of that name it is ambiguous.
    Both this and rules that name no tool are errors as soon as the tools are known.
    """

    def __init__(self, rules: Mapping[str, Policy] | None = None) -> None:
        """Take rules by their names.

        Raises:
            InvalidInput: one has no name of a rule.
            TypeError: one is no `Policy`.
        """
        self._rules: dict[str, Policy] = dict(rules or {})
        #: How often the rules were changed, from 1.
        self.version: int = 1
        self._decisions: dict[str, Decided] = {}
        #: The tools that rules may name; None until they are known.
        self._known: _Known | None = None
        for rule, policy in self._rules.items():
            _check_name(rule)
            _check_policy(rule, policy)

    @classmethod
    def of_json(cls, document: Mapping[str, JsonValue]) -> Self:
        """The rules that a document says: a mapping of rules to policies.

        Raises:
            InvalidInput: it says none; each problem with its place.
        """
        if any(_has_predicate(policy) for policy in document.values()):
            raise InvalidInput(["a predicate is code; a document says 'when' and a JSON schema"])
        try:
            return cls(_RULES.validate_python(dict(document)))
        except ValidationError as error:
            raise InvalidInput(faults_of(error)) from None

    @property
    def rules(self) -> Mapping[str, Policy]:
        """The rules as they are now; not to be changed here."""
        return MappingProxyType(self._rules)

    def set(self, rule: str, policy: Policy) -> int:
        """Make or replace a rule; it counts from the next call on.  Returns the new version.

        Raises:
            UnknownTool, AmbiguousTool: it names no tool, or several.
            InvalidInput: it is no name of a rule, or wants what is no argument of its tool.
            TypeError: it is no `Policy`.
        """
        _check_name(rule)
        _check_policy(rule, policy)
        if self._known is not None:
            self._known.check(rule, policy)
        self._rules = {**self._rules, rule: policy}
        self.version += 1
        return self.version

    def drop(self, rule: str) -> int:
        """Forget a rule; returns the new version.

        Raises:
            InvalidInput: there is no such rule.
        """
        if rule not in self._rules:
            have = ", ".join(sorted(self._rules)) or "none"
            raise InvalidInput([f"no rule {rule!r}; the rules are: {have}"])
        self._rules = {name: policy for name, policy in self._rules.items() if name != rule}
        self.version += 1
        return self.version

    def know(self, tools: Iterable[Tool], away: Iterable[str] = ()) -> None:
        """Check the rules against the tools that there are, now and whenever one is set.

        Of the sources that are `away` nobody knows yet what they have.

        Raises:
            UnknownTool, AmbiguousTool: a rule names no tool, or several.
            InvalidInput: a rule of one tool wants what is no argument of it.
        """
        known = _Known(tuple(tools), frozenset(away))
        for rule, policy in self._rules.items():
            known.check(rule, policy)
        self._known = known

    def of(self, tool: Tool) -> Decided:
        """What is said of a tool."""
        rules = self._rules  # One look: another thread may set a rule meanwhile.
        for rule in (tool.qualified, tool.name, f"{tool.source}/{_ANY}", _ANY):
            if rule not in rules or (rule == tool.name and self._is_full_name(rule)):
                continue
            if rule == tool.name and self._is_of_another(rule, tool):
                # It turned up since: a bare name that means two tools means neither.
                return self._decided(_OFF, rule)
            return self._decided(rules[rule], rule)
        return self._decided(_DEFAULT, "default")

    def _decided(self, policy: Policy, rule: str) -> Decided:
        """With what is said of it made once, since every call asks."""
        known = self._decisions.get(rule)
        if known is None or known.policy is not policy or known.version != self.version:
            said = policy.to_json()
            known = Decided(policy, said, digest(said), rule, self.version)
            self._decisions[rule] = known
        return known

    def _is_full_name(self, rule: str) -> bool:
        return self._known is not None and self._known.is_full_name(rule)

    def _is_of_another(self, rule: str, tool: Tool) -> bool:
        if self._known is None:
            return False
        named = self._known.named(rule)
        if named:
            return tool.qualified not in named
        # It was meant for a tool of a source that was away, and this one was there without it.
        return tool.source not in self._known.away


def _has_predicate(policy: object) -> bool:
    if not isinstance(policy, Mapping):
        return False
    confirm = cast("Mapping[str, Any]", policy).get("confirm")
    return callable(confirm) or (isinstance(confirm, Mapping) and "predicate" in confirm)


def _check_name(rule: str) -> None:
    given = cast("object", rule)
    if not isinstance(given, str) or not given or given.startswith("/"):
        raise InvalidInput([f"rule {rule!r:.80}; 'source/tool', 'tool', 'source/*' or '*' is one"])


def _check_policy(rule: str, policy: object) -> None:
    if not isinstance(policy, Policy):
        kind = type(policy).__name__
        raise TypeError(f"rule {rule!r:.80} is of type {kind}; a Policy is accepted: Policy(...)")


@dataclass(frozen=True, slots=True)
class _Known:
    """What rules may name."""

    tools: tuple[Tool, ...]
    away: frozenset[str]

    def is_full_name(self, rule: str) -> bool:
        """Whether it begins with a source: then it is no bare name, whatever tools are called."""
        source, found, _ = rule.partition("/")
        return bool(found) and (
            source in self.away or any(tool.source == source for tool in self.tools)
        )

    def named(self, rule: str) -> list[str]:
        """The tools that a bare name means."""
        if self.is_full_name(rule):
            return []
        return [tool.qualified for tool in self.tools if tool.name == rule]

    def check(self, rule: str, policy: Policy) -> None:
        """Refuse a rule that names no tool, or several of one bare name, or one that it misreads.

        What a rule of many tools wants need not be an argument of each.
        """
        named = self.named(rule)
        self._check_named(rule, named)
        tools = [tool for tool in self.tools if tool.qualified in {rule, *named}]
        if problems := [
            one for tool in tools for one in unfit_inputs(tool, policy.required_inputs)
        ]:
            raise InvalidInput([f"rule {rule!r}: {problem}" for problem in problems])

    def _check_named(self, rule: str, named: list[str]) -> None:
        if rule == _ANY or any(tool.qualified == rule for tool in self.tools):
            return
        if len(named) > 1:
            raise AmbiguousTool(rule, named)
        source, found, name = rule.partition("/")
        is_source = name == _ANY and any(tool.source == source for tool in self.tools)
        may_be = source in self.away if found else bool(self.away)
        if not (named or is_source or may_be):
            hint = f"one that an agent brings is announced: Toolbox(agent_tools=[{rule!r}])"
            raise UnknownTool(rule, sorted(tool.qualified for tool in self.tools), hint=hint)
