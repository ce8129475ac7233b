"""The management API: tasks, policies, tools and the rest over REST, described by OpenAPI.

    app = management_app(Managed(engine, config={}, instructions=None))

It is one ASGI application, to be mounted behind `Authentication` (`interlock_adapters.auth`),
which says who calls.  Everybody sees his own tasks and answers what they ask; roles reach
further (`Access`).  Errors are problems (RFC 9457) with the engine's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

try:
    from fastapi import FastAPI
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.management needs the service extra: pip install 'interlock[service]'",
        name=_missing.name,
    ) from _missing

from interlock import Engine, JsonObject
from interlock_adapters._http.asgi import PROBLEM_JSON
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.management._caller import serve
from interlock_adapters.management._pictures import pictures_router
from interlock_adapters.management._problems import add_handlers, problems
from interlock_adapters.management._service import Instructions, service_router
from interlock_adapters.management._tasks import tasks_router

__all__ = ["Instructions", "Managed", "management_app"]

#: What FastAPI says of bodies that do not fit; here that is a problem, which each route declares.
_FASTAPIS_OWN: Final = frozenset({"HTTPValidationError", "ValidationError"})
_METHODS: Final = frozenset({"get", "put", "post", "delete"})


@dataclass(frozen=True)
class Managed:
    """What is managed."""

    engine: Engine
    #: The configuration in effect, without secrets.
    config: JsonObject = field(default_factory=dict[str, Any])
    #: What agents are told; None where that cannot be changed.
    instructions: Instructions | None = None


def management_app(
    managed: Managed,
    *,
    auth_schemes: Mapping[str, JsonObject] | None = None,
    stopping: Stopping | None = None,
) -> FastAPI:
    """The application.  `auth_schemes` are the ways to say who calls, by name, as OpenAPI has them.

    `stopping` ends its streams; it is the one of all faces of the engine.
    """
    schemes = dict(auth_schemes or {})
    app = FastAPI(
        title="Interlock management",
        description="Tasks, policies and tools of one engine.",
        version=version("interlock"),
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.INTERNAL_SERVER_ERROR),
        redirect_slashes=False,
    )

    lifecycle = managed.engine.lifecycle
    app.include_router(tasks_router(lifecycle, stopping or Stopping()))
    app.include_router(
        service_router(
            managed.engine,
            config=managed.config,
            instructions=managed.instructions,
        )
    )
    app.include_router(pictures_router(lifecycle))
    serve(app, managed.engine)
    add_handlers(app)
    _describe(app, schemes)
    return app


def _describe(app: FastAPI, schemes: Mapping[str, JsonObject]) -> None:
    """Have the application's OpenAPI document say what is so of every route."""
    document = app.openapi()
    components = document.setdefault("components", {})
    for name in _FASTAPIS_OWN:
        components.get("schemas", {}).pop(name, None)
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                _set_problems(operation)
    if schemes:
        components["securitySchemes"] = dict(schemes)
        document["security"] = [{name: []} for name in schemes]


def _set_problems(operation: dict[str, Any]) -> None:
    """Errors are of the media type that they are sent in, and of no other."""
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, answer in operation["responses"].items():
        if status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST:
            answer["content"] = {PROBLEM_JSON: problem}
            if status in {"429", "503"}:
                answer["headers"] = {
                    "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}
                }
