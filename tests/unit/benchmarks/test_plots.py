"""Test the plots that are drawn from a results file."""

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.chart import Chart, Points
from benchmarks.plots import PLOTS, draw

SVG = "{http://www.w3.org/2000/svg}"


def load(milliseconds: float) -> dict[str, Any]:
    spent = {"without the sandbox": milliseconds, "by process": {"api": 0.4, "postgres": 0.3, "worker-payments-1": 0.3}}
    return {"post_ms": {"p99": milliseconds}, "after_provider_ms": {"p99": milliseconds}, "processor_ms": spent}


RESULTS = {
    "rows": {
        "ordinary": {
            "figures": {"medians": {"product": {"10": load(9), "100": load(3)}, "taskiq": {"10": load(15.8)}}}
        },
        "growth": {"figures": {"sizes": [{"rows": 0, **load(0.6)}, {"rows": 3_000_000, **load(0.62)}]}},
    }
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_plot_is_drawn_of_the_rows_that_were_measured(tmp_path: Path) -> None:
    written = draw(RESULTS, tmp_path / "images")
    assert [file.stem for file in written] == list(PLOTS)
    for file in written:
        assert "ms" in texts(file.read_text())[0]
    assert draw({"rows": {}}, tmp_path) == []


def test_a_chart_names_each_line_and_each_load() -> None:
    chart = Chart("POST", "payments/s", "ms", {"product": [(10, 9.0), (500, 4.0)], "taskiq": [(10, 15.0)]}, is_log=True)
    assert {"product", "taskiq", "10", "500", "payments/s", "POST, ms", "1", "100"} <= set(texts(chart.as_svg()))


def test_names_of_lines_that_end_at_the_same_height_do_not_overlap() -> None:
    lines: dict[str, Points] = {"one": [(0, 1.0), (1, 2.0)], "two": [(0, 2.0), (1, 2.0)], "three": [(0, 0.0), (1, 2.0)]}
    svg = Chart("cost", "rows", "ms", lines).as_svg()
    names = [element for element in ET.fromstring(svg).iter(f"{SVG}text") if element.text in lines]
    heights = sorted(float(element.attrib["y"]) for element in names)
    assert all(later - earlier >= 14.9 for earlier, later in pairwise(heights))


def test_a_chart_of_a_single_value_has_a_scale() -> None:
    assert "0.5" in texts(Chart("cost", "rows", "ms", {"one": [(0, 0.5)]}).as_svg())
