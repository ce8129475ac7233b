"""From a tape on which a run fails to a short, plain one on which it fails in the same way."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeAlias

from interlock.testing.fuzz._drive import STUCK, Ran
from interlock.testing.fuzz._report import Failure

#: Runs a tape.
Runs: TypeAlias = Callable[[Sequence[int]], Ran]
#: A tape in pieces: what comes before the first move, the decisions of each, what comes after.
Pieces: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]

#: Tapes that are tried at most; unless a time is given the same failure shrinks to the same tape.
TRIES_MAX: Final = 500


def shrunk(
    failed: Ran, runs: Runs, *, tries_max: int = TRIES_MAX, until: float = math.inf
) -> Failure:
    """The failure of the plainest tape that was found; the given one's if none is plainer.

    None is tried after `until`, in seconds of `time.monotonic`.
    """
    assert failed.failure is not None
    search = _Search(failed, runs, tries_max, until)
    ways = (_plain_around, _without_moves, _shorter_moves, _lower)
    goes_on = True
    while goes_on:
        goes_on = False
        for way in ways:
            goes_on = search.is_better_after(way) or goes_on
    best = search.best.failure
    assert best is not None
    return best


class _Search:
    """The best tape so far, and how many may still be tried."""

    def __init__(self, failed: Ran, runs: Runs, tries: int, until: float) -> None:
        self.best = failed
        self._until: Final = until
        self._runs: Final = runs
        self._tries = tries
        self._tried: Final[set[tuple[int, ...]]] = set()

    @property
    def pieces(self) -> Pieces:
        """The best tape."""
        tape, spans = self.best.tape, self.best.spans
        if not spans:
            return tape, (), ()
        moves = tuple(tape[span.start + 1 : span.end] for span in spans)
        return tape[: spans[0].start], moves, tape[spans[-1].end :]

    def is_better_after(self, way: "_Way") -> bool:
        """Whether a way to make a tape plainer found something; its finds build on each other."""
        before = self.best
        for pieces in way(self):
            if self._tries <= 0 or time.monotonic() > self._until:
                break
            self._try(_joined(pieces))
        return self.best is not before

    def _try(self, tape: tuple[int, ...]) -> None:
        """Keep the tape if it fails in the same way, and is plainer."""
        if tape in self._tried:
            return
        self._tried.add(tape)
        self._tries -= 1
        found = self._runs(tape)
        if _kind(found) == STUCK:
            self._tries = 0  # It takes real time: no more of that.
        if _kind(found) == _kind(self.best) and _cost(found) < _cost(self.best):
            self.best = found


#: Gives tapes that are plainer than the best, which may change meanwhile.
_Way: TypeAlias = Callable[[_Search], Iterator[Pieces]]


def _joined(pieces: Pieces) -> tuple[int, ...]:
    before, moves, after = pieces
    return (*before, *chain.from_iterable((len(move), *move) for move in moves), *after)


def _plain_around(search: _Search) -> Iterator[Pieces]:
    """Decide nothing after the last move, and little before the first."""
    before, moves, _ = search.pieces
    yield before, moves, ()
    yield (), search.pieces[1], search.pieces[2]
    for place in range(len(before)):
        before, moves, after = search.pieces
        yield (*before[:place], 0, *before[place + 1 :]), moves, after


def _without_moves(search: _Search) -> Iterator[Pieces]:
    """Leave out moves, many at a time and then one by one, the last first."""
    size = max(1, len(search.pieces[1]) // 2)
    while size:
        end = len(search.pieces[1])
        while end > 0:
            before, moves, after = search.pieces
            end = min(end, len(moves))
            yield before, (*moves[: max(0, end - size)], *moves[end:]), after
            end -= size
        size //= 2


def _shorter_moves(search: _Search) -> Iterator[Pieces]:
    """Decide nothing at the end of a move: what follows from it comes as it comes."""
    for kept in (3, 6, 12):
        for place in range(len(search.pieces[1])):
            before, moves, after = search.pieces
            if place < len(moves) and len(moves[place]) > kept:
                yield before, (*moves[:place], moves[place][:kept], *moves[place + 1 :]), after


def _lower(search: _Search) -> Iterator[Pieces]:
    """Put 0, or half of it, in the place of a decision."""
    for place in range(len(search.pieces[1])):
        at = 0
        while place < len(search.pieces[1]) and at < len(search.pieces[1][place]):
            for number in dict.fromkeys((0, search.pieces[1][place][at] // 2)):
                before, moves, after = search.pieces
                if place < len(moves) and at < len(moves[place]) and moves[place][at] > number:
                    move = (*moves[place][:at], number, *moves[place][at + 1 :])
                    yield before, (*moves[:place], move, *moves[place + 1 :]), after
            at += 1


def _kind(ran: Ran) -> str | None:
    return None if ran.failure is None else ran.failure.kind


def _cost(ran: Ran) -> tuple[int, int, int]:
    """What is plainer costs less: fewer lines, a shorter tape, lower numbers."""
    return (len(ran.trace), len(ran.tape), sum(ran.tape))
