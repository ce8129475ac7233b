"""What the tests of the console share: an agent with tools to approve, people, and a browser.

`Visitor` is what a browser without JavaScript does: it keeps cookies, reads a form off a page,
and posts it.  Nothing here stands in for the console.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from html import unescape
from html.parser import HTMLParser
from typing import Any, Final, Literal, TypeAlias, cast

import httpx
from starlette.applications import Starlette

from interlock import (
    Engine,
    JsonObject,
    Limits,
    Policies,
    Policy,
    TaskContext,
    TaskHandle,
    Toolbox,
)
from interlock_adapters._callers.base import TrustLocal
from interlock_adapters._callers.principal import Role
from interlock_adapters._http.asgi import App
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.auth._bearer import BearerTokens, TokenEntry, hashed
from interlock_adapters.console import COOKIE, Pulse, Session, Sessions, console_routes
from support import World, opened, soon

Fields: TypeAlias = dict[str, str]

PORT: Final = 8000
HOST: Final = f"http://127.0.0.1:{PORT}"
#: By which name its cookie is kept, whatever else listens on this host.
HERE: Final = f"{COOKIE}_{PORT}"
BASE: Final = "/console"

#: Who there is, and what they may.
PEOPLE: Final[Mapping[str, tuple[Role, ...]]] = {
    "ada": (),
    "bob": (),
    "eve": (Role.APPROVER,),
    "olga": (Role.OPERATOR,),
    "otto": (Role.AUDITOR,),
    "root": tuple(Role),
    "tilda": tuple(Role),
}
#: Whose people somebody is; the others are of the deployment itself.
TENANTS: Final = {"tilda": "acme"}


def token_of(name: str) -> str:
    """The token of one of `PEOPLE`."""
    return f"ilk_{name}{'x' * 40}"


def tokens() -> BearerTokens:
    """Knows them all."""
    return BearerTokens(
        TokenEntry(
            hash=hashed(token_of(name)),
            subject=name,
            roles=frozenset(roles),
            tenant=TENANTS.get(name, ""),
        )
        for name, roles in PEOPLE.items()
    )


def book(
    hotel: str,
    nights: int,
    arrival: date,
    board: Literal["none", "breakfast", "full"],
    guests: list[str],
    late: bool = False,  # noqa: FBT001, FBT002  a tool's own
    note: str | None = None,
) -> str:
    """Book a room."""
    extras = f", {board}" if board != "none" else ""
    more = f"{extras}{' (late)' * late}{note or ''}"
    return f"{hotel}, {nights} nights from {arrival} for {len(guests)}{more}"


def pay(euro: float, to: str) -> str:
    """Pay."""
    return f"{euro} to {to}"


ROOM: Final = {
    "hotel": "Grand Hôtel",
    "nights": 3,
    "arrival": "2027-03-01",
    "board": "breakfast",
    "guests": ["Ada", "Grace"],
}


async def agent(task: TaskContext) -> str:
    """Does what its input says."""
    match task.input.text.partition(" ")[0]:
        case "room":
            await task.progress("Looking for a room")
            text = (await task.call_tool("book", dict(ROOM))).text
            await task.emit(text, name="Confirmation")
            return text
        case "pay":
            return (await task.call_tool("pay", {"euro": 12.5, "to": "Grace"})).text
        case "ask":
            return await task.ask("Which city?", str)
        case "form":
            schema: JsonObject = {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "title": "City"},
                    "days": {"type": "integer", "minimum": 1},
                },
                "required": ["city"],
            }
            return str(await task.ask("Where to?", schema))
        case "say":
            return task.input.text
        case _:
            raise RuntimeError("it cannot")


def toolbox() -> Toolbox:
    """A room is booked with what its approver makes of it, money is paid as asked."""
    policies = Policies(
        {
            "book": Policy(confirm="always", allow_edit=True, on_deny="tell_agent"),
            "pay": Policy(confirm="always", approvers=("role:approver",)),
        }
    )
    return Toolbox([book, pay], policies=policies)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a console is made of."""

    engine: Engine


class _Forms(HTMLParser):
    """The forms of a page, with what a browser would send of each."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._area = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down a form, or what one of its fields holds."""
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((said.get("action", ""), {}))
        if not self.forms:
            return
        fields = self.forms[-1][1]
        name = said.get("name", "")
        match tag:
            case "input" if said.get("type") in {"radio", "checkbox"}:
                if "checked" in said:
                    fields[name] = said.get("value", "on")
            case "input" if name:
                fields[name] = said.get("value", "")
            case "textarea":
                self._area = name
                fields[name] = ""
            case "select":
                self._select = name
            case "option" if self._select and ("selected" in said or self._select not in fields):
                fields[self._select] = said.get("value", "")
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        """The end of a field."""
        if tag == "textarea":
            fields = self.forms[-1][1]
            # A browser drops the first end of line, and sends the others as two characters.
            fields[self._area] = fields[self._area].removeprefix("\n").replace("\n", "\r\n")
            self._area = ""
        elif tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        """The text of a field of several lines."""
        if self._area:
            self.forms[-1][1][self._area] += data


def forms_of(html: str) -> list[tuple[str, dict[str, str]]]:
    """Action and fields of each form of a page."""
    parser = _Forms()
    parser.feed(html)
    return parser.forms


