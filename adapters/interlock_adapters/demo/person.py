"""Who talks to the agent: somebody at a terminal, or a script."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from interlock import Answer, Approval, AskKind, Denial, JsonObject, JsonValue
from interlock_adapters.demo.client import Chunk, Question, Reply, Said, Sight
from interlock_adapters.demo.keyboard import Keyboard
from interlock_adapters.demo.teller import Teller, fields_of

#: What somebody types for leaving, at any prompt.
LEAVE: Final = "c"


class OutOfScript(Exception):
    """The agent asked for something that the script does not know."""


class Person(Protocol):
    """Answers an agent's questions."""

    async def reply(self, question: Question) -> Reply | None:
        """What they say; None when they would rather have the task stopped."""
        ...

    def has_enough(self, sight: Sight) -> bool:
        """Whether what they see makes them stop the task."""
        ...


class Scripted:
    """Gives the answers it was given, and says yes to everything that costs money."""

    def __init__(self, teller: Teller, answers: Iterable[JsonValue], *, stop_at: str = "") -> None:
        self._teller: Final = teller
        self._answers: Final = iter(answers)
        self._stop_at: Final = stop_at

    async def reply(self, question: Question) -> Reply | None:
        """The next line of the script.

        Raises:
            OutOfScript: there is none.
        """
        reply: Reply
        if question.kind is AskKind.AUTH:
            reply = Approval(ask=question.key, digest=question.digest, decision="approve")
        else:
            try:
                reply = Answer(ask=question.key, value=next(self._answers))
            except StopIteration:
                raise OutOfScript(f"no answer is left for: {question.prompt}") from None
        self._teller.replied(reply)
        return reply

    def has_enough(self, sight: Sight) -> bool:
        """Whether the agent says, or shows, what the script stops it at."""
        match sight:
            case Said(text=text) | Chunk(name=text):
                return bool(self._stop_at) and self._stop_at in text
            case _:
                return False


class AtTerminal:
    """Asks whoever sits at the keyboard."""

    def __init__(self, teller: Teller, keyboard: Keyboard, interrupted: asyncio.Event) -> None:
        self._teller: Final = teller
        self._keyboard: Final = keyboard
        self._interrupted: Final = interrupted

    def has_enough(self, sight: Sight) -> bool:
        """No: they have a key for that."""
        del sight
        return False

    async def reply(self, question: Question) -> Reply | None:
        """What they type; None if they leave, by a key, by Ctrl-C or by the end of the input."""
        try:
            if question.kind is AskKind.AUTH:
                return await self._decision(question)
            return Answer(ask=question.key, value=await self._filled(question.form, {}))
        except _Left:
            return None

    async def _decision(self, question: Question) -> Reply:
        choices = {"a": "approve", "e": "edit", "d": "deny"}
        if not question.allow_edit:
            del choices["e"]
        names = ", ".join(f"[{key}]{name[1:]}" for key, name in choices.items())
        at = question.key, question.digest
        while True:
            match (await self._line(f"{names} or [{LEAVE}]ancel? ")).lower():
                case "a" | "approve":
                    return Approval(ask=at[0], digest=at[1], decision="approve")
                case "d" | "deny":
                    reason = await self._line("why? ")
                    return Denial(ask=at[0], digest=at[1], decision="deny", reason=reason or None)
                case "e" | "edit" if question.allow_edit:
                    edited = await self._filled(question.form, question.arguments or {})
                    return Approval(ask=at[0], digest=at[1], decision="approve", arguments=edited)
                case other:
                    self._teller.refused(f"{other!r} is none of these")

    async def _filled(self, form: JsonObject, present: JsonObject) -> JsonObject:
        """The form, field by field; an empty line keeps what is there."""
        filled: JsonObject = {}
        for name, schema in fields_of(form).items():
            hint = f" [{present[name]}]" if name in present else ""
            line = await self._line(f"{name}{hint}: ")
            filled[name] = present[name] if not line and name in present else value_of(line, schema)
        return filled

    async def _line(self, prompt: str) -> str:
        self._teller.prompt(prompt)
        line = await self._unless_interrupted()
        if line is None:
            self._teller.end_line()
        if line is None or line == LEAVE:
            raise _Left
        return line

    async def _unless_interrupted(self) -> str | None:
        typed = asyncio.ensure_future(self._keyboard.line())
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait((typed, interrupted), return_when=asyncio.FIRST_COMPLETED)
            return typed.result() if typed.done() and not interrupted.done() else None
        finally:
            typed.cancel()
            interrupted.cancel()


class _Left(Exception):
    """Whoever sits there wants to stop."""


#: How a line is read for a field of each type; a field of another type stays text.
_READ: Final[dict[JsonValue, Callable[[str], JsonValue]]] = {"integer": int, "number": float}


def value_of(line: str, schema: JsonObject) -> JsonValue:
    """The line as a value of the schema's type, or as it is: it is for the server to refuse."""
    try:
        return _READ[schema.get("type")](line)
    except (KeyError, ValueError):
        return line
