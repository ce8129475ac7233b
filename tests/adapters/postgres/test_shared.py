"""Several PostgreSQL stores on one database.  R-PG-02, R-PG-03; INVARIANTS I23, I24, I40."""

import asyncio

import pytest

from interlock.testing import SHARED_STORE_CHECKS
from interlock.testing._shared_contract import SharedStoreCheck
from interlock_adapters.postgres import PostgresStore


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", SHARED_STORE_CHECKS, ids=name_of)
async def test_it_keeps_its_promises(check: SharedStoreCheck, pg_url: str) -> None:
    """Source: the docstrings of `SharedStore` and `Turns`."""
    async with asyncio.timeout(20):
        await check(lambda: PostgresStore(pg_url))
