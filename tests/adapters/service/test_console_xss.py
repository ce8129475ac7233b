"""Nothing that anybody says can act on a page of the console.  R-SVC-72, R-SVC-73; T8, T17."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette

from console import (
    BASE,
    HOST,
    Looked,
    Visitor,
    forms_of,
    shown,
    tokens,
    words_of,
)
from interlock import (
    JsonObject,
    JsonValue,
    Part,
    Policies,
    Policy,
    TaskContext,
    Tool,
    Toolbox,
    ToolResult,
    ToolUse,
)
from interlock.tools import ToolOutcome
from interlock_adapters.console import Sessions, console_routes
from interlock_adapters.console._core import CSP
from support import opened, soon

EVIL: Final = "\"'><img src=x onerror=alert(1)></textarea></title><script>alert(2)</script>{{7*7}}"


class Acts(HTMLParser):
    """Everything on a page that could act, or load something from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """What begins, with its attributes."""
        said = {name: value or "" for name, value in attrs}
        if tag in {"img", "iframe", "object", "embed", "style", "base", "svg:script", "math"}:
            self.found.append(tag)
        if tag == "script":
            self._script = True
            if said.get("src", "") != f"{BASE}/static/console.js":
                self.found.append(f"script {said}")
        for name, value in said.items():
            if name.startswith("on") or name in {"style", "srcdoc", "formaction", "ping"}:
                self.found.append(f"{tag} {name}")
            here = value.startswith(("/", "#", "data:,", "http://www.w3.org/")) or not value
            if name in {"href", "src", "action", "xlink:href"} and not here:
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        """What a script says of itself."""
        if self._script and data.strip():
            self.found.append(f"script {data}")

    def handle_endtag(self, tag: str) -> None:
        """What ends."""
        self._script = self._script and tag != "script"


def acts(html: str) -> list[str]:
    """What of a page could act."""
    parser = Acts()
    parser.feed(html)
    return parser.found


PAGES: Final = ("/sign-in", "/inbox", "/tasks", "/lifecycle", "/policies", "/tasks/nope", "/nope")


@pytest.mark.parametrize("path", PAGES)
async def test_every_answer_says_what_a_browser_may_do_with_it(path: str) -> None:
    """Refusals too, and what no route takes.  Source: R-SVC-72."""
    async with shown() as here:
        visitor = await here.visitor("root")
        for answer in (await visitor.get(path), await visitor.post(path, {})):
            assert answer.headers["content-security-policy"] == CSP
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert answer.headers["cache-control"] == "no-store"
            assert acts(answer.text) == []


async def test_scripts_and_styles_are_files_of_ours_and_ask_for_no_other() -> None:
    """They work offline.  Source: R-SVC-72."""
    async with shown() as here:
        visitor = await here.visitor(None)
        for name, kind in (("console.js", "text/javascript"), ("console.css", "text/css")):
            answer = await visitor.get(f"/static/{name}")
            assert answer.headers["content-type"].startswith(kind)
            assert "http:" not in answer.text
            assert "https:" not in answer.text
            assert "url(" not in answer.text
            tag = answer.headers["etag"]
            again = await visitor.get(f"/static/{name}", **{"if-none-match": tag})
            assert (again.status_code, again.text) == (httpx.codes.NOT_MODIFIED, "")
        assert (await visitor.get("/static/../__init__.py")).status_code == httpx.codes.NOT_FOUND
        script = (await visitor.get("/static/console.js")).text
        assert script.count("\n") < 400
        assert not re.search(r"\beval\b|Function\(|document\.write|insertAdjacentHTML", script)


EVIL_TOOL: Final = Tool(
    name=EVIL,
    source="evil",
    title=EVIL,
    description=EVIL,
    input_schema={
        "type": "object",
        "properties": {
            EVIL: {"type": "string", "title": EVIL, "description": EVIL, "default": EVIL},
            "pick": {"enum": [EVIL, "b"]},
            "body": {"type": "array"},
        },
        "required": [EVIL],
    },
)


class Evil:
    """A source whose tools, schemas and results try to get onto a page."""

    name = "evil"

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    def tools(self) -> Sequence[Tool]:
        """One, whose name, schema and words are all the same."""
        return (EVIL_TOOL,)

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """Give it back."""
        del tool, use
        return ToolResult(parts=(Part(text=EVIL), Part(data={EVIL: [arguments]})))

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """It has one leg."""
        del token, answers
        return await self.call(tool, arguments, use)


