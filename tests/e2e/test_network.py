"""A node behind real balancers, before real browsers' rules, with real certificates on both sides."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import secret_of
from tests.e2e.node import Answer, Gateway, free_port, wait_for
from tests.support.balancers import Balancer, haproxy, nginx
from tests.support.browser import FailedToFetchError, Page
from tests.support.certificates import Authority
from tests.support.connect_proxy import ConnectProxy
from tests.support.http2_client import Http2Client
from tests.support.scripted_upstream import ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]

CALLER = "127.0.0.9"
"""Where callers of these tests connect from: a balancer connects from elsewhere, so the two are told apart."""
CHAT = "/v1/chat/completions"
APP = "https://app.example"


def ask(
    port: int,
    script: str = "",
    tls: ssl.SSLContext | None = None,
    *,
    key: str = "main",
    path: str = CHAT,
    headers: dict[str, str] | None = None,
) -> Answer:
    """A chat from CALLER, through whatever listens on `port`."""
    source = (CALLER, 0)
    connection: http.client.HTTPConnection
    if tls is not None:
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, source_address=source, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=source)
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "x_script": script})
    sent = {"content-type": "application/json", "authorization": f"Bearer {secret_of(key)}", **(headers or {})}
    try:
        connection.request("POST", path, body, sent)
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


# -- behind balancers


class Behind:
    """A node that trusts HAProxy's header from 127.0.0.1 and nginx's from 127.0.0.2, and both before it."""

    def __init__(self, node: Gateway, port: Callable[[str], int], balancer: Balancer) -> None:
        self.node = node
        self.port = port
        self.balancer = balancer

    def client_of(self, answer: Answer) -> str | None:
        """Whom the node's log names as the caller."""
        assert answer.status == 200, (answer, self.balancer.log)
        client: str | None = self.node.logged(answer.headers["x-request-id"]).get("client")
        return client


