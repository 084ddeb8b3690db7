"""One node for all probes, with short time-outs and small bounds, in front of a provider that keeps what it got."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import environment, make_gateway, settings, upstream
from tests.e2e.node import Gateway
from tests.probes import table
from tests.support.scripted_upstream import ScriptedUpstream, chat_events, completion, json_answer, stream

__all__ = ["make_gateway", "upstream"]

KEYS: dict[str, dict[str, object]] = {"main": {}}
TIMEOUTS = {
    "head_ms": table.HEAD_MS,
    "body_gap_ms": table.BODY_GAP_MS,
    "idle_ms": table.IDLE_MS,
    "write_ms": 1_000,
}
BOUNDS = {"body_bytes": table.BODY_BYTES, "all_bodies_bytes": 16_777_216}


@pytest.fixture(scope="session")
def provider(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """With the answers that the table names."""
    upstream.script(json_answer(completion()), name=table.SCRIPT)
    upstream.script([0.05, *json_answer(completion())], name=table.SLOW)
    upstream.script(stream(chat_events()), name=table.STREAM)
    return upstream


@pytest.fixture(scope="session")
def probed(provider: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    node = Gateway(
        tmp_path_factory.mktemp("probed"),
        settings(provider, KEYS, timeouts=TIMEOUTS, bounds=BOUNDS, log_level="warning"),
        environment(KEYS),
    )
    with node.running():
        yield node
