"""What a deployment says about its A2A face.  Read once, at the edge."""

from collections.abc import Callable
from typing import Annotated, ClassVar, TypeAlias

from a2a.server.context import ServerCallContext
from a2a.types import AgentCard
from a2a.utils.errors import UnsupportedOperationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from interlock.models import JsonObject
from interlock_adapters._callers.principal import ANONYMOUS
from interlock_adapters._http.origin import Host, Origin
from interlock_adapters._http.paths import PATH
from interlock_adapters.vocabulary import Vocabulary

#: Names the owner of whatever a call is about; raises an A2A error to turn it away.
OwnerOf: TypeAlias = Callable[[ServerCallContext], str]
#: The card for one authenticated caller, made from a copy of the public one; None for none.
ExtendedCard: TypeAlias = Callable[[AgentCard, ServerCallContext], AgentCard | None]


def owner_by_name(context: ServerCallContext) -> str:
    """The authenticated user's name, or `ANONYMOUS`.

    Raises:
        UnsupportedOperationError: somebody authenticated as nobody.
    """
    if not context.user.is_authenticated:
        return ANONYMOUS
    name = context.user.user_name
    if name in {"", ANONYMOUS}:
        # Else a credential could be made that opens every anonymous task.
        raise UnsupportedOperationError("the credential names nobody")
    return name


#: The name of a header, as HTTP has them.
_Header: TypeAlias = Annotated[
    str, Field(pattern=r"^[0-9A-Za-z!#$%&'*+.^_`|~-]+$"), AfterValidator(str.lower)
]


class _Setting(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Skill(_Setting):
    """One thing that the agent is good at, as its card says it."""

    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    tags: tuple[str, ...] = Field(default=("agent",), min_length=1)
    examples: tuple[str, ...] = ()
    input_modes: tuple[str, ...] = ()
    output_modes: tuple[str, ...] = ()


class Extension(_Setting):
    """An extension of A2A that the agent speaks; with `required`, callers must too."""

    uri: str = Field(min_length=1)
    description: str = ""
    required: bool = False
    params: JsonObject = {}


class A2ASettings(_Setting):
    """What a deployment says about its A2A face."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    #: Which of the engine's agents runs the tasks (`Engine.agents`); None is the first.
    agent: str | None = None
    #: The agent's own version, not the protocol's.
    version: str = Field(default="0.1.0", min_length=1)
    #: Where clients reach this server; the card's URLs start with it.
    url: str = Field(default="http://127.0.0.1:8000", min_length=1)
    rpc_path: str = Field(default="/a2a/rpc", pattern=PATH)
    rest_path: str = Field(default="/a2a", pattern=PATH)
    #: Where clients reach `grpc_server`, as `host:port`; None leaves gRPC out of the card.
    grpc_url: str | None = None
    #: Also speak protocol version 0.3, on the same endpoints.
    v0_3: bool = True
    streaming: bool = True
    #: Webhooks of one task.
    push_configs_max: int = Field(default=16, ge=1)
    skills: tuple[Skill, ...] = ()
    #: Media types that messages may hold, and that results may have.
    input_modes: tuple[str, ...] = Field(default=("text/plain", "application/json"), min_length=1)
    output_modes: tuple[str, ...] = Field(default=("text/plain", "application/json"), min_length=1)
    extensions: tuple[Extension, ...] = ()
    organization: str | None = None
    organization_url: str | None = None
    documentation_url: str | None = None
    icon_url: str | None = None
    #: As the card's JSON has them: name → scheme, and one object per alternative.
    security_schemes: dict[str, JsonObject] = {}
    security_requirements: tuple[JsonObject, ...] = ()
    #: Makes the card for authenticated callers.
    extended_card: ExtendedCard | None = None
    #: Seconds for which a reader may keep the public card.
    card_max_age_s: int = Field(default=60, ge=0)
    owner_of: OwnerOf = owner_by_name
    #: Tenants that a request may name.  A name is a label: it opens nothing to its caller
    #: that `owner_of` does not.  Whoever `Authentication` let in by a credential may name the
    #: tenant of that and no other, whatever is said here.
    tenants: frozenset[str] = frozenset()
    #: Seconds that CancelTask waits for the turn to end before it answers "cancelling".
    cancel_wait_s: float = Field(default=2.0, ge=0)
    #: Bytes of one request.
    body_bytes_max: int = Field(default=4 * 1_048_576, ge=1)
    #: Values in one request: members, elements, parts.  Whoever raises it lets one request
    #: keep all others waiting for longer (specs/a2a.md, "Front door").
    body_values_max: int = Field(default=20_000, ge=1)
    #: Names besides that of `url` and the machine's own (localhost, 127.0.0.1, ::1) by which
    #: HTTP clients may call, without a port; "*" for any.
    allowed_hosts: tuple[Host, ...] = ()
    #: Headers of a message (over gRPC: metadata) whose values tools are told when they are
    #: called (`ToolUse.carried`): a credential to pass on, say.  They are kept in memory only.
    carry_headers: tuple[_Header, ...] = ()
    #: Words by which a text may confirm what its policy lets be confirmed `by_text`; None is
    #: that no text ever decides.
    vocabulary: Vocabulary | None = None
    #: Sites besides our own whose pages may call, as browsers name them: "https://a.example".
    allowed_origins: tuple[Origin, ...] = ()

    @property
    def rest_prefix(self) -> str:
        """What the paths of REST begin with: clients put a slash between it and the rest."""
        return self.rest_path.rstrip("/")
