from __future__ import annotations

import re

import msgspec
import pytest

from bench.compare import html
from bench.compare.peers import PEERS
from bench.compare.samples import Run
from tests.bench.compare.runs import DIRECT, NGINX, RUN
from tests.bench.test_reports import Links

PAGE = html.render(RUN)


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    links = Links()
    links.feed(PAGE)
    assert (links.fetched, links.open) == ([], [])
    assert "<script" not in PAGE
    assert "url(" not in PAGE
    assert "@" not in re.sub("@media", "", PAGE)


def test_it_shows_each_plot_and_follows_the_readers_light_or_dark() -> None:
    assert PAGE.count("<svg") == 6
    assert "prefers-color-scheme: dark" in PAGE
    for title in (
        "CPU a request",
        "How long a lone caller waits",
        "How long callers wait at half load",
        "Throughput against latency",
        "Memory over a turn",
    ):
        assert f"<h2>{title}</h2>" in PAGE


def test_figures_features_and_faults_are_there_and_escaped() -> None:
    assert "keys; &lt;limits&gt;" in PAGE
    assert "40.0<small>38.0..44.0</small><small>&times;2.00</small>" in PAGE
    assert "it ended with 1 while it started: &lt;no luck&gt;" in PAGE
    assert "A &lt;CPU&gt;" in PAGE
    assert "smg left out:" in PAGE
    assert "1/150</b><span>of litellm's CPU a request" in PAGE.replace("&#x27;", "'")


@pytest.mark.parametrize(
    "run",
    [
        msgspec.structs.replace(RUN, targets=(DIRECT,)),
        msgspec.structs.replace(RUN, targets=(DIRECT, NGINX), skipped=()),
        msgspec.structs.replace(RUN, targets=()),
    ],
    ids=["direct", "nginx", "nothing"],
)
def test_a_run_of_little_is_a_page_too(run: Run) -> None:
    links = Links()
    links.feed(html.render(run))
    assert links.open == []


def test_each_peer_has_a_colour_of_its_own() -> None:
    for shade in (0, 1):
        colours = [html._COLOURS[name][shade] for name in PEERS]
        assert len(set(colours)) == len(colours)
