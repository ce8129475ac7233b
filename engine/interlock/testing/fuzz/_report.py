"""What came of fuzzing: the runs, what they covered, and every failure with what replays it."""

import inspect
import linecache
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final, TypeAlias, TypeVar

from interlock._event import Event
from interlock._record import TaskRecord
from interlock.diagram import Key
from interlock.errors import InvalidInput
from interlock.testing.fuzz._own import is_own

#: What must hold of every task after every step: given its record and its log so far.  It is
#: broken when it raises AssertionError, or returns False.
Invariant: TypeAlias = Callable[[TaskRecord, Sequence[Event]], object]

F = TypeVar("F", bound=Invariant)

#: Characters of what an error says.
_WORDS_MAX: Final = 200

#: Set on what `invariant` has seen.
_MARK: Final = "__interlock_invariant__"

#: The kind of a failure that an invariant of the user's found, before its name: "user:paid".
USER: Final = "user"


def invariant(check: F) -> F:
    """Have `interlock fuzz` look at this after every step, when it fuzzes something of its module.

    Called with the record of a task and its log; it is broken when it raises AssertionError, or
    returns False.

    Raises:
        InvalidInput: it is an async function, which nobody would await, or takes other arguments.
    """
    check_invariants([check])
    setattr(check, _MARK, True)
    return check


def check_invariants(checks: Iterable[Invariant]) -> None:
    """Refuse what could not be broken.

    Raises:
        InvalidInput: one cannot be called with a record and a log, or nobody would await it.
    """
    for check in checks:
        if not callable(check):
            said = f"an invariant is of type {type(check).__name__}"
        elif inspect.iscoroutinefunction(check) or inspect.isgeneratorfunction(check):
            said = f"the invariant {name_of_check(check)} is no plain function"
        elif not _takes_both(check):
            said = f"the invariant {name_of_check(check)} takes other arguments"
        else:
            continue
        raise InvalidInput([f"{said}; a plain function of a record and a log is accepted"])


def _takes_both(check: Invariant) -> bool:
    """Whether it can be called with a record and a log, as far as it tells."""
    try:
        inspect.signature(check).bind(None, ())
    except TypeError:
        return False
    except ValueError:  # It tells nothing.
        return True
    return True


def name_of_check(check: Invariant) -> str:
    """The name of an invariant."""
    return str(getattr(check, "__name__", type(check).__name__))


def invariants_of(module: ModuleType) -> tuple[Invariant, ...]:
    """What a module marks with `invariant`, in its order."""
    found = [value for value in vars(module).values() if callable(value)]
    return tuple(dict.fromkeys(value for value in found if getattr(value, _MARK, False) is True))


def broken(check: Invariant, record: TaskRecord, log: Sequence[Event]) -> str | None:
    """How the invariant is broken, in words; None if it holds.

    One that raises something else than AssertionError is broken, too: nobody knows if it holds.
    """
    try:
        held = check(record, log)
    except AssertionError as error:
        return str(error).partition("\n")[0] or f"{_asserted(error)} does not hold"
    except Exception as error:  # noqa: BLE001  whatever the user's own code raises
        return f"it raises {raised(error)}"
    if inspect.iscoroutine(held):
        held.close()
        return "it is no plain function, and nobody awaits it"
    return "it does not hold" if held is False else None


def _asserted(error: AssertionError) -> str:
    """The line of the assertion, and where it is."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    file = frame.f_code.co_filename
    code = linecache.getline(file, line).strip()[:_WORDS_MAX]
    what = code if code.startswith("assert") else "an assertion of it"
    return f"{what} ({Path(file).name}:{line})"


def raised(error: BaseException, *, says: bool = True) -> str:
    """An error in one line: of which type, what it says, and where the user's own code raised it.

    Without what it says all of one place are alike.
    """
    words = str(error).partition("\n")[0][:_WORDS_MAX] if says else ""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not place or is_own(file):
            place = f" at {Path(file).name}:{line}"
    return f"{type(error).__name__}{f': {words}' if words else ''}{place}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which a run went wrong, and the decisions that make it go so again."""

    #: "I17", "user:name", "deadlock", "replay", ...: the same kind is taken for the same bug.
    kind: str
    message: str
    seed: int
    #: Every decision of the run, shrunk: `replay` needs these, and the seed only names them.
    tape: tuple[int, ...]
    #: The trace: one line a move.
    steps: tuple[str, ...]
    #: The invariants of yours that were known to be broken by then, and not looked at.
    without: tuple[str, ...] = ()
    #: What the logs hold that came after the last move, a line for each task.
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What one run, or any number of them, came to."""

    runs: int = 0
    #: Tasks that were driven to their end.
    lives: int = 0
    #: Moves of the drivers.
    steps: int = 0
    #: How long it took, in seconds of real time.
    seconds: float = 0.0
    #: How often each row was taken.
    hits: Mapping[Key, int] = field(default_factory=lambda: MappingProxyType({}))
    #: Guard name -> how often it (held, refused).
    guards: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    failures: tuple[Failure, ...] = ()
    #: One a run, of the logs of all its tasks.
    digests: tuple[str, ...] = ()
    #: How many lives came to each outcome.
    outcomes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: What agents raised that no outcome is meant by, and where -> how often.
    errors: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    #: What is worth a word and fails nothing -> how often it was met.
    notes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: Where lives ended that did not complete ("at ask 'order'") -> how many.
    ends: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def merged(cls, reports: Iterable["Report"]) -> "Report":
        """Several as one, in their order; `seconds` is the sum.

        Of failures of one kind the one with the shortest tape stays, in the place of the first.
        """
        every = tuple(reports)
        hits: Counter[Key] = Counter()
        guards: dict[str, tuple[int, int]] = {}
        failures: dict[str, Failure] = {}
        for report in every:
            hits.update(report.hits)
            for name, (held, refused) in report.guards.items():
                before = guards.get(name, (0, 0))
                guards[name] = (before[0] + held, before[1] + refused)
            for failure in report.failures:
                known = failures.get(failure.kind)
                if known is None or len(failure.tape) < len(known.tape):
                    failures[failure.kind] = failure
        return cls(
            runs=sum(report.runs for report in every),
            lives=sum(report.lives for report in every),
            steps=sum(report.steps for report in every),
            seconds=sum(report.seconds for report in every),
            hits=dict(hits),
            guards=guards,
            failures=tuple(failures.values()),
            digests=tuple(digest for report in every for digest in report.digests),
            outcomes=_added(report.outcomes for report in every),
            errors=_added(report.errors for report in every),
            notes=_added(report.notes for report in every),
            ends=_added(report.ends for report in every),
        )


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
