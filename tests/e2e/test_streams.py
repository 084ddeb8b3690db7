"""A recorded stream, cut wherever it can be cut: what arrives is what was sent, and an end that is none never looks like one."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.conftest import RawConnection, secret_of
from tests.e2e.node import Gateway
from tests.support.scripted_upstream import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    RESET,
    STALL,
    Ending,
    Script,
    ScriptedUpstream,
    chat_events,
    chunk,
    cut,
    delta,
    event,
    head,
    stream,
)

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
EVENTS = [
    b": a comment\n\n",
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}\r\n\r\n',
    'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Gr\\u00fc\\"ße 🌍"}}],"usage":null}\n\n'.encode(),
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"}"},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n',
    DONE,
]
RECORDED = b"".join(EVENTS)
SHOWN = b"".join(EVENTS[:4]) + DONE
"""What a caller sees that has not asked for usage."""
HEAD = head(200, "text/event-stream", "transfer-encoding: chunked")


def request(script: str, key: str = "main", **fields: Any) -> bytes:
    body = json.dumps(
        {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True, "x_script": script, **fields}
    ).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {secret_of(key)}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def unchunk(data: bytes) -> tuple[bytes, bool]:
    """The body, and whether its framing came to its end."""
    out = b""
    while data:
        size_line, _, data = data.partition(b"\r\n")
        size = int(size_line, 16)
        if size == 0:
            return out, data == b"\r\n"
        out += data[:size]
        data = data[size + 2 :]
    return out, False


def events_of(data: bytes) -> list[bytes]:
    return [part for part in re.split(rb"\r?\n\r?\n", data) if part]


def fetch(node: Gateway, script: str, read_size: int = 65_536, **fields: Any) -> tuple[str, bytes, bool]:
    """(request id, body, whether it ended politely)."""
    with RawConnection(node) as connection:
        connection.send(request(script, **fields))
        head_bytes, _, rest = connection.read_to_end(read_size).partition(b"\r\n\r\n")
    assert head_bytes.startswith(b"HTTP/1.1 200 "), head_bytes
    found = re.search(rb"x-request-id: (\S+)", head_bytes)
    assert found is not None
    return found[1].decode(), *unchunk(rest)


def check_whole(node: Gateway, script: str) -> str:
    request_id, body, ended = fetch(node, script)
    assert ended
    assert body == SHOWN
    return request_id


def test_cut_at_every_byte_upstream_the_content_is_identical_and_the_usage_found(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """As chunks of their own and as writes of their own; and the chunked framing itself is cut too."""
    framed = HEAD + chunk(RECORDED) + LAST_CHUNK
    scripts = [
        upstream.script([HEAD + chunk(RECORDED[:at]), 0.004, chunk(RECORDED[at:]) + LAST_CHUNK])
        for at in range(1, len(RECORDED))
    ]
    scripts += [upstream.script([*cut(framed, at, gap_s=0.004)]) for at in range(1, len(framed))]
    with ThreadPoolExecutor(24) as pool:
        ids = list(pool.map(lambda script: check_whole(gateway, script), scripts))
    records = records_of(gateway, ids)
    assert {
        (r["input_tokens"], r["output_tokens"], r["estimated"], r["status"], r["code"], r["finish_reason"])
        for r in records
    } == {(11, 7, 0, 200, "", "stop")}


def records_of(node: Gateway, ids: list[str]) -> list[dict[str, Any]]:
    """Their ledger records, each once."""
    node.record(ids[-1])
    deadline = time.monotonic() + 10
    while True:
        records = [r for r in node.records() if r["id"] in set(ids)]
        if len(records) >= len(ids) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert sorted(r["id"] for r in records) == sorted(ids)
    return records


def test_byte_by_byte_in_every_framing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    single = [RECORDED[i : i + 1] for i in range(len(RECORDED))]
    slow: list[bytes | float | Ending] = []
    for piece in single:
        slow += (piece, 0.0005)
    for framing in ("chunked", "close", "length"):
        for pieces in (single, slow):
            check_whole(gateway, upstream.script(stream(pieces, framing)))


def test_read_at_every_size_by_the_client(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(stream(EVENTS))

    def read(size: int) -> None:
        _, body, ended = fetch(gateway, script, size)
        assert ended and body == SHOWN

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [*range(1, 80), 128, 256, 512, 1_024]))


def cuts() -> dict[str, tuple[bytes, Script]]:
    """Truncated streams: at each event's boundary and within each event; politely, impolitely, and in each framing."""
    cases: dict[str, tuple[bytes, Script]] = {}
    at = 0
    for number, one in enumerate(EVENTS):
        within = min(len(one) // 2, 9)  # `data: [DONE]` in whole is the terminal already
        for where, size in (("before", 0), ("within", within)):
            sent = RECORDED[: at + size]
            if sent:
                cases[f"{number}-{where}-chunks-ended"] = sent, [HEAD, chunk(sent), 0.002, LAST_CHUNK]
                cases[f"{number}-{where}-closed"] = (
                    sent,
                    [head(200, "text/event-stream", "connection: close"), sent, CLOSE],
                )
                cases[f"{number}-{where}-cut"] = sent, [HEAD, chunk(sent), 0.01, CLOSE]
                cases[f"{number}-{where}-length"] = (
                    sent,
                    [head(200, "text/event-stream", f"content-length: {len(sent)}") + sent],
                )
                cases[f"{number}-{where}-length-cut"] = (
                    sent,
                    [head(200, "text/event-stream", "content-length: 9999"), sent, 0.01, CLOSE],
                )
            cases[f"{number}-{where}-reset"] = sent, [HEAD, *([chunk(sent)] if sent else []), 0.03, RESET]
        at += len(one)
    return cases


CUTS = cuts()


def check_truncated(name: str, upstream: ScriptedUpstream, gateway: Gateway) -> None:
    sent, steps = CUTS[name]
    script = upstream.script(steps)
    request_id, body, ended = fetch(gateway, script)
    assert b"[DONE]" not in body, name
    assert ended, name  # the error event is the answer's last, and the answer whole
    *passed, last = events_of(body)
    assert passed == events_of(sent)[: len(passed)], f"{name}: what came before is untouched, and nothing is made up"
    told = json.loads(last.removeprefix(b"data: "))["error"]
    assert (told["code"], told["type"]) == ("stream_truncated", "provider_error"), name
    assert (b'"finish_reason":"stop"' in body) == (b"".join(EVENTS[:4]) in sent), name
    line = gateway.logged(request_id)
    assert line["code"] == "stream_truncated", name
    if b"18}}\n\n" in sent:
        assert (line["output_tokens"], line.get("estimated", False)) == (7, False), name


def check_told_of_it(name: str, client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script(CUTS[name][1])
    with pytest.raises(openai.APIError, match="incomplete"):
        list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}
            )
        )


