"""The webhooks of tasks, as clients make, read and replace them: judged, counted, kept as watches.

Every method raises A2A errors, for `Operations` to let out.
"""

from typing import Final

from a2a.types import PushNotificationNotSupportedError, TaskPushNotificationConfig

from interlock import Engine, NewWatch
from interlock.errors import InvalidInput, LimitReached
from interlock_adapters.a2a._map import invalid
from interlock_adapters.a2a._push import (
    CHANNEL,
    PushDeliverer,
    config_of,
    secrets_left_out,
    watch_of,
)
from interlock_adapters.a2a._request import required

_CONFIG: Final = "task_push_notification_config"
_NO_ROOM: Final = "the task has too many already"


class PushConfigs:
    """The webhooks of an engine's tasks."""

    def __init__(self, engine: Engine, push: PushDeliverer | None, configs_max: int) -> None:
        """Keep at most `configs_max` a task; without `push` nothing is supported.

        Raises:
            InvalidInput: the engine has not `push` as the deliverer for `CHANNEL`, so that
                what the agent card promises would never come.
        """
        if push is not None and engine.deliverers.get(CHANNEL) is not push:
            known = "another deliverer" if CHANNEL in engine.deliverers else "no deliverer"
            problem = f"push is given, and the engine has {known} for the channel {CHANNEL!r}"
            made = "Engine(..., deliverers={CHANNEL: push})"
            raise InvalidInput([f"{problem}; make it with {made}"])
        self._engine: Final = engine
        self._push: Final = push
        self._configs_max: Final = configs_max

    def supported(self) -> PushDeliverer:
        """Who delivers.

        Raises:
            PushNotificationNotSupportedError: nobody.
        """
        if self._push is None:
            raise PushNotificationNotSupportedError
        return self._push

    async def judged(self, config: TaskPushNotificationConfig) -> NewWatch:
        """The watch that a config asks for, once its target was found good."""
        push = self.supported()
        try:
            watch = watch_of(config)
            await push.check_target(required("url", config.url))
        except InvalidInput as error:
            raise invalid(_CONFIG, *error.problems) from None
        return watch

    async def check(self, task_id: str, watch: NewWatch, owner: str) -> None:
        """See that `add` would take the watch as things are."""
        kept = await self._engine.watches(task_id, owner=owner)
        if sum(other.watch_id != watch.watch_id for other in kept) >= self._configs_max:
            raise invalid(_CONFIG, _NO_ROOM)
        for old in kept:
            if old.watch_id != watch.watch_id:
                continue
            if old.channel != CHANNEL:
                # Whoever embeds the engine has watches too: they are no client's to change.
                raise invalid(_CONFIG, "its id is taken")
            if missing := secrets_left_out(watch, old):
                problem = f"it replaces one with {' and '.join(missing)}: give them again"
                raise invalid(_CONFIG, f"{problem}, or delete the old one first")

    async def add(
        self, task_id: str, watch: NewWatch, owner: str, *, beyond: int = 0
    ) -> TaskPushNotificationConfig:
        """Keep the watch; the task may have `beyond` more than it should."""
        room = self._configs_max + beyond
        try:
            added = await self._engine.add_watch(task_id, watch, owner=owner, watches_max=room)
        except LimitReached:
            raise invalid(_CONFIG, _NO_ROOM) from None
        return config_of(added)

    async def drop(self, task_id: str, config_id: str, owner: str) -> None:
        """Remove the webhook of that id, if there is one."""
        if any(config.id == config_id for config in await self.of(task_id, owner)):
            await self._engine.drop_watch(task_id, config_id, owner=owner)

    async def of(self, task_id: str, owner: str) -> list[TaskPushNotificationConfig]:
        """All webhooks of a task, without their secrets."""
        watches = await self._engine.watches(task_id, owner=owner)
        return [config_of(watch) for watch in watches if watch.channel == CHANNEL]
