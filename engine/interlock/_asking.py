"""Asking: how a question of an agent, or of the gate in front of its tools, becomes an ask."""

from collections.abc import Sequence
from typing import Final, NoReturn, Protocol, cast, get_args

from interlock._clock import Clock
from interlock._event import MACHINES, Data
from interlock._form import Form
from interlock._json import digest, encoded, frozen, is_time
from interlock._memory import Memory, Reply
from interlock._payload import Asked
from interlock._phases import Phase, Trigger
from interlock._record import AskKind, OnDeny
from interlock.errors import Denied, InvalidInput, ReplayDiverged
from interlock.models import JsonObject, Limits
from interlock.policy import Policy

#: What a phase is like in which a task waits for an ask.
_KIN: Final = {AskKind.INPUT: Phase.WAITING_INPUT, AskKind.AUTH: Phase.WAITING_AUTH}


class Desk(Protocol):
    """What asking needs of its turn."""

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def memory(self) -> Memory:
        """What the task's log says was already done."""
        ...

    @property
    def phases(self) -> Sequence[Phase]:
        """Those of the engine's lifecycle."""
        ...

    @property
    def task_id(self) -> str:
        """The id of the task."""
        ...

    def now(self) -> float:
        """The time, which does not go back behind what is in the log of the task."""
        ...

    async def report(self, trigger: Trigger, data: Data) -> None:
        """Fire a trigger in the name of the turn; returns when it is durable."""

    async def reply(self, key: str, form: Form | None) -> Reply:
        """Wait until the ask of that key is closed and the turn may go on."""
        ...

    async def fail(self, error: Exception) -> NoReturn:
        """End the turn with this error, whatever the agent would make of it."""
        ...


class Asking:
    """The asks of one turn."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._keys: Final[set[str]] = set()

    def asked(
        self,
        key: str,
        kind: AskKind,
        prompt: str,
        schema: JsonObject,
        expires_s: float | None = None,
        approvers: Sequence[str] = (),
        phase: Phase | None = None,
    ) -> Asked:
        """What every ask says; open for `expires_s` seconds (`Limits.ask_s`).

        Raises:
            InvalidInput: it is not open for some seconds, or the approvers are no names, or the
                phase is none in which a task of this engine waits for that.
        """
        limits = self._desk.limits
        if expires_s is not None and not is_time(expires_s):
            raise InvalidInput(
                [f"expires_s is {expires_s!r:.80}; a number of seconds, and finite, is accepted"]
            )
        if isinstance(approvers, str):
            raise InvalidInput(["approvers is a text; it is a sequence of names"])
        asked: Asked = {
            # The epoch of a turn's report is filled in when it is fired: a resume changes it.
            "epoch": 0,
            "key": key,
            "kind": kind.value,
            "prompt": prompt,
            "schema": schema,
            "due": self._desk.now() + (limits.ask_s if expires_s is None else expires_s),
            "on_expire": "fail",
            "approvers": list(approvers),
            "asks_max": limits.asks_max,
        }
        if phase is not None:
            self._check_phase(phase, kind)
            asked["phase"] = str(phase)
        return asked

    def _check_phase(self, phase: Phase, kind: AskKind) -> None:
        further = [p for p in self._desk.phases if p.kin is not p and p.kin is _KIN[kind]]
        if phase not in further:
            known = ", ".join(further) or "none: see Lifecycle.extend"
            raise InvalidInput(
                [f"phase {phase!s:.80} is none of the engine's to wait in for that; {known}"]
            )

    def governed(
        self, key: str, kind: AskKind, prompt: str, schema: JsonObject, policy: Policy
    ) -> Asked:
        """What is asked of those whom a tool's policy names, in the time that they have.

        It has no default: where nobody answers, that is as a no, or the task fails.
        """
        asked = self.asked(key, kind, prompt, schema, policy.expires_s, policy.approvers)
        asked["on_expire"] = "fail" if policy.on_expire == "fail" else "deny"
        asked["on_deny"] = policy.on_deny
        return asked

    async def closed(self, asked: Asked, form: Form | None) -> Reply:
        """The reply to an ask: at once if the log has it, else after asking.

        Raises:
            Denied: the reply is a no, or nobody answered and that counts as one.
            InvalidInput: something in it is not of its kind, or the key was used before.
        """
        if asked["key"] in self._keys:
            raise InvalidInput(
                [f"key {asked['key']!r} was used before; a late answer might be for it"]
            )
        _check(asked)
        self._keys.add(asked["key"])
        try:
            key = asked["key"] = self._desk.memory.key_for(asked)
        except ReplayDiverged as error:
            await self._desk.fail(error)
        if "tool" in asked:
            asked["digest"] = digest(
                [self._desk.task_id, key, asked["tool"], asked.get("arguments")]
            )
        if key not in self._desk.memory.asked:
            encoded(asked, what="the ask", bytes_max=self._desk.limits.payload_bytes_max)
            # What was asked, and is answered by default, is nobody's to change.
            own = cast("JsonObject", frozen(cast("JsonObject", asked)))
            await self._desk.report(Trigger.ASK, own)
        reply = await self._desk.reply(key, form)
        if reply.denied:
            raise Denied(key, reply.reason)
        return reply


def _check(asked: Asked) -> None:
    """Refuse what is not of its kind: it would be stored, and then nobody could read it.

    Raises:
        InvalidInput: something is not.
    """
    texts = [("key", asked["key"]), ("prompt", asked["prompt"]), ("tool", asked.get("tool", "-"))]
    texts += [("an approver", approver) for approver in asked.get("approvers", ())]
    problems = [
        f"{what} is {text!r:.80}; it is a text"
        for what, text in cast("list[tuple[str, object]]", texts)
        if not isinstance(text, str) or not text
    ]
    problems += [
        f"an approver is {name!r}, who never answers: the engine itself acts under that name; "
        "other names, and role:NAME, are accepted"
        for name in sorted(MACHINES)
        if name in asked.get("approvers", ())
    ]
    if asked.get("on_deny", "stop") not in get_args(OnDeny):
        problems.append(f"on_deny is {asked.get('on_deny')!r:.80}; it is 'stop' or 'tell_agent'")
    if not isinstance(cast("object", asked.get("allow_edit", False)), bool):
        problems.append("allow_edit is neither True nor False")
    if problems:
        raise InvalidInput(problems)
