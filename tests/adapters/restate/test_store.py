"""The Restate host keeps the promises of every store, and those of shared ones.

Source: R-RST-01 (the contract suite), R-RST-02 (the shared contract suite).  I17, I18, I24.
"""

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from interlock import MemoryStore
from interlock.testing import (
    DURABLE_STORE_CHECKS,
    SHARED_STORE_CHECKS,
    STORE_CHECKS,
    SharedStoreCheck,
    StoreCheck,
)
from interlock_adapters.restate import RestateStore


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", STORE_CHECKS, ids=name_of)
async def test_it_keeps_the_promises_of_a_store(check: StoreCheck, restate_url: str) -> None:
    """Source: R-RST-01."""
    async with asyncio.timeout(60):
        await check(lambda: RestateStore(restate_url, projection=MemoryStore()))


@pytest.mark.parametrize("check", DURABLE_STORE_CHECKS, ids=name_of)
async def test_it_keeps_the_promises_of_a_durable_store(
    check: StoreCheck, restate_url: str, tmp_path: Path
) -> None:
    """Source: R-RST-01."""
    projection = quote(f"sqlite:///{tmp_path / 'projection.db'}", safe="")
    async with asyncio.timeout(60):
        await check(lambda: RestateStore(f"{restate_url}&projection={projection}"))


@pytest.mark.parametrize("check", SHARED_STORE_CHECKS, ids=name_of)
async def test_it_keeps_the_promises_of_a_shared_store(
    check: SharedStoreCheck, shared_url: str
) -> None:
    """Source: R-RST-02."""
    async with asyncio.timeout(60):
        await check(lambda: RestateStore(shared_url))
