"""A2A's operations over an engine: all that a binding of the protocol needs.

The bindings call this, and this calls the engine and shows what came of it, in the
protocol's JSON.  It holds no task, no queue and no state of its own.  It is long because it
is the whole of that face; each operation is short.

Every operation either answers or raises an A2A error of the specification's table.  What is
not the client's business is logged under an id, and the client is told the id.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypedDict

from a2a.server.context import ServerCallContext
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    ExtendedAgentCardNotConfiguredError,
    ExtensionSupportRequiredError,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    InternalError,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskNotFoundError,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import A2AError

from interlock import (
    OVER,
    WAITING,
    Answer,
    Engine,
    Event,
    NewWatch,
    Part,
    Phase,
    TaskRecord,
    TaskView,
    can,
)
from interlock.errors import EngineError, InvalidInput, NotAccepting, UnknownTask
from interlock_adapters._callers.quota import note_miss
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.a2a._answer import Declined, Said, said_of
from interlock_adapters.a2a._auth import roles_of, tenant_of
from interlock_adapters.a2a._card import card_of
from interlock_adapters.a2a._carried import carried_by
from interlock_adapters.a2a._json import Json
from interlock_adapters.a2a._list import page_json
from interlock_adapters.a2a._map import (
    EVENT,
    STATE_NAME_OF,
    error_of,
    invalid,
    nothing_wanted,
    unsupported,
)
from interlock_adapters.a2a._push import PushDeliverer
from interlock_adapters.a2a._push_configs import PushConfigs
from interlock_adapters.a2a._request import (
    Sent,
    came_before,
    check_context,
    check_input,
    history_length_of,
    last_event_of,
    reason_of,
    required,
)
from interlock_adapters.a2a._settings import A2ASettings
from interlock_adapters.a2a._shared import Follower, Updates
from interlock_adapters.a2a._view import Projection, task_json

_log: Final = logging.getLogger("interlock.a2a")

#: Where a binding leaves, in the state of the call, the last event that its reader has seen.
LAST_EVENT: Final = "interlock_last_event"
#: Where it leaves what hears the client of the call hang up (`HangUp`).
HANG_UP: Final = "interlock_hang_up"


class _Saying(TypedDict):
    """How the engine is told what somebody says."""

    owner: str
    roles: Sequence[str]
    token: str
    message: Sequence[Part]
    carried: Mapping[str, str]


class _Border:
    """Lets nothing but A2A errors out of an operation."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Tell the client what is its business, and the log what is ours."""
        if error is None or isinstance(error, A2AError) or not isinstance(error, Exception):
            return
        if isinstance(error, UnknownTask):
            note_miss()
        told = error_of(error) if isinstance(error, EngineError) else None
        if told is None:
            error_id = secrets.token_hex(8)
            _log.error("internal error %s", error_id, exc_info=error)
            told = InternalError(f"internal error {error_id}", {"error_id": error_id})
        raise told from None


BORDER: Final = _Border()


def _wants_input(update: Json) -> bool:
    """Whether a client that is shown this knows that it is to answer.

    By what it is shown: `Projection` may be behind, where another reader made the update.
    """
    shown: Json = update.get("task") or update.get("statusUpdate") or {}
    return bool(shown.get("status", {}).get("state") == STATE_NAME_OF[Phase.WAITING_INPUT])


