"""Words for yes and no: a text as a whole is one of them, or it decides nothing."""

import pytest

from interlock.errors import InvalidInput
from interlock_adapters.vocabulary import ENGLISH_AND_CHINESE, Verdict, Vocabulary

#: Written out again, on purpose: a word that is added or lost is a decision.
YES = (
    "true 1 yes y ok approve approved confirm confirmed accept accepted allow allowed authorize "
    "authorized grant granted 同意 确认 批准 允许 可以 是 好的 继续 通过"
)
NO = "false 0 no n deny denied reject rejected cancel cancelled 取消 拒绝 不同意 否 不行 停止"


@pytest.mark.parametrize(
    ("word", "verdict"),
    [*((word, "approve") for word in YES.split()), *((word, "deny") for word in NO.split())],
)
def test_a_word_decides_however_it_is_cased_and_spaced(word: str, verdict: Verdict) -> None:
    """Source: facts/agent-runtime-sdk.md 2.6: exact text after strip and lower."""
    for text in (word, word.upper(), f"  {word}\n"):
        assert ENGLISH_AND_CHINESE.verdict(text) == verdict


def test_there_are_no_other_words() -> None:
    """Each one that is added can approve something."""
    assert ENGLISH_AND_CHINESE.approve == set(YES.split())
    assert ENGLISH_AND_CHINESE.deny == set(NO.split())


@pytest.mark.parametrize(
    "text",
    ["", " ", "yes please", "Yes.", "yes, but not today", "no, wait", "okay", "sure", "stop", "好",
     "不", "不是", "1.0", "true false", '{"approve": true}', "y e s", "\uff59\uff45\uff53", "是的"],
)  # fmt: skip
def test_whatever_is_neither_decides_nothing(text: str) -> None:
    """Source: facts/agent-runtime-sdk.md 2.6, "undecided in practice", R-A2A-05."""
    assert ENGLISH_AND_CHINESE.verdict(text) is None


@pytest.mark.parametrize(
    ("yes", "no", "problem"),
    [
        ({"oui"}, {"oui"}, "'oui' is both yes and no"),
        ({"Oui"}, {"non"}, "'Oui' can be no word"),
        ({"oui"}, {" non"}, "' non' can be no word"),
        ({""}, {"non"}, "'' can be no word"),
    ],
)
def test_a_vocabulary_has_words_that_can_be_found(
    yes: set[str], no: set[str], problem: str
) -> None:
    """One that could not would be a surprise at the worst moment."""
    with pytest.raises(InvalidInput) as caught:
        Vocabulary(frozenset(yes), frozenset(no))
    assert problem in str(caught.value)


def test_the_words_are_told() -> None:
    """To whoever said something else."""
    told = Vocabulary(frozenset({"oui", "d'accord"}), frozenset({"non"})).accepted()
    assert told == "a text that is one of d'accord, oui (yes) or non (no)"
