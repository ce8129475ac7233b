"""Tapes that fail become short and plain, and still fail in the same way.

R-FUZZ-17.
"""

from collections.abc import Sequence

from interlock.testing.fuzz._drive import Ran
from interlock.testing.fuzz._drive_steer import SteeredTape
from interlock.testing.fuzz._report import Failure
from interlock.testing.fuzz._shrink import shrunk


def runs(tape: Sequence[int] | None = None, seed: int = 0) -> Ran:
    """A run of up to 30 moves that fails once a 7 was added to a 5, or at a 9."""
    decided = SteeredTape(seed, tape)
    steps: list[str] = []
    kinds: list[str] = []
    added: set[int] = set()
    noise = decided.choose(100)
    for _ in range(30):
        with decided.span("move"):
            if decided.choose(40) == 0:
                break
            number = decided.choose(10)
            # What follows from a move takes decisions too, and not always as many.
            for _ in range(decided.choose(4) + noise % 3):
                decided.choose(8)
            steps.append(f"adds {number}")
            added.add(number)
            if number == 9:
                kinds.append("nine")
            if {5, 7} <= added:
                kinds.append("both")
        if kinds:
            break
    failure = Failure(kinds[0], "", seed, decided.made, tuple(steps)) if kinds else None
    return Ran(failure, decided.made, decided.spans, 0, tuple(steps), {}, {}, "")


def test_a_tape_becomes_as_short_as_it_can_be() -> None:
    """Two moves are left, or one, of the kind that failed.  Source: R-FUZZ-17."""
    kinds: set[str] = set()
    for seed in range(40):
        first = runs(seed=seed)
        if first.failure is None:
            continue
        failure = shrunk(first, runs)
        assert failure.kind == first.failure.kind
        kinds.add(failure.kind)
        assert (
            sorted(failure.steps)
            == {"nine": ["adds 9"], "both": ["adds 5", "adds 7"]}[failure.kind]
        )
        assert runs(failure.tape).failure == Failure(
            failure.kind, "", 0, failure.tape, failure.steps
        )
        # Before the first move, and then three decisions a move and their number.
        assert len(failure.tape) == 1 + 4 * len(failure.steps)
    assert kinds == {"nine", "both"}


def test_tries_are_bounded() -> None:
    """Without any the tape stays what it is."""
    first = next(one for seed in range(40) if (one := runs(seed=seed)).failure is not None)
    calls: list[int] = []

    def counted(tape: Sequence[int]) -> Ran:
        calls.append(len(tape))
        return runs(tape)

    assert shrunk(first, counted, tries_max=0) == first.failure
    assert calls == []
    shrunk(first, counted, tries_max=5)
    assert len(calls) <= 5


def test_moves_are_read_where_they_begin() -> None:
    """A move that asks for more or less than it did moves no other.  Source: R-FUZZ-17."""
    tape = SteeredTape(given=[4, 3, 1, 2, 3, 1, 5, 0, 6])
    read: list[list[int]] = [[tape.choose(10)]]
    for asked in (1, 3, 2):
        with tape.span("move"):
            read.append([tape.choose(10) for _ in range(asked)])
    read.append([tape.choose(10), tape.choose(10)])
    assert read == [[4], [1], [5, 0, 0], [0, 0], [6, 0]]
    assert tape.made == (4, 1, 1, 3, 5, 0, 0, 2, 0, 0, 6, 0)
