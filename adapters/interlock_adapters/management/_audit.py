"""What people changed through management: one structured line each, with who did it.

The lines go to the logger `interlock.audit` at INFO.  They hold names, numbers and digests, and
never content.  What happens to a task is in its own log; the version and the digest of the policy
that decided a call are there too, so that a line here and a call there can be brought together.
"""

import json
import logging
from typing import Final

from interlock import JsonValue
from interlock_adapters._callers.principal import Principal

_log: Final = logging.getLogger("interlock.audit")


def audit(who: Principal, action: str, **details: JsonValue) -> None:
    """Say that somebody changed something, once it is done."""
    said: dict[str, JsonValue] = {"action": action, "actor": who.owner, **details}
    # JSON: no name of anything can begin a line of its own.
    _log.info("%s", json.dumps(said, sort_keys=True), extra={"audit": said})
