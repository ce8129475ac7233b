"""What every request of the MCP face needs: who asks, with what, about which task."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import mcp_types as wire
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from interlock import (
    OVER,
    Answer,
    Approval,
    AskKind,
    Denial,
    Engine,
    Event,
    JsonObject,
    OpenAsk,
    Phase,
    TaskHandle,
    TaskRecord,
    TaskView,
    Trigger,
)
from interlock.errors import (
    EngineError,
    IllegalTrigger,
    InvalidInput,
    LimitReached,
    NotAccepting,
    StoreError,
)
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters._tokens import OWN
from interlock_adapters.mcp._callers import Callers, Seat
from interlock_adapters.mcp._errors import TASKS, invalid
from interlock_adapters.mcp._forms import Declined, Dismissed, is_secret, said_of
from interlock_adapters.mcp._principal import roles_of_request
from interlock_adapters.mcp._settings import McpSettings, Request
from interlock_adapters.mcp._status import Client, Json, Shown, answerable, concluded
from interlock_adapters.mcp._tools import TOOL, Catalog, Offered, tool_name

#: Where a client of ours says which call this is, so that a repeat is none (ours).
IDEMPOTENCY_KEY: Final = "interlock/idempotencyKey"
#: Seconds until a task is told again that nobody wants it, when the store failed.
CANCEL_AGAIN_S: Final = 1.0

_log: Final = logging.getLogger("interlock.mcp")


class Desk:
    """An engine, as the MCP face shows it."""

    def __init__(self, engine: Engine, settings: McpSettings, stopping: Stopping) -> None:
        """Serve `engine`.

        Raises:
            InvalidInput: the settings do not make tools of it.
        """
        self.engine: Final = engine
        self.settings: Final = settings
        self.stopping: Final = stopping
        self.catalog: Final = Catalog(engine, settings)
        self.shown: Final = Shown(engine.limits, settings.poll_s, settings.console_url)
        self._callers: Final = Callers()
        #: Tasks that nobody wants any more, on their way to be told so.
        self._unwanted: Final[set[asyncio.Task[None]]] = set()

    # --- who asks -----------------------------------------------------------------------

    def owner(self, request: Request) -> str:
        """Whose the tasks of a request are.

        Raises:
            MCPError: it is turned away.
        """
        try:
            return self.settings.owner_of(request)
        except PermissionError as error:
            if error.errno is not None:
                raise  # A file was not to be read: what it says is for us.
            raise MCPError(wire.INVALID_REQUEST, str(error)) from None

    @staticmethod
    def client(request: Request) -> Client:
        """What the client of a request can do."""
        said = request.session.client_capabilities
        asked = None if said is None else said.elicitation
        # Said without a mode it is forms: there was nothing else in 2025-06-18.
        neither = asked is not None and asked.form is None and asked.url is None
        modern = request.protocol_version in MODERN_PROTOCOL_VERSIONS
        return Client(
            version=request.protocol_version,
            modern=modern,
            by_form=asked is not None and (neither or asked.form is not None),
            by_url=asked is not None and asked.url is not None,
            tasks=modern and said is not None and TASKS in (said.extensions or {}),
        )

    @property
    def is_decided_elsewhere(self) -> bool:
        """Whether there is a place where people decide, so that a call may wait for them."""
        return self.settings.console_url is not None

    def questions(self, record: TaskRecord, client: Client) -> tuple[OpenAsk, ...]:
        """What can be put to a client: to one that only opens pages, what is decided there."""
        asks = self.shown.askable(record, client)
        if client.by_form:
            return asks
        by_page = client.by_url and self.is_decided_elsewhere
        at_a_page = (ask for ask in asks if ask.kind is AskKind.AUTH or is_secret(ask))
        return tuple(at_a_page) if by_page else ()

    def is_stuck(self, record: TaskRecord, client: Client) -> bool:
        """Whether the task asks what neither this client nor anybody else can answer."""
        if self.is_decided_elsewhere or self.questions(record, client):
            return False
        return bool(answerable(record))

    # --- making and ending tasks --------------------------------------------------------

    def seat(self, request: Request, owner: str) -> Seat:
        """The place of a call among those that are the same call.

        Raises:
            MCPError: its idempotency key is none.
        """
        token = None if request.meta is None else request.meta.get(IDEMPOTENCY_KEY)
        if token is not None and (not isinstance(token, str) or token.startswith(OWN)):
            raise invalid(f"_meta[{IDEMPOTENCY_KEY!r}] is no text, or begins with {OWN!r}")
        return self._callers.seat(owner, token)

    async def submit(
        self, seat: Seat, tool: Offered, arguments: JsonObject, owner: str
    ) -> TaskHandle:
        """The task that a call makes, durable.

        Who hangs up before that has made none, or one that is given up if nobody else waits.

        Raises:
            EngineError: see `Engine.submit`.
        """
        making = asyncio.ensure_future(
            self.engine.submit(
                tool.content(arguments),
                owner=owner,
                token=None if seat.key is None else seat.key[1],
                metadata={TOOL: tool.name},
                agent=tool.settings.agent,
            )
        )
        try:
            handle = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(partial(self._made_in_vain, seat))
            raise
        except Exception:
            seat.leave()
            raise
        if handle.created:
            seat.made()
        return handle

    def _made_in_vain(self, seat: Seat, making: "asyncio.Future[TaskHandle]") -> None:
        if making.cancelled() or making.exception() is not None:
            seat.leave()
            return
        handle = making.result()
        if handle.created:
            seat.made()
        self.left(seat, handle.record)

    def left(self, seat: Seat, record: TaskRecord) -> None:
        """A call has ended without a result: its task is given up if it is nobody's now.

        Not when it is we who go: then it goes on later.
        """
        if seat.leave() and not self.stopping.begun:
            ending = asyncio.ensure_future(self._cancelled(record, seat.key))
            self._unwanted.add(ending)
            ending.add_done_callback(self._unwanted.discard)

    async def _cancelled(self, record: TaskRecord, key: tuple[str, str] | None) -> None:
        reason = "the caller has gone"
        while not self.stopping.begun:
            if (crowd := self._callers.crowd(key)) is not None:
                crowd.made = True  # The call was made again: the task is theirs.
                return
            try:
                await self.engine.cancel(record.task_id, owner=record.owner, reason=reason)
            except (LimitReached, StoreError) as error:
                _log.warning("task %s cannot be cancelled yet: %s", record.task_id, error)
            except EngineError:
                return  # It is over, or gone, or the engine is: then it goes on later.
            else:
                return
            await self._passed(CANCEL_AGAIN_S)

    async def _passed(self, seconds: float) -> None:
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self.engine.clock.call_later(seconds, partial(passed.set_result, None))
        try:
            await passed
        finally:
            alarm.cancel()

    # --- answers ------------------------------------------------------------------------

    async def say(
        self, record: TaskRecord, ask: OpenAsk, result: wire.ElicitResult, *, token: str | None
    ) -> bool:
        """Tell a task what its owner, who makes this request, says to one of its asks.

        False if that is nothing.

        Raises:
            InvalidInput, AnswerInvalid: it is not what was asked for; the ask stays open.
            Refused: the ask is closed, or the owner may not answer.
            TokenReused: something else was said to it before.
        """
        task_id, owner, roles = record.task_id, record.owner, roles_of_request()
        match said_of(ask, result):
            case Answer() as answer:
                await self.engine.answer(task_id, answer, owner=owner, roles=roles, token=token)
            case Approval() | Denial() as decision:
                await self.engine.decide(task_id, decision, owner=owner, roles=roles, token=token)
            case Declined(key):
                await self.engine.decline(task_id, key, owner=owner, roles=roles, token=token)
            case Dismissed():
                reason = "a question was dismissed"
                with suppress(IllegalTrigger):  # It is over.
                    await self.engine.cancel(task_id, owner=owner, reason=reason, ask=ask.key)
            case None:
                return False  # They were sent to a page, and decide there.
        return True

    async def problems_of(
        self, record: TaskRecord, ask: OpenAsk, result: wire.ElicitResult
    ) -> tuple[str, ...]:
        """What is wrong with what is said to an ask, before it is said."""
        try:
            said = said_of(ask, result)
        except InvalidInput as error:
            return error.problems
        if not isinstance(said, Answer | Approval | Denial):
            return ()
        found = await self.engine.problems_of(record.task_id, said, owner=record.owner)
        return tuple(found)

    @asynccontextmanager
    async def waiting(self, *, task: bool = True) -> AsyncGenerator[None]:
        """A block that waits, for somebody or for a task, for as long as the server runs.

        Raises:
            NotAccepting: the server stops, or the engine closes.
        """
        try:
            async with self.stopping.patience():
                yield
        except (TimeoutError, NotAccepting):
            then = "the task goes on" if task else "call again"
            raise NotAccepting(f"the server stops; {then} when it is back") from None

    # --- showing ------------------------------------------------------------------------

    def tool_of(self, view: TaskView) -> Offered | None:
        """The tool that was called; None for a task that came another way."""
        return self.catalog.get(tool_name(view.events[0]))

    async def result(self, record: TaskRecord) -> wire.CallToolResult:
        """What a task that is over comes to.

        Raises:
            MCPError: it is a fault.
        """
        view = await self.engine.view(record.task_id, owner=record.owner)
        result = concluded(view, self.tool_of(view))
        if isinstance(result, wire.ErrorData):
            raise MCPError.from_error_data(result)
        return result

    async def detailed(self, record: TaskRecord, client: Client) -> Json:
        """How a task is, with its result or error once it is over."""
        view = tool = None
        if record.phase is Phase.RUNNING or record.phase in OVER:
            view = await self.engine.view(record.task_id, owner=record.owner)
            record, tool = view.record, self.tool_of(view)
        return self.shown.detailed(record, view, tool, client)


def asked_before(events: tuple[Event, ...], key: str) -> OpenAsk | None:
    """An ask as it was when it was asked, open or not."""
    for event in events:
        if event.trigger is Trigger.ASK and event.data["key"] == key:
            data = event.data
            return OpenAsk(
                key=key,
                kind=AskKind(data["kind"]),
                prompt=data["prompt"],
                schema=data["schema"],
                asked_at=event.at,
                due=data["due"],
                tool=data.get("tool"),
                arguments=data.get("arguments"),
                digest=data.get("digest"),
                allow_edit=bool(data.get("allow_edit", False)),
                approvers=tuple(data.get("approvers", ())),
            )
    return None
