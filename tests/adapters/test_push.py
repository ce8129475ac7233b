"""Push notifications: what a stream shows, in order, at least once, to each config's own auth."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx
import pytest
from a2a.types import AuthenticationInfo, StreamResponse, TaskPushNotificationConfig, TaskState
from google.protobuf.json_format import ParseDict

from interlock import (
    DeliveryFailed,
    Engine,
    Event,
    NewWatch,
    Phase,
    TaskContext,
    TaskView,
    Trigger,
    Watch,
)
from interlock.errors import InvalidInput
from interlock_adapters._http.webhook import TargetRefused, Webhooks, WebhookSettings
from interlock_adapters.a2a._push import CHANNEL, PushDeliverer, config_of, watch_of

URL = "https://receiver.test/hook?key=canary-url"
TICK = "tick"
CANARY = "canary-tick"


class Inbox:
    """A receiver of POSTs; answers with the codes it is given, then with 200."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.requests: list[httpx.Request] = []
        self.over = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.MockTransport`."""
        self.requests.append(request)
        code = self.codes.pop(0) if self.codes else 200
        if self.said[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED:
            self.over.set()
        return httpx.Response(code)

    @property
    def said(self) -> list[StreamResponse]:
        """The bodies, read as the protocol has them."""
        return [ParseDict(json.loads(r.content), StreamResponse()) for r in self.requests]

    @property
    def ids(self) -> list[str]:
        """The ids of the POSTs, without the task's."""
        return [r.headers["webhook-id"].partition(":")[2] for r in self.requests]


def deliverer(
    inbox: Inbox,
    addresses: Sequence[str] = ("93.184.216.34",),
    clock: Callable[[], float] = time.monotonic,
) -> PushDeliverer:
    """A deliverer whose POSTs all go to the inbox."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return PushDeliverer(
        Webhooks(WebhookSettings(), resolve=resolve, transport=httpx.MockTransport(inbox)),
        clock=clock,
    )


def config(**fields: object) -> TaskPushNotificationConfig:
    """A config of a client."""
    given = TaskPushNotificationConfig(id="c", url=URL)
    for name, value in fields.items():
        if isinstance(value, AuthenticationInfo):
            given.authentication.CopyFrom(value)
        else:
            setattr(given, name, value)
    return given


def kept(new: NewWatch, task_id: str = "t") -> Watch:
    """A watch as the engine keeps it."""
    return Watch(new.watch_id, task_id, new.channel, new.config, cursor=0)


async def agent(task: TaskContext) -> str:
    """Shows one thing and is done."""
    await task.emit("half of it")
    return "all of it"


async def lived() -> TaskView:
    """The whole life of one task."""
    async with Engine(agent, store="memory:") as engine, asyncio.timeout(60):
        handle = await engine.submit("please", owner="ada")
        await handle.result()
        return await engine.view(handle.task_id, owner="ada")


def upto(view: TaskView, trigger: Trigger) -> Sequence[Event]:
    """The events of a task up to the first of a trigger."""
    at = next(n for n, event in enumerate(view.events) if event.trigger is trigger)
    return view.events[: at + 1]


async def test_a_webhook_gets_the_task_and_then_every_update_in_order() -> None:
    """As on a stream, over the whole engine.  Source: A2A 1.0, push notifications, R-A2A-13."""
    inbox = Inbox()
    watch = watch_of(config(token=TICK))
    async with (
        asyncio.timeout(60),
        Engine(agent, store="memory:", deliverers={CHANNEL: deliverer(inbox)}) as engine,
    ):
        handle = await engine.submit("please", owner="ada", watches=[watch])
        await inbox.over.wait()
    said = [response.WhichOneof("payload") for response in inbox.said]
    assert said == ["task", "status_update", "artifact_update", "artifact_update", "status_update"]
    first = inbox.said[0].task
    assert (first.id, first.status.state) == (handle.task_id, TaskState.TASK_STATE_SUBMITTED)
    assert inbox.said[2].artifact_update.artifact.parts[0].text == "half of it"
    assert inbox.said[3].artifact_update.artifact.parts[0].text == "all of it"
    assert inbox.ids == ["1", "2", "3", "4:0", "4"]
    assert {r.headers["webhook-id"].partition(":")[0] for r in inbox.requests} == {handle.task_id}


async def test_each_webhook_is_called_with_its_own_credentials() -> None:
    """Source: A2A 1.0, TaskPushNotificationConfig; a2a-sdk's sender has the same headers."""
    view = await lived()
    events = upto(view, Trigger.SUBMIT)
    bearer = AuthenticationInfo(scheme="Bearer", credentials="s3cret")
    bare = AuthenticationInfo(scheme="Bearer")
    sent: list[httpx.Headers] = []
    for given in (
        config(token=TICK, authentication=bearer),
        config(authentication=bare),
        config(),
    ):
        inbox = Inbox()
        await deliverer(inbox).deliver(kept(watch_of(given)), view, events)
        [request] = inbox.requests
        sent.append(request.headers)
    assert [headers["content-type"] for headers in sent] == ["application/json"] * 3
    assert [headers.get("authorization") for headers in sent] == ["Bearer s3cret", None, None]
    assert [headers.get("x-a2a-notification-token") for headers in sent] == [TICK, None, None]


async def test_a_failure_says_how_far_the_webhook_got() -> None:
    """So that only what did not arrive is sent again."""
    view = await lived()
    watch = kept(watch_of(config()))
    inbox = Inbox(200, 200, 503)
    with pytest.raises(DeliveryFailed) as caught:
        await deliverer(inbox).deliver(watch, view, view.events)
    assert (str(caught.value), caught.value.delivered_seq) == ("answered 503", 2)
    assert not caught.value.permanent
    with pytest.raises(DeliveryFailed) as caught:
        await deliverer(Inbox(410)).deliver(watch, view, view.events)
    assert (caught.value.permanent, caught.value.delivered_seq) == (True, None)


async def test_a_slow_receiver_gets_each_event_once() -> None:
    """Cut off after two minutes, it once got the same events twelve times, and then no more."""
    view = await lived()
    watch = kept(watch_of(config()))
    inbox = Inbox()

    def clock() -> float:
        return 9.0 * len(inbox.requests)

    slow = deliverer(inbox, clock=clock)
    with pytest.raises(DeliveryFailed, match="slow") as caught:
        await slow.deliver(watch, view, view.events)
    delivered_seq = caught.value.delivered_seq
    assert delivered_seq == 4
    assert not caught.value.permanent
    await slow.deliver(watch, view, view.events[delivered_seq:])
    assert len(set(inbox.ids)) == len(inbox.ids)


async def test_a_repeat_has_the_same_id_and_the_same_body() -> None:
    """A receiver can tell; the second POST of one event has an id of its own."""
    view = await lived()
    watch = kept(watch_of(config()))
    inbox = Inbox(200, 200, 200, 200, 500)
    with pytest.raises(DeliveryFailed) as caught:
        await deliverer(inbox).deliver(watch, view, view.events)
    delivered_seq = caught.value.delivered_seq
    assert delivered_seq == 3
    await deliverer(inbox).deliver(watch, view, view.events[delivered_seq:])
    assert inbox.ids == ["1", "2", "3", "4:0", "4", "4:0", "4"]
    bodies = [request.content for request in inbox.requests]
    assert bodies[3:5] == bodies[5:7]


async def test_events_that_a_stream_does_not_show_are_not_sent() -> None:
    """The end of the book-keeping is nobody's business."""
    view = await lived()
    last = view.events[-1]
    finalize = replace(last, trigger=Trigger.FINALIZE, source=last.dest, dest=Phase.FINALIZED)
    inbox = Inbox()
    await deliverer(inbox).deliver(kept(watch_of(config())), view, [finalize])
    assert inbox.requests == []


async def test_a_target_is_checked_before_anything_is_stored() -> None:
    """Loopback and its like are refused.  Source: INVARIANTS T15."""
    await deliverer(Inbox()).check_target(URL)
    with pytest.raises(TargetRefused):
        await deliverer(Inbox(), ["127.0.0.1"]).check_target(URL)


def test_a_config_comes_back_as_it_was_given_but_for_its_secrets() -> None:
    """Those are for the receiver alone; the rest is the client's own.  Source: INVARIANTS I38."""
    bearer = AuthenticationInfo(scheme="Bearer", credentials="canary")
    given = config(token=CANARY, authentication=bearer, tenant="acme")
    watch = watch_of(given)
    assert (watch.watch_id, watch.channel) == ("c", CHANNEL)
    back = config_of(kept(watch))
    assert (back.id, back.task_id, back.url, back.token) == ("c", "t", URL, "")
    assert (back.tenant, back.authentication.scheme) == ("acme", "Bearer")
    assert back.authentication.credentials == ""
    assert "canary" not in repr(watch)
    assert not config_of(kept(watch_of(config()))).HasField("authentication")


def test_a_config_without_an_id_replaces_itself() -> None:
    """Two messages of one conversation must not make two webhooks of one."""
    first, again = watch_of(config(id="")), watch_of(config(id="", token=TICK))
    other = watch_of(config(id="", url="https://receiver.test/other"))
    assert first.watch_id == again.watch_id
    assert first.watch_id != other.watch_id
    assert config_of(kept(first)).id == first.watch_id


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("id", {"id": "x" * 257}),
        ("token", {"token": "a\r\nx-evil: 1"}),
        ("token", {"token": "ключ"}),
        ("token", {"token": " tick"}),
        ("token", {"token": "x" * 4097}),
        ("authentication.scheme", {"authentication": AuthenticationInfo(scheme="Bearer x")}),
        (
            "authentication.credentials",
            {"authentication": AuthenticationInfo(scheme="Bearer", credentials="a\n")},
        ),
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(field: str, fields: dict[str, object]) -> None:
    """Before it is stored, by the name of the field and without its value."""
    with pytest.raises(InvalidInput) as caught:
        watch_of(config(**fields))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [field]
    assert "evil" not in str(caught.value)


async def test_no_secret_of_a_config_reaches_a_log_or_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not at any level, and not when the delivery fails.  Source: INVARIANTS I38."""
    caplog.set_level(logging.DEBUG)
    bearer = AuthenticationInfo(scheme="Bearer", credentials="canary-credentials")
    given = config(token=CANARY, authentication=bearer)
    view = await lived()
    watch = kept(watch_of(given))
    await deliverer(Inbox()).deliver(watch, view, view.events)
    for code in (500, 400):
        with pytest.raises(DeliveryFailed) as caught:
            await deliverer(Inbox(code)).deliver(watch, view, view.events)
        assert "canary" not in str(caught.value)
    assert "canary" not in caplog.text
