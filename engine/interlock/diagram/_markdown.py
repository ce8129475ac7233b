"""The table itself, as a table of Markdown: every row with all that it says."""

from typing import Final

from interlock.diagram._document import Declared, effect_text
from interlock.diagram._document import text as storable

_HEAD: Final = "| from | trigger | when | requires | to | effects |\n|---|---|---|---|---|---|\n"
#: Signs that may mean something to Markdown where they stand.
_ACTIVE: Final = frozenset("\\`*{}[]<>#|!~&$")


def table(lifecycle: Declared) -> str:
    """The rows in order of evaluation, as `specs/transitions.md` writes them."""
    lines: list[str] = []
    for row in lifecycle.table:
        cells = (
            "(new)" if row.source is None else _escaped(row.source.value),
            _escaped(row.trigger.value),
            "" if row.when is None else _escaped(row.when.name),
            ", ".join(_escaped(guard.name) for guard in row.requires),
            _escaped(row.dest.value),
            ", ".join(_escaped(effect_text(effect)) for effect in row.effects),
        )
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n")
    return _HEAD + "".join(lines)


def _escaped(text: str) -> str:
    flat = " ".join(storable(text).split())
    escaped = "".join(f"\\{sign}" if sign in _ACTIVE else sign for sign in flat)
    # Within a word an underscore is one; around it it would be emphasis.
    inner = escaped.strip("_")
    before = len(escaped) - len(escaped.lstrip("_"))
    after = len(escaped) - before - len(inner)
    return "\\_" * before + inner + "\\_" * after
