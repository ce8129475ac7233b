"""xstate-statemachine: a trigger that the state has no row for is ignored without a word.

It can keep a machine on SQLite, with locks and deadlines: `xstate_statemachine.persistence`.
"""

import importlib
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import tell

library: Final[Any] = importlib.import_module("xstate_statemachine")
persistence: Final[Any] = importlib.import_module("xstate_statemachine.persistence")
LIFE: Final = {
    "id": "life",
    "initial": "a",
    "states": {"a": {"on": {"GO": "b"}}, "b": {"on": {"END": "c"}}, "c": {"type": "final"}},
}


def _main() -> None:
    machine = library.create_machine(LIFE)
    run = library.SyncInterpreter(machine).start()
    said = run.send("END")
    after_end = sorted(run.current_state_ids)
    run.send("GO")
    with tempfile.TemporaryDirectory() as place:
        store = persistence.SQLiteStore(str(Path(place) / "store.db"))
        persistence.save_interpreter(store, "1", run)
        loaded: Any = persistence.load_interpreter(store, "1", machine)
        kept: list[str] = sorted(loaded[0].current_state_ids)
    tell(
        holds=after_end == ["life.a"] and said is None and kept == ["life.b"],
        seen=f"`END` in `a` says {said} and leaves it in {after_end[0]}; "
        f"saved on SQLite and loaded again it is in {kept[0]}",
    )


if __name__ == "__main__":
    _main()
