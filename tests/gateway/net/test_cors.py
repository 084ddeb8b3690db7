"""What browsers are told: preflights are answered without the application, and every answer says whose page may read it."""

from __future__ import annotations

import pytest

from gateway.base.node import Cors
from gateway.base.ports import Exchange
from gateway.net.cors import EXPOSED, MAX_ASKED_BYTES, Adding, CrossOrigin
from tests.support.rig import FakeExchange

APP, OTHER = b"https://app.example", b"https://evil.example"


class Application:
    """Answers by itself, whole or in parts."""

    def __init__(self, *, parts: bool = False) -> None:
        self.seen: list[Exchange] = []
        self.parts = parts

    def on_request(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        if self.parts:
            exchange.start(200, b"content-type: text/event-stream\r\n", 4)
            exchange.flush()
            exchange.write(b"da")
            exchange.end(b"ta")
        else:
            exchange.respond(200, b"x-request-id: 1\r\n", b"data")

    def on_head(self, exchange: Exchange) -> bool:
        self.seen.append(exchange)
        return True

    def on_refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        return b"", b""


def ask(
    cors: Cors, headers: dict[bytes, bytes], method: str = "POST", *, parts: bool = False
) -> tuple[FakeExchange, Application]:
    application = Application(parts=parts)
    exchange = FakeExchange(method=method, headers=headers)
    CrossOrigin(application, cors).on_request(exchange)
    return exchange, application


def preflight(cors: Cors, origin: bytes = APP, asked: bytes | None = b"authorization,content-type") -> FakeExchange:
    headers = {b"origin": origin, b"access-control-request-method": b"POST"}
    if asked is not None:
        headers[b"access-control-request-headers"] = asked
    exchange, application = ask(cors, headers, "OPTIONS")
    assert not application.seen, "a preflight carries no credentials: the application never sees it"
    return exchange


EXACT = Cors(("https://app.example", "http://localhost:3000"))
ANY = Cors(("*",))


def test_a_preflight_of_a_named_origin_is_told_what_it_may() -> None:
    exchange = preflight(EXACT)
    assert exchange.status == 204 and exchange.sent == b""
    assert exchange.answer_headers == {
        "access-control-allow-origin": "https://app.example",
        "vary": "origin, access-control-request-method, access-control-request-headers",
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-max-age": "7200",
        "access-control-allow-headers": "authorization,content-type",
    }


def test_a_preflight_is_told_the_methods_headers_and_age_that_are_configured() -> None:
    cors = Cors(("*",), methods=("POST", "DELETE"), headers=("Authorization", "x-team"), max_age_s=5)
    told = preflight(cors, OTHER, b"x-whatever").answer_headers
    assert told["access-control-allow-origin"] == "*"
    assert told["access-control-allow-methods"] == "POST, DELETE"
    assert told["access-control-allow-headers"] == "Authorization, x-team"
    assert told["access-control-max-age"] == "5"
    assert "access-control-allow-headers" not in preflight(Cors(("*",), headers=())).answer_headers
    assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize("asked", [None, b"", b"a\x01b", b"a b", b"a,,b", b"x" * (MAX_ASKED_BYTES + 1)])
def test_only_names_of_headers_are_repeated(asked: bytes | None) -> None:
    exchange = preflight(EXACT, asked=asked)
    assert exchange.status == 204
    assert "access-control-allow-headers" not in exchange.answer_headers


ORIGINS = [
    OTHER,
    b"null",
    b"*",
    b"",
    b"https://app.example.evil.example",
    b"https://app.example:443",
    b"http://app.example",
    b"https://APP.example",
    b"https://app.example/",
    b"https://sub.app.example",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_matches_to_the_letter_or_not_at_all(origin: bytes) -> None:
    exchange = preflight(EXACT, origin)
    assert exchange.status == 403 and b"cors.origins" in exchange.sent
    assert not [name for name in exchange.answer_headers if name.startswith("access-control")]
    answered, application = ask(EXACT, {b"origin": origin})
    assert application.seen, (
        "the answer is the caller's own, whom the key has authorised; its browser keeps it from the page"
    )
    assert answered.answer_headers == {"x-request-id": "1", "vary": "origin"}


@pytest.mark.parametrize("parts", [False, True])
def test_an_answer_and_a_stream_say_whose_page_may_read_them(parts: bool) -> None:
    exchange, _ = ask(EXACT, {b"origin": b"http://localhost:3000"}, parts=parts)
    told = exchange.answer_headers
    assert told["access-control-allow-origin"] == "http://localhost:3000"
    assert told["vary"] == "origin"
    assert told["access-control-expose-headers"].split(", ") == list(EXPOSED)
    assert exchange.sent == b"data"
    assert exchange.names == (["start", "flush", "write", "end"] if parts else ["respond"])


def test_any_origin_needs_no_vary() -> None:
    exchange, _ = ask(ANY, {b"origin": OTHER})
    assert exchange.answer_headers["access-control-allow-origin"] == "*"
    assert "vary" not in exchange.answer_headers


def test_what_comes_from_no_browser_passes_as_it_is() -> None:
    exchange, application = ask(EXACT, {})
    assert application.seen == [exchange] and exchange.answer_headers == {"x-request-id": "1"}
    exchange, _ = ask(EXACT, {}, "GET")
    assert exchange.answer_headers == {"x-request-id": "1", "vary": "origin"}, "a cache could keep it"
    exchange, application = ask(EXACT, {}, "OPTIONS")
    assert application.seen == [exchange]
    exchange, application = ask(EXACT, {b"origin": APP}, "OPTIONS")
    assert len(application.seen) == 1, "no preflight without access-control-request-method"


def test_a_preflight_with_a_body_is_answered_by_its_head() -> None:
    application = Application()
    edge = CrossOrigin(application, EXACT)
    headers = {b"origin": APP, b"access-control-request-method": b"POST"}
    exchange = FakeExchange(method="OPTIONS", headers=headers)
    assert edge.on_head(exchange) is False
    assert exchange.status == 204 and not application.seen
    assert edge.on_head(FakeExchange(headers={b"origin": APP})) is True and len(application.seen) == 1


def test_what_is_refused_below_the_application_says_it_too() -> None:
    assert b"access-control-allow-origin: https://app.example\r\n" in CrossOrigin(Application(), EXACT).fields(APP)
    assert CrossOrigin(Application(), EXACT).fields(OTHER) == b"vary: origin\r\n"
    assert CrossOrigin(Application(), EXACT).fields(None) == b"vary: origin\r\n"
    assert CrossOrigin(Application(), ANY).fields(None) == b""


def test_an_exchange_with_further_fields_is_otherwise_the_same() -> None:
    inner = FakeExchange(b"body", headers={b"traceparent": b"00-1", b"x": b"y"})
    outer = Adding(inner, b"a: b\r\n")
    for name in (
        "method",
        "path",
        "query",
        "body",
        "peer",
        "received_ns",
        "started",
        "plain",
        "content_type",
        "traceparent",
    ):
        assert getattr(outer, name) == getattr(inner, name), name
    assert outer.credential() == inner.credential()
    assert (outer.header(b"x"), outer.values(b"x"), outer.values(b"z")) == (b"y", [b"y"], [])
    outer.on_drain = outer.on_disconnect = print
    outer.client = "203.0.113.7"
    assert (inner.on_drain, inner.on_disconnect, inner.client) == (print, print, "203.0.113.7")
    assert (outer.on_drain, outer.on_disconnect, outer.client) == (print, print, "203.0.113.7")
    inner.takes_more = False
    assert outer.write(b"x") is False
    outer.abort()
    assert inner.names == ["write", "abort"]
