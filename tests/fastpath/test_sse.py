"""`_fastpath.sse`: what single events say, what may leave, and the bounds."""

import json
from typing import Any

import pytest

from _fastpath.sse import ChatScanner
from tests.fastpath.sse_oracle import CHUNKS, USAGE, choice, chunk, event_of, read_stream, reading_of, recorded_stream


def at_boundary(chat: ChatScanner) -> bool:
    """The property; behind a function, since a type checker takes what it once saw of it for lasting."""
    return chat.at_boundary


def terminal(chat: ChatScanner) -> bool:
    return chat.terminal


def scanned(stream: bytes, hide_usage: bool = False) -> ChatScanner:
    chat = ChatScanner(hide_usage)
    chat.feed(stream)
    return chat


# --- what passes --------------------------------------------------------------------------------------------------


def test_whole_events_return_the_very_object() -> None:
    chat = ChatScanner()
    for stream in (event_of(CHUNKS[1]), b": ping\n\n", b"\n", recorded_stream(b"\n"), b"", recorded_stream(b"\r\n")):
        assert chat.feed(stream) is stream
        assert at_boundary(chat)


def test_an_incomplete_event_is_held_until_it_is_whole() -> None:
    chat, event = ChatScanner(), event_of(CHUNKS[1])
    assert chat.feed(event + event[:50]) == event
    assert not at_boundary(chat)
    assert chat.feed(event[50:-1]) == b""
    assert chat.feed(event[-1:] + event) == event + event
    assert at_boundary(chat)
    assert (chat.events, chat.content_events) == (3, 3)


@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_the_usage_chunk_is_hidden_only_when_asked(eol: bytes) -> None:
    before, usage, after = event_of(CHUNKS[1], eol), event_of(CHUNKS[-1], eol), event_of(b"[DONE]", eol)
    stream = before + usage + after
    shown, hiding = ChatScanner(), ChatScanner(hide_usage=True)
    assert shown.feed(stream) is stream
    assert hiding.feed(stream) == before + after
    assert hiding.feed(usage) == b""
    assert hiding.at_boundary
    for chat in (shown, hiding):
        assert chat.usage is not None
        assert json.loads(chat.usage) == USAGE


@pytest.mark.parametrize(
    "payload",
    [
        chunk(choice({"content": "x"}), usage=USAGE),  # usage beside content, as some servers send it
        chunk(prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}]),  # Azure's first chunk
        chunk(usage=None),
        {"usage": USAGE},
        {"usage": USAGE, "choices": None},
        {"usage": USAGE, "choices": {}},
        {"usage": [], "choices": []},
        {"x": {"usage": USAGE, "choices": []}},
        [{"usage": USAGE, "choices": []}],
        b'{"usage":{},"choices":[]',
        b'{"usage":{,"choices":[]}',
        b'{"usage":{},"choices":[]}}',
        b'{"usage":{},"choices":[]} {}',
    ],
)
def test_what_is_no_usage_chunk_passes(payload: Any) -> None:
    stream = event_of(payload)
    assert ChatScanner(hide_usage=True).feed(stream) is stream


def test_the_line_feed_of_a_hidden_event_is_hidden_too() -> None:
    usage = event_of(CHUNKS[-1], b"\r\n")
    chat = ChatScanner(hide_usage=True)
    assert chat.feed(usage[:-1]) == b""
    assert at_boundary(chat)
    assert chat.feed(usage[-1:]) == b""
    passing = ChatScanner()
    assert passing.feed(usage[:-1]) == usage[:-1]
    assert passing.feed(b"\n") == b"\n"
    assert passing.events == 1


# --- what an event says -------------------------------------------------------------------------------------------

