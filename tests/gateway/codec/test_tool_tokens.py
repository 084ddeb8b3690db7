"""Tools are counted as they stand in a request: more than OpenAI documents for functions, and not much more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from _fastpath import tokens
from gateway.codec.dialects.openai_chat.native import read_chat

WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}
SEARCH = {
    "name": "search_tickets",
    "description": "Search the tickets of the support team by text, state and age, newest first.",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What the ticket's text must hold."},
            "state": {
                "type": "string",
                "enum": ["open", "waiting", "closed"],
                "description": "Only tickets in this state.",
            },
            "days": {"type": "integer", "description": "Only tickets that are younger."},
            "limit": {"type": "integer", "description": "How many to return at the most, 20 if absent."},
        },
    },
}
BARE = {"name": "now", "description": "Tell the time.", "parameters": {"type": "object", "properties": {}}}


def documented(functions: list[dict[str, Any]]) -> int:
    """OpenAI cookbook, "How to count tokens with tiktoken", 7: tool calls, with the figures for gpt-4o."""

    def size(text: str) -> int:
        return tokens.count(text, "o200k_base")

    total = 12
    for function in functions:
        total += 7 + size(f"{function['name']}:{function['description'].rstrip('.')}")
        properties = function["parameters"]["properties"]
        total += 3 if properties else 0
        for name, declared in properties.items():
            total += 3 + size(f"{name}:{declared['type']}:{declared['description'].rstrip('.')}")
            total += sum(3 + size(each) for each in declared["enum"]) - 3 if "enum" in declared else 0
    return total


@pytest.mark.parametrize("functions", [[WEATHER], [SEARCH], [BARE], [WEATHER, SEARCH, BARE]])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_tools_are_counted_as_somewhat_more_than_is_documented(
    functions: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    tools = [{"type": "function", "function": function} for function in functions]
    body = json.dumps({"model": "m", "messages": [], "tools": tools}, separators=separators).encode()
    (text,) = read_chat(body).texts
    counted = tokens.count(text, "o200k_base")
    assert documented(functions) <= counted <= 1.8 * documented(functions), counted / documented(functions)
