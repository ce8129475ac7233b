"""Restate: a `ctx.run` that was under way when the process died is made again; nobody is asked.

The server calls the handler again by itself, and what had ended before is not made again.
"""

import asyncio
import importlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import PATIENCE_S, marks, note, tell
from restate_server import free_port, restate_server

MODULE: Final = "bench.claims.restate_in_doubt"


def _serve(folder: Path, port: int) -> None:
    restate: Any = importlib.import_module("restate")
    hypercorn: Any = importlib.import_module("hypercorn.config")
    serving: Any = importlib.import_module("hypercorn.asyncio")
    service = restate.Service("claim")

    async def first() -> None:
        note(folder / "marks", "first")

    async def pay() -> str:
        note(folder / "marks", "paid")
        if marks(folder / "marks").count("paid") == 1:
            await asyncio.sleep(60)  # The other side has it; its answer is on the way.
        return "paid"

    @service.handler()  # type: ignore[untyped-decorator]  # in the peer's environment only
    async def flow(ctx: Any) -> str:  # noqa: ANN401  the peer's
        await ctx.run_typed("first", first)
        return str(await ctx.run_typed("pay", pay))

    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    asyncio.run(serving.serve(restate.app([service]), config))


@contextmanager
def _worker(folder: Path, port: int) -> Generator[None]:
    command = [sys.executable, "-m", MODULE, "child", str(folder), str(port)]
    child = subprocess.Popen(command)
    try:
        yield
    finally:
        child.kill()
        child.wait()


def _post(url: str, body: object = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method="POST")  # noqa: S310  ours, on loopback
    if data:
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


def _eventually(folder: Path, wanted: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while len(marks(folder / "marks")) < wanted and time.monotonic() < until:
        time.sleep(0.05)


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as place, restate_server() as server:
        folder = Path(place)
        ingress = server.url.replace("restate://", "http://")
        with _worker(folder, port):
            _registered(server.admin, port)
            _post(f"{ingress}/claim/flow/send")
            _eventually(folder, 2)
        with _worker(folder, port):
            _eventually(folder, 3)
        done = marks(folder / "marks")
    tell(
        holds=done == ["first", "paid", "paid"],
        seen=f"killed while it paid; the server called again, and it paid "
        f"{done.count('paid')} times in all, what had ended before ran "
        f"{done.count('first')} time, no question",
    )


def _registered(admin: str, port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            _post(f"{admin}/deployments", {"uri": f"http://127.0.0.1:{port}"})
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    _main()
