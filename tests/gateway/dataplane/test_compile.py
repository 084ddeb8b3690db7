"""What a worker makes of a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Model, Provider, ProviderKind, Snapshot, Target
from gateway.dataplane.compile import Heads, compile_snapshot
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


# -- heads, by the kind of provider


def heads_of(kind: ProviderKind, base_url: str, **more: Any) -> dict[str, list[bytes]]:
    heads = Heads(Provider("p", kind, base_url, api_key="env:KEY", **more), {"env:KEY": "sk-1"}.__getitem__)
    return {name: head.split(b"\r\n") for name, head in heads.of("the model/1").items()}


def test_an_openai_provider_gets_its_credential_as_a_bearer() -> None:
    heads = heads_of("openai", "https://h/v1")
    assert {name: lines[0] for name, lines in heads.items()} == {
        "chat": b"POST /v1/chat/completions HTTP/1.1",
        "completions": b"POST /v1/completions HTTP/1.1",
        "embeddings": b"POST /v1/embeddings HTTP/1.1",
        "images": b"POST /v1/images/generations HTTP/1.1",
        "speech": b"POST /v1/audio/speech HTTP/1.1",
        "moderations": b"POST /v1/moderations HTTP/1.1",
        "rerank": b"POST /v1/rerank HTTP/1.1",
    }
    assert b"authorization: Bearer sk-1" in heads["chat"]


def test_responses_go_to_a_provider_that_answers_them_itself() -> None:
    heads = heads_of("openai", "https://h/v1", responses=True)
    assert heads["responses"][0] == b"POST /v1/responses HTTP/1.1"


def test_azures_v1_api_differs_by_its_key() -> None:
    heads = heads_of("azure", "https://n.openai.azure.com/openai/v1")
    assert heads["chat"][0] == b"POST /openai/v1/chat/completions HTTP/1.1"
    assert b"api-key: sk-1" in heads["chat"] and not any(b"uthorization" in line for line in heads["chat"])


def test_azures_deployments_stand_in_the_path_with_the_version() -> None:
    heads = heads_of("azure", "https://n.openai.azure.com/openai", api_version="2024-10-21", responses=True)
    path = b"/openai/deployments/the%20model%2F1"
    assert {name: lines[0] for name, lines in heads.items()} == {
        "chat": b"POST %b/chat/completions?api-version=2024-10-21 HTTP/1.1" % path,
        "completions": b"POST %b/completions?api-version=2024-10-21 HTTP/1.1" % path,
        "embeddings": b"POST %b/embeddings?api-version=2024-10-21 HTTP/1.1" % path,
        "images": b"POST %b/images/generations?api-version=2024-10-21 HTTP/1.1" % path,
        "speech": b"POST %b/audio/speech?api-version=2024-10-21 HTTP/1.1" % path,
    }


def test_anthropics_and_googles_keys_have_headers_of_their_own() -> None:
    anthropic, gemini = heads_of("anthropic", "https://a/v1"), heads_of("gemini", "https://g/v1beta")
    assert anthropic["messages"][0] == b"POST /v1/messages HTTP/1.1" and b"x-api-key: sk-1" in anthropic["messages"]
    assert gemini["generate_stream"][0] == (
        b"POST /v1beta/models/the%20model%2F1:streamGenerateContent?alt=sse HTTP/1.1"
    )
    assert b"x-goog-api-key: sk-1" in gemini["generate"]
