"""LangGraph: a call that was under way when the process died is made again, and nobody is asked.

The run itself goes on after the kill, from its checkpointer's file.
"""

import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import killed, marks, note, tell

func: Final[Any] = importlib.import_module("langgraph.func")
sqlite: Final[Any] = importlib.import_module("langgraph.checkpoint.sqlite")

MODULE: Final = "bench.claims.langgraph_in_doubt"
THREAD: Final = {"configurable": {"thread_id": "1"}}


def _run(folder: Path, *, again: bool) -> object:
    def first() -> str:
        note(folder / "marks", "first")
        return "first"

    def pay() -> str:
        note(folder / "marks", "paid")
        if not again:
            time.sleep(60)  # The other side has it; its answer is on the way.
        return "paid"

    tasks = [func.task(first), func.task(pay)]
    with sqlite.SqliteSaver.from_conn_string(str(folder / "graph.db")) as saver:

        def flow(_: str) -> str:
            return [str(task().result()) for task in tasks][-1]

        graph = func.entrypoint(checkpointer=saver)(flow)
        return str(graph.invoke(None if again else "go", THREAD))


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        _run(Path(sys.argv[2]), again=False)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        killed(MODULE, folder, lambda: "paid" in marks(folder / "marks"))
        result = _run(folder, again=True)
        done = marks(folder / "marks")
    tell(
        holds=done == ["first", "paid", "paid"] and result == "paid",
        seen=f"killed while it paid; it went on and paid {done.count('paid')} times in all, "
        f"what had ended before ran {done.count('first')} time, no question",
    )


if __name__ == "__main__":
    _main()
