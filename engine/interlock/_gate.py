"""The gate in front of every tool call.

In this order: is the tool there, and enabled?  Do the arguments fit its schema?  What the
policy requires and the agent did not give is asked for.  What the policy wants confirmed is
shown to a person, exactly as it will run, and edited arguments are checked again.  Then the
intent is written down, the tool is called once, under its time limit, and what it came to is
written down.  Nothing begins once the task is being stopped, and what the gate cannot judge
(no tool, a plugin or a predicate that raises) is not called.

Every call is met, asked about and made on its own, whatever else is in the same message.  What
was decided of a call stands in the log with its first ask, so that a turn that is run again
goes the same way although policies have changed; a tool that was switched off meanwhile is
not called all the same.  It is long because every step of that order has to be somewhere.
"""

import asyncio
import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol, cast

from interlock._asking import Asking
from interlock._at_once import Share, at_once
from interlock._call import Call
from interlock._defaults import with_defaults
from interlock._event import OWN
from interlock._handover import Show
from interlock._inputs import inputs_form
from interlock._journal import Desk as JournalDesk
from interlock._journal import Journal
from interlock._json import copied, own_copy, same
from interlock._keywords import Unchecked
from interlock._leg import Desk as LegDesk
from interlock._leg import Leg, Legs, Tell
from interlock._memory import Called, Ended
from interlock._observer import code_of
from interlock._outcome import outcome_of, told_of
from interlock._payload import Asked, CallAbout
from interlock._pin import Pin, pin_of, refusal_json, refusal_of
from interlock._record import AskKind
from interlock._schema import check_schema
from interlock._toolbox import (
    NOT_ENABLED,
    Found,
    is_missing,
    is_wanting,
    label_of,
    problems_with,
)
from interlock.errors import (
    CallFailed,
    EngineError,
    InvalidInput,
    PluginFailed,
    ReplayDiverged,
    ResultInvalid,
    ToolRefused,
)
from interlock.models import JsonObject, JsonValue
from interlock.policy import NoVerdict, Policy, Refuse, RequiredInput, unfit_inputs
from interlock.tools import Tool, ToolCall, ToolOutcome, ToolResult, Unfinished

_log: Final = logging.getLogger("interlock.agent")

#: Legs of one call: a tool that is never done must not fill the log.
LEGS_MAX: Final = 100
#: Times that a person is asked again for the same inputs.
ROUNDS_MAX: Final = 20
NAME_CHARS_MAX: Final = 256
#: Why a call is not made that waited for others while its policy was changed.
NOW_CONFIRMED: Final = "its policy was changed meanwhile and wants it confirmed; call it again"
#: The keys of what was refused.
_REFUSED: Final = OWN + "refused-"


class Desk(JournalDesk, LegDesk, Protocol):
    """What the gate needs of its turn."""

    def share(self) -> Share:
        """A reason not to park the turn yet."""
        ...


@dataclass(frozen=True, slots=True)
class _Met:
    """A call before the gate: what the log has of it, or what was decided of it."""

    wanted: ToolCall
    call: Call
    #: What it came to before, or why it is not made.
    ended: Ended | EngineError | None = None
    found: Found | None = None
    pin: Pin | None = None
    #: It was begun, and is to be made again exactly so.
    begun: Called | None = None


@dataclass(frozen=True, slots=True)
class _Cleared:
    """What a call is made with."""

    arguments: JsonObject
    #: The key of the ask with which a person said yes to exactly that.
    approval: str | None = None


