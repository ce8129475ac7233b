"""What tests of replicas share: a server for their stores, and who forks replicas."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from scale.hosts import postgres
from scale.rounds import Place, placed


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def place() -> AsyncGenerator[Place]:
    """A PostgreSQL server for all tests here, of which some stop it and start it again."""
    async with placed(postgres()) as started:
        yield started
