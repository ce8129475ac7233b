"""Texts that match a pattern, made of it by a tape: what people are asked for may have one."""

import importlib
import re
import string
from collections.abc import Sequence
from typing import Any, Final

from interlock.testing.fuzz._tape import Tape

# What `re` itself reads patterns with: there is no public way to look into one.
words: Any = importlib.import_module("re._constants")
parser: Any = importlib.import_module("re._parser")

#: Repetitions beyond the least that a pattern asks for, at most.
_MORE_MAX: Final = 3
#: How often it is tried to make a text that matches.
_TRIES: Final = 8
#: What any character may be, the plainest first.
_ANY: Final = "a0B-" + string.ascii_letters + string.digits + " _.:/@é"
_OF: Final[dict[Any, str]] = {
    words.CATEGORY_DIGIT: string.digits,
    words.CATEGORY_NOT_DIGIT: string.ascii_letters,
    words.CATEGORY_SPACE: " ",
    words.CATEGORY_NOT_SPACE: string.ascii_letters + string.digits,
    words.CATEGORY_WORD: string.ascii_letters + string.digits + "_",
    words.CATEGORY_NOT_WORD: " -.:/",
}


def matching(pattern: str, tape: Tape, least: int = 0) -> str | None:
    """A text in which the pattern is found, of `least` characters or more; None if none was made.

    Looking ahead and back, and a look at a boundary, are not followed but checked afterwards.
    """
    try:
        parsed = parser.parse(pattern)
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    for tried in range(_TRIES):
        text = _Maker(tape, tried, least if tried else 0).text(parsed)
        if len(text) >= least and found.search(text):
            return text
    return None


class _Maker:
    """One text; the groups so far may be referred to."""

    def __init__(self, tape: Tape, tried: int, least: int) -> None:
        self._tape: Final = tape
        #: So many were made before, all of the plainest choices perhaps: this one is another.
        self._tried: Final = tried
        self._made = 0
        #: So many repetitions where any number will do.
        self._least: Final = least
        self._groups: Final[dict[int, str]] = {}

    def _character(self, some: Sequence[str]) -> str:
        self._made += self._tried
        return some[(self._tape.choose(len(some)) + self._made) % len(some)]

    def text(self, parts: Any) -> str:  # noqa: ANN401  what the parser makes
        return "".join(self._part(code, of) for code, of in parts)

    def _part(self, code: Any, of: Any) -> str:  # noqa: ANN401, C901, PLR0911  one case a code
        match code:
            case words.LITERAL:
                return chr(of)
            case words.NOT_LITERAL:
                return self._character([c for c in _ANY if ord(c) != of])
            case words.ANY:
                return self._character(_ANY)
            case words.IN:
                return self._one_of(of)
            case words.BRANCH:
                return self.text(self._tape.pick(of[1]))
            case words.SUBPATTERN:
                made = self._groups[of[0]] = self.text(of[3])
                return made
            case words.MAX_REPEAT | words.MIN_REPEAT | words.POSSESSIVE_REPEAT:
                return self._repeated(*of)
            case words.ATOMIC_GROUP:
                return self.text(of)
            case words.GROUPREF:
                return self._groups.get(of, "")
            case words.GROUPREF_EXISTS:
                return self.text(of[1] if of[0] in self._groups else of[2] or ())
            case _:
                return ""  # It only looks.

    def _repeated(self, low: int, high: int, inner: Any) -> str:  # noqa: ANN401  see `text`
        most = min(int(high), max(low, self._least) + _MORE_MAX)
        first = min(max(low, self._least), most)
        return "".join(self.text(inner) for _ in range(first + self._tape.choose(most - first + 1)))

    def _one_of(self, of: Any) -> str:  # noqa: ANN401  see `text`
        negated = of[0][0] is words.NEGATE
        found: list[str] = []
        for code, what in of:
            match code:
                case words.LITERAL:
                    found.append(chr(what))
                case words.RANGE:
                    found += [chr(n) for n in range(what[0], min(what[1], what[0] + 999) + 1)]
                case words.CATEGORY:
                    found += _OF.get(what, "")
                case _:
                    pass  # That it is negated.
        if negated:
            found = [c for c in _ANY + string.punctuation + "äΩ中" if c not in found]
        return self._character(found or ["a"])
