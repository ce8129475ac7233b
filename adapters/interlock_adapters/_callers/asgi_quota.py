"""Bounds how much each caller may ask for at once and over time: pure ASGI.

It stands behind `Authentication`, which says whose a request is, and in front of all else.
"""

from http import HTTPStatus
from typing import Final

from interlock_adapters._callers.base import PrincipalUser
from interlock_adapters._callers.quota import OverQuota, Quotas
from interlock_adapters._http.asgi import App, Message, Receive, Scope, Send, refuse


class Quota:
    """Lets each owner's requests through as far as its quota goes.

    A refusal is a problem (RFC 9457): 429 with `Retry-After` in seconds, and 503 where it is
    not the caller's own doing.
    """

    def __init__(self, app: App, quotas: Quotas) -> None:
        """Stand in front of `app`."""
        self._app: Final = app
        self._quotas: Final = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        user = scope.get("user")
        owner = user.principal.owner if isinstance(user, PrincipalUser) else None
        try:
            with self._quotas.request(owner) as charge:

                async def pass_on(message: Message) -> None:
                    # An endpoint that knows what was missed has said so itself.
                    if message.get("status") == HTTPStatus.NOT_FOUND and not charge.missed:
                        charge.miss()
                    await send(message)

                await self._app(scope, receive, pass_on)
        except OverQuota as error:
            later = [(b"retry-after", str(error.retry_after_whole_s).encode())]
            code = HTTPStatus.TOO_MANY_REQUESTS if error.own else HTTPStatus.SERVICE_UNAVAILABLE
            await refuse(send, code, str(error), later)
