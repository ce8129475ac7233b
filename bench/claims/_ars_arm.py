"""An agent on agent-runtime-sdk, and a client of its A2A face; runs where that package is.

Its model follows a script, its tools are a plugin's, and its one MCP server (it must have one)
is disabled.
"""

import importlib
import itertools
import json
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

smolagents: Final[Any] = importlib.import_module("smolagents")
models: Final[Any] = importlib.import_module("smolagents.models")
monitoring: Final[Any] = importlib.import_module("smolagents.monitoring")
runtime: Final[Any] = importlib.import_module("agent_runtime")
registry: Final[Any] = importlib.import_module("agent_runtime.model_registry")
plugins: Final[Any] = importlib.import_module("agent_runtime.plugins")

#: The calls of one message of the model: a tool's name and its arguments.
Step = Sequence[tuple[str, dict[str, Any]]]
_NUMBERS: Final = itertools.count(1)


def _model_of(steps: Sequence[Step]) -> type:
    class Scripted(smolagents.Model):  # type: ignore[misc]  # in the peer's environment only
        def __init__(self, **_: Any) -> None:  # noqa: ANN401
            super().__init__(model_id="scripted")  # pyright: ignore[reportUnknownMemberType]
            self._steps = iter(steps)

        def generate(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
            return smolagents.ChatMessage(
                role=smolagents.MessageRole.ASSISTANT,
                content="",
                tool_calls=[_call(*call) for call in next(self._steps)],
                token_usage=monitoring.TokenUsage(input_tokens=1, output_tokens=1),
            )

    return Scripted


def _call(name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    function = models.ChatMessageToolCallFunction(name=name, arguments=arguments)
    return models.ChatMessageToolCall(id=uuid.uuid4().hex, type="function", function=function)


def app_of(
    steps: Sequence[Step], tool: Callable[..., str], *, port: int = 9, confirm: bool = True
) -> Any:  # noqa: ANN401
    """Its application, as its builder makes it."""
    os.environ["MCP_AGENT_LANGFUSE_ENABLED"] = "false"
    registry.ModelRegistry.register("scripted", _model_of(steps))

    class Plugin(plugins.BaseAgentPlugin):  # type: ignore[misc]  # as above
        def extra_tools(self, _definition: object) -> list[Any]:
            return [smolagents.tool(tool)]

    builder = runtime.AgentBuilder()
    builder.model(provider="scripted", model_id="-", api_base="-", api_key="-")
    builder.agent_info(agent_id="claim", name="claim", description="Does what it is told.")
    builder.add_mcp(name="none", url="http://127.0.0.1:9/mcp", enabled=False)
    builder.tool_policy(tool.__name__, requires_confirmation=confirm)
    builder.plugin(Plugin())
    return builder.build_a2a_app(public_url=f"http://127.0.0.1:{port}", enable_management=False)


def quiet() -> int:
    """Throw away what is printed, as smolagents does every step; gives the old place."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return kept


async def call(app: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """One call of JSON-RPC over HTTP, by ASGI; what came back."""
    httpx: Any = importlib.import_module("httpx")
    body = {"jsonrpc": "2.0", "id": "1", "method": method, "params": params}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as client:
        answer: dict[str, Any] = json.loads((await client.post("/", json=body, timeout=30)).text)
    return answer


def message(*parts: Any, task: str = "") -> dict[str, Any]:  # noqa: ANN401
    """The parameters of message/send: texts and data, to a task if there is one."""
    said: dict[str, Any] = {
        "kind": "message",
        "messageId": str(next(_NUMBERS)),
        "role": "user",
        "parts": [
            {"kind": "text", "text": part}
            if isinstance(part, str)
            else {"kind": "data", "data": part}
            for part in parts
        ],
    }
    if task:
        said["taskId"] = task
    return {"message": said}


def shown(task: dict[str, Any]) -> dict[str, Any]:
    """What an `auth-required` asks about."""
    (part,) = task["status"]["message"]["parts"]
    data: dict[str, Any] = part["data"]
    return data


def tool_noting(path: Path) -> Callable[..., str]:
    """A tool that leaves a mark of what it paid."""

    def pay(amount: int) -> str:
        """Pays an amount.

        Args:
            amount: How much.
        """
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{amount}\n")
        return f"paid {amount}"

    return pay
