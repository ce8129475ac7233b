"""DBOS: a step that was under way when the process died is run again, and nobody is asked.

The workflow goes on by itself at the next start, and steps that had ended are not run again.
"""

import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import killed, marks, note, tell

dbos: Final[Any] = importlib.import_module("dbos")
MODULE: Final = "bench.claims.dbos_in_doubt"


def _main() -> None:
    child = sys.argv[1:2] == ["child"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[2] if child else place)
        if not child:
            killed(MODULE, folder, lambda: "paid" in marks(folder / "marks"))
        url = f"sqlite:///{folder / 'dbos.db'}"
        dbos.DBOS(config={"name": "claim", "system_database_url": url, "log_level": "ERROR"})

        def first() -> None:
            note(folder / "marks", "first")

        def pay() -> str:
            note(folder / "marks", "paid")
            if child:
                time.sleep(60)  # The other side has it; its answer is on the way.
            return "paid"

        steps = [dbos.DBOS.step()(first), dbos.DBOS.step()(pay)]

        def flow() -> str:
            return [str(step()) for step in steps][-1]

        workflow = dbos.DBOS.workflow()(flow)
        dbos.DBOS.launch()
        if child:
            with dbos.SetWorkflowID("1"):
                workflow()
        result = dbos.DBOS.retrieve_workflow("1").get_result()
        done = marks(folder / "marks")
        dbos.DBOS.destroy()
    tell(
        holds=done == ["first", "paid", "paid"] and result == "paid",
        seen=f"killed while it paid; the next start went on and paid {done.count('paid')} times "
        f"in all, what had ended before ran {done.count('first')} time, no question",
    )


if __name__ == "__main__":
    _main()
