"""What each trigger carries: the JSON payload of its event, field by field.

Guards and changes read these; whoever fires a trigger builds one.  Adding a field is
compatible (readers use `.get` for it); renaming one needs a migration of stored logs.
"""

from typing import Any, Final, NotRequired, TypedDict

from interlock.models import JsonObject, JsonValue


class Submitted(TypedDict):
    """`submit`: the first event of a task."""

    task_id: str
    owner: str
    context_id: str
    #: Parts of the request, each as `models.Part.to_json`.
    parts: list[JsonObject]
    #: When the whole task runs out of time, seconds since 1970.
    due: float
    #: Idempotency token, one per owner (A2A: the messageId).
    token: NotRequired[str | None]
    metadata: NotRequired[JsonObject]
    #: Which of the engine's agents it is for; absent where nobody named one.
    agent: NotRequired[str]
    #: Which one that meant then, in an engine whose agents have names.
    default_agent: NotRequired[str]
    #: The W3C `traceparent` of who submitted it, where an observer gave one.
    trace: NotRequired[str]


class Started(TypedDict):
    """`start`: the run budget in seconds, None for no limit."""

    run_s: float | None


class Claimed(TypedDict):
    """`claim`: the epoch of the turn that is taken up, which nobody has done yet."""

    epoch: int


class Recovered(TypedDict):
    """`recover`: a fresh run budget in seconds; nobody knows how much was used."""

    run_s: float | None
    #: How often in a row it may be; more, and an operator is asked.
    recoveries_max: NotRequired[int]


class Asked(TypedDict):
    """`ask`: fields as in `_record.Ask`."""

    epoch: int
    key: str
    kind: str
    prompt: str
    schema: JsonObject
    due: float
    on_expire: str
    default: NotRequired[JsonValue]
    tool: NotRequired[str]
    arguments: NotRequired[JsonObject]
    digest: NotRequired[str]
    allow_edit: NotRequired[bool]
    on_deny: NotRequired[str]
    approvers: NotRequired[list[str]]
    #: Whether plain words may decide it.
    by_text: NotRequired[bool]
    #: The phase of an extended lifecycle in which the task waits for the answer.
    phase: NotRequired[str]
    #: What the gate decided of the tool call that asks (see `_gate.Pin`).
    gate: NotRequired[JsonObject]
    #: The journal entry that an operator is asked about: `{"kind", "key"}`.
    about: NotRequired[JsonObject]
    #: Bound on the asks of one task, for the guard.
    asks_max: int


class Withdrawn(TypedDict):
    """`withdraw`: the agent no longer wants the answer."""

    epoch: int
    key: str


class Answered(TypedDict):
    """`provide_input`.  `message` is what the client sent, for the record."""

    key: str
    value: JsonValue
    token: NotRequired[str | None]
    message: NotRequired[list[JsonObject]]
    #: The roles that whoever answers acts in; absent where there are none.
    roles: NotRequired[list[str]]


class Declined(TypedDict):
    """`decline`.  `grace_s` is how long the turn has to stop when that stops the task."""

    key: str
    grace_s: float
    reason: NotRequired[str | None]
    token: NotRequired[str | None]
    message: NotRequired[list[JsonObject]]
    #: As in `Answered`.
    roles: NotRequired[list[str]]


class Approved(TypedDict):
    """`approve`: `arguments` are the final ones, edited or not; exactly they will run."""

    key: str
    digest: str
    arguments: JsonObject
    edited: bool
    reason: NotRequired[str | None]
    token: NotRequired[str | None]
    message: NotRequired[list[JsonObject]]
    #: As in `Answered`.
    roles: NotRequired[list[str]]


class Denied(TypedDict):
    """`deny`.  `grace_s` is how long the turn has to stop when the denial stops the task."""

    key: str
    digest: str
    grace_s: float
    reason: NotRequired[str | None]
    token: NotRequired[str | None]
    message: NotRequired[list[JsonObject]]
    #: As in `Answered`.
    roles: NotRequired[list[str]]


class Expired(TypedDict):
    """`expire`: the timer of the ask of that key fired."""

    key: str
    grace_s: float


class Overran(TypedDict):
    """`overrun`: which deadline passed: `run` or `task`."""

    timer: str
    grace_s: float


class CancelAsked(TypedDict):
    """`cancel`, with the client's reason if it gave one."""

    grace_s: float
    reason: NotRequired[str | None]


class Emitted(TypedDict):
    """`emit`: an artifact chunk; `n` counts the emissions of the task from 1."""

    epoch: int
    n: int
    artifact: dict[str, Any]
    #: The key of the call that emits it: those are not counted.
    within: NotRequired[str]
    log_events_max: int


class Progressed(TypedDict):
    """`progress`: a line for people, and how much of the whole is done (0..1)."""

    epoch: int
    message: str
    fraction: float | None
    #: As for `emit`.
    within: NotRequired[str]
    log_events_max: int


class CallAbout(TypedDict):
    """What `call` says besides of a tool call that the gate let through."""

    #: `source/name`.
    tool: str
    #: `{"rule", "version", ...}`: the policy that decided, with what was set of it.
    policy: JsonObject
    #: What the agent wanted, where a person or a plugin made something else of it.
    requested: NotRequired[JsonObject]
    #: The key of the ask with which a person said yes to it.
    approval: NotRequired[str]
    #: Which leg of the call it is, from the second on; its arguments are a token and answers.
    leg: NotRequired[int]


class CallBegun(TypedDict):
    """`call`: a function is about to be called; its result follows as `called`."""

    epoch: int
    #: Names this call among all of the task; begun again after a crash it keeps its key.
    key: str
    #: The function, and what it is called with: `{"args": [...], "kwargs": {...}}`.
    name: str
    arguments: JsonObject
    #: Whether it may be begun again when nobody knows if it was done.
    idempotent: bool
    #: As in `CallAbout`.
    tool: NotRequired[str]
    policy: NotRequired[JsonObject]
    requested: NotRequired[JsonObject]
    approval: NotRequired[str]
    leg: NotRequired[int]
    log_events_max: int


#: The code of what a call came to that was begun and then not made.
NOT_MADE: Final = "not_made"


class CallEnded(TypedDict):
    """`called`: what the call of that key came to: `value`, or `error` if there is one."""

    epoch: int
    key: str
    value: JsonValue
    #: `{"code", "kind", "message", "done"?}`: a stable code, the kind of exception, where the
    #: error is one of ours its message, and whether it was done although nobody has its result.
    error: NotRequired[JsonObject]
    #: Whose word it is, where nobody saw the call end: `answer` for a person's.
    by: NotRequired[str]


class Noted(TypedDict):
    """`note`: a value that a replay must meet again: the time, a random number."""

    epoch: int
    key: str
    value: JsonValue
    log_events_max: int


class Completed(TypedDict):
    """`complete`: the result as parts."""

    epoch: int
    parts: list[JsonObject]


class Failed(TypedDict):
    """`fail` and `reject`: a stable code, and a message that is safe to show."""

    epoch: int
    code: str
    message: str


class RetryPlanned(TypedDict):
    """`retry`: as `fail`, and when to start again."""

    epoch: int
    code: str
    message: str
    not_before: float


class TurnEnded(TypedDict):
    """`stopped` and `abandon`: the turn of that epoch is over, or was given up."""

    epoch: int


class NothingLeft(TypedDict):
    """`finalize`: what is still held for the task; all must be nothing."""

    turn_alive: bool
    deliveries_left: int
