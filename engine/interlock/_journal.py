"""The journal of a turn: what an agent does outside is written down before and after.

Run again, the agent is handed what the log has.  A call that was begun and of which nobody
saw the end is *in doubt*: if it may be repeated it is, else a person is asked.
"""

import asyncio
import inspect
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import partial
from typing import Any, Final, NoReturn, Protocol, Self, cast

from interlock._call import Call, InDoubt, call_of, log_raised, name_of, not_made, raised
from interlock._event import OWN, Data
from interlock._json import storable
from interlock._memory import IN_DOUBT, Called, Ended, Memory
from interlock._observer import CallWatch, TurnWatch
from interlock._payload import CallAbout, CallBegun, CallEnded, Noted
from interlock._phases import Trigger
from interlock._thread import on_a_thread, tried
from interlock.errors import (
    CallInDoubt,
    EngineError,
    InvalidInput,
    NotAccepting,
    ReplayDiverged,
    TaskParked,
)
from interlock.models import JsonValue, Limits

#: The call that is being made here, if one is; what was begun inside of it may outlive it.
_WITHIN: Final[ContextVar["_Within | None"]] = ContextVar("interlock_within", default=None)

KEY_CHARS_MAX: Final = 256
#: Characters of arguments in a question about them.
ARGUMENTS_CHARS_MAX: Final = 1_000
#: Without halves of characters, which cannot be stored.
_KEY: Final = re.compile(f"[^\ud800-\udfff]{{1,{KEY_CHARS_MAX}}}", re.DOTALL)
_OURS: Final = re.compile(f"^{OWN}|[@~][0-9]+$")


class Desk(Protocol):
    """What a journal needs of its turn."""

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def memory(self) -> Memory:
        """What the task's log says was already done."""
        ...

    @property
    def task_id(self) -> str:
        """The id of the task."""
        ...

    @property
    def draining(self) -> bool:
        """Whether its engine is about to close, and takes nothing new."""
        ...

    @property
    def watch(self) -> TurnWatch | None:
        """Who is told of the turn."""
        ...

    async def report(self, trigger: Trigger, data: Data) -> None:
        """Fire a trigger in the name of the turn; returns when it is durable."""

    async def begin(self, call: CallBegun) -> None:
        """Write down that a call begins, once nobody is asked anything; durable."""

    async def end(self, call: CallEnded | None, *, waits: bool = True) -> None:
        """Write down what it came to; None where nobody saw it end."""

    async def record_end(self, call: CallEnded) -> None:
        """Write down what a call came to that was begun before; durable."""

    async def wait_for(self, *works: "asyncio.Future[Any]") -> bool:
        """Wait until a thread, or one of several things, is done.

        False if the turn was told to end meanwhile.
        """
        ...

    async def fail(self, error: Exception) -> NoReturn:
        """End the turn with this error, whatever the agent would make of it."""
        ...


class Inquirer(Protocol):
    """Asks a person something that the agent did not think of."""

    async def __call__(self, prompt: str, key: str, approvers: Sequence[str]) -> InDoubt:
        """What they say."""
        ...


