"""What a store of one's own is made of, and the checks that it must pass.

`store_at` gives the store that a URL names.  That of another package is found by the scheme
(`Engine(store="postgresql://...")`) when the package declares it as an entry point of the group
`interlock.stores`: a callable that is given the URL and returns a `Store`.
`interlock.testing.STORE_CHECKS` say what it has to keep.
"""

from interlock._shared import FiringStore, RunTurn, SharedStore, Turns, shared
from interlock._store import (
    Claim,
    Commit,
    MemoryStore,
    Store,
    TaskPage,
    TaskQuery,
    TokenTaken,
    TurnWanted,
    Watch,
    findings,
    served,
    whole_log,
)
from interlock._store_at import store_at

__all__ = [
    "Claim",
    "Commit",
    "FiringStore",
    "MemoryStore",
    "RunTurn",
    "SharedStore",
    "Store",
    "TaskPage",
    "TaskQuery",
    "TokenTaken",
    "TurnWanted",
    "Turns",
    "Watch",
    "findings",
    "served",
    "shared",
    "store_at",
    "whole_log",
]
