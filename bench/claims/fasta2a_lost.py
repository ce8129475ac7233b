"""fasta2a: its storages and brokers are in memory; a process that dies leaves nothing."""

import asyncio
import inspect
import pkgutil
from importlib import import_module
from typing import Any

from bench.claims._fasta2a_arm import broker, call, fasta2a, message, served, storage
from bench.claims._seen import tell


def _kinds(base: type) -> list[str]:
    for module in pkgutil.iter_modules(fasta2a.__path__, "fasta2a."):
        if not module.name.endswith((".client", ".pydantic_ai")):  # They want other packages.
            import_module(module.name)
    kinds = [base]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return [kind.__name__ for kind in kinds if not inspect.isabstract(kind)]


async def _work(store: Any, task_id: str) -> None:  # noqa: ANN401  the peer's
    await store.update_task(task_id, state="input-required")


async def _main() -> None:
    async with served(_work) as app:
        task = (await call(app, "message/send", message(1)))["result"]["task"]
    async with served(_work) as app:  # As after a restart.
        said = (await call(app, "tasks/get", {"id": task["id"]})).get("error", {})
    storages, brokers = _kinds(storage.Storage), _kinds(broker.Broker)
    tell(
        holds=(storages, brokers) == (["InMemoryStorage"], ["InMemoryBroker"]) and bool(said),
        seen=f"of storages there is {', '.join(storages)}, of brokers {', '.join(brokers)}; "
        f"after a restart tasks/get says: {said.get('message')}",
    )


if __name__ == "__main__":
    asyncio.run(_main())
