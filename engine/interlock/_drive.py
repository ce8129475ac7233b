"""Drives an agent that is a generator: what it yields is asked of its context."""

from collections.abc import AsyncGenerator
from typing import Any, cast

from interlock._agent import Ask, Authorize, Emit, Progress, Request, Result
from interlock._context import TaskContext
from interlock.errors import EngineError


async def driven(requests: AsyncGenerator[Request, Any], context: TaskContext) -> Any:
    """Serve what the generator yields until it yields its result or ends."""
    try:
        request = await anext(requests)
        while not isinstance(request, Result):
            try:
                reply = await served(request, context)
            except EngineError as error:
                request = await requests.athrow(error)
            else:
                request = await requests.asend(reply)
    except StopAsyncIteration:
        return None
    finally:
        await requests.aclose()
    return request.value


async def served(request: Request, context: TaskContext) -> Any:
    """What the context answers to one request; raises what it raises."""
    match request:
        case Ask():
            return await context.ask(
                request.prompt,
                cast("type[Any]", request.form),
                default=request.default,
                expires_s=request.expires_s,
                approvers=request.approvers,
                phase=request.phase,
                key=request.key,
            )
        case Authorize():
            return await context.authorize(
                request.tool,
                request.arguments,
                prompt=request.prompt,
                schema=request.schema,
                allow_edit=request.allow_edit,
                on_deny=request.on_deny,
                expires_s=request.expires_s,
                approvers=request.approvers,
                phase=request.phase,
                key=request.key,
            )
        case Emit():
            return await context.emit(
                request.content,
                artifact_id=request.artifact_id,
                name=request.name,
                append=request.append,
                last_chunk=request.last_chunk,
            )
        case Progress():
            return await context.progress(request.message, request.fraction)
        case Result():
            raise AssertionError("the driver keeps results to itself")
        case _:
            kinds = "an Ask, Authorize, Emit, Progress or Result is accepted"
            raise TypeError(
                f"the agent yielded a {type(cast('object', request)).__name__}; {kinds}"
            )
