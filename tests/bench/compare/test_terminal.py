from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench.compare import peers, terminal
from bench.compare.figures import FIGURES, Failed, Value
from tests.bench.compare.runs import RUN


def shown(width: int = terminal.COLUMNS) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(RUN))
    return capture.get()


def test_the_report_fits_a_hundred_columns_and_cuts_no_word() -> None:
    text = shown()
    assert max(len(line) for line in text.splitlines()) <= terminal.COLUMNS
    assert "\u2026" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["nginx", "proxies", "20.0", "1.00", "40.0", "20.0", "2,500", "5"] in rows
    assert ["throughway", "governs", "40.0", "2.00", "80.0", "40.0", "2,500", "10"] in rows
    assert ["throughway", "governs", "100", "2.00", "100", "100", "200", "200"] in rows
    assert ["throughway", "governs", "150", "-", "150", "150", "1,250"] in rows
    assert ["throughway", "governs", "50.0", "1.00", "73.0", "10.0", "63.0", "2.0", "500"] in rows
    assert [row for row in rows if row[:1] == ["direct"]] == [["direct", "nothing", "-", "-", "-", "-", "2,500", "-"]]


def test_what_failed_and_what_was_left_out_says_why() -> None:
    text = shown(200)
    assert "envoy failed: start, round 1: it ended with 1 while it started: <no luck>" in text
    assert "litellm failed: stream full, round 2: of 7 requests some failed: 1 status" in text
    assert "smg left out: smg==1.13.0 is not installed: python -m bench compare --install --target smg" in text


def test_features_and_conditions_stand_with_the_figures() -> None:
    text = shown(300)
    assert "throughway 1.2: keys; <limits>" in text
    assert (
        "Medians of 3 rounds; phases of 4 s; full load is 64 connections. Each target afresh and alone on core 1"
        in text
    )


@pytest.mark.parametrize("peer", peers.PEERS.values(), ids=peers.PEERS)
def test_what_a_peer_does_fits_its_column(peer: peers.Peer) -> None:
    assert 0 < len(peer.does) <= 12


@pytest.mark.parametrize(
    ("found", "text"), [(Value(1_234.56, 0, 0), "1,234.6"), (Failed("why"), "failed"), (None, "-")]
)
def test_a_cell_is_a_figure_or_a_word(found: Value | Failed | None, text: str) -> None:
    assert terminal.cell(found, 1) == text


def test_the_readme_describes_every_peer_and_every_figure() -> None:
    readme = (Path(terminal.__file__).parents[1] / "README.md").read_text()
    for name in peers.PEERS:
        assert f"| `{name}` |" in readme
    for key in FIGURES:
        assert f"| `{key}` |" in readme
