"""What a service is made of: one YAML file, or the same as Python objects.

    config = load_config(Path("app.yaml"))
    config = Config(name="Travel", agent=book_a_flight, store="memory:")

Only `agent` must be said.  A file is trusted like code: it names modules, which are imported.
In its values `${NAME}` and `${NAME:-default}` stand for variables of the environment (see
`_yaml`), but for what everybody is shown: names, descriptions, instructions.  Paths in it are
relative to it.  `Config.shown` is what may be seen of it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import reduce
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final, Self, cast

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr, ValidationError

from interlock import JsonObject, JsonValue, Limits
from interlock.errors import InvalidInput
from interlock_adapters._shown.config import HIDDEN, Setting, as_written, references_of, shown
from interlock_adapters._yaml import Document, read
from interlock_adapters._yaml import Path as Place
from interlock_adapters.config._access import AuthConfig, JwtConfig, QuotaConfig, TokenConfig
from interlock_adapters.config._faults import faults_of
from interlock_adapters.config._parts import (
    FILE,
    A2AConfig,
    AgentConfig,
    AgentLike,
    FacesConfig,
    GrpcConfig,
    McpFaceConfig,
    McpSourceConfig,
    McpToolConfig,
    ModelConfig,
    Named,
    PoliciesLike,
    PostgresConfig,
    PushConfig,
    RetryConfig,
    SkillConfig,
)
from interlock_adapters.config._server import LogConfig, ServerConfig, TelemetryConfig

__all__ = [
    "A2AConfig",
    "AgentConfig",
    "AuthConfig",
    "Config",
    "FacesConfig",
    "GrpcConfig",
    "JwtConfig",
    "LogConfig",
    "McpFaceConfig",
    "McpSourceConfig",
    "McpToolConfig",
    "ModelConfig",
    "PostgresConfig",
    "PushConfig",
    "QuotaConfig",
    "RetryConfig",
    "ServerConfig",
    "ServiceConfig",
    "SkillConfig",
    "TelemetryConfig",
    "TokenConfig",
    "load_config",
]

SQLITE: Final = "sqlite:///"

#: What anybody may come to read: nothing of the environment belongs in it (T18).
_PUBLIC: Final = frozenset(
    {"name", "description", "title", "instructions", "examples", "tags", "organization", "prompt"}
)


def _is_store(text: object) -> object:
    if text == "memory":  # What people write first: the colon would have to be quoted.
        return "memory:"
    if isinstance(text, str):
        if text == "memory:" or (text.startswith(SQLITE) and len(text) > len(SQLITE)):
            return text
        # Nothing of its package is imported here: whether it is there is told with the engine.
        if text.partition("://")[1] and text.partition("://")[0] in shared_schemes():
            return text
    raise ValueError(f"{accepted_stores()} is accepted")


def shared_schemes() -> list[str]:
    """The schemes of stores that packages declare."""
    return sorted(other.name for other in entry_points(group="interlock.stores"))


def accepted_stores() -> str:
    """What a store's URL may be, in words."""
    others = "".join(f", {scheme}://..." for scheme in shared_schemes())
    return f"'memory:', sqlite:///path/to/file.db{others}"


