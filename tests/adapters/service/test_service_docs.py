"""The pages about the service say what is there: what they show is run as it stands.

R-SVC-42 (the story can be typed in), R-SVC-43 (tables of keys and routes, blocks of YAML and
Python), R-SVC-44 (the security page names tests that are there).
"""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args, get_origin

import httpx
import pytest
import yaml
from pydantic import BaseModel

from doc_pages import Curl, blocks_of, written
from example_files import module_at
from interlock import Engine, Policy, TaskContext
from interlock_adapters._shown.config import shown
from interlock_adapters.cli import main
from interlock_adapters.config import Config, load_config
from interlock_adapters.management import Managed, management_app
from interlock_adapters.service import Service

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
PAGE: Final = (DOCS / "service.md").read_text(encoding="utf-8")
SECURITY: Final = (DOCS / "security.md").read_text(encoding="utf-8")
#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60
#: As the page has it; the test takes a port that is free.
ADDRESS: Final = "http://127.0.0.1:8000"
HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: Variables that the page's YAML names.
ENVIRON: Final = {"HOTELS_TOKEN": "t", "OPENAI_API_KEY": "k"}
#: What a project brings along, which is no module of ours.
THEIRS: Final = ("agent", "app", "traced", "mounted")
#: A key, and what it comes as.
ROW: Final = re.compile(r"^\| `([A-Za-z0-9_.\[\]]+)` \| (needed|-|`[^`]*`) \| ", re.MULTILINE)


def blocks(language: str, page: str = PAGE) -> list[str]:
    """The code of a language, in the order of the page."""
    return blocks_of(page, language)


