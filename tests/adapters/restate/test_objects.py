"""What the objects of a task on Restate do when all is not well: nothing is lost, or done twice.

Source: R-RST-07 (a commit that is sent twice is made once), R-RST-08 (object and projection agree
again after one of them was lost), R-RST-09 (deadlines are fired by the objects themselves),
R-RST-10 (URLs: bad ones are refused, and passwords are not repeated).  I17, I18, I40.
"""

import asyncio
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import cast
from urllib.parse import quote

import pytest
from restate import ObjectContext

from interlock import MemoryStore, Phase
from interlock.errors import Conflict, InvalidInput, StoreError
from interlock.stores import Store, TokenTaken, Watch
from interlock.testing._store_contract import (
    asked,
    claim_of,
    commit_of,
    finalized,
    opened,
    started,
    stored,
    submitted,
    whole_life,
)
from interlock_adapters.restate import RestateStore
from interlock_adapters.restate._link import Link
from interlock_adapters.restate._task import _Writing
from interlock_adapters.restate._url import Place, place_of
from interlock_adapters.restate._wire import request_of
from restate_server import free_port, restate_server

PASSWORD = "hunter2"  # noqa: S105  whoever repeats it is found out
#: Seconds after which something is taken for hung.
WAIT_MAX_S = 60.0


def store_on(url: str, projection: Store | None = None) -> RestateStore:
    """A store whose projection is in memory."""
    return RestateStore(url, projection=projection or MemoryStore())


async def test_a_commit_that_is_sent_twice_is_made_once(restate_url: str) -> None:
    """As when its answer was lost.  Source: R-RST-07, I17."""
    moves = whole_life("t", token="m1")  # noqa: S106  no password
    async with asyncio.timeout(WAIT_MAX_S), opened(lambda: store_on(restate_url)) as store:
        assert isinstance(store, RestateStore)
        commit = commit_of(*moves[:2], claims=[claim_of(moves[0])])
        body = request_of(commit, store.now())
        link = Link(store.place.ingress, store.place.admin)
        try:
            name = f"{store.place.namespace}Task"
            answers = await asyncio.gather(*(link.call(name, "t", "append", body) for _ in "123"))
            assert answers == [{"is": "done"}] * 3
            await store.commit(commit_of(moves[2]))
            assert await link.call(name, "t", "append", body) == {"is": "done"}
        finally:
            await link.close()
        assert await store.events("t") == [move.event for move in moves[:3]]
        with pytest.raises(Conflict):
            await store.commit(commit)


async def test_a_projection_that_was_lost_is_written_again(restate_url: str) -> None:
    """The object has the whole log.  Source: R-RST-08."""
    moves = whole_life("t")
    async with asyncio.timeout(WAIT_MAX_S):
        async with opened(lambda: store_on(restate_url)) as store:
            await stored(store, moves[:3])
        async with opened(lambda: store_on(restate_url)) as store:
            assert await store.get("t") is None
            with pytest.raises(Conflict):
                await store.commit(commit_of(moves[0]))
            assert await store.events("t") == [move.event for move in moves[:3]]
        async with opened(lambda: store_on(restate_url)) as store:
            await store.commit(commit_of(moves[3]))
            assert await store.events("t") == [move.event for move in moves]
            assert await store.verify() == []


async def test_a_store_that_was_used_without_restate_is_gone_on_with(restate_url: str) -> None:
    """Its tasks and tokens are taken over as they are needed.  Source: R-RST-08."""
    moves = whole_life("t", token="m1")  # noqa: S106  no password
    memory = MemoryStore()
    await memory.commit(commit_of(*moves[:2], claims=[claim_of(moves[0])]))
    async with (
        asyncio.timeout(WAIT_MAX_S),
        opened(lambda: store_on(restate_url, memory)) as store,
    ):
        other = submitted("u", token="m1")  # noqa: S106  as above
        with pytest.raises(TokenTaken) as taken:
            await store.commit(commit_of(other, claims=[claim_of(other)]))
        assert taken.value.claim == claim_of(moves[0])
        await stored(store, moves[2:])
        assert await store.events("t") == [move.event for move in moves]
        assert await store.forget("t")
        assert await store.claim("ada", "m1") is None


