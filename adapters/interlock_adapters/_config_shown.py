"""What may be seen of a configuration: all of it but its secrets."""

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from interlock import JsonValue

#: What stands in a secret's place.
HIDDEN: Final = "(secret)"


_NONE: Final[frozenset[str]] = frozenset()


class Setting(BaseModel):
    """A part of a configuration; it prints without its secrets."""

    model_config = ConfigDict(
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
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    if not parts.query and "@" not in parts.netloc:
        return text
    query = f"?{HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def _first_only(value: object) -> JsonValue:
    """A command without its arguments, which may be secrets; of a text nothing."""
    if isinstance(value, str):
        return HIDDEN
    items = cast("tuple[object, ...]", value or ())
    return [shown(item) for item in items[:1]] + [HIDDEN] * (len(items) > 1) if items else None
