"""Who goes on: the decisions of a simulated run, and the trace of what they came to."""

import hashlib
import zlib
from array import array
from contextvars import ContextVar
from typing import Final

from interlock.testing.fuzz._tape import Tape

#: At most so many places apart are those at which somebody else goes on; 0: nobody ever does.
_GAPS: Final = (0, 2, 6, 24)


class Deadlock(AssertionError):
    """Nothing can go on, no timer is armed, and the run has not ended: a lost wake-up."""


class StepLimit(AssertionError):
    """The run does not come to its end: something goes round in circles."""


class ProcessKilled(Exception):
    """The process that did it was killed; nobody knows whether it was done."""


class Process:
    """What a crash takes away at once: everything that was begun inside."""

    __slots__ = ("alive", "frozen", "name")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.alive = True
        #: Nothing of it goes on meanwhile, and nothing is lost: as with SIGSTOP.
        self.frozen = False


#: Who watches from outside, and outlives every crash.
DRIVER: Final = Process("driver")

#: The process that is at work.
PROCESS: Final[ContextVar[Process]] = ContextVar("interlock_process", default=DRIVER)


class Schedule:
    """Draws from the tape when something else than the plainest goes on.

    The plainest is what asyncio would do, first come, first served.  What is drawn is how many
    places are passed by until the next at which it is another's turn, so that a plain run has a
    short tape, and one of zeros is plain.
    """

    def __init__(self, tape: Tape, steps_max: int) -> None:
        self.tape: Final = tape
        self._steps_max: Final = steps_max
        self._trace: Final = array("q")
        self.steps = 0
        #: Callbacks of the event loop, and how often time has passed.
        self.progress = 0
        #: What ends the run at its next step.
        self.stop: BaseException | None = None
        # As in swarm testing: how much is stirred differs from run to run.
        self._gap = tape.pick(_GAPS)
        self._left = 0
        self._plain = True

    @property
    def digest(self) -> str:
        """Of all that was noted."""
        return hashlib.blake2b(self._trace.tobytes(), digest_size=16).hexdigest()

    def note(self, what: int) -> None:
        """It belongs to the trace."""
        self._trace.append(what)

    def note_text(self, text: str) -> None:
        """It belongs to the trace."""
        self._trace.append(-1 - zlib.crc32(text.encode(errors="surrogatepass")))

    def step(self) -> None:
        """One more.

        Raises:
            StepLimit: it is one too many.
            BaseException: the run is to end, and whoever was told so caught it.
        """
        if self.stop is not None:
            raise self.stop
        self.steps += 1
        if self.steps > self._steps_max:
            raise StepLimit(f"no end after {self._steps_max} steps")

    def deviates(self) -> bool:
        """Whether it is another's turn at this place, where several could go on."""
        if not self._gap:
            return False
        if self._left > 0:
            self._left -= 1
            return False
        due = not self._plain
        gap = self.tape.choose(self._gap)
        self._plain = gap == 0
        self._left = 2 * self._gap if self._plain else gap - 1
        return due
