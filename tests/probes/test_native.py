"""Every probe against the native edge of a served node."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import environment, settings
from tests.e2e.node import Gateway, wait_for
from tests.probes.conftest import BOUNDS, KEYS, TIMEOUTS
from tests.probes.playing import judge, play, received
from tests.probes.table import CHAT, HALF_CLOSED, PROBES, Probe
from tests.probes.wire import HALF_CLOSE
from tests.support.certificates import Authority
from tests.support.scripted_upstream import ScriptedUpstream


@pytest.fixture
def address(probed: Gateway) -> tuple[str, int]:
    return "127.0.0.1", probed.port


def test_the_table_is_one() -> None:
    names = [probe.name for probe in PROBES]
    assert len(set(names)) == len(names) >= 150


@pytest.mark.parametrize("probe", [p for p in PROBES if not p.slow], ids=lambda p: p.name)
def test_each_probe(probe: Probe, address: tuple[str, int], provider: ScriptedUpstream) -> None:
    expected = probe.native
    before = len(received(provider))
    outcome = play(address, probe, expected)
    assert not judge(probe, expected, outcome)
    if not expected.unsure:
        assert len(received(provider)) - before == expected.reaches
    for request in received(provider)[before:]:
        assert request.path == f"/a{CHAT.decode()}"
        assert request.json["model"] == "upstream-mini" and request.json["messages"] == []


def test_slow_probes(address: tuple[str, int]) -> None:
    """At the same time, since each of them waits."""

    def one(probe: Probe) -> list[str]:
        expected = probe.native
        try:
            return judge(probe, expected, play(address, probe, expected))
        except AssertionError as error:
            return [f"{probe.name}: {error}"]

    slow: Sequence[Probe] = [probe for probe in PROBES if probe.slow]
    with ThreadPoolExecutor(len(slow)) as pool:
        assert not [fault for faults in pool.map(one, slow) for fault in faults]


@pytest.fixture(scope="module")
def secured(
    provider: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, ssl.SSLContext]]:
    """A node whose edge speaks TLS, and what its clients need."""
    directory = tmp_path_factory.mktemp("secured")
    authority = Authority("Of the probes")
    cert_file, key_file = authority.issue("127.0.0.1").write(directory)
    tls = {"cert_file": cert_file, "key_file": key_file}
    made = Gateway(
        directory,
        settings(provider, KEYS, timeouts=TIMEOUTS, bounds=BOUNDS, log_level="warning", tls=tls),
        environment(KEYS),
    )
    with made.running():
        yield made, ssl.create_default_context(cadata=authority.pem.decode())


@pytest.mark.nightly
def test_each_probe_over_tls(secured: tuple[Gateway, ssl.SSLContext], provider: ScriptedUpstream) -> None:
    node, context = secured
    probes = [probe for probe in PROBES if probe not in HALF_CLOSED and HALF_CLOSE not in probe.steps]

    def one(probe: Probe) -> list[str]:
        expected = probe.native
        try:
            return judge(probe, expected, play(("127.0.0.1", node.port), probe, expected, context))
        except AssertionError as error:
            return [f"{probe.name}: {error}"]

    before = len(received(provider))
    with ThreadPoolExecutor(16) as pool:
        faults = [fault for faults in pool.map(one, probes) for fault in faults]
    assert not faults
    assert len(received(provider)) - before == sum(probe.native.reaches for probe in probes)


def test_nothing_is_left(probed: Gateway) -> None:
    def at_rest() -> bool:
        (worker,) = probed.status()["workers"]
        return all(worker[what] == 0 for what in ("in_flight", "body_bytes", "connections", "upstream_busy"))

    wait_for("the edge holds nothing", at_rest, 5.0)
    assert not probed.log("request_crashed")
    assert "failed" not in probed.log_file.read_text()
