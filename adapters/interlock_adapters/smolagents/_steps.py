"""What is done at the end of an agent's step: it is shown, and the last one must have an answer."""

import sys
from typing import Final

from interlock_adapters.smolagents._failure import OutOfSteps
from interlock_adapters.smolagents._run import Seat
from interlock_adapters.smolagents._show import Shown
from interlock_adapters.smolagents._types import StepLike

__all__ = ["Steps"]


class Steps:
    """Callbacks of the agent of one seat."""

    def __init__(self, seat: Seat) -> None:
        self._seat: Final = seat
        self._shown: Final = Shown(seat)

    def acted(self, step: StepLike) -> None:
        """A step of action is over.

        Raises:
            OutOfSteps: it was the last, and there is no answer.
        """
        seat = self._seat
        # Called on the way of an error too, when the step is half of one.
        if seat.run.unwinding or sys.exception() is not seat.error_outside:
            return
        self._shown.text()
        if seat.runs_code and step.observations:
            self._shown.observation(step.observations)
        self._shown.error(step)
        if (
            seat.run.settings.on_max_steps == "fail"
            and not step.is_final_answer
            and step.step_number == seat.agent.max_steps
        ):
            raise OutOfSteps(seat.name, seat.agent.max_steps)

    def planned(self, step: StepLike) -> None:
        """A plan is made."""
        if not self._seat.streams:
            self._shown.plan(step.plan)
