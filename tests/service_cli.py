"""The commands of a service, as `interlock` has them: for tests that start them as processes."""

import argparse
import sys

from interlock_adapters import _cli_check, _cli_init, _cli_serve, _cli_token, _cli_worker

COMMANDS = {
    "serve": _cli_serve,
    "check": _cli_check,
    "init": _cli_init,
    "token": _cli_token,
    "worker": _cli_worker,
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
