"""What a principal sees and may do: roles, own and others' tasks.  R-SVC-50 to 53; T1, T5.

Also T4: what somebody may not see cannot be told from what is not there.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import pytest

from interlock import Engine, Limits, Phase, TaskContext, TaskHandle, TaskRecord
from interlock.errors import (
    AnswerInvalid,
    EngineError,
    InvalidInput,
    NotFinalized,
    Refused,
    StoreError,
    UnknownTask,
)
from interlock.errors import TokenReused as Reused
from interlock_adapters._callers.access import INBOX_SCANNED_MAX, PAGE_MAX, Access, NotAllowed
from interlock_adapters._callers.named import Looks
from interlock_adapters._callers.principal import Principal, Role
from support import World, log_of, opened, pause, soon, until

#: An idempotency token.
ONCE: Final = "once"

ADA: Final = Principal("ada", "https://id", "acme")
PEER: Final = replace(ADA, subject="bob")
TWIN: Final = replace(ADA, tenant="other")
ANYBODY: Final = Principal("ada")


def in_role(*roles: Role, tenant: str = "acme") -> Principal:
    """Somebody with roles."""
    return Principal("eve", "https://id", tenant, frozenset(roles))


APPROVER: Final = in_role(Role.APPROVER)
OPERATOR: Final = in_role(Role.OPERATOR)
AUDITOR: Final = in_role(Role.AUDITOR)
ROOT: Final = in_role(*Role, tenant="")

#: Who: what of a waiting task of Ada's, and of one that is over, is there; may it be answered,
#: cancelled, resumed.
MATRIX: Final[dict[str, tuple[Principal, bool, bool, bool, bool, bool]]] = {
    "owner": (ADA, True, True, True, True, False),
    "same tenant": (PEER, False, False, False, False, False),
    "other tenant, same name": (TWIN, False, False, False, False, False),
    "no tenant, same name": (ANYBODY, False, False, False, False, False),
    "approver": (APPROVER, True, False, True, False, False),
    "operator": (OPERATOR, True, True, False, True, True),
    "auditor": (AUDITOR, True, True, False, False, False),
    "approver of another tenant": (
        in_role(Role.APPROVER, tenant="other"),
        False,
        False,
        False,
        False,
        False,
    ),
    "operator of another tenant": (
        in_role(Role.OPERATOR, tenant="acm"),
        False,
        False,
        False,
        False,
        False,
    ),
    "auditor of another tenant": (
        in_role(Role.AUDITOR, tenant="acme2"),
        False,
        False,
        False,
        False,
        False,
    ),
    "everything, of the deployment": (ROOT, True, True, True, True, True),
}


async def agent(task: TaskContext) -> str:
    """Does what its input says."""
    match task.input.text:
        case "ask":
            return await task.ask("Which?", str)
        case "ask a role":
            return await task.ask("Which?", str, approvers=["role:approver"])
        case "ask zoe":
            return await task.ask("Which?", str, approvers=["zoe"])
        case "authorize":
            arguments = await task.authorize("pay", {"euro": 1}, allow_edit=True)
            return str(arguments["euro"])
        case _:
            return "done"


@asynccontextmanager
async def world(limits: Limits | None = None) -> AsyncGenerator[World]:
    """An engine."""
    async with opened(agent, limits=limits) as made:
        yield made


async def submitted(here: World, text: str, who: Principal = ADA) -> TaskHandle:
    """A task that has come to a rest."""
    handle = await here.engine.submit(text, owner=who.owner)
    await handle.rest()
    return handle


async def refused(act: Awaitable[object]) -> type[EngineError] | None:
    """As what it is refused."""
    try:
        await soon(act)
    except EngineError as error:
        return type(error)
    return None


def reads(access: Access, task_id: str) -> list[Awaitable[object]]:
    """Every way to look at a task."""

    async def first() -> object:
        return await anext(access.subscribe(task_id))

    return [access.record(task_id), access.view(task_id), access.events(task_id), first()]


@pytest.mark.parametrize("name", MATRIX)
async def test_who_sees_what_and_may_do_what(name: str) -> None:
    """Whatever is refused changes nothing; what is done is done in one's own name.  Source: T1."""
    who, waiting, over, answers, cancels, resumes = MATRIX[name]
    async with world() as here:
        asks, done = await submitted(here, "ask"), await submitted(here, "done")
        access = Access(here.engine, who)
        for task_id, seen in ((asks.task_id, waiting), (done.task_id, over)):
            ways = reads(access, task_id)
            assert [await refused(way) for way in ways] == [None if seen else UnknownTask] * 4
        record = await here.engine.record(asks.task_id, owner=None)
        assert access.may_answer(record, record.asks[0]) is answers
        assert access.may_cancel(record) is cancels
        assert access.may_resume(record) is resumes
        gone = NotAllowed if waiting else UnknownTask
        key = record.asks[0].key
        if not answers:
            assert await refused(access.answer(asks.task_id, key, "x")) is gone
            assert await refused(access.decline(asks.task_id, key)) is gone
            assert await refused(access.approve(asks.task_id, key, "d")) is gone
            assert await refused(access.deny(asks.task_id, key, "d")) is gone
        if not cancels:
            assert await refused(access.cancel(asks.task_id)) is gone
        wanted = InvalidInput if resumes else gone
        assert await refused(access.resume(asks.task_id, "again")) is wanted
        assert await here.engine.record(asks.task_id, owner=None) == record  # I35
        if answers:
            given = await access.answer(asks.task_id, key, "x")
            assert given.phase is Phase.RUNNING
            event = (await here.engine.events(asks.task_id, owner=None))[given.seq - 1]
            assert event.actor == who.owner
        elif cancels:
            assert (await access.cancel(asks.task_id, "enough")).phase is Phase.CANCELLING
            event = (await here.engine.events(asks.task_id, owner=None))[record.seq]
            assert (event.actor, event.data["reason"]) == (who.owner, "enough")


