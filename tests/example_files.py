"""The files of examples/, as the modules that their users have."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

EXAMPLES: Final = Path(__file__).parents[1] / "examples"


def module_at(path: Path) -> ModuleType:
    """A file as a module, known by its own name as types in it want it."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
