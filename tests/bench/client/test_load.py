"""The load generator against the mock provider: what the mock is told to do is what the figures say.

Whoever runs the tests may have a busy machine: times have a lower bound that holds always, and an upper one that is wide.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import __main__ as bench
from bench.client import payloads, run, session, table
from bench.client.payloads import Entry
from bench.client.result import Result
from bench.errors import BenchError
from tests.bench.upstream.mock import Mock, playing

SCRIPT = """\
text_bytes: 40
routes:
  - {prefix: /late, latency_ms: 20}
  - {prefix: /paced, latency_ms: 30, gap_ms: 5}
  - {prefix: /refused, faults: [{kind: error, share: 1, status: 429}]}
  - {prefix: /some, faults: [{kind: error, share: 0.2, status: 503}]}
  - {prefix: /held, faults: [{kind: stall, share: 1}]}
  - {prefix: /reset, latency_ms: 2, faults: [{kind: reset, share: 1}]}
  - {prefix: /closed, latency_ms: 2, faults: [{kind: close, share: 1}]}
  - {prefix: /truncated, faults: [{kind: truncate, share: 1}]}
  - {prefix: /failing, faults: [{kind: error_event, share: 1}]}
"""


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    path = tmp_path_factory.mktemp("mock") / "script.yaml"
    path.write_text(SCRIPT)
    with playing("--script", str(path)) as mock:
        yield mock


def play(url: str, entries: Sequence[Entry], key: str | None = None, **over: Any) -> Result:
    settings = {
        "target": payloads.target(url),
        "rate": None,
        "arrivals": "constant",
        "processes": 1,
        "connections": 4,
        "seconds": 0.08,
        "warm_up_s": 0.02,
        "timeout_s": 10.0,
        "seed": 1,
        "max_lag_ms": 1.0,
        "trust": None,
        "check_certificate": True,
    }
    return run.run(session.Settings(**{**settings, **over}), entries, key, lambda *_: None)


def built_in(dialect: payloads.Dialect = "openai", *, stream: bool = False) -> list[Entry]:
    return [payloads.built_in(dialect, "m", stream, 100)]


# -- figures


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_a_closed_loop_gets_whole_answers_of_each_dialect(dialect: payloads.Dialect, stream: bool, mock: Mock) -> None:
    result = play(mock.url, built_in(dialect, stream=stream))
    assert result.failures == {}
    assert result.requests == result.answered == result.latency.count > 20
    assert (result.streams is not None) == stream
    if result.streams is not None:
        count = result.answered
        assert (result.streams.first_token.count, result.streams.duration.count) == (count, count)
        assert result.streams.gap.count == 9 * count
        per_stream = {"openai": 13, "anthropic": 16, "gemini": 10}[dialect]
        assert result.streams.events == per_stream * count


def test_the_latency_is_the_mocks(mock: Mock) -> None:
    result = play(f"{mock.url}/late", built_in(), seconds=0.3)
    assert 20_000 <= result.latency.p50_us < 40_000
    assert result.latency.count < 4 * 0.35 / 0.020


def test_time_to_the_first_token_and_gaps_are_the_mocks(mock: Mock) -> None:
    streams = play(f"{mock.url}/paced", built_in(stream=True), seconds=0.3).streams
    assert streams is not None
    assert 35_000 <= streams.first_token.p50_us < 60_000  # the role's event is before the first token's
    assert 4_000 <= streams.gap.p50_us < 10_000
    assert streams.gap.mean_us == pytest.approx(5_000, rel=0.1)
    assert streams.duration.p50_us >= 30_000 + 12 * 5_000


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_an_open_loop_asks_as_often_as_it_is_told(arrivals: str, mock: Mock) -> None:
    result = play(mock.url, built_in(), rate=2_000, arrivals=arrivals, seconds=0.25)
    assert result.requests == pytest.approx(500, abs=2 if arrivals == "constant" else 4 * 500**0.5)
    assert result.answered == result.requests
    assert result.generator.lag.count == result.requests


@pytest.mark.parametrize("connections", [500, pytest.param(5_000, marks=pytest.mark.nightly)])
def test_many_connections_are_kept(connections: int, mock: Mock) -> None:
    result = play(mock.url, built_in(), connections=connections, rate=2_000, seconds=0.3, timeout_s=20.0)
    assert (result.failures, result.answered) == ({}, result.requests)
    assert result.generator.reconnects == 0


@pytest.mark.parametrize("connections", [16, pytest.param(600, marks=pytest.mark.nightly)])
def test_a_target_that_stands_still_is_charged_for_all_that_waited(connections: int, tmp_path: Path) -> None:
    """A second of silence in two that are measured, at a constant rate: half of all requests fall into it, and wait from a second to
    nothing. So p99 is 0.98 s, and p75 half a second, whether they wait for an answer or for a connection."""
    script = tmp_path / "script.yaml"
    script.write_text("freezes: [{at_s: 0.5, for_ms: 1000}]")
    with playing("--script", str(script)) as mock:
        result = play(mock.url, built_in(), connections=connections, rate=300, seconds=2.0, warm_up_s=0.0)
    assert result.answered == result.requests == pytest.approx(600, abs=2)
    assert result.latency.p99_us == pytest.approx(980_000, rel=0.06)
    above_half = sum(count for at_most, count in result.latency_buckets_us if at_most > 500_000)
    assert above_half / result.answered == pytest.approx(0.25, abs=0.03)
    assert (result.generator.waited > 200) == (connections == 16)


@pytest.mark.nightly
def test_a_closed_loop_hides_what_the_open_one_shows(tmp_path: Path) -> None:
    """The same silence, asked by one connection: a single request waits. This is why there is an open loop."""
    script = tmp_path / "script.yaml"
    script.write_text("freezes: [{at_s: 0.2, for_ms: 300}]")
    with playing("--script", str(script)) as mock:
        result = play(mock.url, built_in(), connections=1, seconds=0.8, warm_up_s=0.0)
    assert result.latency.max_us > 280_000
    assert result.latency.p99_us < 100_000


# -- failures


@pytest.mark.parametrize(
    ("route", "stream", "kind"),
    [
        ("refused", False, "status"),
        ("reset", False, "cut"),
        ("reset", True, "cut"),
        ("closed", True, "cut"),
        ("failing", True, "error_event"),
        ("truncated", True, "no_terminal"),
        ("truncated", False, "half_json"),
        ("held", True, "timeout"),
        ("held", False, "timeout"),
    ],
)
def test_each_failure_has_its_name(route: str, stream: bool, kind: str, mock: Mock) -> None:
    result = play(f"{mock.url}/{route}", built_in(stream=stream), timeout_s=0.1)
    assert set(result.failures) == {kind}
    assert result.failed == result.requests >= 4
    assert result.answered == result.latency.count == 0
    part = kind in {"cut", "error_event", "no_terminal", "half_json"}
    assert result.truncated == ({kind: result.failed} if part else {})
    assert result.statuses == ({429: result.failed} if kind == "status" else {})


HALF, WHOLE, TYPE = b'{"choices":[{"te', b'{"choices":[]}', b"content-type: application/json\r\n"
CHUNKED = TYPE + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (TYPE + b"content-length: 16\r\n\r\n" + HALF, "half_json"),
        (TYPE + b"content-length: 40\r\n\r\n" + HALF, "cut"),
        (TYPE + b"\r\n" + HALF, "half_json"),  # closed politely: its length is what came
        (TYPE + b"\r\n", "half_json"),
        (CHUNKED + b"10\r\n" + HALF + b"\r\n0\r\n\r\n", "half_json"),
        (CHUNKED + b"10\r\n" + HALF + b"\r\n", "cut"),
        (CHUNKED + b"e\r\n" + WHOLE + b"\r\n", "cut"),
        (TYPE + b"\r\n" + WHOLE, None),
        (CHUNKED + b"e\r\n" + WHOLE + b"\r\n0\r\n\r\n", None),
        (b"content-type: text/plain\r\n\r\n" + HALF, None),
        (b"content-encoding: gzip\r\n" + TYPE + b"content-length: 2\r\n\r\n\x1f\x8b", None),
    ],
    ids=[
        *(
            "of its length",
            "too short",
            "to the end",
            "nothing",
            "in chunks",
            "between chunks",
            "before the last chunk",
        ),
        *("whole to the end", "whole in chunks", "no JSON", "compressed"),
    ],
)
def test_an_answer_that_is_not_streamed_is_whole_with_its_json(answer: bytes, kind: str | None) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + answer) as url:
        result = play(url, built_in(), connections=1, rate=100, seconds=0.1)
    assert result.requests >= 10
    assert result.failures == ({kind: result.requests} if kind else {})
    assert result.truncated == result.failures


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
@pytest.mark.parametrize(("route", "kind"), [("truncated", "no_terminal"), ("failing", "error_event")])
def test_a_part_of_a_stream_is_known_in_each_dialect(
    dialect: payloads.Dialect, route: str, kind: str, mock: Mock
) -> None:
    result = play(f"{mock.url}/{route}", built_in(dialect, stream=True))
    assert result.failures == {kind: result.requests}


def test_the_share_of_errors_is_what_the_mock_was_told(mock: Mock) -> None:
    result = play(f"{mock.url}/some", built_in(), rate=2_000, seconds=0.25)
    assert result.statuses == {503: result.failures["status"]}
    assert result.failed == pytest.approx(100, abs=36)
    assert result.answered + result.failed == result.requests


def test_a_mix_is_asked_by_its_weights(mock: Mock) -> None:
    (good,) = built_in()
    mix = [good, Entry(path=f"/refused{good.path}", body=good.body, weight=3.0)]
    result = play(mock.url, mix, rate=2_000, seconds=0.25)
    assert result.failed / result.requests == pytest.approx(0.75, abs=0.08)


def test_a_target_that_nobody_answers_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        with pytest.raises(BenchError, match=f"^127.0.0.1:{port} cannot be reached with connection 1: "):
            play(f"http://127.0.0.1:{port}", built_in())


def test_a_load_generator_at_its_limit_says_so(mock: Mock) -> None:
    result = play(mock.url, built_in(), rate=400_000, connections=16, timeout_s=0.2)
    assert result.generator.busy_share > 0.95
    assert any(doubt.startswith("the load generator was at its limit: it ran, or waited") for doubt in result.doubts)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that says the same to everybody, once a connection."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed: the test is over
            while True:
                connection, _ = listening.accept()
                with connection:
                    if connection.recv(65_536):
                        connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_connections_that_the_target_closes_are_made_again() -> None:
    """One answer a connection, as `connection: close` says, and each time a new one."""
    with answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}") as url:
        result = play(url, built_in(), connections=1, rate=100, seconds=0.2)
    assert (result.failures, result.answered) == ({}, result.requests)
    assert result.generator.reconnects >= result.answered


# -- what is sent


class Listener:
    """Takes one request, answers it with `{}`, and keeps what came."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.raw = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, self._listening:
            connection.settimeout(5)
            self.raw = connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            while connection.recv(65_536):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    def join(self) -> tuple[str, list[str], bytes]:
        self._thread.join(5)
        head, _, body = self.raw.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        return first, sorted(fields), body


