"""The console: pages on which people see tasks, answer and approve, and operators act.

    sessions = Sessions(authenticator)
    Starlette(routes=console_routes(managed, sessions=sessions, url="https://tasks.example"))

Pages are rendered here and work without JavaScript; with it they change while one looks.  They
load nothing from elsewhere.  Everything that a task or a caller said is escaped, and what people
may see and do goes through `Access`.
"""

try:
    from interlock_adapters.console._pulse import Pulse
    from interlock_adapters.console._routes import (
        PUBLIC_PATHS,
        SIGN_IN_PATH,
        HasEngine,
        console_routes,
    )
    from interlock_adapters.console._sessions import COOKIE, Session, Sessions
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.console needs the service extra: pip install 'interlock[service]'",
        name=_missing.name,
    ) from _missing

__all__ = [
    "COOKIE",
    "PUBLIC_PATHS",
    "SIGN_IN_PATH",
    "HasEngine",
    "Pulse",
    "Session",
    "Sessions",
    "console_routes",
]