@pytest.fixture(autouse=True)
def forgotten() -> Generator[None]:
    """Modules of a project are forgotten, and so is where they were."""
    path, had = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in {*sys.modules} - had:
        if name in THEIRS or name.endswith("_example"):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A new project, as `interlock init` makes it."""
    assert main(["init", str(tmp_path / "demo")]) == 0
    capsys.readouterr()
    return tmp_path / "demo"


# --- the story ------------------------------------------------------------------------------


class Story:
    """What somebody has who types in the page, line by line."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.folder: Final = folder
        self._capsys: Final = capsys
        self._patch: Final = patch
        self._server: subprocess.Popen[str] | None = None
        self.url = ""
        #: The task that TASK_ID stands for, and the digest of what it asks.
        self.task = ""
        self.digest = ""
        patch.chdir(folder)

    # Servers.

    def serve(self, *arguments: str) -> None:
        """Start a server, and go on when it says where it is."""
        self.stop()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        with (
            (self.folder / "said").open("w", encoding="utf-8") as said_to,
            (self.folder / "log").open("w", encoding="utf-8") as log,
        ):
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "interlock_adapters.cli",
                    "serve",
                    *arguments,
                    "--port",
                    "0",
                ],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
                stdout=said_to,
                stderr=log,
                text=True,
            )
        for _ in self._attempts():
            said = (self.folder / "said").read_text(encoding="utf-8")
            if found := re.search(r"  health +(http://127\.0\.0\.1:\d+)/healthz", said):
                self.url = found[1]
                break
        for _ in self._attempts():
            with suppress(httpx.ConnectError):
                if httpx.get(f"{self.url}/readyz").is_success:
                    return

    def _attempts(self) -> Iterator[int]:
        """Again and again, while the server lives, for as long as a start may take."""
        assert self._server is not None
        for number in range(RUN_S * 10):
            yield number
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(0.1)
                pytest.fail((self.folder / "log").read_text(encoding="utf-8"))
        pytest.fail("it does not come up")

    def stop(self) -> str:
        """Stop the server as Ctrl-C does, if there is one; what it said."""
        if self._server is None:
            return ""
        self._server.send_signal(signal.SIGINT)
        assert self._server.wait(RUN_S) == 0
        self._server = None
        return (self.folder / "said").read_text(encoding="utf-8")

    def kill(self) -> None:
        """Leave nothing behind."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(RUN_S)

    def until(self, said: str) -> None:
        """Follow the task until an event says that; a stream that is silent for long fails."""
        stream = f"{self.url}/manage/tasks/{self.task}/events/stream"
        with httpx.stream("GET", stream, timeout=RUN_S) as events:
            for line in events.iter_lines():
                if said in line:
                    return
                if line.startswith(":"):  # A sign of life.
                    break
        pytest.fail(f"no event says {said}")

    # Lines.

    def run(self, line: str) -> str:
        """Run a line of the page, which must succeed; what it says."""
        line = line.replace(ADDRESS, self.url).replace("TASK_ID", self.task)
        line = line.replace("DIGEST", self.digest)
        token = self.folder / "ada.token"
        if token.exists():
            line = line.replace("$(cat ada.token)", token.read_text().strip())
        program, *words = shlex.split(line)
        match program:
            case "interlock":
                return self._interlock(words)
            case "curl":
                return self._curl(words)
            case "mkdir" | "mv":
                given = [f for w in words for f in sorted(self.folder.glob(w)) or [self.folder / w]]
                subprocess.run([program, *given], check=True)
                return ""
            case _:
                pytest.fail(f"nobody can run {line}")

    def _interlock(self, words: list[str]) -> str:
        if words[0] == "serve":
            self.serve(*words[1:])
            return ""
        target = words.pop() if ">" in words and words.pop(-2) else None
        code = main(words)
        told = self._capsys.readouterr()
        assert code == 0, (words, told)
        if target is not None:
            (self.folder / target).write_text(told.out)
            (self.folder / "token.line").write_text(told.err)
        return told.out + told.err

    def _curl(self, words: list[str]) -> str:
        asked = Curl.of(words)
        answer = httpx.request(
            asked.method, asked.url, headers=asked.headers, content=asked.body, timeout=RUN_S
        )
        assert answer.is_success, (words, answer.text)
        return answer.text

    # What lies between the lines.

    def set(self, **said: object) -> None:
        """Write something into app.yaml, and start anew."""
        self.stop()
        (self.folder / "app.yaml").write_text(merged(self.folder / "app.yaml", said))
        self.serve()

    def waiting(self) -> None:
        """Take the newest task that waits for an answer."""
        page = httpx.get(f"{self.url}/manage/tasks?phase=waiting_input").json()
        self.task = page["tasks"][0]["task_id"]

    def asked(self) -> None:
        """Look at what the task asks."""
        asks = httpx.get(f"{self.url}/manage/tasks/{self.task}").json()["asks"]
        self.digest = asks[0]["digest"]


def merged(path: Path, said: dict[str, Any]) -> str:
    """A configuration with some other values."""
    dumped: str = cast("Any", yaml).safe_dump({**said_by(path.read_text("utf-8")), **said})
    return dumped


def said_by(block: str) -> dict[str, Any]:
    """What a piece of YAML says; to this parser `on` is a truth value."""
    said: dict[str, Any] = yaml.safe_load(re.sub(r"\bon: ", '"on": ', block))
    return said


@pytest.fixture
def story(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Story]:
    """Somebody in a new project."""
    made = Story(project, capsys, monkeypatch)
    yield made
    made.kill()


def lines() -> list[str]:
    """What is typed in, in the order of the page."""
    typed = [line for block in blocks("console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in typed)
    return [line.removeprefix("$ ") for line in typed]


def test_the_page_can_be_typed_in_from_top_to_bottom(story: Story) -> None:
    """Every command succeeds, and the first approval is given on the way.  R-SVC-42."""
    typed = lines()
    install, init, inside = typed[:3]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert install == "pip install 'interlock[all]'"
    assert "all" in extras["optional-dependencies"]
    assert (init, inside) == ("interlock init demo", "cd demo")  # As the fixture did.
    done: dict[str, str] = {}
    for line in typed[3:]:
        before(line, story)
        done[line] = story.run(line)
        after(line, story)
    shows = [said for line, said in done.items() if "show TASK_ID" in line]
    assert "ASKS for a decision" in shows[0]
    assert "Have a good time in Lisbon!" in shows[1]
    assert "it can be served" in done["interlock check app.yaml"]
    (metrics,) = [said for line, said in done.items() if line.endswith("/metrics")]
    assert "interlock_tasks" in metrics
    assert "is sound" in done["interlock verify sqlite:///tasks.db"]


def test_the_readme_begins_as_the_page_does() -> None:
    """In two commands.  R-SVC-42."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install, *rest = lines()[:4]
    assert f"$ {install}\n$ {' && '.join(rest)}\n" in readme


