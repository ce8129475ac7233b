"""What every store promises, as checks that anybody can run against a store of their own.

    from interlock.testing import DURABLE_STORE_CHECKS, STORE_CHECKS

    @pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS])
    async def test_my_store_keeps_its_promises(check, tmp_path):
        await check(lambda: MyStore(tmp_path / "tasks.db"))

A check is given a maker of stores.  It finds nothing in the first one it makes; of a
durable store, every next one is over the same place.  Each check stands for one promise
in the docstrings of `Store`; it fails with an AssertionError.  The module is long because
the promises are many; each check is short and stands alone.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from interlock._event import AGENT, ENGINE, TIMER, Signal
from interlock._json import digest
from interlock._machine import LIFECYCLE, Move, fire
from interlock._phases import OUTCOMES, WAITING, Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, Store, TaskQuery, TokenTaken, Watch
from interlock.errors import Conflict, StoreError
from interlock.models import JsonObject

#: Makes a store that is not open yet.
StoreMaker: TypeAlias = Callable[[], Store]
#: One promise.
StoreCheck: TypeAlias = Callable[[StoreMaker], Awaitable[None]]

#: When the tasks of the checks are submitted, seconds since 1970.
AT: Final = 1_000_000.0
#: Before every deadline.
_FIRST: Final = (float("-inf"), "")
_OWNER: Final = "ada"
#: Idempotency tokens of theirs.
_M0, _M1 = "m0", "m1"


# --- tasks to store -------------------------------------------------------------------


def submitted(
    task_id: str,
    *,
    owner: str = _OWNER,
    context_id: str = "c",
    at: float = AT,
    due_s: float = 1e6,
    token: str | None = None,
) -> Move:
    """A new task that may take `due_s` seconds; what its token claims is `claim_of` it."""
    data = {
        "task_id": task_id,
        "owner": owner,
        "context_id": context_id,
        "parts": [{"text": f"do {task_id}"}],
        "due": at + due_s,
        "token": token,
    }
    return LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, owner, at))


def claim_of(move: Move) -> Claim:
    """The claim of a submission, as the engine makes it: a store may check one by the other."""
    data = move.event.data
    body = digest([data["parts"], data.get("metadata", {})])
    return Claim(data["owner"], data["token"], data["task_id"], body)


def moved(
    move: Move, trigger: Trigger, data: dict[str, Any], actor: str = ENGINE, after_s: float = 1.0
) -> Move:
    """The next move of the same task, `after_s` seconds later."""
    return fire(move.record, Signal(trigger, data, actor, move.record.updated_at + after_s))


def started(move: Move, run_s: float | None = 60.0) -> Move:
    """Its agent runs."""
    return moved(move, Trigger.START, {"run_s": run_s})


def asked(move: Move, key: str, *, due_s: float = 30.0, kind: str = "input") -> Move:
    """Its agent wants to know something, or leave to do it."""
    data = {
        "epoch": move.record.epoch,
        "key": key,
        "kind": kind,
        "prompt": "Which city? 東京 🗼",
        "schema": {"type": "string", "maxLength": 9},
        "due": move.record.updated_at + due_s,
        "on_expire": "fail",
        "asks_max": 99,
    }
    if kind == "auth":
        data |= {
            "schema": {"type": "object"},
            "tool": "book",
            "arguments": {"seats": [1, 2.5, None, {"deep": ["é", True]}]},
            "digest": "d" * 32,
            "allow_edit": True,
            "on_deny": "stop",
            "approvers": ["bob", "eve"],
        }
    return moved(move, Trigger.ASK, data, AGENT)


def answered(move: Move, key: str) -> Move:
    """Somebody answered."""
    return moved(move, Trigger.PROVIDE_INPUT, {"key": key, "value": "Oslo"}, "ada")


def completed(move: Move) -> Move:
    """Its agent is done."""
    data = {"epoch": move.record.epoch, "parts": [{"text": "done"}]}
    return moved(move, Trigger.COMPLETE, data, AGENT)


def finalized(move: Move) -> Move:
    """Nothing is held for it any more."""
    return moved(move, Trigger.FINALIZE, {"turn_alive": False, "deliveries_left": 0})


def whole_life(
    task_id: str, *, owner: str = _OWNER, at: float = AT, token: str | None = None
) -> list[Move]:
    """A task from its submission to the end of its book-keeping."""
    moves = [submitted(task_id, owner=owner, at=at, token=token)]
    for step in (started, completed, finalized):
        moves.append(step(moves[-1]))
    return moves


def every_phase() -> list[list[Move]]:
    """Lives that end in each phase, and in each kind of data that a record can hold."""

    def life(task_id: str, *steps: tuple[Trigger, dict[str, Any], str]) -> list[Move]:
        moves = [submitted(task_id)]
        for trigger, data, actor in steps:
            moves.append(moved(moves[-1], trigger, data, actor))
        return moves

    start = (Trigger.START, {"run_s": None}, ENGINE)
    cancel = (Trigger.CANCEL, {"grace_s": 5.0, "reason": "no need: “ñandú”"}, _OWNER)
    failure = {"epoch": 1, "code": "agent_error", "message": "it broke"}
    fail = (Trigger.FAIL, failure, AGENT)
    stopped = (Trigger.STOPPED, {"epoch": 1}, AGENT)
    waiting = [submitted("waits for both"), started(submitted("waits for both"))]
    waiting.append(asked(waiting[-1], "k1"))
    waiting.append(asked(waiting[-1], "k2", kind="auth"))
    resting = [submitted("waits for more"), started(submitted("waits for more"))]
    resting.extend([asked(resting[-1], "k1"), asked(asked(resting[-1], "k1"), "k2")])
    resting.append(answered(resting[-1], "k1"))
    late = [submitted("ran out of time", due_s=10.0)]
    overrun = {"timer": "task", "grace_s": 5.0}
    late.append(moved(late[0], Trigger.OVERRUN, overrun, TIMER, after_s=10.0))
    abandoned = life("is abandoned", start, cancel)
    abandoned.append(moved(abandoned[-1], Trigger.ABANDON, {"epoch": 1}, TIMER, after_s=5.0))
    retry = (Trigger.RETRY, {**failure, "not_before": AT + 99.5}, AGENT)
    reject = (Trigger.REJECT, {"epoch": 0, "code": "rejected", "message": "no"}, ENGINE)
    return [
        life("is new"),
        life("is to be tried again", start, retry),
        life("runs without a limit", start),
        [submitted("runs"), started(submitted("runs"))],
        waiting,
        resting,
        life("is being cancelled", start, cancel),
        life("failed", start, fail),
        life("was cancelled", start, cancel, stopped),
        life("was rejected", reject),
        late,
        abandoned,
        whole_life("is completed")[:-1],
        whole_life("is finalized"),
    ]


def commit_of(*moves: Move, claims: Iterable[Claim] = (), watches: Iterable[Watch] = ()) -> Commit:
    """All of the moves, which are of one task, at once."""
    events = tuple(move.event for move in moves)
    return Commit(moves[-1].record, events, tuple(claims), tuple(watches))


@contextlib.asynccontextmanager
async def opened(make_store: StoreMaker) -> AsyncGenerator[Store]:
    """A store, open; closed at the end."""
    store = make_store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def stored(store: Store, moves: Sequence[Move], *, watches: Iterable[Watch] = ()) -> None:
    """Commit the moves of one task one by one, the watches with the first."""
    await store.commit(commit_of(moves[0], watches=watches))
    for move in moves[1:]:
        await store.commit(commit_of(move))


async def _refused(store: Store, commit: Commit) -> StoreError:
    """The error with which the store refuses the commit."""
    try:
        await store.commit(commit)
    except StoreError as error:
        return error
    raise AssertionError("the commit was accepted")


def _ids(records: Iterable[TaskRecord]) -> list[str]:
    return [record.task_id for record in records]


# --- commits --------------------------------------------------------------------------


async def check_an_empty_store_has_nothing(make_store: StoreMaker) -> None:
    """Whatever is asked for, the answer is: there is none."""
    async with opened(make_store) as store:
        assert await store.get("t") is None
        assert await store.events("t") == []
        assert await store.unfinished() == []
        assert await store.open_tasks(_OWNER) == 0
        assert await store.due(AT, _FIRST) == []
        assert await store.next_due(AT) is None
        assert await store.claim(_OWNER, "m1") is None
        assert await store.watches("t") == []
        assert await store.behind() == []
        assert await store.purge(AT + 1e9) == []
        assert store.quarantined() == {}
        assert not await store.drop_watch("t", "w")
        assert await store.verify() == []
        page = await store.page(TaskQuery())
        assert (page.records, page.total, page.next_cursor) == ((), 0, None)
        assert dict(await store.counts(TaskQuery())) == {}
        assert not await store.forget("t")


async def check_what_was_committed_is_read_back(make_store: StoreMaker) -> None:
    """In every phase, the record is equal to the one committed, and so is each event."""
    async with opened(make_store) as store:
        for moves in every_phase():
            task_id = moves[0].record.task_id
            for count, move in enumerate(moves, start=1):
                await store.commit(commit_of(move))
                assert await store.get(task_id) == move.record, move.record
                kept = await store.events(task_id)
                assert kept == [move.event for move in moves[:count]], kept
        assert await store.verify() == []


async def check_payloads_are_kept_exactly(make_store: StoreMaker) -> None:
    """JSON comes back as it went in, whatever it holds."""
    payload: JsonObject = {
        "texts": ["", " ", "naïve", "日本語", "🚂", 'quo"te', "back\\slash", "\x00\x1f\x7f\u2028"],
        "numbers": [0, -1, 2**53 + 1, 2**70, 0.1, -0.5, 1e-300, 1.7976931348623157e308, 5e-324],
        "others": [None, True, False, [], {}, [[[]]], {"a": {"b": {"c": []}}}],
        "": "no name",
        "long": "x" * 300_000,
    }
    move = submitted("t \x00 'quoted' 🚂", owner="ada/日本")
    move = move._replace(event=replace(move.event, data={**move.event.data, "metadata": payload}))
    async with opened(make_store) as store:
        await store.commit(commit_of(move))
        (event,) = await store.events(move.record.task_id)
        assert event == move.event
        assert await store.get(move.record.task_id) == move.record


async def check_several_events_come_in_one_commit(make_store: StoreMaker) -> None:
    """All of them are kept, in order, and the record is that of the last."""
    moves = whole_life("t")
    async with opened(make_store) as store:
        await store.commit(commit_of(*moves[:2]))
        await store.commit(commit_of(*moves[2:]))
        assert await store.events("t") == [move.event for move in moves]
        assert await store.get("t") == moves[-1].record


async def check_events_are_read_from_anywhere(make_store: StoreMaker) -> None:
    """`after` leaves out what is known, `limit` bounds what comes."""
    moves = whole_life("t")
    events = [move.event for move in moves]
    async with opened(make_store) as store:
        await store.commit(commit_of(*moves))
        for after in range(len(events) + 2):
            assert await store.events("t", after) == events[after:]
            for limit in range(len(events) + 2):
                assert await store.events("t", after, limit) == events[after : after + limit]


async def check_a_commit_that_does_not_go_on_is_refused(make_store: StoreMaker) -> None:
    """Too early, too late, or a second time: nothing of it is written."""
    moves = whole_life("t")
    rival = moved(moves[0], Trigger.CANCEL, {"grace_s": 1.0}, _OWNER)
    async with opened(make_store) as store:
        await _check_refused(store, commit_of(moves[1]), expected_seq=1)
        assert await store.get("t") is None
        await stored(store, moves[:2])
        for stale in (moves[0], moves[1], rival, moves[3]):
            commit = commit_of(
                stale,
                claims=[Claim(_OWNER, "m", "t", "x")],
                watches=[Watch("w", "t", "web", {}, 0)],
            )
            await _check_refused(store, commit, expected_seq=stale.event.seq - 1)
        assert await store.events("t") == [move.event for move in moves[:2]]
        assert await store.get("t") == moves[1].record
        assert await store.claim(_OWNER, "m") is None
        assert await store.watches("t") == []
        await stored(store, moves[2:])
        assert await store.verify() == []


async def _check_refused(store: Store, commit: Commit, expected_seq: int) -> None:
    error = await _refused(store, commit)
    assert isinstance(error, Conflict), error
    assert (error.task_id, error.expected_seq) == (commit.record.task_id, expected_seq)


async def check_a_token_is_used_once(make_store: StoreMaker) -> None:
    """A commit whose claim is taken writes nothing, and learns what the token was used for."""
    first = Claim(_OWNER, "m1", "t1", "digest of one")
    other = Claim(_OWNER, "m2", "t2", "digest of two")
    late = Claim(_OWNER, "m1", "t2", "digest of two")
    watch = Watch("w", "t2", "web", {}, 0)
    async with opened(make_store) as store:
        await store.commit(commit_of(submitted("t1"), claims=[first]))
        commit = commit_of(submitted("t2"), claims=[other, late], watches=[watch])
        error = await _refused(store, commit)
        assert isinstance(error, TokenTaken), error
        assert error.claim == first
        assert await store.get("t2") is None
        assert await store.events("t2") == []
        assert await store.claim(_OWNER, "m2") is None
        assert await store.watches("t2") == []
        assert await store.open_tasks(_OWNER) == 1
        assert await store.claim(_OWNER, "m1") == first
        # Whatever was refused can still be done without the token.
        await store.commit(commit_of(submitted("t2"), claims=[other], watches=[watch]))
        assert await store.claim(_OWNER, "m2") == other


async def check_a_token_is_its_owners(make_store: StoreMaker) -> None:
    """Another owner may use the same; later commits claim too."""
    async with opened(make_store) as store:
        moves = whole_life("t1")
        claims = [Claim(_OWNER, f"m{number}", "t1", f"d{number}") for number in range(3)]
        await store.commit(commit_of(moves[0], claims=claims[:1]))
        await store.commit(commit_of(moves[1], claims=claims[1:]))
        bobs = Claim("bob", "m0", "t2", "d9")
        await store.commit(commit_of(submitted("t2", owner="bob"), claims=[bobs]))
        for claim in (*claims, bobs):
            assert await store.claim(claim.owner, claim.token) == claim
        assert await store.claim("bob", "m1") is None


async def check_many_tasks_at_once(make_store: StoreMaker) -> None:
    """Commits of many tasks run side by side without touching each other."""
    lives = [whole_life(f"t{number:03}", at=AT + number) for number in range(100)]
    async with opened(make_store) as store:
        async with asyncio.TaskGroup() as group:
            for moves in lives:
                group.create_task(stored(store, moves))
        for moves in lives:
            assert await store.get(moves[0].record.task_id) == moves[-1].record
            assert len(await store.events(moves[0].record.task_id)) == len(moves)
        assert await store.open_tasks(_OWNER) == 0
        assert await store.verify() == []


async def check_one_of_two_rivals_wins(make_store: StoreMaker) -> None:
    """Of two commits from the same place exactly one is accepted, and it is the one kept."""
    async with opened(make_store) as store:
        await store.commit(commit_of(submitted("t")))
        here = submitted("t")
        rivals = [started(here), moved(here, Trigger.CANCEL, {"grace_s": 1.0}, _OWNER)]
        ends = await _ends(store, [commit_of(rival) for rival in rivals])
        winners = [rival for rival, end in zip(rivals, ends, strict=True) if end is None]
        assert [type(end) for end in ends if end is not None] == [Conflict]
        assert [await store.get("t")] == [winner.record for winner in winners]


async def check_a_refused_commit_disturbs_no_other(make_store: StoreMaker) -> None:
    """Among many that come together, only those that must be are refused."""
    first, old = submitted("t0", token=_M1), submitted("old", token=_M0)
    claim = claim_of(first)
    async with opened(make_store) as store:
        await store.commit(commit_of(old, claims=[claim_of(old)]))
        ends = await _ends(
            store,
            [
                commit_of(first, claims=[claim]),
                commit_of(submitted("old")),
                commit_of(submitted("t1"), claims=[Claim(_OWNER, _M0, "t1", "d")]),
                commit_of(submitted("t2")),
                commit_of(submitted("t3"), claims=[Claim(_OWNER, _M1, "t3", "d")]),
                commit_of(*whole_life("t4")),
            ],
        )
        kinds = [None if end is None else type(end) for end in ends]
        assert kinds == [None, Conflict, TokenTaken, None, TokenTaken, None]
        assert isinstance(ends[4], TokenTaken)
        assert ends[4].claim == claim
        found = [await store.get(f"t{number}") is not None for number in range(5)]
        assert found == [True, False, True, False, True]
        assert await store.verify() == []


async def _ends(store: Store, commits: Sequence[Commit]) -> list[BaseException | None]:
    return await asyncio.gather(*map(store.commit, commits), return_exceptions=True)


# --- lists ----------------------------------------------------------------------------


async def check_pages_come_newest_first(make_store: StoreMaker) -> None:
    """By time of change and then by id, both descending; a change moves a task to the front."""
    async with opened(make_store) as store:
        for task_id, at in (("b", AT), ("c", AT), ("a", AT), ("z", AT - 1), ("d", AT + 1)):
            await store.commit(commit_of(submitted(task_id, at=at)))
        page = await store.page(TaskQuery())
        assert _ids(page.records) == ["d", "c", "b", "a", "z"]
        assert (page.total, page.next_cursor) == (5, None)
        await store.commit(commit_of(moved(submitted("b"), Trigger.START, {"run_s": 1.0})))
        assert _ids((await store.page(TaskQuery(limit=3))).records) == ["d", "b", "c"]


async def check_pages_are_walked_without_gap_or_repeat(make_store: StoreMaker) -> None:
    """Also where many tasks changed at the same time, and by pages of any size."""
    chance = random.Random(2)  # noqa: S311  repeatable, not secret
    moves = [submitted(f"t{number:02}", at=AT + chance.randrange(4)) for number in range(23)]
    async with opened(make_store) as store:
        for move in chance.sample(moves, len(moves)):
            await store.commit(commit_of(move))
        expected = sorted(((m.record.updated_at, m.record.task_id) for m in moves), reverse=True)
        for limit in (1, 2, 5, 22, 23, 24):
            seen = await _walk(store, TaskQuery(limit=limit), len(moves))
            assert [(record.updated_at, record.task_id) for record in seen] == expected


async def check_a_walk_is_not_confused_by_changes(make_store: StoreMaker) -> None:
    """Tasks that change meanwhile move to the front; the others are all seen, once."""
    async with opened(make_store) as store:
        moves = [submitted(f"t{number}", at=AT + number) for number in range(6)]
        for move in moves:
            await store.commit(commit_of(move))
        page = await store.page(TaskQuery(limit=2))
        assert _ids(page.records) == ["t5", "t4"]
        await store.commit(commit_of(moved(moves[4], Trigger.START, {"run_s": 1.0}, after_s=50)))
        await store.commit(commit_of(moved(moves[2], Trigger.START, {"run_s": 1.0}, after_s=50)))
        await store.commit(commit_of(submitted("t9", at=AT + 90)))
        rest = await store.page(TaskQuery(limit=9, cursor=page.next_cursor))
        assert _ids(rest.records) == ["t3", "t1", "t0"]
        assert (rest.total, rest.next_cursor) == (7, None)


async def _walk(store: Store, query: TaskQuery, total: int) -> list[TaskRecord]:
    seen: list[TaskRecord] = []
    while True:
        page = await store.page(query)
        assert page.total == total
        assert len(page.records) <= query.limit
        seen.extend(page.records)
        assert len(seen) <= total, "the walk repeats itself"
        if page.next_cursor is None:
            return seen
        assert page.records, "a page without tasks leads nowhere"
        query = replace(query, cursor=page.next_cursor)


async def check_pages_are_filtered(make_store: StoreMaker) -> None:
    """By owner, context, phase and time, and all at once; `total` counts what matches."""
    async with opened(make_store) as store:
        tasks = [
            submitted(f"{owner} {context_id} {number}", owner=owner, context_id=context_id, at=at)
            for owner in ("ada", "bob")
            for context_id in ("c1", "c2")
            for number, at in enumerate((AT, AT + 10, AT + 20))
        ]
        for task in tasks:
            await store.commit(commit_of(task))
            if task.record.task_id.endswith("1"):
                await store.commit(commit_of(started(task)))
        running = frozenset({Phase.RUNNING})
        for query, found in (
            (TaskQuery(owner="ada", limit=2), 6),
            (TaskQuery(owner="nobody"), 0),
            (TaskQuery(context_id="c2", limit=5), 6),
            (TaskQuery(owner="bob", context_id="c1", limit=1), 3),
            (TaskQuery(updated_since=AT + 11), 8),
            (TaskQuery(updated_since=AT + 11.5), 4),
            (TaskQuery(shown=running), 4),
            (TaskQuery(shown=running | {Phase.SUBMITTED}, limit=7), 12),
            (TaskQuery(shown=frozenset()), 0),
            (TaskQuery(shown=running, owner="ada", context_id="c2", updated_since=AT), 1),
        ):
            seen = await _walk(store, query, found)
            assert len(seen) == found, query
            for record in seen:
                assert query.owner in {None, record.owner}
                assert query.context_id in {None, record.context_id}
                assert query.shown is None or record.shown in query.shown
                assert record.updated_at >= (query.updated_since or 0)


#: Owners and ids of which each begins a little otherwise, for patterns, bytes and cases.
_NAMES: Final = (
    "ada", "Ada", "ada/", "ada/x", "ad%", "adb", "ad\U0010ffffx", "ad\ud7ff", "a_a", "é", "e\u0301",
    "ad\x00a", "*", "a[d]a", "a\\%",
)  # fmt: skip


async def check_owners_are_found_by_their_beginning(make_store: StoreMaker) -> None:
    """Letter by letter as it stands: case counts, and no character is a pattern."""
    async with opened(make_store) as store:
        for owner in _NAMES:
            await store.commit(commit_of(submitted(f"of {owner}", owner=owner)))
        for prefix in (
            "",
            "a",
            "ad",
            "ada",
            "ada/",
            "a_",
            "ad%",
            "ad\U0010ffff",
            "é",
            "e",
            "A",
            "x",
        ):
            expected = sorted(f"of {owner}" for owner in _NAMES if owner.startswith(prefix))
            query = TaskQuery(owner_prefix=prefix, limit=4)
            assert sorted(_ids(await _walk(store, query, len(expected)))) == expected, prefix
        both = TaskQuery(owner="ada/x", owner_prefix="ada/")
        assert _ids((await store.page(both)).records) == ["of ada/x"]
        assert (await store.page(replace(both, owner_prefix="bob"))).total == 0


async def check_tasks_are_searched(make_store: StoreMaker) -> None:
    """By how the id begins, the whole context id, or any piece of the owner; all as it stands."""
    async with opened(make_store) as store:
        tasks = [
            submitted(task_id, owner=owner, context_id=context_id)
            for task_id, owner, context_id in (
                *((name, "nobody", "none") for name in _NAMES),
                *((f"#{n}", f"<{name}>", "none") for n, name in enumerate(_NAMES)),
                *((f"@{n}", "nobody", name) for n, name in enumerate(_NAMES)),
            )
        ]
        for task in tasks:
            await store.commit(commit_of(task))
        for search in (
            *_NAMES,
            "",
            "a",
            "ad",
            "A",
            "%",
            "_",
            "d",
            "<",
            "body",
            "none",
            "non",
            "@1",
        ):
            found = [
                task.record.task_id
                for task in tasks
                if task.record.task_id.startswith(search)
                or task.record.context_id == search
                or search in task.record.owner
            ]
            query = TaskQuery(search=search, limit=7)
            seen = await _walk(store, query, len(found))
            assert sorted(_ids(seen)) == sorted(found), search
        narrowed = TaskQuery(search="ada", owner_prefix="nob", context_id="none")
        assert sorted(_ids((await store.page(narrowed)).records)) == ["ada", "ada/", "ada/x"]


async def check_tasks_are_counted_by_phase(make_store: StoreMaker) -> None:
    """Of what a query matches, as shown; its phases, limit and cursor do not matter."""
    lives = every_phase()
    async with opened(make_store) as store:
        for moves in lives:
            await stored(store, moves)
        for number, owner in enumerate(("bob/1", "bob/2", "bob/2")):
            move = submitted(f"b{number}", owner=owner, context_id="d", at=AT + 1_000)
            await store.commit(commit_of(move))
        everything = (await store.page(TaskQuery(limit=99))).records
        for query in (
            TaskQuery(),
            TaskQuery(limit=1, cursor=(AT, "a"), shown=frozenset({Phase.RUNNING})),
            TaskQuery(shown=frozenset()),
        ):
            counts = dict(await store.counts(query))
            assert counts == Counter(record.shown for record in everything), query
            assert Phase.FINALIZED not in counts
        for query, number in (
            (TaskQuery(owner="bob/2"), 2),
            (TaskQuery(owner_prefix="bob"), 3),
            (TaskQuery(context_id="d"), 3),
            (TaskQuery(updated_since=AT + 999), 3),
            (TaskQuery(search="b1"), 1),
            (TaskQuery(search="/1", owner_prefix="bob/"), 1),
        ):
            assert dict(await store.counts(query)) == {Phase.SUBMITTED: number}, query
        assert dict(await store.counts(TaskQuery(owner="nobody"))) == {}


async def check_a_finalized_task_is_shown_as_its_outcome(make_store: StoreMaker) -> None:
    """Nobody asks for finalized tasks: they count under how they ended."""
    async with opened(make_store) as store:
        await stored(store, whole_life("over"))
        await stored(store, whole_life("ending")[:3])
        await stored(store, whole_life("running")[:2])
        page = await store.page(TaskQuery(shown=frozenset({Phase.COMPLETED})))
        assert sorted(_ids(page.records)) == ["ending", "over"]
        assert (await store.page(TaskQuery(shown=frozenset({Phase.FINALIZED})))).total == 0


async def check_unfinished_tasks_are_found(make_store: StoreMaker) -> None:
    """All but the finalized and the waiting, by id, page by page: also what is only to finalize."""
    lives = every_phase()
    rest = WAITING | {Phase.FINALIZED}
    expected = sorted(m[0].record.task_id for m in lives if m[-1].record.phase not in rest)
    async with opened(make_store) as store:
        for moves in lives:
            await stored(store, moves)
        assert _ids(await store.unfinished()) == expected
        seen: list[str] = []
        while records := await store.unfinished(seen[-1] if seen else "", 3):
            assert records == [await store.get(record.task_id) for record in records]
            seen.extend(_ids(records))
            assert len(seen) <= len(expected), "the walk repeats itself"
        assert seen == expected


async def check_open_tasks_are_counted(make_store: StoreMaker) -> None:
    """Those of one owner that are not over, after every move."""
    async with opened(make_store) as store:
        assert await store.open_tasks("bob") == 0
        bobs = [submitted(f"b{number}", owner="bob") for number in range(3)]
        for number, move in enumerate(bobs, start=1):
            await store.commit(commit_of(move))
            assert await store.open_tasks("bob") == number
        moves = whole_life("t")
        for move, is_open in zip(moves, (True, True, False, False), strict=True):
            await store.commit(commit_of(move))
            assert await store.open_tasks(_OWNER) == is_open
        await store.commit(commit_of(*whole_life("u")))
        assert await store.open_tasks(_OWNER) == 0
        for moves in every_phase():
            await stored(store, moves)
        over = [m for m in every_phase() if m[-1].record.shown in OUTCOMES]
        assert await store.open_tasks(_OWNER) == len(every_phase()) - len(over)
        assert await store.open_tasks("bob") == len(bobs)


# --- deadlines ------------------------------------------------------------------------


async def check_deadlines_are_found_in_order(make_store: StoreMaker) -> None:
    """Earliest first, then by id; what is not due yet, or was handled, is left out."""
    async with opened(make_store) as store:
        for task_id, due_s in (("b", 20.0), ("a", 20.0), ("d", 10.0), ("c", 30.0)):
            await store.commit(commit_of(submitted(task_id, due_s=due_s)))
        assert await store.due(AT + 9.9, _FIRST) == []
        assert _ids(await store.due(AT + 10, _FIRST)) == ["d"]
        assert _ids(await store.due(AT + 99, _FIRST)) == ["d", "a", "b", "c"]
        assert _ids(await store.due(AT + 99, _FIRST, 2)) == ["d", "a"]
        assert _ids(await store.due(AT + 99, (AT + 20, "a"))) == ["b", "c"]
        assert _ids(await store.due(AT + 20, (AT + 20, "a"))) == ["b"]
        assert _ids(await store.due(AT + 99, (AT + 20, ""))) == ["a", "b", "c"]
        assert await store.due(AT + 99, (AT + 30, "c")) == []
        assert await store.due(AT + 19, (AT + 30, "c")) == []
        (first,) = await store.due(AT + 10, _FIRST)
        assert first == submitted("d", due_s=10.0).record


async def check_the_next_deadline_is_known(make_store: StoreMaker) -> None:
    """The earliest that is later than asked for, however many tasks share one."""
    async with opened(make_store) as store:
        for task_id, due_s in (("b", 20.0), ("a", 20.0), ("d", 10.0)):
            await store.commit(commit_of(submitted(task_id, due_s=due_s)))
        for after_s, expected_s in ((0.0, 10.0), (9.9, 10.0), (10.0, 20.0), (19.9, 20.0)):
            assert await store.next_due(AT + after_s) == AT + expected_s
        assert await store.next_due(AT + 20) is None
        assert await store.next_due(float("-inf")) == AT + 10


async def check_deadlines_move_with_the_task(make_store: StoreMaker) -> None:
    """Only the earliest of a task counts, and only the present one."""
    async with opened(make_store) as store:
        other = submitted("other", due_s=5_000)
        await store.commit(commit_of(other))
        moves = [submitted("t", due_s=100)]
        moves.append(started(moves[-1], run_s=60.0))
        moves.append(asked(moves[-1], "k1", due_s=30.0))
        moves.append(asked(moves[-1], "k2", due_s=10.0))
        moves.append(answered(moves[-1], "k2"))
        moves.append(answered(moves[-1], "k1"))
        moves.append(completed(moves[-1]))
        moves.append(finalized(moves[-1]))
        for move in moves:
            await store.commit(commit_of(move))
            due = move.record.due
            found = [(record.due, record) for record in await store.due(AT + 9_999, _FIRST)]
            mine = [] if due is None else [(due, move.record)]
            assert found == [*mine, (other.record.due, other.record)]
            assert await store.next_due(AT) == (other.record.due if due is None else due)
        # Back to a deadline that it had before.
        again = submitted("again", due_s=100)
        steps = [again, started(again, run_s=None)]
        steps.append(asked(steps[-1], "k", due_s=9.0))
        steps.append(answered(steps[-1], "k"))
        await stored(store, steps)
        assert _ids(await store.due(AT + 100, _FIRST)) == ["again"]


# --- watches --------------------------------------------------------------------------


async def check_watches_are_kept(make_store: StoreMaker) -> None:
    """With the task or later; the same id replaces; by id; until they are dropped."""
    config: JsonObject = {"url": "https://example.org/ü", "deep": [1, {"x": None}]}
    first = Watch("w2", "t", "web", config, 0)
    second = Watch("w1", "t", "mail", {}, 1, 3, AT + 0.25, "gone: 404")
    elsewhere = Watch("w1", "u", "web", {}, 0)
    async with opened(make_store) as store:
        await store.commit(commit_of(submitted("t"), watches=[first]))
        await store.commit(commit_of(submitted("u"), watches=[elsewhere]))
        assert await store.watches("t") == [first]
        await store.put_watch(second)
        assert await store.watches("t") == [second, first]
        changed = replace(second, cursor=4, attempts=0, not_before=0.0, given_up=None)
        await store.put_watch(changed)
        assert await store.watches("t") == [changed, first]
        await store.commit(commit_of(started(submitted("t")), watches=[replace(first, cursor=2)]))
        assert await store.watches("t") == [changed, replace(first, cursor=2)]
        assert await store.drop_watch("t", "w1")
        assert not await store.drop_watch("t", "w1")
        assert not await store.drop_watch("nobody", "w1")
        assert await store.watches("t") == [replace(first, cursor=2)]
        assert await store.watches("u") == [elsewhere]


async def check_a_watch_is_advanced(make_store: StoreMaker) -> None:
    """Its cursor and tries become those of `after`, from whatever they are; it is behind or not."""
    config: JsonObject = {"url": "https://example.org/ü\x00", "deep": [1, 2.5, {"x": None}]}
    start = Watch("w \x00ü", "t", "web", config, 0)
    other = replace(start, watch_id="other", cursor=2)
    moves = [submitted("t"), started(submitted("t"))]
    async with opened(make_store) as store:
        await stored(store, moves, watches=[start])
        await store.put_watch(other)
        failed = replace(start, attempts=2, not_before=AT + 0.25)
        assert await store.advance_watch(start, failed)
        assert await store.watches("t") == [other, failed]
        assert await store.behind() == [failed]
        half = replace(start, cursor=1, attempts=1, not_before=AT + 0.5)
        # As somebody does who has not heard of the tries in between.
        assert await store.advance_watch(start, half)
        assert await store.watches("t") == [other, half]
        assert await store.behind() == [half]
        dead = replace(half, given_up="gone: 404 ü")
        assert await store.advance_watch(half, dead)
        assert await store.watches("t") == [other, dead]
        assert await store.behind() == []
        served = replace(start, cursor=2)
        assert await store.advance_watch(half, served)
        assert await store.watches("t") == [other, served]
        assert await store.behind() == []
        await store.commit(commit_of(completed(moves[-1])))
        found = sorted(await store.behind(), key=lambda one: one.watch_id)
        assert found == [other, served]


async def check_a_watch_that_went_is_not_advanced(make_store: StoreMaker) -> None:
    """What was dropped does not come back, and what replaced it stays: nothing is written."""
    config: JsonObject = {"url": "https://example.org/old", "token": "x"}
    old = Watch("w", "t", "web", config, 0)
    after = replace(old, cursor=1)
    async with opened(make_store) as store:
        assert not await store.advance_watch(old, after)
        assert await store.watches("t") == []
        await stored(store, [submitted("t"), started(submitted("t"))])
        await store.commit(commit_of(submitted("u"), watches=[replace(old, task_id="u")]))
        assert not await store.advance_watch(old, after)
        assert await store.watches("t") == []
        for new in (
            replace(old, config={"url": "https://example.org/new", "token": "x"}, cursor=1),
            replace(old, config={}),
            replace(old, channel="mail"),
            replace(old, watch_id="v"),
        ):
            await store.put_watch(new)
            assert not await store.advance_watch(old, after)
            assert not await store.advance_watch(old, replace(old, given_up="it is gone"))
            assert await store.watches("t") == [new]
            assert await store.drop_watch("t", new.watch_id)
        # The same again is no other one.
        await store.put_watch(old)
        assert await store.drop_watch("t", "w")
        await store.put_watch(old)
        assert await store.advance_watch(old, after)
        assert await store.watches("t") == [after]
        assert await store.watches("u") == [replace(old, task_id="u")]


async def check_a_cursor_never_goes_back(make_store: StoreMaker) -> None:
    """Of two who serve one watch, the one who is further on is right about its tries as well."""
    moves = whole_life("t")[:3]
    watch = Watch("w", "t", "web", {"url": "https://example.org"}, 0)
    async with opened(make_store) as store:
        await stored(store, moves, watches=[watch])
        for ahead in (
            replace(watch, cursor=2, attempts=1, not_before=AT),
            replace(watch, cursor=3),
        ):
            await store.put_watch(ahead)
            for late in (
                replace(watch, cursor=1),
                replace(watch, attempts=3, not_before=AT + 9),
                replace(watch, attempts=12, given_up="it is gone"),
            ):
                assert await store.advance_watch(watch, late)
                assert await store.watches("t") == [ahead]
                assert await store.behind() == [ahead] * (ahead.cursor < len(moves))
        dead = replace(watch, cursor=2, given_up="it is gone")
        await store.put_watch(dead)
        assert await store.advance_watch(watch, replace(watch, cursor=1))
        assert await store.watches("t") == [dead]
        assert await store.behind() == []


async def check_watches_advance_while_their_task_moves(make_store: StoreMaker) -> None:
    """At the same time as commits and drops: whoever has not seen the last event is behind."""
    moving = [f"moving {number}" for number in range(8)]
    still = [f"still {number}" for number in range(4)]

    async def served(store: Store, task_id: str) -> None:
        watch = Watch("w", task_id, "web", {}, 0)
        for seq in (1, 2):
            before, watch = watch, replace(watch, cursor=seq)
            assert await store.advance_watch(before, watch)

    async with opened(make_store) as store:
        for task_id in (*moving, *still):
            watches = [Watch(watch_id, task_id, "web", {}, 0) for watch_id in ("v", "w")]
            await stored(store, whole_life(task_id)[:2], watches=watches)
        await asyncio.gather(
            *(store.commit(commit_of(whole_life(task_id)[2])) for task_id in moving),
            *(served(store, task_id) for task_id in (*moving, *still)),
            *(store.drop_watch(task_id, "v") for task_id in (*moving, *still)),
        )
        for task_id in (*moving, *still):
            assert await store.watches(task_id) == [Watch("w", task_id, "web", {}, 2)]
        assert sorted(watch.task_id for watch in await store.behind()) == moving


async def check_watches_that_are_behind_are_found(make_store: StoreMaker) -> None:
    """Those that are alive, and have not seen the last event of their task."""
    moves = whole_life("t")
    watch = Watch("w", "t", "web", {}, 0)

    async def behind() -> list[Watch]:
        return await store.behind()

    async with opened(make_store) as store:
        await store.commit(commit_of(moves[0], watches=[watch]))
        assert await behind() == [watch]
        await store.put_watch(replace(watch, cursor=1))
        assert await behind() == []
        await store.commit(commit_of(moves[1]))
        assert await behind() == [replace(watch, cursor=1)]
        waiting = replace(watch, cursor=1, attempts=2, not_before=AT + 1e9)
        await store.put_watch(waiting)
        assert await behind() == [waiting]
        await store.put_watch(replace(waiting, given_up="it is gone"))
        assert await behind() == []
        others = [Watch(f"w{number}", "t", "web", {}, number % 2) for number in range(10)]
        for other in others:
            await store.put_watch(other)
        found = await store.behind(100)
        assert sorted(found, key=lambda one: one.watch_id) == others
        assert len(await store.behind(4)) == len(others[:4])
        for other in others:
            assert await store.drop_watch("t", other.watch_id)
        assert await behind() == []


# --- retention ------------------------------------------------------------------------


async def check_finalized_tasks_are_purged_with_all_they_had(make_store: StoreMaker) -> None:
    """Their events, claims and watches go with them, and nothing of any other task."""
    lives = {
        task_id: whole_life(task_id, at=at, token=f"m {task_id}")
        for task_id, at in (("old", AT), ("new", AT + 100))
    }
    claims = {task_id: claim_of(moves[0]) for task_id, moves in lives.items()}
    watches = {task_id: Watch("w", task_id, "web", {}, 0) for task_id in lives}
    async with opened(make_store) as store:
        for task_id, moves in lives.items():
            commit = commit_of(*moves, claims=[claims[task_id]], watches=[watches[task_id]])
            await store.commit(commit)
        ended = lives["old"][-1].record.updated_at
        assert await store.purge(ended) == []
        assert await store.purge(ended + 0.5) == ["old"]
        assert await store.purge(ended + 0.5) == []
        assert await store.get("old") is None
        assert await store.events("old") == []
        assert await store.claim(_OWNER, "m old") is None
        assert await store.watches("old") == []
        assert await store.behind() == [watches["new"]]
        assert (await store.page(TaskQuery())).total == 1
        assert await store.get("new") == lives["new"][-1].record
        assert await store.events("new") == [move.event for move in lives["new"]]
        assert await store.claim(_OWNER, "m new") == claims["new"]
        # The id and the token are free again, as if they had never been used.
        await store.commit(commit_of(*lives["old"], claims=[claims["old"]]))
        assert await store.get("old") == lives["old"][-1].record
        assert await store.verify() == []


async def check_nothing_but_finalized_tasks_is_purged(make_store: StoreMaker) -> None:
    """However old: also not what is over and still has something to deliver."""
    lives = every_phase()
    async with opened(make_store) as store:
        for moves in lives:
            await stored(store, moves)
        assert await store.purge(AT + 1e9, limit=99) == ["is finalized"]
        assert await store.purge(AT + 1e9, limit=99) == []
        for moves in lives:
            record = moves[-1].record
            kept = None if record.phase is Phase.FINALIZED else record
            assert await store.get(record.task_id) == kept
        assert (await store.page(TaskQuery(limit=0))).total == len(lives) - 1
        assert await store.verify() == []


async def check_the_oldest_are_purged_first(make_store: StoreMaker) -> None:
    """At most so many at once, and never the newest that are to be kept."""
    chance = random.Random(5)  # noqa: S311  repeatable, not secret
    lives = [whole_life(f"t{number:02}", at=AT + number // 2) for number in range(20)]
    names = [moves[0].record.task_id for moves in lives]
    async with opened(make_store) as store:
        for moves in chance.sample(lives, len(lives)):
            await store.commit(commit_of(*moves))
        assert await store.purge(AT + 1e9, limit=0) == []
        assert await store.purge(AT + 1e9, limit=3) == names[:3]
        assert await store.purge(AT + 1e9, keep=20, limit=99) == []
        assert await store.purge(AT + 1e9, keep=17, limit=99) == []
        assert await store.purge(AT + 1e9, keep=15, limit=99) == names[3:5]
        assert await store.purge(AT + 1e9, keep=9, limit=4) == names[5:9]
        # Both bounds hold at once.
        assert await store.purge(lives[12][-1].record.updated_at, keep=2) == names[9:12]
        assert await store.purge(AT + 1e9, keep=7, limit=99) == names[12:13]
        assert (await store.page(TaskQuery())).total == 7  # noqa: PLR2004  as said above
        assert await store.verify() == []


async def check_one_task_is_forgotten(make_store: StoreMaker) -> None:
    """With all it had, if it is finalized; otherwise nothing happens."""
    lives = every_phase()
    done = whole_life("done", token=_M1)
    claim, watch = claim_of(done[0]), Watch("w", "done", "web", {}, 0)
    async with opened(make_store) as store:
        for moves in lives:
            await stored(store, moves)
        await store.commit(commit_of(*done, claims=[claim], watches=[watch]))
        for moves in lives:
            record = moves[-1].record
            is_finalized = record.phase is Phase.FINALIZED
            assert await store.forget(record.task_id) == is_finalized, record
            kept = None if is_finalized else record
            assert await store.get(record.task_id) == kept
        assert await store.get("done") == done[-1].record
        assert await store.forget("done")
        assert not await store.forget("done")
        assert await store.events("done") == []
        assert await store.claim(_OWNER, _M1) is None
        assert await store.watches("done") == []
        assert (await store.page(TaskQuery(limit=0))).total == len(lives) - 1
        assert await store.purge(AT + 1e9) == []
        # The id and the token are free again.
        await store.commit(commit_of(*done, claims=[claim]))
        assert await store.verify() == []


async def check_purging_and_committing_go_together(make_store: StoreMaker) -> None:
    """Neither waits for the other's end, and what comes meanwhile is kept."""
    async with opened(make_store) as store:
        for number in range(30):
            await store.commit(commit_of(*whole_life(f"old {number:02}")))
        news = [whole_life(f"new {number}", at=AT + 100) for number in range(30)]
        async with asyncio.TaskGroup() as group:
            purges = [group.create_task(store.purge(AT + 50, limit=7)) for _ in range(9)]
            for moves in news:
                group.create_task(stored(store, moves))
        while await store.purge(AT + 50, limit=7):
            pass
        gone = [task_id for purge in purges for task_id in purge.result()]
        assert len(gone) == len(set(gone))
        assert (await store.page(TaskQuery(limit=0))).total == len(news)
        assert await store.verify() == []


