"""What the management API says and is told, as its OpenAPI document describes it."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from interlock import JsonObject, JsonValue

#: Characters of a reason or a search, at most.
WORDS_MAX: Final = 4_096


class Said(BaseModel):
    """What a caller sends: a field that there is not is an error."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", allow_inf_nan=False, strict=True
    )


class Shown(BaseModel):
    """What a caller is shown."""

    model_config: ClassVar[ConfigDict] = ConfigDict(populate_by_name=True, serialize_by_alias=True)


Name = Annotated[str, Field(min_length=1, max_length=1_024)]
Reason = Annotated[str | None, Field(max_length=WORDS_MAX)]
Token = Annotated[
    str | None,
    Field(max_length=1_024, description="a repeat of the request with the same token is no error"),
]

# --- what is sent ---------------------------------------------------------------------


class CancelBody(Said):
    """Why the task is to stop."""

    reason: Reason = None


class AnswerBody(Said):
    """A value for an open ask."""

    ask: Name
    value: JsonValue
    token: Token = None


class ApproveBody(Said):
    """Yes to what the digest names, or with `arguments` to these instead."""

    ask: Name
    digest: Name
    arguments: JsonObject | None = None
    reason: Reason = None
    token: Token = None


class DenyBody(Said):
    """No to what the digest names."""

    ask: Name
    digest: Name
    reason: Reason = None
    token: Token = None


class DeclineBody(Said):
    """An open ask gets no value."""

    ask: Name
    reason: Reason = None
    token: Token = None


class ResumeBody(Said):
    """How a task goes on that waits for an operator."""

    decision: Literal["again", "skip", "from_scratch"]


class PurgeBody(Said):
    """Which finalized tasks are forgotten."""

    older_than_s: float = Field(ge=0, description="seconds since they ended, at least")


class InstructionsBody(Said):
    """What agents are told, from the next task on."""

    text: str = Field(max_length=262_144)


class WhenBody(Said):
    """Calls whose arguments fit a JSON schema."""

    when: JsonObject


class RequiredInputBody(Said):
    """Something that a person gives before the tool is called, unless the agent did."""

    name: Name
    form: JsonObject | None = Field(default=None, alias="schema")
    description: str | None = None
    default: JsonValue = None
    argument: str | None = None


class PolicyBody(Said):
    """On what conditions a tool is called; what is left out is as it comes."""

    enabled: bool = True
    confirm: Literal["never", "always"] | WhenBody = "never"
    required_inputs: list[RequiredInputBody] = []
    prompt: Annotated[str, Field(min_length=1)] | None = None
    allow_edit: bool = False
    on_deny: Literal["stop", "tell_agent"] = "stop"
    on_expire: Literal["fail", "deny", "default"] = "deny"
    expires_s: Annotated[float, Field(gt=0)] | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = 300.0
    idempotent: bool | None = None
    approvers: list[Name] = []
    by_text: bool = False
    show_errors: bool = False


# --- tasks ----------------------------------------------------------------------------


class AskShown(Shown):
    """An open question of a task.  Times are seconds since 1970."""

    key: str
    kind: Literal["input", "auth"]
    prompt: str
    form: JsonObject = Field(
        alias="schema", description="JSON schema of the answer, or of the tool's arguments"
    )
    asked_at: float
    due: float
    on_expire: str
    default: JsonValue
    tool: str | None
    arguments: JsonObject | None
    digest: str | None = Field(description="what an approval or denial names")
    allow_edit: bool
    on_deny: str
    approvers: list[str] = Field(description="who may answer; nobody: whoever may see the task")
    phase: str | None
    for_operator: bool = Field(description="it is decided by `resume`")
    may_answer: bool = Field(description="whether the caller may answer or decide it")


class TaskShown(Shown):
    """A task as it is.  Times are seconds since 1970."""

    task_id: str
    owner: str
    context_id: str
    phase: str = Field(description="a finalized task is shown as its outcome")
    kin: str = Field(description="the shipped phase that this one is like")
    finalized: bool
    seq: int = Field(description="the number of its last event")
    epoch: int
    attempt: int
    created_at: float
    updated_at: float
    due: float | None = Field(description="the earliest of its deadlines")
    code: str | None = Field(description="of an outcome other than completed, or why it stops")
    message: str | None
    abandoned: bool
    asks: list[AskShown]


