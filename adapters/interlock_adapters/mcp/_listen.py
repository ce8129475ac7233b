"""`subscriptions/listen` with `taskIds`: tells how tasks are, whenever that changes (SEP-2663).

Each notification is what `tasks/get` would give.  What else one request listens to is served
beside it by whoever served that before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

import mcp_types as wire
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError

from interlock import TaskRecord
from interlock.errors import EngineError, UnknownTask
from interlock_adapters._callers.quota import note_miss
from interlock_adapters.mcp._desk import Desk
from interlock_adapters.mcp._errors import invalid
from interlock_adapters.mcp._progress import followed
from interlock_adapters.mcp._settings import Request
from interlock_adapters.mcp._status import Json
from interlock_adapters.mcp._tasks import check_tasks_client

Handler: TypeAlias = Callable[[Request, Any], Awaitable[Any]]
_IDS: Final = "taskIds"
_log: Final = logging.getLogger("interlock.mcp")


class Listen:
    """Serves `subscriptions/listen`."""

    def __init__(self, desk: Desk, others: Handler | None) -> None:
        """`others` serves what is not about tasks; None is nobody."""
        self._desk: Final = desk
        self._others: Final = others

    async def __call__(
        self, request: Request, params: wire.SubscriptionsListenRequestParams
    ) -> object:
        """Serve one stream, until all its tasks are over or the client hangs up.

        Raises:
            MCPError: the tasks cannot be listened to.
        """
        wanted = (params.notifications.model_extra or {}).get(_IDS)
        if wanted is None:
            if self._others is None:
                raise MCPError(wire.METHOD_NOT_FOUND, "Method not found", request.method)
            return await self._others(request, params)
        check_tasks_client(self._desk, request)
        records = await self._visible(wanted, self._desk.owner(request))
        stream = _Stream(request, [record.task_id for record in records])
        rest = params.notifications.model_copy(update={_IDS: None})
        kinds = rest.model_dump(exclude_none=True)
        if self._others is None or not kinds:
            await stream.acknowledge(wire.SubscriptionFilter())
            await self._follow(request, stream, records)
        else:
            await self._both(request, params, stream, records)
        return wire.SubscriptionsListenResult(_meta=stream.meta)

    async def _visible(self, wanted: object, owner: str) -> list[TaskRecord]:
        """The tasks of the caller among those that are named; others are not acknowledged.

        Raises:
            MCPError: it is no list of names, or too long.
        """
        most = self._desk.settings.listen_tasks_max
        given = cast("list[object]", wanted) if isinstance(wanted, list) else []
        if not isinstance(wanted, list) or not all(isinstance(one, str) for one in given):
            raise invalid(f"{_IDS} is a list of ids of tasks")
        if len(given) > most:
            raise invalid(f"{_IDS} names {len(given)} tasks; up to {most} are accepted")
        records: list[TaskRecord] = []
        for task_id in dict.fromkeys(map(str, given)):
            try:
                records.append(await self._desk.engine.record(task_id, owner=owner))
            except UnknownTask:
                note_miss()
                continue
        return records

    async def _both(
        self,
        request: Request,
        params: wire.SubscriptionsListenRequestParams,
        stream: "_Stream",
        records: Sequence[TaskRecord],
    ) -> None:
        """Tasks, and what else is listened to, on one stream: it ends with the client."""
        assert self._others is not None
        beside = asyncio.ensure_future(
            self._others(replace(request, session=cast("Any", stream)), params)
        )
        acknowledged = asyncio.ensure_future(stream.acknowledged.wait())
        following: asyncio.Future[None] | None = None
        try:
            await asyncio.wait({beside, acknowledged}, return_when=asyncio.FIRST_COMPLETED)
            if not beside.done():
                following = asyncio.ensure_future(self._follow(request, stream, records))
            await beside
        finally:
            ends: list[asyncio.Future[Any]] = [beside, acknowledged]
            if following is not None:
                ends.append(following)
            for one in ends:
                one.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _follow(
        self, request: Request, stream: "_Stream", records: Sequence[TaskRecord]
    ) -> None:
        try:
            async with self._desk.stopping.patience(), asyncio.TaskGroup() as following:
                for record in records:
                    following.create_task(self._told(request, stream, record))
        except TimeoutError:
            pass  # The server stops, and the stream ends as it should.

    async def _told(self, request: Request, stream: "_Stream", record: TaskRecord) -> None:
        """Tell how one task is, now and whenever that changes, until it is over."""
        client = self._desk.client(request)
        last: Json = {}
        try:
            async for now in followed(self._desk.engine, record):
                detailed = await self._desk.detailed(now, client)
                if _differs(detailed, last):
                    last = detailed
                    await stream.tell(detailed)
        except EngineError as error:
            # The engine closes, the task was purged, or too many look at it.
            _log.info("task %s is told of no further: %s", record.task_id, error)


class _Stream:
    """The one stream of a request, which says first what it is about.

    It stands in for the session of whoever serves the rest of the request, so that its
    acknowledgement names the tasks as well.
    """

    def __init__(self, request: Request, task_ids: Sequence[str]) -> None:
        self._session: Final = request.session
        self._request_id: Final = request.request_id
        self._task_ids: Final = [*task_ids]
        self.meta: Final[dict[str, Any]] = {SUBSCRIPTION_ID_META_KEY: request.request_id}
        self.acknowledged: Final = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def acknowledge(self, others: wire.SubscriptionFilter) -> None:
        """Say what is listened to."""
        kinds = {**others.model_dump(by_alias=True, exclude_none=True), _IDS: self._task_ids}
        params = wire.SubscriptionsAcknowledgedNotificationParams(
            notifications=wire.SubscriptionFilter.model_validate(kinds), _meta=self.meta
        )
        notification = wire.SubscriptionsAcknowledgedNotification(params=params)
        await self._session.send_notification(notification, related_request_id=self._request_id)
        self.acknowledged.set()

    async def send_notification(
        self,
        notification: wire.ServerNotification,
        related_request_id: wire.RequestId | None = None,
    ) -> None:
        """See `ServerSession`."""
        if isinstance(notification, wire.SubscriptionsAcknowledgedNotification):
            await self.acknowledge(notification.params.notifications)
        else:
            await self._session.send_notification(notification, related_request_id)

    async def tell(self, detailed: Json) -> None:
        """Send how one task is."""
        params: dict[str, Any] = {**detailed, "_meta": self.meta}
        notification = wire.Notification[dict[str, Any], str](
            method="notifications/tasks", params=params
        )
        await self._session.send_notification(
            cast("Any", notification), related_request_id=self._request_id
        )


def _differs(detailed: Json, last: Json) -> bool:
    """Whether a client would see a difference: when it last changed is none by itself."""
    return {**detailed, "lastUpdatedAt": ""} != {**last, "lastUpdatedAt": ""}
