"""What a worker makes of a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Model, Provider, Snapshot, Target
from gateway.dataplane.compile import compile_snapshot
from tests.support.rig import Rig

HEADERS = (("x-plain", "as it stands"), ("api-key", "env:THEIR_KEY"))


def head_of(directory: Path, secrets: dict[str, str]) -> bytes:
    provider = Provider("one", "openai", "https://h.example/v1", "env:KEY", headers=HEADERS)
    snapshot = Snapshot("v", providers=(provider,), models=(Model("m", (Target("one", "m"),)),))
    pools: Any = type("Pools", (), {"of": lambda self, provider: None})()
    making = compile_snapshot(snapshot, pools, secrets.__getitem__, Rig(directory).admission)
    while True:
        try:
            next(making)
        except StopIteration as made:
            head: bytes = made.value.models["m"].targets[0].heads["chat"]
            return head


def test_references_in_a_providers_headers_become_what_this_node_has_for_them(tmp_path: Path) -> None:
    head = head_of(tmp_path, {"env:KEY": "sk-ours", "env:THEIR_KEY": "theirs"})
    assert b"\r\nauthorization: Bearer sk-ours\r\nx-plain: as it stands\r\napi-key: theirs\r\n" in head
    assert b"env:" not in head


def test_a_reference_that_this_node_cannot_resolve_stops_the_snapshot(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="THEIR_KEY"):
        head_of(tmp_path, {"env:KEY": "sk-ours"})