class ServiceConfig(Setting):
    """How an engine is served: for `Service(engine, ...)`, where an engine is there already."""

    #: What it is called on its cards and pages.
    name: str = Field(default="agent", min_length=1)
    description: str = Field(default="An agent on Interlock.", min_length=1)
    version: str = Field(default="0.1.0", min_length=1)
    server: ServerConfig = ServerConfig()
    faces: FacesConfig = FacesConfig()
    auth: AuthConfig = AuthConfig()
    quotas: QuotaConfig = QuotaConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    log: LogConfig = LogConfig()

    #: The directory that paths are relative to, what the file says instead of its values, and
    #: the file itself.
    _base: Path = PrivateAttr(default=Path())
    _written: dict[Place, str] = PrivateAttr(default_factory=dict[Place, str])
    _environ: Mapping[str, str] = PrivateAttr(default_factory=lambda: os.environ)
    _document: Document | None = PrivateAttr(default=None)

    @property
    def base(self) -> Path:
        """The directory that paths, and modules, are relative to."""
        return self._base

    @property
    def environ(self) -> Mapping[str, str]:
        """Where keys are that are named by a variable."""
        return self._environ

    def path(self, path: str | Path) -> Path:
        """A path of this configuration, from where the process is."""
        return self._base / path

    def at(self, *place: str | int) -> str:
        """Where something is said, for whoever must mend it: `app.yaml:7: mcp.booking`."""
        named = ".".join(map(str, place))
        return f"{self._document.at(place)}: {named}" if self._document else named

    def _of_file(
        self, base: Path, document: Document, written: dict[Place, str], environ: Mapping[str, str]
    ) -> Self:
        self._base, self._document = base, document
        self._written, self._environ = written, environ
        return self

    def shown(self) -> JsonObject:
        """All of it as JSON, with what was not said as it comes, and without secrets.

        What the file takes from the environment is shown as the file has it.
        """
        whole = shown(self)
        assert isinstance(whole, dict), "a model is an object"
        for place, text in self._written.items():
            if isinstance(reduce(_within, place[:-1], cast("object", self)), AbstractSet):
                self._put_set(whole, place[:-1])
            else:
                _put(whole, place, text)
        return whole

    def _put_set(self, whole: JsonObject, place: Place) -> None:
        """Show a set as the file lists it: in what is shown, its values have other places."""
        assert self._document is not None, "it is of a file"
        listed = reduce(_within, place, cast("object", self._document.value))
        held = cast("list[JsonValue]", reduce(_within, place, cast("object", whole)))
        shown_as = HIDDEN if HIDDEN in held else None
        said = [
            _as_written(text, shown_as)
            if (text := self._written.get((*place, number))) is not None
            else shown_as or shown(item)
            for number, item in enumerate(cast("list[object]", listed))
        ]
        held[:] = sorted((item for n, item in enumerate(said) if item not in said[:n]), key=str)


class Config(ServiceConfig):
    """A whole service, as data; `Service.of` makes it."""

    #: Who does the work: `module:name`, a definition, or in code an agent or agents by name.
    agent: AgentLike
    #: Functions that it may call, which become the source `local`.
    tools: tuple[Named, ...] = ()
    #: Servers whose tools it may call, by the name of each source.
    mcp: dict[Annotated[str, Field(pattern=r"^[^/\s]+$")], McpSourceConfig] = Field(default={})
    #: By rule (`interlock.Policies`), or the file that has them.
    policies: PoliciesLike = Field(default={})
    #: Objects that have a say in every call (`interlock.Toolbox`).
    plugins: tuple[Named, ...] = ()
    #: Whether agents see tools as `source__name`.
    qualified: bool = False
    #: Tools that an agent brings itself, so that rules may name them.
    agent_tools: tuple[str, ...] = ()
    #: A lifecycle of one's own.
    lifecycle: Named | None = None
    limits: Limits = Limits()
    store: Annotated[str, BeforeValidator(_is_store)] = "sqlite:///interlock.db"
    #: How this process is a replica, where the store is `postgresql://...`.
    postgres: PostgresConfig = PostgresConfig()

    @property
    def store_url(self) -> str:
        """The store, with its path from where the process is."""
        if not self.store.startswith(SQLITE):
            return self.store
        return f"{SQLITE}{self.path(self.store.removeprefix(SQLITE))}"


