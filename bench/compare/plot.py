"""The report's picture: by row and peer, how many times better ours is, on a logarithmic scale."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

ROW_PX: Final = 30
LEFT_PX: Final = 350
WIDTH_PX: Final = 560
TOP_PX: Final = 70
LEGEND_PX: Final = 180
_FONT: Final = 'font-family="sans-serif" font-size="13"'
#: Of the scale; what is beyond is drawn at its end.
LEAST: Final = 0.1
MOST: Final = 1000.0
COLOURS: Final = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#7a7a7a",
    "#f0e442",
    "#000000",
    "#8b5a2b",
)


class Dot(NamedTuple):
    """One ratio."""

    row: str
    peer: str
    better: float


def svg(dots: Sequence[Dot], title: str) -> str:
    """An SVG; each dot says its number when it is pointed at."""
    rows, peers = [*dict.fromkeys(d.row for d in dots)], [*dict.fromkeys(d.peer for d in dots)]
    colours = {peer: COLOURS[n % len(COLOURS)] for n, peer in enumerate(peers)}
    height = TOP_PX + ROW_PX * len(rows) + 30
    width = LEFT_PX + WIDTH_PX + LEGEND_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="24" font-size="16">{escape(title)}</text>',
    ]
    bottom = height - 30
    ticks = [10.0**power for power in range(-1, 4)]
    for tick in ticks:
        x, colour = _x(tick), "#333" if tick == 1 else "#ddd"
        parts.append(f'<path d="M{x:.0f} {TOP_PX - 12}V{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.0f}" y="{TOP_PX - 18}" text-anchor="middle">{tick:g}x</text>')
    for number, row in enumerate(rows):
        y = TOP_PX + ROW_PX * number + 12
        parts.append(f'<text x="{LEFT_PX - 12}" y="{y + 4}" text-anchor="end">{escape(row)}</text>')
        parts += [_dot(d, y, colours[d.peer]) for d in dots if d.row == row]
    for number, peer in enumerate(peers):
        x, y = LEFT_PX + WIDTH_PX + 24, TOP_PX + 22 * number
        parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{colours[peer]}"/>')
        parts.append(f'<text x="{x + 14}" y="{y + 4}">{escape(peer)}</text>')
    return "\n".join((*parts, "</svg>\n"))


def _dot(dot: Dot, y: int, colour: str) -> str:
    said = escape(f"{dot.row}, {dot.peer}: {dot.better:.3g}x")
    return (
        f'<circle cx="{_x(dot.better):.1f}" cy="{y}" r="6" fill="{colour}" fill-opacity="0.85"'
        f' stroke="#fff"><title>{said}</title></circle>'
    )


def _x(ratio: float) -> float:
    """Where a ratio lies."""
    share = math.log10(min(max(ratio, LEAST), MOST) / LEAST) / math.log10(MOST / LEAST)
    return LEFT_PX + WIDTH_PX * share
