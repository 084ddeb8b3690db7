from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench import page, table
from bench.servers import CONF
from tests.bench.samples import COMPARISON, NGINX, OURS, REPORT

SVG = "{http://www.w3.org/2000/svg}"


def test_the_table_fits_a_terminal_of_eighty_columns_and_says_the_ratio() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table.render(REPORT))
    text = capture.get()
    assert max(len(line) for line in text.splitlines()) <= 80
    rows = [line.split() for line in text.splitlines()]
    assert ["nginx", "20.0", "1", "20.0", "10,000", "4.00", "9.50"] in rows
    assert ["throughway", "40.0", "2.00", "50.0", "10,000", "4.00", "9.50"] in rows
    assert "throughway costs 2.00 (1.50..2.50) x nginx; with all its processes 2.50" in text
    assert "Medians of 3 rounds of 4 s, 64 connections, 2 cores of A <CPU>" in text


def test_the_chart_draws_bars_to_scale_and_a_dot_for_each_round() -> None:
    svg = ElementTree.fromstring(page.chart(COMPARISON).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    width = {rect.get("class"): float(rect.get("width", "nan")) for rect in svg.iter(f"{SVG}rect")}
    assert width["ours"] / width["yardstick"] == pytest.approx(2.0, abs=0.01)
    assert width["ours-rest"] / width["ours"] == pytest.approx(50 / 40, abs=0.01)
    dots = list(svg.iter(f"{SVG}circle"))
    assert len(dots) == len(NGINX.samples) + len(OURS.samples)
    right = float(svg.get("viewBox", "").split()[2])
    assert all(float(dot.get("cx", "nan")) < right for dot in dots)


@pytest.mark.parametrize(
    ("highest", "axis"),
    [
        (50.0, (10.0, 50.0)),
        (73.0, (10.0, 80.0)),
        (100.0, (20.0, 100.0)),
        (9.0, (2.0, 10.0)),
        (1.01, (0.2, 1.2)),
        (15_900.0, (2_000.0, 16_000.0)),
    ],
)
def test_the_axis_ends_at_a_round_tick_beyond_the_highest_figure(highest: float, axis: tuple[float, float]) -> None:
    assert page._axis(highest) == pytest.approx(axis)


class Links(HTMLParser):
    """What a page would fetch, and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    html = page.render(REPORT)
    links = Links()
    links.feed(html)
    assert (links.fetched, links.open) == ([], [])
    assert "<script" not in html
    assert "url(" not in html


def test_the_page_shows_figures_and_configurations_and_escapes_what_it_is_given() -> None:
    html = page.render(REPORT)
    assert "2.00&thinsp;&times;" in html
    assert "2.00 (1.50..2.50)" in html
    assert "A &lt;CPU&gt;" in html
    assert "keys; &lt;limits&gt;" in html
    assert "proxy_pass http://instant;" in html


def test_the_readme_publishes_the_configuration_of_the_yardstick() -> None:
    assert (CONF / "proxy.conf").read_text() in (Path(page.__file__).with_name("README.md")).read_text()
