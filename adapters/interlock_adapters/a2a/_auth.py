"""A principal as the A2A SDK has users."""

from typing import Final

from a2a.auth.user import UnauthenticatedUser, User
from a2a.server.routes.common import StarletteUser

from interlock_adapters._callers.base import PrincipalUser
from interlock_adapters._callers.principal import Principal
from interlock_adapters._http.asgi import Scope


class A2AUser(User):
    """Who calls.  What prints it shows nothing."""

    def __init__(self, user: PrincipalUser) -> None:
        self.principal: Final[Principal] = user.principal
        self._authenticated: Final = user.is_authenticated

    @property
    def is_authenticated(self) -> bool:
        """Whether a credential was shown."""
        return self._authenticated

    @property
    def user_name(self) -> str:
        """Whose the tasks are."""
        return self.principal.owner


def user_of_scope(scope: Scope) -> User:
    """Who makes a request, as what stands in front of it found."""
    user = scope.get("user")
    if user is None:
        return UnauthenticatedUser()
    return A2AUser(user) if isinstance(user, PrincipalUser) else StarletteUser(user)


def roles_of(user: User) -> tuple[str, ...]:
    """The roles in which somebody acts; nobody but a principal has any."""
    return user.principal.role_names if isinstance(user, A2AUser) else ()


def tenant_of(user: User) -> str | None:
    """The tenant of whoever showed a credential; None: no principal says."""
    if not isinstance(user, A2AUser) or not user.is_authenticated:
        return None
    return user.principal.tenant
