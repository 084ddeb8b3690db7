"""The same probes through nginx and HAProxy: no pair may disagree on where a request ends.

Three readers are compared: the proxy, by its log; an independent one that reads what the proxy sent on, off a tap on
the wire; and the gateway, by its answers on that wire and by the bodies that reach the provider. The proxies are set to
let through as much as they can: invalid names, underscores, bodies as they stream in, connections shared by all clients.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import environment, settings
from tests.e2e.node import Gateway, free_port, wait_for
from tests.probes.conftest import BOUNDS, KEYS
from tests.probes.playing import received
from tests.probes.table import CHAT, HALF_CLOSED, PROBES, SLOW_PROBES, Probe, get
from tests.probes.tap import Conversation, Request, Tap, answers_in, read_requests, requests_in
from tests.probes.wire import Answer, Wire
from tests.support.scripted_upstream import ScriptedUpstream

PATIENCE_MS = 600
"""Of the proxies with their clients: so long a probe takes that leaves something open."""
CLIENTS = 24
LAST = get(b"Connection: close", b"X-Probe: last")

NGINX = """\
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
  log_format sent '$upstream_status $status $request_method $request_uri';
  access_log {directory}/proxy.log sent;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_header_timeout {patience}ms; client_body_timeout {patience}ms; keepalive_timeout {patience}ms; client_max_body_size 0;
  large_client_header_buffers 4 128k; underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
  upstream gateway {{ server 127.0.0.1:{onward}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port} backlog=512;
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_buffering off; proxy_next_upstream off;
    }}
  }}
}}
"""

HAPROXY = """\
global
  log stdout format raw local0
  tune.bufsize 131072
defaults
  mode http
  log global
  log-format "%s %ts %ST %HM %HU"
  timeout connect 2s
  timeout server 10s
  timeout client {patience}ms
  timeout http-request {patience}ms
  timeout http-keep-alive {patience}ms
  option accept-invalid-http-request
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server gateway 127.0.0.1:{onward}
"""


class Proxy:
    """One that runs. `statuses` are those of the answers that it believes to have got from the gateway."""

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name, self.port, self._log = name, port, log

    def statuses(self) -> Counter[int]:
        lines = [line.split(" ") for line in self._log.read_text(errors="replace").splitlines()]
        if self.name == "nginx":
            return Counter(int(first) for first, *_ in lines if first.isdigit())
        return Counter(int(line[2]) for line in lines if line[:2] == ["gateway", "--"])  # neither side broke off


@contextmanager
def running(name: str, onward: int, directory: Path) -> Iterator[Proxy]:
    port = free_port()
    text = {"nginx": NGINX, "haproxy": HAPROXY}[name]
    file = directory / f"{name}.conf"
    file.write_text(text.format(directory=directory, port=port, onward=onward, patience=PATIENCE_MS))
    command = {
        "nginx": ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(file)],
        "haproxy": ["haproxy", "-db", "-f", str(file)],
    }[name]
    log = directory / "proxy.log"
    with log.open("ab") as output, (directory / "error.log").open("ab") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    try:
        wait_for(f"{name} answers: {(directory / 'error.log').read_text()}", lambda: _answers(process, port))
        yield Proxy(name, port, log)
    finally:
        process.terminate()
        process.wait(10)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "it ended; its error.log says why"
    try:
        with Wire(("127.0.0.1", port)) as wire:
            wire.play([b"nonsense\r\n\r\n"])
            wire.wait_for_end()
    except OSError:
        return False
    return True


def play(port: int, probe: Probe) -> None:
    """Plays a probe and a last request, however the proxy takes them, until it closes."""
    steps = list(probe.steps)
    if isinstance(steps[-1], bytes):
        steps[-1] += LAST
    else:
        steps.append(LAST)
    with Wire(("127.0.0.1", port), probe.bodiless, patient=False) as wire:
        wire.play(steps)
        wire.wait_for_end(10 * PATIENCE_MS / 1_000)


def governed(request: Request) -> str:
    """What the provider must get of a request that was served: the same but for the model's name and what streams are asked."""
    body = {**json.loads(request.body), "model": "upstream-mini"}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body, sort_keys=True)


def paired(conversation: Conversation) -> list[tuple[Request, Answer]]:
    """The requests on a connection and their answers, in order.

    Raises:
        AssertionError: the gateway answered more than was asked, but for one answer that ended the connection: a refusal
            of what is no request, or an answer that did not wait for the body.
    """
    requests, rest = read_requests(bytes(conversation.asked))
    answers = answers_in(bytes(conversation.answered), requests)
    beyond = answers[len(requests) :]
    assert len(beyond) <= 1 and all(answer.said_close for answer in beyond), (
        f"{len(answers)} answers to {len(requests)} requests, behind which stands {rest[:1_000]!r}"
    )
    return list(zip(requests, answers, strict=False))


@pytest.fixture(scope="module")
def node(provider: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With time-outs that no probe reaches: those of the proxies come first."""
    directory = tmp_path_factory.mktemp("behind")
    made = Gateway(directory, settings(provider, KEYS, bounds=BOUNDS, log_level="warning"), environment(KEYS))
    with made.running():
        yield made


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_no_pair_disagrees_on_where_a_request_ends(
    name: str, node: Gateway, provider: ScriptedUpstream, tmp_path: Path
) -> None:
    probes = [probe for probe in PROBES if probe not in SLOW_PROBES and probe not in HALF_CLOSED and probe.steps]
    before = len(received(provider))
    with Tap(node.port) as tap:
        with running(name, tap.port, tmp_path) as proxy, ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda probe: play(proxy.port, probe), probes))
            node.wait_until_idle()
        conversations = list(tap.conversations)
    pairs = [pair for conversation in conversations for pair in paired(conversation)]
    assert len(pairs) > len(probes) / 2, "hardly anything came through"
    served = [
        request
        for request, answer in pairs
        if (request.method, request.path, answer.status) == ("POST", CHAT.decode(), 200)
    ]
    assert len(served) > 30
    wanted = Counter(map(governed, served))
    got = Counter(json.dumps(request.json, sort_keys=True) for request in received(provider)[before:])
    assert got == wanted
    answered = Counter(
        answer.status
        for conversation in conversations
        for answer in answers_in(bytes(conversation.answered), requests_in(bytes(conversation.asked)))
    )
    # A proxy may drop an answer that came before the message was complete; never one to a whole request.
    assert Counter(answer.status for _, answer in pairs) <= proxy.statuses() <= answered
