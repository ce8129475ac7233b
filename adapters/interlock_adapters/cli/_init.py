"""`interlock init`: a project that runs as it is, without a key or a network."""

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from interlock_adapters.cli._common import FAILED, OK, complain

#: What is written where, and what it is written from.
FILES: Final = {
    "app.yaml": "app.yaml.txt",
    "agent.py": "agent.py.txt",
    "policies.yaml": "policies.yaml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    "conftest.py": "conftest.py.txt",
    "tests/test_agent.py": "test_agent.py.txt",
}


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where to; it is made if it is not there (default: here)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the files; 1 if one of them is there already, and then nothing is written."""
    directory: Path = options.directory
    there = [name for name in FILES if (directory / name).exists()]
    if there:
        return complain(
            f"{directory / there[0]} is there already, and nothing is overwritten; "
            "a directory without it is accepted",
            FAILED,
        )
    templates = files("interlock_adapters.cli").joinpath("_init_project")
    try:
        for name, template in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # It fails for what came between.
            with path.open("x", encoding="utf-8") as file:
                file.write(templates.joinpath(template).read_text(encoding="utf-8"))
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}", FAILED)
    first = "" if directory == Path() else f"cd {directory} && "
    sys.stdout.write(
        "".join(f"  {directory / name}\n" for name in FILES)
        + f'Now: {first}interlock serve --submit "Plan me a trip, please."\n'
    )
    return OK
