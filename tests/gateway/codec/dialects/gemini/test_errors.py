"""Errors of Google's shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.genai import errors as client_errors

from gateway.base.errors import CATALOGUE, INVALID_VALUE, PROVIDER_ERROR, Fault
from gateway.codec.dialects.gemini import DIALECT
from tests.support.goldens import cases

HERE = Path(__file__).parent

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    414: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    417: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    505: "UNIMPLEMENTED",
}


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_every_fault_has_googles_status_and_raises_the_clients_own_exception(fault: Fault) -> None:
    body = json.loads(DIALECT.write_error(fault, "Why.", "contents"))
    assert body["error"]["code"] == fault.status
    assert body["error"]["status"] == STATUSES[fault.status]
    expected = client_errors.ClientError if fault.status < 500 else client_errors.ServerError
    with pytest.raises(expected) as caught:
        client_errors.APIError.raise_error(fault.status, body, None)
    assert (caught.value.code, caught.value.status, caught.value.message) == (
        fault.status,
        STATUSES[fault.status],
        "Why.",
    )


def test_what_is_written_is_read_again() -> None:
    told = DIALECT.read_error(DIALECT.write_error(INVALID_VALUE, "Wrong.", "contents[0].role"))
    assert (told.message, told.code, told.param) == ("Wrong.", "INVALID_VALUE", "contents[0].role")
    told = DIALECT.read_error(DIALECT.write_error(PROVIDER_ERROR, "Wrong.", code="overloaded_error"))
    assert (told.message, told.code, told.param) == ("Wrong.", "overloaded_error", None)


def test_an_error_in_a_stream_is_an_event_whose_first_key_says_so() -> None:
    event = DIALECT.write_error_event(PROVIDER_ERROR, "Gone.\nAway.")
    assert event.startswith(b'data: {"error":') and event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2


@pytest.mark.parametrize("path", cases(HERE / "errors"), ids=lambda path: path.stem)
def test_an_error_says_what_the_golden_file_says(path: Path) -> None:
    golden = json.loads(path.read_text())
    told = DIALECT.read_error(json.dumps(golden["body"]).encode())
    assert (told.message, told.code, told.param) == (golden["message"], golden["code"], golden["param"])


@pytest.mark.parametrize(
    ("delay", "milliseconds"),
    [("34.074s", 34_074), ("2s", 2_000), ("soon", 0), (5, 0), ("-1s", 0), ("nans", 0), ("1e99s", 0)],
)
def test_when_to_come_again_is_told(delay: object, milliseconds: int) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = {
        "error": {
            "code": 429,
            "message": "x",
            "details": [detail, 5, {"@type": 7}, {"@type": "a.BadRequest", "fieldViolations": [3]}],
        }
    }
    assert DIALECT.read_error(json.dumps(body).encode()).retry_after_ms == milliseconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"\xff",
        b"null",
        b"[]",
        b"[1]",
        b'{"error": null}',
        b'{"error": {"details": 5}}',
        b"[" * 5_000,
    ],
)
def test_whatever_comes_is_read(body: bytes) -> None:
    assert len(DIALECT.read_error(body).message) <= 5_000