def form_of(html: str, action: str) -> dict[str, str]:
    """The fields of the first form whose action ends so."""
    return next(fields for at, fields in forms_of(html) if at.endswith(action))


def words_of(html: str) -> str:
    """The text of a page, without its tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


class Stream:
    """What a browser hears of one stream."""

    def __init__(self) -> None:
        self.status = 0
        self._hung_up: Final = asyncio.Event()
        self._asked = False
        self._events: Final[asyncio.Queue[tuple[str, Any] | None]] = asyncio.Queue()
        #: The id of the last event that had one.
        self.last_id = ""

    async def receive(self) -> dict[str, Any]:
        """The request, and then its end."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take what the console sends: whole events, one or more at a time."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        for event in message.get("body", b"").decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
            self.last_id = lines.get("id", self.last_id)
            if "data" in lines:
                self._events.put_nowait((lines["event"], json.loads(lines["data"])))

    def hang_up(self) -> None:
        """Close the page."""
        self._hung_up.set()

    def over(self, _: object) -> None:
        """The server has ended it."""
        self._events.put_nowait(None)

    async def next(self) -> tuple[str, Any] | None:
        """The next event; None at the end."""
        return await soon(self._events.get())

    async def until(self, text: str, part: str = "") -> str:
        """The HTML of the next message for that part with that text in it."""
        while (event := await self.next()) is not None:
            said = event[1]
            if text in said.get("html", "") and part in {"", said["id"]}:
                return str(said["html"])
        raise AssertionError(f"the stream ended before {text!r}")


class Visitor:
    """A browser without JavaScript."""

    def __init__(self, app: App, base: str = BASE, *, port: int = PORT) -> None:
        transport = httpx.ASGITransport(cast("Any", app), client=("127.0.0.1", 1))
        self._host: Final = f"http://127.0.0.1:{port}"
        self.http: Final = httpx.AsyncClient(transport=transport, base_url=self._host)
        self._base: Final = base
        self._app: Final = app

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """A page."""
        return await self.http.get(f"{self._base}{path}", headers=headers)

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> httpx.Response:
        """A form of one of the pages, as a browser sends it."""
        own = {"origin": self._host, "sec-fetch-site": "same-origin", **headers}
        return await self.http.post(
            f"{self._base}{path}",
            data=dict(fields),
            headers={name: value for name, value in own.items() if value},
        )

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncGenerator["Stream"]:
        """A page's stream, which the browser hangs up at the end of the block."""
        request = self.http.build_request("GET", f"{self._base}{path}", headers=headers)
        stream = Stream()
        asked = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "root_path": "",
        }
        serving = asyncio.ensure_future(self._app(asked, stream.receive, stream.send))
        serving.add_done_callback(stream.over)
        try:
            yield stream
        finally:
            stream.hang_up()
            await soon(serving)

    async def sign_in(self, name: str) -> httpx.Response:
        """Paste the token of one of `PEOPLE`."""
        fields = form_of((await self.get("/sign-in")).text, "/sign-in")
        return await self.post("/sign-in", fields | {"token": token_of(name)})


@dataclass(frozen=True, slots=True)
class Shown:
    """An engine with its console."""

    world: World
    sessions: Sessions
    pulse: Pulse
    stopping: Stopping
    app: Starlette

    async def session_of(self, visitor: Visitor) -> Session:
        """The session of a visitor."""
        headers = {
            "host": HOST.partition("//")[2],
            "cookie": f"{HERE}={visitor.http.cookies[HERE]}",
        }
        session = await self.sessions.find(headers)
        assert session is not None
        return session

    async def visitor(self, name: str | None) -> Visitor:
        """Somebody, signed in if there is a name."""
        visitor = Visitor(self.app)
        if name is not None:
            assert (await visitor.sign_in(name)).status_code == httpx.codes.SEE_OTHER
        return visitor


@asynccontextmanager
async def shown(
    *, trust: bool = False, sessions: Sessions | None = None, limits: Limits | None = None
) -> AsyncGenerator[Shown]:
    """A console that asks for tokens, or with `trust` for none."""
    async with opened(agent, tools=toolbox(), limits=limits) as world:
        made = sessions if sessions is not None else Sessions(TrustLocal() if trust else tokens())
        pulse = Pulse(world.engine)
        stopping = Stopping()
        routes = console_routes(
            Looked(world.engine), sessions=made, url=HOST, pulse=pulse, stopping=stopping
        )
        yield Shown(world, made, pulse, stopping, Starlette(routes=routes))


async def asking(here: Shown, visitor: Visitor, text: str = "room") -> tuple[TaskHandle, Fields]:
    """A task of Ada's that asks, and the form with which it is dealt."""
    handle = await here.world.submit(text)
    await handle.rest()
    page = await visitor.get(f"/tasks/{handle.task_id}")
    return handle, form_of(page.text, f"{handle.task_id}/ask")


async def do(visitor: Visitor, handle: TaskHandle, fields: Fields, **more: str) -> httpx.Response:
    """Send the form of a task."""
    return await visitor.post(f"/tasks/{handle.task_id}/ask", fields | more)
