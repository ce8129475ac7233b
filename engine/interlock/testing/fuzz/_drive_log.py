"""Listens to what an engine says of itself: an error of its own is a failure of a run."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

#: Who says only what is wrong with the engine; what an agent raised is said by others.
_OWN: Final = frozenset({"interlock.engine", "interlock.writer", "interlock.alarms"})
#: What is said of a store that fails, which is the run's own doing.
_STORE_FAILED: Final = "the store failed"


class Listener(logging.Handler):
    """Collects errors, and keeps them from being printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: Final[list[tuple[str, str]]] = []
        self._uncaught: Final[list[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if record.levelno >= logging.ERROR and record.name in _OWN:
            self._said.append((record.name, record.getMessage()))

    def uncaught(self, _loop: object, context: dict[str, Any]) -> None:
        """The handler of an event loop for what nobody caught."""
        error = context.get("exception")
        what = "" if error is None else f" ({type(error).__name__}: {error})"
        self._uncaught.append(f"{context.get('message')}{what}")

    def faults(self, *, store_failed: bool) -> Iterator[tuple[str, str]]:
        """What was said that must not be: the kind of failure that it is, and the words."""
        for words in self._uncaught:
            yield "uncaught", words
        for name, words in self._said:
            if not (store_failed and _STORE_FAILED in words):
                yield "log", f"{name}: {words}"

    @contextmanager
    def listening(self) -> Generator[None]:
        """Hear all that the engine says, instead of whoever else would."""
        logger = logging.getLogger("interlock")
        propagates, level = logger.propagate, logger.level
        logger.addHandler(self)
        logger.propagate = False
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = propagates
            logger.setLevel(level)
