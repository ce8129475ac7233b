"""Whoever uses the packages has their types.  `make typed` asks pyright.  Source: R-REL-11."""

from typing import Any

import pytest

from release.typed import judged


def said(score: float, *unknown: str) -> dict[str, Any]:
    """What pyright says of a package with these names without a type, beside one that has it."""
    fault = {"severity": "error", "message": "Type is missing\n  so it is"}
    return {
        "completenessScore": score,
        "symbols": [
            {"name": "a.known", "isExported": True, "isTypeKnown": True, "diagnostics": []},
            *(
                {"name": name, "isExported": True, "isTypeKnown": False, "diagnostics": [fault]}
                for name in unknown
            ),
        ],
    }


@pytest.mark.parametrize(("score", "enough"), [(1.0, True), (0.98, True), (0.979, False)])
def test_two_names_in_a_hundred_may_have_no_type(score: float, *, enough: bool) -> None:
    """Fewer is a failure.  Source: R-REL-11."""
    assert judged("a", said(score))[0] is enough


def test_what_has_no_type_is_named() -> None:
    """With the first line of the reason.  Source: R-REL-11."""
    _, text = judged("a", said(0.99, "a.b"))
    assert text == (
        "a: 99.0 % of the public names are typed, at least 98 % are due\n  a.b: Type is missing"
    )


def test_a_package_that_was_not_found_is_not_typed() -> None:
    """Of nothing, everything is known.  Source: R-REL-11."""
    enough, _ = judged("a", {"completenessScore": 1.0, "symbols": []})
    assert not enough
