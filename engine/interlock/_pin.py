"""What was decided of a tool call when it was first met, and how the log keeps that."""

from dataclasses import dataclass
from typing import Final, cast

from interlock._call import MESSAGE_CHARS_MAX
from interlock._json import storable
from interlock._payload import CallAbout
from interlock.errors import EngineError, PluginFailed, ToolRefused
from interlock.models import JsonObject
from interlock.policy import Policy
from interlock.tools import Tool

#: Characters of one thing that is wrong with a call.
PROBLEM_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Pin:
    """What was decided of a call when it was first met."""

    #: `source/name`: nothing of this is for another tool.
    tool: str
    policy: Policy
    rule: str
    version: int
    #: Stands for the policy that the rule says, before plugins had their say.
    base: str
    #: What the plugins made of the agent's arguments.
    arguments: JsonObject
    #: What is kept of the policy.
    said: JsonObject
    #: The policy that the rule says, unless this comes from the log.
    decided: Policy | None = None

    def to_json(self, requested: JsonObject) -> JsonObject:
        """For the log, with what the agent wanted."""
        return {
            "tool": self.tool,
            "rule": self.rule,
            "version": self.version,
            "base": self.base,
            "policy": self.said,
            "arguments": self.arguments,
            "requested": requested,
        }

    def about(self, tool: Tool) -> CallAbout:
        """What the log says of a call that was let through."""
        policy: JsonObject = {"rule": self.rule, "version": self.version, **self.said}
        return {"tool": tool.qualified, "policy": policy}


def pin_of(said: JsonObject) -> Pin:
    """What was decided, by the log."""
    policy = cast("JsonObject", said["policy"])
    confirm = policy.get("confirm")
    if isinstance(confirm, dict) and "predicate" in confirm:
        # Of a function there is only the name; whether it would say so again nobody knows.
        policy = {**policy, "confirm": "always"}
    return Pin(
        cast("str", said["tool"]),
        Policy.model_validate(policy),
        cast("str", said["rule"]),
        cast("int", said["version"]),
        cast("str", said["base"]),
        cast("JsonObject", said["arguments"]),
        cast("JsonObject", said["policy"]),
    )


def refusal_json(error: EngineError) -> JsonObject:
    """Why a call is not made, for the log."""
    said: JsonObject = {"code": error.code, "message": storable(str(error), MESSAGE_CHARS_MAX)}
    match error:
        case ToolRefused():
            said["problems"] = [storable(problem, PROBLEM_CHARS_MAX) for problem in error.problems]
        case PluginFailed():
            said |= {"plugin": error.plugin, "hook": error.hook, "kind": error.kind}
        case _:
            said["problems"] = [storable(str(error), MESSAGE_CHARS_MAX)]
    return said


def refusal_of(said: JsonObject, name: str) -> EngineError:
    """The error that the agent gets, the first time as at every replay."""
    if said["code"] == PluginFailed.code:
        return PluginFailed(str(said["plugin"]), str(said["hook"]), str(said["kind"]))
    return ToolRefused(name, [str(problem) for problem in cast("list[str]", said["problems"])])
