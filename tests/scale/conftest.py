"""What tests of replicas share: a server for their stores."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from scale.hosts import PostgresHost, postgres


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def host() -> AsyncGenerator[PostgresHost]:
    """A PostgreSQL server for all tests here, of which some stop it and start it again."""
    async with postgres() as started:
        yield started
