"""Names of attributes and metrics: OpenTelemetry's where its conventions have one, else ours."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from interlock import CallSeen, JsonValue, Usage
from interlock_adapters._redact import Value

__all__ = ["OTHER", "Langfuse", "kind_of", "safe_code", "usage_of"]

#: What stands for an error whose name an agent may have made up.
OTHER: Final = "_OTHER"
#: Codes of ours, and names of classes.
_CODE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Langfuse:
    """Attributes by which Langfuse groups traces: on every span the session, user and tags.

    The session is the task's context.  The user is its owner, which names a person: `user` makes
    something else of it, such as a digest; None leaves it out.
    """

    tags: tuple[str, ...] = ()
    user: Callable[[str], str | None] = str

    def attributes(self, owner: str, context_id: str) -> dict[str, Value | None]:
        """What every span of a task of that owner and context carries."""
        return {
            "langfuse.session.id": context_id,
            "langfuse.user.id": self.user(owner),
            "langfuse.trace.tags": self.tags or None,
        }


def safe_code(code: str) -> str:
    """A code or kind of exception; `OTHER` where it may be a text of an agent's."""
    return code if not code or _CODE.fullmatch(code) else OTHER


def usage_of(call: CallSeen, outcome: str, value: JsonValue) -> Usage | None:
    """The tokens of a model's call; None where nobody says them."""
    if call.model is None or call.model.usage is None or outcome != "returned":
        return None
    try:
        return call.model.usage(value)
    except Exception:  # noqa: BLE001  it is the agent's own, and the answer may be of any form
        return None


def kind_of(call: CallSeen) -> str:
    """What is called: a `tool`, a `model` or a `function`."""
    if call.tool:
        return "tool"
    return "function" if call.model is None else "model"
