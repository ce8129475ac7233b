"""What all our objects on Restate share: names, settings, and what they need of their process."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from restate import InvocationRetryPolicy, ObjectContext, RunOptions, VirtualObject

from interlock.lifecycle import Lifecycle
from interlock.stores import Store
from interlock_adapters.restate._url import Place
from interlock_adapters.restate._wire import JSON

T = TypeVar("T")

#: A handler is run until it has ended: to give up on a task would be to lose it.
RETRIES: Final = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50),
    exponentiation_factor=2.0,
    max_interval=timedelta(seconds=1),
    max_attempts=1_000_000_000,
    on_max_attempts="pause",
)


class Host(Protocol):
    """What the handlers need of the store whose process runs them."""

    lifecycle: Lifecycle
    grace_s: float

    @property
    def place(self) -> Place:
        """What its URL says."""
        ...

    @property
    def projection(self) -> Store:
        """The store that is read."""
        ...

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def tell(self, task_id: str) -> None:
        """A task has moved."""
        ...


def names_of(namespace: str) -> tuple[str, str, str]:
    """The services: that of tasks, of tokens, and of turns."""
    return f"{namespace}Task", f"{namespace}Token", f"{namespace}Turn"


async def step(ctx: ObjectContext, name: str, action: Callable[[], Awaitable[T]]) -> T:
    """Do something outside of Restate at least once, and keep what came of it."""

    async def run() -> T:
        return await action()

    result: T = await ctx.run_typed(name, run, RunOptions(serde=JSON))
    return result


def made_object(name: str, place: Place, *, lazy: bool = False) -> VirtualObject:
    """A virtual object with the settings that all of ours have."""
    return VirtualObject(
        name,
        inactivity_timeout=timedelta(seconds=place.inactivity_s),
        abort_timeout=timedelta(seconds=place.abort_s),
        journal_retention=timedelta(0),
        idempotency_retention=timedelta(0),
        # A log is not sent along with each call.
        enable_lazy_state=lazy,
        invocation_retry_policy=RETRIES,
    )
