"""What the agent card says about security, made from what is enforced."""

from typing import Final

from interlock.models import JsonObject, JsonValue
from interlock_adapters._callers.base import Authenticator

#: Kinds of schemes: as OpenAPI names them, and as the JSON of a card (A2A 1.0 §4.5) does.
_KINDS: Final = {
    "http": "httpAuthSecurityScheme",
    "apiKey": "apiKeySecurityScheme",
    "oauth2": "oauth2SecurityScheme",
    "openIdConnect": "openIdConnectSecurityScheme",
    "mutualTLS": "mtlsSecurityScheme",
}
#: Fields that have another name there.
_FIELDS: Final = {"in": "location"}


def card_security(
    authenticator: Authenticator,
) -> tuple[dict[str, JsonObject], tuple[JsonObject, ...]]:
    """`security_schemes` and `security_requirements` for `A2ASettings`: any scheme is enough.

    Cookies are for people in browsers, and are not on it.
    """
    schemes: dict[str, JsonObject] = {}
    for name, scheme in authenticator.schemes.items():
        if scheme.get("in") == "cookie" or scheme.get("type") not in _KINDS:
            continue
        said: JsonObject = {
            _FIELDS.get(field, field): value for field, value in scheme.items() if field != "type"
        }
        schemes[name] = {_KINDS[str(scheme["type"])]: said}
    nothing: JsonValue = {"list": []}
    return schemes, tuple({"schemes": {name: nothing}} for name in schemes)
