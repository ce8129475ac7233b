"""The picture as SVG and PNG: everything on it, nothing on top of anything, no system Graphviz."""

import itertools
import math
import os
import re
import subprocess
import sys
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from exported import nasty
from interlock import diagram
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase
from interlock._transitions import TABLE
from interlock.diagram import Look, Picture, Style
from interlock.diagram._dot import layout_dot
from interlock.diagram._graphviz import Curve, Frame, Layout, Point, layout_of
from interlock.diagram._look import NEUTRAL
from interlock.diagram._picture import picture_of

PICTURE: Final = picture_of(LIFECYCLE)
DRAWN: Final = diagram.svg(LIFECYCLE)
SVG: Final = "{http://www.w3.org/2000/svg}"


def parsed(document: str) -> ET.Element:
    """The document as a tree."""
    return ET.fromstring(document)  # noqa: S314  (our own)


def by_id(document: str) -> dict[str, ET.Element]:
    """Every element that has an id; no two have the same."""
    found: dict[str, ET.Element] = {}
    for element in parsed(document).iter():
        name = element.get("id")
        if name is not None:
            assert name not in found
            found[name] = element
    return found


def text_of(element: ET.Element) -> str:
    """What is written in it, without what is only shown beside the pointer."""
    return " ".join("".join(each.itertext()) for each in element.iter(f"{SVG}text"))


def test_everything_has_its_id_and_its_classes() -> None:
    """Style sheets, tests and pages find it by these.  Source: R-PIC-01."""
    found = by_id(DRAWN)
    for box in PICTURE.boxes:
        assert found[box.id].get("class") == f"state group-{box.group}"
        assert box.name in text_of(found[box.id])
    for arrow in PICTURE.arrows:
        assert found[arrow.id].get("class") == f"move group-{arrow.dest.group}"
        lines = [each.get("class") for each in found[arrow.id].iter(f"{SVG}path")]
        assert sorted(map(str, lines)) == ["head", "line", "line"]
        for clause in arrow.clauses:
            for word in (*clause.triggers, *clause.effects, clause.condition):
                assert word.split(" ")[-1] in text_of(found[arrow.id])
    assert found["group-waiting"].get("class") == "cluster group-waiting"
    assert "group-end" not in found, "one phase alone needs no area around it"
    drawn = {name for name in found if name.startswith(("state-", "edge-"))}
    assert drawn == {
        *(box.id for box in PICTURE.boxes),
        *(arrow.id for arrow in PICTURE.arrows),
        "state-new",
    }


def test_it_tells_those_who_do_not_see_it_what_it_is() -> None:
    """A title, a legend, and every row in full beside the pointer."""
    root, found = parsed(DRAWN), by_id(DRAWN)
    assert root.get("role") == "img"
    assert found[str(root.get("aria-labelledby"))].text == "The life of a task"
    assert "arms a timer" in str(found[str(root.get("aria-describedby"))].text)
    title = found["edge-running-completed"].findtext(f"{SVG}title")
    assert title == (
        "running to completed (outcome)\n"
        "complete, if report is current / -run, -task, publish, release"
    )
    titles = [str(each.text) for each in parsed(DRAWN).iter(f"{SVG}title")]
    assert sum(each.count("\n") for each in titles) == len(TABLE)


