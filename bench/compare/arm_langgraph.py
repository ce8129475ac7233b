"""LangGraph with its SQLite checkpointer, embedded: a graph of one node that may interrupt."""

# mypy: disable-error-code="import-not-found,no-any-return"
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NotRequired, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from bench.compare.protocol import QUESTION, REQUEST

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite")


class State(TypedDict):
    """Of the graph."""

    text: str
    result: NotRequired[str]


async def _agent(state: State) -> dict[str, str]:
    if state["text"].startswith("ask"):
        city = interrupt(QUESTION)
        return {"result": f"done: {city}"}
    if state["text"].startswith("show"):
        get_stream_writer()("working")
    return {"result": f"done: {state['text']}"}


class Arm:
    """Every task is a thread of its own."""

    def __init__(self, graph: Any) -> None:  # noqa: ANN401  a compiled graph
        self._graph = graph

    async def life(self) -> None:
        """See `Peer.life`."""
        found = await self._graph.ainvoke({"text": REQUEST}, _config())
        assert found["result"] == f"done: {REQUEST}", found

    async def ask(self) -> str:
        """See `Peer.ask`."""
        config = _config()
        found = await self._graph.ainvoke({"text": f"ask {REQUEST}"}, config)
        assert found["__interrupt__"][0].value == QUESTION, found
        thread: str = config["configurable"]["thread_id"]
        return thread

    async def answer(self, asked: str) -> None:
        """See `Peer.answer`."""
        found = await self._graph.ainvoke(Command(resume="Oslo"), _config(asked))
        assert found["result"] == "done: Oslo", found

    async def cancel(self, asked: str) -> None:
        """See `Peer.cancel`."""
        raise NotImplementedError

    async def first(self) -> float:
        """See `Peer.first`."""
        began, first = time.perf_counter(), 0.0
        text = {"text": f"show {REQUEST}"}
        async for _ in self._graph.astream(text, _config(), stream_mode="custom"):
            first = first or time.perf_counter() - began
        return first


def _config(thread: str = "") -> dict[str, Any]:
    return {"configurable": {"thread_id": thread or uuid.uuid4().hex}}


@asynccontextmanager
async def opened(database: str) -> AsyncGenerator[Arm]:
    """With the SQLite checkpointer as it comes, or with the one in memory."""
    graph = StateGraph(State)
    graph.add_node("agent", _agent)
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    if database == "memory:":
        yield Arm(graph.compile(checkpointer=InMemorySaver()))
        return
    async with AsyncSqliteSaver.from_conn_string(database) as saver:
        yield Arm(graph.compile(checkpointer=saver))
