"""Interlock in ten lines: an agent that asks, and the engine that runs it."""

import asyncio

from interlock import Engine, TaskContext


async def agent(task: TaskContext) -> str:
    city = await task.ask("Which city?")  # parks the task until somebody answers
    return f"{task.input.text} To {city}, as you wish."


async def main() -> None:
    async with Engine(agent, store="sqlite:///tasks.db") as engine:
        task = await engine.submit("A flight, please.", owner="ada")
        waiting = await task.rest()
        await task.answer(waiting.asks[0].key, "Lisbon")
        print(await task.result())


asyncio.run(main())
