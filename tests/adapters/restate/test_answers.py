"""What a store makes of answers of objects that are not the whole story.  R-RST-07, 08, 12.

A stand-in for the server answers what the objects would; what they do themselves is in
`test_objects`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import pytest

from interlock import Engine, MemoryStore, TaskContext
from interlock.errors import Conflict
from interlock.stores import TokenTaken
from interlock.testing._store_contract import claim_of, commit_of, submitted, whole_life
from interlock_adapters import restate
from interlock_adapters.restate import RestateStore
from interlock_adapters.restate._link import Unsure
from interlock_adapters.restate._wire import claim_json
from support import soon, until

OLD: Final = whole_life("old", token="m1")  # noqa: S106  no password
NEW: Final = submitted("new", token="m1")  # noqa: S106  as above


class Server:
    """Hands calls to the test, which counts from 1; where that answers `...`, it hangs up."""

    def __init__(self, answer: Callable[[int, str], Any]) -> None:
        self._answer: Final = answer
        #: Handlers with the keys of their objects.
        self.calls: Final[list[str]] = []
        self._serving: Final[set[asyncio.Task[None]]] = set()

    @contextlib.asynccontextmanager
    async def closed_store(self, projection: MemoryStore) -> AsyncGenerator[RestateStore]:
        """A store that calls it once it is open, and is closed at the end."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            yield RestateStore(f"restate://127.0.0.1:{port}?serve=off", projection=projection)
            await asyncio.gather(*self._serving)

    @contextlib.asynccontextmanager
    async def store(self, projection: MemoryStore) -> AsyncGenerator[RestateStore]:
        """A store that calls it, open."""
        async with self.closed_store(projection) as store:
            await store.open()
            try:
                yield store
            finally:
                await store.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        # Until one of the two hangs up.
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                _, _, rest = head.partition("content-length: ")
                await reader.readexactly(int(rest.split("\r\n")[0]))
                _, _, key, handler = head.split(" ")[1].split("/")
                self.calls.append(f"{handler} {key}")
                answer = self._answer(len(self.calls), self.calls[-1])
                if answer is ...:
                    break
                body = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()


# --- a commit that was sent twice -----------------------------------------------------


def lost_and_a_conflict(number: int, _call: str) -> Any:  # noqa: ANN401  any JSON
    """The first answer is lost, and the object does not remember the commit by the second."""
    return ... if number == 1 else {"is": "conflict"}


async def test_a_commit_that_its_object_does_not_remember_was_made() -> None:
    """It remembers the last few, and a quick agent makes more than that in the meantime.

    Source: R-RST-07, I18.
    """
    memory = MemoryStore()
    for move in OLD:
        await memory.commit(commit_of(move))
    server = Server(lost_and_a_conflict)
    async with server.store(memory) as store:
        await soon(store.commit(commit_of(*OLD[:2])))
    assert server.calls == ["append old"] * 2


async def test_a_commit_whose_place_another_has_was_not_made() -> None:
    """However it was lost.  Source: R-RST-07, I17."""
    memory = MemoryStore()
    await memory.commit(commit_of(*OLD))
    other = whole_life("old", token="m2")  # noqa: S106  no password
    server = Server(lost_and_a_conflict)
    async with server.store(memory) as store:
        with pytest.raises(Conflict):
            await soon(store.commit(commit_of(other[0])))


async def test_a_commit_that_was_sent_once_is_a_conflict_at_once() -> None:
    """Whoever made the one that is there was told so.  Source: R-RST-07, I17."""
    memory = MemoryStore()
    await memory.commit(commit_of(*OLD))
    server = Server(lambda _number, _call: {"is": "conflict"})
    async with server.store(memory) as store:
        with pytest.raises(Conflict):
            await soon(store.commit(commit_of(OLD[0])))
    assert server.calls == ["append old"]


# --- a commit whose answer never comes ------------------------------------------------


def three_are_lost(number: int, _call: str) -> Any:  # noqa: ANN401  any JSON
    """The server is away for a while."""
    return ... if number <= 3 else {"is": "done"}


async def test_a_drain_ends_though_the_server_went_with_a_commit_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can say whether it was written, and so it is said.  Source: R-RST-12, I18."""
    monkeypatch.setattr(restate, "_CLOSING_S", 0.0)

    async def never_run(_task: TaskContext) -> str:
        raise AssertionError

    server = Server(lambda _number, _call: ...)
    async with server.closed_store(MemoryStore()) as store:
        engine = Engine(never_run, store=store)
        await engine.start()
        submitting = asyncio.ensure_future(engine.submit("x", owner="ada"))
        await until(lambda: len(server.calls) > 1)  # It is tried again.
        await soon(engine.drain())
        with pytest.raises(Unsure):
            await submitting


@pytest.mark.parametrize("rests", [False, True])
async def test_a_commit_is_not_given_up_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
    rests: bool,  # noqa: FBT001  a parameter
) -> None:
    """Not for as long as the engine runs, nor at once when it rests.  Source: R-RST-12."""
    if not rests:
        monkeypatch.setattr(restate, "_CLOSING_S", 0.0)
    server = Server(three_are_lost)
    async with server.store(MemoryStore()) as store:
        if rests:
            await store.turns.rest()
        await soon(store.commit(commit_of(NEW)))
    assert server.calls == ["append new"] * 4


async def test_an_engine_that_opens_again_is_patient_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That it once stopped is over.  Source: R-RST-12."""
    monkeypatch.setattr(restate, "_CLOSING_S", 0.0)
    server = Server(three_are_lost)
    async with server.closed_store(MemoryStore()) as store:
        await store.open()
        await store.turns.stop()
        await store.close()
        await store.open()
        await soon(store.commit(commit_of(NEW)))
        await store.close()


# --- a token whose task was purged, and nobody told the objects -----------------------


def taken_until_forgotten(number: int, call: str) -> Any:  # noqa: ANN401  any JSON
    """The token is the old task's until the object of that one forgets it."""
    if call.startswith("forget"):
        return True
    return {"is": "taken", "claim": claim_json(claim_of(OLD[0]))} if number == 1 else {"is": "done"}


def taken(_number: int, call: str) -> Any:  # noqa: ANN401  any JSON
    """The token is the old task's, which goes on."""
    if call.startswith("forget"):
        return False
    return {"is": "taken", "claim": claim_json(claim_of(OLD[0]))}


async def test_a_token_whose_task_is_gone_is_free() -> None:
    """Its object is told now; who came with the token would try it again and again.  R-RST-08."""
    server = Server(taken_until_forgotten)
    async with server.store(MemoryStore()) as store:
        await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert server.calls == ["append new", "forget old", "append new"]


async def test_a_token_whose_task_is_just_being_made_is_taken() -> None:
    """The projection does not have it yet, and its object knows better.  R-RST-08, I19."""
    server = Server(taken)
    async with server.store(MemoryStore()) as store:
        with pytest.raises(TokenTaken) as caught:
            await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert caught.value.claim == claim_of(OLD[0])
    assert server.calls == ["append new", "forget old"]


async def test_a_token_whose_task_is_there_costs_no_further_call() -> None:
    """As with each repeat of a request.  I19."""
    server = Server(taken)
    memory = MemoryStore()
    await memory.commit(commit_of(*OLD, claims=[claim_of(OLD[0])]))
    async with server.store(memory) as store:
        with pytest.raises(TokenTaken):
            await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert server.calls == ["append new"]
