"""LangGraph: what a person approved is not what runs, if the node works it out anew.

The node runs again from its start with the answer, and nothing compares what it shows then.
"""

import importlib
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import marks, note, tell

graphs: Final[Any] = importlib.import_module("langgraph.graph")
types: Final[Any] = importlib.import_module("langgraph.types")
sqlite: Final[Any] = importlib.import_module("langgraph.checkpoint.sqlite")

THREAD: Final = {"configurable": {"thread_id": "1"}}


def _main(folder: Path) -> None:
    prices = iter([5, 5000])  # What the shop says, the second time.

    def node(_: Any) -> dict[str, str]:  # noqa: ANN401  the graph's state
        price = next(prices)
        if types.interrupt({"pay": price}) == "approve":
            note(folder / "paid", str(price))
        return {"done": "yes"}

    builder = graphs.StateGraph(dict)
    builder.add_node("node", node)
    builder.add_edge(graphs.START, "node")
    with sqlite.SqliteSaver.from_conn_string(str(folder / "graph.db")) as saver:
        graph = builder.compile(checkpointer=saver)
        shown = graph.invoke({}, THREAD)["__interrupt__"][0].value
        graph.invoke(types.Command(resume="approve"), THREAD)
    paid = marks(folder / "paid")
    tell(
        holds=shown == {"pay": 5} and paid == ["5000"],
        seen=f"a person was shown {shown['pay']} and said yes; paid were {', '.join(paid)}",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        _main(Path(place))
