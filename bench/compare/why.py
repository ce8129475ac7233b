"""Why a row is behind, for the report: what a profiler found, by row and peer."""

from typing import Final

#: Nearer to 1 than this is the noise of the machine.
LIKE: Final = 0.97

_FASTA2A: Final = (
    "it keeps the wire's own dict in a dict: no lifecycle, no log, no owner, no check of a "
    "message; of ours a half is HTTP and JSON, a fifth the engine (submit 11 %, writer 8 %)"
)
_EARLY: Final = "its first event is the task as it was sent, before anything has begun"
_ENGINE: Final = "a first turn of ours is a coroutine with a record, a log and a deadline"
_ERROR: Final = "the peer answers with an error and deletes the task; ours goes to its end"
_THREAD: Final = (
    "a Python function cannot be stopped: ours says so after its grace time, the peer at once, "
    "while its thread goes on"
)
_LOG: Final = "ours runs the agent again from the log; the peer kept its thread"
_MADE: Final = (
    "half of the CPU is smolagents' constructor, which parses YAML and compiles a template for "
    "each run, of both; the peer has Python 3.13 and keeps nothing, ours 3.11 and a disk"
)
_DISK: Final = "ours is on the disk and the peer in memory"

#: By key of the row and name of the peer; the name "" is for every peer.
WHY: Final[dict[tuple[str, str], str]] = {
    ("make_us", "xstate-statemachine"): (
        "ours checks the submission and makes record, event and deadlines of it"
    ),
    ("trigger_us", "xstate-statemachine"): (
        "ours is `transitions` (8 µs of 12) with guards, data and effects of the shipped table"
    ),
    ("load-p99", "fasta2a"): _FASTA2A,
    ("load-p50", "fasta2a"): _FASTA2A,
    ("load-rate", "fasta2a"): _FASTA2A,
    ("load-cpu", "fasta2a"): _FASTA2A,
    ("life", "fasta2a"): _FASTA2A,
    ("life-cpu", "fasta2a"): _FASTA2A,
    ("first", "fasta2a"): _EARLY,
    ("ask", "fasta2a"): _FASTA2A,
    ("cancel", "fasta2a"): _FASTA2A,
    ("rss", ""): "ours has imported the engine, both faces' schemas and their libraries",
    ("parked-kb", "fasta2a"): (
        "its task is one dict and can never be answered; ours has a deadline and a log"
    ),
    ("parked-kb", ""): _ENGINE,
    ("parked-rate", "fasta2a"): _FASTA2A,
    ("restart", ""): "ours takes longer to import; the answer itself is in the table below",
    ("peer", ""): "see bench/results/peer.md",
    ("deny → over, p50 ms", "agent-runtime-sdk"): _ERROR,
    ("deny → over, p99 ms", "agent-runtime-sdk"): _ERROR,
    ("cancel in a tool → reply, p50 ms", "agent-runtime-sdk"): _THREAD,
    ("cancel in a tool → over, p50 ms", "agent-runtime-sdk"): _THREAD,
    ("then answered and completed, tasks/s", "agent-runtime-sdk"): _LOG,
    ("answer → completed, p99 ms", "agent-runtime-sdk"): _LOG,
    ("approve → completed, p99 ms", "agent-runtime-sdk"): _LOG,
    **{
        (f"{load}: {what}", "agent-runtime-sdk"): _MADE
        for load in (
            "no tool, 1 at once",
            "no tool, 64 at once",
            "one tool call, 1 at once",
            "one tool call, 8 at once",
            "one tool call, 64 at once",
        )
        for what in ("submit → completed, p50 ms", "tasks/s", "CPU ms per task of the server")
    },
    ("one tool call, 1 at once: p99 ms", "agent-runtime-sdk"): _DISK,
}
