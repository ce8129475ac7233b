"""Asking while a call is open: the handshake era, in which a server may ask its client.

Whoever answers first has answered: when that is somebody else, the question is taken back.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import mcp_types as wire
from mcp.shared.message import ServerMessageMetadata

from interlock import OVER, OpenAsk, TaskRecord
from interlock.errors import AnswerInvalid, InvalidInput, Refused
from interlock_adapters.mcp._desk import Desk
from interlock_adapters.mcp._errors import needs_elicitation
from interlock_adapters.mcp._forms import elicitation_of
from interlock_adapters.mcp._progress import followed
from interlock_adapters.mcp._settings import Request
from interlock_adapters.mcp._status import Client, with_problems

#: Times that the same question is put to somebody whose answers do not fit.
ROUNDS_MAX: Final = 20


class Live:
    """Asks the client of a call that is open."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk

    async def put(self, request: Request, asked: wire.ElicitRequest) -> wire.ElicitResult:
        """What the client says to one question.

        Raises:
            MCPError: it says that it cannot answer.
        """
        about = ServerMessageMetadata(related_request_id=request.request_id)
        return await request.session.send_request(asked, wire.ElicitResult, metadata=about)

    async def over(self, request: Request, record: TaskRecord, client: Client) -> TaskRecord:
        """Wait until the task is over, and put its questions to the client meanwhile.

        Raises:
            MCPError: the client cannot be asked, and nobody else is there to decide.
            NotAccepting: the engine closes before that.
        """
        try:
            async with asyncio.TaskGroup() as asking:
                return await _Conversation(self._desk, self, request, client, asking).over(record)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None


class _Conversation:
    """One call that is open, and the questions that are put to its client."""

    def __init__(
        self,
        desk: Desk,
        live: Live,
        request: Request,
        client: Client,
        asking: asyncio.TaskGroup,
    ) -> None:
        self._desk: Final = desk
        self._live: Final = live
        self._request: Final = request
        self._client: Final = client
        self._asking: Final = asking
        self._asked: Final[dict[str, asyncio.Task[None]]] = {}

    async def over(self, record: TaskRecord) -> TaskRecord:
        """See `Live.over`."""
        ended = record
        async for ended in followed(self._desk.engine, record, self._request):
            if ended.phase not in OVER:
                self._ask(ended)
        for one in self._asked.values():
            one.cancel()
        return ended

    def _ask(self, record: TaskRecord) -> None:
        """Put every question that is new, and take back those that somebody else answered.

        Raises:
            MCPError: the client cannot be asked, and nobody else is there to decide.
        """
        for key, one in self._asked.items():
            if record.ask(key) is None:
                one.cancel()
        if self._desk.is_stuck(record, self._client):
            raise needs_elicitation()
        for ask in self._desk.questions(record, self._client):
            if ask.key not in self._asked:
                self._asked[ask.key] = self._asking.create_task(self._put(record, ask))

    async def _put(self, record: TaskRecord, ask: OpenAsk) -> None:
        """Put one question until what is said to it fits."""
        console = self._desk.shown.console(record) if self._client.by_url else None
        asked = elicitation_of(ask, console=console, version=self._client.version)
        problems: Sequence[str] = ()
        for _ in range(ROUNDS_MAX):
            replied = await self._live.put(self._request, with_problems(asked, problems))
            try:
                said = await self._desk.say(record, ask, replied, token=None)
            except (InvalidInput, AnswerInvalid) as error:
                problems = error.problems
                continue
            except Refused:
                return  # Somebody else was quicker.
            if said or isinstance(asked.params, wire.ElicitRequestURLParams):
                return
            problems = ["nothing was decided"]
        raise InvalidInput([f"{ROUNDS_MAX} answers did not fit: {'; '.join(problems)}"])
