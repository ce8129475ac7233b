"""A model that says what a script says: turns of text and tool calls, with no library.

It remembers nothing that a model would not.  Which turn comes next is read off the prompt, from
how many turns were answered in it, so that a process which is started in the middle of a task
goes on where the other one was; a turn that is asked for twice is said twice.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

__all__ = ["ModelCall", "ModelTurn", "ScriptExhausted", "ScriptedModel"]


class ScriptExhausted(AssertionError):
    """The model is asked for a turn that its script does not have."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A tool call that the model wants made."""

    name: str
    #: An object; anything else is what a model sends that does not keep to its format.
    arguments: Any = field(default_factory=dict[str, Any])
    #: As the model would name it; None where it names none.
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """What the model says once: a text, tool calls, or both."""

    text: str | None = None
    calls: tuple[ModelCall, ...] = ()
    #: It answers a prompt that asks for a plan, and no other.
    plan: bool = False
    input_tokens: int = 10
    output_tokens: int = 5

    @classmethod
    def calling(cls, name: str, /, **arguments: Any) -> Self:  # noqa: ANN401  JSON, or not
        """A turn that is one tool call."""
        return cls(calls=(ModelCall(name, arguments),))


Heard: TypeAlias = Sequence[str]
#: A turn; a text is a turn that says it, a mapping one call for each tool, and a function is
#: given all that the model was told so far, oldest first.
Scripted: TypeAlias = (
    ModelTurn | str | Mapping[str, Mapping[str, Any]] | Callable[[Heard], "ModelTurn | str"]
)


class ScriptedModel:
    """Says the turns of a script, one for each prompt.

    As a context manager it fails at its end if a turn was never said.
    """

    def __init__(self, *script: Scripted) -> None:
        self.script: Final = script
        self._said: set[int] = set()
        self._prompts = 0
        self._lock: Final = threading.Lock()

    @property
    def prompts(self) -> int:
        """How often it was asked."""
        return self._prompts

    def turn(self, answered: int, heard: Heard = (), *, plan: bool = False) -> ModelTurn:
        """What it says to a prompt in which `answered` of its turns were answered already.

        For a prompt that asks for a new `plan`, which shows no earlier ones, these are not
        counted either.

        Raises:
            ScriptExhausted: the script has no such turn.
        """
        with self._lock:
            self._prompts += 1
            at = self._next_plan(answered) if plan else answered
            if at >= len(self.script):
                raise ScriptExhausted(
                    f"the model is asked for turn {at + 1} of a script of {len(self.script)}"
                )
            said = _turn(self.script[at], heard)
            if said.plan != plan:
                wanted = "a plan" if plan else "a turn"
                raise ScriptExhausted(f"the model is asked for {wanted}; turn {at + 1} is not one")
            # What was answered before was said, perhaps in another process.
            self._said.update(range(at + 1))
            return said

    def _next_plan(self, answered: int) -> int:
        """Where the first plan is after so many turns that are none."""
        turns = 0
        for at, scripted in enumerate(self.script):
            is_plan = isinstance(scripted, ModelTurn) and scripted.plan
            if is_plan and turns == answered:
                return at
            turns += not is_plan
        return len(self.script)

    @property
    def unsaid(self) -> list[int]:
        """The turns that nobody asked for, counted from one."""
        return [at + 1 for at in range(len(self.script)) if at not in self._said]

    def check_consumed(self) -> None:
        """Fail if a turn was never said.

        Raises:
            AssertionError: one was not.
        """
        if self.unsaid:
            raise AssertionError(
                f"never said: turns {self.unsaid} of a script of {len(self.script)}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.check_consumed()


def _turn(scripted: Scripted, heard: Heard) -> ModelTurn:
    match scripted:
        case ModelTurn():
            return scripted
        case str():
            return ModelTurn(scripted)
        case Mapping():
            calls = [ModelCall(name, dict(given)) for name, given in scripted.items()]
            return ModelTurn(calls=tuple(calls))
        case _:
            return _turn(scripted(heard), heard)
