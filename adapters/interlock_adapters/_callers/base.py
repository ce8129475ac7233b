"""Who may call: what turns a request's credentials into a principal, whatever the protocol.

An `Authenticator` is asked with the headers of a request (over gRPC: its metadata), before
anything else of the application runs.  What it raises says nothing about the credential.
"""

import logging
import re
from collections.abc import Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from starlette.authentication import BaseUser
from starlette.requests import HTTPConnection

from interlock._edge import name_problems
from interlock.models import JsonObject
from interlock_adapters._callers.principal import ANONYMOUS, Principal, Role

_log: Final = logging.getLogger("interlock.auth")

#: Characters of one token; none that anybody makes is near it.
TOKEN_CHARS_MAX: Final = 16_384

#: RFC 6750 §2.1: what stands behind the scheme, and nothing else does.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
#: Characters of the three parts of a JWT.
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class AuthenticationFailed(Exception):
    """The credential is no good.  Why is never told to whoever shows it."""

    def __init__(self) -> None:
        """Always the same words."""
        super().__init__("the credential is not accepted")


class AuthenticationUnavailable(Exception):
    """Nobody can tell now whether the credential is good: the keys cannot be had, say."""

    def __init__(self, retry_after_s: float = 10.0) -> None:
        """`retry_after_s`: when it is worth asking again."""
        self.retry_after_s: Final = retry_after_s
        super().__init__("credentials cannot be checked now")


class Authenticator(Protocol):
    """Knows who shows a credential of some kind."""

    @property
    def schemes(self) -> Mapping[str, JsonObject]:
        """What it takes, by name, as security schemes of OpenAPI; any of them is enough."""
        ...

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Who calls, by the headers of a request, whose names are in lower case.

        None: there is no credential of its kind.  A header that was given several times is
        one text, with commas; a credential is never that.

        Raises:
            AuthenticationFailed: there is one, and it is no good.
            AuthenticationUnavailable: it cannot be checked now.
        """
        ...


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The token of an `Authorization: Bearer`; None if there is no such header.

    Raises:
        AuthenticationFailed: it is no token, or longer than `TOKEN_CHARS_MAX`.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = token.strip(" ")
    if len(token) > TOKEN_CHARS_MAX or _TOKEN.fullmatch(token) is None:
        raise AuthenticationFailed
    return token


def is_jwt(token: str) -> bool:
    """Whether a token has the shape of a JWT, which no token of ours has."""
    return _JWT.fullmatch(token) is not None


def checked(principal: Principal) -> Principal:
    """The principal, if a credential may name it.

    Raises:
        AuthenticationFailed: it is nobody, or the anonymous, or no owner of tasks can be
            made of it.
    """
    owner = principal.owner
    if (
        not principal.subject
        # Else a credential could be made that opens every anonymous task.
        or ANONYMOUS in {owner, principal.subject}
        # Names of the engine's own, which act for nobody and answer nothing, and too long ones.
        or name_problems({"owner": owner}, needed="owner")
        # Control characters and halves of characters: they are logged, shown and stored.
        or not owner.isprintable()
    ):
        raise AuthenticationFailed
    return principal


class TrustLocal:
    """Asks for no credential: whoever reaches the service may do everything, as one person.

    It is for a machine whose users all trust each other: `Authentication` lets in only what
    comes from the machine itself, unless it is told `dangerously_open_to_everyone`.
    """

    schemes: Mapping[str, JsonObject] = MappingProxyType({})

    def __init__(
        self, roles: Iterable[Role] = Role, *, dangerously_open_to_everyone: bool = False
    ) -> None:
        """`roles` are everybody's."""
        self.open_to_everyone: Final = dangerously_open_to_everyone
        self.principal: Final = Principal(ANONYMOUS, roles=frozenset(roles))

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The one that everybody is."""
        del headers
        return self.principal


class AnyOf:
    """Takes what any of several authenticators takes.

    They are for different kinds of credential.  A request that shows credentials of two
    persons, or one that is no good beside one that is, is refused.
    """

    def __init__(self, *authenticators: Authenticator) -> None:
        """Ask each of them.

        Raises:
            ValueError: there is none, or one that asks for no credential.
        """
        if not authenticators or any(trusting(one) is not None for one in authenticators):
            raise ValueError("one or more authenticators that ask for a credential are accepted")
        self._authenticators: Final = authenticators
        self._schemes: Final[dict[str, JsonObject]] = {}
        for one in authenticators:
            for name, scheme in one.schemes.items():
                self._schemes[_free(name, scheme, self._schemes)] = scheme

    @property
    def schemes(self) -> Mapping[str, JsonObject]:
        """What all of them take."""
        return self._schemes

    @property
    def issuers(self) -> tuple[str, ...]:
        """See `issuers_of`."""
        return tuple(name for one in self._authenticators for name in issuers_of(one))

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`."""
        found: Principal | None = None
        for one in self._authenticators:
            principal = await one.authenticate(headers)
            if principal is not None and found not in {None, principal}:
                raise AuthenticationFailed
            found = principal or found
        return found


