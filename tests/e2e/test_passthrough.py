"""What has no dialect, through a node and both its edges: official clients, those who must not, and those who are slow."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.conftest import PROVIDER_SECRET, Tls, environment, secret_of, settings
from tests.e2e.node import Gateway, wait_for
from tests.support.files_provider import PIECE, FilesProvider
from tests.support.scripted_upstream import ScriptedUpstream

KEYS: dict[str, dict[str, Any]] = {
    "main": {"passthrough": ["files", "claude"]},
    "other": {},
    "canary": {"passthrough": ["*"]},
}
BIG = 104_857_600
GROWN_KIB = 12_288
"""Of a worker, while it relays BIG to who takes nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[FilesProvider]:
    with FilesProvider().running() as running:
        yield running


@pytest.fixture(scope="module")
def node(
    upstream: ScriptedUpstream, provider: FilesProvider, tls: Tls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    made = settings(upstream, KEYS, http2={"tls": tls.settings})
    fields = {"base_url": provider.base_url, "api_key": "env:PROVIDER_KEY"}
    made["providers"] |= {
        "files": {"kind": "openai", "passthrough": True, **fields},
        "claude": {"kind": "anthropic", "passthrough": [{"path": "/files*"}], **fields},
        "closed": {"kind": "openai", **fields},
        "brief": {"kind": "openai", "passthrough": True, "timeouts": {"first_byte_ms": 300}, **fields},
    }
    gateway = Gateway(tmp_path_factory.mktemp("passthrough"), made, environment(KEYS))
    with gateway.running():
        yield gateway


@pytest.fixture(params=["native", "http2"])
def http(request: pytest.FixtureRequest, node: Gateway, tls: Tls) -> Iterator[httpx.Client]:
    """A client of either edge."""
    fields: dict[str, Any] = {"timeout": 30, "headers": {"authorization": f"Bearer {secret_of('main')}"}}
    if request.param == "native":
        with httpx.Client(base_url=f"http://127.0.0.1:{node.port}", **fields) as made:
            yield made
    else:
        address = f"https://127.0.0.1:{node.http2_port}"
        with httpx.Client(http2=True, http1=False, verify=tls.context(), base_url=address, **fields) as made:
            yield made


def client_at(http: httpx.Client, path: str) -> openai.OpenAI:
    """The official client over that one."""
    fields: dict[str, Any] = {"api_key": secret_of("main"), "max_retries": 0, "http_client": http}
    return openai.OpenAI(base_url=f"{str(http.base_url).rstrip('/')}/{path}", **fields)


def test_the_official_client_keeps_files_and_batches(
    http: httpx.Client, node: Gateway, provider: FilesProvider
) -> None:
    client = client_at(http, "files")
    content = b'{"custom_id": "1"}\n' + bytes(range(256)) * 1_000
    made = client.files.create(file=("batch.jsonl", content), purpose="batch")
    assert (made.filename, made.purpose, made.bytes) == ("batch.jsonl", "batch", len(content))
    assert made.id in [each.id for each in client.files.list(limit=50)]
    assert client.files.retrieve(made.id).id == made.id
    assert client.files.content(made.id).read() == content
    batch = client.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (batch.status, client.batches.retrieve(batch.id).status) == ("validating", "completed")
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such thing"):
        client.files.retrieve(made.id)
    for asked in provider.asked:
        assert asked.header("authorization") == f"Bearer {PROVIDER_SECRET}"
        assert secret_of("main") not in str(asked.headers)
    assert node.metric("throughway_requests_total", endpoint="passthrough", provider="files", code="ok") >= 7
    assert node.metric("throughway_unpriced_requests_total") >= 2


def test_anthropics_client_needs_no_other_base_url(node: Gateway, provider: FilesProvider) -> None:
    address = f"http://127.0.0.1:{node.port}/claude"
    with anthropic.Anthropic(base_url=address, api_key=secret_of("main"), max_retries=0) as client:
        listed = client.get("/v1/files", cast_to=dict[str, Any])
    asked = provider.asked[-1]
    assert listed["object"] == "list" and asked.path == "/v1/files"
    assert asked.header("anthropic-version") and asked.header("x-api-key") == PROVIDER_SECRET
    assert asked.header("authorization") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_and_any_body_go_through(http: httpx.Client, provider: FilesProvider, method: str) -> None:
    body = b"" if method in ("GET", "HEAD", "DELETE") else bytes(range(256)) * 4_000
    got = http.request(method, "/files/echo/x?a=%2F&b=1", content=body, headers={"content-type": "application/x-own"})
    asked = provider.asked[-1]
    assert (asked.method, asked.path, asked.body) == (method, "/v1/echo/x?a=%2F&b=1", body)
    assert got.status_code == 200 and got.content == body and "set-cookie" not in got.headers
    assert got.headers["content-type"] == "application/x-own"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nobody/files", 404, "not_found"),
        ("/closed/files", 403, "passthrough_not_allowed"),
        ("/brief/files", 403, "passthrough_not_allowed"),
        ("/claude/assistants", 403, "error"),
        ("/files/files/%2e%2e/admin", 400, "invalid_value"),
        ("/files/files%2Fx", 400, "invalid_value"),
        ("/files/files//x", 400, "invalid_value"),
        ("/files/user@evil.example/x", 400, "invalid_value"),
        ("/files/files;x", 400, "invalid_value"),
    ],
)
def test_what_is_not_admitted_reaches_no_provider(
    http: httpx.Client, provider: FilesProvider, path: str, status: int, code: str
) -> None:
    before = len(provider.asked)
    request = http.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    got = http.send(request)
    assert (got.status_code, len(provider.asked)) == (status, before)
    assert (got.json()["error"].get("code") or got.json()["type"]) == code


