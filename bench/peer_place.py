"""Where the peer of `bench.peer` lives; it needs CPython 3.13 and older versions of what we use."""

from pathlib import Path
from typing import Final

from bench._place import ARS, NEWER, interpreter
from bench._place import ROOT as ROOT  # noqa: PLC0414  for whoever looks for it here

VERSION: Final = NEWER
_interpreter: Final = interpreter


def peer_python() -> Path:
    """See `Place.python`."""
    return ARS.python()