#: Where an issuer says how tokens are come by (OIDC), below itself.
_DISCOVERY: Final = "/.well-known/openid-configuration"


def discovery_of(issuer: str) -> str:
    """Where an issuer says how tokens are come by."""
    return issuer.rstrip("/") + _DISCOVERY


def issuers_of(authenticator: Authenticator) -> tuple[str, ...]:
    """Where clients get tokens that are taken: issuers that say how.

    An authenticator that has `issuers` names them to the letter, as clients compare them.  Of
    another it is known by its schemes, and not whether there is a slash at the end.
    """
    named: object = getattr(authenticator, "issuers", None)
    if isinstance(named, tuple):
        return cast("tuple[str, ...]", named)
    urls = [str(scheme.get("openIdConnectUrl", "")) for scheme in authenticator.schemes.values()]
    return tuple(url.removesuffix(_DISCOVERY) for url in urls if url.endswith(_DISCOVERY))


def _free(name: str, scheme: JsonObject, taken: Mapping[str, JsonObject]) -> str:
    """The name of a scheme, with a number if another one has it."""
    names = (name, *(f"{name}{number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if taken.get(free, scheme) == scheme)


def trusting(authenticator: Authenticator | None) -> TrustLocal | None:
    """The authenticator, if it is one that asks for no credential."""
    return authenticator if isinstance(authenticator, TrustLocal) else None


class PrincipalUser(BaseUser):
    """A principal as starlette has users.  What prints it shows no more than the owner."""

    def __init__(self, principal: Principal, *, authenticated: bool = True) -> None:
        """Not `authenticated` is whoever showed no credential, where none is asked for."""
        self.principal: Final = principal
        self._authenticated: Final = authenticated

    @property
    def is_authenticated(self) -> bool:
        """Whether a credential was shown."""
        return self._authenticated

    @property
    def display_name(self) -> str:
        """Whose its tasks are, since that is what faces make of a user's name."""
        return self.principal.owner

    @property
    def identity(self) -> str:
        """Whose its tasks are."""
        return self.principal.owner


async def user_by(authenticator: Authenticator, headers: Mapping[str, str]) -> PrincipalUser | None:
    """Who calls; None if there is no credential.

    Raises:
        AuthenticationFailed, AuthenticationUnavailable: as for `Authenticator`.
    """
    try:
        principal = await authenticator.authenticate(headers)
    except (AuthenticationFailed, AuthenticationUnavailable):
        raise
    except Exception as error:  # noqa: BLE001  foreign code, whose words may quote a credential
        _log.error("an authenticator raised %s", type(error).__name__)
        raise AuthenticationUnavailable from None
    if principal is None:
        return None
    if trusting(authenticator) is not None:
        return PrincipalUser(principal, authenticated=False)
    return PrincipalUser(checked(principal))


async def still_is(
    authenticator: Authenticator, headers: Mapping[str, str], user: PrincipalUser
) -> bool:
    """Whether a request would be let in once more, as the very same principal."""
    try:
        now = await user_by(authenticator, headers)
    except (AuthenticationFailed, AuthenticationUnavailable):
        return False
    return now is not None and now.principal == user.principal


def principal_of(connection: HTTPConnection | MutableMapping[str, Any]) -> Principal:
    """Who makes a request that has passed `Authentication`; a request, or its scope.

    Raises:
        AuthenticationFailed: it has not, or to a path that is public.
    """
    scope = connection.scope if isinstance(connection, HTTPConnection) else connection
    user = scope.get("user")
    if not isinstance(user, PrincipalUser):
        raise AuthenticationFailed
    return user.principal