@pytest.mark.parametrize(
    "target",
    [
        b"/files/../admin",
        b"/files/./x",
        b"http://127.0.0.1/files/../x",
        b"/files/http://evil.example/",
        b"/files/\\..\\x",
        b"/files/%00",
        b"/files/a%0d%0ax:%20y",
        b"/files/..%3b/x",
    ],
)
def test_path_tricks_on_the_wire_are_refused(node: Gateway, provider: FilesProvider, target: bytes) -> None:
    before = len(provider.asked)
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as raw:
        host = b"127.0.0.1" if target.startswith(b"http:") else b"h"
        raw.sendall(
            b"GET %b HTTP/1.1\r\nhost: %b\r\nauthorization: Bearer %b\r\nconnection: close\r\n\r\n"
            % (target, host, secret_of("main").encode())
        )
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert len(provider.asked) == before


@pytest.mark.parametrize("key", [None, "other"])
def test_who_may_not_is_refused_before_the_body(http: httpx.Client, provider: FilesProvider, key: str | None) -> None:
    before = len(provider.asked)
    headers = {"authorization": f"Bearer {secret_of(key)}" if key else "Bearer nobody", "content-type": "application/x"}
    got = http.post("/files/files", content=iter([b"x" * 1_000] * 100), headers=headers)
    assert got.status_code == (403 if key else 401) and len(provider.asked) == before


def test_a_provider_that_stalls_is_told(node: Gateway) -> None:
    got = node.ask(key=secret_of("canary"), path="/brief/stall", method="GET")
    assert (got.status, got.error["code"]) == (504, "provider_timeout")
    assert node.record(got.headers["x-request-id"])["code"] == "provider_timeout"


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_a_large_answer_waits_for_a_slow_reader_in_the_provider(
    http: httpx.Client, node: Gateway, provider: FilesProvider
) -> None:
    (worker,) = node.worker_pids()
    http.get("/files/big/1000000")
    before, most, size = rss_kib(worker), 0, 0
    with http.stream("GET", f"/files/big/{BIG}") as got:
        assert got.headers["content-length"] == str(BIG)
        for index, part in enumerate(got.iter_raw(65_536)):
            assert part[:1] == PIECE[size % 256 : size % 256 + 1]
            size += len(part)
            if index < 5:
                time.sleep(0.2)
                most = max(most, provider.sent_bytes)
            assert index % 100 or rss_kib(worker) - before < GROWN_KIB
    assert size == BIG and most < BIG // 2, "while nothing was taken, the provider could not go on"


def test_who_leaves_stops_the_provider(http: httpx.Client, node: Gateway, provider: FilesProvider) -> None:
    provider.left.clear()
    with http.stream("GET", f"/files/big/{BIG}") as got:
        name = got.headers["x-request-id"]
        next(got.iter_raw())
    http.close()
    assert provider.left.wait(10)
    node.wait_until_idle()
    assert node.record(name)["code"] == "client_closed_request"


def test_no_secret_is_kept_or_told(node: Gateway, provider: FilesProvider) -> None:
    got = node.ask(key=secret_of("canary"), path="/files/leak?note=canary-query", method="GET")
    assert (got.status, got.error["code"]) == (502, "provider_error")
    assert PROVIDER_SECRET not in str(got)
    body = b"canary-body-7e1f"
    sent = node.ask(
        body,
        secret_of("canary"),
        path="/files/echo/canary-path",
        headers={"content-type": "text/x", "cookie": "canary-cookie"},
    )
    assert sent.body == body and "canary-cookie" not in str(provider.asked[-1].headers)
    node.record(sent.headers["x-request-id"])
    wait_for("logged", lambda: node.logged(sent.headers["x-request-id"]))
    for file in (node.log_file, *(each for each in node.state_dir.rglob("*") if each.is_file())):
        content = file.read_bytes()
        for kept in (
            PROVIDER_SECRET,
            secret_of("canary"),
            "canary-body",
            "canary-cookie",
            "canary-query",
            "canary-path",
        ):
            assert kept.encode() not in content, (file, kept)
