"""The pytest plugin: the fixture `interlock_fuzz`, and the marker of that name.

    def test_my_service(interlock_fuzz):
        interlock_fuzz(shop.engine, runs=200)

The marker gives options to the fixture: `@pytest.mark.interlock_fuzz(runs=200, seed=7)`.

pytest loads this in every run of everybody: nothing of the engine is imported before a test
wants it, so that it costs nothing and is measured where coverage is.
"""

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from interlock.testing.fuzz._fixture import Fuzzes

MARKER: Final = "interlock_fuzz"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}(**options): options for the fixture {MARKER}, as `fuzz` takes them"
    )


@pytest.fixture
def interlock_fuzz(request: pytest.FixtureRequest) -> "Fuzzes":
    """Fuzz something: a failure is shown with its trace, and a test that reproduces it."""
    from interlock.testing.fuzz._fixture import fuzzes_for  # noqa: PLC0415

    marked: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(MARKER))):  # The closest one last.
        marked |= mark.kwargs
    return fuzzes_for(getattr(request, "module", None), marked)
