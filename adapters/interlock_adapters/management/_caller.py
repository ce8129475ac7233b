"""Who calls a route of the management API, as what its endpoint takes."""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, FastAPI, Request

from interlock import Engine
from interlock_adapters._callers.access import Access
from interlock_adapters._callers.base import principal_of
from interlock_adapters._callers.principal import Role


def serve(app: FastAPI, engine: Engine) -> None:
    """Have the routes of an application reach that engine."""
    app.state.engine = engine


async def access_of(request: Request) -> Access:
    """What the caller may see and do.

    Raises:
        AuthenticationFailed: nobody in front of the application has said who it is.
    """
    return Access(cast("Engine", request.app.state.engine), principal_of(request))


Caller: TypeAlias = Annotated[Access, Depends(access_of)]


async def _looking(access: Caller) -> Access:
    access.require_of_service(Role.OPERATOR, Role.AUDITOR)
    return access


async def _changing(access: Caller) -> Access:
    access.require_of_service(Role.OPERATOR)
    return access


#: Who may look at what concerns every tenant.
Looking: TypeAlias = Annotated[Access, Depends(_looking)]
#: Who may change that.
Changing: TypeAlias = Annotated[Access, Depends(_changing)]
