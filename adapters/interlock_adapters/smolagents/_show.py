"""What an agent does, step by step, as artifacts of its task.

Their ids say where they stand (`step-2/call-1`), and nothing in them is a time, so that a run that
is replayed shows the same, which the task then does not show again.
"""

from typing import Final

from interlock import JsonObject, JsonValue, Part
from interlock.errors import ResultInvalid
from interlock_adapters.smolagents._run import Seat
from interlock_adapters.smolagents._types import StepLike

__all__ = ["Shown", "clean", "cut"]

#: Characters of one artifact: what is longer is for the log, and not for a screen.
TEXT_CHARS_MAX: Final = 20_000


def clean(text: str) -> str:
    """The text without halves of characters, which cannot be stored."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(text: str) -> str:
    """The text, or its beginning if it is too long to be looked at."""
    text = clean(text)
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]}\n[{len(text) - TEXT_CHARS_MAX} more characters]"


class Shown:
    """Shows what the agent of one seat does."""

    def __init__(self, seat: Seat) -> None:
        self._seat: Final = seat

    def text(self) -> None:
        """What the model said, if it was not shown yet."""
        said, self._seat.said = self._seat.said, None
        if said and said.strip():
            self._emit("text", Part(text=cut(said)))

    def chunk(self, what: str, text: str, *, first: bool) -> None:
        """A piece of what the model is saying; within the call of the model, so never again.

        The first one replaces what came of a call that was interrupted.
        """
        self._emit(what, Part(text=clean(text)), append=not first)

    def call(self, number: int, name: str, arguments: JsonValue) -> None:
        """A tool call, before it is made."""
        what, said = f"call-{number}", {"tool": clean(name), "arguments": arguments}
        try:
            self._emit(what, Part(data=said), about=name)
        except ResultInvalid:
            # What cannot be stored is not called either, and that is for the gate to say.
            self._emit(what, Part(data={"tool": cut(name)}), about=name)

    def observation(
        self, text: str, *, number: int | None = None, about: str | None = None
    ) -> None:
        """What came of a call, or of a whole step."""
        if text.strip():
            suffix = "" if number is None else f"-{number}"
            self._emit(f"observation{suffix}", Part(text=cut(text)), about=about)

    def error(self, step: StepLike) -> None:
        """What was wrong with a step, as the model is told."""
        if step.error is not None:
            self._emit("error", Part(text=cut(str(step.error))))

    def plan(self, plan: str) -> None:
        """What the agent means to do."""
        self._emit("plan", Part(text=cut(plan)))

    def _emit(
        self, what: str, part: Part, *, about: str | None = None, append: bool = False
    ) -> None:
        seat = self._seat
        if not seat.run.settings.artifacts:
            return
        metadata: JsonObject = {"step": seat.step, "kind": what.partition("-")[0]}
        if seat.agent.name:
            metadata["agent"] = seat.agent.name
        if about is not None:
            metadata["tool"] = clean(about)[:256]
        with seat.run.at_work():
            seat.run.task.emit(
                part,
                artifact_id=f"{seat.scope}step-{seat.step}/{what}",
                name=f"step {seat.step}: {what.replace('-', ' ')}",
                metadata=metadata,
                append=append,
            )
