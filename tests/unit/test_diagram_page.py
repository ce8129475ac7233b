"""The picture as a page: layers to switch, a log to replay, and nothing that is loaded.

Requirement: R-PIC-06.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import pytest

from interlock import LIFECYCLE, Event, Phase, Trigger
from interlock.diagram import (
    Look,
    Style,
    coverage,
    page,
    path_of,
    picture_of,
    population,
    svg,
)

PICTURE: Final = picture_of(LIFECYCLE)
IDS: Final = {box.id for box in PICTURE.boxes} | {arrow.id for arrow in PICTURE.arrows}
P, T = Phase, Trigger
WAY: Final[tuple[tuple[Trigger, Phase | None, Phase], ...]] = (
    (T.SUBMIT, None, P.SUBMITTED),
    (T.START, P.SUBMITTED, P.RUNNING),
    (T.PROGRESS, P.RUNNING, P.RUNNING),
    (T.COMPLETE, P.RUNNING, P.COMPLETED),
    (T.FINALIZE, P.COMPLETED, P.FINALIZED),
)
#: Said in the log, and nobody's business who looks at the picture.
CANARY: Final = "sk-canary-7f3a"


def log() -> list[Event]:
    """One life, a second between two events."""
    return [
        Event(seq, 100.0 + seq, 1, trigger, source, dest, CANARY, {"said": CANARY})
        for seq, (trigger, source, dest) in enumerate(WAY)
    ]


def data_of(document: str) -> Any:  # noqa: ANN401  whatever the page was given
    """What the script of a page works on."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', document)
    assert len(found) == 1
    return json.loads(found[0])


def rules(document: str, layer: int) -> dict[str, str]:
    """The style sheet's rules of a layer, by the id that each is for."""
    found = re.findall(rf'body\[data-layer="{layer}"\] #(\S+) \{{ (.*?) \}}', document)
    return dict(found)


def test_a_page_has_the_picture_its_layers_and_a_log() -> None:
    """In that order, and it opens with the last of them."""
    layers = {
        "path": path_of(PICTURE, log()),
        "tasks": population(PICTURE, {P.RUNNING: 3}),
        "covered": coverage(PICTURE, {}),
    }
    document = page(LIFECYCLE, layers, log(), "One task")
    data = data_of(document)
    assert [layer["name"] for layer in data["layers"]] == [
        "lifecycle", "path", "tasks", "covered", "replay",
    ]  # fmt: skip
    assert data["first"] == 4
    assert svg(LIFECYCLE, Look("One task")) in document
    assert "<title>One task</title>" in document
    assert document == page(LIFECYCLE, layers, log(), "One task")


def test_a_replay_has_every_event_where_it_is_drawn() -> None:
    """And how long after the first it was."""
    events = data_of(page(LIFECYCLE, events=log()))["events"]
    assert [(e["way"], e["state"], e["when"]) for e in events] == [
        ("edge-new-submitted", "state-submitted", "0.0 s"),
        ("edge-submitted-running", "state-running", "1.0 s"),
        ("state-running", "state-running", "2.0 s"),
        ("edge-running-completed", "state-completed", "3.0 s"),
        ("edge-completed-finalized", "state-finalized", "4.0 s"),
    ]
    assert {e["way"] for e in events} | {e["state"] for e in events} <= IDS
    assert [e["said"] for e in events][1:3] == ["start: running", "progress"]


def test_nothing_that_was_said_is_on_the_page() -> None:
    """Pages are sent around.  Source: I38."""
    assert CANARY not in page(LIFECYCLE, {"path": path_of(PICTURE, log())}, log())


def test_a_layer_is_rules_for_the_ids_of_the_picture() -> None:
    """So that nothing moves; what it notes is listed."""
    look = Look(
        "A layer",
        {
            "state-running": Style(colour="#112233", fill="#445566", width=4.0, note="12 now"),
            "edge-running-failed": Style(dashed=True, colour="#ff0000", note="never"),
        },
        Style(faint=True),
    )
    document = page(LIFECYCLE, {"mine": look})
    found = rules(document, 1)
    assert found["state-running"] == "color: #112233; stroke-width: 4px;"
    assert found["edge-running-failed"] == "color: #ff0000; stroke-dasharray: 5 4;"
    assert found.keys() == IDS
    assert "#state-running rect:last-of-type { fill: #445566; }" in document
    assert data_of(document)["layers"][1]["notes"] == [
        ["state-running", "running", "12 now"],
        ["edge-running-failed", "running → failed", "never"],
    ]


def test_a_page_loads_nothing() -> None:
    """No script, style, font or picture of anybody else's; the browser is told so, too."""
    document = page(LIFECYCLE, {"path": path_of(PICTURE, log())}, log())
    assert "default-src 'none'" in document
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import|fetch\(|XMLHttp|import\(""", document)
    addresses = set(re.findall(r"https?://[^\"'\s]+", document))
    assert addresses == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    "title", ['</script><script>alert("x")</script>', "<!--PICTURE-->", "/*DATA*/ & <b>"]
)
def test_a_title_is_text_wherever_it_stands(title: str) -> None:
    """Also one that looks like the end of a script, or like a place of the template."""
    document = page(LIFECYCLE, {title: Look(title)}, (), title)
    assert document.count("<script") == 2
    assert document.count("<svg") == 1
    assert [layer["name"] for layer in data_of(document)["layers"]] == ["lifecycle", title]
    assert "<b>" not in document


def test_a_log_of_another_lifecycle_is_refused() -> None:
    """It has no place in the picture."""
    events: Sequence[Event] = [Event(1, 0.0, 1, T.FAIL, P.SUBMITTED, P.FAILED, "x", {})]
    with pytest.raises(KeyError):
        page(LIFECYCLE, events=events)
