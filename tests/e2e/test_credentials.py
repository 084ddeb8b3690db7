"""Providers that are shown tokens which expire: Vertex AI with a service account's key, Azure with Entra, asked by official clients."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.e2e.conftest import PRICE, environment, secret_of, settings
from tests.e2e.node import Answer, Gateway, wait_for
from tests.e2e.test_dialects import ANSWER, gemini, gpt
from tests.support.scripted_upstream import Received, Script, ScriptedUpstream, error, json_answer
from tests.support.token_server import CLIENT, CLIENT_SECRET, TENANT, TokenServer

KEYS: dict[str, dict[str, Any]] = {"main": {}}
PROJECT = "projects/project/locations/europe-west4"
SECRETS = environment(KEYS) | {"CLIENT_SECRET": CLIENT_SECRET}


class Checked:
    """A provider that is shown tokens, and says when one is not valid."""

    def __init__(self, issuer: TokenServer, script: Callable[[Received], Script]) -> None:
        self._issuer = issuer
        self._script = script
        self.refused: list[str] = []
        self.shown: set[str] = set()

    def __call__(self, received: Received) -> Script:
        lines = [value for name, value in received.headers if name in ("authorization", "api-key", "x-goog-api-key")]
        token = lines[0].removeprefix("Bearer ") if len(lines) == 1 else ""
        if not self._issuer.is_valid(token):
            self.refused.append(str(lines))
            return error(401, "The token is not valid.")
        self.shown.add(token)
        return self._script(received)


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server
        assert not server.faults


def configuration(upstream: ScriptedUpstream, issuer: TokenServer, key_file: Path) -> dict[str, Any]:
    google = {"kind": "google_service_account", "key_file": str(key_file)}
    entra = {
        "kind": "entra_client_secret",
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": "env:CLIENT_SECRET",
        "endpoint": issuer.url,
    }
    root = upstream.base_url("vertex").removesuffix("/vertex/v1")
    providers = {
        "vertex": {"kind": "vertex", "base_url": f"{root}/vertex/v1/{PROJECT}", "auth": google},
        "vertex-openai": {
            "kind": "openai",
            "base_url": f"{root}/vertexopenai/v1/{PROJECT}/endpoints/openapi",
            "auth": google,
        },
        "azure": {"kind": "azure", "base_url": f"{root}/azure/openai/v1", "auth": entra},
        "deployed": {
            "kind": "azure",
            "base_url": f"{root}/deployed/openai",
            "api_version": "2024-10-21",
            "auth": entra,
        },
    }
    models = {
        name: {"targets": [{"provider": provider, "model": model, "price": PRICE}]}
        for name, provider, model in (
            ("gemini", "vertex", "gemini-3-flash"),
            ("llama", "vertex-openai", "meta/llama-4"),
            ("gpt", "azure", "gpt-upstream"),
            ("deployed", "deployed", "my-deployment"),
        )
    }
    return settings(upstream, KEYS) | {"providers": providers, "models": models}


@pytest.fixture
def checked(upstream: ScriptedUpstream, issuer: TokenServer) -> dict[str, Checked]:
    issuer.life_s, issuer.mode = 3_600.0, "issue"
    scripts = {"vertex": gemini, "vertexopenai": gpt, "azure": gpt, "deployed": gpt}
    made = {name: Checked(issuer, script) for name, script in scripts.items()}
    upstream.script(error(500), name="", **made)
    return made


@contextlib.contextmanager
def node_of(upstream: ScriptedUpstream, issuer: TokenServer, directory: Path, workers: int = 1) -> Iterator[Gateway]:
    home = directory / "node"
    home.mkdir()
    key_file = issuer.write_key(directory / "service-account.json")
    made = Gateway(home, configuration(upstream, issuer, key_file), SECRETS, workers)
    with made.running():
        yield made


def client_of(node: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=node.base_url, api_key=secret_of("main"), max_retries=0, timeout=10)


@contextlib.contextmanager
def google_client_of(node: Gateway) -> Iterator[genai.Client]:
    options = genai_types.HttpOptions(base_url=node.base_url.removesuffix("/v1"), timeout=10_000)
    made = genai.Client(api_key=secret_of("main"), http_options=options)
    yield made
    made.close()


def test_official_clients_are_answered_by_providers_with_tokens(
    upstream: ScriptedUpstream, issuer: TokenServer, checked: dict[str, Checked], tmp_path: Path
) -> None:
    with node_of(upstream, issuer, tmp_path) as node:
        _ask_all(upstream, node)
        assert not [provider.refused for provider in checked.values() if provider.refused]
        upstream.script(error(500), name="", vertex=Checked(issuer, lambda _: json_answer({"totalTokens": 7})))
        with google_client_of(node) as google:
            assert google.models.count_tokens(model="gemini", contents="Hello").total_tokens == 7
        last = upstream.requests_of("")[-1]
        assert last.path == f"/vertex/v1/{PROJECT}/publishers/google/models/gemini-3-flash:countTokens"


def _ask_all(upstream: ScriptedUpstream, node: Gateway) -> None:
    before = len(upstream.requests_of(""))
    with client_of(node) as chat:
        for model in ("gemini", "llama", "gpt", "deployed"):
            asked: Any = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            assert chat.chat.completions.create(**asked).choices[0].message.content == ANSWER
            chunks = chat.chat.completions.create(**asked, stream=True)
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    with google_client_of(node) as google:
        assert google.models.generate_content(model="gemini", contents="Hello").text == ANSWER
        streamed = google.models.generate_content_stream(model="gemini", contents="Hello")
        assert "".join(answer.text or "" for answer in streamed) == ANSWER
        assert google.models.generate_content(model="gpt", contents="Hello").text == ANSWER
    of_model = f"/vertex/v1/{PROJECT}/publishers/google/models/gemini-3-flash"
    chats = "chat/completions"
    assert [received.path for received in upstream.requests_of("")[before:]] == [
        f"{of_model}:generateContent",
        f"{of_model}:streamGenerateContent?alt=sse",
        *[f"/vertexopenai/v1/{PROJECT}/endpoints/openapi/{chats}"] * 2,
        *[f"/azure/openai/v1/{chats}"] * 2,
        *[f"/deployed/openai/deployments/my-deployment/{chats}?api-version=2024-10-21"] * 2,
        f"{of_model}:generateContent",
        f"{of_model}:streamGenerateContent?alt=sse",
        f"/azure/openai/v1/{chats}",
    ]


class Callers(threading.Thread):
    """Ask without a rest until they are told to stop."""

    def __init__(self, node: Gateway, model: str) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.failures: list[str] = []
        self.ended = threading.Event()
        self._node, self._model = node, model

    def run(self) -> None:
        asked: Any = {"model": self._model, "messages": [{"role": "user", "content": "Hello"}]}
        with client_of(self._node) as chat:
            while not self.ended.is_set():
                try:
                    assert chat.chat.completions.create(**asked).choices[0].message.content == ANSWER
                    self.answers += 1
                except openai.APIError as failure:
                    self.failures.append(str(failure))
                time.sleep(0.01)


def test_no_request_fails_while_tokens_are_renewed_and_none_is_told_to_anybody(
    upstream: ScriptedUpstream, issuer: TokenServer, checked: dict[str, Checked], tmp_path: Path
) -> None:
    issuer.life_s = 2.0
    issuer.issued.clear()
    with node_of(upstream, issuer, tmp_path, workers=2) as node:
        callers = [Callers(node, model) for model in ("gemini", "llama", "gpt", "deployed")]
        for caller in callers:
            caller.start()
        time.sleep(7.0)
        for caller in callers:
            caller.ended.set()
            caller.join(10)
        assert not [caller.failures for caller in callers if caller.failures]
        assert all(caller.answers > 50 for caller in callers)
        for provider in checked.values():
            assert not provider.refused
            assert len(provider.shown) >= 4, "three renewals at the least"
        metrics, status = node.ops("/metrics").body.decode(), node.ops("/status").body.decode()
        assert node.metric("throughway_provider_tokens_missing") == 0
        assert node.metric("throughway_provider_token_renewals_total", provider="vertex") >= 2 * 4
        config = node.command("check", "--print").stdout
    forbidden = [*issuer.issued, CLIENT_SECRET, *issuer.private_parts()]
    assert len(forbidden) > 50
    files = [file for file in [*node.state_dir.rglob("*"), node.log_file] if file.is_file()]
    assert {"snapshot.json", "node.mem", "log.jsonl"} <= {file.name for file in files}
    for where, text in [("/metrics", metrics), ("/status", status), ("check", config)] + [
        (str(file), file.read_bytes().decode("latin-1")) for file in files
    ]:
        assert not [secret for secret in forbidden if secret in text], where


def test_a_provider_without_a_token_is_answered_for_at_once(
    upstream: ScriptedUpstream, issuer: TokenServer, checked: dict[str, Checked], tmp_path: Path
) -> None:
    issuer.mode = "refuse"
    with node_of(upstream, issuer, tmp_path) as node:  # it serves all the same
        began = time.monotonic()
        with client_of(node) as chat, pytest.raises(openai.InternalServerError) as refused:
            chat.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "Hello"}])
        assert time.monotonic() - began < 1.0
        assert (refused.value.status_code, refused.value.code) == (503, "provider_credential_missing")
        assert refused.value.response.headers["retry-after"] == "1"
        with google_client_of(node) as google, pytest.raises(genai_errors.ServerError, match="still to come") as told:
            google.models.generate_content(model="gemini", contents="Hello")
        assert told.value.code == 503
        assert node.metric("throughway_provider_tokens_missing", provider="azure") == 1
        first = wait_for(
            "why, in the log",
            lambda: next((x for x in node.log("credential.failed") if x["provider"] == "azure"), None),
        )
        assert first["level"] == "error" and "AADSTS7000215" in first["error"]
        issuer.mode = "issue"
        wait_for("tokens", lambda: node.metric("throughway_provider_tokens_missing") == 0)
        assert ask(node, "gemini").status == 200
        config = configuration(upstream, issuer, tmp_path / "service-account.json")
        config["models"]["gpt"]["targets"][0]["provider"] = "new"
        config["providers"]["new"] = config["providers"]["azure"]
        node.configure({**node.settings, **config})
        wait_for(
            "the new provider", lambda: ask(node, "gpt").headers.get("x-throughway-provider") == "new", every_s=0.001
        )
    codes = [line["code"] for line in node.log() if line["provider"] == "new"]
    assert codes and set(codes) == {""}, "its token was there before it was"


def ask(node: Gateway, model: str) -> Answer:
    return node.ask({"model": model, "messages": [{"role": "user", "content": "Hello"}]}, secret_of("main"))
