from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.adapters._masking import MAX_TEXT, mask_fields, mask_text
from gateway.adapters.logs import STREAM_WRITE_BYTES, LogWriter
from tests.gateway.adapters.helpers import eventually, failing_writes


class Log:
    """A file that a writer writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log")
    yield opened
    os.close(opened.fd)


def test_a_request_is_one_line_with_time_level_and_its_fields(log: Log) -> None:
    writer = LogWriter(log.fd)
    writer.request(b'{"path":"/v1/models","status":200}')
    writer.request(b'{"path":"/x"}', 'no "luck" with sk-abcdefgh')
    assert writer.close(5)
    first, failed = log.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(first.pop("ts")))
    assert first == {"level": "info", "event": "request", "path": "/v1/models", "status": 200}
    assert (failed["path"], failed["error"]) == ("/x", 'no "luck" with sk-***')


def test_lines_keep_their_order(log: Log) -> None:
    writer = LogWriter(log.fd)
    for n in range(3_000):
        if n % 3:
            writer.request(b'{"status":%d}' % n)
        else:
            writer.event("info", "tick", status=n)
    assert writer.close(5)
    assert [line.get("status", 0) for line in log.lines()] == list(range(3_000))


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "request", "warning", "error"]),
        ("info", ["info", "request", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_may_change_while_running(level: str, seen: list[str], log: Log) -> None:
    writer = LogWriter(log.fd, "error")
    writer.level = level
    for each in ("debug", "info"):
        writer.event(each, each)
    writer.request(b'{"status":0}')
    for each in ("warning", "error"):
        writer.event(each, each)
    writer.close(5)
    assert writer.level == level
    assert [line["event"] for line in log.lines()] == seen


def test_a_level_that_is_none_is_refused(log: Log) -> None:
    with pytest.raises(ValueError, match="one of debug, info, warning, error"):
        LogWriter(log.fd, "verbose")


def test_text_of_others_cannot_forge_what_the_writer_says(log: Log) -> None:
    writer = LogWriter(log.fd)
    writer.request(b'{"status":500}', 'a"\n{"event":"forged"}')
    writer.event("info", "tick", ts="never", event_="other", note='a"\n{"event":"forged"}')
    writer.close(5)
    request, event = log.lines()
    assert (request["level"], request["event"]) == ("info", "request")
    assert event["ts"] != "never"


CANARIES = [
    "sk-proj-CANARYcanary0123",
    "sk-ant-api03-CANARY_canary",
    "tw_k3yid_CANARYcanary0123",
    "AIzaSyCANARYcanary0123456789",
    "AKIACANARYCANARY0123",
    "ghp_CANARYcanary0123",
    "eyJhbGciOiJ9CANARY.eyJzdWIiCANARY.c2lnbmF0CANARY",
    "Bearer CANARYcanary0123",
    "Authorization: Basic Q0FOQVJZOkNBTkFSWQCANARY",
    'authorization="CANARYcanary"',
    "https://user:CANARY@proxy.example:3128/",
    "https://api.example/v1?key=CANARY&alt=sse",
    '{"api_key": "CANARYcanary"}',
    "client_secret=CANARYcanary",
    "-----BEGIN RSA PRIVATE KEY-----\nCANARYcanary\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nCANARYcanary",
]


@pytest.mark.parametrize("secret", CANARIES)
def test_no_secret_passes_in_free_text(secret: str, log: Log) -> None:
    text = f"provider said: ({secret}) is not valid"
    writer = LogWriter(log.fd)
    writer.request(b'{"status":500}', text)
    writer.event("error", "failed", error=ValueError(text), nested={"list": [text], text: 1}, raw=text.encode())
    writer.event("error", text)
    writer.close(5)
    written = log.path.read_text()
    assert "CANARY" not in written
    assert written.count("provider said") == 6


@pytest.mark.parametrize(
    "name",
    ["authorization", "Authorization", "x-api-key", "api_key", "apikey", "token", "access_token", "admin_token_old",
     "client_secret", "password", "set-cookie", "pepper", "private_key", "credentials"],
)  # fmt: skip
def test_no_secret_passes_under_a_name_that_says_so(name: str) -> None:
    for value in ("canary", b"canary", ["canary"], {"a": "canary"}):
        masked = mask_fields({"headers": {name: value}, name: value})
        assert masked == {"headers": {name: "***"}, name: "***"}


@pytest.mark.parametrize(
    "text",
    ["", "model gpt-4o-mini not found", "task-force-one-two", "risk-adjusted-return", "unknown key: max_tokens",
     "unexpected token: comma at byte 17", "http://localhost:8080/v1", "naïve café", "basic authentication failed",
     "eyjafjallajökull", "connect to 10.0.0.1:443: refused", "disk-full-on-device"],
)  # fmt: skip
def test_text_without_secrets_is_left_as_it_is(text: str) -> None:
    assert mask_text(text) == text


def test_figures_about_tokens_are_left_as_they_are() -> None:
    fields: dict[str, object] = {
        "input_tokens": 7,
        "tokens_per_s": 1.5,
        "token": None,
        "max_tokens": 2**70,
        "secret": "",
    }
    assert mask_fields(fields) == fields | {"max_tokens": 2**70}


def test_whatever_is_logged_stays_bounded_and_encodable() -> None:
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    masked = mask_fields({
        "cycle": cycle, "long": "x" * 10**6, "many": list(range(10**5)), "wide": {str(n): n for n in range(10**4)},
        "surrogate": "\udc80", "path": Path("/x"), "big": 2**70, "nan": float("nan"), "set": {1},
    })  # fmt: skip
    encoded = msgspec.json.encode(masked)
    assert len(encoded) < 3 * MAX_TEXT
    assert json.loads(encoded)["surrogate"] == "\\udc80"


def _stalled_pipe(blocking: bool) -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b" " * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, blocking)
    return reader, writer


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stalls_costs_lines_and_a_later_line_tells_how_many(blocking: bool) -> None:
    reader, stream = _stalled_pipe(blocking)
    writer = LogWriter(stream, max_queue_bytes=100_000)
    writer.event("info", "first")
    eventually(lambda: not writer.queued_bytes)
    for n in range(5_000):
        writer.event("info", "tick", n=n)
    dropped = writer.dropped
    assert dropped > 2_000
    received = bytearray()
    thread = threading.Thread(target=_read_all, args=(reader, received))
    thread.start()
    assert writer.close(10)
    os.close(stream)
    thread.join()
    lines = [json.loads(line) for line in received.strip().splitlines()]
    assert [line["n"] for line in lines if line["event"] == "tick"] == list(range(5_000 - dropped))
    (report,) = [line for line in lines if line["event"] == "log_lines_dropped"]
    assert (report["count"], report["level"]) == (dropped, "warning")


def _read_all(fd: int, into: bytearray) -> None:
    while data := os.read(fd, 65_536):
        into += data
    os.close(fd)


def test_closing_does_not_wait_longer_than_it_is_told_for_a_stalled_reader() -> None:
    reader, stream = _stalled_pipe(blocking=False)
    writer = LogWriter(stream)
    writer.event("info", "never_read")
    assert not writer.close(0.01)
    assert writer.close(5)
    os.close(reader)
    os.close(stream)


def test_a_reader_that_has_gone_is_no_error() -> None:
    reader, stream = os.pipe()
    os.close(reader)
    writer = LogWriter(stream)
    writer.event("info", "lost")
    assert writer.close(5)
    assert writer.dropped == 1
    os.close(stream)


def test_lines_lost_to_a_full_disk_are_reported_and_spoil_no_later_line(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(log.fd)
    with failing_writes(monkeypatch, errno.ENOSPC, after_bytes=250):
        for n in range(10):
            writer.event("info", "tick", n=n)
        eventually(lambda: writer.dropped > 0)
    writer.event("info", "after")
    assert writer.close(5)
    written = log.path.read_text().splitlines()
    whole = [json.loads(line) for line in written if line.endswith("}")]
    assert len(whole) == len(written) - 1
    assert [line["event"] for line in whole][-2:] == ["after", "log_lines_dropped"]
    assert whole[-1]["count"] == 10 - sum(line["event"] == "tick" for line in whole)


WRITER = """
import sys
from gateway.adapters.logs import LogWriter
writer = LogWriter(1)
for n in range(2_000):
    writer.event("info", "tick", owner=sys.argv[1], n=n, pad="x" * 200)
