"""The faces of a service as their own settings have them.

Each function imports its face, which is of an extra; a face that is off is never imported.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from interlock.errors import InvalidInput
from interlock_adapters._http.paths import CONSOLE
from interlock_adapters.config import ServiceConfig
from interlock_adapters.config._parts import A2AConfig, McpFaceConfig
from interlock_adapters.service._agent import needs

if TYPE_CHECKING:
    import grpc

    from interlock_adapters._callers.base import Authenticator
    from interlock_adapters.a2a import A2ASettings, PushDeliverer
    from interlock_adapters.mcp import McpSettings


def a2a_settings(
    config: ServiceConfig,
    face: A2AConfig,
    url: str,
    *,
    carried: Iterable[str],
    authenticator: "Authenticator",
) -> "A2ASettings":
    """The settings of the A2A face; its card says what is enforced.

    Raises:
        InvalidInput: its extra is not there.
    """
    try:
        # Of extras: a face that is off does without.
        from interlock_adapters.a2a import A2ASettings, Skill  # noqa: PLC0415
        from interlock_adapters.auth import card_security  # noqa: PLC0415
        from interlock_adapters.vocabulary import Vocabulary  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise needs(config.at("faces", "a2a"), "a2a", missing) from None
    schemes, requirements = card_security(authenticator)
    same = {"v0_3", "streaming", "rpc_path", "rest_path", "tenants", "organization"}
    same |= {"organization_url", "documentation_url", "icon_url"}
    same |= {"body_bytes_max", "body_values_max"}
    words = None
    if face.approve_words or face.deny_words:
        words = Vocabulary(approve=face.approve_words, deny=face.deny_words)
    grpc_url = None if face.grpc is None else face.grpc.public_url(url)
    return A2ASettings(
        **face.model_dump(include=same),
        name=face.name or config.name,
        description=face.description or config.description,
        version=config.version,
        url=url,
        grpc_url=grpc_url,
        skills=tuple(Skill(**skill.model_dump()) for skill in face.skills),
        security_schemes=schemes,
        security_requirements=requirements,
        allowed_hosts=config.server.allowed_hosts,
        allowed_origins=config.server.allowed_origins,
        carry_headers=tuple(dict.fromkeys(name.lower() for name in carried)),
        vocabulary=words,
    )


def push_of(config: ServiceConfig) -> "PushDeliverer | None":
    """What delivers push notifications, if they are on.

    Raises:
        InvalidInput: its extra is not there, or a key cannot sign.
    """
    face = config.faces.a2a
    if face is None or face.push is None:
        return None
    try:
        from interlock_adapters.a2a import (  # noqa: PLC0415  of an extra
            PushDeliverer,
            Webhooks,
            WebhookSettings,
        )
    except ModuleNotFoundError as missing:
        raise needs(config.at("faces", "a2a"), "a2a", missing) from None
    try:
        return PushDeliverer(Webhooks(WebhookSettings(**face.push.model_dump())))
    except ValueError as error:
        at = config.at("faces", "a2a", "push", "signing_keys")
        raise InvalidInput([f"{at}: {error}; base64 is accepted, as of 32 random bytes"]) from None


def mcp_settings(config: ServiceConfig, face: McpFaceConfig, url: str) -> "McpSettings":
    """The settings of the MCP face; people are sent to the console if that is on.

    Raises:
        InvalidInput: its extra is not there, or a tool's schema is none.
    """
    try:
        from interlock_adapters.mcp import McpSettings, McpTool  # noqa: PLC0415  of an extra
    except ModuleNotFoundError as missing:
        raise needs(config.at("faces", "mcp"), "mcp", missing) from None
    same = {"path", "title", "instructions", "experimental_tasks", "sessions_max"}
    same |= {"sessions_per_owner_max", "session_idle_s", "body_bytes_max", "body_values_max"}
    try:
        return McpSettings(
            **face.model_dump(include=same),
            name=config.name,
            version=config.version,
            description=config.description,
            url=url,
            tools=tuple(McpTool(**tool.model_dump()) for tool in face.tools),
            console_url=f"{url}{CONSOLE}/tasks/{{task_id}}" if config.faces.console else None,
            allowed_hosts=config.server.allowed_hosts,
            allowed_origins=config.server.allowed_origins,
        )
    except ValidationError as error:
        said = [fault["msg"] for fault in error.errors(include_url=False, include_input=False)]
        raise InvalidInput([f"{config.at('faces', 'mcp')}: {what}" for what in said]) from None


def grpc_credentials(config: ServiceConfig) -> "grpc.ServerCredentials | None":
    """The certificate of the gRPC port; None is plain text.

    Raises:
        InvalidInput: it cannot be read, or the extra is not there.
    """
    face = config.faces.a2a
    if face is None or face.grpc is None:
        return None
    at = config.at("faces", "a2a", "grpc")
    try:
        import grpc  # noqa: PLC0415  of an extra
    except ModuleNotFoundError as missing:
        raise needs(at, "grpc", missing) from None
    if face.grpc.key is None or face.grpc.certificate is None:
        return None
    try:
        key = config.path(face.grpc.key).read_bytes()
        certificate = config.path(face.grpc.certificate).read_bytes()
    except OSError as error:
        raise InvalidInput([f"{at}: {error.filename}: {error.strerror}"]) from None
    return grpc.ssl_server_credentials([(key, certificate)])
