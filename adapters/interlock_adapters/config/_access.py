"""The parts of a configuration that say who may call, and how much."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, Field

from interlock import JsonObject
from interlock_adapters._callers.quota import QuotaSettings
from interlock_adapters._shown.config import Setting
from interlock_adapters.config._parts import Named

_Word: TypeAlias = Annotated[str, Field(min_length=1)]
_RoleName: TypeAlias = Literal["approver", "operator", "auditor"]
_Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


def _is_hash(text: str) -> str:
    if re.fullmatch("sha256:[0-9a-f]{64}", text) is None:
        raise ValueError("the hash of a token is accepted (sha256:...); interlock token makes one")
    return text


class TokenConfig(Setting):
    """One bearer token, by its hash: `interlock token` makes both."""

    HIDDEN_FIELDS: ClassVar[frozenset[str]] = frozenset({"hash"})

    #: `sha256:` and hexadecimal digits.
    hash: Annotated[str, AfterValidator(_is_hash)]
    subject: str = Field(min_length=1, max_length=256)
    tenant: str = Field(default="", max_length=128)
    roles: frozenset[_RoleName] = frozenset()
    name: str = Field(default="", max_length=256)
    #: From then on it is not taken, as "2027-01-31T00:00:00Z"; None is never.
    expires_at: AwareDatetime | None = None


class JwtConfig(Setting):
    """Tokens that an issuer signs: see `interlock_adapters.auth.JwtSettings`."""

    issuer: _Word
    audience: tuple[_Word, ...] = Field(min_length=1)
    jwks_url: str | None = Field(default=None, pattern="^https?://")
    keys: JsonObject | None = None
    algorithms: tuple[_Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    leeway_s: float = Field(default=30.0, ge=0, le=300)
    required_claims: tuple[_Word, ...] = ()
    tenant: str = ""
    tenant_claim: str | None = None
    roles_claim: str = "roles"
    roles: dict[str, _RoleName] | None = None
    name_claim: str = "name"


class AuthConfig(Setting):
    """Who may call; nothing in it is an open door, which only this machine has."""

    tokens: tuple[TokenConfig, ...] = ()
    #: A YAML file with more of them, as a list.
    tokens_file: Path | None = None
    jwt: tuple[JwtConfig, ...] = ()
    #: `module:name` of an authenticator of one's own, or the thing itself.
    custom: Named | None = None

    @property
    def is_on(self) -> bool:
        """Whether a credential is asked for."""
        return bool(self.tokens or self.jwt or self.tokens_file or self.custom)


class QuotaConfig(Setting, QuotaSettings):
    """How much may be called: see `QuotaSettings`, whose fields it has."""
