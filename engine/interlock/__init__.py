"""An embeddable task engine for AI agents: every task lives on one declared state machine."""

from importlib.metadata import PackageNotFoundError, version

from interlock._agent import Agent, Ask, Authorize, Emit, Progress, Result
from interlock._clock import Alarm, Clock, SystemClock
from interlock._context import TaskContext, TaskInput
from interlock._engine import Engine
from interlock._event import Event, Signal
from interlock._handle import Possible, TaskHandle, can, result_of, value_of
from interlock._machine import LIFECYCLE, Lifecycle, Move, fire, fold
from interlock._observer import (
    CallSeen,
    ModelUsed,
    Observer,
    Statistics,
    TurnSeen,
    Usage,
    model_call,
)
from interlock._operator import (
    answer_stopped,
    cancel_stopped,
    decide_stopped,
    decline_stopped,
    resume_stopped,
)
from interlock._outbox import Deliverer, DeliveryFailed, NewWatch, TaskView
from interlock._phases import LIVE, OUTCOMES, OVER, VISIBLE, WAITING, Phase, PhaseSet, Trigger
from interlock._record import Ask as OpenAsk
from interlock._record import AskKind, Ended, StopCause, Stopping, TaskRecord
from interlock._sqlite import SqliteStore
from interlock._sqlite_backup import Backup, backup, stored_findings
from interlock._sqlite_doctor import (
    Examination,
    OpenCalls,
    OpenQuestion,
    StuckWatch,
    Unreadable,
    examine,
)
from interlock._sqlite_peek import stored_log, stored_moves, stored_phases
from interlock._store import MemoryStore, Store, TaskPage, TaskQuery, Watch
from interlock._sync import SyncTaskContext
from interlock._toolbox import SourceState, Toolbox
from interlock.diagram import mermaid
from interlock.models import (
    Answer,
    Approval,
    Artifact,
    Denial,
    JsonObject,
    JsonValue,
    Limits,
    Part,
    Retention,
    Retry,
)
from interlock.policy import Policies, Policy, Refuse, RequiredInput, When
from interlock.tools import (
    Question,
    Refreshable,
    Tool,
    ToolCall,
    ToolResult,
    ToolSource,
    ToolUse,
    Unfinished,
)

try:
    __version__: str = version("interlock")
except PackageNotFoundError:  # copied into a program, without its metadata
    __version__ = "0+unknown"

__all__ = [
    "LIFECYCLE",
    "LIVE",
    "OUTCOMES",
    "OVER",
    "VISIBLE",
    "WAITING",
    "Agent",
    "Alarm",
    "Answer",
    "Approval",
    "Artifact",
    "Ask",
    "AskKind",
    "Authorize",
    "Backup",
    "CallSeen",
    "Clock",
    "Deliverer",
    "DeliveryFailed",
    "Denial",
    "Emit",
    "Ended",
    "Engine",
    "Event",
    "Examination",
    "JsonObject",
    "JsonValue",
    "Lifecycle",
    "Limits",
    "MemoryStore",
    "ModelUsed",
    "Move",
    "NewWatch",
    "Observer",
    "OpenAsk",
    "OpenCalls",
    "OpenQuestion",
    "Part",
    "Phase",
    "PhaseSet",
    "Policies",
    "Policy",
    "Possible",
    "Progress",
    "Question",
    "Refreshable",
    "Refuse",
    "RequiredInput",
    "Result",
    "Retention",
    "Retry",
    "Signal",
    "SourceState",
    "SqliteStore",
    "Statistics",
    "StopCause",
    "Stopping",
    "Store",
    "StuckWatch",
    "SyncTaskContext",
    "SystemClock",
    "TaskContext",
    "TaskHandle",
    "TaskInput",
    "TaskPage",
    "TaskQuery",
    "TaskRecord",
    "TaskView",
    "Tool",
    "ToolCall",
    "ToolResult",
    "ToolSource",
    "ToolUse",
    "Toolbox",
    "Trigger",
    "TurnSeen",
    "Unfinished",
    "Unreadable",
    "Usage",
    "Watch",
    "When",
    "answer_stopped",
    "backup",
    "can",
    "cancel_stopped",
    "decide_stopped",
    "decline_stopped",
    "examine",
    "fire",
    "fold",
    "mermaid",
    "model_call",
    "result_of",
    "resume_stopped",
    "stored_findings",
    "stored_log",
    "stored_moves",
    "stored_phases",
    "value_of",
]
