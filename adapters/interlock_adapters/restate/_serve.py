"""The handlers of this process, served over HTTP/2 to a Restate server."""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, cast

import restate
from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config
from restate import server

from interlock.errors import StoreError
from interlock_adapters.restate._url import Place

#: As many calls as there are: each turn that is out is one, for as long as it takes.
_MANY: Final = 2**31 - 1
#: Seconds for which a connection may be idle where workers share the address.
_IDLE_S: Final = 0.05
#: Seconds that calls have to end once it is closed; they go on elsewhere.
_CLOSING_S: Final = 0.2

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Scope]]
Send: TypeAlias = Callable[[Scope], Awaitable[None]]

_log: Final = logging.getLogger("interlock.restate")


class Door:
    """Serves the services at the address of a place, below its path, until it is closed."""

    def __init__(self, place: Place, services: list[restate.VirtualObject]) -> None:
        self._place: Final = place
        keys = list(place.identity)
        self._app: Final = restate.app(services, protocol="bidi", identity_keys=keys)
        self._closing: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> str:
        """Listen; the URL to register.

        Raises:
            StoreError: the address cannot be listened at.
        """
        place = self._place
        assert place.serve is not None
        host, port = place.serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if place.share:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            kind = type(error).__name__
            raise StoreError(f"the worker cannot listen at {host}:{port} ({kind})") from None
        bound: int = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.h2_max_concurrent_streams = _MANY
        config.keep_alive_max_requests = _MANY
        # Each new connection may find another of the workers that share the address.
        config.keep_alive_timeout = _IDLE_S if place.share else _MANY
        config.graceful_timeout = _CLOSING_S
        config.accesslog = config.errorlog = None
        loop = asyncio.get_running_loop()
        # Otherwise the SDK would take the signal away from whoever waits for it: it believes that
        # it has it already.
        hooks: Any = getattr(server, "_shutdown_hooks", {})
        hooks.setdefault(loop, {}).setdefault(signal.SIGTERM, [])
        self._task = loop.create_task(
            serve(cast("Any", self._answer), config, shutdown_trigger=self._closing.wait),
            name="restate worker",
        )
        base = place.public or f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        return base + place.path

    async def close(self) -> None:
        """Stop listening and cut off what is left."""
        self._closing.set()
        if self._task is not None:
            try:
                await self._task
            except Exception as error:  # noqa: BLE001  it is over in any case
                _log.warning("the worker's server ended with %s", type(error).__name__)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The handlers below their path, and nothing elsewhere."""
        path: str = scope.get("path", "")
        if scope["type"] == "http" and not path.startswith(self._place.path + "/"):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)
