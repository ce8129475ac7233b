"""Who may call a service: the authenticator that a configuration describes."""

from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from interlock.errors import InvalidInput
from interlock_adapters._config_access import TokenConfig
from interlock_adapters._config_faults import faults_of_list
from interlock_adapters._service_agent import resolved
from interlock_adapters._yaml import read
from interlock_adapters.auth import (
    AnyOf,
    Authenticator,
    BearerTokens,
    Jwt,
    JwtSettings,
    TokenEntry,
    TrustLocal,
)
from interlock_adapters.config import ServiceConfig

_TOKENS: TypeAdapter[tuple[TokenConfig, ...]] = TypeAdapter(tuple[TokenConfig, ...])


def authenticator_of(config: ServiceConfig) -> Authenticator:
    """Who knows callers; where nothing is said, one who lets in this machine only.

    Raises:
        InvalidInput: it cannot be made; every fault, with its place.
    """
    auth = config.auth
    if not auth.is_on:
        is_open = config.server.dangerously_open_to_everyone
        return TrustLocal(dangerously_open_to_everyone=is_open)
    found: list[Authenticator] = []
    problems: list[str] = []
    entries = list(auth.tokens)
    try:
        if auth.tokens_file is not None:
            entries += _tokens_in(config.path(auth.tokens_file), config)
        if auth.tokens or auth.tokens_file:
            found.append(BearerTokens([TokenEntry(**entry.model_dump()) for entry in entries]))
    except InvalidInput as error:
        problems += error.problems
    for number, issuer in enumerate(auth.jwt):
        try:
            found.append(Jwt(JwtSettings(**issuer.model_dump())))
        except InvalidInput as error:
            problems += [f"{config.at('auth', 'jwt', number)}: {what}" for what in error.problems]
    if auth.custom is not None:
        custom = resolved(config, auth.custom, "auth", "custom")
        if not (hasattr(custom, "authenticate") and hasattr(custom, "schemes")):
            kind = type(custom).__name__
            wanted = "an object with schemes and authenticate is accepted (auth.Authenticator)"
            problems.append(f"{config.at('auth', 'custom')}: it is a {kind}; {wanted}")
        found.append(cast("Authenticator", custom))
    if problems:
        raise InvalidInput(problems)
    return found[0] if len(found) == 1 else AnyOf(*found)


def _tokens_in(path: Path, config: ServiceConfig) -> tuple[TokenConfig, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            [f"{config.at('auth', 'tokens_file')}: {path}: {error.strerror}"]
        ) from None
    except UnicodeDecodeError:
        raise InvalidInput([f"{path}: it is not written in UTF-8"]) from None
    document = read(text, str(path), config.environ)
    try:
        return _TOKENS.validate_python(document.value)
    except ValidationError as error:
        raise InvalidInput(faults_of_list(error, document, TokenConfig)) from None
