"""Asks who calls over gRPC before a request is even read, and bounds how much each may call."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, cast
from urllib.parse import unquote

import grpc
import grpc.aio
from a2a.auth.user import UnauthenticatedUser, User

from interlock_adapters._callers.asgi import ELSEWHERE, NEEDED, headers_of
from interlock_adapters._callers.base import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    Authenticator,
    PrincipalUser,
    still_is,
    trusting,
    user_by,
)
from interlock_adapters._callers.open import is_loopback
from interlock_adapters._callers.quota import OverQuota, Quotas
from interlock_adapters._callers.watch import Lapsed, StillGood, good
from interlock_adapters.a2a._auth import A2AUser

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
#: None: there is no such method.
_Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

#: Who makes the call whose context this is.
_CALLER: Final[ContextVar[PrincipalUser | None]] = ContextVar("interlock_grpc_caller", default=None)


def caller(_metadata: dict[str, list[str]]) -> User:
    """Who calls, as `Guard` has found."""
    user = _CALLER.get()
    return UnauthenticatedUser() if user is None else A2AUser(user)


class Guard(grpc.aio.ServerInterceptor):
    """Lets in whom an authenticator knows, as far as its quota goes."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        quotas: Quotas | None = None,
        *,
        asks: bool = True,
    ) -> None:
        """Without an authenticator everybody is nobody.

        Not `asks` says that nobody else asks either who calls: only this machine is served.
        """
        self._authenticator: Final = authenticator
        self._quotas: Final = quotas
        local = trusting(authenticator)
        self._only_here: Final = not asks or (local is not None and not local.open_to_everyone)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Found:
        """See `grpc.aio.ServerInterceptor`."""
        user: PrincipalUser | None = None
        shown: dict[str, str] = {}
        if self._authenticator is not None:
            try:
                shown = _shown(handler_call_details)
                user = await user_by(self._authenticator, shown)
            except AuthenticationFailed as error:
                return _refusing(grpc.StatusCode.UNAUTHENTICATED, str(error))
            except AuthenticationUnavailable as error:
                return _refusing(grpc.StatusCode.UNAVAILABLE, str(error))
            if user is None:
                return _refusing(grpc.StatusCode.UNAUTHENTICATED, NEEDED)
        # The handler runs in this very context.
        _CALLER.set(user)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        owner = None if user is None else user.principal.owner
        still_good = None
        by = self._authenticator
        if by is not None and user is not None and trusting(by) is None:
            still_good = partial(still_is, by, shown, user)
        return _bounded(handler, _Serving(owner, self._quotas, self._only_here, still_good))


def _shown(details: grpc.HandlerCallDetails) -> dict[str, str]:
    """The metadata of a call, as authenticators want headers.

    Raises:
        AuthenticationFailed: there are two credentials.
    """
    metadata = cast(
        "Iterable[tuple[str, str | bytes]]", getattr(details, "invocation_metadata", None) or ()
    )
    pairs = [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in metadata
    ]
    if sum(name.lower() == b"authorization" for name, _ in pairs) > 1:
        raise AuthenticationFailed
    return headers_of(pairs)


def _refusing(code: grpc.StatusCode, why: str) -> _Handler:
    """A method that says no to what it does not read."""

    async def refuse(_request: bytes, context: _Context) -> None:
        await context.abort(code, why)

    return grpc.unary_unary_rpc_method_handler(cast("Any", refuse))


def _bounded(handler: _Handler, serving: "_Serving") -> _Handler:
    """The method, for callers that are let in, within a quota.  Ours read one request each."""
    known: Any = handler
    codec = {
        "request_deserializer": known.request_deserializer,
        "response_serializer": known.response_serializer,
    }
    if known.unary_stream is not None:
        method = known.unary_stream
        assert inspect.isasyncgenfunction(method), "a stream that is none of ours"

        async def stream(request: object, context: _Context) -> AsyncGenerator[object]:
            await serving.check(context)
            try:
                with serving.charged():
                    async with (
                        good(serving.still_good),
                        aclosing(method(request, context)) as shown,
                    ):
                        async for one in shown:
                            yield one
            except OverQuota as error:
                await _too_much(context, error)
            except Lapsed:
                await _lapsed(context)

        return grpc.unary_stream_rpc_method_handler(cast("Any", stream), **codec)

    async def answer(request: object, context: _Context) -> object:
        await serving.check(context)
        try:
            with serving.charged():
                async with good(serving.still_good):
                    return await known.unary_unary(request, context)
        except OverQuota as error:
            await _too_much(context, error)
        except Lapsed:
            await _lapsed(context)

    return grpc.unary_unary_rpc_method_handler(cast("Any", answer), **codec)


@dataclass(frozen=True, slots=True)
class _Serving:
    """How one call is served."""

    owner: str | None
    quotas: Quotas | None
    #: Only callers on this machine are served.
    only_here: bool
    #: Whether the credential is still good; None: none is asked for.
    still_good: StillGood | None = None

    async def check(self, context: _Context) -> None:
        """Turn away who is elsewhere; only the call's context knows where that is."""
        if self.only_here and not is_here(context.peer()):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, ELSEWHERE)

    def charged(self) -> AbstractContextManager[object]:
        """A block in which it counts."""
        return nullcontext() if self.quotas is None else self.quotas.request(self.owner)


def is_here(peer: str) -> bool:
    """Whether a peer, as gRPC names it, is on this machine."""
    kind, _, place = unquote(peer).partition(":")
    if kind in {"unix", "unix-abstract"}:
        return True
    return kind in {"ipv4", "ipv6"} and is_loopback(place.rpartition(":")[0].strip("[]"))


async def _too_much(context: _Context, error: OverQuota) -> NoReturn:
    pushback = str(error.retry_after_whole_s * 1_000)
    context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


async def _lapsed(context: _Context) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(AuthenticationFailed()))
