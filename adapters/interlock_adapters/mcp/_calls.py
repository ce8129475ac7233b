"""`tools/call`: a call becomes a task, and its caller waits for it or gets a handle.

A caller who waits is asked on the way: live, in the handshake era, or by `input_required`
rounds (2026-07-28).  The state of such a round is the id of the task and how far its log had
come, and nothing else: whatever it stands for is in the log, so it outlives the process.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import mcp_types as wire

from interlock import OVER, Answer, AskKind, Event, JsonObject, OpenAsk, Phase, TaskRecord
from interlock.errors import (
    AnswerInvalid,
    InvalidInput,
    NotAccepting,
    Refused,
    TokenReused,
    UnknownTask,
)
from interlock_adapters._callers.quota import note_miss
from interlock_adapters._tokens import OWN
from interlock_adapters.mcp._callers import Seat
from interlock_adapters.mcp._desk import Desk, asked_before
from interlock_adapters.mcp._errors import (
    ANSWERED,
    bad_state,
    invalid,
    needs_elicitation,
    needs_tasks,
)
from interlock_adapters.mcp._forms import elicitation_of, said_of
from interlock_adapters.mcp._live import Live
from interlock_adapters.mcp._progress import followed
from interlock_adapters.mcp._settings import Request
from interlock_adapters.mcp._status import (
    Client,
    Json,
    with_problems,
)
from interlock_adapters.mcp._tools import MESSAGE, Offered, tool_name

#: What is wrong with answers, by key: nothing.
_NONE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
#: Digits of a place in a log.
_SEQ_DIGITS_MAX: Final = 12
#: The key under which missing arguments are asked for.
ARGUMENTS: Final = "arguments"


class _State(NamedTuple):
    """What a `requestState` says."""

    task_id: str
    #: How far the task's log had come.
    seq: int

    def __str__(self) -> str:
        """As it is sent."""
        return f"{self.task_id}.{self.seq}"

    @classmethod
    def of(cls, given: str) -> "_State":
        """Read one.

        Raises:
            MCPError: it is none of ours.
        """
        task_id, _, seq = given.rpartition(".")
        if not task_id or not seq.isascii() or not seq.isdigit() or len(seq) > _SEQ_DIGITS_MAX:
            raise bad_state("the requestState is none of ours")
        return cls(task_id, int(seq))


class Calls:
    """Serves `tools/call` for the tools of one engine."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._live: Final = Live(desk)

    async def call(
        self, request: Request, params: wire.CallToolRequestParams, tool: Offered
    ) -> wire.CallToolResult | wire.InputRequiredResult | Json:
        """What a call comes to: a result, a round of questions, or the handle of a task.

        Raises:
            MCPError, EngineError: it is refused; there is no task.
        """
        owner, client = self._desk.owner(request), self._desk.client(request)
        arguments = cast("JsonObject", dict(params.arguments or {}))
        if client.modern and params.request_state is not None:
            record = await self._gone_on_with(params, tool, arguments, owner, client)
            if isinstance(record, wire.InputRequiredResult):
                return record
            return await self._rest(request, record, client, None)
        if tool.settings.tasks == "required" and not client.tasks:
            raise needs_tasks()
        if tool.missing(arguments):
            asked = await self._asked_first(request, params, tool, arguments, client)
            if asked is not None:
                return asked
        if problems := tool.problems(arguments):
            return refused(problems)
        seat = self._desk.seat(request, owner)
        handle = await self._desk.submit(seat, tool, arguments, owner)
        if client.tasks and tool.settings.tasks != "never":
            seat.told()
            seat.leave()
            return self._desk.shown.created(handle.record)
        return await self._rest(request, handle.record, client, seat)

    # --- before there is a task -----------------------------------------------------------

    async def _asked_first(
        self,
        request: Request,
        params: wire.CallToolRequestParams,
        tool: Offered,
        arguments: JsonObject,
        client: Client,
    ) -> wire.CallToolResult | wire.InputRequiredResult | None:
        """Ask for the arguments that are missing, and put them in; None once they are there.

        There is no task yet, and so no state: the client sends all of it again.
        """
        ask = _arguments_ask(tool, arguments)
        asked = elicitation_of(ask, version=client.version)
        if not client.by_form:
            raise needs_elicitation()
        if client.modern:
            replied = (params.input_responses or {}).get(ARGUMENTS)
        else:
            async with self._desk.waiting(task=False):
                replied = await self._live.put(request, asked)
        if not isinstance(replied, wire.ElicitResult):
            return wire.InputRequiredResult(input_requests={ARGUMENTS: asked})
        try:
            said = said_of(ask, replied)
        except InvalidInput as error:
            if client.modern:
                again = with_problems(asked, error.problems)
                return wire.InputRequiredResult(input_requests={ARGUMENTS: again})
            return refused(error.problems)
        if not isinstance(said, Answer):
            return refused([f"{', '.join(tool.missing(arguments))} was asked for, and not given"])
        arguments.update(cast("JsonObject", said.value))
        return None

    # --- a further round ------------------------------------------------------------------

    async def _gone_on_with(
        self,
        params: wire.CallToolRequestParams,
        tool: Offered,
        arguments: JsonObject,
        owner: str,
        client: Client,
    ) -> TaskRecord | wire.InputRequiredResult:
        """Take in what a further round of a call brings; the task as it is then.

        What was said to an ask in one round is said: the same again changes nothing, and
        something else is refused.

        Raises:
            MCPError: the state is none of this caller's, or of another call.
        """
        state = _State.of(params.request_state or "")
        try:
            view = await self._desk.engine.view(state.task_id, owner=owner)
        except UnknownTask:
            note_miss()
            raise bad_state("the requestState opens no call of this caller's") from None
        if state.seq > view.record.seq or not _is_same_call(view.events[0], tool, arguments):
            raise bad_state("the requestState is of another call")
        problems: dict[str, tuple[str, ...]] = {}
        for key, replied in (params.input_responses or {}).items():
            ask = asked_before(view.events[: state.seq], key)
            if ask is None or not isinstance(replied, wire.ElicitResult):
                continue  # It was not asked in that round, so it answers nothing.
            try:
                token = f"{OWN}mcp {state.task_id}/{key}"
                await self._desk.say(view.record, ask, replied, token=token)
            except (InvalidInput, AnswerInvalid) as error:
                problems[key] = error.problems
            except (Refused, TokenReused):
                now = await self._desk.engine.record(state.task_id, owner=owner)
                if now.ask(key) is not None:
                    raise
                if now.phase is Phase.CANCELLING or now.phase in OVER:
                    continue  # It has stopped, perhaps by an answer before this one.
                raise invalid(f"{key!r} is already answered", reason=ANSWERED) from None
        record = await self._desk.engine.record(state.task_id, owner=owner)
        if any(record.ask(key) for key in problems):
            return self._round(record, client, problems)
        return record

    # --- waiting --------------------------------------------------------------------------

    async def _rest(
        self, request: Request, record: TaskRecord, client: Client, seat: Seat | None
    ) -> wire.CallToolResult | wire.InputRequiredResult:
        """Wait until the task is over or asks its owner something, and tell which.

        Without a seat the call came with a state, and may come with it again.
        """
        try:
            ended = await self._waited(request, record, client, seat)
        except NotAccepting:
            if seat is not None:
                seat.leave()  # It is we who go, and the task goes on when we are back.
            raise
        except BaseException:
            # The caller has gone, or is told no more than an error.
            if seat is not None:
                self._desk.left(seat, record)
            raise
        if seat is not None:
            seat.leave()
        return ended if not isinstance(ended, TaskRecord) else await self._desk.result(ended)

    async def _waited(
        self, request: Request, record: TaskRecord, client: Client, seat: Seat | None
    ) -> TaskRecord | wire.InputRequiredResult:
        desk = self._desk
        try:
            async with desk.waiting():
                if client.modern:
                    record = await self._rested(request, record, client)
                else:
                    record = await self._live.over(request, record, client)
        except NotAccepting:
            if not client.modern:
                raise
            # The client comes again with it, and finds the task where it is then.
            round_ = wire.InputRequiredResult(request_state=str(_State(record.task_id, record.seq)))
        else:
            if record.phase in OVER:
                return record
            if desk.is_stuck(record, client):
                raise needs_elicitation()
            round_ = self._round(record, client)
        if seat is not None:
            seat.told()
        return round_

    async def _rested(self, request: Request, record: TaskRecord, client: Client) -> TaskRecord:
        """Wait until the task is over, or asks what this client, or nobody, can answer."""
        rested = record
        async for rested in followed(self._desk.engine, record, request):
            asks = self._desk.questions(rested, client) or self._desk.is_stuck(rested, client)
            if asks or rested.phase in OVER:
                break
        # What the agent asks at the same time comes in the same round.
        return await self._desk.engine.settled(rested.task_id, owner=rested.owner)

    def _round(
        self,
        record: TaskRecord,
        client: Client,
        problems: Mapping[str, tuple[str, ...]] = _NONE,
    ) -> wire.InputRequiredResult:
        """The questions that are open, and what to come back with."""
        asked: dict[str, Any] = {
            key: with_problems(request, problems.get(key, ()))
            for key, request in self._desk.shown.requests(
                record, self._desk.questions(record, client), client
            ).items()
        }
        return wire.InputRequiredResult(
            input_requests=asked, request_state=str(_State(record.task_id, record.seq))
        )


