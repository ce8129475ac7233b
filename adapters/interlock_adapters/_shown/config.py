"""What may be seen of a configuration: all of it but its secrets."""

import os
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import ClassVar, Final, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from interlock import JsonValue

#: What stands in a secret's place.
HIDDEN: Final = "(secret)"
#: Hosts with their ports, and a path: nobody and no password before them.
_ADDRESS: Final = re.compile(r"[^:/@]*(:[0-9]*)?(,[^:/@]*(:[0-9]*)?)*(/[^@]*)?")
#: Who comes before an address, if all that is secret of it is taken from the environment.
_REFERENCES: Final = re.compile(r"([^:@]*:)?(\$\{\w+\})+", re.ASCII)

#: A value of the environment, with what the file says if there is none.
_REFERENCE: Final = re.compile(r"\$\{(\w+)[^}]*\}", re.ASCII)
#: What may stand before a secret and is none.
_SCHEMES: Final = frozenset({"", "Basic", "Bearer", "Token"})

_NONE: Final[frozenset[str]] = frozenset()


class Setting(BaseModel):
    """A part of a configuration; it prints without its secrets."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=True,
        # A secret that is of the wrong kind must not be quoted by the error that says so.
        hide_input_in_errors=True,
    )

    def __repr__(self) -> str:
        """Its name and what is shown of it."""
        return f"{type(self).__name__}({shown(self)})"

    __str__ = __repr__


def shown(value: object) -> JsonValue:  # noqa: PLR0911  one for each kind of value
    """A value as JSON: secrets hidden, objects of the service by their names."""
    match value:
        case None | bool() | int() | float():
            return value
        case SecretStr():
            return HIDDEN
        case str():
            return without_secrets(value)
        case os.PathLike():
            return os.fspath(cast("os.PathLike[str]", value))
        case BaseModel():
            hidden = cast("frozenset[str]", getattr(type(value), "HIDDEN_FIELDS", _NONE))
            return {
                field.alias or name: _first_only(getattr(value, name))
                if name in hidden
                else shown(getattr(value, name))
                for name, field in type(value).model_fields.items()
            }
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {str(key): shown(item) for key, item in items}
        case AbstractSet():
            return sorted((shown(item) for item in cast("AbstractSet[object]", value)), key=str)
        case tuple() | list():
            return [shown(item) for item in cast("list[object]", value)]
        case _:
            named = getattr(value, "__qualname__", None) or type(value).__qualname__
            return f"{getattr(value, '__module__', '')}:{named}"


def without_secrets(text: str) -> str:
    """A URL without what may be a secret in it; any other text as it is."""
    scheme, found, rest = text.partition("://")
    if not found or scheme == "sqlite":
        return text
    if scheme not in {"http", "https"}:
        return _bare(scheme, rest)
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    if not parts.query and "@" not in parts.netloc:
        return text
    query = f"?{HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def as_written(text: str) -> str:
    """What a file says where a value of the environment stands: in it, too, may be a secret."""
    scheme, found, rest = text.partition("://")
    # Perhaps the address has no end of its own, as in ${URL:-http://...}: the last @ counts.
    who, at, _ = rest.rpartition("@")
    if not found or scheme == "sqlite":
        return text
    is_known = at and _REFERENCES.fullmatch(who)
    if scheme in {"http", "https"}:
        return text if is_known or not at else f"{scheme}://{rest.rpartition('@')[2]}"
    shown = _bare(scheme, rest)
    return shown.replace("://", f"://{who}@", 1) if is_known else shown


def references_of(text: str) -> str:
    """Where a secret stands: what it takes from the environment, and nothing that is beside it."""
    said: list[str] = []
    at = 0
    for found in _REFERENCE.finditer(text):
        said += _beside(text[at : found.start()]), f"${{{found[1]}}}"
        at = found.end()
    return "".join([*said, _beside(text[at:])])


def _beside(text: str) -> str:
    return text if text.strip() in _SCHEMES else HIDDEN


def _bare(scheme: str, rest: str) -> str:
    """A URL of a store, of which nobody knows how far a password that is badly quoted goes."""
    before, asked, options = rest.partition("?")
    if "@" in options and not _ADDRESS.fullmatch(before):
        # A question mark of a password, perhaps: it begins no options.
        before, asked, _ = options.rpartition("@")[2].partition("?")
    return f"{scheme}://{before.rpartition('@')[2]}{f'?{HIDDEN}' if asked else ''}"


def _first_only(value: object) -> JsonValue:
    """A command without its arguments, which may be secrets; of a text nothing."""
    if isinstance(value, str):
        return HIDDEN
    items = cast("tuple[object, ...]", value or ())
    return [shown(item) for item in items[:1]] + [HIDDEN] * (len(items) > 1) if items else None