def test_the_same_table_gives_the_same_bytes() -> None:
    """And in another process, with another hash seed and no locale.  Source: R-PIC-01."""
    assert diagram.svg(Lifecycle(TABLE)) == DRAWN
    program = (
        "import sys; from interlock import LIFECYCLE, diagram;"
        "sys.stdout.buffer.write(diagram.svg(LIFECYCLE).encode())"
    )
    environ = {
        "PATH": "",
        "PYTHONHASHSEED": "7",
        "LC_ALL": "C",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, env=environ, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == DRAWN.encode()


def test_names_of_all_kinds_are_text_and_never_markup() -> None:
    """What a user names cannot leave the place where it is written.  Source: R-PIC-02."""
    found = by_id(diagram.svg(nasty()))
    assert 'say "no" & <go>' in text_of(found["state-say_no_go_"])
    assert "]]>" in text_of(found["state-_"])
    assert not re.search("<go>|\x00|\ud800", diagram.svg(nasty()))


# --- the layout -----------------------------------------------------------------------------


def overlap(one: Frame, other: Frame) -> bool:
    """Whether two frames have a point in common."""
    return (
        one.left < other.left + other.width
        and other.left < one.left + one.width
        and one.top < other.top + other.height
        and other.top < one.top + one.height
    )


def on(curve: Curve) -> list[Point]:
    """Points along a line, close together."""
    points = list(curve.points)
    found: list[Point] = []
    for at in range(0, len(points) - 1, 3):
        a, b, c, d = points[at : at + 4]
        for step in range(25):
            t, u = step / 24, 1 - step / 24
            weights = (u**3, 3 * u * u * t, 3 * u * t * t, t**3)
            x, y = (
                sum(w * p[axis] for w, p in zip(weights, (a, b, c, d), strict=True))
                for axis in (0, 1)
            )
            found.append((x, y))
    return found


def crossed(layout: Layout) -> list[tuple[str, str, str]]:
    """Every line that passes through a label or a box that is not at its end."""
    found: set[tuple[str, str, str]] = set()
    for (start, end), curve in layout.curves.items():
        for x, y in on(curve):
            for name, frame in layout.nodes.items():
                inside = (
                    frame.left + 1 < x < frame.left + frame.width - 1
                    and frame.top + 1 < y < frame.top + frame.height - 1
                )
                if inside and name not in {start, end}:
                    found.add((start, end, name))
    return sorted(found)


#: A lifecycle of one's own: three phases to wait in, and ways between any two of them.
FURTHER: Final = picture_of(
    LIFECYCLE.extend(Phase.further("waiting_signature", like=Phase.WAITING_AUTH))
)
NOTED: Final = Look(
    "", {arrow.id: Style(note="1,234 times, never retry") for arrow in PICTURE.arrows}
)


@pytest.mark.parametrize(
    ("picture", "look"), [(PICTURE, NEUTRAL), (PICTURE, NOTED), (FURTHER, NEUTRAL)]
)
def test_nothing_covers_anything(picture: Picture, look: Look) -> None:
    """No label lies on a label or a box, and no arrow runs through one.  Source: R-PIC-17."""
    layout = layout_of(layout_dot(picture, look))
    pairs = itertools.combinations(layout.nodes.items(), 2)
    assert [(a, b) for (a, one), (b, other) in pairs if overlap(one, other)] == []
    assert crossed(layout) == []


@pytest.mark.parametrize("picture", [PICTURE, FURTHER])
def test_labels_can_be_read_on_a_page_1600_pixels_wide(picture: Picture) -> None:
    """The smallest letters are then still ten pixels high.  Source: R-PIC-17."""
    root = parsed(diagram.svg(picture))
    sizes = [each.get("font-size") for each in root.iter(f"{SVG}tspan")]
    smallest = min(float(size) for size in sizes if size)
    assert smallest * 1600 / float(str(root.get("width"))) >= 10


def test_the_same_is_laid_out_once() -> None:
    """Graphviz holds up everybody meanwhile.  Source: T21."""
    dot = layout_dot(PICTURE, NEUTRAL)
    assert layout_of(dot) is layout_of(dot)


def test_a_line_that_leads_back_is_drawn_from_its_beginning() -> None:
    """It was declared the other way round; the head is still where the arrow leads."""
    layout = layout_of(layout_dot(PICTURE, NEUTRAL))
    first = layout.curve("state-running", "edge-running-submitted")
    second = layout.curve("edge-running-submitted", "state-submitted")
    assert first.tip is None
    assert second.tip is not None
    for curve, start in ((first, "state-running"), (second, "edge-running-submitted")):
        near = layout.nodes[start].centre
        assert math.dist(curve.points[0], near) < math.dist(curve.points[-1], near)


# --- looks ----------------------------------------------------------------------------------


def test_a_look_is_said_in_attributes_that_a_style_sheet_overrules() -> None:
    """On the element, so that everything in it follows."""
    style = Style(colour="#aa0000", width=4, dashed=True, note="taken twice", kind="taken")
    drawn = diagram.svg(
        LIFECYCLE,
        Look(
            "A <path>",
            {"edge-running-completed": style, "state-running": Style(fill="#ffee00")},
            Style(faint=True),
        ),
    )
    found = by_id(drawn)
    arrow = found["edge-running-completed"]
    assert arrow.get("color") == "#aa0000"
    assert arrow.get("stroke-width") == "4"
    assert arrow.get("stroke-dasharray")
    assert arrow.get("class") == "move group-outcome taken"
    assert "taken twice" in text_of(arrow)
    assert [each.get("fill") for each in found["state-running"].iter(f"{SVG}rect")] == ["#ffee00"]
    assert found["edge-running-failed"].get("color") != arrow.get("color")
    assert found["lifecycle-title"].text == "A <path>"


def test_the_final_phase_has_two_rings() -> None:
    """As in every notation for state machines."""
    rings = {box.name: len(list(by_id(DRAWN)[box.id].iter(f"{SVG}rect"))) for box in PICTURE.boxes}
    assert [name for name, count in rings.items() if count == 2] == ["finalized"]


# --- PNG, and without the extra -------------------------------------------------------------

PROBE: Final = """
import sys
sys.modules["pygraphviz"] = None
from interlock import LIFECYCLE, diagram
assert diagram.mermaid(LIFECYCLE) and diagram.dot(LIFECYCLE)
for make in (diagram.svg, diagram.png):
    try:
        make(LIFECYCLE)
    except diagram.GraphvizMissing as missing:
        print(missing)
"""


def test_a_png_is_wide_enough_and_needs_no_program_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes of a PNG, at least 1600 pixels wide.  Source: R-PIC-04."""
    monkeypatch.setenv("PATH", "")
    drawn = diagram.png(LIFECYCLE)
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(drawn[16:20]) >= 1600
    small = diagram.png(LIFECYCLE, dots_per_inch=36)
    assert int.from_bytes(small[16:20]) < 1600


def test_without_the_extra_an_error_says_how_to_get_it() -> None:
    """Only SVG and PNG need it.  Source: R-PIC-04."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == 2 * [
        "pygraphviz is missing: SVG and PNG need an extra, pip install 'interlock[diagram]'"
    ]
