"""Errors of the management API as problems (RFC 9457): one shape, and the engine's own codes."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from interlock.errors import (
    AmbiguousTool,
    AnswerInvalid,
    EngineError,
    InvalidInput,
    LimitReached,
    NotAccepting,
    NotFinalized,
    Refused,
    SourceUnavailable,
    StoreCorrupt,
    StoreError,
    TokenReused,
    UnknownSource,
    UnknownTask,
    UnknownTool,
)
from interlock_adapters._callers.access import NotAllowed
from interlock_adapters._callers.base import AuthenticationFailed
from interlock_adapters._http.asgi import PROBLEM_JSON

#: The type of a problem is this and its code.
URN: Final = "urn:interlock:problem:"

#: Seconds after which a store that failed may be tried again.
STORE_AGAIN_S: Final = 5.0


class UnknownResource(EngineError):
    """There is nothing of that name: no rule, no source, or no instructions."""

    code = "unknown_resource"


#: The first that fits decides, so subclasses come first.
_STATUS: Final[tuple[tuple[type[EngineError], HTTPStatus], ...]] = (
    (UnknownTask, HTTPStatus.NOT_FOUND),
    (UnknownTool, HTTPStatus.NOT_FOUND),
    (UnknownSource, HTTPStatus.NOT_FOUND),
    (UnknownResource, HTTPStatus.NOT_FOUND),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (AnswerInvalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Refused, HTTPStatus.CONFLICT),
    (NotFinalized, HTTPStatus.CONFLICT),
    (TokenReused, HTTPStatus.CONFLICT),
    (AmbiguousTool, HTTPStatus.CONFLICT),
    (LimitReached, HTTPStatus.TOO_MANY_REQUESTS),
    (NotAccepting, HTTPStatus.SERVICE_UNAVAILABLE),
    (SourceUnavailable, HTTPStatus.BAD_GATEWAY),
    (StoreCorrupt, HTTPStatus.INTERNAL_SERVER_ERROR),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
)


#: Codes of what is refused before the engine hears of it.
INVALID: Final = "invalid_request"
_CODES: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "unknown_route",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.BAD_REQUEST: INVALID,
}


class Problem(BaseModel):
    """Why a request came to nothing; nothing was changed."""

    type: str = Field(description=f"`{URN}` and the code")
    title: str
    status: int
    detail: str
    code: str = Field(description="stable: what a program may decide by")
    errors: list[str] = Field(default=[], description="every fault, if there are several")
    allowed: list[str] = Field(default=[], description="what the task would accept now")
    retry_after: float | None = Field(
        default=None, description="seconds; null where trying again will not help"
    )


def problem_response(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: Sequence[str] = (),
    allowed: Sequence[str] = (),
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response that says it."""
    body = Problem(
        type=URN + code,
        title=status.phrase,
        status=status.value,
        detail=_shown(detail),
        code=code,
        errors=[_shown(error) for error in errors],
        allowed=list(allowed),
        retry_after=retry_after,
    )
    sent = dict(headers or {})
    if retry_after is not None:
        sent["retry-after"] = str(math.ceil(retry_after))
    return JSONResponse(body.model_dump(), status.value, sent, PROBLEM_JSON)


def of_engine(error: EngineError) -> JSONResponse:
    """The problem that an error of the engine is."""
    status = next(
        (status for kind, status in _STATUS if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    retry_after: float | None = getattr(error, "retry_after_s", None)
    if status is HTTPStatus.SERVICE_UNAVAILABLE and retry_after is None:
        retry_after = STORE_AGAIN_S
    detail = "there is no such task" if isinstance(error, UnknownTask) else str(error)
    errors: Sequence[str] = getattr(error, "problems", ())
    allowed = [trigger.value for trigger in getattr(error, "allowed", ())]
    return problem_response(
        status, error.code, detail, errors=errors, allowed=allowed, retry_after=retry_after
    )


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""
    app.add_exception_handler(EngineError, _engine_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(AuthenticationFailed, _nobody)
    app.add_exception_handler(Exception, _bug)


async def _engine_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngineError)
    return of_engine(error)


async def _nobody(_request: Request, _error: Exception) -> JSONResponse:
    """Nobody stands in front who says who calls: then it is nobody."""
    headers = {"www-authenticate": "Bearer"}
    why = "a credential is needed"
    return problem_response(HTTPStatus.UNAUTHORIZED, "unauthenticated", why, headers=headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # With the place and what is accepted; never with what came, which may be anything.
    faults = [_fault(fault) for fault in error.errors()]
    detail = "; ".join(faults)
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, INVALID, detail, errors=faults)


def _fault(fault: Mapping[str, Any]) -> str:
    where = ".".join(str(step) for step in fault["loc"] if not _is_input(fault, step))
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"


def _is_input(fault: Mapping[str, Any], step: object) -> bool:
    """Whether a step of the place is the caller's own: a field that there is not."""
    return bool(fault["type"] == "extra_forbidden" and step == fault["loc"][-1])


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status, status.name.lower())
    return problem_response(status, code, str(error.detail), headers=error.headers)


async def _bug(_request: Request, _error: Exception) -> JSONResponse:
    """Whoever serves logs it; the caller is not told what it was."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return problem_response(status, "internal_error", "something went wrong here")


def _shown(text: str) -> str:
    """Text that can be sent: half a character becomes a sign for one."""
    return text.encode("utf-8", "replace").decode()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides, for OpenAPI."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": Problem,
            "content": {PROBLEM_JSON: {}},
        }
        for status in statuses
    }
