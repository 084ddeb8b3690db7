"""What passes through a gateway, as it stands on the wire: requests, events and heads. It never changes: instructions are counted over it."""

from __future__ import annotations

import json

SCHEMA = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather at a place",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Name of a city"},
                "unit": {"type": "string", "enum": ["c", "f"]},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}


def chat(text: str, size: int, messages: int) -> bytes:
    """A request of so many messages, each a part of `text`, which is repeated as far as needed."""
    whole = text * (1 + size * messages // len(text))
    said = [{"role": "user", "content": whole[size * i : size * (i + 1)]} for i in range(messages)]
    return json.dumps(
        {"model": "gpt-4o-mini", "messages": said, "temperature": 0.7, "stream": True}, ensure_ascii=False
    ).encode()


def event(content: str) -> bytes:
    """About 200 bytes, as OpenAI sends them."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": None}
    chunk = {
        "id": "chatcmpl-9xQ1",
        "object": "chat.completion.chunk",
        "created": 1_730_000_000,
        "model": "gpt-4o-mini",
        "choices": [choice],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


EVENTS = [event(f" word{i % 9}") for i in range(2_000)]

REQUEST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.internal:8080\r\nAuthorization: Bearer sk-"
    + b"a" * 48
    + b"\r\n"
    b"Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: OpenAI/Python 2.1.0\r\n"
    b"X-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\nContent-Length: 371\r\n\r\n"
)
RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 800\r\n"
    b"Connection: keep-alive\r\nopenai-organization: acme\r\nopenai-processing-ms: 400\r\nopenai-version: 2020-10-01\r\n"
    b"x-request-id: req_0123456789abcdef0123456789abcdef\r\nx-ratelimit-limit-requests: 10000\r\nServer: cloudflare\r\n\r\n"
)
