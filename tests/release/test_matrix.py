"""What the matrix makes of what pytest and uv say.  `make matrix` runs it."""

from pathlib import Path
from typing import Any

import pytest

from release import matrix
from release.matrix import LEGS, Leg, Result, chosen, counts, interpreters, known, untrue_bounds

PROJECT: dict[str, Any] = {
    "name": "interlock",
    "dependencies": ["pydantic>=2.12"],
    "optional-dependencies": {
        "yaml": ["PyYAML>=6.0.2", "colorama>=1; sys_platform == 'none'"],
        "all": ["interlock[yaml]"],
        "dev": ["ruff>=99"],
    },
}


def result(**other: Any) -> Result:  # noqa: ANN401  (any field)
    """What came of a leg on which all is well."""
    well = Result("3.11-lowest", "abc", "3.11.7", {"mcp": "2.3.0"}, 7, 0, 1, 12.3, [])
    return well._replace(**other)


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ({"pydantic": "2.12.0", "pyyaml": "6.0.2"}, []),
        (
            {"pydantic": "2.12.1", "pyyaml": "6.0.2"},
            ["pydantic>=2.12 is declared, and 2.12.1 was tested"],
        ),
        (
            {"pydantic": "2.12", "pyyaml": "6.0.3"},
            ["pyyaml>=6.0.2 is declared, and 6.0.3 was tested"],
        ),
    ],
)
def test_a_lower_bound_is_a_version_that_was_tested(
    installed: dict[str, str], found: list[str]
) -> None:
    """One that nothing ever ran with is a guess.  Source: R-REL-03."""
    assert untrue_bounds(PROJECT, installed) == found


def test_a_dependency_has_a_lower_bound() -> None:
    """Without one the oldest that was ever published is promised.  Source: R-REL-03."""
    project: dict[str, Any] = {
        "name": "interlock",
        "dependencies": ["pydantic<3"],
        "optional-dependencies": {},
    }
    assert untrue_bounds(project, {"pydantic": "0.0.1"}) == ["pydantic has no lower bound"]


def test_the_report_of_pytest_is_counted(tmp_path: Path) -> None:
    """An error outside of a test is a failure too.  Source: R-REL-02."""
    report = tmp_path / "junit.xml"
    report.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure/></testcase>"
        "<testcase name='c'><error/></testcase><testcase name='d'><skipped/></testcase>"
        "<testcase name='e'><properties/></testcase></testsuite></testsuites>",
        encoding="utf-8",
    )
    assert counts(report) == (2, 2, 1)


@pytest.mark.parametrize(
    ("other", "is_green"),
    [({}, True), ({"failed": 1}, False), ({"passed": 0}, False), ({"untrue": ["x"]}, False)],
)
def test_a_leg_is_green_if_all_of_it_is(other: dict[str, Any], *, is_green: bool) -> None:
    """A leg in which nothing ran is not.  Source: R-REL-02."""
    assert result(**other).is_green is is_green


def test_a_green_leg_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless what is tested has changed, or it was red.  Source: R-REL-02."""
    monkeypatch.setattr(matrix, "PLACE", tmp_path)
    leg = Leg("3.11", "lowest")
    assert known(leg, "abc") is None
    matrix.kept(leg, result())
    assert known(leg, "abc") == result()
    assert known(leg, "def") is None
    matrix.kept(leg, result(failed=1))
    assert known(leg, "abc") is None
    (leg.place / "result.json").write_text("{", encoding="utf-8")
    assert known(leg, "abc") is None


def test_legs_are_asked_for_by_name() -> None:
    """A name that is none says what there is.  Source: R-REL-02."""
    assert chosen([]) == list(LEGS)
    assert chosen(["3.12-highest"]) == [Leg("3.12", "highest")]
    with pytest.raises(ValueError, match=r"no leg 3\.9-highest; there are: 3\.11-lowest,"):
        chosen(["3.9-highest"])


def test_a_python_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are missing, at once, and before anything is run.  Source: R-REL-02."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(LookupError, match=r"no Python 3\.98, 3\.99 on PATH"):
        interpreters(["3.98", "3.99"])
