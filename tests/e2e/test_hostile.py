"""Those who want the node to be busy with them: it stays there for the others."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Tls, secret_of
from tests.e2e.node import Gateway, wait_for
from tests.support.scripted_upstream import ScriptedUpstream, completion, json_answer

MakeGateway = Callable[..., Gateway]
SLOWHTTPTEST = shutil.which("slowhttptest")
SLOW, RATE, LENGTH_S = 1_000, 500, 12
HALVES, BOUND, HEAD_MS = 10_000, 1_000, 3_000


def ask(port: int, script: str, tls: ssl.SSLContext | None = None) -> int:
    """The status of a call on a connection of its own."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "x_script": script})
    fields = {"authorization": f"Bearer {secret_of('main')}", "content-type": "application/json"}
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    )
    try:
        connection.request("POST", "/v1/chat/completions", body, fields)
        return connection.getresponse().status
    finally:
        connection.close()


class Others:
    """Callers who ask one after the other meanwhile, each time anew."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.failures: list[str] = []

    @contextmanager
    def asking(self, once: Callable[[], int]) -> Iterator[None]:
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(0.05):
                begun = time.monotonic()
                try:
                    status = once()
                except OSError as error:
                    self.failures.append(repr(error))
                    continue
                self.waits_s.append(time.monotonic() - begun)
                if status != 200:
                    self.failures.append(str(status))

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.nightly
@pytest.mark.timeout(120)
@pytest.mark.skipif(SLOWHTTPTEST is None, reason="slowhttptest is not installed")
@pytest.mark.parametrize("listener", ["listen", "http2"])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("-H", "-i 1"),
        ("-B", "-i 1 -s 100000 -t POST"),
        ("-R", "-a 1 -b 3000 -t HEAD"),
        ("-X", "-w 10 -y 20 -n 1 -z 8 -k 3"),
    ],
    ids=["slow heads", "slow bodies", "ranges", "slow reading"],
)
def test_slowhttptest_takes_the_service_from_nobody(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tls: Tls, listener: str, mode: str, options: str
) -> None:
    node = make_gateway(http2={"tls": tls.settings}, timeouts={"head_ms": 4_000, "body_ms": 4_000})
    script = upstream.script(json_answer(completion()))
    port, scheme = (node.port, "http") if listener == "listen" else (node.http2_port, "https")
    context = tls.context("http/1.1") if listener == "http2" else None
    command = f"slowhttptest {mode} {options} -c {SLOW} -r {RATE} -l {LENGTH_S} -p 3".split()
    command += ["-u", f"{scheme}://127.0.0.1:{port}/v1/chat/completions"]
    command += ["-f", "application/json", "-j", f"a=b\r\nAuthorization: Bearer {secret_of('main')}"]
    others = Others()
    with others.asking(lambda: ask(port, script, context)):
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    seen = re.findall(r"service available: +(\w+)", said)
    waits = sorted(others.waits_s)
    print(f"{listener} {mode}: {len(waits)} others, median {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.3f} s")
    assert seen and set(seen) == {"YES"}, said[-2_000:]
    assert others.failures == []
    assert len(waits) > 3 * LENGTH_S and waits[-1] < 3
    wait_for("all are gone", lambda: node.status()["workers"][0]["connections"] == 0, 100.0, 0.1)


@pytest.mark.nightly
@pytest.mark.timeout(180)
@pytest.mark.parametrize("listener", ["listen", "http2"])
def test_ten_thousand_handshakes_that_do_not_go_on_are_bounded(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tls: Tls, listener: str
) -> None:
    speaks = {"tls": tls.settings} if listener == "listen" else {"http2": {"tls": tls.settings}}
    node = make_gateway(bounds={"connections": BOUND}, timeouts={"head_ms": HEAD_MS}, **speaks)
    script = upstream.script(json_answer(completion()))
    port = node.port if listener == "listen" else node.http2_port
    context = tls.context("http/1.1")
    assert ask(port, script, context) == 200
    pid = node.worker_pids()[0]
    before_bytes = _resident_bytes(pid)
    most = 0
    with ExitStack() as opened:
        first = opened.enter_context(_connected(port, context))
        for number in range(HALVES):
            half = opened.enter_context(socket.socket())
            half.settimeout(5)
            with suppress(OSError):  # who is one too many is closed at once
                half.connect(("127.0.0.1", port))
                half.sendall(b"\x16\x03\x01\x02\x00\x01")
            if number % 1_000 == 999:
                most = max(most, node.status()["workers"][0]["connections"])
                assert _answered(first, script) == 200, "who is there is served"
        grown_bytes = _resident_bytes(pid) - before_bytes
        wait_for("their time is over", lambda: _comes_in(port, script, context), HEAD_MS / 1_000 + 5, 0.1)
        print(f"{listener}: at most {most} of {HALVES} counted, {grown_bytes / 1_048_576:.0f} MiB more resident")
        assert BOUND // 2 < most <= BOUND
    assert ask(port, script, context) == 200


@contextmanager
def _connected(port: int, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    connection.connect()
    yield connection
    connection.close()


def _answered(connection: http.client.HTTPSConnection, script: str) -> int:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "x_script": script})
    fields = {"authorization": f"Bearer {secret_of('main')}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, fields)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _comes_in(port: int, script: str, context: ssl.SSLContext) -> bool:
    try:
        return ask(port, script, context) == 200
    except OSError:
        return False


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096
