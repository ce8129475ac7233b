"""Interpreters that others wrote, made to replay walks and to tell which row they took.

Each comes with a document of ours and knows nothing else of the table.  It is told the triggers
and what the guards came to, and says phase, row and effects in return.
"""

import ast
import contextlib
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeAlias, cast

from interlock.diagram._document import Declared
from interlock.diagram._scxml import scxml
from interlock.diagram._xstate import xstate
from interlock_adapters.crosscheck._walk import Seen, Trace

#: Replays walks on the one document that it was made with.
Replay: TypeAlias = Callable[[Sequence[Trace]], list[list[Seen]]]


class Unplayable(Exception):
    """The interpreter cannot load or run the document; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Player:
    """An interpreter, the document it reads, and how it is told to read it."""

    #: The name of its distribution.
    name: str
    #: What the document is called, for people.
    document: str
    export: Callable[[Declared], str]
    load: Callable[[str], Replay]

    @property
    def version(self) -> str | None:
        """The version that is installed, None if it is not."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def loaded(self, declared: Declared) -> Replay:
        """What replays walks on the exported table; both it and this may raise `Unplayable`."""
        document = self.export(declared)
        with _blamed():
            replay = self.load(document)

        def blamed(traces: Sequence[Trace]) -> list[list[Seen]]:
            with _blamed():
                return replay(traces)

        return blamed


@contextlib.contextmanager
def _blamed() -> Generator[None]:
    try:
        yield
    except Exception as error:  # (whatever another's interpreter may raise)
        raise Unplayable(f"{type(error).__name__}: {error}") from error


def _scxml_player(document: str) -> Replay:
    from statemachine import io as statecharts  # noqa: PLC0415  (of an extra)

    machine: Any = cast("Any", statecharts).load(document, format="scxml")

    def replay(traces: Sequence[Trace]) -> list[list[Seen]]:
        # Its `<log>` prints, and nothing of its own should come between.
        with contextlib.redirect_stdout(io.StringIO()) as log:
            return [_played(machine(), trace, log) for trace in traces]

    return replay


def _played(machine: Any, trace: Trace, log: io.StringIO) -> list[Seen]:  # noqa: ANN401  (its own)
    seen: list[Seen] = []
    for step in trace:
        log.seek(0)
        log.truncate()
        if not machine.is_terminated:
            machine.send(step.trigger, **step.holds)
        (phase,) = machine.configuration_values
        lines = [line.partition(": ") for line in log.getvalue().split("\n")[:-1]]
        told = [(label, str(ast.literal_eval(said))) for label, _, said in lines]
        seen.append(_seen(phase, told))
    return seen


def _xstate_player(document: str) -> Replay:
    from xstate_statemachine import (  # noqa: PLC0415  (of an extra)
        MachineLogic,
        SyncInterpreter,
        create_machine,
    )

    configuration = json.loads(document)
    told: list[tuple[str, str]] = []

    def holds(_context: object, event: Any, params: Any) -> bool:  # noqa: ANN401  (its own)
        return all(event.payload["holds"][name] for name in params["all"])

    def act(_machine: object, _context: object, _event: object, action: Any) -> None:  # noqa: ANN401
        told.append(_told(action.type, action.params or {}))

    transitions = list(_transitions(configuration))
    # Typed for the guards that take no parameters; it calls those that do with them.
    guards: dict[str, Any] = {
        each["guard"]["type"]: holds for each in transitions if "guard" in each
    }
    actions = {action["type"]: act for each in transitions for action in each["actions"]}
    logic: MachineLogic[Any] = MachineLogic(guards=guards, actions=actions)
    machine: Any = create_machine(configuration, logic=logic)

    def played(trace: Trace) -> list[Seen]:
        interpreter: Any = SyncInterpreter(machine).start()
        seen: list[Seen] = []
        for step in trace:
            told.clear()
            if interpreter.status != "done":
                interpreter.send({"type": step.trigger, "holds": step.holds})
            (path,) = interpreter.current_state_ids
            seen.append(_seen(path.rpartition(".")[2], told))
        interpreter.stop()
        return seen

    return lambda traces: [played(trace) for trace in traces]


def _transitions(configuration: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for state in configuration["states"].values():
        for transitions in state.get("on", {}).values():
            yield from transitions


def _told(name: str, params: dict[str, Any]) -> tuple[str, str]:
    if name == "row":
        return "row", params["id"]
    said = [field if value is True else str(value) for field, value in params.items()]
    return "effect", name + (f"({', '.join(said)})" if said else "")


def _seen(phase: str, told: Iterable[tuple[str, str]]) -> Seen:
    """What it says of a step.  Two rows at once are no row that anybody knows."""
    rows: list[str] = []
    effects: list[str] = []
    for label, said in told:
        (rows if label == "row" else effects).append(said)
    return Seen(phase, " and ".join(rows) if rows else None, tuple(effects))


PLAYERS: Final = (
    Player("python-statemachine", "SCXML", scxml, _scxml_player),
    Player("xstate-statemachine", "XState JSON", xstate, _xstate_player),
)
