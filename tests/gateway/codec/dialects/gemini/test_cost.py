"""What a translation costs, beside what Python's own JSON costs for the same bytes in the same run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from gateway.base.messages import Began, BlockBegan, Delta, Lost, Request, Text
from gateway.codec.dialects.gemini import DIALECT

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "line": {"type": "integer"}},
    "required": ["path"],
}
BODY = json.dumps(
    {
        "systemInstruction": {"parts": [{"text": "You are a coding agent. " * 30}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Please mend main.py."}]},
            {
                "role": "model",
                "parts": [
                    {"text": "I look at it.", "thought": True},
                    {
                        "functionCall": {"id": "a", "name": "read", "args": {"path": "main.py"}},
                        "thoughtSignature": "A" * 200,
                    },
                    {"functionCall": {"id": "b", "name": "grep", "args": {"pattern": "foo", "most": 3}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "a", "name": "read", "response": {"output": "x = 1\n" * 100}}},
                    {"functionResponse": {"id": "b", "name": "grep", "response": {"output": "main.py:3"}}},
                ],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": f"tool{i}", "description": "It does something. " * 6, "parametersJsonSchema": SCHEMA}
                    for i in range(5)
                ]
            }
        ],
        "generationConfig": {"maxOutputTokens": 1_000, "thinkingConfig": {"thinkingBudget": 1_024}},
    }
).encode()
EVENT = json.dumps(
    {
        "candidates": [{"content": {"parts": [{"text": " and so it goes on"}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "abc",
    }
).encode()


def cost(*works: Callable[[], Any]) -> list[float]:
    """CPU time of each, the least of several rounds that they take in turns."""
    least = [float("inf")] * len(works)
    for _ in range(15):
        for i, work in enumerate(works):
            began = time.process_time()
            for _ in range(50):
                work()
            least[i] = min(least[i], time.process_time() - began)
    return least


def test_a_request_is_read_and_written_at_twice_the_cost_of_its_json() -> None:
    assert 3_500 < len(BODY) < 4_500
    request = DIALECT.read_request(BODY, Lost())
    read, write, plain = cost(
        lambda: DIALECT.read_request(BODY, Lost()),
        lambda: DIALECT.write_request(request, Lost()),
        lambda: json.dumps(json.loads(BODY)),
    )
    assert read + write < 2 * plain


def test_an_event_is_read_and_written_at_the_cost_of_its_json() -> None:
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="", messages=[]))
    reader.read(b"", EVENT)
    writer.write(Began("r", "m"))
    writer.write(BlockBegan(0, Text("")))
    delta = Delta(0, "text", " and so it goes on")
    read, write, plain = cost(
        lambda: reader.read(b"", EVENT), lambda: writer.write(delta), lambda: json.dumps(json.loads(EVENT))
    )
    assert read + write < plain
