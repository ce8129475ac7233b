"""Headers that a message carries to the tools: picked at the door, shown to nobody.

The context of a call is logged by libraries, so what is in it must not print its values.
Only names that the settings list are ever read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from a2a.server.context import ServerCallContext

#: Where a binding leaves them in the state of the call.
CARRIED: Final = "interlock_carried"


class Carried(Mapping[str, str]):
    """The values by their names in lower case; prints the names only."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values: Final = dict(values)

    def __getitem__(self, name: str) -> str:
        """See `Mapping`."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """See `Mapping`."""
        return iter(self._values)

    def __len__(self) -> int:
        """See `Mapping`."""
        return len(self._values)

    def __repr__(self) -> str:
        """The names: each value may be a credential."""
        return f"Carried({', '.join(self._values)})"


def carried(headers: Iterable[tuple[str, str]], names: Collection[str]) -> Carried:
    """Those of the headers that are to be carried; the values of one that came twice are joined."""
    values: dict[str, str] = {}
    for given, value in headers:
        name = given.lower()
        if name in names:
            values[name] = f"{values[name]}, {value}" if name in values else value
    return Carried(values)


def carried_by(context: ServerCallContext) -> Mapping[str, str]:
    """What a call carries, for the engine."""
    kept: object = context.state.get(CARRIED)
    return dict(kept) if isinstance(kept, Carried) else {}
