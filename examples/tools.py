"""Tools under policy: a dear booking is shown to a person before it runs.  Run it."""

import asyncio

from interlock import Engine, Policies, Policy, TaskContext, Toolbox, When
from interlock.errors import Denied


def book(flight: str, price: int) -> str:
    """Book a flight."""
    return f"booked {flight} for {price}"


async def agent(task: TaskContext) -> str:
    try:
        result = await task.call_tool("book", {"flight": "TP1", "price": 430})
    except Denied as no:  # by on_deny="tell_agent"; as it comes, a no stops the task
        return f"Not booked: {no.reason}"
    return result.text


dear = When(when={"properties": {"price": {"minimum": 200}}})
policies = Policies({"book": Policy(confirm=dear, allow_edit=True, on_deny="tell_agent")})


async def main() -> None:
    tools = Toolbox([book], policies=policies)
    async with Engine(agent, tools=tools, store="sqlite:///tasks.db") as engine:
        task = await engine.submit("Fly me home.", owner="ada")
        (ask,) = (await task.rest()).asks  # book is dear: somebody is shown exactly what will run
        print(ask.prompt, ask.arguments)
        await task.approve(ask)
        print(await task.result())


asyncio.run(main())
