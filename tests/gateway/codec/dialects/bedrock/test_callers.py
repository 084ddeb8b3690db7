"""What callers of the other dialects ask, written for Bedrock, and what it answers them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.base.errors import GatewayError
from gateway.base.messages import Lost
from gateway.codec.dialects.bedrock import DIALECT
from tests.gateway.codec.dialects.test_pairs import (
    DIALECTS,
    answer_meaning,
    is_carried,
    read,
    with_plain_finish,
)
from tests.support.amazon import request_faults
from tests.support.goldens import cases

HERE = Path(__file__).parent
MODELS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "meta.llama4-scout-17b-instruct-v1:0",
)


def asked() -> list[Any]:
    return [
        pytest.param(name, file, id=f"{name}-{file.stem}")
        for name in DIALECTS
        for file in cases(HERE.parent / name / "requests")
    ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("name", "file"), asked())
def test_what_a_caller_asks_is_written_as_bedrock_takes_it_or_refused(name: str, file: Path, model: str) -> None:
    body = json.dumps(json.loads(file.read_bytes())["body"]).encode()
    request = msgspec.structs.replace(read(name, body, Lost()), model=model)
    try:
        written = DIALECT.write_request(request, Lost())
    except GatewayError as refused:
        assert refused.param, "what cannot be said is named"
        return
    assert request_faults(written) == ""


def test_most_of_what_callers_ask_loses_nothing() -> None:
    """Or the test above would claim little."""
    carried = 0
    for param in asked():
        name, file = param.values
        lost = Lost()
        request = read(name, json.dumps(json.loads(file.read_bytes())["body"]).encode(), lost)
        try:
            DIALECT.write_request(msgspec.structs.replace(request, model=MODELS[0]), lost)
        except GatewayError:
            continue
        carried += not lost.fields
    assert carried > len(asked()) / 2


@pytest.mark.parametrize("caller", DIALECTS)
@pytest.mark.parametrize("file", cases(HERE / "answers"), ids=lambda file: file.stem)
def test_an_answer_means_the_same_to_a_caller(file: Path, caller: str) -> None:
    answer = DIALECT.read_answer(json.dumps(json.loads(file.read_bytes())["body"]).encode())
    answer.id, answer.model = "r1", "m"
    back = DIALECTS[caller].read_answer(DIALECTS[caller].write_answer(answer))
    if is_carried(answer.choices):
        assert with_plain_finish(answer_meaning(back.choices, back.usage)) == with_plain_finish(
            answer_meaning(answer.choices, answer.usage)
        )