async def test_a_token_that_the_projection_has_given_away_costs_no_watch() -> None:
    """All but the token is written, as Restate has it.  Source: R-RST-08."""
    mine, other = submitted("t", token="m1"), submitted("u", token="m1")  # noqa: S106  no password
    memory = MemoryStore()
    await memory.commit(commit_of(other, claims=[claim_of(other)]))
    host = RestateStore("restate://127.0.0.1", projection=memory)
    watch = Watch("w", "t", "hook", {}, 0)
    commit = replace(commit_of(mine, claims=[claim_of(mine)]), watches=(watch,))
    writing = _Writing(host, cast("ObjectContext", None), "t")
    assert await writing._project(commit) is None
    assert await memory.get("t") == mine.record
    assert await memory.watches("t") == [watch]
    assert await memory.claim("ada", "m1") == claim_of(other)


async def test_an_object_that_outlived_its_task_makes_way(restate_url: str) -> None:
    """As when whoever purged it died before the object was told.  Source: R-RST-08."""
    moves = whole_life("t")
    memory = MemoryStore()
    async with (
        asyncio.timeout(WAIT_MAX_S),
        opened(lambda: store_on(restate_url, memory)) as store,
    ):
        await store.commit(commit_of(*moves))
        assert await memory.forget("t")
        await store.commit(commit_of(moves[0]))
        assert await store.events("t") == [moves[0].event]


async def test_a_token_that_outlived_its_task_is_free(restate_url: str) -> None:
    """It is not the object's any more whose task nobody has.  Source: R-RST-08."""
    moves = whole_life("t", token="m1")  # noqa: S106  no password
    memory = MemoryStore()
    async with (
        asyncio.timeout(WAIT_MAX_S),
        opened(lambda: store_on(restate_url, memory)) as store,
    ):
        await store.commit(commit_of(*moves, claims=[claim_of(moves[0])]))
        assert await memory.forget("t")
        other = submitted("u", token="m1")  # noqa: S106  as above
        await store.commit(commit_of(other, claims=[claim_of(other)]))
        assert await store.claim("ada", "m1") == claim_of(other)


