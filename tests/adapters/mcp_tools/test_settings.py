"""What an `McpServer` can be made of, and what it shows of itself."""

import math
from dataclasses import fields
from typing import Any

import pytest

from interlock.errors import InvalidInput
from interlock_adapters.mcp_tools import McpLimits, McpServer
from interlock_adapters.mcp_tools._http import McpHttp, header_problems

URL = "https://shop.test/mcp"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "one of url, command and server"),
        ({"url": URL, "command": ["x"]}, "one of url, command and server"),
        ({"command": []}, "one of url, command and server"),
        ({"command": "a b"}, "one of url, command and server"),
        ({"url": "ftp://shop.test"}, "no http or https address"),
        ({"url": "https:///mcp"}, "no http or https address"),
        ({"url": "https://[::1/mcp"}, "no http or https address"),
        ({"url": "https://shop.test:99999/mcp"}, "no http or https address"),
        ({"url": "https://u:pw@shop.test/"}, "put credentials into headers"),
        ({"url": URL, "era": "stone"}, "era 'stone' is none of auto, legacy, modern"),
        ({"url": URL, "headers": {"Mcp-Session-Id": "x"}}, "belongs to the transport"),
        ({"url": URL, "headers": {"x y": "x"}}, "no name of a header"),
        ({"url": URL, "headers": {"x": "pw\r\nb: c"}}, "its value cannot be sent"),
        ({"url": URL, "pass_through": ["Content-Length"]}, "belongs to the transport"),
        ({"command": ["x"], "headers": {"x": "pw"}}, "headers go with a url only"),
        ({"command": ["x"], "pass_through": ["x"]}, "headers go with a url only"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(settings: dict[str, Any], why: str) -> None:
    """With the server's name, and without what may be a secret.  Source: R-SRC-10."""
    with pytest.raises(InvalidInput, match=f"MCP server 'shop': .*{why}") as caught:
        McpServer("shop", **settings)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_without_letters_or_with_a_slash_is_refused(name: str) -> None:
    """Policies name tools by `server/tool`.  Source: issue 4, build 2."""
    with pytest.raises(InvalidInput, match="no slash"):
        McpServer(name, url=URL)


def test_a_server_shows_where_it_is_and_no_secret() -> None:
    """Neither headers, nor a query, nor arguments.  Source: issue 4, build 3, R-SRC-10."""
    here = McpServer("shop", url=URL + "?key=s3cret", headers={"authorization": "s3cret"})
    assert repr(here) == "McpServer('shop', https://shop.test/mcp)"
    there = McpServer("shop", command=["serve", "--key", "s3cret"])
    assert repr(there) == "McpServer('shop', serve)"


def test_back_off_doubles_up_to_its_bound() -> None:
    """However often it is tried.  Source: ours."""
    limits = McpLimits(backoff_first_s=1.0, backoff_max_s=5.0)
    assert [limits.backoff_s(tried) for tried in (1, 2, 3, 4, 10_000)] == [1, 2, 4, 5, 5]


def test_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    """It may come from a caller.  Source: ours."""
    (problem,) = header_problems({"authorization": "s3cret\n"})
    assert "authorization" in problem
    assert "s3cret" not in problem


async def test_answers_are_not_wanted_packed() -> None:
    """What unpacks to more than was counted would fill the memory.  Source: ours."""
    async with McpHttp({"x": "y"}, answer_bytes_max=10) as http:
        assert http.headers["accept-encoding"] == "identity"
        assert http.headers["x"] == "y"


@pytest.mark.parametrize("name", [field.name for field in fields(McpLimits)])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_limits_are_above_zero(name: str, value: float) -> None:
    """Else a server that is away is tried without a pause, or given no time.  Source: R-SRC-10."""
    with pytest.raises(InvalidInput, match=f"McpLimits.{name} is .*above zero is accepted"):
        McpLimits(**{name: value})  # type: ignore[arg-type]
