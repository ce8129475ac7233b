"""The table in the code is the table in the spec: two readers, one truth.

`make rewrite` leaves the spec alone: whoever changes the behaviour writes it twice.
"""

from pathlib import Path

from interlock._transitions import TABLE, Row
from lives import named

SPEC = Path(__file__).parents[2] / "specs/transitions.md"


def cells(row: Row) -> tuple[str, ...]:
    """A row as the spec writes it."""
    return (
        "(new)" if row.source is None else row.source.value,
        row.trigger.value,
        row.when.name if row.when else "",
        ", ".join(guard.name for guard in row.requires),
        row.dest.value,
        ", ".join(map(named, row.effects)),
    )


def test_the_table_is_the_spec_row_by_row() -> None:
    """Same rows, same order, same conditions, same effects.

    Source: STYLE 2.4, rule 8, R-LIFE-01.
    """
    lines = SPEC.read_text(encoding="utf-8").splitlines()
    header = lines.index("| from | trigger | when | requires | to | effects |")
    written: list[tuple[str, ...]] = []
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            break
        written.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    assert written == [cells(row) for row in TABLE]


def test_the_spec_explains_every_guard_of_the_table() -> None:
    """A name in the table that no sentence explains is not a specification."""
    text = SPEC.read_text(encoding="utf-8")
    guards = {guard.name for row in TABLE for guard in (*row.requires, row.when) if guard}
    assert {name for name in guards if f"\n| `{name}` | " not in text} == set()