class Gate:
    """The gate of one turn."""

    def __init__(
        self, desk: Desk, journal: Journal, asking: Asking, *, show: Show, tell: Tell
    ) -> None:
        self._desk: Final = desk
        self._journal: Final = journal
        self._asking: Final = asking
        self._legs: Final = Legs(desk, asking, show=show, tell=tell)

    async def call(self, wanted: ToolCall) -> ToolResult:
        """See `TaskContext.call_tool`."""
        self._journal.check_alone()
        return await self._passed(await self._met(wanted, self._wanted(wanted)))

    async def batch(self, wanted: Sequence[ToolCall]) -> list[ToolResult | EngineError]:
        """See `TaskContext.call_tools`."""
        self._journal.check_alone()
        # Before any of them goes on, so that keys are counted in the order of the message.
        calls = [self._wanted_or_not(one) for one in wanted]
        return await at_once(self._desk.share, list(map(self._each, wanted, calls)))

    def _wanted_or_not(self, wanted: ToolCall) -> Call | EngineError:
        try:
            return self._wanted(wanted)
        except EngineError as error:
            return error

    async def _each(self, wanted: ToolCall, call: Call | EngineError) -> ToolResult | EngineError:
        if isinstance(call, EngineError):
            return call
        try:
            return await self._passed(await self._met(wanted, call))
        except EngineError as error:
            return error

    # --- meeting a call ---------------------------------------------------------------

    async def _met(self, wanted: ToolCall, call: Call) -> _Met:
        """What the log has of a call, or what is decided of it now."""
        call, ended = await self._journal.recalled(call)
        if ended is not None:
            return _Met(wanted, call, ended)
        refused = await self._refused_before(call)
        if refused is not None:
            return _Met(wanted, call, refused)
        try:
            found = self._found(wanted)
            pin = await self._pinned(call) or await self._decided(found.tool, call.arguments)
            begun = self._desk.memory.calls.get(call.key)
            _check_same(found.tool, pin.tool if begun is None else begun.tool)
        except EngineError as error:
            return _Met(wanted, call, await self._refuse(call, error))
        return _Met(wanted, call, None, found, pin, begun)

    def _wanted(self, wanted: ToolCall) -> Call:
        """The call that an agent wants.

        Raises:
            InvalidInput: its arguments are not JSON, or its key was used before.
        """
        name = cast("object", wanted.name)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
            raise InvalidInput([f"a tool's name is a text of up to {NAME_CHARS_MAX} characters"])
        bytes_max = self._desk.limits.payload_bytes_max
        given = cast("object", wanted.arguments)
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise InvalidInput([f"the arguments of {name} are of type {kind}, and not an object"])
        try:
            if not name.isascii():
                own_copy(name, what="the name of a tool", bytes_max=bytes_max)
            arguments = own_copy(
                dict(wanted.arguments), what=f"the arguments of {name}", bytes_max=bytes_max
            )
        except ResultInvalid as error:
            raise InvalidInput([str(error)]) from None
        # A source names its tools, and must not name what is the engine's own.
        counted = f"tool {name}" if name.startswith(OWN) else name
        key = self._journal.key(counted, wanted.key)
        # If it was begun before, the log says whether it may be made again.
        return Call(
            key,
            name,
            cast("JsonObject", arguments),
            idempotent=True,
            adapter=None,
            bytes_max=bytes_max,
            token=key,
        )

    def _found(self, wanted: ToolCall) -> Found:
        if wanted.tool is None or wanted.source is None:
            return self._desk.toolbox.found(wanted.name)
        return Found(wanted.tool, wanted.source)

    async def _refused_before(self, call: Call) -> EngineError | None:
        """Why a call was refused when it was first met."""
        key = self._desk.memory.note_key(_REFUSED + call.key)
        note = self._desk.memory.notes.get(key)
        if not isinstance(note, dict) or note["attempt"] != self._desk.memory.attempt:
            return None  # A retry does again what was not done.
        if note["fingerprint"] != call.fingerprint:
            # By the key of the entry: an operator may have that one ignored.
            before = ReplayDiverged(
                key, "another call", f"for {call.name!r} with other arguments", kind="note"
            )
            await self._desk.fail(before)
        return refusal_of(cast("JsonObject", note["error"]), call.name)

    async def _refuse(self, call: Call, error: EngineError) -> EngineError:
        """Write down why a call is not made; a replay must meet the same."""
        if self._desk.watch is not None:
            self._desk.watch.refused(self._known(call.name), code_of(error))
        said = refusal_json(error)
        key = self._desk.memory.note_key(_REFUSED + call.key)
        attempt = self._desk.memory.attempt
        await self._journal.noted(
            key, {"fingerprint": call.fingerprint, "attempt": attempt, "error": said}
        )
        return refusal_of(said, call.name)

    def _known(self, name: str) -> str:
        """`source/name` of a tool, "" where there is none: a model may say anything."""
        try:
            return self._desk.toolbox.found(name).tool.qualified
        except EngineError:
            return ""

    async def _pinned(self, call: Call) -> Pin | None:
        """What was decided of the call in this attempt, by the log."""
        for kind in ("inputs", "approval"):
            asked = self._desk.memory.asked_now(f"{call.key}:{kind}")
            if asked is None or "gate" not in asked:
                continue
            said = asked["gate"]
            if not same(said["requested"], call.arguments):
                which = f"for {call.name!r} with other arguments"
                await self._desk.fail(
                    ReplayDiverged(asked["key"], f"the call {call.name!r}", which, kind="ask")
                )
            return pin_of(said)
        return None

    async def _decided(self, tool: Tool, requested: JsonObject) -> Pin:
        """What the plugins and the policies say of a call now.

        Raises:
            ToolRefused, PluginFailed: it is not to be made.
        """
        toolbox = self._desk.toolbox
        arguments = await toolbox.plugins.normalized(tool, requested)
        decided = toolbox.policies.of(tool)
        policy = await toolbox.plugins.policy(tool, arguments, decided.policy)
        if isinstance(policy, Refuse):
            raise ToolRefused(tool.name, [policy.reason])
        return Pin(
            tool.qualified,
            policy,
            decided.rule,
            decided.version,
            decided.digest,
            arguments,
            decided.said if policy is decided.policy else policy.to_json(),
            decided.policy,
        )

    # --- passing the gate -------------------------------------------------------------

    async def _passed(self, met: _Met) -> ToolResult:
        if isinstance(met.ended, EngineError):
            raise met.ended
        if met.ended is not None:
            return await self._gone_on(met, await self._outcome(met.call, met.ended))
        assert met.found is not None
        assert met.pin is not None
        try:
            if met.begun is None:
                cleared = await self._cleared(met, met.found.tool, met.pin)
            else:
                # Everybody agreed to it, and it is made again exactly so.
                self._check_enabled(met.found.tool)
                cleared = _Cleared(met.begun.arguments)
        except (ToolRefused, PluginFailed) as error:
            raise await self._refuse(met.call, error) from None
        return await self._gone_on(met, await self._made(met, met.found, met.pin, cleared))

    async def _cleared(self, met: _Met, tool: Tool, pin: Pin) -> _Cleared:
        """What the call is made with, once everybody has agreed to it.

        Raises:
            ToolRefused, PluginFailed: it is not to be made.
            Denied: a person said no.
        """
        policy, arguments = pin.policy, pin.arguments
        if not policy.enabled:
            raise ToolRefused(tool.name, [NOT_ENABLED])
        self._check_enabled(tool)
        missing = [w for w in policy.required_inputs if is_wanting(arguments, w)]
        if problems := problems_with(tool, arguments, without=[w.target for w in missing]):
            raise ToolRefused(tool.name, problems)
        if missing:
            arguments = await self._with_inputs(met, tool, pin, missing)
        arguments = with_defaults(tool, arguments)
        if arguments is not pin.arguments and (problems := problems_with(tool, arguments)):
            raise ToolRefused(tool.name, problems)
        cleared = _Cleared(arguments)
        approval = f"{met.call.key}:approval"
        if approval in self._desk.memory.asked or self._wants_a_word(tool, pin, arguments):
            cleared = await self._approved(approval, met, tool, pin, arguments)
            edited = not same(cleared.arguments, arguments)
            await self._check_approved(tool, cleared.arguments, edited=edited)
        self._check_enabled(tool)  # It may have been switched off while somebody was asked.
        return cleared

    def _check_enabled(self, tool: Tool) -> None:
        """Whatever was decided, a tool that is switched off by now is not called.

        Raises:
            ToolRefused: it is.
        """
        if not self._is_enabled(tool):
            raise ToolRefused(tool.name, [NOT_ENABLED])

    def _is_enabled(self, tool: Tool) -> bool:
        return self._desk.toolbox.policies.of(tool).policy.enabled

    async def _check_approved(self, tool: Tool, arguments: JsonObject, *, edited: bool) -> None:
        """Check again what a person said yes to: it may be long ago, and of other arguments.

        Raises:
            ToolRefused: it is not to be called so.
        """
        toolbox = self._desk.toolbox
        if edited:
            current = toolbox.policies.of(tool).policy
            problems = await toolbox.problems(tool, arguments, current)
        else:
            problems = problems_with(tool, arguments)
        if problems:
            raise ToolRefused(tool.name, problems)

    def _wants_a_word(self, tool: Tool, pin: Pin, arguments: JsonObject) -> bool:
        """Whether a person must say yes: by what was decided, or by a rule that is new since.

        Raises:
            ToolRefused: a predicate raised, so nobody knows.
        """
        now = self._desk.toolbox.policies.of(tool)
        current = now.policy
        # Predicates in a log are names, and lambdas have one name; those at hand are told apart.
        before = pin.decided
        is_new = now.digest != pin.base if before is None else current != before
        policies = [pin.policy, current] if is_new else [pin.policy]
        try:
            return any(policy.wants_confirmation(arguments) for policy in policies)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
            # The service's own code runs here; what it raises is no end of the process (I37).
            if not isinstance(error, Unchecked):  # That is the fault of who called it so.
                # Here, since a refusal goes on as it is in the log of the task: without a cause.
                said = "task %s: the policy of %s could not be asked"
                _log.error(said, self._desk.task_id, tool.qualified, exc_info=error)
            kind = str(error) if isinstance(error, NoVerdict) else type(error).__name__
            why = f"its policy could not be asked ({kind})"
            raise ToolRefused(tool.name, [why]) from None

    async def _with_inputs(
        self, met: _Met, tool: Tool, pin: Pin, missing: Sequence[RequiredInput]
    ) -> JsonObject:
        """The arguments, with what a person gave or the defaults said."""
        policy = pin.policy
        arguments = dict(pin.arguments)
        wanted, names = list(missing), ""
        for again in range(1, ROUNDS_MAX + 1):
            key = f"{met.call.key}:inputs" + ("" if again == 1 else f"~{again}")
            names = ", ".join(one.name for one in wanted)
            form = _askable(tool, wanted)
            prompt = policy.prompt or f"{label_of(tool)} needs: {names}"
            asked = self._asking.governed(key, AskKind.INPUT, prompt, form, policy)
            if policy.on_expire == "default":
                asked["on_expire"] = "default"
                asked["default"] = {one.name: one.default for one in wanted}
            self._pin(asked, met, pin)
            reply = await self._asking.closed(asked, None)
            given = cast("JsonObject", reply.value)
            for one in wanted:
                value = given.get(one.name)
                arguments[one.target] = one.default if value is None else value
            wanted = [
                one for one in wanted if not one.has_default and is_missing(arguments, one.target)
            ]
            if not wanted:
                return arguments
        raise ToolRefused(tool.name, [f"nobody gave {names}"])

    async def _approved(
        self, key: str, met: _Met, tool: Tool, pin: Pin, arguments: JsonObject
    ) -> _Cleared:
        """What a person said yes to."""
        policy, label = pin.policy, label_of(tool)
        prompt = policy.prompt or f"Allow {label}?"
        asked = self._asking.governed(key, AskKind.AUTH, prompt, tool.input_schema, policy)
        asked["tool"] = label
        asked["arguments"] = arguments
        asked["allow_edit"] = policy.allow_edit
        asked["by_text"] = policy.by_text
        self._pin(asked, met, pin)
        reply = await self._asking.closed(asked, None)
        return _Cleared(cast("JsonObject", reply.value), asked["key"])

    def _pin(self, asked: Asked, met: _Met, pin: Pin) -> None:
        """Ask as this attempt has asked already: tools change, and what was shown is what runs."""
        asked["gate"] = pin.to_json(met.call.arguments)
        before = self._desk.memory.asked_now(asked["key"])
        if before is not None and "gate" in before:
            asked["prompt"], asked["schema"] = before["prompt"], before["schema"]
            if "tool" in before:
                asked["tool"], asked["arguments"] = before["tool"], before["arguments"]

    def _policy_of(self, met: _Met) -> Policy:
        """The policy by which people are asked what a tool wants to know."""
        if met.pin is not None:
            return met.pin.policy
        try:
            return self._desk.toolbox.policies.of(self._found(met.wanted).tool).policy
        except EngineError:
            return Policy()  # It is not there any more; the next leg says so.

    # --- making it --------------------------------------------------------------------

    async def _made(self, met: _Met, found: Found, pin: Pin, cleared: _Cleared) -> ToolOutcome:
        """The first leg."""
        tool, arguments = found.tool, cleared.arguments
        may_repeat = tool.idempotent if pin.policy.idempotent is None else pin.policy.idempotent
        call = replace(met.call, arguments=arguments, idempotent=may_repeat, once=not may_repeat)
        about = pin.about(tool)
        if not same(arguments, met.call.arguments):
            about["requested"] = met.call.arguments
        if cleared.approval is not None:
            about["approval"] = cleared.approval
        # A copy: what the tool makes of it must not be what the log says.
        own = cast("JsonObject", copied(arguments))
        leg = partial(found.source.call, tool, own)
        await self._journal.begin(call, about)
        if met.begun is None and (why := self._changed_meanwhile(tool, pin, cleared)) is not None:
            await self._journal.unmade([call])
            raise await self._refuse(met.call, ToolRefused(tool.name, [why]))
        return await self._leg(call, Leg(tool, pin.policy, arguments, leg))

    def _changed_meanwhile(self, tool: Tool, pin: Pin, cleared: _Cleared) -> str | None:
        """What keeps a call from being made that waited while others were asked about."""
        if not self._is_enabled(tool):
            return NOT_ENABLED
        try:
            wants = cleared.approval is None and self._wants_a_word(tool, pin, cleared.arguments)
        except ToolRefused as error:
            return error.problems[0]
        return NOW_CONFIRMED if wants else None

    async def _gone_on(self, met: _Met, outcome: ToolOutcome) -> ToolResult:
        """The further legs of a tool that was not done, each a call of its own in the log."""
        for n in range(1, LEGS_MAX):
            if isinstance(outcome, ToolResult):
                return outcome
            outcome = await self._next_leg(met, n, outcome)
        raise CallFailed(met.call.name, "Unfinished", f"it was not done after {LEGS_MAX} legs")

    async def _next_leg(self, met: _Met, n: int, unfinished: Unfinished) -> ToolOutcome:
        first = met.call
        answers = await self._answers(met, n, unfinished)
        said: JsonObject = {"token": unfinished.token, "answers": answers}
        wanted = replace(first, key=f"{first.key}:{n + 1}", arguments=said, idempotent=True)
        call, ended = await self._journal.recalled(wanted)
        if ended is not None:
            return await self._outcome(call, ended)
        if (refused := await self._refused_before(call)) is not None:
            raise refused
        begun = self._desk.memory.calls[first.key]
        try:
            found = met.found or self._found(met.wanted)
            _check_same(found.tool, begun.tool)
            self._check_enabled(found.tool)
            pin = met.pin or await self._decided(found.tool, first.arguments)
        except EngineError as error:
            raise await self._refuse(call, error) from None
        arguments = begun.arguments
        own = copy.deepcopy((arguments, unfinished.token, answers))
        leg = partial(found.source.go_on, found.tool, *own)
        call = replace(call, idempotent=unfinished.repeatable, once=not unfinished.repeatable)
        about: CallAbout = {**pin.about(found.tool), "leg": n + 1}
        await self._journal.begin(call, about)
        return await self._leg(call, Leg(found.tool, pin.policy, arguments, leg))

    async def _answers(self, met: _Met, n: int, unfinished: Unfinished) -> JsonObject:
        """What people say to the questions of a tool, all asked at once."""
        call, policy = met.call, self._policy_of(met)

        async def answered(name: str, prompt: str, form: JsonObject) -> JsonValue:
            key = f"{call.key}:{n}:{name}"
            asked = self._asking.governed(key, AskKind.INPUT, prompt, form, policy)
            return (await self._asking.closed(asked, None)).value

        questions = unfinished.questions
        try:
            for question in questions.values():
                check_schema(question.form)
        except InvalidInput as error:
            raise CallFailed(call.name, "InvalidInput", f"its question: {error}") from None
        values = await at_once(
            self._desk.share,
            [answered(name, asked.prompt, asked.form) for name, asked in questions.items()],
        )
        return dict(zip(questions, values, strict=True))

    async def _leg(self, call: Call, leg: Leg) -> ToolOutcome:
        """Make one leg of a call that was written down; what it came to is, too."""
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        made, about = self._legs.made, (call, leg)
        tool = leg.tool.qualified
        ended = await self._journal.made(call, made, about, {}, waits=False, tool=tool)
        if task.cancelling() > cancels:
            # A tool that has come to its end all the same must not keep that from the agent.
            raise asyncio.CancelledError
        return await self._outcome(call, ended)

    async def _outcome(self, call: Call, ended: Ended) -> ToolOutcome:
        """What a leg came to, by the log.

        Raises:
            CallFailed: the tool raised.
        """
        value = await self._journal.value(call, ended)
        return told_of(value) if ended.told else outcome_of(value)


def _check_same(tool: Tool, decided: str) -> None:
    """See that a name still means the tool that was decided about, asked about and perhaps begun.

    Raises:
        ToolRefused: another source has a tool of that name now, or what has it is away.
    """
    if tool.qualified != decided:
        raise ToolRefused(tool.name, [f"it was {decided}, and now is {tool.qualified}"])


def _askable(tool: Tool, wanted: Sequence[RequiredInput]) -> JsonObject:
    """The form with which required inputs are asked for.

    Raises:
        ToolRefused: nobody could answer it, since what the tool says of them is not complete.
    """
    # By a rule of many tools, or a plugin: nobody is asked for what no call is made with.
    if problems := unfit_inputs(tool, wanted):
        raise ToolRefused(tool.name, problems)
    form = inputs_form(tool, wanted)
    try:
        check_schema(form)
    except InvalidInput as error:
        raise ToolRefused(tool.name, [f"what it needs cannot be asked for: {error}"]) from None
    return form
