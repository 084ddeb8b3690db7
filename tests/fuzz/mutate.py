"""Makes inputs of others: a corpus, a dictionary of what the formats are sensitive to, and chance with a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

MAX_INPUT_BYTES = 8_192

HTTP = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x7f", b"\x80", b"\xff", b":", b": ", b";", b",", b"0", b"1", b"f",
    b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"*", b"/", b"?", b"#", b"http://h/", b"%41",
    b"Host: h\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
    b"X-Throughway-A: b\r\n", b"[::1]", b":80", b"chunked", b"fffffffffffffff", b"0\r\n\r\n", b"A" * 33, b"A: b\r\n" * 101,
]  # fmt: skip
EVENTS = [
    b"\n", b"\r\n", b"\r", b"\n\n", b"data: ", b"data:", b"data", b": comment\n", b"event: x\n", b"id: 1\n", b"data: [DONE]\n\n", b"\xef\xbb\xbf",
    b'"usage":', b'"usage":{"prompt_tokens":1}', b'"choices":[]', b'"delta":{"content":"x"}', b'"error":{}', b'"finish_reason":"stop"',
    b'"model":"m"', b"null", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0061", b",", b":", b"\x00", b"\xff", b"data: {}\n\n",
]  # fmt: skip
TEXT = [
    b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b" ", b"\n", b"\\u0061", b"\\ud800", b"\\", b"null", b"true", b"1e9", b"-", b"\x00", b"\x1f",
    b"\x80", b"\xc3\xa4", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xef\xbb\xbf", b'"model":"m"', b'"mod\\u0065l":1', b'"usage":{}',
    b'"usage":', b"[" * 101, b"{" * 101, b'"a":' * 9,
]  # fmt: skip
FIELDS = [
    *TEXT,
    b'"messages":[', b'{"role":"user","content":"x"}', b'"content":null', b'"name":"n"', b'"tool_calls":[]', b'"tools":[]', b'"n":2',
    b'"stream":true', b'"stream":false', b'"max_tokens":5', b'"max_completion_tokens":-1', b'"stream_options":null', b'"functions":null',
    b'"stream_options":{"include_usage":true}', b'"response_format":{}', b'"role":', b'"choices":[', b'"finish_reason":"stop"', b"false",
    b'"prompt_tokens":', b'"completion_tokens":7', b'"prompt_tokens_details":{"cached_tokens":1}', b'"audio_tokens":2', b"1.0", b"1e3", b"-0",
    b"01", b"99999999999", b"\\u00e4", b"\\n",
]  # fmt: skip
PROXY = [
    b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", b" ", b"\r\n", b"\r", b"\n", b"192.0.2.1", b"255.255.255.255", b"2001:db8::1", b"::", b"::ffff:1.2.3.4",
    b"0", b"65535", b"65536", b"00", b"\x00", b"\xff", b"\r\n\r\n\x00\r\nQUIT\n", b"\x20\x00", b"\x21\x11", b"\x21\x21", b"\x21\x31", b"\x00\x0c",
    b"\x00\x24", b"\x00\xd8", b"\x0f\xf0", b"\x03\x00\x04", b"\x01\x00\x02h2", b"\x04\x00\x01", b"A" * 90,
]  # fmt: skip
WORDS = {
    "request": HTTP,
    "response": HTTP,
    "chunked": HTTP,
    "sse": EVENTS,
    "json": TEXT,
    "cachekey": FIELDS,
    "chat": FIELDS,
    "answer": FIELDS,
    "proxy": PROXY,
}


def inputs(corpus: list[bytes], words: list[bytes], seed: int) -> Iterator[tuple[bytes, int]]:
    """Inputs without end, and a place to cut each: first the corpus as it is, then mutants of it."""
    chance = random.Random(seed)
    for data in corpus:
        yield data, chance.randint(0, len(data))
    below = chance.random
    while True:
        data = corpus[int(below() * len(corpus))]
        for _ in range(1 + int(below() * below() * 6)):
            data = _changed(data, corpus, words, below)
        data = data[:MAX_INPUT_BYTES]
        yield data, int(below() * (len(data) + 1))


def _changed(data: bytes, corpus: list[bytes], words: list[bytes], below: Callable[[], float]) -> bytes:
    size = len(data)
    at = int(below() * (size + 1))
    kind = int(below() * 8)
    if kind < 2:
        return data[:at] + words[int(below() * len(words))] + data[at:]
    if kind == 2:
        return data[:at] + bytes((int(below() * 256),)) + data[at + 1 :]
    if kind == 3:
        return data[:at] + data[at + 1 + int(below() * below() * size) :]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + data[at // 2 : at] + data[at:]
    if kind == 6:
        other = corpus[int(below() * len(corpus))]
        return data[:at] + other[int(below() * len(other)) :]
    word = words[int(below() * len(words))]
    return data[:at] + word + data[at + len(word) :]
