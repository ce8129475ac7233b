"""Where a Restate server is, and how this process takes part: what a `restate:` URL says."""

import math
import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

from interlock.errors import InvalidInput

Register: TypeAlias = Literal["yes", "no", "force"]

#: Goes up when the handlers change such that a journal begun by the old ones cannot be gone on
#: with by the new: a part of the URL that is registered, which stands for one version of them.
HANDLERS_VERSION: Final = 1

_ADMIN_PORT: Final = 9070
_INGRESS_PORT: Final = 8080
_SERVE: Final = "127.0.0.1:9080"
_PROJECTION: Final = "sqlite:///interlock.db"
_NAMES: Final = frozenset(
    {
        *("admin", "tls", "projection", "serve", "public", "namespace", "register", "share"),
        *("inactivity", "abort", "identity"),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL says.  Times are in seconds."""

    #: Base URLs of the server: where calls come in, and where it is administered.
    ingress: str
    admin: str
    #: URL of the store that lists, logs and streams are read from; may hold a password.
    projection: str = field(repr=False)
    #: Address that the handlers are served at; None serves none, and takes no turns.
    serve: tuple[str, int] | None
    #: URL of it as the server reaches it, without the path; None is `http://` with the address.
    public: str | None
    #: Begins the name of each service: engines that are no replicas of each other differ in it.
    namespace: str
    register: Register
    #: Whether several processes of one machine listen at the same address.
    share: bool
    #: After how long a silence of a handler Restate asks it to let go, and then cuts it off.
    inactivity_s: float
    abort_s: float
    #: Public keys of the server: a request that none of them signed is turned away.
    identity: tuple[str, ...]

    @property
    def path(self) -> str:
        """The path below which the handlers are served."""
        return f"/{self.namespace}/{HANDLERS_VERSION}"

    @property
    def step_s(self) -> float:
        """Seconds for which a step of a turn waits: a server that hears of none cuts it off."""
        return min(5.0, self.inactivity_s / 3)


def place_of(url: str) -> Place:
    """What the URL says.

    Raises:
        InvalidInput: it is no such URL; its parts that may hold a password are not repeated.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _INGRESS_PORT
    except ValueError:
        raise InvalidInput(["the store's URL is not restate://host:port?..."]) from None
    if parts.scheme != "restate" or not parts.hostname or parts.path not in {"", "/"}:
        raise InvalidInput(["the store's URL is not restate://host:port?..."])
    if parts.username is not None or parts.fragment:
        raise InvalidInput(["the store's URL has a user or fragment: Restate knows neither"])
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    said = dict(pairs)
    unknown = sorted(said.keys() - _NAMES)
    if unknown or len(said) != len(pairs):
        names = ", ".join(sorted(_NAMES))
        raise InvalidInput([f"the store's URL has options that are not among, once each: {names}"])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = "https" if _flag(said, "tls") else "http"
    serve = said.get("serve", _SERVE)
    return Place(
        ingress=f"{scheme}://{host}:{port}",
        admin=_base(said, "admin") or f"{scheme}://{host}:{_ADMIN_PORT}",
        projection=_projection(said.get("projection", _PROJECTION)),
        serve=None if serve == "off" else _address(serve),
        public=_base(said, "public"),
        namespace=_namespace(said.get("namespace", "Interlock")),
        register=_register(said.get("register", "yes")),
        share=_flag(said, "share"),
        inactivity_s=_seconds(said, "inactivity", 15.0),
        abort_s=_seconds(said, "abort", 15.0),
        identity=tuple(key for key in said.get("identity", "").split(",") if key),
    )


def _flag(said: dict[str, str], name: str) -> bool:
    value = said.get(name, "0")
    if value not in {"0", "1"}:
        raise InvalidInput([f"{name} in the store's URL is neither 0 nor 1"])
    return value == "1"


def _seconds(said: dict[str, str], name: str, default: float) -> float:
    try:
        value = float(said.get(name, default))
    except ValueError:
        value = math.nan
    if not 0.5 <= value <= 86_400.0:  # noqa: PLR2004  said below
        accepted = "0.5 to 86400 seconds are accepted"
        raise InvalidInput([f"{name} in the store's URL is no such time; {accepted}"])
    return value


def _base(said: dict[str, str], name: str) -> str | None:
    value = said.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
        raise InvalidInput([f"{name} in the store's URL is not http://host:port"])
    return value.rstrip("/")


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:  # noqa: PLR2004
        raise InvalidInput(["serve in the store's URL is neither host:port nor 'off'"])
    return host.strip("[]"), int(port)


def _namespace(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", value):
        accepted = "a letter and up to 63 further letters, digits and _ are accepted"
        raise InvalidInput([f"namespace in the store's URL is no such name; {accepted}"])
    return value


def _register(value: str) -> Register:
    if value not in {"yes", "no", "force"}:
        raise InvalidInput(["register in the store's URL is none of yes, no, force"])
    return cast("Register", value)


def _projection(value: str) -> str:
    if value.startswith("restate:"):
        raise InvalidInput(["projection in the store's URL is a Restate server, not a store"])
    return value
