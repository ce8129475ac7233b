"""Who may call a service: the authenticator that a configuration describes."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, cast

from pydantic import TypeAdapter, ValidationError

from interlock.errors import InvalidInput
from interlock_adapters._yaml import read
from interlock_adapters.auth import (
    AnyOf,
    Authenticator,
    BearerTokens,
    Jwt,
    JwtSettings,
    Principal,
    TokenEntry,
    TrustLocal,
)
from interlock_adapters.config import ServiceConfig
from interlock_adapters.config._access import TokenConfig
from interlock_adapters.config._faults import faults_of_list
from interlock_adapters.service._agent import resolved

_log: Final = logging.getLogger("interlock.auth")

#: Seconds between two looks at the file of tokens.
RELOAD_S: Final = 5.0
#: Bytes of that file; a line is a few hundred.
FILE_BYTES_MAX: Final = 4_194_304

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
    try:
        if auth.tokens_file is not None:
            found.append(FileTokens(config, config.path(auth.tokens_file)))
        elif auth.tokens:
            found.append(_bearer(config.at("auth", "tokens"), auth.tokens))
    except InvalidInput as error:
        problems += error.problems
    for number, issuer in enumerate(auth.jwt):
        try:
            found.append(Jwt(JwtSettings(**issuer.model_dump())))
        except InvalidInput as error:
            problems += [f"{config.at('auth', 'jwt', number)}: {what}" for what in error.problems]
    if auth.custom is not None:
        try:
            found.append(_custom(config, auth.custom))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return found[0] if len(found) == 1 else AnyOf(*found)


def _custom(config: ServiceConfig, named: object) -> Authenticator:
    """The authenticator of one's own.

    Raises:
        InvalidInput: it cannot be found, or is none.
    """
    custom = resolved(config, named, "auth", "custom")
    if not (hasattr(custom, "authenticate") and hasattr(custom, "schemes")):
        kind = type(custom).__name__
        wanted = "an object with schemes and authenticate is accepted (auth.Authenticator)"
        raise InvalidInput([f"{config.at('auth', 'custom')}: it is of type {kind}; {wanted}"])
    return cast("Authenticator", custom)


class FileTokens:
    """Tokens of the configuration, and of a file that is read again when it has changed.

    It is looked at before a credential is judged, at most every `RELOAD_S`.  What cannot be read
    changes nothing: the log says so, and the tokens stay those that were read last.
    """

    schemes = BearerTokens.schemes

    def __init__(
        self, config: ServiceConfig, path: Path, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Read it.

        Raises:
            InvalidInput: it cannot be read, or is none; every fault, with its place.
        """
        self._config: Final = config
        self._path: Final = path
        self._now: Final = now
        self._looked = now()
        self._seen = self._state()
        self._tokens = self._read()

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`."""
        if self._now() - self._looked >= RELOAD_S:
            self._looked = self._now()
            await asyncio.to_thread(self._look)
        return await self._tokens.authenticate(headers)

    def _look(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._tokens = self._read()
        except InvalidInput as error:
            _log.error("the tokens stay as they were: %s", "; ".join(error.problems))
        else:
            _log.info("the tokens were read again: %s", self._path)

    def _read(self) -> BearerTokens:
        first, more = self._config.auth.tokens, _tokens_in(self._path, self._config)
        place = f"{self._config.at('auth', 'tokens')} and {self._path}" if first else self._path
        return _bearer(place, [*first, *more])

    def _state(self) -> object:
        """By what it is seen that it has changed."""
        try:
            said = self._path.stat()
        except OSError:
            return None
        return said.st_mtime_ns, said.st_size, said.st_ino


def _bearer(place: object, entries: Iterable[TokenConfig]) -> BearerTokens:
    try:
        return BearerTokens([TokenEntry(**entry.model_dump()) for entry in entries])
    except InvalidInput as error:
        raise InvalidInput([f"{place}: {problem}" for problem in error.problems]) from None


def _tokens_in(path: Path, config: ServiceConfig) -> tuple[TokenConfig, ...]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidInput([f"{path}: {FILE_BYTES_MAX} bytes or less are accepted"])
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
