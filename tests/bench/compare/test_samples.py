from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.compare import samples
from bench.compare.samples import SHARES
from bench.errors import BenchError
from tests.bench.compare.runs import RUN, STORED, load


def test_the_grid_rises_and_names_the_shares_that_people_ask_for() -> None:
    assert list(SHARES) == sorted(set(SHARES))
    assert {0.0, 0.5, 0.9, 0.99, 0.999, 0.9999} <= set(SHARES)


@pytest.mark.parametrize(
    ("requests", "share", "given"),
    [(10, 0.9, True), (9, 0.9, False), (1_001, 0.999, True), (999, 0.999, False), (1, 0.0, True)],
)
def test_a_quantile_is_given_where_a_request_lies_beyond_it(requests: int, share: float, given: bool) -> None:
    one = load(100, None, requests=requests)
    assert one.at(share) == (100 + SHARES.index(share) if given else None)


def test_a_stored_run_is_read_as_it_was() -> None:
    assert samples.read(STORED) == RUN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no run of compare"),
        ('{"machine": {}}', "is no run of compare: .*schema"),
        ('{"schema": 99}', "has schema 99; this bench reads 2"),
        ('{"schema": 2}', "is no run of compare: .*machine"),
    ],
    ids=["empty", "another file", "newer", "cut"],
)
def test_what_is_no_run_is_refused_with_its_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=f"run.json {message}"):
        samples.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none.json cannot be read: No such file"):
        samples.read(tmp_path / "none.json")


def test_quantiles_of_another_grid_are_refused(tmp_path: Path) -> None:
    run = json.loads(STORED.read_text())
    run["targets"][1]["turns"][0]["loads"]["chat 1"]["latency_us"].pop()
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    with pytest.raises(BenchError, match=r"nginx, chat 1: 41 quantiles, not 42"):
        samples.read(path)