def before(line: str, story: Story) -> None:
    """What the page tells in words before a line."""
    if line.startswith("interlock tasks") and "--token-file" in line:
        hidden = HASH.search((story.folder / "token.line").read_text())
        assert hidden is not None
        (block,) = [block for block in blocks("yaml") if "tokens:" in block]
        story.set(**said_by(HASH.sub(hidden[0], block)))
        assert httpx.get(f"{story.url}/manage/tasks").status_code == 401
    elif line.endswith("/manage/inbox"):
        story.set(auth={})
    elif line.endswith("/metrics"):
        (block,) = [block for block in blocks("yaml") if "prometheus" in block]
        story.set(**said_by(block))
    elif "traced:config" in line:
        story.set(telemetry={"on": True})
        written(blocks("python"), story.folder)
    elif line.startswith("interlock resume"):
        gone_astray(story)
    elif line.startswith("mkdir"):
        story.stop()
        assert main(["tasks", "--store", "sqlite:///tasks.db"]) == 0
    elif line.endswith("/healthz"):
        story.serve()


def after(line: str, story: Story) -> None:
    """What happens by itself after a line, and what one sees then."""
    if line.startswith("interlock serve --submit"):
        story.waiting()
    elif line.startswith("interlock answer"):
        story.until('"dest":"waiting_auth"')
    elif line.startswith("interlock show TASK_ID --server"):
        story.asked()
    elif line.startswith("interlock approve"):
        story.until('"dest":"completed"')
    elif "traced:config" in line:
        story.waiting()
        said = story.stop()
        assert '"name": "submit"' in said
        assert '"name": "invoke_agent agent"' in said
        story.serve()


