"""Values that cross the boundary of the engine: content, artifacts, limits, answers.

They know no protocol: an adapter translates its own parts and messages to these.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeGuard, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from interlock.errors import InvalidInput

__all__ = [
    "Answer",
    "Approval",
    "Artifact",
    "Decision",
    "Denial",
    "JsonObject",
    "JsonValue",
    "Limits",
    "Part",
    "Retention",
    "Retry",
]

JsonObject: TypeAlias = dict[str, JsonValue]


class Value(BaseModel):
    """A value that is checked when it is made and never changes; other fields are refused."""

    # Infinity and NaN are no JSON, and no deadline can be made of them.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False
    )


class Part(Value):
    """One piece of content: exactly one of `text`, `data`, `raw` (base64) or `url`."""

    text: str | None = None
    data: JsonValue = None
    raw: str | None = None
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    metadata: JsonObject | None = None

    @model_validator(mode="after")
    def _one_content(self) -> "Part":
        content = {"text", "data", "raw", "url"} & self.model_fields_set
        if len(content) != 1:
            raise ValueError("a part has exactly one of: text, data, raw, url")
        return self

    def to_json(self) -> JsonObject:
        """Only the fields that were set: the form kept in the log."""
        return self.model_dump(mode="json", exclude_unset=True)


class Artifact(Value):
    """Something the agent made.  `append` adds to the artifact of the same id."""

    artifact_id: str = Field(min_length=1)
    parts: tuple[Part, ...] = Field(min_length=1)
    name: str | None = None
    description: str | None = None
    metadata: JsonObject | None = None
    append: bool = False
    last_chunk: bool = False


class Answer(Value):
    """A value for one open ask of kind input."""

    ask: str = Field(min_length=1)
    value: JsonValue


class Approval(Value):
    """Yes to exactly what the digest names; with `arguments`, yes to these instead."""

    ask: str = Field(min_length=1)
    digest: str = Field(min_length=1)
    decision: Literal["approve"]
    arguments: JsonObject | None = None
    reason: str | None = None


class Denial(Value):
    """No to what the digest names."""

    ask: str = Field(min_length=1)
    digest: str = Field(min_length=1)
    decision: Literal["deny"]
    reason: str | None = None


Decision: TypeAlias = Annotated[Approval | Denial, Field(discriminator="decision")]


class Retry(Value):
    """When a turn that failed with a `Retryable` is tried again, and how long after.

    With `attempts_max` 1, the default, nothing is tried again.
    """

    #: Attempts in all, the first one included.
    attempts_max: int = Field(default=1, ge=1)
    #: Seconds from the first failure to the second attempt.
    backoff_s: float = Field(default=1.0, gt=0)
    #: How many times longer each wait is than the one before.
    backoff_factor: float = Field(default=2.0, ge=1)
    #: Seconds of one wait, at most.
    backoff_max_s: float = Field(default=60.0, gt=0)

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after the failure of attempt number `attempt` (1 is the first)."""
        try:
            delay_s = self.backoff_s * self.backoff_factor ** (attempt - 1)
        except OverflowError:  # beyond all floats, so beyond the maximum
            return self.backoff_max_s
        return min(delay_s, self.backoff_max_s)


class Retention(Value):
    """How long a finalized task is kept, with its log, its tokens and its watches.

    A token is kept as long as its task: a request that is repeated after that is a new one.
    What is not finalized is kept however old it is.
    """

    #: Seconds that it is kept after its end; None is for ever.
    age_s: float | None = Field(default=2_592_000.0, gt=0)
    #: Finalized tasks kept at most, the newest; None is any number.
    tasks_max: int | None = Field(default=None, ge=0)
    #: Seconds that each is kept after its end however many there are: time for a client to
    #: fetch the result, or to repeat a request whose answer was lost.
    at_least_s: float = Field(default=3_600.0, ge=0)
    #: Seconds from one sweep to the next.
    every_s: float = Field(default=600.0, gt=0)


class Limits(Value):
    """Every bound of an engine.  Over a bound, a caller gets `LimitReached`, never a stall.

    `running_turns_max` bounds what is started.  A turn that goes on (its answer came, or the
    engine was opened again) is not made to queue a second time, so there may be more for a
    while.
    """

    #: Turns running at once.  An agent mostly waits for its model: far more than cores.
    running_turns_max: int = Field(default=64, ge=1)
    #: Submitted tasks waiting for a slot, over all owners.  Beyond it a client should back off.
    queued_tasks_max: int = Field(default=10_000, ge=0)
    #: Tasks of one owner that are not over.  One client cannot fill the engine.
    open_tasks_per_owner_max: int = Field(default=1_000, ge=1)
    #: Triggers of one task waiting to be handled.  More means somebody is hammering it.
    inbox_max: int = Field(default=256, ge=1)
    #: Bytes of one payload (input, answer, artifact chunk, result) as JSON.
    payload_bytes_max: int = Field(default=1_048_576, ge=1)
    #: Asks of one task over its whole life.
    asks_max: int = Field(default=256, ge=1)
    #: Entries in one task's log; room for its ending is kept beyond it.
    log_events_max: int = Field(default=10_000, ge=16)
    #: Watchers of one task at once.
    subscribers_max: int = Field(default=256, ge=1)
    #: Seconds that the coroutine of a waiting task is kept, so that a quick answer finds it;
    #: then the task is parked, and its agent is run again from the log when the answer comes.
    #: 0 parks at once, None never.  The thread of a plain function is parked at once, or never.
    park_after_s: float | None = Field(default=5.0, ge=0)
    #: Times in a row that a turn is begun again after a crash; then an operator is asked.
    recoveries_max: int = Field(default=10, ge=1)
    #: Seconds an ask stays open when it names no time of its own.
    ask_s: float = Field(default=86_400.0, gt=0)
    #: Seconds a task may run, its waits not counted; None is no limit.
    run_s: float | None = Field(default=3_600.0, gt=0)
    #: Seconds from submission to the end, waits included.
    task_s: float = Field(default=604_800.0, gt=0)
    #: Seconds a turn has to end after it was told to, before it is abandoned.
    grace_s: float = Field(default=10.0, gt=0)
    #: Seconds that a drain waits for running turns.
    drain_s: float = Field(default=10.0, ge=0)
    #: Retries of a turn that failed with a `Retryable`; by default, none.
    retry: Retry = Retry()
    #: When what is over is forgotten.
    retention: Retention = Retention()


def parts_of(content: "str | Part | Sequence[Part] | Mapping[str, JsonValue]") -> tuple[Part, ...]:
    """Content in any of the forms a caller may use, as parts.

    Raises:
        InvalidInput: it is of another form.
        ValidationError: a mapping that is not JSON.
    """
    match content:
        case str():
            return (Part(text=content),)
        case Part():
            return (content,)
        case Mapping():
            return (Part(data=dict(content)),)
        case _ if _all_parts(content):
            return tuple(content)
        case _:
            raise InvalidInput([_content_problem(content)])


def _all_parts(content: object) -> "TypeGuard[Sequence[Part]]":
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        return False
    return all(isinstance(part, Part) for part in cast("Sequence[object]", content))


def _content_problem(content: object) -> str:
    """What is wrong with content that has no accepted form, without quoting it."""
    kind, within = type(content).__name__, ""
    if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        others = (part for part in cast("Sequence[object]", content) if not isinstance(part, Part))
        within = f" with a {type(next(others)).__name__} in it"
    accepted = "text, a Part, a sequence of Parts or a mapping is accepted"
    return f"the content is of type {kind}{within}; {accepted}"
