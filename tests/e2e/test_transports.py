"""What carries the bytes, end to end: TLS in front and behind, a private authority, an HTTP proxy, a Unix socket.

The official client asks, a whole node answers; a completion and a stream over each way.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import openai
import pytest

from tests.e2e.conftest import PROVIDER_SECRET, secret_of
from tests.e2e.node import Gateway
from tests.support.certificates import Authority, Certificate
from tests.support.connect_proxy import ConnectProxy
from tests.support.scripted_upstream import ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]
NAME = "localhost"
WORDS = ("Grüße", ", ", "Welt")
LARGE = "x" * 3_000_000


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Of the tests")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue(NAME)


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem)
    return str(file)


@pytest.fixture
def https_port(upstream: ScriptedUpstream, certificate: Certificate, tmp_path: Path) -> int:
    """Where the provider speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.write(tmp_path))
    return upstream.listen_with(context)


def configured(make_gateway: MakeGateway, **provider: object) -> Gateway:
    """A node, not yet started, with one provider."""
    node = make_gateway(start=False)
    fields = {"kind": "openai", "api_key": "env:PROVIDER_KEY", **provider}
    node.settings |= {"providers": {"a": fields}, "models": {"m": {"targets": [{"provider": "a", "model": "up"}]}}}
    node.configure(node.settings)
    return node


def ask_both_ways(
    base_url: str, upstream: ScriptedUpstream, http_client: openai.DefaultHttpxClient | None = None
) -> None:
    """Completions, small and of 3 MB, and a stream; asserts that they came whole, and that the provider got its credential."""
    with openai.OpenAI(
        base_url=base_url, api_key=secret_of("main"), max_retries=0, timeout=20, http_client=http_client
    ) as client:
        for text in ("Hello there!", LARGE):
            script = upstream.script(json_answer(completion(text)))
            answer = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}], extra_body={"x_script": script}
            )
            assert answer.choices[0].message.content == text
            (received,) = upstream.requests_of(script)
            assert received.json["messages"][0]["content"] == text
            assert received.header("authorization") == f"Bearer {PROVIDER_SECRET}"
        streamed = client.chat.completions.create(
            model="m",
            messages=[],
            stream=True,
            extra_body={"x_script": upstream.script(stream(chat_events(WORDS)))},
        )
        assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) == "".join(WORDS)


# -- in front


@pytest.fixture
def tls_node(make_gateway: MakeGateway, certificate: Certificate, tmp_path: Path) -> Gateway:
    cert_file, key_file = certificate.write(tmp_path, "edge")
    node = make_gateway(start=False, tls={"cert_file": cert_file, "key_file": key_file})
    node.settings["models"]["m"] = {"targets": [{"provider": "a", "model": "up"}]}
    node.configure(node.settings)
    node.start()
    return node


def test_the_edge_speaks_tls(tls_node: Gateway, upstream: ScriptedUpstream, ca_file: str) -> None:
    context = ssl.create_default_context(cafile=ca_file)
    ask_both_ways(
        f"https://{NAME}:{tls_node.port}/v1", upstream, openai.DefaultHttpxClient(verify=context, trust_env=False)
    )
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", tls_node.port), 5), server_hostname=NAME) as secure:
        assert secure.version() == "TLSv1.3" and secure.selected_alpn_protocol() == "http/1.1"
        secure.sendall(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        assert secure.recv(4_096).startswith(b"HTTP/1.1 400 ")


def test_who_does_not_know_the_edge_and_who_speaks_no_tls_gets_nothing(tls_node: Gateway, ca_file: str) -> None:
    def shake_hands(context: ssl.SSLContext) -> None:
        connected = socket.create_connection(("127.0.0.1", tls_node.port), 5)
        with context.wrap_socket(connected, server_hostname=NAME):
            pass

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ssl.create_default_context())
    old = ssl.create_default_context(cafile=ca_file)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(old)
    with pytest.raises((http.client.HTTPException, OSError)):
        tls_node.ask({"model": "m", "messages": []}, secret_of("main"))
    shake_hands(ssl.create_default_context(cafile=ca_file))


# -- behind


def test_a_provider_with_a_certificate_of_a_private_authority(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, https_port: int, ca_file: str
) -> None:
    node = configured(make_gateway, base_url=f"https://{NAME}:{https_port}/a/v1", ca_file=ca_file)
    node.start()
    ask_both_ways(node.base_url, upstream)


@pytest.mark.parametrize("why", ["authority", pytest.param("name", marks=pytest.mark.nightly)])
def test_a_provider_that_cannot_be_believed_is_sent_nothing(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, https_port: int, ca_file: str, why: str
) -> None:
    trusted = {"ca_file": ca_file} if why == "name" else {}
    host = "127.0.0.1" if why == "name" else NAME
    node = configured(make_gateway, base_url=f"https://{host}:{https_port}/a/v1", **trusted)
    node.start()
    script = upstream.script(json_answer(completion()))
    answer = node.ask({"model": "m", "messages": [], "x_script": script}, secret_of("main"))
    assert (answer.status, answer.error["code"]) == (502, "provider_unreachable")
    assert "certificate was not accepted" in answer.error["message"]
    assert not upstream.requests_of(script)


def test_a_provider_on_a_unix_socket(make_gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "llm.sock"
    upstream.listen_on(str(path))
    node = configured(make_gateway, base_url=f"http+unix://{quote(str(path), safe='')}/a/v1")
    node.start()
    ask_both_ways(node.base_url, upstream)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as made:
        yield made


@pytest.mark.parametrize(
    "source", ["environment", *(pytest.param(s, marks=pytest.mark.nightly) for s in ("setting", "no_proxy"))]
)
def test_a_provider_behind_a_proxy(
    make_gateway: MakeGateway,
    upstream: ScriptedUpstream,
    https_port: int,
    ca_file: str,
    proxy: ConnectProxy,
    source: str,
) -> None:
    """HTTPS_PROXY of the node's environment, the provider's own setting, and an exception; TLS is with the provider itself."""
    setting = {"proxy": proxy.url} if source == "setting" else {}
    node = configured(make_gateway, base_url=f"https://{NAME}:{https_port}/a/v1", ca_file=ca_file, **setting)
    if source != "setting":
        node.environment["HTTPS_PROXY"] = proxy.url
    node.environment["NO_PROXY"] = NAME if source == "no_proxy" else "another.example"
    node.start()
    ask_both_ways(node.base_url, upstream)
    lines = {head.split(b"\r\n")[0] for head in proxy.heads}
    assert lines == (set() if source == "no_proxy" else {f"CONNECT {NAME}:{https_port} HTTP/1.1".encode()})
    assert PROVIDER_SECRET.encode() not in b"".join(proxy.heads)
