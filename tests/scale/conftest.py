"""What tests of replicas share: a server for their stores, and who forks replicas."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from scale.hosts import HOSTS, postgres
from scale.rounds import Place, placed


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def place() -> AsyncGenerator[Place]:
    """A PostgreSQL server for all tests here, of which some stop it and start it again."""
    async with placed(postgres()) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="package", params=HOSTS)
async def each_place(request: pytest.FixtureRequest, place: Place) -> AsyncGenerator[Place]:
    """The servers of every host, one after the other."""
    if request.param == "postgres":
        yield place
        return
    async with placed(HOSTS[request.param]()) as started:
        yield started