@pytest.fixture(scope="module")
def behind(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    from tests.e2e.conftest import environment, settings

    folder = tmp_path_factory.mktemp("behind")
    (folder / "node").mkdir()
    keys: dict[str, dict[str, Any]] = {"main": {}, "rpm": {"limits": {"requests_per_minute": 1}}}
    trust = {
        "proxy_protocol": {"from": ["127.0.0.1/32"]},
        "http2": {"proxy_protocol": {"from": ["127.0.0.1/32"]}},
        "trusted_proxies": {"from": ["127.0.0.2/32"]},
        "cors": {"origins": [APP]},
        "bounds": {"body_bytes": 65_536},
    }
    node = Gateway(folder / "node", settings(upstream, keys, **trust), environment(keys))
    ports = {name: free_port() for name in ("v1", "v2", "v2-fields", "http2", "nginx")}
    sections = "".join(
        f"listen {name}\n  mode tcp\n  bind 127.0.0.1:{ports[name]}\n"
        f"  server node 127.0.0.1:{port} {options} check inter 50ms\n"
        for name, port, options in (
            ("v1", node.port, "send-proxy"),
            ("v2", node.port, "send-proxy-v2"),
            ("v2-fields", node.port, "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"),
            ("http2", node.http2_port, "send-proxy-v2"),
        )
    ).replace("listen v2-fields\n  mode tcp\n", "listen v2-fields\n  mode tcp\n  unique-id-format %[uuid()]\n")
    servers = f"""
  server {{
    listen 127.0.0.1:{ports["nginx"]};
    location / {{
      proxy_pass http://127.0.0.1:{node.port};
      proxy_bind 127.0.0.2;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}"""
    try:
        node.begin()
        node.wait_until_ready()
        in_front = [ports[name] for name in ("v1", "v2", "v2-fields", "http2")]
        with (
            haproxy(folder / "haproxy", sections, *in_front) as balancer,
            nginx(folder / "nginx", servers, ports["nginx"]),
        ):
            yield Behind(node, lambda name: ports[name], balancer)
        node.stop()
    finally:
        node.kill()


@pytest.mark.parametrize("name", ["v1", "v2", "v2-fields", "http2"])
def test_haproxys_header_names_the_caller_in_the_log(behind: Behind, upstream: ScriptedUpstream, name: str) -> None:
    script = upstream.script(json_answer(completion()))
    assert behind.client_of(ask(behind.port(name), script)) == CALLER
    spoofed = {"x-forwarded-for": "1.2.3.4"}
    assert behind.client_of(ask(behind.port(name), script, headers=spoofed)) == CALLER


def test_haproxys_own_checks_are_no_news(behind: Behind) -> None:
    """It checks each of the three every 50 ms, with a header of its own."""
    assert behind.node.log("proxy_header_refused") == []
    assert "is DOWN" not in behind.balancer.log


def test_nginxs_header_names_the_caller_whatever_the_caller_wrote(behind: Behind, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    for headers in ({}, {"x-forwarded-for": "1.2.3.4"}, {"x-forwarded-for": "127.0.0.2"}, {"forwarded": "for=1.2.3.4"}):
        assert behind.client_of(ask(behind.port("nginx"), script, headers=headers)) == CALLER


def test_who_connects_by_itself_is_itself_and_what_it_writes_is_not_believed(
    behind: Behind, upstream: ScriptedUpstream
) -> None:
    script = upstream.script(json_answer(completion()))
    assert behind.client_of(ask(behind.node.port, script, headers={"x-forwarded-for": "1.2.3.4"})) == CALLER


def test_usage_records_hold_nobodys_address(behind: Behind, upstream: ScriptedUpstream) -> None:
    answer = ask(behind.port("v2"), upstream.script(json_answer(completion())))
    assert "client" not in behind.node.record(answer.headers["x-request-id"])


def test_a_balancer_that_forgets_its_header_is_refused_with_a_line_in_the_log(behind: Behind) -> None:
    before = len(behind.node.log("proxy_header_refused"))
    with pytest.raises(OSError):
        behind.node.ask({}, secret_of("main"))  # from 127.0.0.1
    lines = wait_for("a line", lambda: behind.node.log("proxy_header_refused")[before:], 5.0)
    assert [(line["peer"], line["trusted"]) for line in lines] == [("127.0.0.1", True)]


# -- browsers


def headers_of_the_official_client(key: str) -> dict[str, str]:
    """As the JavaScript client sends them from a page."""
    return {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Stainless-Lang": "js",
        "X-Stainless-Retry-Count": "0",
    }


def chat(script: str, **more: Any) -> bytes:
    return json.dumps({"model": "gpt-4o-mini", "messages": [], "x_script": script, **more}).encode()


def test_a_page_of_a_named_origin_gets_answers_streams_and_errors(behind: Behind, upstream: ScriptedUpstream) -> None:
    page = Page(APP, behind.port("nginx"))
    sent = headers_of_the_official_client(secret_of("main"))
    answer = page.fetch(CHAT, "POST", sent, chat(upstream.script(json_answer(completion()))))
    assert page.sent == ["OPTIONS", "POST"]
    assert answer.status == 200 and json.loads(answer.body)["choices"]
    ours = {name for name in answer.headers if name.startswith("x-")}
    assert {"x-request-id", "x-throughway-provider", "x-throughway-cost-usd"} <= ours

    events = chat_events()
    streamed = page.fetch(CHAT, "POST", sent, chat(upstream.script(stream(events)), stream=True))
    assert streamed.status == 200 and streamed.body.endswith(b"data: [DONE]\n\n")
    assert "x-request-id" in streamed.headers

    models = page.fetch("/v1/models", "GET", {"Authorization": sent["Authorization"]})
    assert models.status == 200 and b"gpt-4o-mini" in models.body

    wrong = page.fetch(CHAT, "POST", headers_of_the_official_client("sk-unknown"), chat(""))
    assert wrong.status == 401 and json.loads(wrong.body)["error"]["code"] == "invalid_api_key"
    assert page.fetch("/v1/nothing", "GET", {"x-any": "1"}).status == 404
    assert page.fetch(CHAT, "POST", sent, b"{").status == 400
    large = page.fetch(CHAT, "POST", sent, chat("x" * 70_000))
    assert large.status == 413 and json.loads(large.body)["error"]["code"] == "body_too_large"


def test_a_page_sees_its_limits_and_when_to_come_again(behind: Behind, upstream: ScriptedUpstream) -> None:
    page = Page(APP, behind.port("nginx"))
    sent = headers_of_the_official_client(secret_of("rpm"))
    script = upstream.script(json_answer(completion()))
    assert page.fetch(CHAT, "POST", sent, chat(script)).headers["x-ratelimit-remaining-requests"] == "0"
    refused = page.fetch(CHAT, "POST", sent, chat(script))
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://app.example", "https://app.example.evil.example"]
)
def test_a_page_of_another_origin_gets_nothing_and_asks_for_nothing(
    behind: Behind, upstream: ScriptedUpstream, origin: str
) -> None:
    script = upstream.script(json_answer(completion()))
    page = Page(origin, behind.port("nginx"))
    with pytest.raises(FailedToFetchError):
        page.fetch(CHAT, "POST", headers_of_the_official_client(secret_of("main")), chat(script))
    assert page.sent == ["OPTIONS"] and upstream.requests_of(script) == []


def test_every_header_of_ours_may_be_read_by_a_page(behind: Behind, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    plain = ask(behind.port("nginx"), script)
    seen = Page(APP, behind.port("nginx")).fetch(
        CHAT, "POST", headers_of_the_official_client(secret_of("main")), chat(script)
    )
    assert {name for name in plain.headers if name.startswith(("x-", "retry"))} <= set(seen.headers)


# -- certificates of ours and of callers


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


def trusting(authority: Authority, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def served_certificate(port: int, context: ssl.SSLContext) -> bytes | None:
    """What a handshake shows now; None where it fails."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            return connection.getpeercert(binary_form=True)
    except OSError:
        return None


@pytest.mark.parametrize("listener", ["listen", "http2"])
def test_certificates_of_a_listener_and_its_callers_are_replaced_while_it_serves(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, authority: Authority, tmp_path: Path, listener: str
) -> None:
    callers = Authority("Callers")
    (tmp_path / "callers.pem").write_bytes(callers.pem)
    cert, key = authority.issue("localhost").write(tmp_path)
    context = trusting(authority, callers.issue("app").write(tmp_path, "app"))
    script = upstream.script(json_answer(completion()))
    tls = {"cert_file": cert, "key_file": key, "client_ca_file": str(tmp_path / "callers.pem")}
    node = make_gateway(workers=2, **({"tls": tls} if listener == "listen" else {"http2": {"tls": tls}}))
    port = node.port if listener == "listen" else node.http2_port
    assert ask(port, script, context).status == 200
    with pytest.raises(OSError):
        ask(port, script, trusting(authority))
    if listener == "http2":
        over_http2 = trusting(authority, (str(tmp_path / "app.pem"), str(tmp_path / "app.key")))
        over_http2.set_alpn_protocols(["h2"])
        over_http2.check_hostname = False
        stays: Http2Client | None = Http2Client(port, over_http2)
    else:
        stays = None

    failures: list[BaseException] = []
    stopping = threading.Event()

    def hammer() -> None:
        while not stopping.is_set():
            try:
                assert ask(port, script, context).status == 200
            except BaseException as error:
                failures.append(error)

    callers_under_way = [threading.Thread(target=hammer)]
    for each in callers_under_way:
        each.start()
    try:
        before = served_certificate(port, context)
        fresh = authority.issue("localhost")
        fresh.write(tmp_path)
        expected = ssl.PEM_cert_to_DER_cert(fresh.pem.decode())
        wait_for("both workers", lambda: len(node.log("tls.renewed")) == 2, 10.0, 0.05)
        assert [served_certificate(port, context) for _ in range(10)] == [expected] * 10
        assert before != expected

        def refusals() -> list[dict[str, Any]] | None:
            found = node.log("tls.refused")
            return found if len(found) == 2 else None

        Path(key).write_bytes(authority.issue("localhost").key_pem)  # of another certificate
        lines = wait_for("both workers", refusals, 10.0)
        assert all("does not belong" in line["error"] and cert in line["files"] for line in lines)
        assert served_certificate(port, context) == expected
    finally:
        stopping.set()
        for each in callers_under_way:
            each.join()
    assert failures == []

    fresh.write(tmp_path)
    (tmp_path / "callers.pem").write_bytes(Authority("Others").pem)
    wait_for("both workers", lambda: len(node.log("tls.renewed")) == 4, 10.0, 0.05)
    with pytest.raises(OSError):
        ask(port, script, context)
    if stays is not None:  # through all of it
        body = {"model": "gpt-4o-mini", "messages": [], "x_script": script}
        assert not stays.goaway and stays.answer(stays.chat(secret_of("main"), body)).status == 200
        stays.close()


# -- providers behind TLS, certificates and proxies


def test_providers_are_reached_with_our_certificate_and_through_the_proxy_that_is_meant(
    upstream: ScriptedUpstream, authority: Authority, tmp_path: Path
) -> None:
    """HAProxy asks for a certificate, and tells the scripted provider behind it whose it was."""
    from tests.e2e.conftest import environment, settings

    port, ours = free_port(), Authority("Gateways")
    for name, content in (("ca.pem", authority.pem), ("gateways.pem", ours.pem)):
        (tmp_path / name).write_bytes(content)
    terminating = authority.issue("localhost", "127.0.0.1")
    (tmp_path / "both.pem").write_bytes(terminating.pem + terminating.key_pem)
    cert, key = ours.issue("gateway-1").write(tmp_path, "gateway")
    section = (
        f"listen provider\n  mode http\n"
        f"  bind 127.0.0.1:{port} ssl crt {tmp_path}/both.pem ca-file {tmp_path}/gateways.pem verify required\n"
        f"  http-request set-header x-shown %[ssl_c_s_dn(cn)]\n  server a 127.0.0.1:{upstream.port}\n"
    )
    shown = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": cert, "key_file": key}

    def provider(host: str, **more: Any) -> dict[str, Any]:
        return {"kind": "openai", "base_url": f"https://{host}:{port}/a/v1", "api_key": "env:PROVIDER_KEY", **more}

    with ConnectProxy() as by_environment, ConnectProxy() as own, haproxy(tmp_path / "haproxy", section, port):
        configured = settings(upstream, {"main": {}})
        configured["providers"] |= {
            "environment": provider("localhost", tls=shown),
            "excepted": provider("127.0.0.1", tls=shown),
            "direct": provider("localhost", tls=shown, proxy="direct"),
            "own": provider("localhost", tls=shown, proxy=own.url),
            "stranger": provider("localhost", tls={"ca_file": shown["ca_file"]}, proxy="direct"),
        }
        names = ("environment", "excepted", "direct", "own", "stranger")
        configured["models"] |= {name: {"targets": [{"provider": name, "model": "m"}]} for name in names}
        (tmp_path / "node").mkdir()
        node = Gateway(tmp_path / "node", configured, environment({"main": {}}))
        node.set_environment(HTTPS_PROXY=by_environment.url, NO_PROXY="example.org,127.0.0.1")
        script = upstream.script(json_answer(completion()))

        def through(model: str, asked: str = script) -> Answer:
            return node.ask({"model": model, "messages": [], "x_script": asked}, secret_of("main"))

        def shown_to_the_provider() -> str | None:
            return upstream.requests_of(script)[-1].header("x-shown")

        try:
            node.start()
            for model in ("environment", "excepted", "direct", "own"):
                assert through(model).status == 200, model
                assert shown_to_the_provider() == "gateway-1"
            target = f"localhost:{port}"
            assert (by_environment.asked, own.asked) == ([target], [target])
            refused = through("stranger")
            assert refused.status == 502 and refused.error["code"] == "provider_unreachable"

            ours.issue("gateway-2").write(tmp_path, "gateway")
            wait_for("the new certificate", lambda: len(node.log("tls.renewed")) == 4, 10.0, 0.05)
            slow = upstream.script([0.5, *json_answer(completion())])
            busy = threading.Thread(target=through, args=("direct", slow))
            busy.start()  # takes the connection that is open
            wait_for("the connection is busy", lambda: upstream.requests_of(slow), 5.0)
            assert through("direct").status == 200
            assert shown_to_the_provider() == "gateway-2"
            busy.join()
            assert upstream.requests_of(slow)[0].header("x-shown") == "gateway-1"
            node.stop()
        finally:
            node.kill()