class Journal:
    """Of one turn: it counts what the agent calls, and knows what was called before."""

    def __init__(self, desk: Desk, inquire: Inquirer) -> None:
        self._desk: Final = desk
        self._inquire: Final = inquire
        self._counts: Final[Counter[str]] = Counter()
        self._used: Final[set[str]] = set()

    async def begun(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        key: str | None,
        idempotent: bool,
    ) -> tuple[Call, Ended | None]:
        """The call, and what the log says it came to; None: it is begun, and is to be made.

        Raises:
            InvalidInput: the arguments are not JSON, or the key was used before.
            ReplayDiverged: this turn is run again and calls something else than before.
            Refused: the log of the task is full.
        """
        self.check_alone()
        bytes_max = self._desk.limits.payload_bytes_max
        base = self.key(name_of(fn), key)
        call = call_of(fn, args, kwargs, key=base, idempotent=idempotent, bytes_max=bytes_max)
        call, ended = await self.recalled(call)
        if ended is None:
            await self.begin(call)
        return call, ended

    async def recalled(self, call: Call) -> tuple[Call, Ended | None]:
        """The call under the key that it has in the log, and what it came to there.

        None: it was never begun, or is to be made again.

        Raises:
            TaskStopped: this very attempt called something else by that key.
        """
        try:
            key, token = self._desk.memory.call_key(call.key, call.name, call.fingerprint)
        except ReplayDiverged as error:
            await self._desk.fail(error)
        if (key, token) != (call.key, call.token):
            call = replace(call, key=key, token=token)
        known = self._desk.memory.calls.get(key)
        if known is None:
            return call, None
        return call, known.ended or await self._in_doubt(call, known)

    async def begin(self, call: Call, about: CallAbout | None = None) -> None:
        """Write down that a call begins, as soon as nobody is asked anything.

        Raises:
            Refused: the log of the task is full.
        """
        begun: CallBegun = {
            "epoch": 0,
            "key": call.key,
            "name": call.name,
            "arguments": call.arguments,
            "idempotent": call.idempotent,
            "log_events_max": self._desk.limits.log_events_max,
        }
        await self._desk.begin(begun if about is None else {**begun, **about})

    async def made(
        self,
        call: Call,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        waits: bool = True,
        tool: str = "",
    ) -> Ended:
        """Make a call that is begun, on a thread if it is a plain function, and write it down.

        Unless it `waits` the agent has the result while it is being written down, and can do
        nothing with it through its task before that is durable.  `tool` is `source/name` where
        it is one.
        """
        said: CallEnded | None = None
        go_on = True
        try:
            with self.making(call, fn, tool) as making:
                if inspect.iscoroutinefunction(fn):
                    value: object = await fn(*args, **kwargs)
                else:
                    doing = partial(tried, partial(fn, *args, **kwargs))
                    work = on_a_thread(doing, f"call {call.key}")
                    go_on = await self._desk.wait_for(work)
                    value = work.result()()
                    if inspect.isawaitable(value):
                        value = await value
                ended = making.ended = call.returned(value)
            said = _said(call, ended)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
            # Whatever it is, it is what the call came to: out of a branch of the agent asyncio
            # would raise the last two out of the loop, which is everybody's (I37).
            self.check_goes_on(call, error)
            ended = raised(error, once=call.once)
            said = _said(call, ended)
            if go_on:
                log_raised(self._desk.task_id, call.key, error)
        finally:
            await self._desk.end(said, waits=waits)
        if not go_on:
            raise asyncio.CancelledError
        return ended

    def check_goes_on(self, call: Call, error: BaseException) -> None:
        """What the engine refuses while it closes is no end of a call that may be made again.

        Raises:
            TaskParked: that is why it failed; nobody saw its end, and the turn is over.
        """
        if call.idempotent and isinstance(error, NotAccepting) and self._desk.draining:
            raise TaskParked from None

    async def value(self, call: Call, ended: Ended) -> Any:  # noqa: ANN401  the function's own
        """What the agent gets of a call that has ended; see `Call.value_of`."""
        try:
            return call.value_of(ended)
        except ReplayDiverged as error:
            await self._desk.fail(error)

    async def ended(self, call: Call, ended: Ended | None) -> None:
        """Write down what a call came to that was made elsewhere; None where nobody knows."""
        await self._desk.end(None if ended is None else _said(call, ended))

    async def note(self, kind: str, make: Callable[[], JsonValue]) -> JsonValue:
        """A value that is made once and then remembered."""
        if self.within() is not None:
            return make()  # What it makes of it is remembered.
        key = self._desk.memory.note_key(self.key(kind, None))
        notes = self._desk.memory.notes
        if key not in notes:
            await self.noted(key, make())
        return notes[key]

    async def noted(self, key: str, value: JsonValue) -> None:
        """Remember a value by a key of the caller's own; durable.

        Raises:
            Refused: the log of the task is full.
        """
        limits = self._desk.limits
        noted: Noted = {
            "epoch": 0,
            "key": key,
            "value": value,
            "log_events_max": limits.log_events_max,
        }
        await self._desk.report(Trigger.NOTE, noted)

    def within(self) -> str | None:
        """The key of the call of this turn that is being made here, if one is."""
        inside = _WITHIN.get()
        if inside is None or inside.journal is not self or inside.over:
            return None
        return inside.key

    def check_alone(self) -> None:
        """Nothing is asked or called inside a call: at a replay it is not made, and counts none.

        Raises:
            InvalidInput: a call is being made here.
        """
        if (within := self.within()) is not None:
            raise InvalidInput([f"inside of the call {within!r} nothing is asked or called"])

    def making(self, call: Call, fn: object, tool: str = "") -> "_Within":
        """A block in which a call is made; to be given what it came to."""
        watch = self._desk.watch
        if watch is None:
            return _Within(self, call.key, None)
        return _Within(self, call.key, watch.call(call.key, call.name, call.arguments, fn, tool))

    async def unmade(self, begun: Sequence[Call]) -> None:
        """Write down that calls were begun and not made."""
        for call in begun:
            await self._desk.end(not_made(call.key))

    def key(self, name: str, key: str | None) -> str:
        """The key of the next call of that name: given, or counted in the order of the calls."""
        if key is None:
            self._counts[name] += 1
            key = f"{name}-{self._counts[name]}"
        else:
            own_key(key)
        if key in self._used:
            raise InvalidInput([f"key {key!r} was used before; a call has a key of its own"])
        self._used.add(key)
        return key

    async def _in_doubt(self, call: Call, known: Called) -> Ended | None:
        """What to take for the end of a call that nobody saw; None: it is to be made again."""
        if call.idempotent and known.idempotent:
            return None
        # Of several calls of one tool people must know which is meant.
        what = "" if not known.tool else f" with {_short(known.arguments)}"
        question = prompt = (
            f"The call of {known.tool or call.name!r}{what} was interrupted, and nobody knows "
            "whether it was done. "
            "Use a value for its result, run it again, or fail the task?"
        )
        for again in itertools.count(1):
            key = f"{IN_DOUBT}{known.begun}-{call.key}" + ("" if again == 1 else f"~{again}")
            try:
                said = await self._inquire(question, key, known.approvers)
            except EngineError:
                # Nobody can be asked: then nobody has said that it may be made again.
                await self._desk.fail(CallInDoubt(call.name))
            if said.decision == "fail":
                await self._desk.fail(CallInDoubt(call.name))
            if said.decision == "run_again":
                return None
            problems = call.problems_of(said.value)
            if not problems:
                ended = Ended(said.value, told=True)
                await self._desk.record_end({**_said(call, ended), "by": "answer"})
                return ended
            question = f"{prompt}\n({'; '.join(problems)})"
        raise AssertionError("counting never ends")


