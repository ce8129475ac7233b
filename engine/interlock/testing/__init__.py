"""For tests of what you build on the engine: a clock of your own, contract suites, an oracle."""

from interlock.testing._clock import ManualClock
from interlock.testing._oracle import violations

__all__ = ["ManualClock", "violations"]
