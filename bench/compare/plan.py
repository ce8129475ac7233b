"""Who is compared, and how much of everything is done."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from bench import _place

MEMORY: Final = "memory:"
ALL: Final = ("life", "first", "ask", "answer", "cancel")
EMBEDDED: Final = "embedded"
A2A: Final = "A2A server"
MCP: Final = "MCP server"

_FULL: Final = "SQLite, WAL, synchronous=FULL"
_JOURNAL: Final = "SQLite, rollback journal, synchronous=FULL (as SQLAlchemy opens it)"
_NOTHING: Final = "in memory: nothing survives the process"


class Sizes(NamedTuple):
    """How much of everything; times in seconds are bounds for whoever is slow."""

    rounds: int = 4
    warm_up: int = 320
    warm_up_s: float = 3.0
    #: One client, in blocks that take turns.
    blocks: int = 4
    block: int = 15
    block_s: float = 2.0
    load: int = 1_600
    load_s: float = 6.0
    at_once: int = 16
    #: Of the durable throughput, where many share a sync of the disk.
    many: int = 100
    syncs: int = 60
    levels: tuple[int, ...] = (1_000, 10_000, 100_000)
    fill_s: float = 110.0
    #: Of one level, for both sides together; short, so that a neighbour falls on both alike.
    growth_blocks: int = 24
    growth_block: int = 10
    growth_block_s: float = 1.5
    #: Ours keeps a coroutine for 5 s after a question: what is held is looked at after that.
    settle_s: float = 6.5
    idle_s: float = 3.0
    machine_rounds: int = 5


QUICK: Final = Sizes(
    rounds=1,
    warm_up=64,
    warm_up_s=1.0,
    blocks=2,
    block=8,
    block_s=0.6,
    load=320,
    load_s=1.5,
    syncs=20,
    levels=(200, 2_000),
    fill_s=3.0,
    growth_blocks=4,
    growth_block=8,
    growth_block_s=0.5,
    idle_s=0.5,
    machine_rounds=2,
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One peer, or one of ours, in one of its settings."""

    name: str
    kind: str
    #: Where its tasks are kept, and how well.
    kept: str
    #: Below `bench`.
    module: str
    python: Callable[[], Path]
    durable: bool = False
    #: Of a server: its arguments; DATABASE is put in the place of "{}".
    arguments: tuple[str, ...] = ()
    path: str = "/rpc"
    rows: tuple[str, ...] = ALL
    #: Ours that it is compared with; "" for ours.
    beside: str = ""
    #: Why it has no such row.
    lacks: dict[str, str] = field(default_factory=dict[str, str])
    #: Whether many tasks of it are made.
    grows: bool = True


def ours() -> Path:
    """The interpreter of this checkout."""
    return Path(sys.executable)


_NO_CANCEL: Final = (
    "the library has no cancel: a caller cancels its own coroutine, and the thread's "
    "checkpoint says nothing of it"
)
_NO_PUSH: Final = "neither server tells of a task unasked: clients poll"
_NO_ANSWER: Final = "an answer makes a new task; the old one asks for ever"

OURS_EMBEDDED: Final = "Interlock, SQLite"
OURS_EMBEDDED_MEMORY: Final = "Interlock, memory"
OURS_A2A: Final = "Interlock A2A, SQLite"
OURS_A2A_MEMORY: Final = "Interlock A2A, memory"
OURS_MCP: Final = "Interlock MCP, SQLite"
OURS_MCP_MEMORY: Final = "Interlock MCP, memory"

ARMS: Final = (
    Arm(OURS_EMBEDDED, EMBEDDED, _FULL, "compare.arm_interlock", ours, durable=True),
    Arm(OURS_EMBEDDED_MEMORY, EMBEDDED, _NOTHING, "compare.arm_interlock", ours, grows=False),
    Arm(
        "LangGraph, SQLite",
        EMBEDDED,
        f"{_FULL}; AsyncSqliteSaver, its default durability (async)",
        "compare.arm_langgraph",
        _place.LANGGRAPH.python,
        durable=True,
        rows=("life", "first", "ask", "answer"),
        beside=OURS_EMBEDDED,
        lacks={"cancel": _NO_CANCEL},
    ),
    Arm(
        "LangGraph, memory",
        EMBEDDED,
        f"{_NOTHING} (InMemorySaver)",
        "compare.arm_langgraph",
        _place.LANGGRAPH.python,
        rows=("life", "first", "ask", "answer"),
        beside=OURS_EMBEDDED_MEMORY,
        lacks={"cancel": _NO_CANCEL},
        grows=False,
    ),
    Arm(
        "DBOS, SQLite",
        EMBEDDED,
        f"{_JOURNAL}; it looks every 10 ms, by default every second",
        "compare.arm_dbos",
        _place.DBOS.python,
        durable=True,
        beside=OURS_EMBEDDED,
    ),
    Arm(
        OURS_A2A,
        A2A,
        _FULL,
        "compare.serve_interlock",
        ours,
        durable=True,
        arguments=("{}",),
    ),
    Arm(OURS_A2A_MEMORY, A2A, _NOTHING, "compare.serve_interlock", ours, arguments=(MEMORY,)),
    Arm(
        "a2a-sdk, memory",
        A2A,
        _NOTHING,
        "compare.serve_a2a_sdk",
        _place.A2A_SDK.python,
        arguments=("memory", "-"),
        beside=OURS_A2A_MEMORY,
    ),
    Arm(
        "a2a-sdk, SQLite",
        A2A,
        f"{_JOURNAL}; DatabaseTaskStore",
        "compare.serve_a2a_sdk",
        _place.A2A_SDK.python,
        durable=True,
        arguments=("sqlite", "{}"),
        beside=OURS_A2A,
    ),
    Arm(
        "a2a-sdk, cluster",
        A2A,
        f"{_JOURNAL}; VersionedDatabaseTaskStore and DatabaseTaskEventStream, one replica",
        "compare.serve_a2a_sdk",
        _place.A2A_SDK.python,
        durable=True,
        arguments=("cluster", "{}"),
        beside=OURS_A2A,
    ),
    Arm(
        "fasta2a",
        A2A,
        f"{_NOTHING}; it has no other storage, and runs one task at a time",
        "compare.serve_fasta2a",
        _place.FASTA2A.python,
        path="/",
        rows=("life", "first", "ask", "cancel"),
        beside=OURS_A2A_MEMORY,
        lacks={"answer": _NO_ANSWER},
    ),
    Arm(
        OURS_MCP,
        MCP,
        _FULL,
        "mcp_peer_interlock",
        ours,
        durable=True,
        arguments=("{}",),
        rows=("life", "ask", "answer", "cancel"),
        lacks={"first": _NO_PUSH},
    ),
    Arm(
        OURS_MCP_MEMORY,
        MCP,
        _NOTHING,
        "mcp_peer_interlock",
        ours,
        arguments=(MEMORY,),
        rows=("life", "ask", "answer", "cancel"),
        lacks={"first": _NO_PUSH},
        grows=False,
    ),
    Arm(
        "fastmcp-tasks",
        MCP,
        f"{_NOTHING} (memory://)",
        "mcp_peer_fastmcp",
        _place.MCP.python,
        rows=("life", "ask", "answer", "cancel"),
        beside=OURS_MCP_MEMORY,
        lacks={"first": _NO_PUSH},
    ),
)
KINDS: Final = (EMBEDDED, A2A, MCP)
