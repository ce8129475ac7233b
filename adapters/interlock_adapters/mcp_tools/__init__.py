"""MCP servers as sources of tools: streamable HTTP of both eras, and stdio.

    tools = Toolbox([McpServer("weather", url="https://weather.example/mcp")])
    engine = Engine(agent, tools=tools)

What a server asks for becomes an ask of the task whose call it is, and the answer flows back.
Nothing is sent twice: a call whose connection breaks fails, and the next one connects anew.
What is mapped to what is in specs/mcp_tools.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

from interlock import (
    Clock,
    JsonObject,
    JsonValue,
    Part,
    SystemClock,
    Tool,
    ToolResult,
    ToolUse,
    Unfinished,
)
from interlock.errors import InvalidInput, SourceUnavailable, ToolError

try:
    import mcp_types as wire
    from mcp import MCPError, StdioServerParameters
    from mcp.server.lowlevel import Server
    from mcp.server.mcpserver import MCPServer
    from pydantic import ValidationError

    from interlock_adapters.mcp_tools._ask import questions_of, responses_of
    from interlock_adapters.mcp_tools._connections import Connections
    from interlock_adapters.mcp_tools._content import INLINE_CHARS_MAX, chars_of, result_of
    from interlock_adapters.mcp_tools._http import header_problems, name_problems
    from interlock_adapters.mcp_tools._leg import Answer, Leg
    from interlock_adapters.mcp_tools._limits import McpLimits
    from interlock_adapters.mcp_tools._remote import Remote, unfinished_of
    from interlock_adapters.mcp_tools._target import (
        MODES,
        Address,
        Command,
        Era,
        InProcess,
        Target,
    )
    from interlock_adapters.mcp_tools._task import Created
    from interlock_adapters.mcp_tools._token import AgainToken, InputToken, TaskToken, token_of
    from interlock_adapters.mcp_tools._wait import pause
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.mcp_tools needs the mcp extra: pip install 'interlock[mcp]'",
        name=_missing.name,
    ) from _missing

__all__ = ["Era", "McpLimits", "McpServer"]

#: How often in a row a server may want to be asked again without asking anything itself.
ROUNDS_MAX: Final = 100
#: Seconds before it is asked again, at first and at most.
ROUND_FIRST_S: Final = 0.1
ROUND_MAX_S: Final = 10.0


class McpServer:
    """The tools of one MCP server, which is behind a URL, a command, or in this process.

    `headers` go with every request; of those that a task's requests carried, the ones named in
    `pass_through` go with that task's calls, on a connection of their own.  `optional`: start
    without its tools if it is not there, and look for it until it is.

    Over pipes in the handshake era, with several calls open at once, nobody knows whose call a
    question of the server's belongs to, and it is refused; `shared=False` gives every call its
    own connection, and process.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        command: Sequence[str] | StdioServerParameters | None = None,
        server: MCPServer | Server[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        pass_through: Iterable[str] = (),
        shared: bool = True,
        optional: bool = False,
        era: Era = "auto",
        limits: McpLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        fixed = {key.lower(): value for key, value in (headers or {}).items()}
        passed = frozenset(key.lower() for key in pass_through)
        target = _target_of(url, command, server)
        problems = [
            *_name_problems(name),
            *header_problems(fixed),
            *(problem for key in sorted(passed) for problem in name_problems(key)),
            *_target_problems(target, has_headers=bool(fixed or passed)),
            *([] if era in MODES else [f"era {era!r:.80} is none of {', '.join(MODES)}"]),
        ]
        if problems:
            raise InvalidInput([f"MCP server {name!r:.80}: {problem}" for problem in problems])
        assert target is not None, "that is one of the problems"
        self._name: Final = name
        self._target: Final = target
        self._pass_through: Final = passed
        #: Without the caller's own, a call would be made in the service's name.
        self._callers_own: Final = passed & fixed.keys()
        self._optional: Final = optional
        self._clock: Final = clock or SystemClock()
        self._connections: Final = Connections(
            name,
            target,
            fixed,
            mode=MODES[era],
            shared=shared,
            limits=limits or McpLimits(),
            clock=self._clock,
        )

    def __repr__(self) -> str:
        """Without its headers, and what else may be a secret."""
        return f"McpServer({self._name!r}, {self._target})"

    @property
    def name(self) -> str:
        """Its name in this service."""
        return self._name

    async def open(self) -> None:
        """See `ToolSource`."""
        await self._connections.start(optional=self._optional)

    async def close(self) -> None:
        """See `ToolSource`."""
        await self._connections.stop()

    @property
    def available(self) -> bool:
        """Whether it was there when it was last looked for."""
        return self._connections.available

    def tools(self) -> Sequence[Tool]:
        """See `ToolSource`."""
        return self._connections.tools

    async def refresh(self, check: Callable[[Sequence[Tool]], None]) -> None:
        """See `interlock.Refreshable`."""
        await self._connections.refresh(check)

    async def call(
        self, tool: Tool, arguments: JsonObject, use: ToolUse
    ) -> ToolResult | Unfinished:
        """See `ToolSource`."""
        return await self._called(tool, arguments, use, InputToken(), None)

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolResult | Unfinished:
        """See `ToolSource`."""
        match token_of(token):
            case InputToken() as kept:
                if not kept.asked:
                    await pause(self._clock, _round_s(kept.rounds))
                responses = responses_of(self._name, kept.asked, answers)
                return await self._called(tool, arguments, use, kept, responses)
            case AgainToken(asked=asked):
                responses = responses_of(self._name, asked, answers)
                if any(response.action != "accept" for response in responses.values()):
                    declined = Part(text="the person who was asked declined")
                    return ToolResult(parts=(declined,), is_error=True)
                return await self._called(tool, arguments, use, InputToken(), None)
            case TaskToken() as kept:
                carried = self._carried(use)
                outcome = await Remote(self._connections, kept, carried, use).waited(answers)
                if isinstance(outcome, Unfinished):
                    return outcome
                return await self._result(outcome, use, carried)

    async def _called(
        self,
        tool: Tool,
        arguments: JsonObject,
        use: ToolUse,
        kept: InputToken,
        responses: Mapping[str, wire.ElicitResult] | None,
    ) -> ToolResult | Unfinished:
        carried = self._carried(use)
        state = kept.request_state
        answer = await self._answered(tool, arguments, use, carried, state, responses)
        match answer:
            case Unfinished():
                return answer
            case wire.CallToolResult():
                return await self._result(answer, use, carried)
            case wire.InputRequiredResult():
                return self._asked(answer, kept)
            case Created():
                return unfinished_of(answer)
            case _:
                assert_never(answer)

    async def _answered(
        self,
        tool: Tool,
        arguments: JsonObject,
        use: ToolUse,
        carried: Mapping[str, str],
        state: str | None,
        responses: Mapping[str, wire.ElicitResult] | None,
    ) -> Answer | Unfinished:
        hidden = partial(self._connections.hidden, carried=carried)
        for again in (False, True):
            async with self._connections.borrowed(carried) as link:
                if (responses or state) and not link.is_modern:
                    raise ToolError(f"MCP server {self._name!r} went back to an older protocol")
                try:
                    leg = Leg(self._name, use, link, hidden)
                    return await leg.call(
                        tool.name, arguments, responses=dict(responses or {}) or None, state=state
                    )
                except MCPError as error:
                    if again or not link.forgot(error):
                        return self._refusal(error, carried)
                    # It was restarted, and did nothing: the protocol's word is to begin anew.
                    link.lose()
                except ValidationError:
                    raise ToolError(
                        f"MCP server {self._name!r} answered what is no result of a tool"
                    ) from None
        raise AssertionError("the second try returns or raises")

    def _refusal(self, error: MCPError, carried: Mapping[str, str]) -> Unfinished:
        """What an error is for the call.

        Raises:
            ToolError: the server refuses the call.
            SourceUnavailable: it may be gone.
        """
        why = self._connections.words_of(error, carried)
        match error.code:
            case wire.URL_ELICITATION_REQUIRED:
                return self._sent_away(error)
            case wire.CONNECTION_CLOSED:
                raise SourceUnavailable(self._name, why) from None
            case wire.INVALID_PARAMS | wire.METHOD_NOT_FOUND:
                self._connections.list_again()  # the tool may be gone, or another now
            case wire.INTERNAL_ERROR | 0:  # the SDK's code for whatever a tool raised
                why = f"it failed ({error.code})"
            case _:
                pass
        raise ToolError(f"MCP server {self._name!r}: {why}") from None

    def _sent_away(self, error: MCPError) -> Unfinished:
        try:
            wanted = wire.ElicitationRequiredErrorData.model_validate(error.data, by_name=False)
        except ValidationError:
            raise ToolError(f"MCP server {self._name!r} sends people nowhere") from None
        requests = {
            f"page {number}": wire.ElicitRequest(params=params)
            for number, params in enumerate(wanted.elicitations, start=1)
        }
        questions, asked = questions_of(self._name, requests)
        return Unfinished(questions=questions, token=AgainToken(asked=asked).to_json())

    def _asked(self, answer: wire.InputRequiredResult, kept: InputToken) -> Unfinished:
        questions, asked = questions_of(self._name, answer.input_requests or {})
        rounds = 0 if questions else kept.rounds + 1
        if rounds > ROUNDS_MAX:
            raise ToolError(f"MCP server {self._name!r} comes to no end")
        token = InputToken(request_state=answer.request_state, asked=asked, rounds=rounds)
        return Unfinished(questions=questions, token=token.to_json())

    async def _result(
        self, result: wire.CallToolResult, use: ToolUse, carried: Mapping[str, str]
    ) -> ToolResult:
        if chars_of(result) <= INLINE_CHARS_MAX:
            made = result_of(self._name, result)
        else:
            made = await use.on_thread(partial(result_of, self._name, result))
        if not made.is_error:
            return made  # It is what was asked for, whatever is in it.
        hidden = partial(self._connections.hidden, carried=carried)
        said = made.model_dump(mode="json", exclude_unset=True)
        return ToolResult.model_validate(_cleaned(said, hidden))

    def _carried(self, use: ToolUse) -> dict[str, str]:
        """What of the task's request is passed on.

        Raises:
            ToolError: it cannot be sent.
        """
        carried = {key: use.carried[key] for key in self._pass_through if key in use.carried}
        if missing := sorted(self._callers_own - carried.keys()):
            raise ToolError(
                f"MCP server {self._name!r} needs the caller's own {', '.join(missing)}, which is "
                "not kept over a restart: any message that answers the task brings it anew"
            )
        if problems := header_problems(carried):
            raise ToolError(f"MCP server {self._name!r}: {'; '.join(problems)}")
        return carried


def _cleaned(said: JsonValue, hidden: Callable[[str], str]) -> JsonValue:
    """What a server says of a failure, without what we sent in confidence."""
    match said:
        case str():
            return hidden(said)
        case list():
            return [_cleaned(each, hidden) for each in said]
        case dict():
            return {hidden(name): _cleaned(each, hidden) for name, each in said.items()}
        case _:
            return said


def _round_s(rounds: int) -> float:
    return min(ROUND_FIRST_S * 2.0 ** max(rounds - 1, 0), ROUND_MAX_S)


def _target_of(
    url: str | None,
    command: Sequence[str] | StdioServerParameters | None,
    server: MCPServer | Server[Any] | None,
) -> Target | None:
    match url, command, server:
        case str(), None, None:
            return Address(url)
        case None, StdioServerParameters(), None:
            return Command(command)
        case None, [str(program), *arguments], None:
            return Command(StdioServerParameters(command=program, args=arguments))
        case None, None, MCPServer() | Server():
            return InProcess(server)
        case _:
            return None


def _name_problems(name: str) -> list[str]:
    return [] if name and "/" not in name else ["a name has at least a letter, and no slash"]


def _url_problems(url: str) -> list[str]:
    if not _is_address(url):
        return ["its url is no http or https address"]
    is_bare = "@" not in urlsplit(url).netloc
    return [] if is_bare else ["put credentials into headers, not the url"]


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # Half an address of version 6, or a port that is none.
        return False


def _target_problems(target: Target | None, *, has_headers: bool) -> list[str]:
    match target:
        case None:
            what = "a command is a list, of a program and its arguments"
            return [f"give one of url, command and server; {what}"]
        case Address(url):
            return _url_problems(url)
        case Command() | InProcess():
            return ["headers go with a url only"] if has_headers else []