class Operations:
    """The operations of the protocol, over one engine."""

    def __init__(
        self,
        engine: Engine,
        settings: A2ASettings,
        *,
        push: PushDeliverer | None = None,
        stopping: Stopping | None = None,
    ) -> None:
        """Serve `engine`; `push` is the deliverer that the engine has for our channel.

        Raises:
            InvalidInput: the settings do not make an agent card, or the engine has not
                `push` as the deliverer for `CHANNEL`, or not the agent that they name.
        """
        if settings.agent is not None and settings.agent not in engine.agents:
            accepted = ", ".join(map(repr, engine.agents))
            problem = f"the engine has no agent {settings.agent!r:.80}; accepted is {accepted}"
            raise InvalidInput([problem])
        #: The public card.
        self.card: Final = card_of(settings, push=push is not None)
        self.settings: Final = settings
        self._engine: Final = engine
        self._push: Final = PushConfigs(engine, push, settings.push_configs_max)
        #: For all streams.
        self._updates: Final = Updates()
        self._stopping: Final = stopping or Stopping()
        self._required_extensions: Final = frozenset(
            extension.uri for extension in settings.extensions if extension.required
        )

    # --- messages -----------------------------------------------------------------------

    async def send(self, sent: Sent, context: ServerCallContext) -> Json:
        """Make a task or answer one, and wait until it rests unless told not to."""
        with BORDER:
            owner = self._caller(context, sent.tenant)
            task_id, _ = await self._take(sent, context, owner)
            view = await self._engine.view(task_id, owner=owner)
            if not sent.return_immediately and view.record.phase not in WAITING | OVER:
                view = await self._waited(self._engine.rest, view, context)
            return task_json(view.events, history_length=sent.history_length)

    async def send_streaming(self, sent: Sent, context: ServerCallContext) -> AsyncGenerator[Json]:
        """As `send`, showing what happens until the task wants input or is over."""
        with BORDER:
            owner = self._caller(context, sent.tenant)
            self._check_streaming()
            task_id, seq = await self._take(sent, context, owner)
            view = await self._engine.view(task_id, owner=owner)
            shown = Projection(view.events[:seq])
            task = shown.task_json(history_length=sent.history_length)
            async with aclosing(self._follow(task, shown, owner)) as stream:
                async for update in stream:
                    yield update
                    # A decision may come by another way, so a stream stays for it; what
                    # wants input wants it from this client, whose turn it is now.
                    if _wants_input(update):
                        return

    async def _take(
        self, sent: Sent, context: ServerCallContext, owner: str
    ) -> tuple[str, int | None]:
        """Hand a message to the engine; its task, and the number of the event that came of it.

        None instead of the number stands for a message that came before: nothing came of it now.
        """
        config = sent.push_config
        watch = None if config is None else await self._watch(config, context)
        if sent.task_id:
            return await self._follow_up(sent, watch, owner, context)
        check_input(sent.parts, self.settings.input_modes)
        handle = await self._engine.submit(
            [Part.model_validate(part) for part in sent.parts],
            owner=owner,
            agent=self.settings.agent,
            context_id=sent.context_id or None,
            token=sent.message_id,
            metadata=sent.metadata,
            watches=() if watch is None else (watch,),
            carried=carried_by(context),
        )
        if handle.created:
            return handle.task_id, handle.record.seq
        check_context(sent, handle.record.context_id)
        return handle.task_id, None

    async def _follow_up(
        self, sent: Sent, watch: NewWatch | None, owner: str, context: ServerCallContext
    ) -> tuple[str, int | None]:
        view = await self._engine.view(sent.task_id, owner=owner)
        check_context(sent, view.record.context_id)
        if came_before(sent, view.events):
            if watch is not None:
                await self._push.check(sent.task_id, watch, owner)
                await self._push.add(sent.task_id, watch, owner)
            return sent.task_id, None
        record = view.record
        if not record.asks:
            allowed = [possible.trigger for possible in can(record)]
            raise unsupported(nothing_wanted(record.shown, allowed), phase=record.shown.value)
        said = said_of(sent.parts, record.asks, self.settings.vocabulary)
        if watch is not None:
            # Before the answer: what is refused must have changed nothing.
            await self._push.check(sent.task_id, watch, owner)
        record = await self._tell(sent, said, owner, context)
        if watch is not None:
            # The room was there; if another took it meanwhile, one more is better than an
            # error for an answer that was accepted.  Repeats of it get no more than that.
            await self._push.add(sent.task_id, watch, owner, beyond=1)
        return sent.task_id, record.seq

    async def _tell(
        self, sent: Sent, said: Said, owner: str, context: ServerCallContext
    ) -> TaskRecord:
        """Hand what a message says about an open ask to the engine."""
        engine, task_id = self._engine, sent.task_id
        saying: _Saying = {
            "owner": owner,
            "roles": roles_of(context.user),
            "token": sent.message_id,
            "message": [Part.model_validate(part) for part in sent.parts],
            "carried": carried_by(context),
        }
        match said:
            case Answer():
                return await engine.answer(task_id, said, **saying)
            case Declined(ask=ask, reason=reason):
                return await engine.decline(task_id, ask, reason=reason, **saying)
            case _:
                return await engine.decide(task_id, said, **saying)

    # --- tasks --------------------------------------------------------------------------

    async def get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Json:
        """The task as it is."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            length = history_length_of(params)
            view = await self._engine.view(required("id", params.id), owner=owner)
            return task_json(view.events, history_length=length)

    async def list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> Json:
        """One page of the caller's tasks, newest change first; short if they are large."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            return await page_json(self._engine, params, owner)

    async def cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Json:
        """Stop a task; answers when it has stopped, or "cancelling" if its turn takes long."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            task_id = required("id", params.id)
            reason = reason_of(params)
            await self._engine.cancel(task_id, owner=owner, reason=reason)
            view = await self._engine.view(task_id, owner=owner)
            if view.record.phase not in OVER:
                within_s = self.settings.cancel_wait_s
                view = await self._waited(self._engine.over, view, context, within_s=within_s)
            return task_json(view.events)

    async def subscribe(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Json]:
        """The task, then what happens to it until it is over.

        A reader that names the last event it saw gets the task as of that event, and
        everything after; also what is left of a task that ended meanwhile.
        """
        with BORDER:
            owner = self._caller(context, params.tenant)
            self._check_streaming()
            view = await self._engine.view(required("id", params.id), owner=owner)
            seen = last_event_of(context.state.get(LAST_EVENT), view.record.seq)
            shown = Projection(view.events[:seen])
            if shown.phase in OVER:
                raise unsupported(nothing_wanted(shown.phase, ()), phase=shown.phase.value)
            async with aclosing(self._follow(shown.task_json(), shown, owner)) as stream:
                async for update in stream:
                    yield update

    async def _follow(self, task: Json, shown: Projection, owner: str) -> AsyncGenerator[Json]:
        """The task, then its updates as they come, until it is over."""
        task["metadata"][EVENT] = str(shown.seq)
        yield {"task": task}
        if shown.phase in OVER:
            return
        events = self._engine.subscribe(shown.task_id, owner=owner, after=shown.seq)
        follower = Follower(shown, self._updates)
        async with aclosing(events) as coming:
            while (event := await self._next(coming)) is not None:
                for update in follower.updates(event):
                    yield update

    # --- waiting ------------------------------------------------------------------------

    async def _waited(
        self,
        wait: Callable[..., Awaitable[TaskView]],
        seen: TaskView,
        context: ServerCallContext,
        *,
        within_s: float | None = None,
    ) -> TaskView:
        """What a wait comes to; or the task as it is once nobody waits for that any more."""
        task_id, owner = seen.record.task_id, seen.record.owner
        try:
            try:
                async with self._stopping.patience(within_s, context.state.get(HANG_UP)):
                    return await wait(task_id, owner=owner)
            except TimeoutError:
                return await self._engine.view(task_id, owner=owner)
        except NotAccepting:
            # The engine has closed, and nobody can look any more.
            return seen

    async def _next(self, events: AsyncGenerator[Event]) -> Event | None:
        """The next event; None when there is none, or the server or the engine stops."""
        if self._stopping.begun:
            return None
        try:
            async with self._stopping.patience():
                return await anext(events, None)
        except (TimeoutError, NotAccepting):
            return None

    # --- push notifications -------------------------------------------------------------

    async def create_push_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Add a webhook to a task, or replace the one of that id."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            task_id = required("task_id", params.task_id)
            self._push.supported()
            await self._engine.record(task_id, owner=owner)
            watch = await self._watch(params, context)
            await self._push.check(task_id, watch, owner)
            return await self._push.add(task_id, watch, owner)

    async def push_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """One webhook of a task, without its secrets."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            self._push.supported()
            config_id = required("id", params.id)
            for config in await self._push.of(required("task_id", params.task_id), owner):
                if config.id == config_id:
                    return config
            raise TaskNotFoundError

    async def push_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """The webhooks of a task: all of them, there are few."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            self._push.supported()
            if params.page_token:
                raise invalid("page_token", "was not given: there is one page")
            configs = await self._push.of(required("task_id", params.task_id), owner)
            return ListTaskPushNotificationConfigsResponse(configs=configs)

    async def delete_push_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Remove a webhook; removing one that is not there is no error."""
        with BORDER:
            owner = self._caller(context, params.tenant)
            self._push.supported()
            task_id, config_id = required("task_id", params.task_id), required("id", params.id)
            await self._push.drop(task_id, config_id, owner)

    async def _watch(
        self, config: TaskPushNotificationConfig, context: ServerCallContext
    ) -> NewWatch:
        self._push.supported()
        self._check_tenant(context, config.tenant)
        return await self._push.judged(config)

    # --- the card -----------------------------------------------------------------------

    async def extended_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """The card for an authenticated caller."""
        with BORDER:
            self._caller(context, params.tenant)
            make = self.settings.extended_card
            if make is None:
                raise unsupported("this agent has no extended card")
            if not context.user.is_authenticated:
                raise unsupported("the extended card is for authenticated callers")
            public = AgentCard()
            public.CopyFrom(self.card)
            extended = make(public, context)
            if extended is None:
                raise ExtendedAgentCardNotConfiguredError
            return extended

    # --- what every operation checks ----------------------------------------------------

    def _caller(self, context: ServerCallContext, tenant: str) -> str:
        """Who calls, once it is clear that the call is for this agent."""
        self._check_tenant(context, context.tenant)
        self._check_tenant(context, tenant)
        missing = self._required_extensions - context.requested_extensions
        if missing:
            raise ExtensionSupportRequiredError(
                f"extensions are required: {', '.join(sorted(missing))}"
            )
        return self.settings.owner_of(context)

    def _check_tenant(self, context: ServerCallContext, tenant: str) -> None:
        own = tenant_of(context.user)
        known = self.settings.tenants if own is None else {own}
        if tenant and tenant not in known:
            raise invalid("tenant", "there is no such tenant")

    def _check_streaming(self) -> None:
        if not self.settings.streaming:
            raise unsupported("this agent does not stream")
