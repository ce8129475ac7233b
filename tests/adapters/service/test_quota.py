"""Quotas: how much an owner may ask for, over time and at once, and what guessing costs.

Requirements: R-SVC-17 (rate and concurrency per owner, 429 with Retry-After), R-SVC-18 (bounded
memory).  Threats: T4, T21, T24.
"""

import asyncio
from contextlib import ExitStack
from typing import Any, Final

import pytest

from interlock_adapters._callers.asgi_quota import Quota
from interlock_adapters._callers.quota import OverQuota, Quotas, QuotaSettings, note_miss
from interlock_adapters._http.asgi import Message, Receive, Scope, Send
from interlock_adapters.auth import Principal, PrincipalUser
from support import soon


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """What time it is."""
        return self.now


def quotas(clock: Clock | None = None, **said: Any) -> Quotas:  # noqa: ANN401
    """Sixty requests a minute, ten at once after a pause."""
    settings = {"requests_per_minute": 60, "burst": 10, **said}
    return Quotas(QuotaSettings.model_validate(settings), now=clock or Clock())


def spend(those: Quotas, owner: str = "ada", *, misses: int = 0) -> int:
    """How many requests come through at once, each of which misses so often."""
    for number in range(1_000):
        try:
            with those.request(owner) as charge:
                for _ in range(misses):
                    charge.miss()
        except OverQuota:
            return number
    return 1_000


def test_a_burst_is_had_at_once_and_comes_back_evenly() -> None:
    """One token a second, up to ten; what is refused costs nothing."""
    clock = Clock()
    those = quotas(clock)
    assert spend(those) == 10
    with pytest.raises(OverQuota) as caught, those.request("ada"):
        pass
    assert caught.value.retry_after_s == pytest.approx(1)
    clock.now = 0.5
    assert spend(those) == 0
    clock.now = 3.0
    assert spend(those) == 3
    clock.now = 1_000.0
    assert spend(those) == 10
    assert spend(those, "bob") == 10


def test_naming_what_is_not_there_counts_for_more() -> None:
    """Source: T4; whoever guesses ids has soon nothing left, and a debt of one burst at most."""
    clock = Clock()
    those = quotas(clock, miss_cost=4)
    assert spend(those, misses=1) == 2
    assert spend(those, "bob", misses=100) == 1
    with pytest.raises(OverQuota) as caught, those.request("bob"):
        pass
    assert caught.value.retry_after_whole_s == 11
    clock.now = 11.0
    assert spend(those, "bob") == 1


def test_what_is_open_at_once_is_bounded_for_each_and_for_all() -> None:
    """A stream counts while it is open."""
    those = quotas(concurrent=2, concurrent_all=3)
    with ExitStack() as open_now:
        for owner in ("ada", "ada", "bob"):
            open_now.enter_context(those.request(owner))
        with pytest.raises(OverQuota) as of_all, those.request("eve"):
            pass
        assert not of_all.value.own
    with ExitStack() as open_now:
        for _ in range(2):
            open_now.enter_context(those.request("ada"))
        with pytest.raises(OverQuota, match="2 open requests") as own, those.request("ada"):
            pass
        assert own.value.own
        with those.request("bob"), pytest.raises(OverQuota), those.request(None):
            pass
    with those.request("ada"):
        pass


def test_a_request_that_fails_is_not_open_any_more() -> None:
    """Whatever it raises."""
    those = quotas(concurrent=1, concurrent_all=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), those.request("ada"):
            raise ZeroDivisionError


def test_those_who_asked_long_ago_are_forgotten() -> None:
    """A hundred thousand owners are as many as are kept; who is there now is kept (R-SVC-18)."""
    those = quotas(owners_max=100)
    with those.request("ada"):
        spend(those, "ada")
        for number in range(100_000):
            with those.request(f"owner {number}"):
                pass
        assert those.owners == 100
        assert spend(those, "ada") == 0
    assert those.owners == 100


class Streams:
    """An application whose answers stay open, like that of an SSE stream with no events."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Event()
        self.open = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Stream until the client hangs up; what is below /none is not there."""
        missing = scope["path"] == "/none"
        if scope["path"] == "/guess":
            note_miss()
        start: Message = {
            "type": "http.response.start",
            "status": 404 if missing else 200,
            "headers": [],
        }
        await send(start)
        if scope["path"] == "/stream":
            self.open += 1
            await self.hung_up.wait()
        await send({"type": "http.response.body", "body": b""})


class Site:
    """It, behind quotas."""

    def __init__(self, **said: Any) -> None:  # noqa: ANN401
        self.streams = Streams()
        self.clock = Clock()
        self.app = Quota(self.streams, quotas(self.clock, **said))

    async def call(self, owner: str | None, path: str) -> tuple[int, dict[bytes, bytes]]:
        """One request: its status and headers."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {"type": "http", "path": path, "headers": []}
        if owner is not None:
            scope["user"] = PrincipalUser(Principal(owner))
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])


async def test_ten_thousand_idle_streams_of_one_leave_room_for_others() -> None:
    """They are refused beyond the bound, at once, with the time to come back (T24)."""
    site = Site(concurrent=50, burst=20_000)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(site.call("eve", "/stream")) for _ in range(10_000)]
        await asyncio.sleep(0)
        refused = [call.result() for call in calls if call.done()]
        assert len(refused) == 9_950
        assert {status for status, _ in refused} == {429}
        assert all(headers[b"retry-after"] == b"1" for _, headers in refused)
        assert (await soon(site.call("ada", "/")))[0] == 200
        assert site.streams.open == 50
        site.streams.hung_up.set()
    assert (await soon(site.call("eve", "/")))[0] == 200


async def test_a_refusal_says_when_to_come_back() -> None:
    """In whole seconds; nobody's own doing is another status."""
    site = Site(burst=1, requests_per_minute=6, concurrent_all=1)
    assert (await site.call("ada", "/"))[0] == 200
    status, headers = await site.call("ada", "/")
    assert (status, headers[b"retry-after"]) == (429, b"10")
    assert headers[b"content-type"] == b"application/problem+json"
    async with asyncio.TaskGroup() as group:
        group.create_task(site.call("eve", "/stream"))
        await asyncio.sleep(0)
        assert (await site.call("bob", "/"))[0] == 503
        site.streams.hung_up.set()


@pytest.mark.parametrize(("path", "through"), [("/", 10), ("/none", 2), ("/guess", 2)])
async def test_misses_are_heard_of_in_both_ways(path: str, through: int) -> None:
    """By a status, and from an endpoint whose errors are in its body: JSON-RPC (T4)."""
    site = Site(miss_cost=5)
    found = [(await site.call("ada", path))[0] for _ in range(20)]
    assert 20 - found.count(429) == through


async def test_what_nobody_asks_for_is_bounded_for_all_only() -> None:
    """Public paths have no owner."""
    site = Site(burst=1)
    assert {(await site.call(None, "/"))[0] for _ in range(50)} == {200}


UNCOUNTED: Final = ("lifespan", "websocket")


@pytest.mark.parametrize("kind", UNCOUNTED)
async def test_what_is_no_request_is_passed_on(kind: str) -> None:
    """And a miss outside of any request is nobody's."""
    heard: list[str] = []

    async def inside(scope: Scope, _receive: Receive, _send: Send) -> None:
        heard.append(scope["type"])

    async def nothing(*_: object) -> Message:
        return {}

    await Quota(inside, quotas(burst=1))({"type": kind}, nothing, nothing)  # type: ignore[arg-type]
    note_miss()
    assert heard == [kind]
