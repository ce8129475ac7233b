"""The lifecycle as pictures: as it is, with the path of one task, with where tasks are."""

from typing import Any, Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from interlock import Lifecycle
from interlock.diagram import NEUTRAL, GraphvizMissing, Look, path_of, picture_of, population, svg
from interlock_adapters.management._caller import Caller
from interlock_adapters.management._problems import UnknownResource, problems

MEDIA_TYPE: Final = "image/svg+xml"
#: Opened by itself in a browser, a picture runs and loads nothing.
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_SVG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "The picture"}
}


def pictures_router(lifecycle: Lifecycle) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["pictures"])
    picture = picture_of(lifecycle)

    async def drawn(look: Look) -> Response:
        try:
            # The layout takes its time, in which others are served.
            text = await run_in_threadpool(svg, picture, look)
        except GraphvizMissing as error:
            raise UnknownResource(str(error)) from None
        return Response(text, media_type=MEDIA_TYPE, headers=_HEADERS)

    @router.get(
        "/diagrams/lifecycle.svg",
        summary="The lifecycle of tasks",
        responses={**_SVG, **problems(404)},
        response_class=Response,
    )
    async def draw_lifecycle(_access: Caller) -> Response:
        """Every phase, and every way from one to another."""
        return await drawn(NEUTRAL)

    @router.get(
        "/diagrams/population.svg",
        summary="Where tasks are",
        responses={**_SVG, **problems(404, 503)},
        response_class=Response,
    )
    async def draw_population(access: Caller) -> Response:
        """The tasks that the caller sees, counted by phase."""
        counts = await access.counts()
        # There may be tasks that live by another lifecycle.
        drawable = {phase: n for phase, n in counts.items() if phase in lifecycle.phases}
        return await drawn(population(picture, drawable))

    @router.get(
        "/tasks/{task_id}/diagram.svg",
        summary="The path of a task",
        responses={**_SVG, **problems(404, 503)},
        response_class=Response,
    )
    async def draw_path(access: Caller, task_id: str) -> Response:
        """Its way through the lifecycle, and where it stands."""
        events = await access.events(task_id)
        try:
            look = path_of(picture, events)
        except KeyError:
            raise UnknownResource("the task went a way that this lifecycle does not have") from None
        return await drawn(look)

    return router