@pytest.mark.parametrize("end", ["chunks-ended", "closed", "cut", "length", "length-cut", "reset"])
def test_a_truncated_stream_is_an_error_to_the_client_and_never_an_end(
    end: str, client: openai.OpenAI, upstream: ScriptedUpstream, gateway: Gateway
) -> None:
    """At each event's boundary, and within each event. Bytes and records are looked at on the native edge: behind it all is one."""
    names = [name for name in CUTS if name.endswith((f"-before-{end}", f"-within-{end}"))]
    assert len(names) >= 2 * len(EVENTS) - 1
    one_connection = client.base_url.scheme == "https"  # which the client's HTTP/2 does not share well between threads
    with ThreadPoolExecutor(1 if one_connection else 6) as pool:
        list(pool.map(lambda name: check_told_of_it(name, client, upstream), names))
        if not one_connection:
            list(pool.map(lambda name: check_truncated(name, upstream, gateway), names))


def test_a_stream_that_never_began_is_an_error_status(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script([HEAD[:20], CLOSE])
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}
        )


def test_a_stream_without_any_event_is_no_success(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    for steps in ([HEAD, LAST_CHUNK], [head(200, "text/event-stream", "content-length: 0")]):
        with RawConnection(gateway) as connection:
            connection.send(request(upstream.script(steps)))
            assert b"stream_truncated" in connection.read_to_end()


def test_an_error_event_of_the_provider_passes_and_is_recorded(
    client: openai.OpenAI, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    failure = event(
        {"error": {"message": "The engine is on fire.", "type": "server_error", "param": None, "code": None}}
    )
    script = upstream.script(stream([EVENTS[1], EVENTS[2], failure]))
    request_id, body, ended = fetch(gateway, script)
    assert ended and body.endswith(failure) and b"[DONE]" not in body
    line = gateway.logged(request_id)
    assert (line["code"], line["error"]) == ("provider_error", "The engine is on fire.")
    with pytest.raises(openai.APIError, match="on fire"):
        list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}
            )
        )