# --- the store itself -----------------------------------------------------------------


async def check_closing_is_harmless(make_store: StoreMaker) -> None:
    """Before opening, twice, and by several at once."""
    store = make_store()
    await store.close()
    await store.open()
    await store.commit(commit_of(submitted("t")))
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def check_a_healthy_store_verifies(make_store: StoreMaker) -> None:
    """`verify` has nothing to say, whatever the tasks went through."""
    async with opened(make_store) as store:
        for moves in every_phase():
            await stored(store, moves, watches=[Watch("w", moves[0].record.task_id, "web", {}, 0)])
        assert await store.verify() == []


# --- stores that outlive the process --------------------------------------------------


async def check_everything_is_there_again(make_store: StoreMaker) -> None:
    """What was committed before is read after, down to the claims, watches and deadlines."""
    lives = [[submitted("is new", token=_M1)], *every_phase()[1:]]
    claim = claim_of(lives[0][0])
    watch = Watch("w", "is new", "web", {"a": [1]}, 0, 2, AT, None)
    async with opened(make_store) as store:
        for moves in lives:
            first = moves[0].record.task_id == "is new"
            await store.commit(
                commit_of(*moves, claims=[claim] if first else (), watches=[watch] if first else ())
            )
    async with opened(make_store) as store:
        for moves in lives:
            task_id = moves[0].record.task_id
            assert await store.get(task_id) == moves[-1].record
            assert await store.events(task_id) == [move.event for move in moves]
        assert await store.claim(_OWNER, _M1) == claim
        assert await store.behind() == [watch]
        waiting = await store.page(TaskQuery(shown=WAITING))
        assert sorted(_ids(waiting.records)) == ["waits for both", "waits for more"]
        deadlines = [m[-1].record.due for m in lives if m[-1].record.due is not None]
        assert len(await store.due(AT + 1e9, _FIRST)) == len(deadlines)
        assert await store.next_due(0.0) == min(deadlines)
        assert await store.verify() == []


