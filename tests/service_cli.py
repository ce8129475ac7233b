"""The commands of a service, as `interlock` has them: for tests that start them as processes."""

import argparse
import sys

from interlock_adapters.cli import _check as cli_check
from interlock_adapters.cli import _init as cli_init
from interlock_adapters.cli import _serve as cli_serve
from interlock_adapters.cli import _token as cli_token
from interlock_adapters.cli import _worker as cli_worker

COMMANDS = {
    "serve": cli_serve,
    "check": cli_check,
    "init": cli_init,
    "token": cli_token,
    "worker": cli_worker,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one of them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="interlock")
    add = parser.add_subparsers(required=True).add_parser
    for name, command in COMMANDS.items():
        declared = add(name)
        command.declare(declared)
        declared.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
