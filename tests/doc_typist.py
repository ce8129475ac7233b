"""Somebody who reads a page of the documentation, and does what it says, block by block.

It is long because pages show many kinds of things: programs, files, commands with their output,
servers, configurations.  Each block is run, or checked, or refused as a kind that nobody knows.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import httpx
import yaml

from doc_blocks import Block
from doc_pages import Curl
from interlock_adapters import cli
from interlock_adapters.config import Config, load_config
from interlock_adapters.policies import load_policies

ROOT: Final = Path(__file__).parents[1]
RUN_S: Final = 120
#: Programs that a page may have run as they are: they do nothing outside of its folder.
PROGRAMS: Final = frozenset(
    {"python", "mkdir", "touch", "cat", "cp", "mv", "ls", "rm", "diff", "git"}
)
#: The length of a real run, and that of a test.
_LENGTH: Final = re.compile(r"--for \d+s|--runs \d+")
_SHORT: Final = "--runs 6"
#: Commands of ours that run modules of the page in ways that a process of their own is for.
_APART: Final = frozenset({"fuzz", "mutate", "crosscheck"})
_ADDRESS: Final = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+")
_TASK: Final = re.compile(r"\b[0-9a-f]{32}\b")
_DIGEST: Final = re.compile(r"digest +([0-9a-f]{32})")
#: What is another each time: ids, times, durations, sizes, and what a page leaves out.
_VARIES: Final = re.compile(
    r"\b[0-9a-f]{32}\b|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?: UTC|Z)?"
    r"|\b\d+(?:\.\d+)? (?:ms|s|min|h|d|MB)\b|\.\.\."
)


class Wrong(AssertionError):
    """A block does not do what its page says."""


def pattern_of(shown: str) -> re.Pattern[str]:
    """What fits output as a page shows it; a line of three dots stands for any lines."""
    lines: list[str] = []
    for line in shown.rstrip("\n").splitlines():
        parts = (re.escape(part) for part in _VARIES.split(line.rstrip()))
        lines.append(r"(?:.*\n)*?" if line.strip() == "..." else ".*?".join(parts) + r"[ \t]*\n")
    return re.compile("".join(lines))


def shows(said: str, shown: str) -> bool:
    """Whether the whole of an output is as a page shows it."""
    return pattern_of(shown).fullmatch(said.rstrip("\n") + "\n") is not None


def _stand_in(name: str) -> str:
    """A value for a variable that a configuration names, of the kind that its name says."""
    if re.search("URL|BASE", name):
        return "https://host.example/x"
    return "1" if re.search("PORT|MAX|_S$", name) else "x"


def said_by(run: Callable[[], int]) -> tuple[int, str]:
    """The exit code of something that runs in this process, and all that it printed."""
    taken = io.BytesIO()
    with io.TextIOWrapper(taken, encoding="utf-8", write_through=True) as out:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = run()
            except SystemExit as ended:
                code = int(ended.code or 0)
            except Exception:  # noqa: BLE001  As the interpreter does.
                traceback.print_exc()
                code = 1
        return code, taken.getvalue().decode()


class Typist:
    """Types in one page, in a folder of its own."""

    def __init__(self, folder: Path, *, is_story: bool = True) -> None:
        self.folder: Final = folder
        #: Else nothing is run, and commands are only understood.
        self.is_story: Final = is_story
        self._here = folder
        self._names: dict[str, Any] = {"__name__": "__page__"}
        #: All that was printed so far, which a block of text may repeat.
        self._said = ""
        self._task = self._digest = ""
        self._servers: list[subprocess.Popen[bytes]] = []
        self._url = ""

    # --- a page ---------------------------------------------------------------------------

    def type_in(self, block: Block) -> None:
        """Do what a block says; a `Wrong` names its place."""
        kinds: Mapping[str, Callable[[Block], None]] = {
            "python": self._python,
            "console": self._console,
            "yaml": self._yaml,
            "json": lambda block: json.loads(block.text),
            "toml": self._toml,
            "text": self._text,
        }
        kind = kinds.get(block.language)
        if kind is None:
            raise Wrong(
                f"{block.place}: nobody runs a block of {block.language or 'no language'!r}"
            )
        try:
            kind(block)
        except Wrong as error:
            raise Wrong(f"{block.place}: {error}") from None
        except Exception as error:
            raise Wrong(f"{block.place}: {error!r}\n{traceback.format_exc()}") from error

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Be in the folder; afterwards nothing of it is known, and no server runs."""
        path, at = [*sys.path], Path.cwd()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            for server in self._servers:
                server.kill()
                server.wait(RUN_S)
            os.chdir(at)
            sys.path[:] = path
            self._forget()

    def _write(self, name: str, text: str) -> None:
        path = self._here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    # --- programs and data ----------------------------------------------------------------

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        if block.file is not None:
            self._write(block.file, block.text)
        elif self.is_story:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, self._names)  # noqa: S102
            self._said += out.getvalue()

    def _toml(self, block: Block) -> None:
        tomllib.loads(block.text)
        if block.file is not None:
            self._write(block.file, block.text)

    def _text(self, block: Block) -> None:
        """See whether what stands above it printed it."""
        if pattern_of(block.text).search(self._said) is None:
            raise Wrong(f"nothing above printed this; it was:\n{self._said}")

    def _yaml(self, block: Block) -> None:
        if block.file is not None:
            self._write(block.file, block.text)
        # To this parser `on` is a truth value.
        said: Any = yaml.safe_load(re.sub(r"^on:", '"on":', block.text, flags=re.MULTILINE))
        if not isinstance(said, dict):
            raise Wrong("it is no mapping")
        known = cast("dict[str, Any]", said)
        keys = {str(key) for key in known}
        if keys <= {*Config.model_fields}:
            self._configuration(known)
        elif "jobs" in keys:
            for line in re.findall(r"\brun: *(.*)$", block.text, re.MULTILINE):
                self._understood(line)
        elif not keys & {"services", "scrape_configs"}:  # Those are other programs' files.
            load_policies(block.text)

    def _configuration(self, said: dict[str, Any]) -> None:
        whole = {"agent": "agent_of_no_page:agent", **said}
        self._write("agent_of_no_page.py", "async def agent(task): ...\n")
        path = self._here / "of-the-page.yaml"
        path.write_text(cast("Any", yaml).safe_dump(whole), encoding="utf-8")
        names = re.findall(r"\$\{(\w+)[:}]", path.read_text("utf-8"))
        named = {name: _stand_in(name) for name in names}
        load_config(path, environ={**os.environ, **named})

    # --- commands -------------------------------------------------------------------------

    def _console(self, block: Block) -> None:
        command, shown = "", list[str]()
        for line in [*block.text.splitlines(), "$ "]:
            if line.startswith("$ ") and not command.endswith("\\"):
                if command:
                    self._command(command, "\n".join(shown))
                command, shown = line.removeprefix("$ "), []
            elif command.endswith("\\"):
                command = command[:-1] + line.removeprefix("> ").strip()
            elif not command:
                raise Wrong(f"{line!r} is the output of no command")
            else:
                shown.append(line)

    def _command(self, line: str, shown: str) -> None:
        line = line.replace("TASK_ID", self._task or "TASK_ID")
        line = line.replace("DIGEST", self._digest or "DIGEST")
        if not self.is_story:
            self._understood(line)
            return
        done = self._run(line, shown)
        if done is None:
            return
        code, said = done
        self._said += said
        self._task = (_TASK.findall(said) or [self._task])[0]
        self._digest = (_DIGEST.findall(said) or [self._digest])[-1]
        if shown and not shows(said, shown):
            raise Wrong(f"$ {line}\nis shown as\n{shown}\nand says\n{said}")
        if not shown and code:
            raise Wrong(f"$ {line}\nfails with {code}:\n{said}")

    def _run(self, line: str, shown: str) -> tuple[int, str] | None:
        """The exit code and what was said; None where there is nothing to look at."""
        words = shlex.split(line, comments=True)
        is_plain = not set(line) & {*"|>&;"}
        done: tuple[int, str] | None = None
        match words:
            case ["cd", place]:
                self._here = (self._here / place).resolve()
                os.chdir(self._here)
            case ["interlock", "serve" | "worker", *_] | ["uvicorn", *_]:
                self._serve(words)
            case ["curl", *_]:
                done = self._curl(words[1:])
            case ["interlock", command, *_] if command not in _APART and is_plain:
                done = self._ours(words[1:])
            case ["python", program, *_] if program.endswith(".py") and is_plain:
                done = self._program(words[1:])
            case ["interlock", *_]:
                self._understood(line)
                done = self._shell(line if shown else _LENGTH.sub(_SHORT, line))
            case [program, *_] if program in PROGRAMS:
                done = self._shell(line)
            case _:
                self._understood(line)
        return done

    def _ours(self, words: list[str]) -> tuple[int, str]:
        """Run a command of ours in this process, which has all of its imports."""
        return said_by(lambda: cli.main(words))

    def _program(self, words: list[str]) -> tuple[int, str]:
        """Run a program of the page in this process; each run finds its modules anew."""
        self._forget()
        had = sys.argv
        sys.argv = words
        try:
            return said_by(lambda: 0 * len(runpy.run_path(words[0], run_name="__main__")))
        finally:
            sys.argv = had
            self._forget()

    def _forget(self) -> None:
        """Forget what modules this folder has."""
        for name, module in [*sys.modules.items()]:
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._here), *filter(None, sys.path)])
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        ours = {"PYTHONPATH": path, "PATH": programs, "PYTHONDONTWRITEBYTECODE": "1"}
        # Of the plugins of pytest that happen to be installed, only what a reader has.
        plugins = {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p pytest_asyncio -p interlock_adapters._pytest_plugin",
        }
        return {**os.environ, **ours, **plugins}

    def _shell(self, line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", line],  # noqa: S607
            cwd=self._here,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return done.returncode, done.stdout

    def _understood(self, line: str) -> None:
        """See whether it is a command that there is, called as it can be."""
        line = re.sub(r"\s+# .*$", "", line)
        for part in re.split(r"&&|\||;", line):
            words = shlex.split(part.partition(" > ")[0], comments=True)
            match words:
                case ["pip", "install", *wanted]:
                    self._installed(wanted)
                case ["make", *targets]:
                    text = (ROOT / "Makefile").read_text(encoding="utf-8")
                    for target in (word for word in targets if "=" not in word):
                        if re.search(rf"^{target}:", text, re.MULTILINE) is None:
                            raise Wrong(f"there is no target {target}")
                case ["interlock", *arguments]:
                    self._parsed(arguments)
                case [program, *_] if program in PROGRAMS | {"cd"}:
                    pass
                case _:
                    raise Wrong(
                        f"nobody can run {line!r}: is there a reason to say, `not run: ...`?"
                    )

    def _installed(self, wanted: list[str]) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        for extras in re.findall(r"interlock\[([^\]]*)\]", " ".join(wanted)):
            if missing := {*extras.split(",")} - {*project["optional-dependencies"]}:
                raise Wrong(f"there is no extra {', '.join(missing)}")

    def _parsed(self, arguments: list[str]) -> argparse.Namespace:
        complaint = io.StringIO()
        try:
            with contextlib.redirect_stderr(complaint):
                return cli._parser().parse_args(arguments)
        except SystemExit:
            raise Wrong(f"interlock {shlex.join(arguments)}: {complaint.getvalue()}") from None

    # --- servers --------------------------------------------------------------------------

    def _serve(self, words: list[str]) -> None:
        """Start it at a free port, and go on when it answers; the one before it is stopped."""
        for server in self._servers:
            server.terminate()
            server.wait(RUN_S)
        self._servers.clear()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if words[0] == "interlock":
            self._parsed(words[1:])
        command = [
            sys.executable,
            "-m",
            {"interlock": "interlock_adapters.cli"}.get(words[0], words[0]),
        ]
        rest = [word for word in words[1:] if word != "&"]
        log = (self._here / "server.log").open("wb")
        server = subprocess.Popen(
            [*command, *rest, "--port", str(port)],
            cwd=self._here,
            env=self._environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self._servers.append(server)
        self._url = f"http://127.0.0.1:{port}"
        for _ in range(RUN_S * 10):
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
                raise Wrong((self._here / "server.log").read_text(encoding="utf-8"))
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
        raise Wrong("it does not come up")

    def _curl(self, words: list[str]) -> tuple[int, str]:
        asked = Curl.of(words)
        url = _ADDRESS.sub(self._url, asked.url)
        with httpx.stream(
            asked.method, url, headers=asked.headers, content=asked.body, timeout=RUN_S
        ) as answer:
            if asked.streams and answer.is_success:
                return 0, next(answer.iter_lines(), "")
            answer.read()
            return int(not answer.is_success), answer.text
