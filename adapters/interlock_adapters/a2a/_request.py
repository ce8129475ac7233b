"""Reading a client's requests: what protobuf lets through and A2A does not.  Pure.

The SDK's own check of required fields walks every descriptor and costs more than the rest
of a request; the fields that are required are named here instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeGuard, cast

from a2a.types import (
    CancelTaskRequest,
    ContentTypeNotSupportedError,
    Message,
    Role,
    SendMessageRequest,
    TaskPushNotificationConfig,
)

from interlock import Event
from interlock.models import JsonObject
from interlock_adapters._tokens import OWN
from interlock_adapters.a2a._json import KEPT, Json
from interlock_adapters.a2a._map import invalid
from interlock_adapters.a2a._part import NotJson, object_of, part_json
from interlock_adapters.a2a._settings import A2ASettings

#: Characters of an id that a client may choose.  Ids are stored with every task.
ID_CHARS_MAX: Final = 256

#: The fields of the messages that `sent_of_json` reads.
_USUAL_FIELDS: Final = frozenset({"messageId", "taskId", "contextId", "role", "parts"})


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is well-formed.  Empty ids are ids that were not given."""

    tenant: str
    message_id: str
    task_id: str
    context_id: str
    #: As the log keeps them.
    parts: list[JsonObject]
    metadata: JsonObject
    history_length: int | None
    return_immediately: bool
    push_config: TaskPushNotificationConfig | None


class HasHistoryLength(Protocol):
    """A request that says how much history it wants."""

    history_length: int

    # The stub names the fields; this one is common to the requests it is used for.
    def HasField(self, field_name: str) -> bool:  # noqa: N802 - protobuf's name
        """Whether the field was given."""
        ...


def sent_of(params: SendMessageRequest, settings: A2ASettings) -> Sent:
    """What a SendMessage says.

    Raises:
        InvalidParamsError: a field is missing or cannot be; the error names it.
        ContentTypeNotSupportedError: no common media type.
    """
    message = params.message
    if message.role != Role.ROLE_USER:
        # Unknown names arrive as 0 and unknown numbers as themselves.
        raise invalid("message.role", "must be ROLE_USER")
    if not message.message_id:
        raise invalid("message.message_id", "is required")
    if message.message_id.startswith(OWN):
        raise invalid("message.message_id", f"must not begin with {OWN!r}")
    for field in ("message_id", "task_id", "context_id"):
        if len(getattr(message, field)) > ID_CHARS_MAX:
            raise invalid(f"message.{field}", f"at most {ID_CHARS_MAX} characters")
    configuration = params.configuration
    _check_output(configuration.accepted_output_modes, settings.output_modes)
    return Sent(
        params.tenant,
        message.message_id,
        message.task_id,
        message.context_id,
        _parts(message),
        _metadata(params),
        history_length_of(configuration),
        configuration.return_immediately,
        configuration.task_push_notification_config
        if configuration.HasField("task_push_notification_config")
        else None,
    )


def sent_of_json(params: Json) -> Sent | None:
    """The same for a text in its most common shape; None for any other.

    Protobuf's parser costs as much as the rest of a request.  What this reads, it reads
    alike: a test compares the two.
    """
    message: object = params.get("message")
    if params.keys() != {"message"} or not isinstance(message, dict):
        return None
    said = cast("Json", message)
    given: object = said.get("parts")
    if not said.keys() <= _USUAL_FIELDS or not isinstance(given, list):
        return None
    message_id, task_id, context_id = (
        said.get(name, "") for name in ("messageId", "taskId", "contextId")
    )
    texts = [_only_text(part) for part in cast("list[object]", given)]
    usual = said.get("role") == "ROLE_USER" and bool(texts) and message_id != ""
    if isinstance(message_id, str) and message_id.startswith(OWN):
        return None
    if not usual or not all(map(is_text, texts)):
        return None
    if not all(is_text(i) and len(i) <= ID_CHARS_MAX for i in (message_id, task_id, context_id)):
        return None
    return Sent(
        tenant="",
        message_id=message_id,
        task_id=task_id,
        context_id=context_id,
        parts=[{"text": text} for text in texts],
        metadata={},
        history_length=None,
        return_immediately=False,
        push_config=None,
    )


