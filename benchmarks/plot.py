"""Horizontal bars as SVG: the median, and a dot for each round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median
from typing import Final

XMLNS: Final = "http://www.w3.org/2000/svg"
LINE: Final = 26
LEFT: Final = 190
WIDTH: Final = 420
RIGHT: Final = 80

STYLE: Final = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}"
    ".bar{fill:#7aa6d6}.first{fill:#e08a3c}.dot{fill:#222;fill-opacity:.55}"
)


def bars(title: str, measured: Mapping[str, Sequence[float]]) -> str:
    """A drawing; the first bar stands out."""
    longest = max(max(values) for values in measured.values()) or 1.0
    width, height = LEFT + WIDTH + RIGHT, LINE * (len(measured) + 2)
    parts = [
        f'<svg xmlns="{XMLNS}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text class="title" x="8" y="18">{escape(title)}</text>',
    ]
    for at, (name, values) in enumerate(measured.items()):
        parts += _line(name, values, at, longest)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(name: str, values: Sequence[float], at: int, longest: float) -> Iterator[str]:
    y = LINE * (at + 1) + 8
    text_y = y + LINE // 2 + 1
    value, scale = median(values), WIDTH / longest
    kind = "bar first" if at == 0 else "bar"
    box = f'x="{LEFT}" y="{y}" width="{scale * value:.1f}" height="{LINE - 6}"'
    end = LEFT + scale * max(values) + 8
    yield f'<text x="{LEFT - 8}" y="{text_y}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect class="{kind}" {box}/>'
    for each in values:
        at_x = f"{LEFT + scale * each:.1f}"
        yield f'<circle class="dot" cx="{at_x}" cy="{text_y - 4}" r="2"/>'
    yield f'<text x="{end:.1f}" y="{text_y}">{value:.3g}</text>'
