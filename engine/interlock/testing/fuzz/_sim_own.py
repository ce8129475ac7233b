"""The locks that modules made when they were imported: those of a run while it lasts.

A real lock would hold up the thread that has the baton, and so everybody; one of asyncio belongs
to the event loop that used it first, and stays locked when its process is killed.  So each
process of a run has them as they were made, and afterwards they are what they were before.
"""

import asyncio
import asyncio.mixins
import concurrent.futures
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeAlias

from interlock.testing.fuzz._own import is_own, own_modules
from interlock.testing.fuzz._sim_patches import SimLock, SimRLock, SimSimpleQueue

#: What is replaced by another.
_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_FRESH: Final[dict[type, Callable[[], Any]]] = {
    _LOCK: SimLock,
    _RLOCK: SimRLock,
    queue.SimpleQueue: SimSimpleQueue,
    # Made in an earlier run, and kept since.
    SimLock: SimLock,
    SimRLock: SimRLock,
    SimSimpleQueue: SimSimpleQueue,
}
#: What stays, and is made again as it was.
_MADE: Final[tuple[type, ...]] = (
    asyncio.mixins._LoopBoundMixin,  # noqa: SLF001  what all of asyncio's are
    threading.Condition,
    threading.Event,
    threading.Semaphore,
    threading.Barrier,
    queue.Queue,
    concurrent.futures.ThreadPoolExecutor,
)
_HOLDERS: Final[tuple[type, ...]] = (dict, list)
_CONTAINERS: Final = (deque, list, set, dict)
#: Things of modules that are looked at, at most.
_SEEN_MAX: Final = 20_000

#: Where something stands, and how something else is put there.
_Slot: TypeAlias = tuple[Any, Callable[[Any], None]]


class OwnLocks:
    """What of some modules each process has for itself."""

    def __init__(self, roots: Iterable[ModuleType]) -> None:
        """Look for them in these modules, and in those of one's own that they use."""
        self._slots: Final[list[_Slot]] = []
        self._made: Final[list[tuple[dict[str, Any], dict[str, Any], bool]]] = []
        self._seen: Final[dict[int, object]] = {}
        for module in own_modules(roots):
            self._look_into(vars(module), set_by=_setter(module))

    def _look_into(
        self, names: MutableMapping[Any, Any], set_by: Callable[[Any, Any], None]
    ) -> None:
        for name, value in list(names.items()):
            if type(value) in _FRESH:
                self._slots.append((value, partial(set_by, name)))
            else:
                self._look_at(value)

    def _look_at(self, value: object) -> None:
        if id(value) in self._seen or len(self._seen) > _SEEN_MAX:
            return
        if _is(value, _MADE):
            self._seen[id(value)] = value
            own: dict[str, Any] = vars(value)
            self._made.append((own, _copied(own), isinstance(value, threading.Condition)))
            for inner in own.values():
                self._look_at(inner)
        elif _is(value, _HOLDERS):
            self._seen[id(value)] = value
            held: Any = value
            entries: Any = held if _is(value, (dict,)) else enumerate(held)
            self._look_into(dict(entries), _item_setter(held))
        elif _is_of_ones_own(value):
            self._seen[id(value)] = value
            self._look_into(dict(vars(value)), _setter(value))

    def renew(self) -> None:
        """A process begins: it has all of them as they were made."""
        fresh: dict[int, Any] = {}

        def renewed(real: Any) -> Any:  # noqa: ANN401  one of several kinds
            return fresh.setdefault(id(real), _FRESH[type(real)]())

        for own, saved, is_condition in self._made:
            own.clear()
            own.update(_copied(saved))
            for name, value in saved.items():
                if type(value) in _FRESH:
                    own[name] = renewed(value)
            if "_loop" in own:
                own["_loop"] = None
            if is_condition:
                _bind(own)
        for value, put in self._slots:
            put(renewed(value))

    @contextmanager
    def replaced(self) -> Generator[None]:
        """While this lasts they are those of the run."""
        self.renew()
        try:
            yield
        finally:
            for own, saved, _ in self._made:
                own.clear()
                own.update(saved)
            for value, put in self._slots:
                put(value)


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    """Whether it is one; what is in it is not known for that."""
    return isinstance(value, kinds)


def _bind(own: dict[str, Any]) -> None:
    """A condition has the methods of its lock."""
    lock = own["_lock"]
    for name in ("acquire", "release", "_release_save", "_acquire_restore", "_is_owned"):
        own.pop(name, None)
        if hasattr(lock, name):
            own[name] = getattr(lock, name)


def _copied(own: dict[str, Any]) -> dict[str, Any]:
    return {k: v.copy() if isinstance(v, _CONTAINERS) else v for k, v in own.items()}


def _setter(holder: object) -> Callable[[Any, Any], None]:
    """Puts a lock where one is still."""

    def put(name: str, value: object) -> None:
        if type(getattr(holder, name, None)) in _FRESH:
            setattr(holder, name, value)

    return put


def _item_setter(held: Any) -> Callable[[Any, Any], None]:  # noqa: ANN401  a dict or a list
    def put(key: object, value: object) -> None:
        with suppress(LookupError):
            if type(held[key]) in _FRESH:
                held[key] = value

    return put


def _is_of_ones_own(value: object) -> bool:
    """Whether it is a class of one's own, or one of its objects."""
    cls = value if isinstance(value, type) else type(value)
    module = sys.modules.get(cls.__module__)
    return hasattr(value, "__dict__") and is_own(getattr(module, "__file__", None))
