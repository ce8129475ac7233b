"""The exported lifecycle, checked in: what other tools read.  `make rewrite` writes it again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from interlock._machine import LIFECYCLE
from interlock.diagram._document import Declared
from interlock.diagram._scxml import scxml
from interlock.diagram._xstate import xstate

SPECS: Final = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize(
    ("name", "export"), [("lifecycle.scxml", scxml), ("lifecycle.xstate.json", xstate)]
)
def test_the_export_in_the_specs_is_that_of_the_table(
    name: str, export: Callable[[Declared], str]
) -> None:
    """The documents that others load and the code that runs come from one table.

    Source: R-PIC-07, R-PIC-08.
    """
    path = SPECS / name
    if os.environ.get("REWRITE"):
        path.write_text(export(LIFECYCLE), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == export(LIFECYCLE)
    assert export(LIFECYCLE) == export(LIFECYCLE)