PAYLOADS: list[Any] = [
    *CHUNKS,
    b"",
    b" ",
    b"[DONE]",
    b" [DONE] ",
    b"[DONE]x",
    b'"[DONE]"',
    b"null",
    b"{",
    b"{}",
    b'{"model":"cut',
    b'{"model":"m","usage":{"a":1}',
    {"choices": [{"index": 0, "text": "completion", "finish_reason": None}]},
    {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}, {"finish_reason": None}]},
    {"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]},
    {"choices": [{"finish_reason": ""}, None, 1, "x", []], "model": ""},
    {"choices": [{"delta": None}, {"delta": []}, {"delta": "content"}]},
    *({"choices": [{"delta": {key: "thought é"}}]} for key in ("reasoning_content", "reasoning", "refusal", "content")),
    *({"choices": [{"delta": {key: None, "role": "assistant"}}]} for key in ("content", "tool_calls")),
    {"choices": [{"delta": {"content": [], "tool_calls": [], "function_call": {}}}]},
    {"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm\n"}]}]}}]},
    {"choices": [{"delta": {"function_call": {"name": "f", "arguments": '{"a":"\\""}'}}}]},
    {"choices": [{"delta": {"tool_calls": [{"custom": {"name": ["no"], "input": "x y"}, "id": "text"}]}}]},
    {"choices": [{"delta": {"unknown": {"content": "x"}}, "message": {"content": "x"}}]},
    {"error": {"message": "overloaded", "code": 529}},
    {"error": "text"},
    {"error": None, "choices": []},
    {"error": False},
    {"usage": {}, "choices": []},
    {"usage": 5},
    {"model": 'meta/"llama" é', "choices": [{"finish_reason": "odd\nreason"}]},
    b'{"model":"meta\\/llama"}',
    b'\t{ "choices" : [ { "delta" : { "content" : "x" } , "finish_reason" : "stop" } ] , "usage" : { "a" : [ ] } } ',
    b'{"choices":[{"delta":{"content":"\xff\\u00e9"}}]}',
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_event_says_what_the_oracle_reads(payload: Any, ascii_only: bool) -> None:
    stream = event_of(payload, b"\n", ascii_only)
    for hide_usage in (False, True):
        chat = ChatScanner(hide_usage)
        output = chat.feed(stream)
        assert reading_of(chat, output) == read_stream(stream, hide_usage)


def test_first_model_and_error_but_last_usage_and_finish_reason_are_kept() -> None:
    def event(number: int) -> bytes:
        finish = [{"finish_reason": f"reason{number}"}]
        return event_of({"model": f"m{number}", "error": number, "usage": {"n": number}, "choices": finish})

    chat = scanned(event(1) + event(2) + event_of(CHUNKS[0]))
    assert (chat.model, chat.error) == ("m1", event(1)[6:-2])
    assert (chat.usage, chat.finish_reason) == (b'{"n":2}', "reason2")


def test_a_fresh_scanner_knows_nothing() -> None:
    chat = ChatScanner()
    assert (chat.terminal, chat.error, chat.usage, chat.finish_reason, chat.model) == (False, None, None, None, None)
    assert (chat.events, chat.content_events, chat.content_bytes, chat.oversized) == (0, 0, 0, 0)
    assert at_boundary(chat)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"a\\u00e9\\/", "aé/"),
        (b"\\ud83d\\ude00", "😀"),
        (b"\\x", "\\x"),
        (b"\xff", "\ufffd"),
        (b"\\ud800", "\ufffd" * 3),
    ],
)
def test_odd_names_of_models_never_fail(text: bytes, shown: str) -> None:
    chat = scanned(b'data: {"model":"%s","choices":[{"finish_reason":"%s"}]}\n\n' % (text, text))
    assert chat.model == chat.finish_reason == shown


# --- fields (WHATWG HTML, section 9.2.6) --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"data: [DONE]", b"data:[DONE]", b"id: 1\ndata: [DONE]", b": c\ndata: [DONE]\nretry: 3", b"data:  [DONE] "]
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_spellings_of_the_terminal(line: bytes, mark: bytes) -> None:
    stream = mark + line + b"\n\n"
    chat = ChatScanner()
    assert chat.feed(stream) is stream
    assert terminal(chat)
    assert chat.events == 0


@pytest.mark.parametrize(
    "line",
    [b"Data: [DONE]", b"data : [DONE]", b" data: [DONE]", b"dat: [DONE]", b"datas: [DONE]", b":data: [DONE]",
     b"event: [DONE]", b"[DONE]", b'data: {"x":"[DONE]"}', b"data: [DONE]\ndata: [DONE]",
     b"data: [DON\ndata: E]", b"\xef\xbb\xbf\xef\xbb\xbfdata: [DONE]", b": x\n\n\xef\xbb\xbfdata: [DONE]"],
)  # fmt: skip
def test_what_only_looks_like_the_terminal_is_none(line: bytes) -> None:
    chat = scanned(line + b"\n\n")
    assert not terminal(chat)
    assert chat.finish() == b""
    assert not terminal(chat)


def test_data_lines_are_joined_with_a_line_feed() -> None:
    chat = scanned(b'data: {"error":\ndata:"x",\nid: 1\ndata\ndata: "model":"m"}\n\n')
    assert chat.error == b'{"error":\n"x",\n\n"model":"m"}'
    assert chat.model == "m"
    assert chat.events == 1


