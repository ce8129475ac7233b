"""A way through worlds, for people: as lines, and as a sequence diagram."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from interlock._phases import Phase


class Line(NamedTuple):
    """One step: who did what, where the task stands then, and how its epoch went up."""

    by: str
    says: str
    phase: Phase
    epochs: int = 0
    #: How many epochs ago the turn began that did it.
    lag: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A way that begins with the submission of a task."""

    lines: tuple[Line, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def __str__(self) -> str:
        rows = list(self._told())
        width = max((len(who) for who, _, _, _ in rows), default=0)
        return "\n".join(
            f"{n:3}. {who:<{width}}  {line.says}  [{line.phase}, epoch {epoch}]"
            for n, (who, line, epoch, _) in enumerate(rows, 1)
        )

    def to_mermaid(self) -> str:
        """A Mermaid sequence diagram; the same trace gives the same bytes."""
        turns: dict[int, None] = {}
        body: list[str] = []
        phase: Phase | None = None
        for _, line, epoch, spoke in self._told():
            if line.by in {"turn", "zombie"}:
                turns[spoke] = None
                body.append(f"    turn{spoke}->>engine: {line.says}")
            elif line.by == "engine" and line.says.startswith("acts: "):
                doing = line.says.removeprefix("acts: ")
                if doing.startswith(("StartTurn", "ResumeTurn", "StopTurn")) and "(" not in doing:
                    turns[epoch] = None
                    body.append(f"    engine->>turn{epoch}: {doing}")
                else:
                    body.append(f"    Note over engine: {doing}")
            elif line.by == "engine":
                body.append(f"    Note over engine: {line.says}")
            elif line.by == "courier":
                body.append(f"    engine->>client: {line.says}")
            else:
                body.append(f"    {line.by}->>engine: {line.says}")
            if line.phase is not phase or line.epochs:
                body.append(f"    engine->>store: {line.phase}, epoch {epoch}")
            phase = line.phase
        who = ["client", "engine", "store"]
        names = [f"    participant {name}" for name in who]
        names += [f"    participant turn{n} as turn (epoch {n})" for n in sorted(turns)]
        names.append("    participant timer")
        return "\n".join(["sequenceDiagram", *names, *body]) + "\n"

    def _told(self) -> Iterator[tuple[str, Line, int, int]]:
        """Who, what, the epoch after it, and the epoch of the turn that did it."""
        epoch = 0
        for line in self.lines:
            spoke = max(0, epoch - line.lag)
            epoch += line.epochs
            turns = line.by in {"turn", "zombie"}
            yield f"{line.by} {spoke}" if turns else line.by, line, epoch, spoke
