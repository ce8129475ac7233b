"""The parts of a configuration; `Config` has them all.

Nothing here imports a protocol or an agent library: a face that is off needs no extra.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
    model_validator,
)

from interlock import JsonObject, Policy
from interlock_adapters._http.paths import OWN_PATHS, PATH
from interlock_adapters._shown.config import Setting

#: The context in which what a file says is validated.
FILE: Final = "file"
#: What a place in a file is called that names a thing of Python.
IMPORT: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
#: Characters of instructions, which are in every prompt.
INSTRUCTIONS_CHARS_MAX: Final = 65_536

_Word: TypeAlias = Annotated[str, Field(min_length=1)]
_Seconds: TypeAlias = Annotated[float, Field(gt=0)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65_535)]
_HttpUrl: TypeAlias = Annotated[str, Field(pattern=r"^https?://[^/\s]+\S*$")]
_Header: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z!#$%&'*+.^_`|~-]+$")]
_EnvName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
#: `module:name`: a thing of Python.
ImportPath: TypeAlias = Annotated[str, Field(pattern=IMPORT)]


def _is_path_or_object(given: object) -> object:
    """A thing of Python, given itself or by its `module:name`."""
    if given is None or isinstance(given, bool | int | float | dict | list):
        raise ValueError("a module:name is accepted, as shop.tools:book")
    return given


def _by_kind(given: object) -> str:
    return "<path>" if isinstance(given, str) else "<object>"


#: In code the thing itself will do, too.
Named: TypeAlias = Annotated[
    Annotated[ImportPath, Tag("<path>")]
    | Annotated[Any, BeforeValidator(_is_path_or_object), Tag("<object>")],
    Discriminator(_by_kind),
]


# --- the agent ----------------------------------------------------------------------------


class ModelConfig(Setting):
    """The model of an agent of smolagents."""

    #: `openai` is whatever speaks that protocol; a `module:name` makes or is a Model.
    provider: Annotated[str, Field(pattern=f"^openai$|{IMPORT}")] = "openai"
    #: What the provider calls it.
    id: _Word
    #: Where it is served, for all that is not OpenAI itself.
    api_base: _HttpUrl | None = None
    #: The variable of the environment that holds the key; None for servers without.
    api_key_env: _EnvName | None = None


class AgentConfig(Setting):
    """An agent of smolagents, by what it is made of."""

    model: ModelConfig
    #: Added to what the library tells the model; they can be changed while it runs.
    instructions: str = Field(default="", max_length=INSTRUCTIONS_CHARS_MAX)
    #: Steps of one run until the agent must have an answer.
    max_steps: int = Field(default=20, ge=1)
    #: What happens at the last step without an answer: see `SmolAgent`.
    on_max_steps: Literal["fail", "answer"] = "fail"
    #: A CodeAgent, which runs code that a model wrote in this very process.
    allow_code: bool = False


def _is_agent(given: object) -> object:
    if callable(given) or (isinstance(given, Mapping) and given):
        return cast("object", given)
    raise ValueError(
        "a module:name is accepted, or a definition: {model: {id: gpt-5-mini, "
        "api_key_env: OPENAI_API_KEY}, instructions: ...}"
    )


def _kind_of_agent(given: object) -> str:
    if isinstance(given, str):
        return "<path>"
    if isinstance(given, AgentConfig):
        return "<definition>"
    if isinstance(given, dict):
        agents = cast("dict[str, object]", given).values()
        # In code also agents by name.
        return "<object>" if agents and all(map(callable, agents)) else "<definition>"
    return "<object>"


#: An agent, or agents by name, or where they are, or what one is made of.
AgentLike: TypeAlias = Annotated[
    Annotated[ImportPath, Tag("<path>")]
    | Annotated[AgentConfig, Tag("<definition>")]
    | Annotated[Any, BeforeValidator(_is_agent), Tag("<object>")],
    Discriminator(_kind_of_agent),
]


# --- its tools ----------------------------------------------------------------------------


def _kind_of_rules(given: object) -> str:
    return "<file>" if isinstance(given, str | Path) else "<rules>"


#: Policies by rule, or the file that has them.
PoliciesLike: TypeAlias = Annotated[
    Annotated[Path, Tag("<file>")] | Annotated[dict[str, Policy], Tag("<rules>")],
    Discriminator(_kind_of_rules),
]


class RetryConfig(Setting):
    """How often a server of tools is tried, and how long: see `McpLimits`."""

    attempts: int = Field(default=5, ge=1)
    backoff_first_s: _Seconds = 0.5
    backoff_max_s: _Seconds = 30.0
    connect_s: _Seconds = 20.0
    answer_bytes_max: int = Field(default=67_108_864, ge=1)


class McpSourceConfig(Setting):
    """A server whose tools the agent may call: see `McpServer`."""

    HIDDEN_FIELDS: ClassVar[frozenset[str]] = frozenset({"command"})

    url: _HttpUrl | None = None
    command: tuple[_Word, ...] | None = Field(default=None, min_length=1)
    #: Variables of the environment of the command.
    env: dict[_EnvName, SecretStr] = Field(default={})
    #: Sent with every request.
    headers: dict[_Header, SecretStr] = Field(default={})
    #: Headers of a task's own request that go with its calls; no others do.
    pass_through: tuple[_Header, ...] = ()
    #: Start without it if it is not there, and look for it until it is.
    optional: bool = False
    shared: bool = True
    era: Literal["auto", "legacy", "modern"] = "auto"
    retry: RetryConfig = RetryConfig()
    #: By tool of this server (`*` for all of them), or a file that has them so.
    policies: PoliciesLike = Field(default={})

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("one of url and command is accepted")
        if self.url is None and (self.headers or self.pass_through):
            raise ValueError("headers and pass_through go with a url only")
        if self.command is None and self.env:
            raise ValueError("env goes with a command only")
        return self


# --- its faces ----------------------------------------------------------------------------


class SkillConfig(Setting):
    """One thing that the agent is good at, as its card says it."""

    id: _Word
    name: _Word
    description: _Word
    tags: tuple[_Word, ...] = Field(default=("agent",), min_length=1)
    examples: tuple[str, ...] = ()
    input_modes: tuple[str, ...] = ()
    output_modes: tuple[str, ...] = ()


#: Every address of a machine.
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  as said


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class GrpcConfig(Setting):
    """A port for A2A over gRPC."""

    #: An IPv6 address may be in brackets.
    host: _Word = "127.0.0.1"
    port: Port = 50_051
    #: As clients reach it; None is `host:port`, with the host of the service's own URL for
    #: every address.
    url: _Word | None = None
    #: Files of a certificate and its key; without them it speaks plain text.
    certificate: Path | None = None
    key: Path | None = None

    @property
    def address(self) -> str:
        """What it listens on."""
        return _address(self.host.strip("[]"), self.port)

    def public_url(self, service: str) -> str:
        """As clients reach it, who reach the service by that URL.

        What is bound to every address is not called by that.
        """
        if self.url is not None:
            return self.url
        host = self.host.strip("[]")
        if host in _EVERYWHERE:
            host = urlsplit(service).hostname or host
        return _address(host, self.port)

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class PushConfig(Setting):
    """Push notifications of A2A: see `WebhookSettings`."""

    allow_http: bool = False
    allow_private_targets: bool = False
    ports: frozenset[Port] | None = None
    timeout_s: float = Field(default=10.0, gt=0, le=30.0)
    connect_s: _Seconds = 5.0
    signing_keys: tuple[SecretStr, ...] = ()


def _switch(make: Callable[[], Setting]) -> BeforeValidator:
    """True is the part as it comes, False is none of it."""

    def switched(given: object, info: ValidationInfo) -> object:
        match given:
            case True:
                return make()
            case False:
                return None
            case None if info.context != FILE:  # There nobody could tell what it means.
                return None
            case dict() | Setting():
                return cast("object", given)
            case _:
                raise ValueError("true, false or a mapping is accepted")

    return BeforeValidator(switched)


class A2AConfig(Setting):
    """The A2A face: see `A2ASettings`; what is not said is as for the service."""

    name: _Word | None = None
    description: _Word | None = None
    skills: tuple[SkillConfig, ...] = ()
    #: Tenants that a request may name.
    tenants: frozenset[str] = frozenset()
    grpc: Annotated[GrpcConfig | None, _switch(GrpcConfig)] = None
    push: Annotated[PushConfig | None, _switch(PushConfig)] = None
    v0_3: bool = True
    streaming: bool = True
    rpc_path: str = Field(default="/a2a/rpc", pattern=PATH)
    rest_path: str = Field(default="/a2a", pattern=PATH)
    organization: str | None = None
    organization_url: _HttpUrl | None = None
    documentation_url: _HttpUrl | None = None
    icon_url: _HttpUrl | None = None
    #: Words by which a text confirms what its policy lets be confirmed `by_text`.
    approve_words: frozenset[str] = frozenset()
    deny_words: frozenset[str] = frozenset()
    body_bytes_max: int = Field(default=4 * 1_048_576, ge=1)
    body_values_max: int = Field(default=20_000, ge=1)


class McpToolConfig(Setting):
    """An agent as a tool of MCP: see `McpTool`."""

    name: str = Field(pattern=r"^[A-Za-z0-9_./-]{1,64}$")
    description: _Word
    title: str | None = None
    agent: str | None = None
    #: JSON schemas of what it takes, and gives.
    input: JsonObject | None = None
    output: JsonObject | None = None
    tasks: Literal["never", "optional", "required"] = "optional"
    ask_first: tuple[str, ...] = ()


class McpFaceConfig(Setting):
    """The MCP face: see `McpSettings`."""

    path: str = Field(default="/mcp", pattern=PATH)
    title: str | None = None
    instructions: str | None = None
    tools: tuple[McpToolConfig, ...] = ()
    experimental_tasks: bool = False
    sessions_max: int = Field(default=10_000, ge=1)
    sessions_per_owner_max: int = Field(default=1_000, ge=1)
    session_idle_s: _Seconds = 1_800.0
    body_bytes_max: int = Field(default=4 * 1_048_576, ge=1)
    body_values_max: int = Field(default=20_000, ge=1)


class FacesConfig(Setting):
    """How the service can be reached: each is on unless it says false."""

    a2a: Annotated[A2AConfig | None, _switch(A2AConfig)] = A2AConfig()
    mcp: Annotated[McpFaceConfig | None, _switch(McpFaceConfig)] = McpFaceConfig()
    #: Under /manage.
    management: bool = True
    #: Under /console.
    console: bool = True

    @model_validator(mode="after")
    def _is_apart(self) -> Self:
        paths: dict[str, str] = {}
        if self.a2a is not None:
            paths |= {"a2a.rpc_path": self.a2a.rpc_path, "a2a.rest_path": self.a2a.rest_path}
        if self.mcp is not None:
            paths["mcp.path"] = self.mcp.path
        taken: dict[str, str] = {}
        for name, path in paths.items():
            bare = path.rstrip("/")
            own = next((o for o in OWN_PATHS if bare == o or bare.startswith(f"{o}/")), None)
            if own is not None:
                raise ValueError(
                    f"{name}: {path} is at {own}, which is the service's own; "
                    "another path is accepted"
                )
            if bare in taken:
                raise ValueError(f"{name}: {path} is that of {taken[bare]}; another is accepted")
            taken[bare] = name
        return self


# --- where its tasks are ---------------------------------------------------------------------


class PostgresConfig(Setting):
    """A process on a PostgreSQL server that others may share: see `PostgresStore`."""

    #: That this process has at most, besides one to listen with and one to show that it lives.
    connections: int = Field(default=10, ge=1)
    #: How long a request waits for a server that is away.
    patience_s: float = Field(default=10.0, ge=0)
    #: Seconds between two signs of life.
    heartbeat_s: _Seconds = 1.0
    #: Silence after which another process takes over; the same in all of them.
    dead_after_s: _Seconds = 10.0

    @model_validator(mode="after")
    def _is_patient(self) -> Self:
        if self.dead_after_s <= 2 * self.heartbeat_s:
            raise ValueError("a dead_after_s of more than twice heartbeat_s is accepted")
        return self
