"""What of a request its provider's dialect has no place for: refused, dropped, and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.messages import Lost
from gateway.base.snapshot import Model, Target
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "x",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def ask(directory: Path, drop_params: tuple[str, ...], **fields: Any) -> FakeExchange:
    """Of a chat client, at Anthropic."""
    model = Model("m", (Target("claude", "x", price=PRICE),), drop_params=drop_params)
    rig = Rig(directory, models=(model,), kinds={"claude": "anthropic"})
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    got = rig.ask(json.dumps(body).encode())
    if not got.calls:
        rig.sink("claude").on_response(response_head(), json.dumps(MESSAGE).encode())
    return got


def unknown(n: int) -> list[dict[str, Any]]:
    """Tools with a field each that nobody knows."""
    return [{"type": "function", "function": {"name": f"f{i}", "novel": i}} for i in range(n)]


@pytest.mark.parametrize("tools", [1, Lost.MAX_FIELDS - 1, Lost.MAX_FIELDS, 3 * Lost.MAX_FIELDS])
def test_a_field_is_refused_however_many_are_admitted_before_it(tmp_path: Path, tools: int) -> None:
    got = ask(tmp_path, ("tools.function.novel",), tools=unknown(tools), seed=7)
    error = json.loads(got.sent)["error"]
    assert (got.status, error["code"], error["param"]) == (400, "unsupported_parameter", "seed")


def test_many_fields_of_one_admitted_name_are_dropped(tmp_path: Path) -> None:
    got = ask(tmp_path, ("tools.function.novel",), tools=unknown(3 * Lost.MAX_FIELDS))
    assert got.status == 200 and got.answer_headers["x-throughway-dropped"].startswith("tools[0].function.novel, ")


@pytest.mark.parametrize(("drop_params", "status"), [(("a",), 400), (("*",), 200)])
def test_more_names_than_can_be_told_are_dropped_only_where_all_may_be(
    tmp_path: Path, drop_params: tuple[str, ...], status: int
) -> None:
    names = {f"a.{i}": 1 for i in range(3 * Lost.MAX_FIELDS)}
    assert ask(tmp_path, drop_params, **names).status == status


@pytest.mark.parametrize(("drop_params", "status"), [(("*",), 200), ((), 400)])
def test_a_name_breaks_neither_the_head_nor_the_error(
    tmp_path: Path, drop_params: tuple[str, ...], status: int
) -> None:
    rig = Rig(tmp_path, models=(Model("m", (Target("one", "x", price=PRICE),), drop_params=drop_params),))
    name = "a\x00b\r\nset-cookie: c\x7f\u2028é" + "x" * 5_000
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}], name: 1}
    got = rig.ask(json.dumps(body).encode(), path="/v1/messages")
    if status == 200:
        answer = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
        rig.sink().on_response(response_head(), json.dumps(answer).encode())
        told = got.answer_headers["x-throughway-dropped"]
        assert told.startswith("a?b??set-cookie: c???x") and len(told) == 1_024
    else:
        assert len(json.loads(got.sent)["error"]["message"]) < 1_000
    assert got.status == status
