"""`interlock token`: makes a bearer token, and the line by which a service knows it."""

import argparse
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from interlock.errors import InvalidInput
from interlock_adapters._callers.principal import Role
from interlock_adapters.cli._common import MISUSED, OK, complain
from interlock_adapters.cli._serve import without_extra

_ROLES: Final = tuple(role.value for role in Role)
_TIMES: Final = {"h": 3_600, "d": 86_400, "w": 604_800}


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--subject", required=True, help="whose it is: ada, or ci-deployments")
    parser.add_argument(
        "--role",
        action="append",
        default=[],
        choices=_ROLES,
        dest="roles",
        help="what its owner may do besides using tasks of their own; may be repeated",
    )
    parser.add_argument("--tenant", default="", help="to whose tasks it is limited")
    parser.add_argument("--name", default="", help="how its owner is called on pages")
    parser.add_argument(
        "--expires", type=_lifetime, metavar="90d", help="for how long it is good: h, d or w"
    )


def run(options: argparse.Namespace) -> int:
    """Make a token: it goes to the standard output alone, what the file gets to the other."""
    try:
        from interlock_adapters.auth import (  # noqa: PLC0415  an extra
            BearerTokens,
            TokenEntry,
            hashed,
            new_token,
        )
    except ModuleNotFoundError as missing:
        return without_extra(missing)
    token = new_token()
    expires = None
    if options.expires is not None:
        expires = (datetime.now(UTC) + timedelta(seconds=options.expires)).replace(microsecond=0)
    try:
        entry = TokenEntry(
            hash=hashed(token),
            subject=options.subject,
            tenant=options.tenant,
            roles=frozenset(options.roles),
            name=options.name,
            expires_at=expires,
        )
        BearerTokens([entry])  # Else the service that is given its line would not start.
    except InvalidInput as error:
        return complain(error.problems[0].removeprefix("entry 0: "), MISUSED)
    except ValueError:
        return complain("a subject of 1 to 256 characters is accepted", MISUSED)
    sys.stderr.write(
        "The token is shown this once; give it to its owner and keep it nowhere else.\n"
        "What the service knows it by, for auth.tokens (or the file auth.tokens_file):\n\n"
    )
    line = _yaml_line(entry.model_dump(mode="json", exclude_defaults=True))
    sys.stderr.write(f"    - {line}\n\n")
    sys.stderr.flush()
    sys.stdout.write(f"{token}\n")
    return OK


def _yaml_line(entry: dict[str, Any]) -> str:
    """An entry as one line of YAML, which JSON is."""
    items = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items())
    return f"{{{', '.join(items)}}}".replace("${", "$${")


def _lifetime(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 12h, 90d or 52w")
    return int(found[1]) * _TIMES[found[2]]
