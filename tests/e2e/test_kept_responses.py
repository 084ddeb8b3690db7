"""Responses that a provider keeps, by OpenAI's client over both edges: whose they are, and what others see of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import openai
import pytest

from tests.e2e.conftest import PRICE, Tls, environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.support.files_provider import FilesProvider
from tests.support.scripted_upstream import ScriptedUpstream

KEYS: dict[str, dict[str, Any]] = {
    "main": {},
    "team-1": {"team": "plain"},
    "team-2": {"team": "plain"},
    "other": {"passthrough": ["one"]},
}
PEPPER = "pepper-of-the-tests-0123456789abcdef"


@pytest.fixture(scope="module")
def provider() -> Iterator[FilesProvider]:
    with FilesProvider().running() as running:
        yield running


def node_of(directory: Any, upstream: ScriptedUpstream, provider: FilesProvider, tls: Tls) -> Gateway:
    made = settings(upstream, KEYS, http2={"tls": tls.settings}, pepper="env:PEPPER")
    fields = {"kind": "openai", "base_url": provider.base_url, "api_key": "env:PROVIDER_KEY"}
    made["providers"] |= {
        "one": {"responses": "native", "passthrough": True, **fields},
        "two": {"responses": "native", **fields},
        "translating": fields,
    }
    made["models"] = {
        "m": {"targets": [{"provider": "one", "model": "upstream-m", "price": PRICE}]},
        "both": {
            "targets": [
                {"provider": name, "model": "upstream-m", "price": PRICE} for name in ("translating", "two", "one")
            ]
        },
        "elsewhere": {"targets": [{"provider": "two", "model": "upstream-m", "price": PRICE}]},
        "translated": {"targets": [{"provider": "translating", "model": "upstream-m", "price": PRICE}]},
    }
    return Gateway(directory, made, {**environment(KEYS), "PEPPER": PEPPER})


@pytest.fixture(scope="module")
def node(
    upstream: ScriptedUpstream, provider: FilesProvider, tls: Tls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    gateway = node_of(tmp_path_factory.mktemp("kept"), upstream, provider, tls)
    with gateway.running():
        yield gateway


ClientOf = Callable[[str], openai.OpenAI]


@pytest.fixture(params=["native", "http2"])
def client_of(request: pytest.FixtureRequest, node: Gateway, tls: Tls) -> Iterator[ClientOf]:
    with ExitStack() as stack:

        def make(key: str) -> openai.OpenAI:
            fields: dict[str, Any] = {"api_key": secret_of(key), "max_retries": 0, "timeout": 10}
            if request.param == "http2":
                fields["http_client"] = openai.DefaultHttpxClient(http2=True, verify=tls.context())
                fields["base_url"] = f"https://127.0.0.1:{node.http2_port}/v1"
            else:
                fields["base_url"] = node.base_url
            return stack.enter_context(openai.OpenAI(**fields))

        yield make


def test_a_response_is_made_read_listed_cancelled_and_deleted(
    client_of: ClientOf, node: Gateway, provider: FilesProvider
) -> None:
    client = client_of("main")
    made = client.responses.create(model="m", input="Hello")
    assert made.id not in provider.responses and made.id.startswith("resp_")
    own = made.id.partition("_tw")[0]
    assert own in provider.responses
    read = client.responses.with_raw_response.retrieve(made.id, include=["reasoning.encrypted_content"])
    assert (read.parse().id, read.parse().output_text) == (made.id, made.output_text)
    assert provider.asked[-1].path.startswith(f"/v1/responses/{own}?include")
    record = node.record(read.headers["x-request-id"])
    assert (record["endpoint"], record["provider"], record["cost_nano_usd"]) == ("kept_responses", "one", 0)
    assert (record["input_tokens"], record["unpriced"], record["estimated"]) == (0, 0, 0)
    assert f"Asked {own} ." in client.responses.input_items.list(made.id).to_json()
    assert (client.responses.cancel(made.id).id, client.responses.cancel(made.id).status) == (made.id, "cancelled")
    client.responses.delete(made.id)
    assert own not in provider.responses
    with pytest.raises(openai.NotFoundError, match="No such thing"):
        client.responses.retrieve(made.id)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_conversation_goes_on_from_what_was_kept(
    client_of: ClientOf, node: Gateway, provider: FilesProvider, streaming: bool
) -> None:
    client = client_of("main")
    previous = None
    ids: list[str] = []
    for _ in range(3):
        asked: dict[str, Any] = {"model": "m", "input": "Hello"} | (
            {"previous_response_id": previous} if previous else {}
        )
        if streaming:
            events = list(client.responses.create(**asked, stream=True))
            seen = {e.response.id for e in events if hasattr(e, "response")}
            assert len(seen) == 1 and events[-1].type == "response.completed"
            assert events[-1].response.previous_response_id == previous
            (name,) = seen
        else:
            answer = client.responses.create(**asked)
            assert answer.previous_response_id == previous
            name = answer.id
        if previous is not None:
            assert json.loads(provider.asked[-1].body)["previous_response_id"] == previous.partition("_tw")[0]
        ids.append(name)
        previous = name
    read = client.responses.retrieve(ids[1])
    assert (read.id, read.previous_response_id) == (ids[1], ids[0])
    told = list(client.responses.retrieve(ids[2], stream=True))
    assert {e.response.id for e in told if hasattr(e, "response")} == {ids[2]}
    assert told[-1].response.previous_response_id == ids[1]  # type: ignore[union-attr]


def refused(call: Callable[[], object]) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        call()
    return error.value


def test_what_another_has_made_is_nobodys(client_of: ClientOf, provider: FilesProvider) -> None:
    mine, theirs = client_of("main"), client_of("other")
    made = mine.responses.create(model="m", input="Hello")
    own = made.id.partition("_tw")[0]
    forged = [
        made.id,
        own,
        f"{own}_tw{'A' * 22}",
        f"{made.id}_tw{made.id[-22:]}",
        own + theirs.responses.create(model="m", input="x").id[-25:],
    ]
    before = len(provider.asked)
    for name in forged:
        for call in (
            theirs.responses.retrieve,
            theirs.responses.delete,
            theirs.responses.cancel,
            theirs.responses.input_items.list,
        ):
            error = refused(partial(call, name))
            assert (error.status_code, error.code) == (404, "response_not_found")
        error = refused(partial(theirs.responses.create, model="m", input="x", previous_response_id=name))
        assert (error.status_code, error.code, error.param) == (400, "response_not_found", "previous_response_id")
    assert len(provider.asked) == before, "no provider is asked"
    assert mine.responses.retrieve(made.id).id == made.id


def test_keys_of_a_team_take_turns(client_of: ClientOf) -> None:
    made = client_of("team-1").responses.create(model="m", input="Hello")
    assert client_of("team-2").responses.retrieve(made.id).id == made.id
    after = client_of("team-2").responses.create(model="m", input="Hello", previous_response_id=made.id)
    assert after.previous_response_id == made.id
    assert refused(lambda: client_of("main").responses.retrieve(made.id)).status_code == 404


def test_a_response_is_gone_on_with_where_it_is_kept(client_of: ClientOf, node: Gateway) -> None:
    client = client_of("main")
    made = client.responses.create(model="m", input="Hello")
    for _ in range(3):  # whosever turn it is
        got = client.responses.with_raw_response.create(model="both", input="x", previous_response_id=made.id)
        assert got.headers["x-throughway-provider"] == "one"
    error = refused(lambda: client.responses.create(model="elsewhere", input="x", previous_response_id=made.id))
    assert (error.status_code, error.code, error.param) == (400, "endpoint_not_served", "previous_response_id")
    error = refused(lambda: client.responses.create(model="translated", input="x", previous_response_id=made.id))
    assert (error.status_code, error.code, error.param) == (400, "unsupported_parameter", "previous_response_id")


def test_a_conversation_of_the_account_is_nobodys(client_of: ClientOf) -> None:
    error = refused(lambda: client_of("main").responses.create(model="m", input="x", conversation="conv_1"))
    assert (error.status_code, error.param) == (400, "conversation")
    assert client_of("other").responses.create(model="m", input="x", conversation="conv_1").id, (
        "it may ask as it stands"
    )


def test_every_node_of_one_pepper_reads_it(
    client_of: ClientOf, upstream: ScriptedUpstream, provider: FilesProvider, tls: Tls, tmp_path: Any
) -> None:
    made = client_of("main").responses.create(model="m", input="Hello")
    with node_of(tmp_path, upstream, provider, tls).running() as second:
        got = second.ask(key=secret_of("main"), path=f"/v1/responses/{made.id}", method="GET")
        assert got.status == 200 and got.json["id"] == made.id


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/v1/responses/resp_1", "POST", 405, "method_not_allowed"),
        ("/v1/responses/resp_1/cancel", "GET", 405, "method_not_allowed"),
        ("/v1/responses/resp_1/other", "GET", 404, "not_found"),
        ("/v1/responses/..", "GET", 404, "response_not_found"),
        ("/v1/responses/resp%5f1", "GET", 404, "response_not_found"),
    ],
)
def test_what_is_no_such_endpoint_is_told(node: Gateway, path: str, method: str, status: int, code: str) -> None:
    got = node.ask(key=secret_of("main"), path=path, method=method)
    assert (got.status, got.error["code"]) == (status, code)
    assert node.ask(key="nobody", path="/v1/responses/resp_1", method="GET").status == 401