async def test_a_server_that_is_killed_loses_and_doubles_nothing() -> None:
    """Commits on their way are made once, or refused and not there.  Source: R-RST-07, I17, I18."""
    memory = MemoryStore()
    with restate_server() as server:
        url = f"{server.url}?admin={server.admin}&serve=127.0.0.1:{free_port()}"
        async with (
            asyncio.timeout(3 * WAIT_MAX_S),
            opened(lambda: store_on(url, memory)) as store,
        ):
            for round_ in range(3):
                lives = [whole_life(f"{round_} {number}") for number in range(8)]
                commits = [asyncio.ensure_future(stored(store, moves)) for moves in lives]
                await asyncio.wait(commits, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                ends = await asyncio.gather(*commits, return_exceptions=True)
                for moves, end in zip(lives, ends, strict=True):
                    log = await store.events(moves[0].record.task_id)
                    assert log == [move.event for move in moves[: len(log)]]
                    # What never reached the server was refused, and nothing else was.
                    assert (end is None) == (len(log) == len(moves)), (end, log)
                    assert end is None or type(end) is StoreError
            assert await store.verify() == []


async def test_the_objects_fire_deadlines(restate_url: str) -> None:
    """Without any engine that would.  Source: R-RST-09, I40."""
    hints: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(WAIT_MAX_S), opened(lambda: store_on(restate_url)) as store:
        assert isinstance(store, RestateStore)
        moves = [submitted("t", at=time.time())]
        moves.append(started(moves[-1]))
        moves.append(asked(moves[-1], "k", due_s=-0.5))
        moves.append(asked(moves[-1], "later", due_s=1e5))
        await store.commit(commit_of(*moves))
        store.on_hint(hints.put_nowait)
        assert await hints.get() == "t"
        record = await store.get("t")
        assert record is not None
        assert record.phase is Phase.CANCELLING
        (event,) = await store.events("t", 4)
        assert (event.trigger, event.actor, event.data["key"]) == ("expire", "timer", "k")


async def test_a_task_that_is_not_finalized_is_not_forgotten(restate_url: str) -> None:
    """Nor is what is unknown.  Source: R-RST-01."""
    moves = whole_life("t")
    async with asyncio.timeout(WAIT_MAX_S), opened(lambda: store_on(restate_url)) as store:
        await stored(store, moves[:-1])
        assert not await store.forget("t")
        assert not await store.forget("nobody")
        await store.commit(commit_of(finalized(moves[-2])))
        assert await store.forget("t")


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "restate://",
        "restate://h:x",
        "restate://h/path",
        f"restate://ada:{PASSWORD}@h",
        f"restate://h?projektion={PASSWORD}",
        "restate://h?serve=9080",
        "restate://h?serve=h:99999",
        "restate://h?share=yes",
        "restate://h?inactivity=0",
        "restate://h?abort=nan",
        "restate://h?register=maybe",
        "restate://h?namespace=a-b",
        f"restate://h?admin=http://ada:{PASSWORD}@h",
        "restate://h?tls=1&tls=0",
        "restate://h?projection=restate%3A%2F%2Fh",
        f"restate://h?projection={quote(f'nosuch://ada:{PASSWORD}@h', safe='')}",
    ],
)
def test_a_bad_url_is_refused(url: str) -> None:
    """With a reason, and without what may be a password.  Source: R-RST-10."""
    with pytest.raises(InvalidInput) as refused:
        RestateStore(url)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "restate://h",
            {
                "ingress": "http://h:8080",
                "admin": "http://h:9070",
                "projection": "sqlite:///interlock.db",
                "serve": ("127.0.0.1", 9080),
                "namespace": "Interlock",
                "register": "yes",
            },
        ),
        (
            "restate://[::1]:1?tls=1&serve=[::]:2&inactivity=30&identity=a,b",
            {"ingress": "https://[::1]:1", "serve": ("::", 2), "identity": ("a", "b")},
        ),
        ("restate://h?serve=off&public=http://lb:80/", {"serve": None, "public": "http://lb:80"}),
    ],
)
def test_a_url_says_where_and_how(url: str, said: Mapping[str, object]) -> None:
    """Source: R-RST-10."""
    place = place_of(url)
    assert {name: getattr(place, name) for name in said} == said


def test_a_step_is_shorter_than_the_silence_that_is_allowed() -> None:
    """However short that is.  Source: R-RST-05."""
    places: list[Place] = [place_of(f"restate://h?inactivity={s}") for s in (0.5, 1, 15, 999)]
    assert all(place.step_s <= place.inactivity_s / 3 for place in places)


def test_a_store_does_not_show_its_projection() -> None:
    """Source: R-RST-10."""
    url = quote(f"postgresql://ada:{PASSWORD}@h/db", safe="")
    store = RestateStore(f"restate://h?projection={url}")
    assert PASSWORD not in repr(store)
    assert PASSWORD not in repr(store.place)


async def test_a_server_that_is_not_there_is_named(restate_url: str) -> None:
    """And the store can be opened again when it is.  Source: R-RST-10."""
    nobody = f"http://127.0.0.1:{free_port()}"
    store = store_on(re.sub(r"admin=[^&]*", f"admin={nobody}", restate_url))
    for _ in range(2):
        with pytest.raises(StoreError, match="administration of Restate is not reached"):
            await store.open()
    await store.close()


async def test_a_worker_leaves_signals_to_its_program(restate_url: str) -> None:
    """The SDK would take SIGTERM with its first call.  Source: R-RST-11."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        async with asyncio.timeout(WAIT_MAX_S), opened(lambda: store_on(restate_url)) as store:
            await store.commit(commit_of(submitted("t")))
            os.kill(os.getpid(), signal.SIGTERM)
            await told.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
