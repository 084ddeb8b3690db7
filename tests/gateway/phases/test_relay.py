"""The provider's answer, to the caller: what each order of events at the connection becomes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from _fastpath.wheel import now_ns
from gateway.base.addresses import Networks
from gateway.base.context import Credential
from gateway.base.snapshot import Budget, Key, Limits, Model, Target
from gateway.net.guard import AddressGuard
from gateway.phases.relay import COLLECT_BYTES
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

DONE = b"data: [DONE]\n\n"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\n'
TOLD = b'data: {"error":{"message":"on fire"}}\n\n'
STREAM = ROLE + WORD + STOP + USAGE + DONE
SHOWN = ROLE + WORD + STOP + DONE
BODY = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
EVENT_STREAM = "text/event-stream"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return limited(tmp_path)


def limited(directory: Path, *targets: str) -> Rig:
    """With limits, so that what is not given back shows."""
    made = tuple(Target(name, "upstream-m", price=PRICE) for name in targets or ("one",))
    key = Key("k1", "app", "", limits=Limits(concurrency=3), budget=Budget(10**12, "day"))
    return Rig(directory, key, models=(Model("m", made),))


def ask(rig: Rig, stream: bool = False) -> FakeExchange:
    return rig.ask(json.dumps({"model": "m", "messages": [], "stream": stream}).encode())


Speak = Callable[[Any], None]


def told(*events: tuple[Any, ...]) -> Speak:
    """What a connection reports, in order: ("head", ...), ("data", bytes, last), ("whole", ...), ("error", kind)."""

    def speak(sink: Any) -> None:
        for name, *arguments in events:
            if name == "whole":
                sink.on_response(response_head(*arguments[1:]), arguments[0])
            elif name == "head":
                sink.on_head(response_head(*arguments), True)
            elif name == "data":
                sink.on_data(*arguments)
            else:
                sink.on_error(arguments[0], "why")

    return speak


LARGE = b'{"data":"' + b"x" * COLLECT_BYTES + b'","usage":{"prompt_tokens":4,"completion_tokens":2}}'
SSE_HEAD = ("head", 200, EVENT_STREAM)
CHUNKED = ("head", 200, "application/json", "transfer-encoding: chunked")

TABLE: dict[str, tuple[Speak, list[str], str, int, tuple[int, int]]] = {
    # what the connection reports, what the caller is given, code, status recorded, (input, output) recorded
    "whole": (told(("whole", BODY)), ["respond"], "", 200, (4, 2)),
    "whole-in-parts": (
        told(CHUNKED, ("data", BODY[:20], False), ("data", BODY[20:], True)),
        ["respond"],
        "",
        200,
        (4, 2),
    ),
    "201": (told(("whole", BODY, 201)), ["respond"], "", 201, (4, 2)),
    "large-by-length": (
        told(
            ("head", 200, "application/json", f"content-length: {len(LARGE)}"),
            ("data", LARGE[:9_000], False),
            ("data", LARGE[9_000:], True),
        ),
        ["start", "write", "end"],
        "",
        200,
        (4, 2),
    ),
    "large-by-chunks": (
        told(CHUNKED, ("data", LARGE[:70_000], False), ("data", LARGE[70_000:], True)),
        ["start", "write", "end"],
        "",
        200,
        (4, 2),
    ),
    "large-cut": (
        told(
            ("head", 200, "application/json", f"content-length: {len(LARGE)}"),
            ("data", LARGE[:9_000], False),
            ("error", "truncated"),
        ),
        ["start", "write", "abort"],
        "stream_truncated",
        200,
        (3, 0),
    ),
    "small-cut": (
        told(CHUNKED, ("data", BODY[:20], False), ("error", "truncated")),
        ["respond"],
        "stream_truncated",
        502,
        (0, 0),
    ),
    "no-json": (told(("whole", b"<html>")), ["respond"], "provider_protocol_error", 502, (0, 0)),
    "empty": (told(("whole", b"")), ["respond"], "provider_protocol_error", 502, (0, 0)),
    "compressed": (
        told(("head", 200, "application/json", "content-encoding: gzip")),
        ["respond"],
        "provider_protocol_error",
        502,
        (0, 0),
    ),
    "stream": (told(SSE_HEAD, ("data", STREAM, False)), ["start", "end"], "", 200, (4, 2)),
    "stream-in-one-read": (told(("whole", STREAM, 200, EVENT_STREAM)), ["start", "end"], "", 200, (4, 2)),
    "stream-by-events": (
        told(
            SSE_HEAD,
            ("data", ROLE, False),
            ("data", WORD, False),
            ("data", STOP, False),
            ("data", USAGE, False),
            ("data", DONE, False),
        ),
        ["start", "write", "write", "write", "end"],
        "",
        200,
        (4, 2),
    ),
    "more-after-done": (
        told(SSE_HEAD, ("data", STREAM, False), ("data", WORD, False), ("data", b"", True)),
        ["start", "end"],
        "",
        200,
        (4, 2),
    ),
    "broken-after-done": (
        told(SSE_HEAD, ("data", STREAM, False), ("error", "truncated")),
        ["start", "end"],
        "",
        200,
        (4, 2),
    ),
    "done-without-blank-line": (told(SSE_HEAD, ("data", STREAM[:-2], True)), ["start", "end"], "", 200, (4, 2)),
    "polite-truncation": (
        told(SSE_HEAD, ("data", ROLE + WORD, False), ("data", b"", True)),
        ["start", "write", "end"],
        "stream_truncated",
        200,
        (3, 1),
    ),
    "impolite-truncation": (
        told(SSE_HEAD, ("data", ROLE + WORD, False), ("error", "truncated")),
        ["start", "write", "end"],
        "stream_truncated",
        200,
        (3, 1),
    ),
    "truncation-after-usage": (
        told(SSE_HEAD, ("data", ROLE + WORD + USAGE, True)),
        ["start", "write", "end"],
        "stream_truncated",
        200,
        (4, 2),
    ),
    "torn-event": (
        told(SSE_HEAD, ("data", ROLE + WORD[:-5], True)),
        ["start", "write", "end"],
        "stream_truncated",
        200,
        (3, 0),
    ),
    "stall": (
        told(SSE_HEAD, ("data", ROLE, False), ("error", "gap")),
        ["start", "write", "end"],
        "provider_timeout",
        200,
        (3, 0),
    ),
    "bad-chunk": (
        told(SSE_HEAD, ("data", ROLE, False), ("error", "protocol")),
        ["start", "write", "end"],
        "provider_protocol_error",
        200,
        (3, 0),
    ),
    "told-error": (
        told(SSE_HEAD, ("data", ROLE + TOLD, True)),
        ["start", "write", "end"],
        "provider_error",
        200,
        (3, 0),
    ),
    "told-error-and-done": (
        told(SSE_HEAD, ("data", ROLE + TOLD + DONE, True)),
        ["start", "end"],
        "provider_error",
        200,
        (3, 0),
    ),
    "no-events": (told(("whole", b"", 200, EVENT_STREAM)), ["start", "end"], "stream_truncated", 200, (3, 0)),
    "400": (told(("whole", b'{"error":{"message":"m"}}', 400)), ["respond"], "provider_rejected", 400, (0, 0)),
    "429": (told(("whole", b"{}", 429)), ["respond"], "provider_rate_limited", 429, (0, 0)),
    "500-in-parts": (
        told(("head", 500, "text/plain", "content-length: 9"), ("data", b"no", False), ("data", b"t today", True)),
        ["respond"],
        "provider_error",
        502,
        (0, 0),
    ),
    "500-as-stream": (
        told(("head", 500, EVENT_STREAM), ("data", b"data: x\n\n", True)),
        ["respond"],
        "provider_error",
        502,
        (0, 0),
    ),
    "endless-error": (
        told(("head", 500, "text/plain"), ("data", b"x" * COLLECT_BYTES, False), ("data", b"x", False)),
        ["respond"],
        "provider_error",
        502,
        (0, 0),
    ),
    "closed": (told(("error", "closed")), ["respond"], "provider_unreachable", 502, (0, 0)),
    "first-byte": (told(("error", "first_byte")), ["respond"], "provider_timeout", 504, (0, 0)),
    "total": (told(("error", "total")), ["respond"], "provider_timeout", 504, (0, 0)),
    "protocol": (told(("error", "protocol")), ["respond"], "provider_protocol_error", 502, (0, 0)),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_order_of_events_ends_once_is_recorded_once_and_gives_back_what_it_held(name: str, rig: Rig) -> None:
    speak, calls, code, status, tokens = TABLE[name]
    exchange = ask(rig, stream="stream" in name or calls[0] == "start")
    assert rig.in_flight == 1
    speak(rig.sink())
    assert exchange.names == calls
    record = rig.record
    assert (record.code, record.status) == (code, status)
    assert (record.input_tokens, record.output_tokens) == tokens
    assert record.cost_nano_usd == 150 * tokens[0] + 600 * tokens[1]
    assert rig.in_flight == 0
    assert rig.key.plan is not None and rig.key.plan.budget_left() == 10**12 - record.cost_nano_usd
    assert len(rig.keeper.lines) == 1
    assert (b"[DONE]" in exchange.sent) == (
        (b"stop" in exchange.sent and calls[0] == "start" and not code) or name == "told-error-and-done"
    )
    assert not any(event == "request_crashed" for _, event, _ in rig.keeper.events)


def test_a_stream_cut_anywhere_twice_is_the_same_stream(tmp_path: Path) -> None:
    rig = limited(tmp_path)
    for first in range(0, len(STREAM), 3):
        for second in range(first, len(STREAM), 7):
            exchange = ask(rig, stream=True)
            told(
                SSE_HEAD,
                ("data", STREAM[:first], False),
                ("data", STREAM[first:second], False),
                ("data", STREAM[second:], True),
            )(rig.sink())
            assert exchange.sent == SHOWN
    assert {(r.input_tokens, r.output_tokens, r.code, r.estimated) for r in rig.keeper.records} == {(4, 2, "", False)}


@pytest.mark.parametrize("end", [("data", b"", True), ("error", "truncated")])
def test_a_stream_cut_off_anywhere_is_never_a_success(tmp_path: Path, end: tuple[Any, ...]) -> None:
    rig = limited(tmp_path)
    for size in range(len(STREAM) - 2 - len(b"\n")):
        exchange = ask(rig, stream=True)
        told(SSE_HEAD, *([("data", STREAM[:size], False)] if size else []), end)(rig.sink())
        complete = STREAM[:size].endswith(b"data: [DONE]") and end[0] == "data"
        assert (b"[DONE]" in exchange.sent) == complete
        assert (rig.keeper.records[-1].code == "") == complete, size
        assert complete or b"stream_truncated" in exchange.sent


@pytest.mark.parametrize(
    "after", [[], [SSE_HEAD], [SSE_HEAD, ("data", ROLE + WORD, False)], [CHUNKED, ("data", BODY[:9], False)]]
)
def test_a_caller_that_leaves_cancels_the_call_and_is_billed_for_what_was_made(rig: Rig, after: list[Any]) -> None:
    exchange = ask(rig, stream=True)
    told(*after)(rig.sink())
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    assert rig.connection().calls == ["close"]
    record = rig.record
    assert (record.status, record.code, record.estimated, record.input_tokens) == (
        499,
        "client_closed_request",
        True,
        3,
    )
    assert record.output_tokens == (1 if len(after) == 2 and after[0] == SSE_HEAD else 0)
    assert rig.in_flight == 0


# -- what is charged


def chat(message: dict[str, Any], usage: Any = None, pad: int = 0) -> bytes:
    """A whole answer; `pad` bytes of what costs nothing make it a long one."""
    choice = {"finish_reason": "stop", "logprobs": {"content": "x" * pad}, "message": message}
    return json.dumps({"choices": [choice], **({"usage": usage} if usage is not None else {})}).encode()


CALL = {"id": "call_1", "type": "function", "function": {"name": "four", "arguments": "a" * 396}}
MADE: list[tuple[dict[str, Any], int]] = [
    # what an answer holds, and how many tokens of output that is
    ({"content": None}, 0),
    ({"content": "a" * 400}, 100),
    ({"content": "a" * 401}, 101),
    ({"refusal": "a" * 400}, 100),
    ({"tool_calls": [CALL, CALL]}, 200),
    ({"function_call": CALL["function"]}, 100),
    ({"reasoning_content": "a" * 400, "content": "a" * 4}, 101),
    ({"reasoning_details": [{"type": "reasoning.text", "text": "a" * 400, "signature": "s" * 4_000}]}, 100),
    ({"thinking": "a" * 400}, 100),
    ({"audio": {"id": "audio_1", "data": "A" * 32_000, "transcript": "a" * 40}}, 135),
]
NO_USAGE: list[Any] = [
    None,
    {},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": -5, "completion_tokens": -5},
    {"prompt_tokens": 3, "completion_tokens": 10**12},
    {"prompt_tokens": "3", "completion_tokens": "1"},
    {"total_tokens": 7},
]


def charged_to(rig: Rig) -> tuple[int, int, bool]:
    record = rig.record
    assert record.cost_nano_usd == 150 * record.input_tokens + 600 * record.output_tokens
    assert rig.key.plan is not None and rig.key.plan.budget_left() == 10**12 - record.cost_nano_usd
    assert rig.in_flight == 0
    return record.input_tokens, record.output_tokens, record.estimated


@pytest.mark.parametrize(("message", "tokens"), MADE)
@pytest.mark.parametrize("usage", NO_USAGE)
@pytest.mark.parametrize("pad", [0, 2 * COLLECT_BYTES])
def test_an_answer_whose_usage_cannot_be_true_is_charged_for_what_it_holds(
    rig: Rig, message: dict[str, Any], tokens: int, usage: Any, pad: int
) -> None:
    body = chat(message, usage, pad)
    exchange = ask(rig)
    told(CHUNKED, ("data", body[:99], False), ("data", body[99:], True))(rig.sink())
    assert exchange.sent == body
    assert charged_to(rig) == (3, tokens, True)


@pytest.mark.parametrize("pad", [0, 2 * COLLECT_BYTES])
@pytest.mark.parametrize(("told_tokens", "tokens"), [(1, 1_000), (62, 1_000), (63, 63), (900, 900), (5_000, 5_000)])
def test_a_count_that_is_far_too_low_for_what_the_answer_holds_is_not_believed(
    rig: Rig, pad: int, told_tokens: int, tokens: int
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": told_tokens}
    body = chat({"content": "a" * 4_000}, usage, pad) + b" " * 4_096
    ask(rig)
    told(CHUNKED, ("data", body, True))(rig.sink())
    assert charged_to(rig) == (9, tokens, tokens != told_tokens)


def test_vectors_without_output_are_charged_as_they_are_told(rig: Rig) -> None:
    body = json.dumps(
        {"data": [{"embedding": [0.25] * 4_000}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    ).encode()
    for pad in (b"", b" " * COLLECT_BYTES):
        rig.keeper.records.clear()
        rig.ask(b'{"model":"m","input":"a"}', path="/v1/embeddings")
        told(("head", 200, "application/json", f"content-length: {len(body + pad)}"), ("data", body + pad, True))(
            rig.sink()
        )
        record = rig.record
        assert (record.input_tokens, record.output_tokens, record.estimated) == (9, 0, False)


@pytest.mark.parametrize(("message", "tokens"), MADE)
@pytest.mark.parametrize("how", ["left", "broken"])
@pytest.mark.parametrize("after", ["its content", "its usage"])
def test_a_long_answer_that_does_not_end_is_charged_for_what_came(
    rig: Rig, message: dict[str, Any], tokens: int, how: str, after: str
) -> None:
    body = json.dumps(
        {"x": "x" * COLLECT_BYTES, "choices": [{"message": message}], "usage": {"prompt_tokens": 9}}
    ).encode()
    end = body.index(b'"usage"') if after == "its content" else len(body) - 1
    exchange = ask(rig)
    told(CHUNKED, ("data", body[:end], False))(rig.sink())
    if how == "left":
        assert exchange.on_disconnect is not None
        exchange.on_disconnect()
    else:
        told(("error", "truncated"))(rig.sink())
    assert charged_to(rig) == (3 if after == "its content" else 9, tokens, tokens > 0 or after == "its content")


def test_a_short_answer_that_its_caller_does_not_wait_for_is_charged_for_what_came(rig: Rig) -> None:
    exchange = ask(rig)
    told(CHUNKED, ("data", chat({"content": "a" * 400})[:-2], False))(rig.sink())
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    assert charged_to(rig) == (3, 100, True)


def test_an_error_that_its_caller_does_not_wait_for_is_no_answer(rig: Rig) -> None:
    exchange = ask(rig)
    told(("head", 500, "application/json"), ("data", chat({"content": "a" * 400}), False))(rig.sink())
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    assert charged_to(rig) == (3, 0, True)


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@pytest.mark.parametrize(("message", "tokens"), MADE)
@pytest.mark.parametrize("how", ["left", "broken", "ended without a terminal", "ended"])
@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_a_stream_without_usage_is_charged_for_what_came(
    rig: Rig, message: dict[str, Any], tokens: int, how: str, usage: Any
) -> None:
    if "audio" in message:
        tokens = 10 + 10  # of its transcript, and half a second of pcm16
    exchange = ask(rig, stream=True)
    stream = event(choices=[{"delta": message}]) + STOP + (event(choices=[], usage=usage) if usage is not None else b"")
    told(SSE_HEAD, ("data", ROLE + stream, False))(rig.sink())
    if how == "left":
        assert exchange.on_disconnect is not None
        exchange.on_disconnect()
    elif how == "ended":
        told(("data", DONE, True))(rig.sink())
    else:
        told(("error", "truncated") if how == "broken" else ("data", b"", True))(rig.sink())
    assert charged_to(rig) == (3, tokens, True)


@pytest.mark.parametrize(
    ("after", "charged"),
    [
        (b"", (4, 2, False)),  # the provider's, for nothing was made since
        (DONE, (4, 2, False)),
        (event(choices=[{"delta": {"content": "a" * 400}}]), (4, 101, True)),
        (event(choices=[{"delta": {"content": "a" * 400}}]) + DONE, (4, 101, True)),
        (event(choices=[{"delta": {"content": "a"}}]) + DONE, (4, 2, False)),
    ],
)
def test_usage_that_is_told_along_the_way_is_what_came_until_then(
    rig: Rig, after: bytes, charged: tuple[int, int, bool]
) -> None:
    exchange = ask(rig, stream=True)
    told(SSE_HEAD, ("data", ROLE + WORD + USAGE + after, False))(rig.sink())
    if DONE not in after:
        assert exchange.on_disconnect is not None
        exchange.on_disconnect()
    assert charged_to(rig) == charged


def test_an_event_that_is_too_long_to_be_read_is_not_free(rig: Rig) -> None:
    exchange = ask(rig, stream=True)
    told(SSE_HEAD, ("data", event(choices=[{"delta": {"audio": {"data": "A" * 3_200_000}}}])[:-1], False))(rig.sink())
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    assert charged_to(rig) == (3, 1_001, True)


def test_a_caller_that_leaves_while_a_connection_is_awaited_owes_nothing(rig: Rig) -> None:
    rig.pools["one"].empty = True
    exchange = ask(rig)
    (waiter,) = rig.pools["one"].waiting
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    assert waiter.cancelled
    assert (rig.record.status, rig.record.cost_nano_usd, rig.record.input_tokens) == (499, 0, 0)
    assert rig.in_flight == 0


def test_what_comes_after_a_caller_has_left_changes_nothing(rig: Rig) -> None:
    exchange = ask(rig, stream=True)
    sink = rig.sink()
    told(SSE_HEAD, ("data", ROLE, False))(sink)
    assert exchange.on_disconnect is not None
    exchange.on_disconnect()
    told(("data", WORD, False), ("error", "truncated"))(sink)
    assert len(rig.keeper.records) == 1


def test_the_provider_is_held_back_until_the_caller_has_taken_what_waits(rig: Rig) -> None:
    exchange = ask(rig, stream=True)
    exchange.takes_more = False
    told(SSE_HEAD, ("data", ROLE, False))(rig.sink())
    assert rig.connection().calls == ["pause"]
    assert exchange.on_drain is not None
    exchange.on_drain()
    assert rig.connection().calls == ["pause", "resume"]


@pytest.mark.parametrize("event", ["on_response", "on_head", "on_data"])
def test_a_crash_of_ours_ends_one_request_loudly(rig: Rig, event: str) -> None:
    exchange = ask(rig, stream=True)
    sink = rig.sink()
    if event == "on_data":
        told(SSE_HEAD, ("data", ROLE, False))(sink)
    sink.on_crash(RuntimeError("a bug"))
    assert exchange.names[-1] == ("abort" if event == "on_data" else "respond")
    assert b"a bug" not in exchange.sent
    assert (rig.record.code, rig.record.status) == ("internal_error", 500)
    assert rig.in_flight == 0
    assert [name for _, name, _ in rig.keeper.events] == ["request_crashed"]


# -- another attempt

RETRIED = [
    "no-json",
    "compressed",
    "small-cut",
    "429",
    "500-in-parts",
    "closed",
    "first-byte",
    "protocol",
    "endless-error",
]


@pytest.mark.parametrize("name", RETRIED)
def test_before_the_first_byte_another_target_is_tried(name: str, tmp_path: Path) -> None:
    rig = limited(tmp_path, "one", "two")
    exchange = ask(rig)
    TABLE[name][0](rig.sink())
    assert exchange.calls == [] and rig.in_flight == 1
    told(("whole", BODY))(rig.sink("two"))
    assert exchange.names == ["respond"] and exchange.answer_headers["x-throughway-attempts"] == "2"
    assert (rig.record.provider, rig.record.attempts, rig.record.code) == ("two", 2, "")
    assert rig.in_flight == 0


@pytest.mark.parametrize("name", ["large-cut", "polite-truncation", "stall", "told-error", "400"])
def test_after_it_or_where_the_request_is_at_fault_none_is(name: str, tmp_path: Path) -> None:
    rig = limited(tmp_path, "one", "two")
    ask(rig, stream=True)
    TABLE[name][0](rig.sink())
    assert not rig.pools["two"].made
    assert rig.record.code == TABLE[name][2]


def test_a_late_word_of_an_attempt_that_failed_is_not_heard(tmp_path: Path) -> None:
    rig = limited(tmp_path, "one", "two")
    exchange = ask(rig)
    first = rig.sink()
    told(("error", "closed"))(first)
    told(("error", "closed"))(first)
    assert len(rig.pools["two"].made) == 1
    told(("whole", BODY))(rig.sink("two"))
    assert exchange.names == ["respond"]


# -- details


def test_the_tail_of_a_long_body_holds_its_usage_however_it_is_cut(tmp_path: Path) -> None:
    rig = limited(tmp_path)
    head = ("head", 200, "application/json", f"content-length: {len(LARGE)}")
    for size in (1, 100, 8_192, 30_000):
        parts = (
            [LARGE[i : i + size] for i in range(0, len(LARGE), size)]
            if size > 1
            else [LARGE[:-40], *(LARGE[i : i + 1] for i in range(len(LARGE) - 40, len(LARGE)))]
        )
        exchange = ask(rig)
        told(head, *(("data", part, number == len(parts) - 1) for number, part in enumerate(parts)))(rig.sink())
        assert exchange.sent == LARGE
        assert (rig.keeper.records[-1].input_tokens, rig.keeper.records[-1].estimated) == (4, False)


def test_usage_at_the_begin_of_a_long_body_is_found(rig: Rig) -> None:
    body = b'{"usage":{"prompt_tokens":4},"data":"' + b"x" * COLLECT_BYTES + b'"}'
    ask(rig)
    told(("head", 200, "application/json", f"content-length: {len(body)}"), ("data", body, True))(rig.sink())
    assert (rig.record.input_tokens, rig.record.estimated) == (4, False)


def test_retry_after_may_be_a_date(rig: Rig) -> None:
    exchange = ask(rig)
    told(("whole", b"{}", 429, "application/json", f"retry-after: {formatdate(time.time() + 90, usegmt=True)}"))(
        rig.sink()
    )
    assert 85 <= int(exchange.answer_headers["retry-after"]) <= 91


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", "7"),
        ("0.2", "1"),
        ("1e300", "3600"),
        ("inf", None),
        ("nan", None),
        ("-1", None),
        ("soon", None),
        ("9999999", "3600"),
    ],
)
def test_retry_after_of_the_provider_is_passed_on_within_a_bound(rig: Rig, value: str, seconds: str | None) -> None:
    exchange = ask(rig)
    told(("whole", b"{}", 429, "application/json", f"retry-after: {value}"))(rig.sink())
    assert exchange.answer_headers.get("retry-after") == seconds


def test_an_address_that_must_not_be_connected_to_is_told_with_the_setting_that_would_allow_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    pool = rig.pools["one"]
    pool.empty = True
    exchange = rig.ask()
    said = AddressGuard("one", "one.example", Networks(), set()).refusal("127.0.0.1")
    assert said is not None
    pool.waiting[0].on_unavailable("address", said)
    assert exchange.status == 502
    for part in ("provider_unreachable", "'one'", "'one.example'", "127.0.0.1", "providers.one.allow_addresses"):
        assert part in exchange.sent.decode()


@pytest.mark.parametrize(
    "speak",
    [
        told(("whole", b'{"error":{"message":"no such parameter"}}', 400)),
        told(("whole", b"{}", 429)),
        told(("whole", b"{}", 500)),
        told(("error", "closed")),
        told(("error", "first_byte")),
    ],
)
def test_what_was_sent_to_a_provider_stays_counted_as_a_request_and_no_more(tmp_path: Path, speak: Speak) -> None:
    limits = Limits(requests_per_minute=2, tokens_per_minute=1_000, concurrency=1)
    rig = Rig(tmp_path, Key("k1", "app", "", limits=limits, budget=Budget(10**12, "day")))
    for _ in range(2):
        ask(rig)
        speak(rig.sink())
    assert rig.key.plan is not None and rig.key.plan.budget_left() == 10**12
    assert rig.key.plan.tokens_left()[1] >= 999
    assert rig.in_flight == 0
    refused = ask(rig)
    assert refused.status == 429 and b"requests per minute" in refused.sent


def test_what_no_provider_got_is_given_back_as_a_whole(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Key("k1", "app", "", limits=Limits(requests_per_minute=2)))
    pool = rig.pools["one"]
    pool.empty = True
    for _ in range(4):
        exchange = ask(rig)
        pool.waiting.pop().on_unavailable("connect", "nobody listens")
        assert exchange.status == 504


def test_a_call_that_its_own_callers_deadline_ended_is_billed_for_its_prompt(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Key("k1", "app", "", limits=Limits(requests_per_minute=2)))
    body = b'{"model":"m","messages":[{"role":"user","content":"four words of prompt"}]}'
    for _ in range(2):
        got = rig.ask(body, headers={b"x-throughway-timeout-ms": b"10"})
        rig.sink().on_error("total", "the answer was not complete in time")
        assert got.status == 504
    assert rig.ask(body).status == 429, "what was sent is not given back"
    first = rig.keeper.records[0]
    assert (first.code, first.input_tokens, first.output_tokens, first.estimated) == ("deadline_exceeded", 11, 0, True)
    assert first.cost_nano_usd == 11 * 150


@pytest.mark.parametrize(("status", "told"), [(401, 1), (403, 0), (400, 0), (500, 0)])
def test_who_keeps_a_credential_is_told_when_it_is_refused(tmp_path: Path, status: int, told: int) -> None:
    calls: list[int] = []
    rig = Rig(tmp_path)
    (target,) = rig.compiled.models["m"].targets
    target.credential = Credential(lambda: calls.append(1))
    target.credential.until_ns = now_ns() + 60_000_000_000
    exchange = rig.ask()
    rig.sink().on_response(response_head(status), b'{"error":{"message":"It was refused."}}')
    assert exchange.status >= 400 and len(calls) == told
