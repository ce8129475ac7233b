"""What a deployment says about its MCP face.  Read once, at the edge."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import mcp_types as wire
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import principal_components
from mcp.server.context import ServerRequestContext
from pydantic import BaseModel, ConfigDict, Field, field_validator

from interlock.forms import FormLike
from interlock_adapters._callers.principal import ANONYMOUS, Principal
from interlock_adapters._http.origin import Host, Origin
from interlock_adapters._http.paths import PATH
from interlock_adapters.mcp._principal import PrincipalToken

Request: TypeAlias = ServerRequestContext[Any, Any]
#: Names the owner of whatever a request is about; raises an MCPError to turn it away.
OwnerOf: TypeAlias = Callable[[Request], str]
#: Whether a call may, or must, become a task of the Tasks extension.
TaskUse: TypeAlias = Literal["never", "optional", "required"]


def owner_by_token(_request: Request) -> str:
    """Whose the access token is (see `Principal.owner`), or `ANONYMOUS` without one.

    A token that another verifier than an authenticator of ours took is of its subject and its
    issuer, if that is known; without a subject it is that of a client.

    Raises:
        PermissionError: the token names nobody.
    """
    token = get_access_token()
    if token is None:
        return ANONYMOUS
    if isinstance(token, PrincipalToken):
        return token.principal.owner
    client, issuer, subject = principal_components(token)
    name = subject or client
    if name in {"", ANONYMOUS}:
        # Else a credential could be made that opens every anonymous task.
        raise PermissionError("the access token names nobody")
    return Principal(name, issuer=issuer or "", client=not subject).owner


class _Setting(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class McpTool(_Setting):
    """One agent of the engine, or one skill of it, as a tool of MCP.

    `input` is a pydantic model, another type that makes an object, or a JSON schema; the
    agent finds the arguments in `task.input.data`.  Without one the tool takes a text,
    `message`, which the agent finds in `task.input.text`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    #: As MCP wants names of tools (SEP-986).
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,64}$")]
    description: str = Field(min_length=1)
    title: str | None = None
    #: Which of the engine's agents it is; None is the first.
    agent: str | None = None
    input: FormLike | None = None
    #: What it gives: checked when the task is over.  None is anything.
    output: FormLike | None = None
    annotations: wire.ToolAnnotations | None = None
    #: `required` refuses clients that do not speak the Tasks extension.
    tasks: TaskUse = "optional"
    #: Arguments that are asked for when a call comes without them, before there is a task.
    ask_first: tuple[str, ...] = ()
    #: Whether what the task showed on its way is part of its result.
    artifacts: bool = True

    @field_validator("input", "output")
    @classmethod
    def _is_form(cls, given: FormLike | None) -> FormLike | None:
        if given is None or isinstance(cast("object", given), dict | type):
            return given
        raise ValueError("a type or a JSON schema is accepted")


class McpSettings(_Setting):
    """What a deployment says about its MCP face.  Times are seconds."""

    name: str = Field(min_length=1)
    version: str = Field(default="0.1.0", min_length=1)
    title: str | None = None
    description: str | None = None
    #: For the language model of the host: when to use these tools.
    instructions: str | None = None
    #: Empty: one for each agent of the engine, that takes a text.
    tools: tuple[McpTool, ...] = ()
    owner_of: OwnerOf = owner_by_token
    #: How long a client should wait from one `tasks/get` to the next.
    poll_s: float = Field(default=1.0, gt=0)
    #: Where people decide in a browser, with `{task_id}` for the task: then an authorisation is
    #: asked for by sending them there, and a call waits although its client cannot be asked.
    console_url: str | None = Field(default=None, pattern="^https?://")
    #: Also the tasks of 2025-11-25 (SEP-1686), which were an experiment.
    experimental_tasks: bool = False
    #: Tasks that one `subscriptions/listen` may name.
    listen_tasks_max: int = Field(default=256, ge=1)
    #: Where the endpoint is, over HTTP.
    path: str = Field(default="/mcp", pattern=PATH)
    #: Where clients reach this server over HTTP.
    url: str = Field(default="http://127.0.0.1:8000", pattern="^https?://")
    #: As for A2A: further names of this server, and sites whose pages may call.
    allowed_hosts: tuple[Host, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    #: Bytes and values (members, elements) of one request.
    body_bytes_max: int = Field(default=4 * 1_048_576, ge=1)
    body_values_max: int = Field(default=20_000, ge=1)
    #: Sessions of the handshake era open at once, of all and of one caller, and seconds until an
    #: idle one is closed.
    sessions_max: int = Field(default=10_000, ge=1)
    sessions_per_owner_max: int = Field(default=1_000, ge=1)
    session_idle_s: float = Field(default=1_800.0, gt=0)
