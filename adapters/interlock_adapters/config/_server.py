"""The parts of a configuration that say where a service listens, and what it tells of itself."""

from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from interlock_adapters._http.origin import Host, Origin
from interlock_adapters._shown.config import Setting
from interlock_adapters.config._parts import Port


def _is_address(text: str) -> str:
    try:
        is_one = urlsplit(text).port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("an address is accepted, as https://agent.example or http://host:8000")
    return text


#: Where the service is: what its cards and links begin with.
_ServiceUrl: TypeAlias = Annotated[
    str, Field(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$"), AfterValidator(_is_address)
]
#: A name or a number; an IPv6 address may be in brackets.
_ListenHost: TypeAlias = Annotated[str, Field(pattern=r"^[^/\s]+$")]


class LogConfig(Setting):
    """What is written about what happens."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    #: One JSON object for each line.
    json_lines: bool = Field(default=False, alias="json")


class TelemetryConfig(Setting):
    """Spans and metrics through OpenTelemetry, if the extra is there."""

    #: Spans and metrics go to whatever the process has set up.
    on: bool = False
    #: Metrics at /metrics, for whoever may see all tasks.
    prometheus: bool = False
    #: Attributes that Langfuse reads.
    langfuse: bool = False
    #: Also what was said: inputs, arguments, results.
    content: bool = False


class ServerConfig(Setting):
    """Where it listens; the command line may say otherwise."""

    host: _ListenHost = "127.0.0.1"
    port: Port = 8000
    #: As clients reach it, perhaps with a path; None is `http://host:port`.
    url: _ServiceUrl | None = None
    #: As for A2A: further names of this server, and sites whose pages may call.
    allowed_hosts: tuple[Host, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    #: Serve other machines although nobody is asked for a credential.
    dangerously_open_to_everyone: bool = False

    @property
    def public_url(self) -> str:
        """As clients reach it, without a slash at the end."""
        bound = self.host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(bound, bound)  # noqa: S104  what is bound is not what is called
        named = f"[{host}]" if ":" in host else host
        return (self.url or f"http://{named}:{self.port}").rstrip("/")
