"""A line chart as an SVG file, plain enough to be read in a diff and on a dark page.

A plotting library would be the largest dependency of the project, for four pictures of a few points each.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 180, 40, 50  # margins; the names of the lines are on the right
COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626")
GREY = "#808080"  # legible on white and on black
LABEL_HEIGHT = 15
STEPS = (1, 2, 5, 10)  # round distances between ticks


@dataclass(frozen=True, slots=True)
class Chart:
    """A title, the names of the axes, and the lines by name; ``is_log`` makes both axes logarithmic."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    is_log: bool = False

    def as_svg(self) -> str:
        """Return the chart as the text of an SVG file."""
        xs = sorted({x for points in self.lines.values() for x, _ in points})
        ys = [y for points in self.lines.values() for _, y in points]
        ticks = _ticks(min(ys), max(ys), is_log=self.is_log)
        across = _scale(xs[0], xs[-1], (LEFT, WIDTH - RIGHT), is_log=self.is_log)
        up = _scale(ticks[0], ticks[-1], (HEIGHT - BOTTOM, TOP), is_log=self.is_log)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="12" fill="{GREY}">',
            f"<title>{escape(self.title)}</title>",
            _text(LEFT, TOP - 20, f"{self.title}, {self.y_label}", anchor="start"),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, self.x_label),
            *(_line([(LEFT, up(y)), (WIDTH - RIGHT, up(y))], GREY, width=0.3) for y in ticks),
            *(_text(LEFT - 6, up(y) + 4, f"{y:g}", anchor="end") for y in ticks),
            *(_text(across(x), HEIGHT - BOTTOM + 18, f"{x:,g}" if x < 1e6 else f"{x / 1e6:g} M") for x in xs),
            *self._drawn(across, up),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _drawn(self, across: "Scale", up: "Scale") -> list[str]:
        """Return the lines, a dot for each point, and the names, moved apart if they would overlap."""
        drawn: list[str] = []
        lowest = math.inf
        last_first = sorted(self.lines.items(), key=lambda line: -up(line[1][-1][1]))
        colours = dict(zip(self.lines, COLOURS, strict=False))
        for name, points in last_first:
            colour = colours.get(name, GREY)
            places = [(across(x), up(y)) for x, y in sorted(points)]
            lowest = min(places[-1][1] + 4, lowest - LABEL_HEIGHT)
            drawn.append(_line(places, colour, width=2))
            drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
            drawn.append(_text(WIDTH - RIGHT + 10, lowest, name, anchor="start", colour=colour))
        return drawn


Scale = Callable[[float], float]


def _scale(low: float, high: float, pixels: tuple[float, float], *, is_log: bool) -> Scale:
    """Return the function from a value to its place in pixels."""
    of = math.log10 if is_log else float
    span = of(high) - of(low) or 1.0
    return lambda value: pixels[0] + (pixels[1] - pixels[0]) * (of(value) - of(low)) / span


def _ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    """Return round values that enclose the values from ``low`` to ``high``; a linear axis begins at 0."""
    if is_log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    rough = (high or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in STEPS if each * power >= rough)
    return [number * step for number in range(math.ceil(high / step) + 1)]


def _line(places: list[tuple[float, float]], colour: str, *, width: float) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "middle", colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(text)}</text>'
