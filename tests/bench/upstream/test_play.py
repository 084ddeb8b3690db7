"""The mock provider over real sockets: what it is told to play is what arrives."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
from rich.console import Console

from bench import __main__ as bench
from tests.bench.upstream.mock import Mock, playing

SCRIPT = """\
text_bytes: 40
model: mock-7
prompt_tokens: 11
routes:
  - {prefix: /late, latency_ms: 30}
  - {prefix: /paced, gap_ms: 4, text_bytes: 80}
  - {prefix: /sizes, text_bytes: "uniform:100,1000"}
  - {prefix: /small, text_bytes: 100}
  - {prefix: /huge, text_bytes: 1000000, token_bytes: 1000}
  - {prefix: /refused, faults: [{kind: error, share: 1, status: 429, retry_after_s: 3}]}
  - {prefix: /some, faults: [{kind: error, share: 0.2, status: 503}]}
  - {prefix: /stalled, faults: [{kind: stall, share: 1, for_ms: 100}]}
  - {prefix: /held, faults: [{kind: stall, share: 1, at: 0.2}]}
  - {prefix: /reset, faults: [{kind: reset, share: 1}]}
  - {prefix: /closed, faults: [{kind: close, share: 1}]}
  - {prefix: /truncated, faults: [{kind: truncate, share: 1}]}
  - {prefix: /failing, faults: [{kind: error_event, share: 1, status: 529}]}
"""
ASKED = {"model": "m", "messages": [{"role": "user", "content": 'Say "stream": true, please.'}]}
TEXT = "the harbour office keeps a ledger of eve"
PATHS = {
    "openai": ("/v1/chat/completions", ""),
    "anthropic": ("/v1/messages", ""),
    "gemini": ("/v1beta/models/m:streamGenerateContent", "?alt=sse"),
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mock") / "script.yaml"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def mock(script: Path) -> Iterator[Mock]:
    with playing("--script", str(script)) as mock:
        yield mock


@pytest.fixture(scope="module")
def client(mock: Mock) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mock.url, timeout=10) as client:
        yield client


def stream(client: httpx.Client, path: str, **more: Any) -> str:
    answer = client.post(path, json={**ASKED, "stream": True, **more})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


def events(text: str) -> list[tuple[str | None, Any]]:
    """(event, data) of each event, by the textbook: WHATWG HTML, section 9.2, without its corners."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


# -- dialects


def test_anthropic_answers(client: httpx.Client) -> None:
    answer = client.post("/v1/messages", json=ASKED).json()
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert answer["content"] == [{"type": "text", "text": TEXT}]
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (11, 10)


