"""For tests of what you build on the engine: a clock of your own, contract suites, an oracle."""

from interlock.testing._clock import ManualClock
from interlock.testing._oracle import violations
from interlock.testing._store_contract import (
    DURABLE_STORE_CHECKS,
    STORE_CHECKS,
    StoreCheck,
    StoreMaker,
    check_verify_finds_tampering,
)

__all__ = [
    "DURABLE_STORE_CHECKS",
    "STORE_CHECKS",
    "ManualClock",
    "StoreCheck",
    "StoreMaker",
    "check_verify_finds_tampering",
    "violations",
]
