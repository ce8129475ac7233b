"""The console in a real browser, over real HTTP.  R-SVC-84; T17.

With `CONSOLE_SHOTS=docs/img` in the environment the pictures of the documentation are made anew.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import pytest
import uvicorn
from playwright.async_api import Page, Route, expect
from starlette.applications import Starlette

from browser import browser
from console import Looked, agent, token_of, tokens, toolbox
from interlock import Engine
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.console import Sessions, console_routes
from support import pause, soon

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
    sessions: Sessions

    async def streams(self) -> int:
        """How many streams this browser has open."""
        cookies = await self.page.context.cookies(self.url + "/console")
        said = "; ".join(f"{each.get('name')}={each.get('value')}" for each in cookies)
        headers = {"host": self.url.partition("//")[2], "cookie": said}
        session = await self.sessions.find(headers)
        assert session is not None
        return session.streams

    async def look(self, page: Page, *, away: bool) -> None:
        """Turn to another tab, or back: headless, every page counts as one that is looked at."""
        said = "{ value: %s, configurable: true }" % json.dumps(away)  # noqa: UP031  JavaScript
        await page.evaluate(
            f"Object.defineProperty(document, 'hidden', {said});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

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
    sessions = Sessions(tokens())
    shots = Path(os.environ.get("CONSOLE_SHOTS") or tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        routes = console_routes(Looked(engine), sessions=sessions, url=url, stopping=stopping)
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
            made = Here(engine, url, page, shots, complaints, sessions)
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


async def test_a_page_that_nobody_looks_at_has_no_stream(tmp_path: Path) -> None:
    """Else seven tabs are all that a browser can open.  Source: R-SVC-83."""
    async with here(tmp_path) as at:
        room = await at.engine.submit("room", owner="ada")
        record = await room.rest()
        pages = [at.page] + [await at.page.context.new_page() for _ in range(9)]
        for page in pages[1:]:
            await page.goto(f"{at.url}/console/tasks/{room.task_id}")
            await expect(page.locator("#link")).to_have_text("Live")
            await at.look(page, away=True)
            await expect(page.locator("#link")).to_have_text("Paused")
        await _until(at, 1)
        await room.approve(record.asks[0])
        await room.over()
        last = pages[-1]
        await expect(last.locator("#task-state")).to_contain_text("waiting auth")
        await at.look(last, away=False)
        await expect(last.locator("#task-state")).to_contain_text("completed")
        await expect(last.locator("#link")).to_have_text("It is over")
        rows = await last.locator("#log-rows tr").evaluate_all("all => all.map(each => each.id)")
        assert rows == [f"event-{n}" for n in range(1, len(rows) + 1)]
        await expect(last.locator("#log-rows tr").last).to_contain_text("complete")
        # What is over is not asked for again.
        await at.look(last, away=True)
        await at.look(last, away=False)
        await expect(last.locator("#link")).to_have_text("It is over")
        await at.look(at.page, away=True)
        await _until(at, 0)
        await at.engine.submit("ask", owner="ada")
        await at.look(at.page, away=False)
        await expect(at.page.locator("article.ask")).to_have_count(1)
        await _until(at, 1)


async def _until(at: Here, streams: int) -> None:
    async with asyncio.timeout(WAIT_MS / 1_000):
        while await at.streams() != streams:
            await pause(1)


@pytest.mark.parametrize("signed_in", [True, False])
async def test_a_link_of_another_site_arrives(tmp_path: Path, *, signed_in: bool) -> None:
    """In a real browser, which keeps Strict cookies back.  Source: R-SVC-79."""
    async with here(tmp_path) as at:
        room = await at.engine.submit("room", owner="ada")
        await room.rest()
        path = f"/console/tasks/{room.task_id}"
        if not signed_in:
            await at.page.get_by_role("button", name="Sign out").click()
            await expect(at.page.get_by_label("Access token")).to_be_visible()

        async def theirs(route: Route) -> None:
            link = f'<a href="{at.url}{path}">Your agent asks</a>'
            await route.fulfill(body=link, content_type="text/html")

        page = await at.page.context.new_page()
        await page.route("http://mail.example/*", theirs)
        await page.goto("http://mail.example/")
        await page.get_by_role("link").click()
        if not signed_in:
            await page.get_by_label("Access token").fill(token_of("root"))
            await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("article.ask")).to_contain_text("Grand Hôtel")
        assert page.url == at.url + path
        # Nothing of that is in the way back.
        await page.reload()
        await expect(page.locator("article.ask")).to_contain_text("Grand Hôtel")
        if signed_in:
            await page.go_back()
            await expect(page.get_by_text("Your agent asks")).to_be_visible()


async def test_on_a_phone_lists_are_whole_and_pictures_show_what_is_lit(tmp_path: Path) -> None:
    """Nothing is cut off, and nothing lies over anything.  Source: R-SVC-84."""
    async with here(tmp_path) as at:
        page = at.page
        room = await at.engine.submit("room", owner="ada")
        await room.rest()
        await page.set_viewport_size({"width": 400, "height": 800})
        await at.open("/tasks")
        table = page.get_by_role("table", name="Tasks, newest change first")
        for cell in ("th[scope=row] code", ".changed time"):
            left, right, height = await page.evaluate(_BOX, cell)
            assert 0 <= left < right <= 400
            assert height < 30, "it is one line"
        # It is a table all the same.
        await expect(table.get_by_role("columnheader", name="Changed")).to_have_count(1)
        await expect(table.get_by_role("rowheader")).to_contain_text(room.task_id[:12])
        assert await page.locator("#link").evaluate("e => getComputedStyle(e).position") == "static"
        for path, lit in ((f"/tasks/{room.task_id}", ".here"), ("/lifecycle", ".populated")):
            await at.open(path)
            await expect(page.locator("#link")).to_have_text("Live")
            # In one go: the stream puts the picture there anew.
            left, inner_left, inner_right, right = await page.evaluate(_EDGES, lit)
            assert left <= inner_left < inner_right <= right
            assert await page.get_by_text("chooses between arrows").last.is_visible()


_BOX: Final = """where => {
  const box = document.querySelector(`#task-list ${where}`).getBoundingClientRect();
  return [box.left, box.right, box.height];
}"""
_EDGES: Final = """lit => {
  const picture = document.querySelector(".picture");
  const [outer, inner] = [picture, picture.querySelector(`.state${lit} > rect`)].map(
    (each) => each.getBoundingClientRect());
  return [outer.left, inner.left, inner.right, outer.right];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_names_in_a_picture_can_be_read(
    tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    """Contrast 4.5 against where they stand (WCAG 1.4.3), lit or not.  Source: R-SVC-84."""
    async with here(tmp_path) as at:
        page = at.page
        await page.emulate_media(color_scheme=scheme)
        room = await at.engine.submit("room", owner="ada")
        await room.rest()
        await at.open(f"/tasks/{room.task_id}")
        # In one go: the stream puts the picture there anew.
        boxes = await page.evaluate(_PAINTED)
        assert len(boxes) == len([*at.engine.lifecycle.phases])
        for name, behind in boxes:
            assert _contrast(_luminance(name), _luminance(behind)) >= 4.5, (name, behind)


#: Red, green and blue of each name in a picture and of its box, behind the picture's filter.
_PAINTED: Final = """() => {
  const paper = document.createElement("canvas").getContext("2d");
  const painted = (each) => {
    paper.filter = getComputedStyle(each.closest("svg")).filter;
    paper.fillStyle = getComputedStyle(each).fill;
    paper.fillRect(0, 0, 9, 9);
    return [...paper.getImageData(4, 4, 1, 1).data].slice(0, 3);
  };
  return [...document.querySelectorAll(".picture .state")].map((each) => [
    painted(each.querySelector(".name")),
    painted([...each.querySelectorAll("rect")].at(-1)),
  ]);
}"""


async def test_no_page_has_a_fault_of_accessibility(tmp_path: Path) -> None:
    """None that axe knows (WCAG 2.2 AA, and good practice), colours by night included.

    Source: R-SVC-84.
    """
    async with here(tmp_path) as at:
        page = at.page
        for text in ("pay", "room", "room", "form"):
            handle = await at.engine.submit(text, owner="ada")
            await handle.rest()
        form = f"/tasks/{handle.task_id}"
        over = await at.engine.submit("say hello", owner="ada")
        await over.over()
        for path in ("/inbox", "/tasks", "/lifecycle", "/policies", "/nowhere", form):
            await at.open(path)
            for closed in await page.locator("details > summary").all():
                await closed.click()
            await _has_no_fault(page)
            await page.emulate_media(color_scheme="dark")
            await _has_no_fault(page, "color-contrast")
            await page.emulate_media(color_scheme="light")
        await at.open(f"/tasks/{over.task_id}")
        await _has_no_fault(page)
        # What is wrong with an answer is told where it is given, and above.
        await at.open(form)
        await page.get_by_label("Raw JSON").check()
        await page.get_by_label("The answer as JSON").fill("{")
        await page.get_by_role("button", name="Answer").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await _has_no_fault(page)
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("Access token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await _has_no_fault(page)
        # The page that is not there, the answer that was refused, and the token.
        assert len(at.complaints) == 3
        at.complaints.clear()


async def _has_no_fault(page: Page, *rules: str) -> None:
    await page.evaluate(_AXE)
    assert await page.evaluate(_FAULTS, {"runOnly": list(rules)} if rules else {}) == [], page.url


_AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_FAULTS: Final = """async (how) => (await axe.run(how)).violations.map(
  ({id, help, nodes}) => [id, help, ...nodes.map((each) => each.html)])"""


def _luminance(colour: list[int]) -> float:
    parts = [each / 255 for each in colour]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


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