def test_empty_data_is_an_event_and_a_comment_is_none() -> None:
    assert scanned(b"data\n\ndata:\n\n").events == 2
    assert scanned(b": data: x\n\nid: 1\n\n\n\n").events == 0


# --- the end of the stream ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r", b"id: 1\r\ndata: [DONE]\r\n"])
@pytest.mark.parametrize("start", [b"", event_of(CHUNKS[0])])
def test_a_terminal_without_its_blank_line_is_completed(rest: bytes, start: bytes) -> None:
    chat = ChatScanner()
    assert chat.feed(start + rest) == start
    assert not terminal(chat)
    assert chat.finish() == b"data: [DONE]\n\n"
    assert terminal(chat)
    assert at_boundary(chat)
    assert chat.finish() == b""


@pytest.mark.parametrize(
    "rest", [b"data: [DONE", b"data: {}", b"data: {}\n", event_of(CHUNKS[-1])[:-1], b": ping", b"\xef\xbb\xbf", b"d"]
)
def test_an_incomplete_event_is_dropped_at_the_end(rest: bytes) -> None:
    chat = scanned(event_of(CHUNKS[0]) + rest)
    assert chat.finish() == b""
    assert (chat.terminal, chat.events, chat.usage) == (False, 1, None)
    assert at_boundary(chat)


def test_after_the_terminal_nothing_is_completed() -> None:
    chat = scanned(b"data: [DONE]\n\ndata: [DONE]")
    assert terminal(chat)
    assert chat.finish() == b""


# --- bounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, 70_000, 1_000_000])
@pytest.mark.parametrize("piece", [997, 65_536])
def test_huge_events_within_the_bound_are_read(size: int, piece: int) -> None:
    stream = event_of(chunk(choice({"content": "x" * size}))) * 2 + event_of(b"[DONE]")
    chat = ChatScanner()
    output = b"".join(chat.feed(stream[at : at + piece]) for at in range(0, len(stream), piece))
    assert reading_of(chat, output) == read_stream(stream, False)
    assert chat.content_bytes == 2 * size


def test_an_oversized_event_passes_in_pieces_and_is_not_read() -> None:
    chat = ChatScanner(hide_usage=True, max_held_bytes=100)
    event = b'data: {"usage":{"x":"%s"},"choices":[]}\n\n' % (b"x" * 200)
    assert chat.feed(event[:100]) == b""
    assert chat.feed(event[100:150]) == event[:150]
    assert not at_boundary(chat)
    assert chat.feed(event[150:-1]) == event[150:-1]
    assert not at_boundary(chat)
    assert chat.feed(event[-1:]) == event[-1:]
    assert at_boundary(chat)
    assert (chat.oversized, chat.events, chat.usage) == (1, 0, None)
    assert chat.feed(event) is event
    assert (chat.oversized, chat.events) == (2, 0)
    assert chat.feed(b'data: {"usage":{},"choices":[]}\n\n') == b""
    assert (chat.oversized, chat.events, chat.usage) == (2, 1, b"{}")


def test_an_oversized_event_that_breaks_off_is_no_boundary() -> None:
    chat = ChatScanner(max_held_bytes=16)
    assert chat.feed(b"data: [DONE]xxxxxxx") == b"data: [DONE]xxxxxxx"
    assert chat.finish() == b""
    assert not terminal(chat)
    assert not at_boundary(chat)


def test_the_bound_counts_an_event_without_its_blank_line() -> None:
    event = b"data: %s\n" % (b"1" * 93)
    assert len(event) == 100
    for bound, oversized in ((100, 0), (99, 1)):
        for eol in (b"\n", b"\r\n", b"\r"):
            chat = ChatScanner(max_held_bytes=bound)
            chat.feed(event + eol)
            assert (chat.oversized, chat.events) == (oversized, 1 - oversized)


@pytest.mark.parametrize("bound", [15, 0, -1])
def test_a_bound_too_small_is_a_programmers_error(bound: int) -> None:
    with pytest.raises(ValueError, match="max_held_bytes"):
        ChatScanner(max_held_bytes=bound)


def test_wrong_types_are_type_errors() -> None:
    wrong: Any
    for wrong in (None, "data: x\n\n", bytearray(b"data: x\n\n")):
        with pytest.raises(TypeError):
            ChatScanner().feed(wrong)


def test_a_terminal_is_one_line_of_data() -> None:
    scanner = ChatScanner()
    scanner.feed(b"data: [DONE]\ndata\n\n")
    assert not scanner.terminal
