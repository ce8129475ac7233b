"""The agent card: whole, true, and made of the settings alone."""

import pytest
from a2a.types import AgentCard
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf.json_format import MessageToDict
from pydantic import ValidationError

from a2a_faces import REST, SETTINGS, faced, message, travel
from interlock import JsonObject
from interlock.errors import InvalidInput
from interlock_adapters.a2a import A2ASettings, Extension, Skill
from interlock_adapters.a2a._card import card_of


def test_the_least_card_has_every_required_field() -> None:
    """Source: A2A 1.0 §4.4.1; also that there is a skill, R-A2A-15."""
    card = card_of(A2ASettings(name="Least", description="Has a name."), push=False)
    validate_proto_required_fields(card)
    assert [skill.id for skill in card.skills] == ["agent"]
    assert not card.capabilities.push_notifications
    assert not card.capabilities.extended_agent_card


def test_every_binding_is_listed_in_each_version_it_speaks() -> None:
    """The preferred one first, and gRPC only where it is served.  Source: R-A2A-15."""
    settings = A2ASettings(name="a", description="b", url="https://a.test/", grpc_url="a.test:9")
    card = card_of(settings, push=False)
    listed = [(i.protocol_binding, i.protocol_version, i.url) for i in card.supported_interfaces]
    urls = {
        "JSONRPC": "https://a.test/a2a/rpc",
        "HTTP+JSON": "https://a.test/a2a",
        "GRPC": "a.test:9",
    }
    assert listed == [(name, v, url) for v in ("1.0", "0.3") for name, url in urls.items()]
    fewer = card_of(settings.model_copy(update={"grpc_url": None, "v0_3": False}), push=False)
    assert len(fewer.supported_interfaces) == 2


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("path", ["/", "/agent/"])
async def test_rest_is_where_the_card_says_also_with_a_slash_at_the_end(
    path: str, version: str
) -> None:
    """Clients leave it out, and put one of their own before the rest.  Source: R-A2A-15."""
    settings = SETTINGS.model_copy(update={"rest_path": path})
    async with faced(travel, settings=settings) as faces:
        peer = faces.peer(REST, version=version)
        assert (await peer.send(message("a flight"))).id


@pytest.mark.parametrize("path", ["a2a", "/a b", "/a?b", "/a#b", "/{a}", "/a/{b:path}"])
@pytest.mark.parametrize("name", ["rpc_path", "rest_path"])
def test_a_path_is_one_that_clients_send_as_it_is(name: str, path: str) -> None:
    """Braces are a router's, and would answer for the paths of others.  Source: R-A2A-15."""
    with pytest.raises(ValidationError, match=name):
        A2ASettings.model_validate({"name": "a", "description": "b", name: path})


def test_all_that_the_settings_say_is_on_the_card() -> None:
    """In the protocol's own names."""
    bearer: JsonObject = {"httpAuthSecurityScheme": {"scheme": "Bearer"}}
    settings = A2ASettings(
        name="a",
        description="b",
        version="3",
        skills=(Skill(id="s", name="S", description="Does.", tags=("t",), examples=("e",)),),
        extensions=(Extension(uri="x:y", params={"n": [1]}),),
        organization="Org",
        documentation_url="https://docs.test",
        icon_url="https://icon.test",
        security_schemes={"bearer": bearer},
        security_requirements=({"schemes": {"bearer": {"list": ["read"]}}},),
    )
    card = MessageToDict(card_of(settings, push=True))
    assert card["provider"] == {"organization": "Org", "url": settings.url}
    assert card["securitySchemes"] == {"bearer": bearer}
    assert card["securityRequirements"] == [{"schemes": {"bearer": {"list": ["read"]}}}]
    assert card["capabilities"]["extensions"] == [{"uri": "x:y", "params": {"n": [1.0]}}]
    assert card["capabilities"]["pushNotifications"]
    assert card["skills"] == [
        {"id": "s", "name": "S", "description": "Does.", "tags": ["t"], "examples": ["e"]}
    ]
    assert (card["version"], card["documentationUrl"]) == ("3", "https://docs.test")
    assert card["iconUrl"] == "https://icon.test"


def test_security_that_is_none_of_the_protocols_is_refused() -> None:
    """At the start, not when the first client reads the card."""
    settings = A2ASettings(name="a", description="b", security_schemes={"x": {"secret": "hunter2"}})
    with pytest.raises(InvalidInput, match="security of the agent card"):
        card_of(settings, push=False)


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"rpc_path": "rpc"}, {"card_max_age_s": -1}, {"push_notification": 1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    """A misspelt name too."""
    with pytest.raises(ValidationError):
        A2ASettings.model_validate({"name": "a", "description": "b", **wrong})


async def test_the_card_is_where_clients_look_for_it() -> None:
    """Source: A2A 1.0 §8.2; the v0.3 fields are there for clients of that age."""
    async with faced(travel) as faces:
        shown = (await faces.http.get("/.well-known/agent-card.json")).json()
    assert shown["name"] == SETTINGS.name
    assert shown["preferredTransport"] == "JSONRPC"
    assert isinstance(faces.card, AgentCard)
