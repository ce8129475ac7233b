"""What the MCP face is told about who may call."""

from typing import Final

from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter
from starlette.routing import BaseRoute

from interlock_adapters._callers.base import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    Authenticator,
    issuers_of,
    user_by,
)
from interlock_adapters.mcp._principal import PrincipalToken, token_of

#: To the letter: clients compare it with what the issuer calls itself (RFC 8414 §3.3), and by
#: itself pydantic puts a slash behind a name without a path.
_ISSUER: Final = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))


class Verifier:
    """Verifies tokens for the MCP SDK by an authenticator."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator: Final = authenticator

    async def verify_token(self, token: str) -> PrincipalToken | None:
        """See `TokenVerifier`; None for a token that is no good, or cannot be checked now."""
        try:
            user = await user_by(self._authenticator, {"authorization": f"Bearer {token}"})
        except (AuthenticationFailed, AuthenticationUnavailable):
            return None
        return None if user is None else token_of(user.principal)


def resource_of(url: str, path: str) -> AnyHttpUrl:
    """The endpoint as a resource, by the URL of the service."""
    return AnyHttpUrl(url.rstrip("/") + path)


def resource_routes(authenticator: Authenticator, resource: AnyHttpUrl) -> list[BaseRoute]:
    """The metadata of the protected resource (RFC 9728), if issuers can be named."""
    issuers = issuers_of(authenticator)
    if not issuers:
        return []
    named = [_ISSUER.validate_python(url) for url in issuers]
    return [*create_protected_resource_routes(resource, named)]


def metadata_url(authenticator: Authenticator, resource: AnyHttpUrl) -> str | None:
    """Where that metadata is."""
    return str(build_resource_metadata_url(resource)) if issuers_of(authenticator) else None


def sdk_settings(authenticator: Authenticator, resource: AnyHttpUrl) -> AuthSettings:
    """The SDK's own settings; without an issuer there is nothing to tell clients."""
    issuers = issuers_of(authenticator)
    return AuthSettings(
        issuer_url=_ISSUER.validate_python(issuers[0]) if issuers else resource,
        resource_server_url=resource if issuers else None,
        # The authenticator checks the audience.
        validate_token_resource=False,
    )
