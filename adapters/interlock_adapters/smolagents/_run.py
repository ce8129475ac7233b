"""One run of an agent, and the seat of each agent in it: where it is, and how its calls are named.

Everything that an agent does outside passes `Run.at_work`.  Once the run is being unwound, by a
stop, a park or a failure of the model, that refuses whatever else the agent's own code still
tries (a `finally:` that a model wrote, say), and so it does on any thread but the run's.
"""

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from interlock import SyncTaskContext
from interlock_adapters.smolagents._prompt import PromptDigests
from interlock_adapters.smolagents._types import LibAgent

__all__ = ["NotGated", "Run", "Seat", "Settings"]


class NotGated(RuntimeError):
    """A tool or a model of an agent is used where no task stands behind it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How agents are run."""

    allow_code: bool
    on_max_steps: Literal["fail", "answer"]
    retryable: Callable[[Exception], bool]
    artifacts: bool
    verbose: bool


class Run:
    """One run of an agent for one task, on the thread that it was made on."""

    def __init__(self, task: SyncTaskContext, settings: Settings) -> None:
        self.task: Final = task
        self.settings: Final = settings
        self.digests: Final = PromptDigests()
        #: Agents that are running, the innermost last.
        self.seats: Final[list[Seat]] = []
        self._thread: Final = threading.get_ident()
        self._unwound_by: BaseException | None = None
        self._over = False
        self._scope: str | None = None

    @property
    def unwinding(self) -> bool:
        """Whether the run is ending by something that is no `Exception`."""
        return self._unwound_by is not None

    @contextmanager
    def at_work(self) -> Generator[None]:
        """A block that does something outside.

        Raises:
            NotGated: the run is over, or this is not its thread.
        """
        if self._over:
            raise NotGated("its task has no run of this agent any more")
        if threading.get_ident() != self._thread:
            raise NotGated("it is used on another thread than the agent's")
        if self._unwound_by is not None:
            raise self._unwound_by
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            self._unwound_by = error
            raise

    @contextmanager
    def whole(self) -> Generator[None]:
        """The block of the run; after it nothing is done in its name any more.

        What unwinds the run comes out of it, whatever a model's code made of it on the way: a
        `finally:` that breaks, returns or raises drops what passes, and then may give an answer.
        """
        try:
            yield
        finally:
            self._over = True
            if self._unwound_by is not None:
                raise self._unwound_by

    def hand_scope(self, scope: str) -> None:
        """Name the place from which the next agent of the team is run."""
        self._scope = scope

    def taken_scope(self) -> str:
        """The place from which an agent of the team is run now."""
        scope, self._scope = self._scope, None
        return scope or f"{self.seats[-1].next_key()}/"


class Seat:
    """An agent's place in a run.

    Keys are made of where a call stands, never of what a model names it, so they are the same at
    every replay: `s2.c0` is the first call of step 2, `m3` the third prompt, and what an agent of
    the team does begins with the key of the call that runs it (`s2.c0/s1.c1`).
    """

    def __init__(self, run: Run, agent: LibAgent, *, runs_code: bool) -> None:
        self.run: Final = run
        self.agent: Final = agent
        self.runs_code: Final = runs_code
        #: Whether its answers are shown while they come.
        self.streams: Final = agent.stream_outputs
        self.scope: str = ""
        #: What the model said last, until it was shown.
        self.said: str | None = None
        #: What was being handled where the agent was run.
        self.error_outside: BaseException | None = None
        self._models = 0
        self._calls: tuple[int, int] = (0, 0)

    @property
    def step(self) -> int:
        """The step that the agent is in."""
        return self.agent.step_number

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return f"the agent {self.agent.name!r}" if self.agent.name else "the agent"

    def next_model_key(self) -> str:
        """The key of the next prompt."""
        self._models += 1
        return f"{self.scope}m{self._models}"

    @property
    def model_key(self) -> str:
        """The key of the last prompt."""
        return f"{self.scope}m{self._models}"

    def call_key(self, index: int) -> str:
        """The key of a call of this step."""
        return f"{self.scope}s{self.step}.c{index}"

    def next_key(self) -> str:
        """The key of the next call of code, which makes its calls one after the other."""
        step, calls = self._calls
        self._calls = (self.step, calls + 1 if step == self.step else 1)
        return self.call_key(self._calls[1] - 1)

    @property
    def last_call(self) -> int:
        """The number of the last call that code made in this step, from 1 on."""
        return self._calls[1]

    @contextmanager
    def entered(self, scope: str) -> Generator[None]:
        """A block in which the agent runs; it may run again later, from another place."""
        before = (self.scope, self.said, self.error_outside, self._models, self._calls)
        self.scope, self.said, self._models, self._calls = scope, None, 0, (0, 0)
        self.error_outside = sys.exception()
        self.run.seats.append(self)
        try:
            yield
        finally:
            self.run.seats.pop()
            self.scope, self.said, self.error_outside, self._models, self._calls = before
