"""The ledger's parts add up to the whole, and none is lost when a name changes."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from bench import callgrind
from bench.callgrind import Costs
from bench.errors import BenchError
from bench.ledger import parts as ledger

PROFILE = """\
# callgrind format
version: 1
positions: line
events: Ir
ob=(1) /lib/a.so
fl=(1) a.c
fn=(1) main
16 20
+1 3
cfn=(2) work
calls=2 50
17 400
cfn=(3) other
calls=1 60
* 9
fn=(2)
50 100
cfn=(2)'2
calls=1 50
51 120
cfn=(3)
calls=7 60
51 300
fn=(4) work'2
50 5
fn=(3)
60 309
totals: 737
"""


def test_a_profile_is_read_with_names_that_are_abbreviated() -> None:
    costs = callgrind.read(PROFILE)
    assert costs.own == {"main": 23, "work": 105, "other": 309}
    assert costs.total == 437
    assert costs.inclusive("main") == 23 + 400 + 9


def test_what_a_function_calls_of_itself_is_counted_once() -> None:
    assert callgrind.read(PROFILE).inclusive("work") == 105 + 300


def test_a_difference_is_of_one_repetition() -> None:
    one, three = Costs(100, {"a": 60}, {("a", "b"): 40}), Costs(300, {"a": 160, "c": 9}, {("a", "b"): 131})
    assert three.less(one, 2) == Costs(100, {"a": 50, "c": 4.5}, {("a", "b"): 45.5})


def test_another_file_is_no_profile() -> None:
    with pytest.raises(BenchError, match="no count of instructions"):
        callgrind.read("events: Cycles\nfn=(1) a\n1 2\n")


def functions() -> list[str]:
    return [
        (ledger.DEF if "#" in part.function else ledger.NATIVE) + part.function.replace("#", "12")
        for part in ledger.PARTS
    ]


def profile() -> Costs:
    """Each part costs 10 by itself, and calls what is within it; the threads cost 7."""
    names = dict(zip((part.name for part in ledger.PARTS), functions(), strict=True))
    whole: dict[str, float] = {}
    for part in reversed(ledger.PARTS):
        whole[part.name] = 10
    for _ in ledger.PARTS:  # until it is still
        for part in ledger.PARTS:
            whole[part.name] = 10 + sum(whole[name] for name in part.within)
    calls = {(names[part.name], names[name]): whole[name] for part in ledger.PARTS for name in part.within}
    return Costs(10.0 * len(names) + 7, {**dict.fromkeys(names.values(), 10.0), "thread": 7}, calls)


def test_the_parts_add_up_to_the_whole() -> None:
    parts = ledger.ledger(profile())
    assert parts == {**{part.name: 10 for part in ledger.PARTS}, ledger.REST: 7}


@pytest.mark.parametrize("missing", range(len(ledger.PARTS)))
def test_a_function_that_is_called_otherwise_now_is_missed(missing: int) -> None:
    costs = profile()
    del costs.own[functions()[missing]]
    with pytest.raises(BenchError, match=f"the part '{ledger.PARTS[missing].name}' is one function"):
        ledger.ledger(costs)


def test_each_part_is_within_one_other_at_most() -> None:
    within = [name for part in ledger.PARTS for name in part.within]
    assert len(within) == len(set(within))
    assert set(within) < {part.name for part in ledger.PARTS}


def test_the_request_that_is_counted_is_a_whole_one() -> None:
    subprocess.run([sys.executable, "-m", "bench.ledger.request", "3"], check=True)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_request_is_counted_the_same_twice() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is missing")
    first, second = (ledger.measured() for _ in range(2))
    assert first.keys() == second.keys()
    for name, cost in first.items():
        if name != ledger.REST:
            assert second[name] == pytest.approx(cost, rel=0.04, abs=60), name
            assert cost > 100, name
