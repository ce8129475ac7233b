"""What may leave the process: every attribute and every field of a log passes here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from interlock import JsonValue

__all__ = ["REDACTED", "Attributes", "Redact", "Redactor", "Value"]

#: Given the name of an attribute or field and its value, what leaves instead; None: nothing does.
Redact: TypeAlias = Callable[[str, JsonValue], JsonValue]
#: What an attribute may be.
Value: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = dict[str, Value]

#: What leaves instead of a value that could not be redacted.
REDACTED: Final = "[redacted]"


class Redactor:
    """Applies the hook.  One that raises, or gives what is no value, lets nothing out."""

    def __init__(self, redact: Redact | None) -> None:
        self._redact: Final = redact

    def value(self, name: str, value: Value) -> Value | None:
        """What leaves for a value; None for nothing."""
        if self._redact is None:
            return value
        plain = cast("JsonValue", value if isinstance(value, str | int | float) else list(value))
        try:
            said = cast("object", self._redact(name, plain))
        except Exception:  # noqa: BLE001  foreign code; what it was given may be secret
            return REDACTED
        if said is None or isinstance(said, str | bool | int | float):
            return said
        if isinstance(said, list) and all(
            isinstance(one, str) for one in cast("list[object]", said)
        ):
            return cast("list[str]", said)
        return REDACTED

    def text(self, name: str, text: str) -> str:
        """What leaves for a text that cannot be left out, such as the name of a span."""
        said = self.value(name, text)
        return said if isinstance(said, str) else REDACTED

    def attributes(self, attributes: Mapping[str, Value | None]) -> Attributes:
        """What leaves of attributes; those that are None or "" do not."""
        made: Attributes = {}
        for name, value in attributes.items():
            said = None if value is None or value == "" else self.value(name, value)
            if said is not None:
                made[name] = said
        return made
