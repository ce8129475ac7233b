"""`python -m release.typed`: how much of the public interface has types for whoever uses it.

Asked of pyright, as it sees an installed package that says `py.typed`.
"""

# ruff: noqa: T201  (it prints its findings)

import json
import os
import subprocess
import sys
from typing import Any, Final

PACKAGES: Final = ("interlock", "interlock_adapters")
#: Of the public symbols, in percent.  What smolagents leaves untyped cannot be typed by us.
FLOOR: Final = 98.0
_PYRIGHT_S: Final = 300


def report(package: str) -> dict[str, Any]:
    """What pyright says of the types of a package.

    Raises:
        RuntimeError: it said nothing that can be read, and the message is what it did say.
    """
    done = subprocess.run(
        (
            *(sys.executable, "-m", "pyright", "--outputjson"),
            *("--verifytypes", package, "--ignoreexternal"),
        ),
        # It does not look into an editable installation.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PYRIGHT_S,
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        raise RuntimeError(f"pyright: {done.stdout}{done.stderr}") from None
    return said


def judged(package: str, said: dict[str, Any]) -> tuple[bool, str]:
    """Whether enough of it is typed, and a text that names what is not."""
    score = 100 * said["completenessScore"]
    lines = [
        f"{package}: {score:.1f} % of the public names are typed, at least {FLOOR:.0f} % are due"
    ]
    lines += [
        f"  {symbol['name']}: {fault['message'].splitlines()[0]}"
        for symbol in said["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"]
        for fault in symbol["diagnostics"]
        if fault["severity"] == "error"
    ]
    # A package that was not found has no symbols, and nothing of nothing is missing.
    return score >= FLOOR and bool(said["symbols"]), "\n".join(lines)


def main() -> int:
    """0 if enough is typed in each package, 1 if not."""
    verdicts = [judged(package, report(package)) for package in PACKAGES]
    print("\n".join(text for _, text in verdicts))
    return 0 if all(enough for enough, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
