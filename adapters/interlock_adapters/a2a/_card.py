"""The agent card, from the settings."""

from typing import Final

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentProvider,
    AgentSkill,
)
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, TransportProtocol
from google.protobuf.json_format import ParseDict, ParseError

from interlock.errors import InvalidInput
from interlock_adapters.a2a._part import put_struct
from interlock_adapters.a2a._settings import A2ASettings, Skill

_VERSIONS: Final = (PROTOCOL_VERSION_1_0, PROTOCOL_VERSION_0_3)


def card_of(settings: A2ASettings, *, push: bool) -> AgentCard:
    """The public card; `push` says whether push notifications are sent.

    Raises:
        InvalidInput: a security scheme or requirement is not what A2A calls one.
    """
    card = AgentCard(
        name=settings.name,
        description=settings.description,
        version=settings.version,
        supported_interfaces=_interfaces(settings),
        capabilities=_capabilities(settings, push=push),
        default_input_modes=settings.input_modes,
        default_output_modes=settings.output_modes,
        skills=[_skill(skill) for skill in settings.skills or (_everything(settings),)],
    )
    if settings.organization is not None:
        card.provider.CopyFrom(
            AgentProvider(
                organization=settings.organization, url=settings.organization_url or settings.url
            )
        )
    if settings.documentation_url is not None:
        card.documentation_url = settings.documentation_url
    if settings.icon_url is not None:
        card.icon_url = settings.icon_url
    try:
        for name, scheme in settings.security_schemes.items():
            ParseDict(scheme, card.security_schemes[name])
        for requirement in settings.security_requirements:
            ParseDict(requirement, card.security_requirements.add())
    except ParseError as error:
        raise InvalidInput([f"security of the agent card: {error}"]) from None
    return card


def _interfaces(settings: A2ASettings) -> list[AgentInterface]:
    """Preferred first; every binding in each version that is spoken."""
    base = settings.url.rstrip("/")
    bindings = [
        (TransportProtocol.JSONRPC, base + settings.rpc_path),
        (TransportProtocol.HTTP_JSON, base + settings.rest_prefix),
    ]
    if settings.grpc_url is not None:
        bindings.append((TransportProtocol.GRPC, settings.grpc_url))
    return [
        AgentInterface(url=url, protocol_binding=binding.value, protocol_version=version)
        for version in (_VERSIONS if settings.v0_3 else _VERSIONS[:1])
        for binding, url in bindings
    ]


def _capabilities(settings: A2ASettings, *, push: bool) -> AgentCapabilities:
    capabilities = AgentCapabilities(
        streaming=settings.streaming,
        push_notifications=push,
        extended_agent_card=settings.extended_card is not None,
    )
    for extension in settings.extensions:
        declared = AgentExtension(
            uri=extension.uri, description=extension.description, required=extension.required
        )
        if extension.params:
            put_struct(declared.params, extension.params)
        capabilities.extensions.append(declared)
    return capabilities


def _skill(skill: Skill) -> AgentSkill:
    return AgentSkill(
        id=skill.id,
        name=skill.name,
        description=skill.description,
        tags=skill.tags,
        examples=skill.examples,
        input_modes=skill.input_modes,
        output_modes=skill.output_modes,
    )


def _everything(settings: A2ASettings) -> Skill:
    """A card needs a skill: an agent that names none has the one it is made for."""
    return Skill(id="agent", name=settings.name, description=settings.description)
