"""`interlock worker`: runs the agents of a service whose tasks are on a store that others share.

Nobody reaches it but who asks for its health, and for its metrics if they are on.
"""

import argparse

from interlock_adapters.cli import _serve as cli_serve


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "target",
        nargs="?",
        default=cli_serve.APP,
        metavar="FILE.yaml|MODULE:NAME",
        help="a configuration, or where a Config is, or what makes one (default: %(default)s)",
    )
    cli_serve.listening(parser)
    parser.set_defaults(faces=False, turns=True)


def run(options: argparse.Namespace) -> int:
    """Work; exit codes as of `interlock serve`."""
    return cli_serve.run(options)
