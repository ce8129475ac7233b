"""The stream of a task's events: a gap-free part of its log.  R-SVC-59, R-SVC-60; T24, I24."""

from http import HTTPStatus

import pytest

from interlock import Limits
from interlock_adapters.management import _stream as management_stream
from interlock_adapters.management._stream import Encoder
from managed import ADA, WHO, Reader, as_user, office
from support import pause, soon, until


async def test_a_stream_is_a_part_of_the_log_without_a_gap() -> None:
    """From every place, also of readers that come and go; ids are numbers.  Source: R-SVC-59."""
    async with office() as here:
        record = await here.task("ask")
        engine = here.world.engine
        app = as_user(here.app, ADA)
        readers = {
            after: Reader(app, f"/tasks/{record.task_id}/events/stream?after={after}")
            for after in range(record.seq + 1)
        }
        for after, reader in readers.items():
            await reader.seen(record.seq - after)
            assert not reader.over
        async with here.client(ADA) as client:
            body = {"ask": record.asks[0].key, "value": "x"}
            await client.post(f"/tasks/{record.task_id}/answer", json=body)
        view = await engine.over(record.task_id, owner=None)
        # The log goes on with `finalize`, which nobody is shown.
        log = [e.to_json() for e in view.events if e.trigger.value != "finalize"]
        for after, reader in readers.items():
            await reader.closed()
            assert reader.headers["content-type"].startswith("text/event-stream")
            assert reader.events == log[after:]
            ids = [line for line in reader.body.decode().splitlines() if line.startswith("id: ")]
            assert ids == [f"id: {event['seq']}" for event in log[after:]]
            assert reader.ended


async def test_a_reader_goes_on_after_what_it_saw_last() -> None:
    """By the header, which a browser sends; at the end it is told to stop.  Source: R-SVC-59."""
    async with office() as here:
        record = await here.task("done")
        log = await here.world.engine.events(record.task_id, owner=None)
        last = log[-2].seq  # before `finalize`
        path = f"/tasks/{record.task_id}/events/stream"
        async with here.client(ADA) as client:
            headers = {"last-event-id": str(last - 1)}
            answer = await client.get(f"{path}?after=0", headers=headers)
            assert answer.text.count("\nid: ") == 1
            for over in (last, log[-1].seq):
                headers = {"last-event-id": str(over)}
                answer = await client.get(path, headers=headers)
                assert answer.status_code == HTTPStatus.NO_CONTENT


async def test_a_stream_ends_when_the_server_stops() -> None:
    """Without saying that the task is over: the reader comes back.  Source: R-SVC-60."""
    async with office() as here:
        record = await here.task("ask")
        reader = Reader(as_user(here.app, ADA), f"/tasks/{record.task_id}/events/stream")
        await reader.seen(record.seq)
        here.stopping.begin()
        await reader.closed()
        assert not reader.ended


async def test_a_silent_stream_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are no events, and stop with it.  Source: R-SVC-60."""
    monkeypatch.setattr(management_stream, "BEAT_S", 0.001)
    async with office() as here:
        record = await here.task("ask")
        reader = Reader(as_user(here.app, ADA), f"/tasks/{record.task_id}/events/stream")
        await until(lambda: reader.body.count(b": there\n") > 2)
        # An empty line after it would be an event without data, to some clients.
        assert b": there\n\n" not in reader.body
        assert len(reader.events) == record.seq
        await soon(reader.hang_up())
        said = len(reader.body)
        await pause()
        assert len(reader.body) == said


async def test_who_hangs_up_frees_its_place() -> None:
    """The bound is of those that are there.  Source: T24."""
    async with office(limits=Limits(subscribers_max=1)) as here:
        record = await here.task("ask")
        path = f"/tasks/{record.task_id}/events/stream"
        reader = Reader(as_user(here.app, ADA), path)
        await reader.seen(record.seq)
        async with here.client(ADA) as client:
            answer = await client.get(path)
            assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
            assert answer.json()["code"] == "limit_reached"
            assert answer.headers["retry-after"] == "1"
            await soon(reader.hang_up())
            await pause()
        again = Reader(as_user(here.app, ADA), path)
        await again.seen(record.seq)
        await soon(again.hang_up())


async def test_an_approver_reads_on_until_the_task_waits_no_more() -> None:
    """Then it is somebody else's again: the stream ends, and no sooner.  Source: T1."""
    async with office() as here:
        record = await here.task("ask")
        path = f"/tasks/{record.task_id}/events/stream"
        reader = Reader(as_user(here.app, WHO["approver"]), path)
        await reader.seen(record.seq)
        async with here.client(ADA) as client:
            body = {"ask": record.asks[0].key, "value": "x"}
            await client.post(f"/tasks/{record.task_id}/answer", json=body)
        await reader.closed()
        assert reader.events[-1]["trigger"] == "provide_input"
        assert not reader.ended


async def test_an_event_is_encoded_once_for_all_its_readers() -> None:
    """And what is kept for that is bounded.  Source: T24."""
    async with office() as here:
        record = await here.task("ask")
        events = await here.world.engine.events(record.task_id, owner=None)
    encoder = Encoder()
    first = [encoder.of(record.task_id, event) for event in events]
    again = [encoder.of(record.task_id, event) for event in events]
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert encoder.encoded == len(events)
    assert all(chunk.count(b"\n\n") == 1 and chunk.endswith(b"\n\n") for chunk in first)
    small = Encoder(bytes_max=len(first[0]))
    for event in events:
        small.of(record.task_id, event)
    assert small.bytes_kept <= len(first[0])
