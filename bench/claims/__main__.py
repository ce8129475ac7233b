"""What is said of peers on the page of comparison, seen by running them.

    python -m bench.claims [NAME ...]

Each program of this folder is one claim, which the first line of its docstring says.  It runs in
the environment of its peer and says what it saw.  Installs the peers on the first run (600 MB);
after that it takes a minute.  One that is no longer so is a FAIL: then the page has to change.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench._place import ROOT
from bench._report import Bar, Report, Table
from bench.claims._place import PEERS, licence_of, made, tree, version_of

FOLDER: Final = Path(__file__).parent
#: Seconds that one may take.
_RUN_S: Final = 180

#: Which peer a program is about, by how its name begins.
ABOUT: Final = {
    "a2a_sdk": "a2a-sdk",
    "ars": "agent-runtime-sdk",
    "dbos": "dbos",
    "fasta2a": "fasta2a",
    "fastmcp": "fastmcp-tasks",
    "interlock": "interlock",
    "langgraph": "langgraph",
    "python_statemachine": "python-statemachine",
    "restate": "restate",
    "temporal": "temporalio",
    "xstate": "xstate-statemachine",
}
#: The package whose version and licence count, where it is not called as its peer is.
PACKAGE: Final = {
    "restate": "restate-sdk",
    "interlock-a2a": "interlock",
    "interlock-all": "interlock",
}


def programs() -> list[str]:
    """The names of all claims."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def claim_of(name: str) -> str:
    """What a program claims."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def peer_of(name: str) -> str:
    """Whom a program is about."""
    return next(peer for begins, peer in ABOUT.items() if name.startswith(begins))


def _seen(name: str, python: Path) -> tuple[bool, str]:
    paths = [ROOT, ROOT / "tests", *(ROOT / part for part in ("engine", "adapters"))]
    ours = peer_of(name) == "interlock"
    done = subprocess.run(
        [sys.executable if ours else python, "-W", "ignore", "-m", f"bench.claims.{name}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths if ours else paths[:2]))},
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_S,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"holds"')]
    if not lines:
        return False, f"it did not run: {done.stderr.strip()[-300:]}"
    said = json.loads(lines[-1])
    return said["holds"], said["seen"]


def _claims(names: list[str]) -> tuple[Table, list[bool]]:
    rows: list[tuple[str, ...]] = []
    held: list[bool] = []
    for name in names:
        peer = peer_of(name)
        holds, seen = _seen(name, made(peer))
        print(f"{'PASS' if holds else 'FAIL'}  {name}: {seen}", flush=True)
        version = version_of(peer, PACKAGE.get(peer, ""))
        whom = f"{peer} {version}"
        rows.append((f"`{name}`", whom, claim_of(name).partition(": ")[2], _cell(seen)))
        held.append(holds)
    header = ("program", "of", "claim", "what was seen")
    return Table("Claims", header, rows), held


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _trees() -> Table:
    rows: list[tuple[str, ...]] = []
    for peer, place in PEERS.items():
        made(peer)
        packages, megabytes = tree(peer)
        pins = ", ".join(pin.replace(str(ROOT), "interlock") for pin in place.pins)
        licence = licence_of(peer, PACKAGE.get(peer, ""))
        rows.append((peer, pins, str(packages), f"{megabytes:.0f}", licence))
    return Table(
        "Installed into an empty environment", ("of", "what", "packages", "MB", "licence"), rows
    )


def _main() -> None:
    wanted = sys.argv[1:]
    if unknown := {*wanted} - {*programs()}:
        sys.exit(f"no such claims: {', '.join(sorted(unknown))}")
    claims, held = _claims(wanted or programs())
    bar = Bar("claims that are so", sum(held), len(held), least=True)
    report = Report("claims", "What is said of peers, seen by running them", [claims], [bar])
    if not wanted:
        report.tables.append(_trees())
    report.finish(keep=not wanted)


if __name__ == "__main__":
    _main()
