"""Every probe against HTTP/1.1 on the second listener of a served node."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import environment, settings
from tests.e2e.node import Gateway, wait_for
from tests.probes.conftest import BOUNDS, KEYS, TIMEOUTS
from tests.probes.granian import DIFFERENT, NOT_PLAYED, expected
from tests.probes.playing import judge, play, received
from tests.probes.table import PROBES, Probe
from tests.support.scripted_upstream import ScriptedUpstream

AT_ONCE = 8


@pytest.fixture(scope="module")
def second(provider: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    own = settings(provider, KEYS, timeouts=TIMEOUTS, bounds=BOUNDS, log_level="warning", http2={})
    node = Gateway(tmp_path_factory.mktemp("second"), own, environment(KEYS))
    with node.running():
        yield node


def test_every_difference_is_of_a_probe() -> None:
    names = {probe.name for probe in PROBES}
    assert DIFFERENT.keys() <= names and names >= NOT_PLAYED
    assert not [probe.name for probe in PROBES if DIFFERENT.get(probe.name) == probe.native]


def test_each_probe(second: Gateway, provider: ScriptedUpstream) -> None:
    """Many at the same time, since some of them wait."""

    def one(probe: Probe) -> list[str]:
        try:
            return judge(probe, expected(probe), play(("127.0.0.1", second.http2_port), probe, expected(probe)))
        except AssertionError as error:
            return [f"{probe.name}: {error}"]

    played = [probe for probe in PROBES if probe.name not in NOT_PLAYED]
    before = len(received(provider))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert not [fault for faults in pool.map(one, played) for fault in faults]
    reached = received(provider)[before:]
    unsure = sum(expected(probe).unsure for probe in played)
    assert 0 <= len(reached) - sum(expected(probe).reaches for probe in played) <= unsure
    for request in reached:
        assert request.json["model"] == "upstream-mini" and request.json["messages"] == []


def test_nothing_is_left(second: Gateway) -> None:
    def at_rest() -> bool:
        (worker,) = second.status()["workers"]
        return all(worker[what] == 0 for what in ("in_flight", "body_bytes", "connections", "upstream_busy"))

    wait_for("the edge holds nothing", at_rest, 5.0)
    assert not second.log("request_crashed")
