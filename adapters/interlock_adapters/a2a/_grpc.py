"""A2A over gRPC: the SDK's servicers, with the versions and the callers that it leaves open."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias, cast

import grpc
import grpc.aio
from a2a.auth.user import UnauthenticatedUser, User
from a2a.compat.v0_3 import a2a_v0_3_pb2_grpc
from a2a.compat.v0_3.grpc_handler import CompatGrpcHandler
from a2a.extensions.common import HTTP_EXTENSION_HEADER, get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.grpc_handler import GrpcHandler, GrpcServerCallContextBuilder
from a2a.types import VersionNotSupportedError, a2a_pb2_grpc
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, VERSION_HEADER

from interlock_adapters.a2a._carried import CARRIED, carried
from interlock_adapters.a2a._grpc_limit import Limited
from interlock_adapters.a2a._handler import EngineHandler
from interlock_adapters.a2a._operations import BORDER, LAST_EVENT
from interlock_adapters.a2a._settings import A2ASettings
from interlock_adapters.a2a._version import spoken

#: The generated code has no types.
_ADD_CURRENT: Final[Callable[[object, object], None]] = cast(
    "Any", a2a_pb2_grpc
).add_A2AServiceServicer_to_server
_ADD_LEGACY: Final[Callable[[object, object], None]] = cast(
    "Any", a2a_v0_3_pb2_grpc
).add_A2AServiceServicer_to_server

#: Who calls, from the metadata of a call: names in lower case, and their values.
UserOf: TypeAlias = Callable[[dict[str, list[str]]], User]


def nobody(_metadata: dict[str, list[str]]) -> User:
    """A caller that nobody authenticated."""
    return UnauthenticatedUser()


class GrpcContextBuilder(GrpcServerCallContextBuilder):
    """The context of a call to the service of one version."""

    def __init__(self, version: str, user_of: UserOf, carry: Collection[str] = ()) -> None:
        self._version: Final = version
        self._user_of: Final = user_of
        self._carried: Final = carry

    def build(self, context: "grpc.aio.ServicerContext[Any, Any]") -> ServerCallContext:
        """The context of one call.

        Raises:
            VersionNotSupportedError: it is meant for the service of another version.
        """
        metadata: dict[str, list[str]] = {}
        for name, value in context.invocation_metadata() or ():
            text = value if isinstance(value, str) else value.decode("latin-1")
            metadata.setdefault(name.lower(), []).append(text)
        given = metadata.get(VERSION_HEADER.lower(), [""])[0]
        if spoken(given, v0_3=True) != self._version:
            raise VersionNotSupportedError(
                f"this service speaks {VERSION_HEADER} {self._version}, and the call says "
                f"{given or 'nothing, which means ' + PROTOCOL_VERSION_0_3}"
            )
        state: dict[str, Any] = {"headers": {VERSION_HEADER: self._version}}
        if "last-event-id" in metadata:
            state[LAST_EVENT] = metadata["last-event-id"][0]
        if self._carried:
            pairs = ((name, value) for name in metadata for value in metadata[name])
            state[CARRIED] = carried(pairs, self._carried)
        with BORDER:  # Whoever authenticates is foreign code, and its words may quote a credential.
            user = self._user_of(metadata)
        return ServerCallContext(
            user=user,
            state=state,
            requested_extensions=get_requested_extensions(
                metadata.get(HTTP_EXTENSION_HEADER.lower(), [])
            ),
        )


def add_services(
    server: grpc.aio.Server, handler: EngineHandler, settings: A2ASettings, user_of: UserOf
) -> None:
    """Serve the operations of `handler` in every version that is spoken."""
    carry = settings.carry_headers
    current = GrpcHandler(handler, GrpcContextBuilder(PROTOCOL_VERSION_1_0, user_of, carry))
    _ADD_CURRENT(Limited(current, settings.body_values_max), server)
    if settings.v0_3:
        legacy = CompatGrpcHandler(
            handler, GrpcContextBuilder(PROTOCOL_VERSION_0_3, user_of, carry)
        )
        _ADD_LEGACY(Limited(legacy, settings.body_values_max), server)


def bound(
    handler: EngineHandler,
    settings: A2ASettings,
    address: str,
    *,
    user_of: UserOf,
    credentials: grpc.ServerCredentials | None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> tuple[grpc.aio.Server, int]:
    """A server with our services, and the port it was given."""
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[("grpc.max_receive_message_length", settings.body_bytes_max)],
    )
    add_services(server, handler, settings, user_of)
    if credentials is None:
        return server, server.add_insecure_port(address)
    return server, server.add_secure_port(address, credentials)
