"""One Restate server for all tests here, and to each test a part of it that is empty."""

import hashlib
from collections.abc import Generator
from urllib.parse import quote

import pytest

from pg_server import pg_server, pg_url
from restate_server import RestateServer, free_port, restate_server

__all__ = ["pg_server", "pg_url"]


@pytest.fixture(scope="session")
def restate() -> Generator[RestateServer]:
    """A server that is stopped at the end, whatever happens."""
    with restate_server() as running:
        yield running


@pytest.fixture
def restate_url(restate: RestateServer, request: pytest.FixtureRequest) -> str:
    """The URL of a store without its projection, for one worker or several at one port."""
    space = "T" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    serve = f"127.0.0.1:{free_port()}"
    return f"{restate.url}?admin={restate.admin}&serve={serve}&share=1&namespace={space}"


@pytest.fixture
def shared_url(restate_url: str, pg_url: str) -> str:
    """The same with a projection that several processes may share."""
    return f"{restate_url}&projection={quote(pg_url, safe='')}"