@pytest.mark.parametrize("name", MATRIX)
async def test_lists_and_counts_hold_what_is_seen(name: str) -> None:
    """No list, count or inbox has more in it.  Source: T1."""
    who, waiting, over, answers, *_ = MATRIX[name]
    async with world() as here:
        asks, done = await submitted(here, "ask"), await submitted(here, "done")
        access = Access(here.engine, who)
        page = await access.page(phases={Phase.WAITING_INPUT})
        assert [r.task_id for r in page.records] == [asks.task_id] * waiting
        page = await access.page(phases={Phase.COMPLETED})
        assert [r.task_id for r in page.records] == [done.task_id] * over
        whole = await access.page()
        seen = {asks.task_id} if waiting else set[str]()
        assert {r.task_id for r in whole.records} == seen | ({done.task_id} if over else set())
        counts: dict[Phase, int] = {}
        if waiting:
            counts[Phase.WAITING_INPUT] = 1
        if over:
            counts[Phase.COMPLETED] = 1
        assert await access.counts() == counts
        assert whole.total == sum(counts.values())
        inbox = await access.inbox()
        assert [e.record.task_id for e in inbox.entries] == [asks.task_id] * answers
        assert inbox.next_cursor is None


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_an_approvers_list_is_its_own_tasks_and_those_that_wait(limit: int) -> None:
    """Each once, newest change first, over all pages; as many as the counts say."""
    async with world() as here:
        texts = (("done", APPROVER), ("ask", ADA), ("ask", APPROVER), ("done", ADA), ("ask", ADA))
        tasks = [await submitted(here, text, who) for text, who in texts]
        seen = [tasks[n].task_id for n in (4, 2, 1, 0)]
        access = Access(here.engine, APPROVER)
        counts = await access.counts()
        mixed = {Phase.COMPLETED, Phase.WAITING_INPUT}
        for phases in (None, mixed):
            pages = [await access.page(phases=phases, limit=limit)]
            while (cursor := pages[-1].next_cursor) is not None:
                pages.append(await access.page(phases=phases, limit=limit, cursor=cursor))
            found = [record for page in pages for record in page.records]
            assert sorted(r.task_id for r in found) == sorted(seen)
            assert found == sorted(found, key=lambda r: (r.updated_at, r.task_id), reverse=True)
            assert {page.total for page in pages} == {len(seen)} == {sum(counts.values())}
            assert len(pages) == -(-len(seen) // limit)
        assert counts == {Phase.COMPLETED: 1, Phase.WAITING_INPUT: 3}


async def test_a_foreign_task_cannot_be_told_from_none() -> None:
    """The error says the same.  Source: T4."""
    async with world() as here:
        asks = await submitted(here, "ask")
        access = Access(here.engine, PEER)
        said: list[str] = []
        for task_id in (asks.task_id, "0" * 32):
            with pytest.raises(UnknownTask) as error:
                await access.record(task_id)
            said.append(str(error.value).replace(task_id, "ID"))
        assert said[0] == said[1]


async def test_approvers_may_be_roles_and_nobody_is_called_like_one() -> None:
    """The owner is no approver by that.  Source: T5, R-SVC-51."""
    async with world() as here:
        asks = await submitted(here, "ask a role")
        record = await here.engine.record(asks.task_id, owner=None)
        key = record.asks[0].key
        for who in (ADA, OPERATOR, Principal("role:approver")):
            assert not Access(here.engine, who).may_answer(record, record.asks[0])
        assert await refused(Access(here.engine, ADA).answer(asks.task_id, key, "x")) is NotAllowed
        assert (await Access(here.engine, ADA).inbox()).entries == ()
        given = await Access(here.engine, APPROVER).answer(asks.task_id, key, "x")
        assert given.phase is Phase.RUNNING


@pytest.mark.parametrize("roles", [[], [Role.AUDITOR], [Role.OPERATOR], [Role.APPROVER]])
async def test_who_is_named_sees_and_answers_what_names_him(roles: list[Role]) -> None:
    """Whatever his roles, and while it is asked; nobody else may.  Source: T5, R-SVC-51."""
    async with world() as here:
        asks = await submitted(here, "ask zoe")
        record = await here.engine.record(asks.task_id, owner=None)
        key = record.asks[0].key
        zoe = Access(here.engine, Principal("zoe", roles=frozenset(roles)))
        assert [await refused(way) for way in reads(zoe, asks.task_id)] == [None] * 4
        assert zoe.may_answer(record, record.asks[0])
        assert zoe.may_cancel(record) is (Role.OPERATOR in roles)
        assert [e.ask.key for e in (await zoe.inbox()).entries] == [key]
        assert await refused(Access(here.engine, ROOT).answer(asks.task_id, key, "x")) is NotAllowed
        await zoe.answer(asks.task_id, key, "x", token=ONCE)
        assert (await log_of(asks))[3].actor == "zoe"
        await asks.over()
        again = await zoe.answer(asks.task_id, key, "x", token=ONCE)
        # Who does not see the task any more is told of it as of then.
        assert again.shown is (Phase.COMPLETED if zoe.is_of_service else Phase.RUNNING)
        if not zoe.is_of_service:
            assert await refused(zoe.record(asks.task_id)) is UnknownTask
            act = zoe.answer(asks.task_id, key, "x", token="twice")  # noqa: S106  no password
            assert await refused(act) is UnknownTask
            assert (await zoe.inbox()).entries == ()


async def test_a_repeat_shows_nothing_of_what_came_after_the_answer() -> None:
    """Neither to whom an ask named, nor to whoever was an approver.  Source: T5, R-SVC-51."""

    async def asks_others(task: TaskContext) -> None:
        await task.ask("Which?", str, key="first", approvers=["zoe", "role:approver"])
        await task.authorize("pay", {"iban": "secret"}, key="second", approvers=["yan"])

    async with opened(asks_others) as here:
        for was in (Principal("zoe"), Principal("eve", roles=frozenset({Role.APPROVER}))):
            task = await submitted(here, "", ANYBODY)
            first = await Access(here.engine, was).answer(task.task_id, "first", "x", token=ONCE)
            await task.rest()
            now = Access(here.engine, replace(was, roles=frozenset()))
            assert await refused(now.record(task.task_id)) is UnknownTask
            again = await now.answer(task.task_id, "first", "x", token=ONCE)
            assert (again.seq, again.phase, again.asks) == (first.seq, Phase.RUNNING, ())


async def test_an_answer_that_counts_is_told_so_whatever_can_be_read_by_then() -> None:
    """It is durable: what would be refused after it must not look as if it were not."""
    async with world() as here:
        asks = await submitted(here, "ask")
        key = (await here.engine.record(asks.task_id, owner=None)).asks[0].key
        here.store.breaks("events")
        record = await Access(here.engine, APPROVER).answer(asks.task_id, key, "x")
        assert record.phase is Phase.RUNNING
        here.store.mends("events")


@pytest.mark.parametrize(
    "who",
    [
        Principal("zoe", "https://id"),
        Principal("zoe", tenant="acme"),
        Principal("zo"),
        Principal("role:approver"),
        Principal("zoe", client=True),
    ],
)
async def test_whoever_is_called_nearly_so_is_not_named(who: Principal) -> None:
    """To them there is no such task.  Source: T4, T5, R-SVC-51."""
    async with world() as here:
        for text in ("ask zoe", "ask a role"):
            asks = await submitted(here, text)
            access = Access(here.engine, who)
            key = (await here.engine.record(asks.task_id, owner=None)).asks[0].key
            assert [await refused(way) for way in reads(access, asks.task_id)] == [UnknownTask] * 4
            for token in (None, ONCE):
                act = access.answer(asks.task_id, key, "x", token=token)
                assert await refused(act) is UnknownTask
            assert (await access.inbox()).entries == ()


async def test_who_is_named_reaches_no_other_tenant() -> None:
    """A rule is for all tenants, and a person is of one.  Source: T1, R-SVC-51."""

    async def names_peer(task: TaskContext) -> str:
        return await task.ask("Which?", str, approvers=[PEER.owner])

    async with opened(names_peer) as here:
        ours, theirs = await submitted(here, ""), await submitted(here, "", TWIN)
        access = Access(here.engine, PEER)
        assert [e.record.task_id for e in (await access.inbox()).entries] == [ours.task_id]
        assert await refused(access.record(ours.task_id)) is None
        assert await refused(access.record(theirs.task_id)) is UnknownTask


async def test_who_is_named_for_one_ask_answers_no_other_of_the_task() -> None:
    """And his stream ends when he is asked no more, though others are.  Source: T5, R-SVC-53."""

    async def two(task: TaskContext) -> tuple[str, str]:
        return await asyncio.gather(
            task.ask("Yours?", str, key="yours", approvers=["zoe"]),
            task.ask("Whose?", str, key="whose"),
        )

    async with opened(two) as here:
        asks = await here.engine.submit("", owner=ADA.owner)
        await until(lambda: len(here.stored(asks).asks) == 2)
        zoe, ada = Access(here.engine, Principal("zoe")), Access(here.engine, ADA)
        assert [e.ask.key for e in (await zoe.inbox()).entries] == ["yours"]
        for token in (None, ONCE):
            act = zoe.answer(asks.task_id, "whose", "x", token=token)
            assert await refused(act) is NotAllowed
        stream = zoe.subscribe(asks.task_id)
        seen = [await soon(anext(stream)) for _ in range(here.stored(asks).seq)]
        await zoe.answer(asks.task_id, "yours", "x")
        await ada.answer(asks.task_id, "whose", "y")
        rest = [event async for event in stream]
        assert [(e.actor, e.data["key"]) for e in rest] == [("zoe", "yours")]
        assert len(seen) == rest[0].seq - 1
        # What another closed is not his to repeat.
        act = zoe.answer(asks.task_id, "whose", "y", token=ONCE)
        assert await refused(act) is UnknownTask


async def test_an_inbox_has_its_own_asks_page_by_page_and_at_first_those_that_name_one() -> None:
    """Newest change first; those of others are looked for once.  Source: R-SVC-53."""
    async with world() as here:
        zoe = Principal("zoe")
        made = [("ask", zoe), ("ask zoe", ADA), ("ask", ADA), ("ask", zoe), ("ask zoe", zoe)]
        tasks: list[TaskHandle] = []
        for text, who in made:
            here.clock.advance(1)
            tasks.append(await submitted(here, text, who))
        access = Access(here.engine, zoe)
        pages = [await access.inbox(limit=2)]
        while (cursor := pages[-1].next_cursor) is not None:
            pages.append(await access.inbox(limit=2, cursor=cursor))
        found = [[entry.record for entry in page.entries] for page in pages if page.entries]
        assert sorted(r.task_id for r in found[0]) == sorted(tasks[n].task_id for n in (4, 3, 1))
        assert [[r.task_id for r in page] for page in found[1:]] == [[tasks[0].task_id]]
        for page in found:
            assert page == sorted(page, key=lambda r: (r.updated_at, r.task_id), reverse=True)


async def test_decisions_of_an_approver() -> None:
    """Edited and approved, or denied; then the task is not his to see.  Source: T5, R-SVC-51."""
    async with world() as here:
        access = Access(here.engine, APPROVER)
        edited, denied = [await submitted(here, "authorize") for _ in range(2)]
        ask = (await access.record(edited.task_id)).asks[0]
        assert ask.digest is not None
        await access.approve(edited.task_id, ask.key, ask.digest, {"euro": 2}, "less")
        assert (await log_of(edited))[-1].dest is Phase.COMPLETED
        ask = (await access.record(denied.task_id)).asks[0]
        assert ask.digest is not None
        record = await access.deny(denied.task_id, ask.key, ask.digest, "no")
        assert record.phase is Phase.CANCELLING
        assert (await log_of(denied))[-1].dest is Phase.CANCELLED
        assert await refused(access.record(edited.task_id)) is UnknownTask


async def test_a_repeat_of_an_answer_is_told_so_although_the_task_went_on() -> None:
    """Else a lost response would look like a task that is gone.  Source: R-SVC-52."""
    async with world() as here:
        access = Access(here.engine, APPROVER)
        asks = await submitted(here, "ask")
        key = (await access.record(asks.task_id)).asks[0].key
        first = await access.answer(asks.task_id, key, "x", token=ONCE)
        await asks.over()
        assert await access.answer(asks.task_id, key, "x", token=ONCE) == first
        with pytest.raises(Reused, match=f"{ONCE!r}"):
            await access.answer(asks.task_id, key, "y", token=ONCE)
        # Another's token is none of his, and without one the task is not there any more.
        for token in ("twice", None):
            act = access.answer(asks.task_id, key, "x", token=token)
            assert await refused(act) is UnknownTask
        assert await refused(Access(here.engine, PEER).answer(asks.task_id, key, "x", token=ONCE))


async def test_the_tokens_of_an_approver_are_not_the_owners() -> None:
    """Nobody can use up the tokens of another.  Source: T26, R-SVC-52."""
    async with world() as here:
        asks = await submitted(here, "ask")
        key = (await here.engine.record(asks.task_id, owner=None)).asks[0].key
        await Access(here.engine, APPROVER).answer(asks.task_id, key, "x", token=ONCE)
        # The owner's request of the same token is another one, and meets a closed ask.
        act = Access(here.engine, ADA).answer(asks.task_id, key, "x", token=ONCE)
        with pytest.raises(Refused):
            await act


async def test_an_approvers_stream_of_anothers_task_ends_when_it_waits_no_more() -> None:
    """The owner's goes on to the end.  Source: T1, R-SVC-53."""
    async with world() as here:
        asks = await submitted(here, "ask")
        access = Access(here.engine, APPROVER)
        key = (await access.record(asks.task_id)).asks[0].key
        stream = access.subscribe(asks.task_id)
        seen = [await soon(anext(stream)) for _ in range(3)]
        await access.answer(asks.task_id, key, "x")
        await asks.over()
        seen += [event async for event in stream]
        assert [e.trigger.value for e in seen] == ["submit", "start", "ask", "provide_input"]
        owners = [event async for event in Access(here.engine, ADA).subscribe(asks.task_id)]
        assert owners[-1].dest is Phase.COMPLETED


async def test_what_an_operator_is_asked_is_in_his_inbox_and_nobody_elses() -> None:
    """It is not answered, whoever one is called like.  Source: R-SVC-53."""
    runs: list[int] = []

    async def diverging(task: TaskContext) -> str:
        runs.append(1)
        return await task.ask(f"Which {len(runs)}?", str)

    async with opened(diverging, limits=Limits(park_after_s=0)) as here:
        asks = await submitted(here, "")
        owner, operator = Access(here.engine, ADA), Access(here.engine, OPERATOR)
        key = (await owner.record(asks.task_id)).asks[0].key
        await owner.answer(asks.task_id, key, "x")
        record = await asks.rest()
        ask = record.asks[0]
        now = await here.engine.record(asks.task_id, owner=None)
        entries = (await operator.inbox()).entries
        assert [(e.ask.key, e.for_operator) for e in entries] == [(ask.key, True)]
        assert not operator.may_answer(now, ask)
        assert (await owner.inbox()).entries == ()
        assert (await Access(here.engine, APPROVER).inbox()).entries == ()
        called_so = Access(here.engine, Principal("interlock:operator", roles=frozenset(Role)))
        for access in (owner, operator, called_so):
            assert await refused(access.answer(asks.task_id, ask.key, "again")) is NotAllowed
        assert await refused(operator.resume(asks.task_id, "sideways")) is AnswerInvalid  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        resumed = await operator.resume(asks.task_id, "from_scratch")
        told = next(e for e in await operator.events(asks.task_id) if e.seq == resumed.seq)
        assert (told.trigger.value, told.actor) == ("provide_input", OPERATOR.owner)
        assert resumed.phase is Phase.RUNNING


async def test_those_who_are_named_share_a_look() -> None:
    """Each open page of somebody without a role once read a thousand tasks at each change (T21).

    Who asks while a look is at it waits for the next: it may have gone past his task.
    """
    looks, gate, begun = Looks(), asyncio.Event(), 0

    async def look() -> list[TaskRecord]:
        nonlocal begun
        begun += 1
        await gate.wait()
        return []

    async with asyncio.timeout(60):
        first, second = (asyncio.create_task(looks.found(look)) for _ in range(2))
        while not begun:
            await pause()
        third, gone = (asyncio.create_task(looks.found(look)) for _ in range(2))
        await pause()
        assert begun == 1
        gone.cancel()
        gate.set()
        assert [await first, await second, await third] == [[], [], []]
    assert begun == 2
    assert gone.cancelled()


async def test_who_wants_a_look_hears_why_there_is_none() -> None:
    """And the next one is another."""
    looks, failures = Looks(), [StoreError("the disk is on fire")]

    async def look() -> list[TaskRecord]:
        if failures:
            raise failures.pop()
        return []

    async with asyncio.timeout(60):
        with pytest.raises(StoreError, match="on fire"):
            await looks.found(look)
        assert await looks.found(look) == []


async def test_the_inbox_goes_on_page_by_page_and_leaves_nothing_out() -> None:
    """Source: R-SVC-53."""
    async with world() as here:
        tasks = [await submitted(here, "ask") for _ in range(5)]
        access = Access(here.engine, APPROVER)
        found: list[str] = []
        cursor = None
        while True:
            page = await access.inbox(limit=2, cursor=cursor)
            found += [entry.record.task_id for entry in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(found) == sorted(task.task_id for task in tasks)


async def test_a_limit_beyond_what_a_page_has_is_refused() -> None:
    """With what would be accepted.  Source: T22."""
    async with world() as here:
        access = Access(here.engine, ADA)
        for limit in (0, PAGE_MAX + 1):
            with pytest.raises(InvalidInput, match="1 to 200"):
                await access.page(limit=limit)
            with pytest.raises(InvalidInput, match="1 to 200"):
                await access.inbox(limit=limit)
    assert PAGE_MAX < INBOX_SCANNED_MAX


async def test_an_ask_or_digest_without_a_name_is_refused() -> None:
    """Before the engine hears of it.  Source: ours."""
    async with world() as here:
        asks = await submitted(here, "ask")
        access = Access(here.engine, ADA)
        for act in (
            access.answer(asks.task_id, "", "x"),
            access.approve(asks.task_id, "a", ""),
            access.deny(asks.task_id, "a", ""),
        ):
            with pytest.raises(InvalidInput, match="is empty"):
                await act


@pytest.mark.parametrize("who", [OPERATOR, AUDITOR, ADA, in_role(*Role)])
def test_what_concerns_all_tenants_is_for_nobody_of_one(who: Principal) -> None:
    """Nor for who has no such role.  Source: T1, T17, R-SVC-50."""
    access = Access(Engine(agent, store="memory:"), who)
    assert not access.is_of_service
    with pytest.raises(NotAllowed):
        access.require_of_service(Role.OPERATOR, Role.AUDITOR)
    root = Access(Engine(agent, store="memory:"), ROOT)
    root.require_of_service(Role.OPERATOR)
    assert root.is_of_service


async def test_only_an_operator_forgets_a_task() -> None:
    """And only one that is over.  Source: R-SVC-50."""
    async with world() as here:
        asks, done = await submitted(here, "ask"), await submitted(here, "done")
        await until(lambda: here.stored(done).phase is Phase.FINALIZED)
        for who, error in ((ADA, NotAllowed), (AUDITOR, NotAllowed), (APPROVER, UnknownTask)):
            assert await refused(Access(here.engine, who).forget(done.task_id)) is error
        operator = Access(here.engine, OPERATOR)
        assert await refused(operator.forget(asks.task_id)) is NotFinalized
        await operator.forget(done.task_id)
        assert await refused(operator.forget(done.task_id)) is UnknownTask


def test_a_role_is_required() -> None:
    """And named in the refusal.  Source: R-SVC-50."""
    access = Access(Engine(agent, store="memory:"), OPERATOR)
    access.require(Role.OPERATOR)
    with pytest.raises(NotAllowed, match="'auditor'"):
        access.require(Role.AUDITOR)
    assert NotAllowed.code == "not_allowed"
