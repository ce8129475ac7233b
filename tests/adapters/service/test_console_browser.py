"""The console in a real browser, over real HTTP.  R-SVC-84; T17.

With `CONSOLE_SHOTS=docs/img` in the environment the pictures of the documentation are made anew.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import uvicorn
from playwright.async_api import Page, expect
from starlette.applications import Starlette

from browser import browser
from console import Looked, agent, token_of, tokens, toolbox
from interlock import Engine
from interlock_adapters._shutdown import Stopping
from interlock_adapters.console import Sessions, console_routes
from support import soon

#: Bytes of a picture of the documentation.
SHOT_BYTES_MAX: Final = 150_000
WAIT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Here:
    """A served console, and somebody's browser."""

    engine: Engine
    url: str
    page: Page
    shots: Path
    #: What the browser complained about: scripts that failed, what the CSP refused.
    complaints: list[str]

    async def open(self, path: str) -> None:
        """Go to a page of the console."""
        await self.page.goto(f"{self.url}/console{path}")

    async def shoot(self, name: str) -> None:
        """Keep a picture of what is seen."""
        shot = self.shots / f"console-{name}.png"
        await self.page.screenshot(path=shot, animations="disabled")
        # With other fonts than ours they may be larger: then they are no documentation.
        assert "CONSOLE_SHOTS" not in os.environ or shot.stat().st_size < SHOT_BYTES_MAX


@asynccontextmanager
async def here(tmp_path: Path, who: str = "root") -> AsyncGenerator[Here]:
    """A console on the loopback, and a browser in which somebody has signed in."""
    engine = Engine(agent, tools=toolbox(), store="memory:")
    stopping = Stopping()
    shots = Path(os.environ.get("CONSOLE_SHOTS") or tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        routes = console_routes(
            Looked(engine), sessions=Sessions(tokens()), url=url, stopping=stopping
        )
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="error", lifespan="off", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        async with engine, browser() as started:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            context = await started.new_context(
                viewport={"width": 1120, "height": 760}, color_scheme="light"
            )
            context.set_default_timeout(WAIT_MS)
            page = await context.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type == "error" else None,
            )
            made = Here(engine, url, page, shots, complaints)
            await made.open("/inbox")
            await page.get_by_label("Access token").fill(token_of(who))
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
            yield made
            await context.close()
            stopping.begin()
            server.should_exit = True
            await soon(serving)
    assert complaints == []


async def test_an_approval_from_the_ask_to_the_end(tmp_path: Path) -> None:
    """A task asks; it shows without reload, is edited, approved; the path lights up to the end."""
    async with here(tmp_path) as at:
        page = at.page
        await expect(page.locator("#link")).to_have_text("Live")
        await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
        handle = await at.engine.submit("room for two", owner="ada")
        card = page.locator("article.ask")
        await expect(card).to_contain_text("Grand Hôtel")
        await expect(page.locator("#news")).to_have_text("New: Approve book?")
        await expect(card.locator("time[data-due]").first).to_contain_text("in 23 h 59 min")
        # Another page of the same person shows the task itself.
        other = await page.context.new_page()
        await other.goto(f"{at.url}/console/tasks/{handle.task_id}")
        await expect(other.locator("#state-waiting_auth.here")).to_be_visible()
        await expect(other.locator("#edge-running-completed.taken")).to_have_count(0)

        await card.get_by_text("Edit the arguments").click()
        await card.get_by_label("Nights").fill("5")
        await card.get_by_label("Board").select_option("full")
        await expect(card.locator(".diff .new", has_text="nights")).to_contain_text("5")
        await expect(card.get_by_role("button", name="Approve as asked")).to_be_disabled()
        await card.get_by_label("Reason").fill("Two more days")
        # What is being filled in stays as it is when something else turns up.
        second = await at.engine.submit("form", owner="ada")
        await expect(page.locator("article.ask")).to_have_count(2)
        await expect(card.first.get_by_label("Nights")).to_have_count(0)
        first = page.locator("article.ask.auth")
        await expect(first.get_by_label("Nights")).to_have_value("5")
        await first.locator(".edit").scroll_into_view_if_needed()
        await at.shoot("approval")
        await first.get_by_role("button", name="Approve edited").click()
        await expect(page.locator(".flash")).to_have_text("Approved as edited.")
        await expect(page.locator("article.ask")).to_have_count(1)

        await expect(other.locator("#task-state")).to_contain_text("completed")
        await expect(other.locator("#edge-running-completed.taken")).to_be_visible()
        await expect(other.locator("#state-completed.here")).to_be_visible()
        await expect(other.locator("#task-made")).to_contain_text("Grand Hôtel, 5 nights")
        await expect(other.locator("#task-made")).to_contain_text("full")
        await expect(other.locator("#log-rows tr").last).to_contain_text("complete")
        await expect(other.locator("#link")).to_have_text("It is over")
        record = await at.engine.record(second.task_id, owner=None)
        assert record.asks


