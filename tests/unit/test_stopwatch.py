"""A stopwatch gives some work so many seconds, of which the time of people is none."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from interlock._at_once import Share, at_once, now_waiting, now_working
from interlock._stopwatch import Stopwatch, TimeIsUp
from interlock.testing import ManualClock
from support import pause, soon


class Work:
    """Something that takes until it is let go on."""

    def __init__(self, *, stubborn: bool = False, error: Exception | None = None) -> None:
        self.go_on = asyncio.Event()
        self.cancels = 0
        self._stubborn = stubborn
        self._error = error

    async def do(self) -> str:
        """Do it."""
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancels += 1
                if not self._stubborn:
                    raise
        if self._error is not None:
            raise self._error
        return "done"


async def test_what_is_done_in_time_is_what_it_comes_to() -> None:
    """A value or an error; no alarm is left.  Source: ours."""
    clock = ManualClock()
    for error in (None, OSError("broken")):
        work = Work(error=error)
        timed = asyncio.ensure_future(Stopwatch(clock, 5.0).time(work.do()))
        await pause()
        clock.advance(4.9)
        work.go_on.set()
        if error is None:
            assert await soon(timed) == "done"
        else:
            with pytest.raises(OSError, match="broken"):
                await soon(timed)
        assert clock.alarms == 0


@pytest.mark.parametrize("stubborn", [False, True])
async def test_what_takes_too_long_is_cancelled_and_not_waited_for(stubborn: bool) -> None:  # noqa: FBT001
    """It may never end.  Source: issue 4, bad input."""
    clock = ManualClock()
    work = Work(stubborn=stubborn, error=OSError("nobody hears of it"))
    timed = asyncio.ensure_future(Stopwatch(clock, 5.0).time(work.do()))
    await pause()
    clock.advance(5.0)
    with pytest.raises(TimeIsUp):
        await soon(timed)
    await pause()
    assert work.cancels == 1
    work.go_on.set()
    await pause()
    assert clock.alarms == 0


async def test_without_a_limit_it_takes_as_long_as_it_takes() -> None:
    """No alarm is armed.  Source: ours."""
    clock = ManualClock()
    work = Work()
    watch = Stopwatch(clock, None)
    timed = asyncio.ensure_future(watch.time(work.do()))
    await pause()
    with watch.paused():
        clock.advance(1e9)
    assert clock.alarms == 0
    work.go_on.set()
    assert await soon(timed) == "done"


async def test_a_pause_does_not_count() -> None:
    """Nor one within another, nor two beside each other.  Source: API4, ToolUse, R-GATE-08."""
    clock = ManualClock()
    work = Work()
    watch = Stopwatch(clock, 5.0)
    timed = asyncio.ensure_future(watch.time(work.do()))
    await pause()
    clock.advance(3.0)
    with watch.paused():
        clock.advance(100.0)
        with watch.paused():
            clock.advance(100.0)
        clock.advance(100.0)
    clock.advance(1.9)
    await pause()
    assert not timed.done()
    clock.advance(0.1)
    with pytest.raises(TimeIsUp):
        await soon(timed)


async def test_a_pause_that_outlives_the_work_keeps_no_alarm() -> None:
    """Somebody goes on after it was given up.  Source: ours."""
    clock = ManualClock()
    watch = Stopwatch(clock, 5.0)

    async def asks() -> None:
        with watch.paused():
            await asyncio.Event().wait()

    timed = asyncio.ensure_future(watch.time(asks()))
    await pause()
    timed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(timed)
    clock.advance(10.0)
    assert clock.alarms == 0


async def test_whoever_is_cancelled_cancels_the_work_and_waits_for_its_end() -> None:
    """What it has done by then is not lost.  Source: issue 4, build 3."""
    clock = ManualClock()
    work = Work(stubborn=True)
    timed = asyncio.ensure_future(Stopwatch(clock, 5.0).time(work.do()))
    await pause()
    timed.cancel()
    await pause()
    assert (work.cancels, timed.done()) == (1, False)
    work.go_on.set()
    assert await soon(timed) == "done"
    assert clock.alarms == 0


# --- several things at once ---------------------------------------------------------------


class Shares:
    """Counts the reasons not to park."""

    def __init__(self) -> None:
        self.held = 0

    def share(self) -> Share:
        """One more."""
        return Share(self._taken, self._returned)

    def _taken(self) -> None:
        self.held += 1

    def _returned(self) -> None:
        self.held -= 1


async def test_each_of_several_holds_a_share_until_it_waits() -> None:
    """And has it again when it goes on, but not when it is done.  Source: ours."""
    shares = Shares()
    seen: list[int] = []
    answered = asyncio.Event()

    async def asks(n: int) -> int:
        seen.append(shares.held)
        now_waiting()
        now_waiting()
        await answered.wait()
        now_working()
        seen.append(shares.held)
        await pause(n)
        return n

    doing = asyncio.ensure_future(at_once(shares.share, [asks(1), asks(2)]))
    await pause()
    assert (seen, shares.held) == ([2, 1], 0)
    answered.set()
    assert await soon(doing) == [1, 2]
    assert (seen[2:], shares.held) == ([1, 2], 0)


async def test_what_fails_or_is_given_up_gives_its_share_back() -> None:
    """Also what never began, and what it has left behind.  Source: ours."""
    for rounds in range(1, 5):
        shares = Shares()
        left: list[asyncio.Task[None]] = []

        async def behind() -> None:
            await pause(5)
            now_working()

        async def fails(left: list[asyncio.Task[None]] = left) -> None:
            left.append(asyncio.ensure_future(behind()))
            raise OSError

        async def waits() -> None:
            await asyncio.Event().wait()

        doing = asyncio.ensure_future(at_once(shares.share, [fails(), waits()]))
        await pause(rounds)
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        await asyncio.gather(*left)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert shares.held == 0, rounds


async def test_a_single_one_holds_its_share_as_one_of_several_does() -> None:
    """Whether it waits, is done, fails or is given up, and whatever it leaves behind."""
    for ends in ("done", "fails", "given up"):
        shares = Shares()
        seen: list[int] = []
        answered = asyncio.Event()
        left: list[asyncio.Task[None]] = []

        async def behind(answered: asyncio.Event = answered) -> None:
            await answered.wait()
            await pause(5)
            now_working()

        async def asks(
            ends: str = ends,
            seen: list[int] = seen,
            shares: Shares = shares,
            answered: asyncio.Event = answered,
            left: list[asyncio.Task[None]] = left,
            behind: Callable[[], Coroutine[None, None, None]] = behind,
        ) -> str:
            left.append(asyncio.create_task(behind()))
            seen.append(shares.held)
            now_waiting()
            await answered.wait()
            now_working()
            seen.append(shares.held)
            if ends == "fails":
                raise OSError
            return ends

        doing = asyncio.ensure_future(at_once(shares.share, [asks()]))
        await pause()
        assert (seen, shares.held) == ([1], 0)
        if ends == "given up":
            doing.cancel()
        answered.set()
        (end,) = await asyncio.gather(doing, return_exceptions=True)
        await asyncio.gather(*left)
        assert shares.held == 0, ends
        if ends == "done":
            assert (end, seen) == (["done"], [1, 1])


async def test_one_that_is_alone_has_no_share() -> None:
    """Waiting is nothing then.  Source: ours."""
    now_waiting()
    now_working()
