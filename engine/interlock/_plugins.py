"""Plugins: objects of the service that have a say in every tool call.

A plugin is any object with some of these methods, plain or async:

* `normalize_args(tool, arguments)` gives the arguments to go on with;
* `before_tool(tool, arguments, policy)` gives another policy for this call, a `Refuse`, or None;
* `after_tool(tool, arguments, result)` gives the result to go on with, or None;
* `format_result(value)`, which is plain, gives the agent's final result to go on with;
* `instructions`, a text or a plain method, is added to what the agent is told.

They come in the order in which they were given.  What one raises fails the call, and is told
with the name of the plugin and the kind of the exception.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Final, cast

from interlock._json import own_copy
from interlock.errors import InvalidInput, PluginFailed, ResultInvalid
from interlock.models import JsonObject
from interlock.policy import Policy, Refuse
from interlock.tools import Tool, ToolResult

HOOKS: Final = ("normalize_args", "before_tool", "after_tool", "format_result", "instructions")


class Plugins:
    """The plugins of a toolbox, as one."""

    def __init__(self, plugins: Sequence[object], *, bytes_max: int) -> None:
        """Take them as they are.

        Raises:
            InvalidInput: one has none of the hooks.
        """
        self._plugins: Final = tuple(plugins)
        self._bytes_max: Final = bytes_max
        for plugin in plugins:
            if not any(hasattr(plugin, hook) for hook in HOOKS):
                why = f"plugin {name_of(plugin)!r} has none of: {', '.join(HOOKS)}"
                raise InvalidInput([why])

    async def normalized(self, tool: Tool, arguments: JsonObject) -> JsonObject:
        """The arguments that the call goes on with.

        Raises:
            PluginFailed: a plugin raised, or gave what is no JSON object.
        """
        for plugin in self._plugins:
            given = await _said(plugin, "normalize_args", arguments, tool, copy.deepcopy(arguments))
            arguments = self._object(plugin, given)
        return arguments

    async def policy(self, tool: Tool, arguments: JsonObject, policy: Policy) -> Policy | Refuse:
        """The policy of this call.

        Raises:
            PluginFailed: a plugin raised, or gave something else.
        """
        for plugin in self._plugins:
            said = await _said(plugin, "before_tool", None, tool, copy.deepcopy(arguments), policy)
            match said:
                case None:
                    pass
                case Refuse():
                    return said
                case Policy():
                    policy = said
                case _:
                    raise PluginFailed(name_of(plugin), "before_tool", type(said).__name__)
        return policy

    async def result(self, tool: Tool, arguments: JsonObject, result: ToolResult) -> ToolResult:
        """The result that the agent gets.

        Raises:
            PluginFailed: a plugin raised, or gave something else.
        """
        for plugin in self._plugins:
            said = await _said(plugin, "after_tool", None, tool, copy.deepcopy(arguments), result)
            if said is not None and not isinstance(said, ToolResult):
                raise PluginFailed(name_of(plugin), "after_tool", type(said).__name__)
            result = said or result
        return result

    def formatted(self, value: Any) -> Any:  # noqa: ANN401  whatever an agent comes to
        """The agent's final result as the task keeps it.

        Raises:
            PluginFailed: a plugin raised.
        """
        for plugin in self._plugins:
            hook = getattr(plugin, "format_result", None)
            if hook is None:
                continue
            try:
                value = hook(value)
            except Exception as error:  # noqa: BLE001  told by its kind, since it may hold a secret
                raise _failed(plugin, "format_result", error) from None
            _check_plain(plugin, "format_result", value)
        return value

    def instructions(self) -> str:
        """What the plugins add to what the agent is told; one paragraph each.

        Raises:
            PluginFailed: a plugin raised, or gave no text.
        """
        texts: list[str] = []
        for plugin in self._plugins:
            given = getattr(plugin, "instructions", "")
            try:
                text: object = given() if callable(given) else given
            except Exception as error:  # noqa: BLE001  told by its kind, since it may hold a secret
                raise _failed(plugin, "instructions", error) from None
            _check_plain(plugin, "instructions", text)
            if not isinstance(text, str):
                raise PluginFailed(name_of(plugin), "instructions", type(text).__name__)
            texts.append(text)
        return "\n\n".join(text for text in texts if text)

    def _object(self, plugin: object, given: object) -> JsonObject:
        try:
            copy = own_copy(given, what="the arguments", bytes_max=self._bytes_max)
        except ResultInvalid as error:
            raise _failed(plugin, "normalize_args", error) from None
        if not isinstance(copy, dict):
            raise PluginFailed(name_of(plugin), "normalize_args", type(given).__name__)
        return copy


def name_of(plugin: object) -> str:
    """What a plugin is called: its `name`, or its class."""
    name: object = getattr(plugin, "name", None)
    return name if isinstance(name, str) and name else type(plugin).__name__


async def _said(plugin: object, hook: str, otherwise: object, *given: object) -> object:
    """What a hook of a plugin gives, `otherwise` if it has none."""
    method = getattr(plugin, hook, None)
    if method is None:
        return otherwise
    try:
        said: object = method(*given)
        return await cast("Any", said) if inspect.isawaitable(said) else said
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  as above
        raise _failed(plugin, hook, error) from None


def _failed(plugin: object, hook: str, error: BaseException) -> PluginFailed:
    return PluginFailed(name_of(plugin), hook, type(error).__name__)


def _check_plain(plugin: object, hook: str, given: object) -> None:
    """See that a hook that is called where nobody can wait is no coroutine function.

    Raises:
        PluginFailed: it is.
    """
    if inspect.iscoroutine(given):
        given.close()
        raise PluginFailed(name_of(plugin), hook, "coroutine")
