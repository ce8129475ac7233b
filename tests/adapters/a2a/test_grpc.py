"""What only gRPC can get wrong: versions, which the SDK does not check there, and limits."""

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import grpc
import grpc.aio
import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2, a2a_v0_3_pb2_grpc
from a2a.types import (
    ExtensionSupportRequiredError,
    InvalidParamsError,
    ListTasksRequest,
    Part,
    TaskState,
    a2a_pb2,
    a2a_pb2_grpc,
)
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message as ProtobufMessage

from a2a_faces import GRPC, SETTINGS, Faces, data, faced, message, refused, travel
from interlock import JsonValue
from interlock.errors import StoreError
from interlock_adapters.a2a import Extension
from support import FlakyStore

#: The generated code has no types.
CURRENT: Final[Any] = cast("Any", a2a_pb2_grpc).A2AServiceStub
LEGACY: Final[Any] = cast("Any", a2a_v0_3_pb2_grpc).A2AServiceStub


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


@pytest.mark.parametrize("version", [None, "0.3", "1.7", "2.0"])
async def test_the_service_of_one_version_speaks_only_that(
    faces: Faces, version: str | None
) -> None:
    """Source: A2A 1.0 §3.6.2; none is 0.3, R-A2A-21."""
    metadata = [] if version is None else [("a2a-version", version)]
    async with grpc.aio.insecure_channel(faces.settings.grpc_url or "") as channel:
        stub = CURRENT(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListTasks(a2a_pb2.ListTasksRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        legacy = LEGACY(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await legacy.GetTask(a2a_v0_3_pb2.GetTaskRequest(name="tasks/0"), metadata=metadata)
        known = version in (None, "0.3")
        expected = grpc.StatusCode.NOT_FOUND if known else grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.code() is expected


async def test_a_patch_of_the_version_does_not_matter(faces: Faces) -> None:
    """Source: A2A 1.0 §3.6."""
    async with grpc.aio.insecure_channel(faces.settings.grpc_url or "") as channel:
        stub = CURRENT(channel)
        page = await stub.ListTasks(a2a_pb2.ListTasksRequest(), metadata=[("a2a-version", "1.0.3")])
        assert page.total_size == 0


async def test_a_number_that_is_none_is_no_answer(faces: Faces) -> None:
    """JSON has no NaN, and protobuf has."""
    ada = faces.peer(GRPC)
    task = await ada.send(message("a trip, please"))
    nan = Part()
    nan.data.number_value = float("nan")
    await refused(faces, ada.send(message(nan, task=task)), InvalidParamsError)


async def test_an_unknown_number_of_a_state_is_refused(faces: Faces) -> None:
    """Protobuf's enums are open."""
    request = ListTasksRequest()
    request.MergeFromString(bytes([0x18, 99]))  # status: 99
    await refused(faces, faces.peer(GRPC).list(request), InvalidParamsError)


async def test_an_internal_error_tells_its_id_and_nothing_else() -> None:
    """The SDK would tell the client the text of the exception (T20)."""
    store = FlakyStore()
    async with faced(travel, store=store) as faces:
        store.fail("commit", StoreError("canary"))
        with pytest.raises(Exception, match=r"internal error [0-9a-f]{16}") as caught:
            await faces.peer(GRPC).send(message("a trip, please"))
        assert "canary" not in str(caught.value)


async def test_a_required_extension_must_be_asked_for() -> None:
    """Source: A2A 1.0 §3.3.4, as metadata of the call."""
    uri = "https://example.test/extension"
    settings = SETTINGS.model_copy(update={"extensions": (Extension(uri=uri, required=True),)})
    async with faced(travel, settings=settings) as faces:
        ada = faces.peer(GRPC)
        await refused(faces, ada.list(ListTasksRequest()), ExtensionSupportRequiredError)
        ada.parameters["a2a-extensions"] = uri
        assert (await ada.list(ListTasksRequest())).total_size == 0


async def test_a_message_that_is_too_large_is_not_read(faces: Faces) -> None:
    """The limit of HTTP bodies holds here too."""
    big = message(data("x" * SETTINGS.body_bytes_max))
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED"):
        await faces.peer(GRPC).send(big)
    assert await faces.world.store.open_tasks("ada") == 0


MANY: Final = SETTINGS.body_values_max
CROWDS: Final[list[dict[str, Any]]] = [
    {"data": {"list": [0] * MANY}},
    {"data": {str(number): None for number in range(MANY)}},
    {"metadata": {"deep": {"list": [{}] * MANY}}, "text": "x"},
]


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("part", CROWDS)
async def test_a_message_of_too_many_values_is_refused(
    faces: Faces, part: dict[str, Any], version: str
) -> None:
    """To copy them would keep everybody waiting.  Source: INVARIANTS T22, R-A2A-21."""
    said: dict[str, Any] = {"messageId": "m", "role": "ROLE_USER"}
    async with grpc.aio.insecure_channel(faces.settings.grpc_url or "") as channel:
        if version == "1.0":
            current = {"message": {**said, "parts": [part]}}
            call = CURRENT(channel).SendMessage
            request: ProtobufMessage = ParseDict(current, a2a_pb2.SendMessageRequest())
        else:
            old = {**part, "data": {"data": part["data"]}} if "data" in part else part
            call = LEGACY(channel).SendMessage
            legacy = {"request": {**said, "content": [old]}}
            request = ParseDict(legacy, a2a_v0_3_pb2.SendMessageRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request, metadata=[("a2a-version", version)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MANY) in (caught.value.details() or "")
    assert await faces.world.store.open_tasks("ada") == 0


async def test_a_message_of_many_values_is_read_over_either_version(faces: Faces) -> None:
    """Up to the bound, and a long text is one value."""
    for version in ("1.0", "0.3"):
        ada = faces.peer(GRPC, version=version)
        numbers: list[JsonValue] = [0] * (MANY - 50)
        values = data({"list": numbers})
        task = await ada.send(message(values, "x" * 200_000))
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED


async def test_version_0_3_can_be_left_out() -> None:
    """Its service is not there."""
    settings = SETTINGS.model_copy(update={"v0_3": False})
    async with (
        faced(travel, settings=settings) as faces,
        grpc.aio.insecure_channel(faces.settings.grpc_url or "") as channel,
    ):
        legacy = LEGACY(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await legacy.GetTask(a2a_v0_3_pb2.GetTaskRequest(name="tasks/0"))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
