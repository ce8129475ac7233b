"""Where the peers of claims live, and what they take: packages, bytes, licences."""

from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from bench._place import ROOT, Place

#: What is longer is the text of a licence, and not its name.
LICENCE_CHARS_MAX: Final = 60


def _of(name: str, *pins: str, newer: bool = False) -> tuple[str, Place]:
    return name, Place(f"claims/{name}", pins, newer=newer)


#: Nothing here but what each needs, since it is counted: `bench._place` has faster servers, too.
PEERS: Final = dict(
    (
        _of("interlock", str(ROOT)),
        _of("interlock-a2a", f"{ROOT}[a2a,server]"),
        _of("interlock-all", f"{ROOT}[all]"),
        # With mcp 2 it does not start.
        _of("agent-runtime-sdk", "agent-runtime-sdk==0.1.1", "mcp[ws]>=1.10,<2", newer=True),
        _of("a2a-sdk", "a2a-sdk[http-server,sqlite]==1.3.0", "uvicorn>=0.40"),
        _of("fasta2a", "fasta2a==2.1.1"),
        _of("fastmcp-tasks", "fastmcp==4.1.4", "fastmcp-tasks==4.1.4"),
        _of("langgraph", "langgraph==1.2.22", "langgraph-checkpoint-sqlite>=3"),
        _of("dbos", "dbos==3.4.0"),
        _of("temporalio", "temporalio==1.35.0"),
        _of("restate", "restate-sdk==1.3.0", "hypercorn>=0.18"),
        _of("python-statemachine", "python-statemachine==3.2.2"),
        _of("xstate-statemachine", "xstate-statemachine==0.11.0"),
    )
)


def made(name: str) -> Path:
    """The interpreter of a peer; its first call makes the environment.

    Raises:
        RuntimeError: it cannot be made, or the Python that it needs is not there.
    """
    place = PEERS[name]
    stamp, project = place.home / "installed", ROOT / "pyproject.toml"
    old = stamp.exists() and stamp.stat().st_mtime < project.stat().st_mtime
    # Ours may want other packages by now; a peer's pins say all.
    if old and name.startswith("interlock"):
        stamp.unlink()
    return place.python()


def tree(name: str) -> tuple[int, float]:
    """How many packages its environment has beside pip, and their size in MB (1,000,000 bytes)."""
    site = _site(name)
    there = [one for one in distributions(path=[str(site)]) if one.name != "pip"]
    return len(there), sum(map(_bytes, there)) / 1e6


def version_of(name: str, package: str = "") -> str:
    """Of the package, as it is installed; "-" if it is not."""
    site = _site(name)
    wanted = package or name
    return next((one.version for one in distributions(name=wanted, path=[str(site)])), "-")


def licence_of(name: str, package: str = "") -> str:
    """As the package's metadata has it, in one word if there is one."""
    site = _site(name)
    for one in distributions(name=package or name, path=[str(site)]):
        told = one.metadata.json
        said = str(told.get("license_expression") or told.get("license") or "")
        classified = [
            line.rpartition(" :: ")[2]
            for line in told.get("classifier", [])
            if line.startswith("License :: ")
        ]
        return said if 0 < len(said) < LICENCE_CHARS_MAX else ", ".join(classified) or "-"
    return "-"


def _site(name: str) -> Path:
    (site,) = PEERS[name].home.glob("lib/python3*/site-packages")
    return site


def _bytes(package: Distribution) -> int:
    """As it was installed: what was compiled on the way or later is not counted."""
    paths = [Path(str(file.locate())) for file in package.files or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())
