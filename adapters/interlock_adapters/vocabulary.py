"""Words that stand for a decision, for clients that can send nothing but text.

Off by default, and not the contract: a decision names the ask and the digest of what it is
about, a word names neither.  It decides only where a deployment has configured a vocabulary,
the policy of the tool says `by_text`, and that one confirmation is all that is asked.

The text as a whole must be a word, but for the space around it and its case: "yes, but"
is neither yes nor no, and whatever is neither decides nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from interlock.errors import InvalidInput

__all__ = ["ENGLISH_AND_CHINESE", "Verdict", "Vocabulary"]

Verdict: TypeAlias = Literal["approve", "deny"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words for yes and the words for no, in lower case and without space around them."""

    approve: frozenset[str]
    deny: frozenset[str]

    def __post_init__(self) -> None:
        """Refuse words that would never be found, or found twice.

        Raises:
            InvalidInput: there are such words.
        """
        problems = [
            f"{word!r} can be no word: it is empty, has space around it or is not in lower case"
            for word in sorted(self.approve | self.deny)
            if not word or word != _said(word)
        ]
        problems += [f"{word!r} is both yes and no" for word in sorted(self.approve & self.deny)]
        if problems:
            raise InvalidInput(problems)

    def verdict(self, text: str) -> Verdict | None:
        """What a text decides; None for nothing."""
        word = _said(text)
        if word in self.approve:
            return "approve"
        return "deny" if word in self.deny else None

    def accepted(self) -> str:
        """The words, for people."""
        return f"a text that is one of {_listed(self.approve)} (yes) or {_listed(self.deny)} (no)"


def _said(text: str) -> str:
    return text.strip().lower()


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


#: One line for each word, with the forms of it that count.
_YES: Final = """
    true 1
    yes y ok
    approve approved
    confirm confirmed
    accept accepted
    allow allowed
    authorize authorized
    grant granted
    同意 确认 批准 允许 可以 是 好的 继续 通过
"""
_NO: Final = """
    false 0
    no n
    deny denied
    reject rejected
    cancel cancelled
    取消 拒绝 不同意 否 不行 停止
"""

#: The words of agent-runtime-sdk 0.1.0, whose clients know them.
ENGLISH_AND_CHINESE: Final = Vocabulary(frozenset(_YES.split()), frozenset(_NO.split()))