async def check_tasks_go_on_after_reopening(make_store: StoreMaker) -> None:
    """The next event is accepted, a stale one is not, and a used token stays used."""
    moves = whole_life("t", token=_M1)
    claim = claim_of(moves[0])
    async with opened(make_store) as store:
        await store.commit(commit_of(moves[0], claims=[claim]))
    for move in moves[1:]:
        async with opened(make_store) as store:
            await _check_refused(store, commit_of(moves[0]), expected_seq=0)
            await store.commit(commit_of(move))
            error = await _refused(store, commit_of(submitted("u"), claims=[claim]))
            assert isinstance(error, TokenTaken), error
            assert error.claim == claim
    async with opened(make_store) as store:
        assert await store.events("t") == [move.event for move in moves]
        assert await store.verify() == []


async def check_the_same_store_opens_again(make_store: StoreMaker) -> None:
    """One object may be opened, closed and opened again."""
    store = make_store()
    for move in whole_life("t"):
        await store.open()
        await store.commit(commit_of(move))
        await store.close()
    await store.open()
    assert len(await store.events("t")) == len(whole_life("t"))
    await store.close()


async def check_what_was_purged_stays_gone(make_store: StoreMaker) -> None:
    """Also when the newest tasks of all went; the store is sound, and goes on from there."""
    for round_ in range(3):
        async with opened(make_store) as store:
            assert await store.verify() == []
            for number in range(3):
                await store.commit(commit_of(*whole_life(f"t{number}", at=AT + round_)))
            await store.commit(commit_of(submitted(f"open {round_}")))
            await store.commit(commit_of(*whole_life("last", at=AT + round_)))
        async with opened(make_store) as store:
            assert sorted(await store.purge(AT + 1e9)) == ["last", "t0", "t1", "t2"]
            assert await store.verify() == []
    async with opened(make_store) as store:
        assert _ids(await store.unfinished()) == [f"open {round_}" for round_ in range(3)]
        assert await store.verify() == []


