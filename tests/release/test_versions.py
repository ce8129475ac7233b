"""The version is written once, in `pyproject.toml`, and everything else asks for it."""

import asyncio
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import interlock
from interlock import Engine, TaskContext
from interlock_adapters.telemetry import Telemetry
from release.__main__ import NotReadyError, checked_version
from release.building import epoch, released
from release.matrix import LEGS, PYTHONS, SLOW, SLOW_LEG

ROOT: Final = Path(__file__).parents[2]
DAY: Final = 1_795_910_400  #: 2026-11-29 in seconds since 1970


def project() -> dict[str, Any]:
    """The table of that name in `pyproject.toml`."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_the_package_says_its_version() -> None:
    """As it is installed, which is as it is written.  Source: R-REL-01."""
    assert interlock.__version__ == version("interlock")
    assert interlock.__version__ == project()["version"], "install it again: make test"


async def test_telemetry_says_the_version() -> None:
    """As the version of the scope of each span and metric.  Source: R-REL-01."""
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = Telemetry(tracers, MeterProvider(metric_readers=[metrics]))

    async def agent(_task: TaskContext) -> str:
        return "done"

    async with asyncio.timeout(60), Engine(agent, observer=telemetry) as engine:
        await (await engine.submit("A trip.", owner="ada")).result()
        told = metrics.get_metrics_data()
    assert told is not None
    scopes = [scope.scope for one in told.resource_metrics for scope in one.scope_metrics]
    scopes += [
        one.instrumentation_scope for one in spans.get_finished_spans() if one.instrumentation_scope
    ]
    assert {(scope.name, scope.version) for scope in scopes} == {
        ("interlock", interlock.__version__)
    }


def test_no_module_repeats_the_version() -> None:
    """A service and an agent have versions of their own, `version` in their settings.

    Source: R-REL-01.
    """
    own = re.compile(rf"""["']{re.escape(project()["version"])}["']""")
    settings = re.compile(r"^    version: str = Field\(")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for source in ("engine", "adapters")
        for path in sorted((ROOT / source).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if own.search(line) and not settings.match(line)
    ]
    assert not found, "\n".join(found)


def test_the_matrix_has_every_python_that_is_promised() -> None:
    """Lowest and highest versions on each.  Source: R-REL-02."""
    prefix = "Programming Language :: Python :: 3."
    promised = [line[-4:] for line in project()["classifiers"] if line.startswith(prefix)]
    assert list(PYTHONS) == promised
    assert project()["requires-python"] == f">={PYTHONS[0]}"
    names = [leg.name for leg in LEGS]
    assert names == [f"{python}-{end}" for python in PYTHONS for end in ("lowest", "highest")]
    assert SLOW_LEG in names
    for path in SLOW:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("version_", "changelog", "problem"),
    [
        ("0.1.0", "## [Unreleased]\n\n## [0.1.0] - 2026-11-29\n\nAll.\n", None),
        ("0.1.0", "## [0.1.0] - 2026-11-29\n\nAll.\n", None),
        ("0.2.0.dev0", "## [0.1.0] - 2026-11-29\n", "development version"),
        ("0.2.0", "## [0.1.0] - 2026-11-29\n", r"no section `## \[0.2.0\]"),
        ("0.1.0", "## [Unreleased]\n\nAll.\n", r"no section `## \[0.1.0\]"),
        ("0.1.0", "## [Unreleased]\n\n- New.\n\n## [0.1.0] - 2026-11-29\n", "move what is under"),
    ],
)
def test_a_release_is_refused_whose_changelog_is_not_ready(
    version_: str, changelog: str, problem: str | None
) -> None:
    """Nobody can look up what a version brings that the changelog does not have.

    Source: R-REL-08.
    """
    pyproject = f'[project]\nversion = "{version_}"\n'
    if problem is None:
        assert checked_version(pyproject, changelog) == version_
        return
    with pytest.raises(NotReadyError, match=problem):
        checked_version(pyproject, changelog)


def test_packed_files_have_the_day_of_the_release() -> None:
    """And no other time, so that the bytes depend on the files alone.  Source: R-REL-07."""
    changelog = "## [Unreleased]\n\n## [0.2.0] - 2026-11-29\n\n## [0.1.0] - 2026-11-01\n"
    found = released(changelog)
    assert found is not None
    assert found[0] == "0.2.0"
    assert epoch(changelog) == DAY
    assert released("## [Unreleased]\n") is None
    assert epoch("") < epoch("## [0.1.0] - 2026-01-02\n")
