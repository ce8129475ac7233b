"""What importing the engine drags in: it is embedded, so it must be light."""

import json
import subprocess
import sys
from typing import Final

#: Top-level packages that only adapters may bring.
FOREIGN: Final = frozenset(
    {
        "a2a",
        "fastapi",
        "google",
        "grpc",
        "httpx",
        "interlock_adapters",
        "mcp",
        "opentelemetry",
        "smolagents",
        "starlette",
        "sse_starlette",
        "uvicorn",
    }
)
PROBE: Final = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
__import__(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


def modules_after_importing(module: str) -> set[str]:
    """The modules in a fresh interpreter that imported one."""
    found = subprocess.run(
        [sys.executable, "-c", PROBE, module, json.dumps(sys.path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(json.loads(found.stdout))


def packages_after_importing(module: str) -> set[str]:
    """The top-level packages of these."""
    return {name.partition(".")[0] for name in modules_after_importing(module)}


def test_importing_the_engine_brings_no_protocol_and_no_server() -> None:
    """Source: DESIGN 13, the engine knows no protocol, agent library or server, R-PKG-04."""
    assert packages_after_importing("interlock") & FOREIGN == set()


def test_importing_the_adapters_package_brings_no_adapter() -> None:
    """Each adapter is imported by name, so that each extra stands alone.  Source: STYLE 2.2."""
    brought = packages_after_importing("interlock_adapters") & FOREIGN
    assert brought == {"interlock_adapters"}


def test_importing_a_service_brings_no_command_and_nothing_for_tests() -> None:
    """Who serves an engine of his own has no use for them.  Source: R-SVC-36, STYLE 2.2."""
    brought = modules_after_importing("interlock_adapters.service")
    unused = ("interlock_adapters.cli", "interlock_adapters.demo", "interlock.testing")
    assert [name for name in sorted(brought) if name.startswith(unused)] == []