def test_anthropic_streams(client: httpx.Client) -> None:
    seen = events(stream(client, "/v1/messages"))
    assert all(name == data["type"] for name, data in seen)
    names = [name for name, _ in seen]
    deltas = ["content_block_delta"] * 10
    assert names == [
        *("message_start", "content_block_start", "ping", *deltas, "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert "".join(data["delta"]["text"] for name, data in seen if name == "content_block_delta") == TEXT
    start, delta = seen[0][1]["message"], seen[-2][1]
    assert (start["usage"]["input_tokens"], start["content"], start["stop_reason"]) == (11, [], None)
    assert (delta["delta"]["stop_reason"], delta["usage"]["output_tokens"]) == ("end_turn", 10)


def test_gemini_answers(client: httpx.Client) -> None:
    answer = client.post("/v1beta/models/m:generateContent", json={"contents": []}).json()
    (candidate,) = answer["candidates"]
    assert candidate == {"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 10, "totalTokenCount": 21}
    assert answer["usageMetadata"] == usage


def test_gemini_streams(client: httpx.Client) -> None:
    text = stream(client, "/v1beta/models/m:streamGenerateContent?alt=sse")
    assert "\r\n\r\n" in text
    seen = [data for _, data in events(text)]
    assert "".join(data["candidates"][0]["content"]["parts"][0]["text"] for data in seen) == TEXT
    assert [data["candidates"][0].get("finishReason") for data in seen] == [None] * 9 + ["STOP"]
    assert seen[-1]["usageMetadata"]["candidatesTokenCount"] == 10


@pytest.mark.parametrize(
    ("dialect", "place"),
    [("openai", ("error", "type")), ("anthropic", ("error", "type")), ("gemini", ("error", "status"))],
)
def test_a_refusal_has_the_shape_of_its_dialect(dialect: str, place: tuple[str, str], client: httpx.Client) -> None:
    path, query = PATHS[dialect]
    answer = client.post(f"/refused{path}{query}", json=ASKED)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    kinds = {"openai": "rate_limit_error", "anthropic": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}
    assert answer.json()[place[0]][place[1]] == kinds[dialect]


@pytest.mark.parametrize("dialect", PATHS)
def test_a_stream_that_breaks_off_has_the_error_event_of_its_dialect_and_no_terminal(
    dialect: str, client: httpx.Client
) -> None:
    path, query = PATHS[dialect]
    text = stream(client, f"/failing{path}{query}")
    name, data = events(text)[-1]
    assert data["error"]["message"] == "The script says so."
    assert name == ("error" if dialect == "anthropic" else None)
    assert not any(terminal in text for terminal in ("[DONE]", "message_stop", "finishReason"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1beta/models/m:streamGenerateContent", 400),
        ("PUT", "/v1/chat/completions", 405),
        ("GET", "/health", 200),
    ],
)
def test_what_is_not_played_is_answered_all_the_same(method: str, path: str, status: int, client: httpx.Client) -> None:
    assert client.request(method, path, json={} if method != "GET" else None).status_code == status


# -- sizes and times


@pytest.mark.parametrize(("route", "size"), [("small", 100), ("huge", 1_000_000)])
def test_an_answer_has_the_size_that_was_asked_for(route: str, size: int, client: httpx.Client) -> None:
    answer = client.post(f"/{route}/v1/chat/completions", json=ASKED).json()
    assert len(answer["choices"][0]["message"]["content"]) == size


def test_a_huge_stream_comes_whole(client: httpx.Client) -> None:
    seen = events(stream(client, "/huge/v1/messages"))
    assert sum(len(data["delta"]["text"]) for name, data in seen if name == "content_block_delta") == 1_000_000
    assert seen[-1][0] == "message_stop"


def test_sizes_that_are_drawn_spread(client: httpx.Client) -> None:
    sizes = {
        len(client.post("/sizes/v1/chat/completions", json=ASKED).json()["choices"][0]["message"]["content"])
        for _ in range(200)
    }
    assert len(sizes) == 16
    assert min(sizes) == pytest.approx(128, abs=2)
    assert max(sizes) == pytest.approx(972, abs=2)


def test_the_first_byte_waits_for_the_latency(client: httpx.Client) -> None:
    begun = time.monotonic()
    client.post("/late/v1/chat/completions", json=ASKED)
    assert time.monotonic() - begun >= 0.03


def test_a_stream_that_is_paced_comes_event_by_event(client: httpx.Client) -> None:
    begun = time.monotonic()
    with client.stream("POST", "/paced/v1/chat/completions", json={**ASKED, "stream": True}) as answer:
        arrivals = [time.monotonic() for _ in answer.iter_lines() if _]
    assert len(arrivals) == 23  # role, 20 tokens, finish reason, terminal
    assert arrivals[-1] - begun >= 22 * 0.004
    assert sum(later - earlier > 0.001 for earlier, later in pairwise(arrivals)) > 11


def test_an_answer_that_is_not_streamed_comes_when_its_last_token_would_have(client: httpx.Client) -> None:
    begun = time.monotonic()
    client.post("/paced/v1/chat/completions", json=ASKED)
    assert time.monotonic() - begun >= 20 * 0.004


# -- faults


def test_the_share_of_errors_is_what_was_asked_for(client: httpx.Client) -> None:
    """500 draws with the script's seed; within four deviations."""
    statuses = [client.post("/some/v1/chat/completions", json=ASKED).status_code for _ in range(500)]
    assert set(statuses) == {200, 503}
    assert statuses.count(503) == pytest.approx(100, abs=36)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stall_is_silence_and_then_the_rest(streamed: bool, client: httpx.Client) -> None:
    pieces: list[tuple[float, bytes]] = []
    with client.stream("POST", "/stalled/v1/chat/completions", json={**ASKED, "stream": streamed}) as answer:
        pieces = [(time.monotonic(), piece) for piece in answer.iter_raw()]
    assert max(later - earlier for (earlier, _), (later, _) in pairwise(pieces)) >= 0.09
    whole = b"".join(piece for _, piece in pieces).decode()
    assert whole.endswith("[DONE]\n\n") if streamed else json.loads(whole)["choices"][0]["message"]["content"] == TEXT


def test_a_stall_without_end_lasts_until_the_client_leaves(client: httpx.Client) -> None:
    with client.stream("POST", "/held/v1/chat/completions", json={**ASKED, "stream": True}, timeout=0.3) as answer:
        first = b""
        with pytest.raises(httpx.ReadTimeout):
            for piece in answer.iter_raw():
                first += piece
    assert b'"role":"assistant"' in first
    assert b"[DONE]" not in first


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("route", ["reset", "closed"])
def test_a_cut_connection_breaks_the_framing(route: str, streamed: bool, client: httpx.Client) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        client.post(f"/{route}/v1/chat/completions", json={**ASKED, "stream": streamed})


@pytest.mark.parametrize("dialect", PATHS)
def test_a_polite_truncation_keeps_the_framing_and_lacks_the_terminal(dialect: str, client: httpx.Client) -> None:
    path, query = PATHS[dialect]
    text = stream(client, f"/truncated{path}{query}")
    assert len(events(text)) >= 4
    assert not any(terminal in text for terminal in ("[DONE]", "message_stop", "finishReason"))


def test_a_truncated_answer_that_is_not_streamed_is_half_its_json(client: httpx.Client) -> None:
    answer = client.post("/truncated/v1/chat/completions", json=ASKED)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


# -- HTTP


def request(body: bytes, *fields: str, target: str = "/v1/chat/completions", version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/{version}", "host: mock", *fields, "", ""]).encode() + body


def read(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """(status, body) of that many answers, as h11 reads them."""
    reader = h11.Connection(h11.CLIENT)
    found: list[tuple[int, bytes]] = []
    status, body = 0, b""
    connection.settimeout(10)
    while len(found) < count:
        if reader.our_state is h11.IDLE:
            reader.send(h11.Request(method="POST", target="/", headers=[("host", "mock"), ("content-length", "0")]))
            reader.send(h11.EndOfMessage())
        event = reader.next_event()
        assert not isinstance(event, h11.ConnectionClosed), found
        if event is h11.NEED_DATA:
            reader.receive_data(connection.recv(65_536))
        elif isinstance(event, h11.Response):
            status, body = event.status_code, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found.append((status, body))
            reader.start_next_cycle()
    return found


BODY = json.dumps(ASKED).encode()
STREAMED = json.dumps({**ASKED, "stream": True}).encode()
LENGTH = f"content-length: {len(BODY)}"


@pytest.mark.parametrize("step", [1, 7, 100_000], ids=["byte by byte", "in pieces", "whole"])
@pytest.mark.parametrize("route", ["", "/late"])
def test_requests_are_answered_in_order_however_they_are_cut(step: int, route: str, mock: Mock) -> None:
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (STREAMED[:20], STREAMED[20:])) + b"0\r\n\r\n"
    target = f"{route}/v1/chat/completions"
    raw = (
        request(BODY, LENGTH, target=target)
        + request(chunked, "transfer-encoding: chunked", target=target)
        + request(STREAMED, f"content-length: {len(STREAMED)}", target=target)
        + request(BODY, LENGTH, target=target)
    )
    with socket.create_connection(mock.address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(raw), step):
            connection.send(raw[at : at + step])
        answers = read(connection, 4)
    assert [status for status, _ in answers] == [200] * 4
    assert [body.endswith(b"[DONE]\n\n") for _, body in answers] == [False, True, True, False]


def test_many_requests_in_one_read_are_all_answered(mock: Mock) -> None:
    chunked = request(b"2\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked")
    with socket.create_connection(mock.address) as connection:
        connection.sendall((request(b"{}", "content-length: 2") + chunked) * 300)
        assert {status for status, _ in read(connection, 600)} == {200}


def test_a_body_is_awaited_with_a_word_where_the_client_asks_for_one(mock: Mock) -> None:
    with socket.create_connection(mock.address) as connection:
        connection.settimeout(10)
        connection.sendall(request(b"", LENGTH, "expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection, 1)[0][0] == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(BODY, LENGTH, "connection: close"), b"200"),
        (request(BODY, LENGTH, version="1.0"), b"200"),
        (request(STREAMED, f"content-length: {len(STREAMED)}", version="1.0"), b"505"),
        (b"nonsense\r\n\r\n", b"400"),
        (request(b"zz\r\n", "transfer-encoding: chunked"), b"400"),
        (request(b"", "content-length: 99999999999"), b"413"),
    ],
    ids=["asked to", "1.0", "a stream to 1.0", "no HTTP", "no chunk", "too large"],
)
def test_the_connection_ends_where_it_must(raw: bytes, status: bytes, mock: Mock) -> None:
    with socket.create_connection(mock.address) as connection:
        connection.settimeout(10)
        connection.sendall(raw)
        said = b""
        while piece := connection.recv(65_536):
            said += piece
    assert said.startswith(b"HTTP/1.1 " + status)


def test_a_client_that_reads_slowly_gets_all(mock: Mock) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(mock.address)
        big = request(BODY, LENGTH, target="/huge/v1/chat/completions")
        long = request(STREAMED, f"content-length: {len(STREAMED)}", target="/huge/v1/messages")
        connection.sendall(big + long)
        time.sleep(0.2)
        whole, streamed = read(connection, 2)
    assert len(json.loads(whole[1])["choices"][0]["message"]["content"]) == 1_000_000
    assert streamed[1].endswith(b'{"type":"message_stop"}\n\n')


# -- processes


def test_workers_share_the_port_and_add_up_what_they_did(script: Path, tmp_path: Path) -> None:
    tls = tmp_path / "mock.pem"
    with playing("--workers", "2", "--tls", str(tls), "--script", str(script), stop_by=signal.SIGINT) as mock:
        trusting = ssl.create_default_context(cafile=str(tls))
        for _ in range(30):  # a connection each: which worker accepts it is the kernel's choice
            with httpx.Client(base_url=mock.url, verify=trusting, timeout=10) as client:
                assert stream(client, "/v1/chat/completions").endswith("[DONE]\n\n")
        assert "BEGIN CERTIFICATE" in tls.read_text() and tls.stat().st_mode & 0o077 == 0
    assert mock.counts["requests"] == mock.counts["answers"] == mock.counts["connections"] == 30
    assert mock.counts["events"] == 30 * 13
    assert mock.summary["cpu_s"] > 0


def test_a_freeze_holds_back_all_that_is_sent(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("freezes: [{at_s: 0.05, for_ms: 200}]")
    slowest_s = 0.0
    with playing("--script", str(script)) as mock, httpx.Client(base_url=mock.url) as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 0.3:
            asked = time.monotonic()
            client.post("/v1/chat/completions", json=ASKED)
            slowest_s = max(slowest_s, time.monotonic() - asked)
    assert 0.15 < slowest_s < 0.4


def test_options_stand_above_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("text_bytes: 10\ntokens_per_s: 1\nfaults: [{kind: error, share: 1}]")
    options = ("--gap-ms", "0", "--text-bytes", "20", "--fault", "truncate:0")
    with playing("--script", str(script), *options) as mock:
        answer = httpx.post(f"{mock.url}/v1/messages", json=ASKED, timeout=5).json()
    assert len(answer["content"][0]["text"]) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--latency-ms", "soon"), 70, "bench: latency_ms: 'soon' is not a number"),
        (("--fault", "error:7"), 70, "bench: --fault error:7: share: Expected `float` <= 1.0"),
        (("--listen", "here"), 70, "bench: 'here' is no address to listen on: write HOST:PORT"),
        (("--listen", "192.0.2.1:9"), 70, "bench: 192.0.2.1:9 cannot be listened on: Cannot assign requested address"),
        (("--script", "/nowhere.yaml"), 70, "bench: /nowhere.yaml: No such file or directory"),
        (("--workers", "0"), 64, "Must be >= 1"),
    ],
)
def test_what_cannot_be_played_is_said(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = StringIO()
    monkeypatch.setattr(bench, "_err", Console(file=said, width=200))
    assert bench.main(["upstream", *arguments]) == code
    assert message in said.getvalue() + capsys.readouterr().err
