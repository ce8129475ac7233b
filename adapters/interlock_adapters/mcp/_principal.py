"""A principal as the MCP SDK has access tokens, and who a request of MCP is of.

Behind `Authentication` the SDK authenticates nobody a second time: it is told who calls, in
the shape that it binds sessions and the states of requests to.
"""

from typing import ClassVar, Final

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic import ConfigDict
from starlette.types import ASGIApp

from interlock_adapters._callers.base import PrincipalUser
from interlock_adapters._callers.principal import Principal
from interlock_adapters._http.asgi import Receive, Scope, Send


class PrincipalToken(AccessToken):
    """An access token that was verified, without the token."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    principal: Principal


def token_of(principal: Principal) -> PrincipalToken:
    """What the SDK is told of a principal."""
    return PrincipalToken(
        token="",
        # The SDK compares client, issuer and subject: the owner is all there is to compare.
        client_id=principal.owner,
        subject=principal.subject,
        claims={"iss": principal.issuer} if principal.issuer else None,
        scopes=[*principal.role_names],
        principal=principal,
    )


def principal_of_request() -> Principal | None:
    """Who makes the request that is being served, if one of our authenticators said so."""
    token = get_access_token()
    return token.principal if isinstance(token, PrincipalToken) else None


def roles_of_request() -> tuple[str, ...]:
    """The roles in which that acts."""
    principal = principal_of_request()
    return () if principal is None else principal.role_names


class Adopt:
    """Tells the SDK whom `Authentication`, which stands in front of it, has let in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = AuthContextMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        user = scope.get("user")
        if isinstance(user, PrincipalUser):
            scope = {**scope, "user": AuthenticatedUser(token_of(user.principal))}
        await self._app(scope, receive, send)
