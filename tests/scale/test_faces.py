"""Two replicas behind a round-robin balancer: whatever A does, B can be asked about.

Real processes, real servers of every host, A2A over HTTP.  "A" is the replica that has the
turn of the task, "B" is the other one.
Source: R-SCALE-10, R-SCALE-11, R-SCALE-12, R-SCALE-13, R-SCALE-14.  Invariants: I18, I23, I24.
"""

from collections.abc import AsyncGenerator, Callable

import httpx
import pytest
import pytest_asyncio

from scale.audit import RULES, gathered
from scale.calls import Caller, asks_of, comes_true, phase_of
from scale.cluster import Cluster, clustered
from scale.load import Reader
from scale.replica import Life
from scale.rounds import Place, reading

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def cluster(
    each_place: Place, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Cluster]:
    """Two replicas whose waiting tasks stay where they are; at the end, an audit."""
    place, directory = each_place, tmp_path_factory.mktemp("faces")
    life = Life(await place.host.fresh(), str(directory), "steered", park_after_s=None)
    async with clustered(place.replicas, life) as started:
        for number in range(len(started.replicas)):
            await started.start(number)
        yield started
        for number in range(len(started.replicas)):
            await started.drain(number)
    evidence = await gathered(reading(place.host, life), directory)
    found = [(rule.__name__, *what) for rule in RULES for what in rule(evidence)]
    assert found == []


@pytest_asyncio.fixture(loop_scope="package")
async def caller(cluster: Cluster) -> AsyncGenerator[Caller]:
    """A client."""
    async with httpx.AsyncClient(trust_env=False) as http:
        yield Caller(cluster, http)


def _other(replica: int) -> int:
    return 1 - replica


async def test_a_message_to_b_answers_a_task_on_a(caller: Caller, cluster: Cluster) -> None:
    """The turn that waits on A goes on there.  Source: R-SCALE-10."""
    steps = [{"do": "ask", "name": "q"}, {"do": "charge", "name": "c"}]
    task = await caller.send({"steps": steps})
    holder = await caller.holder(task["id"])
    asked = await caller.reaches(task["id"], "waiting_input")
    await caller.send(
        {"ask": asks_of(asked)[0]["ask"], "value": "yes"}, task=task, at=_other(holder)
    )
    done = await caller.reaches(task["id"], "completed")
    (result,) = done["artifacts"]
    assert result["parts"][0]["data"] == {"results": ["yes", "charge done"]}
    (effect,) = caller.effects(task["id"])
    assert effect.pid == cluster.replicas[holder].pid


async def test_approving_on_b_lets_a_do_it(caller: Caller, cluster: Cluster) -> None:
    """Exactly what was approved is done, once, by A.  Source: R-SCALE-11."""
    arguments = {"seat": "7", "class": "second"}
    step = {"do": "authorize", "name": "leave", "arguments": arguments, "on_deny": "stop"}
    task = await caller.send({"steps": [step]})
    holder = await caller.holder(task["id"])
    (ask,) = asks_of(await caller.reaches(task["id"], "waiting_auth"))
    edited = {**arguments, "class": "first"}
    said = {
        "ask": ask["ask"],
        "digest": ask["digest"],
        "decision": "approve",
        "arguments": edited,
    }
    await caller.send(said, task=task, at=_other(holder))
    await caller.reaches(task["id"], "completed")
    (effect,) = caller.effects(task["id"])
    assert (effect.name, effect.what, effect.leave) == ("book", edited, "leave")
    assert effect.pid == cluster.replicas[holder].pid


@pytest.mark.parametrize("kind", ["tick", "block"])
async def test_a_cancel_from_b_stops_a_run_on_a(
    caller: Caller, cluster: Cluster, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """An agent that awaits ends; of one whose thread is blocked nobody waits for the end.

    Source: R-SCALE-12.
    """
    task = await caller.send({kind: True})
    holder = await caller.holder(task["id"])
    await comes_true(lambda: bool(caller.effects(task["id"])))
    sent_s = caller.effects(task["id"])[-1].at
    stopping = await caller.call("CancelTask", {"id": task["id"]}, at=_other(holder))
    assert phase_of(stopping) in {"cancelling", "cancelled"}
    stopped = await caller.reaches(task["id"], "cancelled")
    assert stopped["metadata"]["interlock/abandoned"] is (kind == "block")
    ticks = caller.effects(task["id"])
    assert {effect.pid for effect in ticks} == {cluster.replicas[holder].pid}
    if kind == "tick":
        took_s = ticks[-1].at - sent_s
        record_property("cancel_s", took_s)
        print(f"a cancel from the other replica: the run stopped after {took_s:.3f} s")
        # It is over, and stays over: what comes after the next task is not of this one.
        await caller.reaches((await caller.send({"steps": []}))["id"], "completed")
        assert caller.effects(task["id"]) == ticks


@pytest.mark.parametrize("after", [1, 0], ids=["from the first event", "from now on"])
async def test_a_stream_of_b_shows_a_run_on_a(caller: Caller, cluster: Cluster, after: int) -> None:
    """Without a gap, in order, to the end.  Source: R-SCALE-13."""
    task = await caller.send({"show": 40})
    holder = await caller.holder(task["id"])
    # The audit at the end judges what it writes down.
    path = cluster.directory / f"stream-{task['id']}.jsonl"
    reader = Reader(cluster.proxy.url, task["id"], path, after=after)
    served = len(cluster.proxy.served)
    cluster.proxy.next = _other(holder)
    await reader.run()
    assert cluster.proxy.served[served].replica == _other(holder)
    assert [served.what for served in cluster.proxy.served[served:]] == ["POST /rpc"]
    assert reader.over


async def test_what_a_said_b_knows(caller: Caller) -> None:
    """Whoever was told of an event by one replica may name it to the other one.

    Source: R-SCALE-14.
    """
    steps = [{"do": "ask", "name": f"q{number}"} for number in range(8)]
    task = await caller.send({"steps": steps})
    holder = await caller.holder(task["id"])
    for number in range(len(steps)):
        replica = (holder, _other(holder))[number % 2]
        asked = await caller.reaches(task["id"], "waiting_input")
        (ask,) = asks_of(asked)
        told = await caller.send({"ask": ask["ask"], "value": f"{number}"}, task=task, at=replica)
        seen = await caller.look(task["id"], at=_other(replica))
        assert seen["metadata"]["interlock/seq"] >= told["metadata"]["interlock/seq"]
    await caller.reaches(task["id"], "completed")