def _arguments_ask(tool: Offered, arguments: JsonObject) -> OpenAsk:
    """What a caller is asked who has left out arguments that are asked for."""
    whole = tool.form.schema
    fields = cast("JsonObject", whole["properties"])
    missing = tool.missing(arguments)
    schema: JsonObject = {
        "type": "object",
        "properties": {name: fields[name] for name in missing},
        "required": [*missing],
    }
    schema |= {name: whole[name] for name in ("$defs", "definitions") if name in whole}
    return OpenAsk(
        key=ARGUMENTS,
        kind=AskKind.INPUT,
        prompt=f"{tool.settings.title or tool.name} needs: {', '.join(missing)}.",
        schema=schema,
        asked_at=0.0,
        due=0.0,
    )


def _is_same_call(submitted: Event, tool: Offered, arguments: JsonObject) -> bool:
    """Whether a further round repeats the call that made the task, as it must."""
    if tool_name(submitted) != tool.name:
        return False
    parts: list[JsonObject] = submitted.data["parts"]
    part = parts[0] if len(parts) == 1 else {}
    if tool.settings.input is None:
        # Nothing else became the task, and what else there was nobody has kept.
        return arguments.get(MESSAGE) == part.get("text")
    before = part.get("data")
    if not isinstance(before, dict):
        return False
    first = tool.settings.ask_first
    return arguments == {
        name: value for name, value in before.items() if name in arguments or name not in first
    }


def refused(problems: "list[str] | tuple[str, ...]") -> wire.CallToolResult:
    """The arguments are wrong: told to the caller's model, which can mend them (SEP-1303)."""
    said = "; ".join(problems)
    return wire.CallToolResult(content=[wire.TextContent(text=said)], is_error=True)
