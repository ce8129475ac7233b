"""Importing this lets a bench use the tests' own servers, however it was started."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
