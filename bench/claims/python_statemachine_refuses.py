"""python-statemachine: a trigger that the state has no row for is an error, and nothing changes.

What it holds is an object in memory: whoever wants it kept writes it down.
"""

import importlib
from typing import Any, Final

from bench.claims._seen import tell

library: Final[Any] = importlib.import_module("statemachine")
exceptions: Final[Any] = importlib.import_module("statemachine.exceptions")


def _main() -> None:
    a, b, c = library.State(initial=True), library.State(), library.State(final=True)
    rows = {"a": a, "b": b, "c": c, "go": a.to(b), "end": b.to(c)}
    machine = type(library.StateMachine)("Life", (library.StateMachine,), rows)()
    try:
        machine.send("end")
        said = "nothing"
    except exceptions.TransitionNotAllowed as error:
        said = str(error)
    states = [state.id for state in machine.configuration]
    tell(
        holds=said != "nothing" and states == ["a"],
        seen=f"`end` in `a` says: {said}  It is in {', '.join(states)}.",
    )


if __name__ == "__main__":
    _main()
