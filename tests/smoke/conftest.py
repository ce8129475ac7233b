"""What the smoke is of: the sdist and the wheel, built once."""

from pathlib import Path

import pytest

from release.building import Built, built


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, the wheel from the sdist, so that the sdist is known to be enough."""
    return built(tmp_path_factory.mktemp("build") / "dist")


@pytest.fixture(scope="session")
def wheel(dist: Built) -> Path:
    """The wheel."""
    return dist.wheel