async def test_a_question_by_keyboard_alone(tmp_path: Path) -> None:
    """The skip link is first, fields have labels, Enter in a field sends nothing."""
    async with here(tmp_path, "ada") as at:
        page = at.page
        handle = await at.engine.submit("form", owner="ada")
        await expect(page.locator("article.ask")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#main")).to_be_focused()
        city = page.get_by_label("City")
        for _ in range(12):
            await page.keyboard.press("Tab")
            if await city.evaluate("each => each === document.activeElement"):
                break
        await page.keyboard.type("Oslo")
        await page.keyboard.press("Enter")
        assert (await at.engine.record(handle.task_id, owner=None)).asks
        await page.get_by_label("days (optional)").fill("2")
        # What is typed in is meant to be given.
        await expect(page.get_by_label("give days")).to_be_checked()
        await page.get_by_role("button", name="Answer").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".flash")).to_have_text("Answered.")
        assert await handle.result() == "{'city': 'Oslo', 'days': 2}"


async def test_raw_json_and_an_ask_that_somebody_else_decides(tmp_path: Path) -> None:
    """Nothing is taken from under somebody's hands.  Source: R-SVC-84."""
    async with here(tmp_path) as at:
        page = at.page
        handle = await at.engine.submit("room", owner="ada")
        record = await handle.rest()
        card = page.locator("article.ask")
        await card.get_by_text("Edit the arguments").click()
        await expect(card.get_by_label("The arguments as JSON")).to_be_hidden()
        await card.get_by_label("Raw JSON").check()
        await expect(card.get_by_label("Nights")).to_be_hidden()
        await card.get_by_label("The arguments as JSON").fill("{")
        await expect(card.locator("[data-preview]")).to_contain_text("this is no JSON")
        # It is decided elsewhere while somebody types: nothing is taken from under their hands.
        await handle.deny(record.asks[0])
        await expect(card).to_contain_text("This is not asked any more.")
        await expect(card.get_by_role("button", name="Deny")).to_be_disabled()


@pytest.mark.parametrize("width", [320, 768])
async def test_nothing_is_wider_than_a_small_screen(tmp_path: Path, width: int) -> None:
    """Tables and pictures scroll by themselves.  Source: R-SVC-84."""
    async with here(tmp_path) as at:
        handle = await at.engine.submit("room", owner=f"a {'very' * 60} long owner")
        await handle.rest()
        await at.page.set_viewport_size({"width": width, "height": 700})
        for path in ("/inbox", "/tasks", f"/tasks/{handle.task_id}", "/lifecycle", "/policies"):
            await at.open(path)
            wide = await at.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, path


async def test_colours_are_the_systems_or_the_persons_own(tmp_path: Path) -> None:
    """The choice is kept, and is there before anything is painted."""
    async with here(tmp_path) as at:
        page = at.page
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(ground)
        await page.emulate_media(color_scheme="dark")
        dark = await page.evaluate(ground)
        assert light != dark
        await page.get_by_role("button", name="Use light colours").click()
        assert await page.evaluate(ground) == light
        await page.reload()
        assert await page.evaluate(ground) == light
        await page.get_by_role("button", name="Use dark colours").click()
        await page.emulate_media(color_scheme="light")
        await at.open("/tasks")
        assert await page.evaluate(ground) == dark


async def test_pages_as_the_documentation_shows_them(tmp_path: Path) -> None:
    """Each picture is small.  Source: R-SVC-84."""
    async with here(tmp_path) as at:
        page = at.page
        for n in range(6):
            await (await at.engine.submit(f"say hello {n}", owner="grace")).over()
        for text in ("ask", "form", "pay"):
            await (await at.engine.submit(text, owner="ada")).rest()
        room = await at.engine.submit("room for two in March", owner="ada")
        await room.approve((await room.rest()).asks[0])
        await room.over()
        await at.open("/tasks")
        await expect(page.locator("#link")).to_have_text("Live")
        await at.shoot("tasks")
        await at.open(f"/tasks/{room.task_id}")
        await expect(page.locator("#link")).to_have_text("It is over")
        await page.set_viewport_size({"width": 1120, "height": 960})
        await at.shoot("task")
        await page.set_viewport_size({"width": 1120, "height": 760})
        await at.open("/lifecycle")
        await expect(page.locator("#link")).to_have_text("Live")
        await at.shoot("lifecycle")
        await at.open("/policies")
        await at.shoot("policies")
        await page.emulate_media(color_scheme="dark")
        await at.open("/inbox")
        await expect(page.locator("#link")).to_have_text("Live")
        await at.shoot("inbox-dark")
