"""Interlock: what a person approved is what runs; an agent that comes with another call is held."""

import asyncio
import tempfile
from pathlib import Path

from bench.claims._seen import marks, note, tell
from interlock import Engine, Limits, Policies, Policy, TaskContext, Toolbox


async def _main(folder: Path) -> None:
    prices = iter([5, 5000])  # What the shop says, the second time.

    def pay(price: int) -> str:
        note(folder / "paid", str(price))
        return f"paid {price}"

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("pay", {"price": next(prices)})).text

    tools = Toolbox([pay], policies=Policies({"pay": Policy(confirm="always")}))
    url, limits = f"sqlite:///{folder / 'tasks.db'}", Limits(park_after_s=0)
    async with Engine(agent, tools=tools, store=url, limits=limits) as engine:
        task = await engine.submit("go", owner="ada")
        (ask,) = (await task.rest()).asks
        shown = ask.arguments
        await task.approve(ask)
        (held,) = (await task.rest()).asks
    paid = marks(folder / "paid")
    tell(
        holds=shown == {"price": 5} and not paid and held.key.startswith("interlock:operator"),
        seen=f"a person was shown {shown['price'] if shown else '-'} and said yes; the agent came "
        f"with 5000; {len(paid)} were paid, and an operator is asked",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_main(Path(place)))