async def evil(task: TaskContext) -> tuple[Part, ...]:
    """Says it everywhere that an agent can say something."""
    await task.progress(EVIL)
    parts = (
        Part(text=EVIL),
        Part(data={EVIL: EVIL}),
        Part(url="javascript:alert(3)"),
        Part(raw="AAAA", media_type=EVIL, filename=EVIL),
    )
    await task.emit(parts, name=EVIL)
    if task.input.text.startswith("fail"):
        raise RuntimeError(EVIL)
    if task.input.text.startswith("ask"):
        schema: JsonObject = {
            "type": "object",
            "title": EVIL,
            "properties": {EVIL: {"type": "string", "title": EVIL, "description": EVIL}},
        }
        await task.ask(EVIL, schema)
    await task.call_tool(EVIL, {EVIL: EVIL, "pick": EVIL, "body": [EVIL]})
    return parts


def evil_tools() -> Toolbox:
    """Everything it says is shown to an approver."""
    policy = Policy(
        confirm="always", allow_edit=True, prompt=EVIL, approvers=(EVIL, "role:approver")
    )
    return Toolbox([Evil()], policies=Policies({"*": policy}))


async def test_what_agents_tools_and_callers_say_is_text_on_every_page() -> None:
    """Stored XSS: prompts, artifacts, tool names, arguments, owners, reasons, rules, searches."""
    async with opened(evil, tools=evil_tools()) as world:
        sessions = Sessions(tokens())
        app = Starlette(routes=console_routes(Looked(world.engine), sessions=sessions, url=HOST))
        visitor = Visitor(app)
        await visitor.sign_in("root")
        owner = f"eve {EVIL}"
        waits, asks, ended = [
            await world.engine.submit(f"{what} {EVIL}", owner=owner, context_id=f"c{EVIL}")
            for what in ("pay", "ask", "pay")
        ]
        for handle in (waits, asks, ended):
            await soon(handle.rest())
        fields = next(
            fields
            for action, fields in forms_of((await visitor.get("/inbox")).text)
            if action.endswith(f"{ended.task_id}/ask")
        )
        denied = await visitor.post(
            f"/tasks/{ended.task_id}/ask", fields | {"do": "deny", "reason": EVIL}
        )
        assert denied.status_code == httpx.codes.SEE_OTHER
        await soon(ended.over())
        pages = [
            "/inbox",
            "/tasks",
            "/tasks?" + urlencode({"search": EVIL, "phase": EVIL}),
            "/tasks?" + urlencode({"search": EVIL}),
            "/lifecycle",
            "/policies",
            "/sign-in?" + urlencode({"next": EVIL}),
            f"/tasks/{EVIL}",
            *(f"/tasks/{handle.task_id}" for handle in (waits, asks, ended)),
        ]
        for path in pages:
            html = (await visitor.get(path)).text
            assert acts(html) == [], path
            assert "49" not in words_of(html).split(), path
        html = (await visitor.get(f"/tasks/{waits.task_id}")).text
        assert html.count("&lt;script&gt;alert(2)&lt;/script&gt;") > 10
        assert "javascript:alert(3)" in html
        # And where a form comes back with what was posted.
        wrong = fields | {"do": "approve_edited", "raw": EVIL, "mode": "raw", "reason": EVIL}
        (fields,) = [f for a, f in forms_of(html) if a.endswith(f"{waits.task_id}/ask")]
        answer = await visitor.post(
            f"/tasks/{waits.task_id}/ask",
            {**wrong, **{name: fields[name] for name in ("ask", "digest", "token", "csrf")}},
        )
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        assert acts(answer.text) == []
        preview = await visitor.post(
            f"/tasks/{waits.task_id}/ask", fields | {"do": "preview", f"v:{EVIL}": EVIL * 2}
        )
        assert "added:" in preview.text
        assert acts(preview.text) == []


async def test_a_web_page_of_an_artifact_is_a_link_that_says_where_it_goes() -> None:
    """Addresses within a text are no links.  Source: R-SVC-73."""

    async def linking(task: TaskContext) -> Part:
        del task
        return Part(url="https://example.org/report")

    async with opened(linking) as world:
        app = Starlette(
            routes=console_routes(Looked(world.engine), sessions=Sessions(tokens()), url=HOST)
        )
        visitor = Visitor(app)
        await visitor.sign_in("root")
        handle = await world.submit("see https://example.org/other")
        await soon(handle.over())
        html = (await visitor.get(f"/tasks/{handle.task_id}")).text
        links = re.findall(r'<a href="(http[^"]*)"([^>]*)>([^<]*)<', html)
        assert links == [
            (
                "https://example.org/report",
                ' rel="noopener noreferrer nofollow" target="_blank"',
                "https://example.org/report",
            )
        ]