def gone_astray(story: Story) -> None:
    """Have a task that waits for an operator, because its agent is another one by now."""
    message = {"messageId": "astray", "role": "ROLE_USER", "parts": [{"text": "Go."}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    sent = httpx.post(f"{story.url}/a2a/rpc", json=body, headers={"A2A-Version": "1.0"}).json()
    story.task = sent["result"]["task"]["id"]
    story.stop()
    agent = story.folder / "agent.py"
    agent.write_text(agent.read_text().replace("Where shall it go?", "Which city?"))
    story.serve()
    main(["answer", story.task, "Porto", "--server", story.url])
    story.until('"key":"interlock:operator')


# --- tables, and blocks of code ---------------------------------------------------------------


def part_of(annotation: Any) -> tuple[str, type[BaseModel]] | None:  # noqa: ANN401
    """The model in an annotation, and how a key gets to its fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "", annotation
    arguments = [one for one in get_args(annotation) if not isinstance(one, str)]
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    for argument in arguments[1:] if get_origin(annotation) is dict else arguments:
        if (found := part_of(argument)) is not None:
            step = {dict: ".NAME", tuple: "[]"}.get(cast("Any", get_origin(annotation)), "")
            return step + found[0], found[1]
    return None


def keys_of(model: type[BaseModel], within: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a configuration, and what it comes as."""
    for name, field in model.model_fields.items():
        key, part = within + (field.alias or name), part_of(field.annotation)
        if part is not None and part[1].__name__ in {"Policy", "When"}:
            part = None  # They have a table of their own.
        default: Any = field.get_default(call_default_factory=True)
        is_switch = name in {"a2a", "mcp"} and isinstance(default, BaseModel)
        if part is None or part[0] or is_switch or not isinstance(default, BaseModel):
            comes: Any = True if is_switch else shown(default)
            if field.is_required():
                yield key, "needed"
            elif comes is None or comes == "":
                yield key, "-"
            else:
                yield key, f"`{comes if isinstance(comes, str) else json.dumps(comes)}`"
        if part is not None:
            yield from keys_of(part[1], f"{key}{part[0]}.")


def test_the_tables_have_every_key_and_what_it_comes_as() -> None:
    """A key that is new, gone or comes otherwise fails until the page says so.  R-SVC-43."""
    known = {**dict(keys_of(Config)), **dict(keys_of(Policy, "RULE."))}
    told = ROW.findall(PAGE)
    assert len(told) == len(dict(told))
    assert known["server.port"] == "`8000`"
    assert "mcp.NAME.retry.attempts" in known
    assert {**dict(told)} == known


async def agent(task: TaskContext) -> str:
    """Do nothing."""
    return task.task_id


def test_the_table_of_routes_is_that_of_the_api() -> None:
    """In its words.  R-SVC-43."""
    paths = management_app(Managed(Engine(agent))).openapi()["paths"]
    routes = {
        f"{method.upper()} {path}": operation["summary"]
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    told = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert dict(told) == routes


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.split(":")[0])
def test_the_pieces_of_a_configuration_can_be_served(block: str, project: Path) -> None:
    """Each in the place of what a new project has.  R-SVC-43."""
    path = project / "app.yaml"
    path.write_text(merged(path, said_by(block)))
    service = Service.of(load_config(path, environ={**os.environ, **ENVIRON}))
    assert service.not_ready() == "the engine is not open"


@asynccontextmanager
async def served(app: Any, url: str) -> AsyncGenerator[httpx.AsyncClient]:  # noqa: ANN401
    """A client on this machine of an application that is up."""
    here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=here, base_url=url) as client,
    ):
        yield client


async def test_the_modules_of_the_page_are_services(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python, and in an application of its own.  R-SVC-43."""
    assert written(blocks("python"), project) == ["traced.py", "app.py", "mounted.py"]
    monkeypatch.chdir(project)
    sys.path.insert(0, str(project))
    service = module_at(project / "app.py").service
    async with served(service.app, service.url) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.post("/mcp")).status_code == 404
    async with served(module_at(project / "mounted.py").app, ADDRESS) as client:
        assert (await client.get("/prices/Lisbon")).json() == {"Lisbon": 180}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/manage/tasks")).status_code == 401


# --- what the pages name ----------------------------------------------------------------------


def test_every_test_that_the_security_page_names_is_there() -> None:
    """A threat has a test, and it is there under that name.  R-SVC-44."""
    rows = re.findall(r"^\| (T\d+) \| .* \| (.*) \|$", SECURITY, re.MULTILINE)
    assert len(rows) > 20
    for threat, tests in rows:
        named = re.findall(r"`(tests/\S+\.py)`: `(test_\w+)`", tests)
        assert named, threat
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            there = {getattr(node, "name", "") for node in tree.body}
            assert name in there, f"{threat}: {file} has no {name}"


def test_the_threats_of_the_page_are_those_of_the_invariants() -> None:
    """None is left out.  R-SVC-44."""
    invariants = (ROOT / "specs" / "invariants.md").read_text(encoding="utf-8")
    threat = re.compile(r"^\| (T\d+) \|", re.MULTILINE)
    assert threat.findall(SECURITY) == threat.findall(invariants)


@pytest.mark.parametrize("name", ["service.md", "security.md"])
def test_links_of_the_pages_lead_somewhere(name: str) -> None:
    """To a file, or a heading of the page.  R-SVC-43."""
    text = (DOCS / name).read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, heading = target.partition("#")
        assert (DOCS / file).exists(), target
        assert file or heading in headings, target
