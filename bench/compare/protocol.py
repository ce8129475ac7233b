"""What the comparison asks of a peer.  Standard library only: peers have environments of their own.

Every method returns when the caller knows that it is so, and raises if it is not.
"""

from typing import Any, Protocol, runtime_checkable

#: What tasks are about; as long as a short request of a person.
REQUEST = "please pay 7 euros to bob"
QUESTION = "Which city?"


@runtime_checkable
class Peer(Protocol):
    """A task engine, over its natural interface."""

    async def life(self) -> None:
        """A task, from its submission until it is known to be completed."""
        ...

    async def ask(self) -> Any:  # noqa: ANN401  each has a key of its own kind
        """A task, from its submission until its question is seen; how to name it later."""
        ...

    async def answer(self, asked: Any) -> None:  # noqa: ANN401
        """From the answer until that task is known to be completed."""
        ...

    async def cancel(self, asked: Any) -> None:  # noqa: ANN401
        """From the cancel of a task that asks until it is known to be cancelled."""
        ...

    async def first(self) -> float:
        """Seconds from a submission to the first thing that a subscriber is told of it."""
        ...
