"""The demo's server in a process of its own, so that it can be killed and started again.

    python -m interlock_adapters.demo.killed FD PATH PACE AGENT

serves the agent of that name on the listening socket FD, with its tasks in PATH.
"""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from interlock_adapters.a2a import a2a_app
from interlock_adapters.demo.player import FUNCTION, Player, player_of
from interlock_adapters.server import serve

#: Whether a process can be given a socket here.
CAN_BE_KILLED: Final = os.name == "posix"
#: Seconds that a process which was told to end has for it.
_END_S: Final = 10.0


class Killable:
    """A server process on a socket that outlives it: who calls meanwhile waits, and is served."""

    def __init__(self, path: Path, pace_s: float, player: Player = FUNCTION) -> None:
        self._arguments: Final = [str(path), str(pace_s), player.name]
        self._process: subprocess.Popen[bytes] | None = None
        self._stack: Final = ExitStack()
        self._listener: Final = self._stack.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()

    @property
    def url(self) -> str:
        """Where it is reached, also before it is started again."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server; whoever calls it waits until it is up."""
        fd = self._listener.fileno()
        self._process = subprocess.Popen(  # noqa: S603  ourselves
            [sys.executable, "-m", __spec__.name, str(fd), *self._arguments],
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End it as a power cut would: it cannot do anything about it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_END_S)

    def end(self) -> int:
        """Tell it to end, and return its exit code; it has a while for that."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_END_S)

    def __enter__(self) -> Self:
        """Nothing to do yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the process and the socket."""
        if self._process is not None and self._process.poll() is None:
            self.end()
        self._stack.close()


def _serve(fd: int, path: Path, pace_s: float, player: Player) -> int:
    with socket.socket(fileno=fd) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = player.settings.model_copy(update={"url": url})
        return serve(
            a2a_app(player.engine(path, pace_s), settings), sockets=[listener], log_level="warning"
        )


def _arguments(given: list[str]) -> tuple[int, Path, float, Player]:
    fd, path, pace_s, name = given
    return int(fd), Path(path), float(pace_s), player_of(name)


if __name__ == "__main__":
    raise SystemExit(_serve(*_arguments(sys.argv[1:])))