async def check_closing_finishes_what_was_begun(make_store: StoreMaker) -> None:
    """Commits on their way are either written and acknowledged, or refused and not there."""
    store = make_store()
    await store.open()
    commits = [store.commit(commit_of(submitted(f"t{number}"))) for number in range(50)]
    *ends, _ = await asyncio.gather(*commits, store.close(), return_exceptions=True)
    async with opened(make_store) as store:
        for number, end in enumerate(ends):
            assert (await store.get(f"t{number}") is not None) == (end is None), end
        assert await store.verify() == []


async def check_verify_finds_tampering(
    make_store: StoreMaker, tamper: Callable[[str], Awaitable[None]]
) -> None:
    """`tamper(task_id)` changes that task behind the back of the store, which is closed."""
    async with opened(make_store) as store:
        for task_id in ("a", "b", "c"):
            await stored(store, whole_life(task_id))
    await tamper("b")
    async with opened(make_store) as store:
        found = await store.verify()
        assert found, "nothing was noticed"
        assert all("'b'" in finding for finding in found), found
        # The others are as good as before.
        assert await store.get("a") == whole_life("a")[-1].record
        assert await store.events("c") == [move.event for move in whole_life("c")]


#: What any store must pass.
STORE_CHECKS: Final[tuple[StoreCheck, ...]] = (
    check_an_empty_store_has_nothing,
    check_what_was_committed_is_read_back,
    check_payloads_are_kept_exactly,
    check_several_events_come_in_one_commit,
    check_events_are_read_from_anywhere,
    check_a_commit_that_does_not_go_on_is_refused,
    check_a_token_is_used_once,
    check_a_token_is_its_owners,
    check_many_tasks_at_once,
    check_one_of_two_rivals_wins,
    check_a_refused_commit_disturbs_no_other,
    check_pages_come_newest_first,
    check_pages_are_walked_without_gap_or_repeat,
    check_a_walk_is_not_confused_by_changes,
    check_pages_are_filtered,
    check_owners_are_found_by_their_beginning,
    check_tasks_are_searched,
    check_tasks_are_counted_by_phase,
    check_a_finalized_task_is_shown_as_its_outcome,
    check_unfinished_tasks_are_found,
    check_open_tasks_are_counted,
    check_deadlines_are_found_in_order,
    check_the_next_deadline_is_known,
    check_deadlines_move_with_the_task,
    check_watches_are_kept,
    check_a_watch_is_advanced,
    check_a_watch_that_went_is_not_advanced,
    check_a_cursor_never_goes_back,
    check_watches_advance_while_their_task_moves,
    check_watches_that_are_behind_are_found,
    check_finalized_tasks_are_purged_with_all_they_had,
    check_nothing_but_finalized_tasks_is_purged,
    check_the_oldest_are_purged_first,
    check_one_task_is_forgotten,
    check_purging_and_committing_go_together,
    check_closing_is_harmless,
    check_a_healthy_store_verifies,
)
#: What a store that outlives its process must pass as well.
DURABLE_STORE_CHECKS: Final[tuple[StoreCheck, ...]] = (
    check_everything_is_there_again,
    check_tasks_go_on_after_reopening,
    check_the_same_store_opens_again,
    check_closing_finishes_what_was_begun,
    check_what_was_purged_stays_gone,
)
