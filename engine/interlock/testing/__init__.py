"""For tests of what you build on the engine: a clock, a scripted model, contract suites."""

from interlock.testing._clock import ManualClock
from interlock.testing._oracle import violations
from interlock.testing._scripted_model import (
    ModelCall,
    ModelTurn,
    ScriptedModel,
    ScriptExhausted,
)
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
    "ModelCall",
    "ModelTurn",
    "ScriptExhausted",
    "ScriptedModel",
    "StoreCheck",
    "StoreMaker",
    "check_verify_finds_tampering",
    "violations",
]
