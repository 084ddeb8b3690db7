"""What the end-to-end tests share: one scripted provider, and one node in front of it for all tests that do not end it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests.e2e.node import Gateway, free_port
from tests.support.certificates import Authority
from tests.support.scripted_upstream import ScriptedUpstream

PROVIDER_SECRET = "sk-provider-credential-of-the-tests"
BODY_BYTES = 3_145_728
PRICE = {"input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "cache_read_usd_per_million": 0.075}

KEYS: dict[str, dict[str, Any]] = {
    "main": {},
    "canary": {},
    "storm": {
        "limits": {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000, "concurrency": 1_000},
        "budget": {"usd": 1_000, "per": "day"},
    },
    "leavers": {"limits": {"concurrency": 2_000}},
    "some": {"models": ["gpt-4o-mini", "embed*"]},
    "expired": {"expires": "2020-01-31"},
    "in-team": {"team": "plain"},
    "rpm": {"limits": {"requests_per_minute": 2}},
    "rpm-errors": {"limits": {"requests_per_minute": 2}},
    "rpm-table": {"limits": {"requests_per_minute": 1}},
    "tpm": {"limits": {"tokens_per_minute": 1_000}},
    "tpm-table": {"limits": {"tokens_per_minute": 10}},
    "concurrency": {"limits": {"concurrency": 1}},
    "budget": {"budget": {"usd": 0.01, "per": "total"}},
    "budget-table": {"budget": {"usd": 0.0001, "per": "day"}},
    "team-rpm-1": {"team": "rpm"},
    "team-rpm-2": {"team": "rpm"},
    "team-budget-1": {"team": "budget"},
    "team-budget-2": {"team": "budget"},
}


def secret_of(key: str) -> str:
    return f"sk-tw-test-{key}-0123456789abcdef"


def variable_of(key: str) -> str:
    return "KEY_" + key.upper().replace("-", "_")


def settings(upstream: ScriptedUpstream, keys: dict[str, dict[str, Any]] = KEYS, **more: Any) -> dict[str, Any]:
    """A configuration in front of `upstream`; `hole` is a provider that takes no connection and refuses none."""

    def provider(name: str, **fields: Any) -> dict[str, Any]:
        return {"kind": "openai", "base_url": upstream.base_url(name), "api_key": "env:PROVIDER_KEY", **fields}

    def target(name: str, model: str = "upstream-mini", **fields: Any) -> dict[str, Any]:
        return {"provider": name, "model": model, "price": PRICE, **fields}

    brief = {"connect_ms": 400, "first_byte_ms": 400, "gap_ms": 400, "total_ms": 1_200}
    return {
        "providers": {
            "a": provider("a", headers={"x-team-header": "of the operator"}),
            "b": provider("b"),
            "brief": provider("brief", timeouts=brief),
            "dead": {"kind": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
            "single": provider("single", max_connections=1, timeouts={"connect_ms": 300}),
        },
        "models": {
            "gpt-4o-mini": {"targets": [target("a")], "max_output_tokens": 1_000},
            "embed-small": {
                "targets": [
                    target("a", "upstream-embed", price={"input_usd_per_million": 0.02, "output_usd_per_million": 0})
                ]
            },
            "free": {"targets": [{"provider": "a"}]},
            "pair": {"targets": [target("a"), target("b", "other-mini")]},
            "spare": {"targets": [target("a"), target("b", weight=0)]},
            "dead-first": {"targets": [target("dead")], "fallbacks": ["free"]},
            "dead": {"targets": [target("dead")]},
            "with-fallback": {"targets": [target("a")], "fallbacks": ["second"]},
            "second": {"targets": [target("b")]},
            "brief": {"targets": [target("brief")]},
            "brief-pair": {"targets": [target("brief")], "fallbacks": ["second"]},
            "single": {"targets": [target("single")]},
            "vendor/model:tag@1": {"targets": [target("a")]},
        },
        "teams": {
            "plain": {},
            "rpm": {"limits": {"requests_per_minute": 2}},
            "budget": {"budget": {"usd": 0.01, "per": "total"}},
        },
        "keys": [{"name": name, "key": f"env:{variable_of(name)}", **fields} for name, fields in keys.items()],
        **more,
    }


def environment(keys: dict[str, dict[str, Any]] = KEYS) -> dict[str, str]:
    return {"PROVIDER_KEY": PROVIDER_SECRET, **{variable_of(name): secret_of(name) for name in keys}}


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


class Tls(NamedTuple):
    """A certificate for 127.0.0.1, as a node's setting, and the authority that vouches for it."""

    settings: dict[str, str]
    authority: str

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For a client; `protocols` by ALPN."""
        made = ssl.create_default_context(cadata=self.authority)
        if protocols:
            made.set_alpn_protocols(protocols)
        return made


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority("Authority of the tests")
    cert_file, key_file = authority.issue("127.0.0.1").write(tmp_path_factory.mktemp("tls"))
    return Tls({"cert_file": cert_file, "key_file": key_file}, authority.pem.decode())


@pytest.fixture(scope="session")
def gateway(upstream: ScriptedUpstream, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The shared node."""
    shared = settings(
        upstream,
        http2={"tls": tls.settings},
        timeouts={"head_ms": 700, "body_gap_ms": 700},
        bounds={"body_bytes": BODY_BYTES, "all_bodies_bytes": BODY_BYTES},
    )
    node = Gateway(tmp_path_factory.mktemp("shared"), shared, environment())
    with node.running():
        yield node


