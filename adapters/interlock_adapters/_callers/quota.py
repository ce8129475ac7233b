"""How much each owner may ask for, and everybody together: of no protocol.

The rate is a bucket of tokens: a request takes one, and they come back at an even pace.  What
names a task that is not there takes more, since that is how ids are guessed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

#: Seconds after which it is worth trying again where nobody can tell when somebody leaves.
_SOON_S: Final = 1.0


class QuotaSettings(BaseModel):
    """Bounds for each owner, and for all."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    #: Requests of one owner, over time and at once.
    requests_per_minute: float = Field(default=6_000.0, gt=0)
    burst: int = Field(default=1_000, ge=1)
    #: Requests and streams of one owner that are open at once.
    concurrent: int = Field(default=256, ge=1)
    #: Of everybody.
    concurrent_all: int = Field(default=10_000, ge=1)
    #: As how many further requests it counts to name a task that is not there.
    miss_cost: float = Field(default=10.0, ge=0)
    #: Owners whose buckets are kept; the one that asked longest ago is forgotten first.
    owners_max: int = Field(default=10_000, ge=1)


class OverQuota(Exception):
    """It is too much now."""

    def __init__(self, why: str, retry_after_s: float, *, own: bool = True) -> None:
        """It is worth trying again after so many seconds.  Not `own`: because of others."""
        self.own: Final = own
        self.retry_after_s: Final = retry_after_s
        super().__init__(why)

    @property
    def retry_after_whole_s(self) -> int:
        """The same in whole seconds, of which there is at least one."""
        return max(1, ceil(self.retry_after_s))


@dataclass(slots=True, eq=False)
class _Bucket:
    """What one owner has left: below nothing after misses."""

    tokens: float
    at: float
    open: int = 0


@dataclass(slots=True, eq=False)
class Charge:
    """One request, while it is served."""

    quotas: "Quotas"
    bucket: _Bucket | None
    missed: bool = False

    def miss(self) -> None:
        """It named a task that is not there."""
        self.missed = True
        if self.bucket is not None:
            self.quotas.take(self.bucket, self.quotas.settings.miss_cost)


_CHARGE: Final[ContextVar[Charge | None]] = ContextVar("interlock_charge", default=None)


def note_miss() -> None:
    """Whoever makes this request has named a task that is not there (for them)."""
    charge = _CHARGE.get()
    if charge is not None:
        charge.miss()


class Quotas:
    """Counts what each owner asks for; one is shared by all faces, and is of one event loop."""

    def __init__(
        self, settings: QuotaSettings | None = None, *, now: Callable[[], float] | None = None
    ) -> None:
        """`now` is monotonic; None: the loop's."""
        self.settings: Final = settings or QuotaSettings()
        self._now: Final = now or (lambda: asyncio.get_running_loop().time())
        self._per_s: Final = self.settings.requests_per_minute / 60
        #: Those who asked last are at the end.
        self._buckets: Final[OrderedDict[str, _Bucket]] = OrderedDict()
        self._open = 0

    @property
    def owners(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    @contextmanager
    def request(self, owner: str | None) -> Generator[Charge]:
        """A block that serves one request; None is nobody's, and counts for all only.

        Raises:
            OverQuota: it is too much, and nothing was counted.
        """
        settings = self.settings
        if self._open >= settings.concurrent_all:
            raise OverQuota("the service has too many open requests", _SOON_S, own=False)
        bucket = None if owner is None else self._bucket(owner)
        if bucket is not None:
            self._refill(bucket)
            if bucket.open >= settings.concurrent:
                # It counts, so that trying at once again and again comes to an end.
                self.take(bucket, 1)
                why = f"the caller has {settings.concurrent} open requests and streams"
                raise OverQuota(f"{why}, which is as many as it may", _SOON_S)
            if bucket.tokens < 1:
                wait_s = (1 - bucket.tokens) / self._per_s
                raise OverQuota("the caller has sent too many requests", wait_s)
            bucket.tokens -= 1
            bucket.open += 1
        self._open += 1
        charge = Charge(self, bucket)
        before = _CHARGE.get()
        _CHARGE.set(charge)
        try:
            yield charge
        finally:
            # Not by its token: a stream may be closed in another context than it began in.
            _CHARGE.set(before)
            self._open -= 1
            if bucket is not None:
                bucket.open -= 1

    def take(self, bucket: _Bucket, tokens: float) -> None:
        """Take tokens away, as far as one whole burst into debt."""
        bucket.tokens = max(-float(self.settings.burst), bucket.tokens - tokens)

    def _bucket(self, owner: str) -> _Bucket:
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = _Bucket(self.settings.burst, self._now())
            self._forget()
        else:
            self._buckets.move_to_end(owner)
        return bucket

    def _refill(self, bucket: _Bucket) -> None:
        now = self._now()
        come = (now - bucket.at) * self._per_s
        bucket.tokens = min(float(self.settings.burst), bucket.tokens + come)
        bucket.at = now

    def _forget(self) -> None:
        """Forget one whom nobody has to remember: who has something open is always kept."""
        if len(self._buckets) > self.settings.owners_max:
            newest = next(reversed(self._buckets))
            kept = self._buckets.items()
            oldest = next((one for one, b in kept if not b.open and one != newest), None)
            if oldest is not None:
                del self._buckets[oldest]
