"""Tokens of an identity provider: JWTs, whose signature and claims PyJWT verifies.

A token is of this authenticator if it says that it is of its issuer.  Then its signature must
be of one of the issuer's keys, by an algorithm that is on the list (none of which takes a
shared secret), and it must be for our audience, of now, and of somebody.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

import httpx
import jwt
from jwt.exceptions import PyJWTError
from pydantic import BaseModel, ConfigDict, Field

from interlock.errors import InvalidInput
from interlock.models import JsonObject
from interlock_adapters._callers.base import (
    AuthenticationFailed,
    bearer_of,
    checked,
    discovery_of,
    is_jwt,
)
from interlock_adapters._callers.principal import Principal, Role
from interlock_adapters.auth._jwks import Jwks, Keeping, keys_of, pick

_log: Final = logging.getLogger("interlock.auth")

#: All of them are signed with a private key: none is "none", none is an HMAC.
Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
#: What a token must say, whoever made it.
_REQUIRED: Final = ("iss", "aud", "exp", "sub")
#: Characters of a subject, a tenant or a name.
_NAME_CHARS_MAX: Final = 256
#: Roles of one token that are looked at.
_ROLES_MAX: Final = 1_000


class JwtSettings(BaseModel):
    """Whose tokens are taken, and what their claims mean here.  Times are seconds."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    #: As the tokens' `iss` has it, to the letter.
    issuer: str = Field(min_length=1)
    #: One of these must be in the tokens' `aud`: what is for another service is not for us.
    audience: tuple[str, ...] = Field(min_length=1)
    #: The issuer's keys are here; None: where its discovery document says (OIDC).
    jwks_url: str | None = None
    #: The keys themselves, as a JWK set, instead of a URL.
    keys: JsonObject | None = None
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    #: How far clocks may differ.
    leeway_s: float = Field(default=30.0, ge=0, le=300)
    #: Claims that a token must have, besides those that it always must.
    required_claims: tuple[str, ...] = ()
    #: Tenant of everybody of this issuer, or the claim that names it, which a token must have
    #: then.  Neither: they are of the deployment itself, and their roles reach every task.
    tenant: str = ""
    tenant_claim: str | None = None
    #: Claim with a list of roles or a text of them; "a.b" is b in the object a.
    roles_claim: str = "roles"
    #: Our roles by theirs; None: they have the same names.  Others say nothing.
    roles: dict[str, Role] | None = None
    name_claim: str = "name"


class Jwt:
    """Knows people by the tokens of one issuer."""

    def __init__(
        self,
        settings: JwtSettings,
        *,
        keeping: Keeping | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take tokens as `settings` say.  `transport` takes the place of the network.

        Raises:
            InvalidInput: keys cannot come from there, or are none, or there are two ways to
                a tenant.
        """
        self.settings: Final = settings
        self._jwks: Jwks | None = None
        try:
            if settings.tenant and settings.tenant_claim:
                raise ValueError("either `tenant` or `tenant_claim` is accepted")  # noqa: TRY301
            if settings.keys is not None and settings.jwks_url is not None:
                raise ValueError("either `keys` or `jwks_url` is accepted")  # noqa: TRY301
            if settings.keys is not None:
                self._keys = keys_of(settings.keys)
            else:
                self._jwks = Jwks(
                    url=settings.jwks_url,
                    issuer=settings.issuer,
                    keeping=keeping,
                    transport=transport,
                )
        except ValueError as error:
            raise InvalidInput([f"tokens of {settings.issuer!r:.200}: {error}"]) from None
        ours = {role.value: role for role in Role}
        self._roles: Final = ours if settings.roles is None else settings.roles

    @property
    def schemes(self) -> Mapping[str, JsonObject]:
        """How clients come by tokens: from the issuer, if it says how."""
        if self.issuers:
            where = discovery_of(self.settings.issuer)
            return {"oidc": {"type": "openIdConnect", "openIdConnectUrl": where}}
        return {"jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}

    @property
    def issuers(self) -> tuple[str, ...]:
        """The issuer, to the letter, if it says how clients come by tokens."""
        is_found = self.settings.keys is None and self.settings.jwks_url is None
        return (self.settings.issuer,) if is_found else ()

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`; a token of another issuer is none of its kind."""
        token = bearer_of(headers)
        if token is None or not is_jwt(token):
            return None
        try:
            # What is not verified only says whose token it is, and which key verifies it.
            said = jwt.decode_complete(token, options={"verify_signature": False})
            if said["payload"].get("iss") != self.settings.issuer:
                return None
            if said["header"].get("alg") not in self.settings.algorithms:
                raise AuthenticationFailed
            claims = await self._verified(token, said["header"].get("kid"))
            return checked(self._principal(claims))
        # Beside its own errors PyJWT lets those of parsers through, for what nobody means well.
        except (PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            _log.info("a token was refused: %s", type(error).__name__)
            raise AuthenticationFailed from None

    async def _verified(self, token: str, key_id: object) -> Mapping[str, Any]:
        if key_id is not None and not isinstance(key_id, str):
            raise AuthenticationFailed
        if self._jwks is None:
            key = pick(self._keys, key_id)
            if key is None:
                raise AuthenticationFailed
        else:
            key = await self._jwks.key(key_id)
        settings = self.settings
        return jwt.decode(
            token,
            key,  # It has its own algorithm, and the token must be of that.
            algorithms=[*settings.algorithms],
            audience=[*settings.audience],
            issuer=settings.issuer,
            leeway=settings.leeway_s,
            options={"require": [*_REQUIRED, *settings.required_claims]},
        )

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        settings = self.settings
        tenant = settings.tenant
        if settings.tenant_claim is not None:
            tenant = _text(_claim(claims, settings.tenant_claim))
            if not tenant:
                # Without one it would be of the deployment, and reach every tenant's tasks.
                raise AuthenticationFailed
        return Principal(
            _text(claims["sub"]),
            issuer=settings.issuer,
            tenant=tenant,
            roles=frozenset(
                self._roles[name]
                for name in _names(_claim(claims, settings.roles_claim))
                if name in self._roles
            ),
            name=_text(_claim(claims, settings.name_claim)),
        )


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, or by its path; None if it is not there."""
    if name in claims:
        return claims[name]
    found: object = claims
    for step in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = cast("Mapping[str, object]", found).get(step)
    return found


def _text(said: object) -> str:
    """A short text; anything else is none."""
    return said if isinstance(said, str) and len(said) <= _NAME_CHARS_MAX else ""


def _names(said: object) -> Sequence[str]:
    if isinstance(said, str):
        said = said.split()
    if not isinstance(said, list):
        return ()
    return [name for name in cast("list[object]", said)[:_ROLES_MAX] if isinstance(name, str)]
