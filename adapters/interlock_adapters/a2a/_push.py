"""A2A push notifications: a config is a watch, and its webhook gets what a stream shows.

Each POST holds one StreamResponse as JSON, as a2a-sdk's own sender does it: the Task for
the first event, then updates.  They come in order and at least once: `webhook-id` names
the task and the event, so that a receiver can drop what it knows already.

Token and credentials are stored, since they are needed to deliver; they are given to the
receiver and to nobody else.  A client gets its config back without them.  So one that
writes back what it read would lose them unawares: a config is not replaced by one that
leaves out what the old one has (`secrets_left_out`).  Nor are they carried over, since the
URL may be another one now.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from a2a.types import Message, Task, TaskPushNotificationConfig
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict, ParseDict

from interlock import DeliveryFailed, Event, NewWatch, TaskView, Trigger, Watch
from interlock.errors import InvalidInput
from interlock_adapters._http.webhook import Webhooks
from interlock_adapters.a2a._json import dumped
from interlock_adapters.a2a._view import Projection, Update, task_of

#: The channel of the watches that `PushDeliverer` serves.
CHANNEL: Final = "a2a.push"
#: Characters of a config's id, and of a token or credential: what HTTP servers take in a header.
ID_CHARS_MAX: Final = 256
HEADER_CHARS_MAX: Final = 4_096
#: Seconds after which the rest is left for another delivery.  With what one event takes, some
#: POSTs of `WebhookSettings.timeout_s` each, it is below `DeliveryLimits.delivery_s`.
DELIVERY_S: Final = 30.0


def watch_of(config: TaskPushNotificationConfig) -> NewWatch:
    """The watch that a client's config asks for; its URL is for `check_target` to judge.

    A config without an id is named after its URL: given again, it replaces itself.

    Raises:
        InvalidInput: it holds what cannot be sent in a header.
    """
    problems = [
        problem
        for name, value, chars_max in (
            ("id", config.id, ID_CHARS_MAX),
            ("token", config.token, HEADER_CHARS_MAX),
            ("authentication.scheme", config.authentication.scheme, ID_CHARS_MAX),
            ("authentication.credentials", config.authentication.credentials, HEADER_CHARS_MAX),
        )
        for problem in _problems(name, value, chars_max)
    ]
    if config.authentication.scheme and " " in config.authentication.scheme:
        problems.append("authentication.scheme: must be one word")
    if problems:
        raise InvalidInput(problems)
    watch_id = config.id or hashlib.sha256(config.url.encode()).hexdigest()[:32]
    return NewWatch(watch_id, CHANNEL, MessageToDict(config))


def config_of(watch: Watch) -> TaskPushNotificationConfig:
    """The config as its owner may see it: whole, but without token and credentials."""
    config = _whole_config_of(watch)
    config.token = ""
    if config.HasField("authentication"):
        config.authentication.credentials = ""
    return config


def secrets_left_out(watch: NewWatch, kept: Watch) -> list[str]:
    """The secrets that `kept` has, and the watch that is to replace it has not, by name."""
    old, new = (ParseDict(w.config, TaskPushNotificationConfig()) for w in (kept, watch))
    left_out = ["token"] if old.token and not new.token else []
    if old.authentication.credentials and not new.authentication.credentials:
        left_out.append("authentication.credentials")
    return left_out


class PushDeliverer:
    """Serves the watches of `CHANNEL`: give it to the engine under that name."""

    def __init__(self, webhooks: Webhooks, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Send through `webhooks`, which the caller closes once the engine is drained.

        `clock` says how many seconds have passed.
        """
        self._webhooks: Final = webhooks
        self._clock: Final = clock

    async def check_target(self, url: str) -> None:
        """Judge the URL of a config before it is stored.

        Raises:
            TargetRefused: the deployment would not send there, or there is no such host.
            LimitReached: too many are being checked already.
        """
        await self._webhooks.check_target(url)

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `interlock.Deliverer.deliver`."""
        config = _whole_config_of(watch)
        headers = _headers(config)
        before = events[0].seq - 1
        projection = Projection(view.events[:before])
        delivered_seq = None if before == 0 else before
        until = self._clock() + DELIVERY_S
        for event in events:
            if self._clock() >= until:
                # What has arrived counts; cut off by the courier it would all be sent again.
                raise DeliveryFailed("its receiver is slow", delivered_seq=delivered_seq)
            for webhook_id, body in _notifications(projection, event):
                try:
                    await self._webhooks.post(config.url, body, headers, webhook_id=webhook_id)
                except DeliveryFailed as failure:
                    raise DeliveryFailed(
                        str(failure),
                        permanent=failure.permanent,
                        retry_after_s=failure.retry_after_s,
                        delivered_seq=delivered_seq,
                    ) from None
            delivered_seq = event.seq


def _notifications(projection: Projection, event: Event) -> Iterator[tuple[str, bytes]]:
    """The POSTs that tell of one event, each with an id that is its own for ever."""
    shown: Sequence[Task | Update] = projection.updates(event)
    if event.trigger is Trigger.SUBMIT:
        # As on a stream: the first thing to be seen is the task.
        shown = [task_of([event])]
    for index, update in enumerate(shown):
        webhook_id = f"{projection.task_id}:{event.seq}"
        # The last says that the event is told; any before it has a number of its own.
        yield webhook_id if index == len(shown) - 1 else f"{webhook_id}:{index}", _json(update)


def _json(shown: Task | Message | Update) -> bytes:
    return dumped(MessageToDict(to_stream_response(shown))).encode()


def _headers(config: TaskPushNotificationConfig) -> dict[str, str]:
    headers = {"content-type": "application/json", "user-agent": "interlock"}
    if config.token:
        headers["x-a2a-notification-token"] = config.token
    authentication = config.authentication
    if authentication.scheme and authentication.credentials:
        headers["authorization"] = f"{authentication.scheme} {authentication.credentials}"
    return headers


def _whole_config_of(watch: Watch) -> TaskPushNotificationConfig:
    config = ParseDict(watch.config, TaskPushNotificationConfig())
    config.id, config.task_id = watch.watch_id, watch.task_id
    return config


def _problems(name: str, value: str, chars_max: int) -> Iterator[str]:
    if len(value) > chars_max:
        yield f"{name}: must not have more than {chars_max} characters"
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        yield f"{name}: must be printable ASCII, without spaces around it"