MakeGateway = Callable[..., Gateway]


@pytest.fixture
def make_gateway(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[MakeGateway]:
    """Makes nodes of a test's own; those that the test does not stop are stopped, and must stop well."""
    made: list[Gateway] = []

    def make(
        *, workers: int = 1, keys: dict[str, dict[str, Any]] | None = None, start: bool = True, **more: Any
    ) -> Gateway:
        chosen = {"main": {}} if keys is None else keys
        directory = tmp_path / f"node-{len(made)}"
        directory.mkdir()
        node = Gateway(directory, settings(upstream, chosen, **more), environment(chosen), workers)
        made.append(node)
        if start:
            node.start()
        return node

    try:
        yield make
        for node in made:
            if node.process.poll() is None:
                node.stop()
    finally:
        for node in made:
            with contextlib.suppress(AssertionError):
                node.kill()


@pytest.fixture(scope="session")
def http2(gateway: Gateway, tls: Tls) -> Iterator[httpx.Client]:
    """A client that speaks HTTP/2 with the shared node's second listener."""
    address = f"https://127.0.0.1:{gateway.http2_port}"
    with httpx.Client(http2=True, http1=False, verify=tls.context(), base_url=address, timeout=10) as made:
        yield made


@pytest.fixture
def native_client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official client, with the shared node's address and a key of it and nothing else changed."""
    with openai.OpenAI(base_url=gateway.base_url, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def http2_client(gateway: Gateway, tls: Tls) -> Iterator[openai.OpenAI]:
    """The same over HTTP/2. It never resets a stream that its caller has left: only closing it tells the gateway."""
    transport = openai.DefaultHttpxClient(http2=True, verify=tls.context())
    address = f"https://127.0.0.1:{gateway.http2_port}/v1"
    fields: dict[str, Any] = {"api_key": secret_of("main"), "max_retries": 0, "timeout": 10}
    with openai.OpenAI(base_url=address, http_client=transport, **fields) as made:
        yield made


@pytest.fixture(params=["native", "http2"])
def client(request: pytest.FixtureRequest) -> openai.OpenAI:
    """The official client over each edge."""
    made: openai.OpenAI = request.getfixturevalue(f"{request.param}_client")
    return made


@pytest.fixture
def client_of(gateway: Gateway) -> Iterator[Callable[..., openai.OpenAI]]:
    """Clients with other keys."""
    with contextlib.ExitStack() as stack:

        def make(key: str, **options: Any) -> openai.OpenAI:
            fields = {"max_retries": 0, "timeout": 10, **options}
            return stack.enter_context(openai.OpenAI(base_url=gateway.base_url, api_key=secret_of(key), **fields))

        yield make


class RawConnection:
    """A socket to the node, for what no well-behaved client sends."""

    def __init__(self, node: Gateway) -> None:
        self._socket = socket.create_connection(("127.0.0.1", node.port), timeout=10)

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, size: int = 65_536) -> bytes:
        return self._socket.recv(size)

    def read_to_end(self, size: int = 65_536) -> bytes:
        """All that comes until the node closes."""
        parts = []
        while part := self._socket.recv(size):
            parts.append(part)
        return b"".join(parts)


@pytest.fixture
def connect(gateway: Gateway) -> Iterator[Callable[[], RawConnection]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(RawConnection(gateway))