class PossibleShown(Shown):
    """Something that the caller may do with the task now."""

    trigger: str
    ask: str | None = None


class ArtifactShown(Shown):
    """Something that the agent made, put together from its chunks."""

    artifact_id: str
    name: str | None
    description: str | None
    parts: list[JsonObject]
    metadata: JsonObject | None
    complete: bool = Field(description="its last chunk has come")


class CallShown(Shown):
    """A call of a function or tool, from the journal."""

    key: str
    name: str
    tool: str | None
    leg: int = Field(description="of a call of several; its arguments are a token and answers")
    arguments: JsonObject
    requested: JsonObject | None = Field(description="what the agent wanted, if that was other")
    approval: str | None = Field(description="the ask with which a person said yes")
    idempotent: bool
    policy: JsonObject | None
    state: Literal["open", "in_doubt", "done", "failed"]
    begun: int = Field(description="the event with which it began last")
    began_at: float
    ended_at: float | None
    value: JsonValue
    error: JsonObject | None


class ClosedAskShown(Shown):
    """A question of a task that is closed, and how.  Times are seconds since 1970."""

    key: str
    kind: Literal["input", "auth"]
    prompt: str
    tool: str | None
    arguments: JsonObject | None = Field(description="what the decision was about")
    asked_at: float
    trigger: str = Field(description="what closed it: an answer, its time, or the task's end")
    closed_at: float
    actor: str
    reason: str | None


class TaskDetail(TaskShown):
    """A task with what it was told, did and came to, as of one commit."""

    input: list[JsonObject]
    metadata: JsonObject
    agent: str | None
    result: list[JsonObject] | None
    can: list[PossibleShown]
    closed: list[ClosedAskShown]
    artifacts: list[ArtifactShown]
    journal: list[CallShown]
    in_doubt: list[str] = Field(description="keys of calls of which nobody knows whether they ran")


class TaskPageShown(Shown):
    """Some tasks, newest change first."""

    tasks: list[TaskShown]
    total: int = Field(description="over all pages")
    next_cursor: str | None


class EventShown(Shown):
    """One entry of a task's log."""

    seq: int
    at: float
    epoch: int
    trigger: str
    source: str | None
    dest: str
    actor: str
    data: JsonObject


class EventsShown(Shown):
    """The events of a task beyond a number, in order and without a gap."""

    events: list[EventShown]


class InboxEntryShown(Shown):
    """An open ask that the caller may deal with, and the task that asks."""

    task: TaskShown
    ask: AskShown


class InboxShown(Shown):
    """Some of the inbox, the tasks that changed last first."""

    entries: list[InboxEntryShown]
    next_cursor: str | None = Field(description="there may be more, also behind an empty page")


# --- the service ----------------------------------------------------------------------


class RuleShown(Shown):
    """A rule of the policies."""

    rule: str
    policy: JsonObject = Field(description="what was set of it")
    is_code: bool = Field(description="its `confirm` is a function; `policy` has only its name")


class RulesShown(Shown):
    """Every rule as it is now."""

    version: int = Field(description="how often the rules were changed, from 1")
    rules: list[RuleShown]


class VersionShown(Shown):
    """The number of the change."""

    version: int


class DecidedShown(Shown):
    """The policy of a tool now, and which rule says so."""

    rule: str
    version: int
    digest: str
    policy: JsonObject


class ToolShown(Shown):
    """A tool, and on what conditions it is called."""

    name: str
    qualified: str
    description: str
    title: str | None
    input_schema: JsonObject
    output_schema: JsonObject | None
    idempotent: bool
    enabled: bool
    decided: DecidedShown


class SourceShown(Shown):
    """Where tools come from."""

    name: str
    available: bool
    refreshable: bool = Field(description="it can be asked anew; others always say what they have")
    tools: list[ToolShown]


class SourcesShown(Shown):
    """Every source with its tools, those that are switched off as well."""

    sources: list[SourceShown]


class InstructionsShown(Shown):
    """What agents are told."""

    text: str


class PurgedShown(Shown):
    """How many tasks were forgotten."""

    purged: int


class StatisticsShown(Shown):
    """What is held right now: in this process (null for who does not look after it), and kept."""

    accepting: bool
    live: int | None
    running: int | None
    queued: int | None
    abandoned: int | None
    quarantined: int | None
    phases: dict[str, int] = Field(description="tasks by phase, as far as the caller sees them")