def _only_text(part: object) -> str | None:
    """The text of a part that has nothing else."""
    if not isinstance(part, dict):
        return None
    fields = cast("Json", part)
    text: object = fields.get("text")
    return text if len(fields) == 1 and isinstance(text, str) else None


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text that protobuf takes: all of Unicode but halves of a character."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def check_input(parts: Iterable[JsonObject], modes: Iterable[str]) -> None:
    """Check the media types of a new task's parts.  Answers are what their ask wants.

    Raises:
        ContentTypeNotSupportedError: one is of none of the types.
    """
    for part in parts:
        given = part.get("media_type") or _implied(part)
        if not any(_matches(str(given), mode) for mode in modes):
            raise ContentTypeNotSupportedError(
                "the media type of a part is not accepted", {"accepts": ", ".join(modes)}
            )


def history_length_of(params: HasHistoryLength) -> int | None:
    """How many messages are wanted at most; None for all.

    Raises:
        InvalidParamsError: less than none.
    """
    if not params.HasField("history_length"):
        return None
    if params.history_length < 0:
        raise invalid("history_length", "must not be negative")
    return params.history_length


def required(field: str, value: str) -> str:
    """The value of a field that must be given.

    Raises:
        InvalidParamsError: it was not.
    """
    if not value:
        raise invalid(field, "is required")
    return value


def check_context(sent: Sent, context_id: str) -> None:
    """Check that a message is of the context of its task.

    Raises:
        InvalidParamsError: it names another one.
    """
    if sent.context_id and sent.context_id != context_id:
        raise invalid("message.context_id", "is not the context of the task")


def came_before(sent: Sent, events: Iterable[Event]) -> bool:
    """Whether this very message is in the task's log already.

    An ask that it answered is closed by now, so the message could not be read again.

    Raises:
        InvalidParamsError: its id is, and what it said was something else.
    """
    for event in events:
        if event.data.get("token") == sent.message_id:
            said: list[JsonObject] = event.data.get("parts") or event.data.get("message") or []
            if said != sent.parts:
                raise invalid("message.message_id", "was used before with another body")
            return True
    return False


def reason_of(params: CancelTaskRequest) -> str | None:
    """Why, if the client says so in the metadata of its cancel.

    Raises:
        InvalidParamsError: the reason is not a text.
    """
    reason = params.metadata.fields.get("reason") if params.HasField("metadata") else None
    if reason is None:
        return None
    if reason.WhichOneof("kind") != "string_value":
        raise invalid("metadata.reason", "must be a text")
    return reason.string_value


def last_event_of(given: object, seq: int) -> int | None:
    """The number of the last event that a reader has seen, of `seq`; None for a new reader.

    Raises:
        InvalidParamsError: there is no such event.
    """
    if given is None:
        return None
    # No task has as many events as ten digits count; more could not be read as a number.
    if not (isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10):  # noqa: PLR2004
        raise invalid("Last-Event-ID", "is not the id of an event")
    if not 1 <= int(given) <= seq:
        raise invalid("Last-Event-ID", "is not the id of an event of this task")
    return int(given)


def _parts(message: Message) -> list[JsonObject]:
    if not message.parts:
        raise invalid("message.parts", "at least one is required")
    parts: list[JsonObject] = []
    for index, part in enumerate(message.parts):
        try:
            parts.append(part_json(part))
        except ValueError as error:
            raise invalid(f"message.parts[{index}]", str(error)) from None
    return parts


def _metadata(params: SendMessageRequest) -> JsonObject:
    message = params.message
    try:
        metadata = object_of(message.metadata) if message.HasField("metadata") else {}
        if KEPT in metadata:
            raise invalid("message.metadata", f"the name {KEPT!r} is reserved")
        kept: JsonObject = {}
        if message.extensions:
            kept["extensions"] = list(message.extensions)
        if message.reference_task_ids:
            kept["reference_task_ids"] = list(message.reference_task_ids)
        if params.HasField("metadata"):
            kept["request_metadata"] = object_of(params.metadata)
    except NotJson as error:
        raise invalid("metadata", str(error)) from None
    if kept:
        metadata[KEPT] = kept
    return metadata


def _check_output(accepted: Iterable[str], offered: tuple[str, ...]) -> None:
    wanted = list(accepted)
    if wanted and not any(_matches(mode, want) for mode in offered for want in wanted):
        raise ContentTypeNotSupportedError(
            "none of the accepted output modes can be given", {"offers": ", ".join(offered)}
        )


def _implied(part: JsonObject) -> str:
    if "text" in part:
        return "text/plain"
    return "application/json" if "data" in part else "application/octet-stream"


def _matches(media_type: str, pattern: str) -> bool:
    """Whether a type is of a range such as `text/*`; parameters do not count."""
    given = media_type.partition(";")[0].strip().lower()
    wanted = pattern.partition(";")[0].strip().lower()
    return (
        wanted in {"*/*", "*"}
        or given == wanted
        or (wanted.endswith("/*") and given.startswith(wanted[:-1]))
    )
