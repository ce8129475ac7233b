"""For tests of what you build on the engine: a clock, a scripted model, contract suites."""

from interlock.testing._clock import ManualClock
from interlock.testing._oracle import violations
from interlock.testing._scripted_model import (
    ModelCall,
    ModelTurn,
    ScriptedModel,
    ScriptExhausted,
)
from interlock.testing._shared_contract import (
    SHARED_STORE_CHECKS,
    SharedStoreCheck,
    SharedStoreMaker,
    check_turns_of_the_dead_are_handed_out_again,
)
from interlock.testing._shared_memory import MemoryTurns, SharedMemory, SharedMemoryStore
from interlock.testing._store_contract import (
    DURABLE_STORE_CHECKS,
    STORE_CHECKS,
    StoreCheck,
    StoreMaker,
    check_verify_finds_tampering,
)

__all__ = [
    "DURABLE_STORE_CHECKS",
    "SHARED_STORE_CHECKS",
    "STORE_CHECKS",
    "ManualClock",
    "MemoryTurns",
    "ModelCall",
    "ModelTurn",
    "ScriptExhausted",
    "ScriptedModel",
    "SharedMemory",
    "SharedMemoryStore",
    "SharedStoreCheck",
    "SharedStoreMaker",
    "StoreCheck",
    "StoreMaker",
    "check_turns_of_the_dead_are_handed_out_again",
    "check_verify_finds_tampering",
    "violations",
]
