"""Who may call: one authenticator, and the same principal behind every face.

    tokens = BearerTokens([TokenEntry(hash="sha256:...", subject="ada", roles={"approver"})])
    google = Jwt(JwtSettings(issuer="https://accounts.google.com", audience=("our-client",)))
    app = Authentication(app, AnyOf(tokens, google), public=["/healthz"])

`Authentication` is pure ASGI and stands in front of everything.  Behind it `principal_of` says
who calls; whose a task is, is `Principal.owner`, and so a token owns the same tasks over
A2A, MCP and the management API.  For gRPC give `grpc_server` the authenticator, and for MCP
`McpFace`.  `card_security` says on the agent card what is asked for.

Any other object with `schemes` and `authenticate` is an authenticator as well.
"""

try:
    from interlock_adapters._callers.asgi import Authentication, SignIn
    from interlock_adapters._callers.base import (
        AnyOf,
        AuthenticationFailed,
        AuthenticationUnavailable,
        Authenticator,
        PrincipalUser,
        TrustLocal,
        bearer_of,
        principal_of,
    )
    from interlock_adapters._callers.card import card_security
    from interlock_adapters._callers.open import OpenToEveryone, is_local, refuse_open
    from interlock_adapters._callers.principal import ANONYMOUS, Principal, Role
    from interlock_adapters.auth._bearer import BearerTokens, TokenEntry, hashed, new_token
    from interlock_adapters.auth._jwks import Keeping
    from interlock_adapters.auth._jwt import Algorithm, Jwt, JwtSettings
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.auth needs the auth extra: pip install 'interlock[auth]'",
        name=_missing.name,
    ) from _missing

__all__ = [
    "ANONYMOUS",
    "Algorithm",
    "AnyOf",
    "Authentication",
    "AuthenticationFailed",
    "AuthenticationUnavailable",
    "Authenticator",
    "BearerTokens",
    "Jwt",
    "JwtSettings",
    "Keeping",
    "OpenToEveryone",
    "Principal",
    "PrincipalUser",
    "Role",
    "SignIn",
    "TokenEntry",
    "TrustLocal",
    "bearer_of",
    "card_security",
    "hashed",
    "is_local",
    "new_token",
    "principal_of",
    "refuse_open",
]