def test_an_error_event_before_done_is_no_success_in_the_record(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    failure = event(
        {"error": {"message": "The engine is on fire.", "type": "server_error", "param": None, "code": None}}
    )
    request_id, body, _ = fetch(gateway, upstream.script(stream([EVENTS[1], EVENTS[2], failure, DONE])))
    assert failure in body
    assert gateway.logged(request_id)["code"] == "provider_error"


def test_a_stream_that_stalls_ends_with_an_error_event(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(stream([*EVENTS[:3], STALL]))
    begun = time.monotonic()
    request_id, body, ended = fetch(gateway, script, model="brief")
    assert 0.3 < time.monotonic() - begun < 2
    assert ended and b'"code":"provider_timeout"' in events_of(body)[-1]
    assert gateway.logged(request_id)["code"] == "provider_timeout"
    upstream.wait_until_left(script)


def test_a_stream_beyond_its_deadline_ends_with_an_error_event(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    pieces: list[bytes | float | Ending] = []
    for _ in range(50):
        pieces += (EVENTS[2], 0.1)
    request_id, body, ended = fetch(gateway, upstream.script(stream([*pieces, DONE])), model="brief")
    assert ended and b"[DONE]" not in body
    assert b'"code":"provider_timeout"' in events_of(body)[-1]
    line = gateway.logged(request_id)
    assert line["code"] == "provider_timeout" and line["estimated"] and line["output_tokens"] >= 5


def test_what_follows_the_terminal_is_no_concern_of_the_caller(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """A provider that dawdles, breaks or babbles after `[DONE]` has given its answer."""
    for after in ([STALL], [RESET], [chunk(b"data: more\n\n"), LAST_CHUNK], [b"zz\r\n", CLOSE]):
        request_id, body, ended = fetch(gateway, upstream.script([HEAD, chunk(RECORDED), 0.02, *after]), model="brief")
        assert ended and body == SHOWN
        line = gateway.logged(request_id)
        assert (line["code"], line["output_tokens"]) == ("", 7)


def test_usage_in_the_last_content_chunk_is_found(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """As some servers send it: beside the last choice, not in a chunk of its own; that one is never hidden."""
    last = event(
        {
            "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
    )
    request_id, body, _ = fetch(gateway, upstream.script(stream([EVENTS[1], last, DONE])))
    assert body == EVENTS[1] + last + DONE
    line = gateway.logged(request_id)
    assert (line["input_tokens"], line["output_tokens"], line.get("estimated", False)) == (3, 2, False)


def test_a_provider_that_tells_no_usage_is_estimated_not_zero(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    request_id, _, _ = fetch(gateway, upstream.script(stream(chat_events(("one ", "two ", "three "), usage=False))))
    line = gateway.logged(request_id)
    assert line["estimated"] is True
    assert line["output_tokens"] == 4 and line["input_tokens"] > 0 and line["cost_nano_usd"] > 0


def test_several_choices_stream_side_by_side(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    pieces = [delta({"content": str(i)}, index=i) for i in (0, 1, 0, 1)] + [delta({}, "stop", i) for i in (0, 1)]
    script = upstream.script(stream([*pieces, DONE]))
    texts = ["", ""]
    for part in client.chat.completions.create(
        model="gpt-4o-mini", messages=MESSAGES, n=2, stream=True, extra_body={"x_script": script}
    ):
        texts[part.choices[0].index] += part.choices[0].delta.content or ""
    assert texts == ["00", "11"]


def test_an_event_leaves_when_it_has_come(
    gateway: Gateway, upstream: ScriptedUpstream, connect: Callable[[], RawConnection]
) -> None:
    """No event waits for the next one."""
    script = upstream.script(stream([EVENTS[1], 0.3, EVENTS[2], STALL]))
    connection = connect()
    begun = time.monotonic()
    connection.send(request(script))
    seen = b""
    while EVENTS[1] not in seen:
        seen += connection.read()
    assert time.monotonic() - begun < 0.28
    while EVENTS[2] not in seen:
        seen += connection.read()
    assert time.monotonic() - begun < 0.6


def test_a_client_that_reads_slowly_holds_the_provider_back(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """40 MiB against a reader that takes nothing: what is held in between is bounded, and in the end all arrives."""
    one = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 65_000}}]})
    count = 640
    sent: list[int] = []

    def answer(_: object) -> Script:
        def steps() -> Any:
            yield HEAD
            for number in range(count):
                sent.append(number)
                yield chunk(one)
            yield chunk(DONE) + LAST_CHUNK

        return steps()  # type: ignore[no-any-return]

    script = upstream.script(answer)
    with RawConnection(gateway) as connection:
        connection.send(request(script))
        connection.read(1)
        time.sleep(0.5)
        held = len(sent)
        assert held < count * 2 // 3, "the provider was read faster than the client took"
        time.sleep(0.2)
        assert len(sent) == held
        rest = connection.read_to_end(1_048_576)
    assert rest.count(b"data: {") == count and b"data: [DONE]" in rest


def test_a_body_that_is_no_stream_and_breaks_off_breaks_off(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    size = 200_000
    script = upstream.script([head(200, "application/json", f"content-length: {size}"), b"[" * 100_000, 0.05, RESET])
    with RawConnection(gateway) as connection:
        connection.send(request(script, stream=False))
        answer = connection.read_to_end()
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 200000" in head_bytes
    assert len(body) < size


def test_async_clients_cut_at_random_leave_nothing_behind(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(stream([*EVENTS[:3], 0.05, *EVENTS[3:]]))

    async def one(n: int) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(script)[: 200 + 20 * n])
        await asyncio.sleep(0.002 * n)
        writer.transport.abort()

    async def main() -> None:
        await asyncio.gather(*(one(n) for n in range(60)))

    asyncio.run(main())
    gateway.wait_until_idle()
