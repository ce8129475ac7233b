"""LangGraph: what a node did before `interrupt` is done again when it goes on.

What a function under `@task` did is not: its result is kept.
"""

import importlib
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import marks, note, tell

graphs: Final[Any] = importlib.import_module("langgraph.graph")
func: Final[Any] = importlib.import_module("langgraph.func")
types: Final[Any] = importlib.import_module("langgraph.types")
sqlite: Final[Any] = importlib.import_module("langgraph.checkpoint.sqlite")

THREAD: Final = {"configurable": {"thread_id": "1"}}


def _of_a_node(folder: Path) -> int:
    def node(_: Any) -> dict[str, str]:  # noqa: ANN401  the graph's state
        note(folder / "node", "paid")
        return {"city": types.interrupt("Which city?")}

    builder = graphs.StateGraph(dict)
    builder.add_node("node", node)
    builder.add_edge(graphs.START, "node")
    with sqlite.SqliteSaver.from_conn_string(str(folder / "node.db")) as saver:
        graph = builder.compile(checkpointer=saver)
        graph.invoke({}, THREAD)
        graph.invoke(types.Command(resume="Lisbon"), THREAD)
    return len(marks(folder / "node"))


def _of_a_task(folder: Path) -> int:
    def pay() -> str:
        note(folder / "task", "paid")
        return "paid"

    pay_once = func.task(pay)

    with sqlite.SqliteSaver.from_conn_string(str(folder / "task.db")) as saver:

        def flow(_: str) -> str:
            pay_once().result()
            return str(types.interrupt("Which city?"))

        graph = func.entrypoint(checkpointer=saver)(flow)
        graph.invoke("go", THREAD)
        graph.invoke(types.Command(resume="Lisbon"), THREAD)
    return len(marks(folder / "task"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        node, task = _of_a_node(Path(folder)), _of_a_task(Path(folder))
    tell(
        holds=(node, task) == (2, 1),
        seen=f"one question: what stood before it in the node ran {node} times, under @task {task}",
    )