def load_config(path: Path | str, *, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file; `environ` defaults to the process's own.

    Raises:
        InvalidInput: it is none; every fault with file and line, and what would be accepted.
        OSError: the file cannot be read.
    """
    path = Path(path)
    env = os.environ if environ is None else environ
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput([f"{path}: it is not written in UTF-8"]) from None
    plain = read(text, str(path), _AsWritten())
    other = read(text, str(path), _AsWritten("?"))
    unread: list[str] = []
    try:
        document = read(text, str(path), env)
    except InvalidInput as error:
        # What is not set is told together with all the rest.
        document, unread = plain, [*error.problems]
    if not isinstance(document.value, dict):
        raise InvalidInput(
            [*unread, f"{document.at(())}: a mapping is accepted, as agent: agent:book"]
        )
    written = dict(_written(other.value, plain.value, ()))
    faults = [
        f"{document.at(place)}: {'.'.join(map(str, place))}: it is shown to everybody, so nothing "
        "of the environment is put into it; write it out ($${ for a literal ${)"
        for place in written
        if not _PUBLIC.isdisjoint(map(str, place)) and not _is_named_so(place)
    ]
    try:
        config = Config.model_validate(document.value, context=FILE)
    except ValidationError as error:
        unsound = faults_of(error, document, Config)
        raise InvalidInput(_in_order([*unread, *faults, *unsound], unread)) from None
    if unread or faults:
        raise InvalidInput([*unread, *faults])
    return config._of_file(path.parent, document, written, env)  # noqa: SLF001  it is of this module


def _in_order(faults: list[str], unread: list[str]) -> list[str]:
    """By line; of a line whose value could not be read, nothing more is said."""
    silent = {_line_of(fault) for fault in unread}
    said = [fault for fault in faults if fault in unread or _line_of(fault) not in silent]
    return sorted(said, key=_line_of)


def _line_of(fault: str) -> tuple[str, int]:
    """The file and line that a fault begins with."""
    found = re.match(r"(.*?):(\d+): ", fault)
    return (found[1], int(found[2])) if found else ("", 0)


def _is_named_so(place: Place) -> bool:
    """Whether the words are somebody's names: of a source, of a header, of a token's owner."""
    return place[0] in {"mcp", "auth", "limits", "store", "server"} and "policies" not in place


class _AsWritten(Mapping[str, str]):
    """An environment in which every variable holds the reference to it, perhaps marked."""

    def __init__(self, mark: str = "") -> None:
        self._mark: Final = mark

    def __getitem__(self, name: str) -> str:
        return f"{self._mark}${{{name}}}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _written(value: JsonValue, written: JsonValue, place: Place) -> Iterator[tuple[Place, str]]:
    """Where the two differ: there the environment is asked."""
    match value, written:
        case dict(), dict():
            for name, item in value.items():
                yield from _written(item, written[name], (*place, name))
        case list(), list():
            for number, item in enumerate(value):
                yield from _written(item, written[number], (*place, number))
        case _, str() if value != written:
            yield place, written
        case _:
            pass


def _as_written(text: str, shown_as: JsonValue) -> str:
    """What the file says there, and of a secret only where it is from."""
    return references_of(text) if shown_as == HIDDEN else as_written(text)


def _within(value: object, step: str | int) -> object:
    """What is there, one step further in; None: nothing is."""
    match value:
        case BaseModel():
            fields = type(value).model_fields.items()
            named = [name for name, field in fields if step in {name, field.alias}]
            return getattr(value, named[0]) if named else None
        case Mapping():
            return cast("Mapping[object, object]", value).get(step)
        case tuple() | list():
            items = cast("Sequence[object]", value)
            return items[step] if isinstance(step, int) and step < len(items) else None
        case _:
            return None


def _put(whole: JsonObject, place: Place, text: str) -> None:
    """Set a value deep inside, if there is such a place in what is shown."""
    within = cast("JsonValue", reduce(_within, place[:-1], cast("object", whole)))
    match within, place[-1]:
        case dict(), str(name) if name in within and within[name] is not None:
            within[name] = _as_written(text, within[name])
        case list(), int(number) if number < len(within):
            within[number] = _as_written(text, within[number])
        case _:
            pass
