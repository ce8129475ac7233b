"""Bearer tokens that the service itself knows: what is kept of one is its hash."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import ClassVar, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from interlock._edge import NAME_BYTES_MAX, NAME_CHARS_MAX
from interlock._event import MACHINES, OWN
from interlock.errors import InvalidInput
from interlock.models import JsonObject
from interlock_adapters._callers.base import (
    AuthenticationFailed,
    bearer_of,
    checked,
    is_jwt,
)
from interlock_adapters._callers.principal import Principal, Role

#: What our tokens begin with, so that scanners for leaked secrets find them.
PREFIX: Final = "ilk_"
#: Bytes of chance in a token.
_RANDOM_BYTES: Final = 32
#: Characters of the shortest token that is taken: what is shorter can be guessed from its
#: hash, and is none of `new_token`.
TOKEN_CHARS_MIN: Final = 32
_HASH: Final = "sha256:"
#: What a subject may be, for whoever must write another one.
ACCEPTED: Final = (
    "a printable name is accepted that is not 'anonymous', nor one of the engine's own: "
    f"{', '.join(map(repr, sorted(MACHINES)))}, or with {OWN!r} before it; "
    f"with its issuer and tenant it has at most {NAME_CHARS_MAX} characters, and {NAME_BYTES_MAX} "
    "bytes in UTF-8"
)


def new_token() -> str:
    """A token with 256 bits of chance; keep what `hashed` makes of it, and give it away once."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hashed(token: str) -> str:
    """What is kept of a token, as the configuration has it.

    No salt and no stretching: both are for what people choose, and nobody finds 256 bits of
    chance by trying.

    Raises:
        InvalidInput: the token is shorter than `TOKEN_CHARS_MIN`.
    """
    if len(token) < TOKEN_CHARS_MIN:
        wanted = f"{TOKEN_CHARS_MIN} or more characters of chance are accepted"
        raise InvalidInput([f"the token has {len(token)} characters; {wanted}"])
    return _HASH + hashlib.sha256(token.encode()).hexdigest()


class TokenEntry(BaseModel):
    """One token, by its hash, and who shows it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    #: What `hashed` says: "sha256:" and 64 hexadecimal digits.
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    subject: str = Field(min_length=1, max_length=256)
    tenant: str = Field(default="", max_length=128)
    roles: frozenset[Role] = frozenset()
    #: How the person is called on pages.
    name: str = Field(default="", max_length=256)
    #: From then on it is not taken; with its zone.  None is never.
    expires_at: AwareDatetime | None = None

    @property
    def principal(self) -> Principal:
        """Who shows it."""
        return Principal(self.subject, tenant=self.tenant, roles=self.roles, name=self.name)


class BearerTokens:
    """Knows people by tokens whose hashes it was given."""

    schemes: Mapping[str, JsonObject] = MappingProxyType(
        {"bearer": {"type": "http", "scheme": "bearer"}}
    )

    def __init__(
        self,
        entries: Iterable[TokenEntry],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take the tokens of `entries`, until each expires.

        Raises:
            InvalidInput: two entries are of one token, or one is of nobody.
        """
        self._now: Final = now
        self._entries: Final[dict[str, TokenEntry]] = {}
        problems: list[str] = []
        for number, entry in enumerate(entries):
            if entry.hash in self._entries:
                problems.append(f"entry {number}: its token is that of another entry as well")
            self._entries[entry.hash] = entry
            try:
                checked(entry.principal)
            except AuthenticationFailed:
                problems.append(f"entry {number}: {entry.subject!r:.80} is nobody; {ACCEPTED}")
        if problems:
            raise InvalidInput(problems)

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`; a token that looks like a JWT is none of ours."""
        token = bearer_of(headers)
        if token is None or is_jwt(token):
            return None
        if len(token) < TOKEN_CHARS_MIN:
            raise AuthenticationFailed
        said = hashed(token)
        entry = self._entries.get(said)
        # Whoever measures the look-up learns about a hash, and can steer no hash.
        if entry is None or not hmac.compare_digest(entry.hash, said):
            raise AuthenticationFailed
        if entry.expires_at is not None and entry.expires_at <= self._now():
            raise AuthenticationFailed
        return entry.principal
