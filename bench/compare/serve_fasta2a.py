"""fasta2a in its own environment, over the memory storage and broker that it brings.

python -m bench.compare.serve_fasta2a
"""

# mypy: disable-error-code="import-not-found,misc"
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false
# pyright: reportUnknownParameterType=false

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fasta2a import FastA2A, Worker
from fasta2a.broker import InMemoryBroker
from fasta2a.schema import Artifact, Message, Part, TaskIdParams, TaskSendParams
from fasta2a.storage import InMemoryStorage

from bench.peer_serve import serve

PACKAGES = ("fasta2a", "pydantic", "starlette", "uvicorn")


class Minimal(Worker[Any]):
    """Says what the other arms' agents say."""

    async def run_task(self, params: TaskSendParams) -> None:
        """Complete, or ask and return."""
        text = params["message"]["parts"][0]["text"]
        if text.startswith("ask"):
            parts, name = [Part(text="Which city?")], uuid.uuid4().hex
            question = Message(role="agent", parts=parts, message_id=name)
            await self.storage.update_task(params["id"], "input-required", new_messages=[question])
            return
        artifacts = self.build_artifacts(f"done: {text}")
        await self.storage.update_task(params["id"], "completed", new_artifacts=artifacts)

    async def cancel_task(self, params: TaskIdParams) -> None:
        """Say that it is cancelled."""
        await self.storage.update_task(params["id"], "canceled")

    def build_message_history(self, history: list[Message]) -> list[Any]:  # noqa: ARG002  its form
        """None."""
        return []

    def build_artifacts(self, result: Any) -> list[Artifact]:  # noqa: ANN401  its form
        """The result, as the other arms show it."""
        part = Part(text=result)
        return [Artifact(artifact_id=uuid.uuid4().hex, name="result", parts=[part])]


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    broker, storage = InMemoryBroker(), InMemoryStorage[Any]()

    @asynccontextmanager
    async def lifespan(app: FastA2A) -> AsyncGenerator[None]:
        async with app.task_manager, Minimal(broker=broker, storage=storage).run():
            yield

    yield FastA2A(storage=storage, broker=broker, lifespan=lifespan)


if __name__ == "__main__":
    serve(_served, *PACKAGES)
