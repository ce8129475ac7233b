"""LangGraph: it draws the nodes of a graph, and not the life of a run."""

import importlib
from typing import Any, Final

from bench.claims._seen import tell

graphs: Final[Any] = importlib.import_module("langgraph.graph")


def _plan(state: Any) -> Any:  # noqa: ANN401  the graph's state
    return state


def _main() -> None:
    builder = graphs.StateGraph(dict)
    builder.add_node("plan", _plan)
    builder.add_edge(graphs.START, "plan")
    drawn: str = builder.compile().get_graph().draw_mermaid()
    words = [word for word in ("interrupt", "cancel", "fail") if word in drawn]
    tell(
        holds="plan" in drawn and not words,
        seen=f"draw_mermaid gives {len(drawn.splitlines())} lines with the node, and no word of "
        "interrupts, cancels or failures",
    )


if __name__ == "__main__":
    _main()
