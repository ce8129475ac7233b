"""What stands in front of every face over HTTP, as its settings say."""

from typing import Protocol

from starlette.middleware import Middleware

from interlock_adapters._http.asgi import BodyLimit
from interlock_adapters._http.origin import FrontDoor


class Guarded(Protocol):
    """Settings of a face: see `A2ASettings` and `McpSettings`."""

    @property
    def url(self) -> str:
        """Where clients reach it."""
        ...

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Further names of the server."""
        ...

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Sites whose pages may call."""
        ...

    @property
    def body_bytes_max(self) -> int:
        """Bytes of one request."""
        ...

    @property
    def body_values_max(self) -> int:
        """Values in one request."""
        ...


def front(settings: Guarded) -> tuple[Middleware, Middleware]:
    """The door, and behind it the limit of bodies."""
    door = Middleware(
        FrontDoor,
        url=settings.url,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
    )
    limit = Middleware(
        BodyLimit, max_bytes=settings.body_bytes_max, values_max=settings.body_values_max
    )
    return door, limit