class _Within:
    """A call that is being made, as long as the block."""

    def __init__(self, journal: Journal, key: str, watch: CallWatch | None) -> None:
        self.journal: Final = journal
        self.key: Final = key
        self.over: bool = False
        #: What it came to, once that is known.
        self.ended: Ended | None = None
        self._watch: Final = watch
        self._before: Token[_Within | None] | None = None

    def __enter__(self) -> Self:
        self._before = _WITHIN.set(self)
        if self._watch is not None:
            self._watch.began()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.over = True
        if self._watch is not None:
            self._watch.ended(error, None if self.ended is None else self.ended.value)
        assert self._before is not None
        _WITHIN.reset(self._before)


def _short(arguments: JsonValue) -> str:
    """Arguments for people."""
    return storable(json.dumps(arguments, ensure_ascii=False), ARGUMENTS_CHARS_MAX)


def own_key(key: str) -> str:
    """The key that an agent gave to an ask or a call.

    Raises:
        InvalidInput: it may be one that was made here, or is no short text.
    """
    given = cast("object", key)
    if isinstance(given, str) and _KEY.fullmatch(given) and not _OURS.search(given):
        return key
    why = f"key is {key!r:.80}; it is a text of up to {KEY_CHARS_MAX} characters"
    raise InvalidInput([f"{why} which does not begin with {OWN!r} or end like '@2' or '~2'"])


def _said(call: Call, ended: Ended) -> CallEnded:
    said: CallEnded = {"epoch": 0, "key": call.key, "value": ended.value}
    if ended.error is not None:
        said["error"] = ended.error
    return said
