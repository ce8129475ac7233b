"""The same decisions once more: what comes out otherwise is decided outside of the run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile, zip_longest
from typing import Final, TypeAlias

from interlock._event import Event
from interlock.testing.fuzz._drive import Ran
from interlock.testing.fuzz._report import Failure

#: Runs a tape, or the whole run of the seed if there is none.
Runs: TypeAlias = Callable[[Sequence[int] | None], Ran]

#: The kind of the failure that a run is that comes out otherwise.
REPLAY: Final = "replay"

_WHY: Final = (
    "something decides that is no part of the run, such as a random.Random() of its own, "
    "datetime.now(), or what is kept from run to run (clear that in Target.of(..., begin=...))"
)
#: Characters of a value that are shown, and those of them before the first that differs.
_SHOWN: Final = 60
_BEFORE: Final = 20


def run_twice(runs: Runs, seed: int, tape: Sequence[int] | None = None) -> Ran:
    """A run; if it holds, and is another one when it is repeated, that is its failure."""
    first = runs(tape)
    if first.failure is not None:
        return first
    again = runs(first.tape)
    differs: str | None
    if (later := again.failure) is not None:
        differs = f"nothing failed, and then {later.kind} came: {later.message}"
    elif (differs := difference(first, again)) is None:
        return first
    words = f"the same decisions made another run: {differs}; {_WHY}"
    return replace(first, failure=Failure(REPLAY, words, seed, first.tape, first.trace))


def confirmed(failure: Failure, runs: Runs) -> Failure:
    """The failure if its tape makes it again; else that it does not."""
    again = runs(failure.tape).failure
    if again is not None and again.kind == failure.kind:
        return failure
    came = "nothing failed" if again is None else f"{again.kind} came: {again.message}"
    words = f"not reproducible: {failure.kind} came: {failure.message}; then, by the same decisions"
    return replace(failure, kind=REPLAY, message=f"{words}, {came}; {_WHY}")


def difference(before: Ran, after: Ran) -> str | None:
    """How a run differs from the one before, in words; None if it does not.

    What clients saw and what the logs hold counts, and not how threads took turns: what is
    remembered from run to run, such as a cache, may well make one of them shorter.
    """
    for number, (a, b) in enumerate(zip_longest(before.trace, after.trace), start=1):
        if a != b:
            return f"step {number} {_shown(a, b)}"
    for first, second in zip(before.logs, after.logs, strict=False):
        for one, other in zip_longest(first, second):
            if one is None or other is None:
                return "a log is longer than it was"
            for name in differing(one, other)[:1]:
                was, now = (each.to_json() | dict(each.data) for each in (one, other))
                differs = _shown(was.get(name), now.get(name))
                return f"{name!r} of event {one.seq} ({one.trigger}) {differs}"
    return None


def differing(one: Event, other: Event) -> list[str]:
    """The names of what differs between two events, beginning with those of their data."""
    a, b = one.to_json(), other.to_json()
    data = (dict(one.data), dict(other.data))
    names = [name for name in {**data[0], **data[1]} if data[0].get(name) != data[1].get(name)]
    return names + [name for name in a if name != "data" and a[name] != b[name]]


def _shown(before: object, after: object) -> str:
    """Both, from a little before the place where they differ."""
    texts = repr(before), repr(after)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    start = max(sum(1 for _ in same) - _BEFORE, 0)
    was, now = (
        f"{'...' * bool(start)}{text[start : start + _SHOWN]}{'...' * (len(text) > start + _SHOWN)}"
        for text in texts
    )
    return f"was {was}, and is {now}"
