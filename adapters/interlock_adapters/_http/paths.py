"""Where the faces of a service are that are not put elsewhere by its configuration."""

from typing import Final

CONSOLE: Final = "/console"
MANAGE: Final = "/manage"
METRICS: Final = "/metrics"
HEALTH: Final = "/healthz"
READY: Final = "/readyz"
WELL_KNOWN: Final = "/.well-known"

#: Where a face may be put: what clients send as it is, and routers take for nothing else.
PATH: Final = r"^/[^\s?#{}]*$"

#: What no face may be put at.
OWN_PATHS: Final = (CONSOLE, HEALTH, MANAGE, METRICS, READY, WELL_KNOWN)
