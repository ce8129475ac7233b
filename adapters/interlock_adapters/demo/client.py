"""One task of an agent somewhere, followed with the A2A SDK's own client.

Everything here is learnt over the protocol: this module could follow a task of a server on
the other side of the world, and knows nothing of engines.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import httpx
from a2a.client import Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.client.card_resolver import A2ACardResolver
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    TaskArtifactUpdateEvent,
    TaskStatus,
)
from google.protobuf.struct_pb2 import Struct

from interlock import OVER, Answer, Approval, AskKind, Denial, JsonObject, JsonValue, Phase, Trigger
from interlock_adapters.a2a._map import EVENT, FRACTION, PHASE, SEQ, TRIGGER
from interlock_adapters.a2a._part import json_of, put_value
from interlock_adapters.cli._board import Travelled

_SEEN: Final = "Last-Event-ID"
#: Seconds to wait for an answer; streams stay silent for as long as people think.
_TIMEOUT: Final = httpx.Timeout(10.0, read=None)

Reply: TypeAlias = Answer | Approval | Denial


@dataclass(frozen=True, slots=True)
class Moved:
    """The task went from one phase to another."""

    seq: int
    move: Travelled


@dataclass(frozen=True, slots=True)
class Said:
    """What the agent says about itself; `fraction` is how far it is."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """An artifact, or one more piece of it."""

    artifact_id: str
    name: str
    content: tuple[JsonValue, ...]
    append: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Question:
    """An open ask, as its data part describes it."""

    key: str
    kind: AskKind
    prompt: str
    form: JsonObject
    tool: str = ""
    arguments: JsonObject | None = None
    digest: str = ""
    allow_edit: bool = False


Sight: TypeAlias = Moved | Said | Chunk | Question


class Remote:
    """An agent somewhere."""

    def __init__(self, card: AgentCard, http: httpx.AsyncClient) -> None:
        self.card: Final = card
        self._watching: Final = ClientFactory(ClientConfig(httpx_client=http)).create(card)
        # For what is said while the task is being watched: the watcher sees what comes of it.
        self._calling: Final = ClientFactory(
            ClientConfig(httpx_client=http, streaming=False, polling=True)
        ).create(card)

    def task(self, text: str) -> "RemoteTask":
        """A task that begins when it is first watched."""
        return RemoteTask(self._watching, self._calling, text)

    async def unfinished(self) -> "RemoteTask | None":
        """The newest task that is not over, if there is one."""
        page = await self._calling.list_tasks(ListTasksRequest(history_length=0))
        for task in page.tasks:
            if Phase(task.metadata.fields[PHASE].string_value) not in OVER:
                found = RemoteTask(self._watching, self._calling, "")
                found.task_id = task.id
                return found
        return None


@asynccontextmanager
async def agent_at(url: str) -> AsyncGenerator[Remote]:
    """The agent whose card is at that URL."""
    # A proxy of the environment has no business with a loopback address.
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as http:
        yield Remote(await A2ACardResolver(http, url).get_agent_card(), http)


class RemoteTask:
    """One task, from the message that begins it to its end."""

    def __init__(self, watching: Client, calling: Client, text: str) -> None:
        self._watching: Final = watching
        self._calling: Final = calling
        self._text: Final = text
        self.task_id: str = ""
        self.phase: Phase | None = None
        self.moves: list[Travelled] = []
        self._context_id = ""
        #: The last event of which all was seen.
        self._event = ""
        self._asked: set[str] = set()
        self._begun: Final = asyncio.Event()
        self._said = Said("")

    async def sights(self) -> AsyncGenerator[Sight]:
        """Send the message, and show what becomes of it until the task is over.

        If the stream breaks it may be called once more, and goes on after what was seen.
        """
        if self.task_id:
            stream = self._resumed()
        else:
            message = _message(Part(text=self._text))
            stream = self._watching.send_message(SendMessageRequest(message=message))
        while True:
            async for response in stream:
                for sight in self._sights_of(response):
                    yield sight
            if self.phase in OVER:
                return
            # A stream ends when it is the client's turn.  The next one goes on after the last
            # event that was seen, so nothing is missed and nothing comes twice.
            stream = self._resumed()

    async def say(self, reply: Reply) -> None:
        """Answer an open ask, or decide it.

        Raises:
            A2AError: the answer was refused; the ask is still open.
        """
        part = Part(media_type="application/json")
        put_value(part.data, reply.model_dump(mode="json", exclude_none=True))
        message = _message(part)
        message.task_id, message.context_id = self.task_id, self._context_id
        async for _ in self._calling.send_message(SendMessageRequest(message=message)):
            pass

    async def cancel(self) -> None:
        """Ask for the task to stop; one that has not begun yet, as soon as it has.

        Raises:
            A2AError: it is over.
        """
        await self._begun.wait()
        await self._calling.cancel_task(CancelTaskRequest(id=self.task_id))

    def _resumed(self) -> AsyncIterator[StreamResponse]:
        seen = {_SEEN: self._event} if self._event else {}
        context = ClientCallContext(service_parameters=seen)
        return self._watching.subscribe(SubscribeToTaskRequest(id=self.task_id), context=context)

    # --- reading ------------------------------------------------------------------------

    def _sights_of(self, response: StreamResponse) -> Iterator[Sight]:
        if response.HasField("task"):
            task = response.task
            self.task_id, self._context_id = task.id, task.context_id
            self._begun.set()
            yield from self._status(task.status, task.metadata)
        elif response.HasField("status_update"):
            yield from self._status(response.status_update.status, response.status_update.metadata)
        elif response.HasField("artifact_update"):
            yield _chunk(response.artifact_update)
            self._remember(response.artifact_update.metadata)

    def _status(self, status: TaskStatus, metadata: Struct) -> Iterator[Sight]:
        phase = Phase(metadata.fields[PHASE].string_value)
        if phase is not self.phase:
            # A task is first shown as it was submitted, and does not say by what.
            trigger = Trigger(metadata.fields[TRIGGER].string_value or Trigger.SUBMIT)
            move = Travelled(trigger, self.phase, phase)
            self.moves.append(move)
            self.phase = phase
            yield Moved(int(metadata.fields[SEQ].number_value), move)
        said, questions = _read(status.message)
        if said.text and said != self._said:
            yield said
        self._said = said
        for question in questions:
            if question.key not in self._asked:
                self._asked.add(question.key)
                yield question
        self._remember(metadata)

    def _remember(self, metadata: Struct) -> None:
        self._event = metadata.fields[EVENT].string_value


def _message(part: Part) -> Message:
    return Message(role=Role.ROLE_USER, message_id=uuid.uuid4().hex, parts=[part])


def _read(message: Message) -> tuple[Said, list[Question]]:
    """What a status message says, and what it asks: each ask is a text and a data part."""
    texts: list[str] = []
    questions: list[Question] = []
    for part in message.parts:
        if part.HasField("data"):
            asked = json_of(part.data)
            assert isinstance(asked, dict), "an ask is described by an object"
            questions.append(_question(asked, texts.pop()))
        else:
            texts.append(part.text)
    fraction = message.metadata.fields[FRACTION].number_value if _has_fraction(message) else None
    return Said("\n".join(texts), fraction), questions


def _has_fraction(message: Message) -> bool:
    return message.HasField("metadata") and FRACTION in message.metadata.fields


def _question(asked: JsonObject, prompt: str) -> Question:
    form, arguments = asked["schema"], asked.get("arguments")
    assert isinstance(form, dict), "the form of an ask is a JSON schema"
    return Question(
        key=str(asked["ask"]),
        kind=AskKind(str(asked["kind"])),
        prompt=prompt,
        form=form,
        tool=str(asked.get("tool") or ""),
        arguments=arguments if isinstance(arguments, dict) else None,
        digest=str(asked.get("digest") or ""),
        allow_edit=bool(asked.get("allow_edit")),
    )


def _chunk(update: TaskArtifactUpdateEvent) -> Chunk:
    artifact = update.artifact
    content = tuple(
        json_of(part.data) if part.HasField("data") else part.text for part in artifact.parts
    )
    return Chunk(
        artifact.artifact_id,
        artifact.name or artifact.artifact_id,
        content,
        update.append,
        update.last_chunk,
    )
