"""Importing this lets a bench use the tests' own servers, however it was started."""

import sys
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1] / "tests"
sys.path.append(str(TESTS))
