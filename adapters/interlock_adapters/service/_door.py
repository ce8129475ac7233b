"""The two doors of a service: the console's, which a cookie opens too, and that of all else."""

from typing import Final

from interlock_adapters._callers.asgi import path_of
from interlock_adapters._http.asgi import App, Receive, Scope, Send


class Doors:
    """Sends what is for the console through its own door.

    A cookie is sent by a browser whatever page makes it call, so it opens nothing but pages
    that are made for that.
    """

    def __init__(self, console: App, rest: App, below: str) -> None:
        """`below` is the path of the console."""
        self._console: Final = console
        self._rest: Final = rest
        self._below: Final = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        path = path_of(scope)
        is_page = path == self._below or path.startswith(f"{self._below}/")
        await (self._console if is_page else self._rest)(scope, receive, send)