@pytest.mark.parametrize(
    ("path", "credential"),
    [
        ("/v1/chat/completions", ["authorization: Bearer sk-1"]),
        ("/v1/messages", ["anthropic-version: 2023-06-01", "x-api-key: sk-1"]),
        ("/v1beta/models/m:generateContent", ["x-goog-api-key: sk-1"]),
    ],
)
def test_the_key_goes_where_the_dialect_has_it(path: str, credential: list[str]) -> None:
    listener = Listener()
    entry = Entry(path=path, body={"a": [1, "ü"]}, headers={"X-Team": "search"})
    play(f"{listener.url}/llm", [entry], "sk-1", connections=1, seconds=0.05, warm_up_s=0.0)
    first, fields, body = listener.join()
    assert first == f"POST /llm{path} HTTP/1.1"
    assert json.loads(body) == {"a": [1, "ü"]}
    host = listener.url.removeprefix("http://")
    always = [f"content-length: {len(body)}", "content-type: application/json", f"host: {host}", "x-team: search"]
    assert fields == sorted(always + credential)


# -- the command


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = bench.main(["load", *arguments, "--seconds", "0.1", "--warm-up", "0"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_prints_json_and_says_what_failed(mock: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    always = ("--json", "--connections", "2", "--rate", "200", "--max-lag-ms", "10000")
    code, out, _ = command(capsys, mock.url, *always)
    result = json.loads(out)
    assert (code, result["trusted"], result["failed"], result["requests"]) == (0, True, 0, pytest.approx(20, abs=1))
    assert sum(count for _, count in result["latency_buckets_us"]) == result["answered"]
    assert (result["truncated"], result["truncated_by"]) == (0, {})
    code, out, _ = command(capsys, f"{mock.url}/truncated", *always)
    result = json.loads(out)
    assert (code, result["truncated"], result["truncated_by"]) == (1, result["failed"], {"half_json": result["failed"]})
    code, out, _ = command(capsys, f"{mock.url}/some", *always)
    assert (code, json.loads(out)["statuses"].keys()) == (1, {"503"})
    assert command(capsys, f"{mock.url}/some", *always, "--tolerate", "0.9")[0] == 0


def test_figures_that_are_not_to_be_trusted_fail_the_command(mock: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, mock.url, "--rate", "200", "--max-lag-ms", "0", "--json")
    assert code == 70
    assert "not to be trusted: the load generator fell behind its schedule" in err
    assert json.loads(out)["trusted"] is False


def test_tls_is_checked_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pem = tmp_path / "mock.pem"
    with playing("--tls", str(pem)) as mock:
        always = ("--stream", "--connections", "2", "--rate", "100", "--max-lag-ms", "10000")
        assert command(capsys, mock.url, *always, "--ca", str(pem))[0] == 0
        assert command(capsys, mock.url, *always, "--insecure")[0] == 0
        assert bench.main(["load", mock.url, *always]) == 70


def test_the_table_says_it_all(mock: Mock) -> None:
    out = StringIO()
    result = play(f"{mock.url}/failing", built_in(stream=True), rate=200)
    Console(file=out, width=160).print(table.render(result))
    said = out.getvalue()
    for words in (
        "open loop, 200 requests/s (constant)",
        "first token",
        "gap",
        "error event",
        "of them truncated, their callers left with a part:",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("http://127.0.0.1:1", "--key", "sk-secret"), "bench: --key: a key is env:NAME or file:PATH"),
        (("http://127.0.0.1:1", "--key", "env:NO_SUCH"), "bench: --key env:NO_SUCH: the environment has no NO_SUCH"),
        (("http://127.0.0.1:1", "--key", "file:/nowhere"), "bench: --key file:/nowhere: No such file or directory"),
        (
            ("127.0.0.1:1",),
            "bench: 127.0.0.1:1: an address is http://HOST:PORT or https://HOST:PORT, and may have a path",
        ),
        (("https://127.0.0.1:1", "--ca", "/nowhere"), "bench: /nowhere: no authorities can be read: No such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = StringIO()
    monkeypatch.setattr(bench, "_err", Console(file=said, width=200))
    assert bench.main(["load", *arguments]) == 70
    assert said.getvalue().startswith(message)
    assert "secret" not in said.getvalue()