sys.exit(not writer.close(20))
"""


def test_lines_of_several_processes_on_one_slow_pipe_never_mix() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    reader, stream = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(n)], stdout=stream, env=environment) for n in range(3)
    ]
    os.close(stream)
    received = bytearray()
    _read_all(reader, received)
    assert [process.wait() for process in processes] == [0, 0, 0]
    lines = [json.loads(line) for line in received.splitlines()]
    assert len(received) > 20 * STREAM_WRITE_BYTES
    for owner in "012":
        assert [line["n"] for line in lines if line["owner"] == owner] == list(range(2_000))


def test_a_signal_handler_may_log_whatever_it_interrupts(log: Log) -> None:
    writer, fired = LogWriter(log.fd, max_queue_bytes=10**9), 0

    def handler(signum: int, frame: object) -> None:
        nonlocal fired
        fired += 1
        writer.event("info", "signal")

    previous = _on_alarm(handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for n in range(30_000):
            writer.request(b'{"status":%d}' % n)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert writer.close(20)
    events = [line["event"] for line in log.lines()]
    assert fired > 3
    assert (events.count("signal"), events.count("request")) == (fired, 30_000)


def _on_alarm(handler: Callable[[int, object], None]) -> signal._HANDLER:
    return signal.signal(signal.SIGALRM, handler)


def test_whoever_asked_for_them_gets_the_lines_too_as_they_are_written(log: Log) -> None:
    also: list[bytes] = []
    writer = LogWriter(log.fd, also=also.append)
    for n in range(1_000):
        writer.event("info", "tick", status=n)
    assert writer.close(5)
    assert b"".join(also) == log.path.read_bytes()
    assert all(chunk.endswith(b"\n") for chunk in also)
