"""From a script to answers that are ready to be written. Each route's are made when its path is first asked for."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

from bench.native import provider
from bench.native.agenda import Agenda
from bench.native.draw import Draw
from bench.upstream import dialects, script
from bench.upstream.dialects import Dialect, Said

PREPARED: Final = 16
"""Answers of a route whose size is drawn: the middles of as many equal shares of the distribution."""

_TEXT: Final = (
    "the harbour office keeps a ledger of every boat that left before noon and of the tea it carried, with the shelf, "
    "the weight and the name of whoever signed for it in the end; "
)
_INSTANT: Final = Draw("fixed", 0.0)
Streaming = Literal["asked", "always", "never"]


class Plan:
    """Finds the route of what is asked.

    Args:
        played: what to play.
    """

    def __init__(self, played: script.Script) -> None:
        self._script = played
        self._route = cache(self._made)

    def factory(self, agenda: Agenda, *, tls: bool = False, worker: int = 0) -> provider.Provider:
        """What makes a protocol for each accepted socket; each worker draws numbers of its own."""
        freezes = [(freeze.at_s, freeze.for_ms / 1e3, freeze.every_s) for freeze in self._script.freezes]
        return provider.Provider(agenda, self._script.seed * 1_000_003 + worker, self.resolve, freezes, tls)

    def resolve(self, method: str, path: str, query: bytes) -> provider.Route:
        if method != "POST":
            return self._beside(method, path)
        found = _dialect(path)
        if found is None:
            return _fixed(404, dialects.OPENAI.error(404, f"Nothing is played at {path}."))
        dialect, streaming = found
        if streaming == "always" and b"alt=sse" not in query.split(b"&"):
            return _fixed(400, dialect.error(400, "The mock streams with alt=sse only."))
        fitting = (number for number, route in enumerate(self._script.routes) if path.startswith(route.prefix))
        return self._route(next(fitting, None), dialect, streaming)

    def _beside(self, method: str, path: str) -> provider.Route:
        if method != "GET":
            return _fixed(405, b"")
        if path.endswith("/models"):
            return _fixed(200, dialects.models(self._script.model))
        return _fixed(200, b"{}")

    def _made(self, number: int | None, dialect: Dialect, streaming: Streaming) -> provider.Route:
        route = None if number is None else self._script.routes[number]
        played = script.played(self._script, route)
        said = [self._said(played, size) for size in _sizes(played.text_bytes)]
        begin = dialects.start(200, "application/json")
        begin_stream = dialects.start(200, "text/event-stream; charset=utf-8", "cache-control: no-cache")

        def stream(one: Said, with_usage: bool) -> provider.Answer:
            return provider.Answer(begin_stream, dialect.events(one, with_usage), len(one.tokens), True)

        whole = [] if streaming == "always" else said
        streamed = [] if streaming == "never" else said
        return provider.Route(
            played.latency_ms,
            played.gap_ms,
            [_fault(fault, dialect) for fault in played.faults],
            [provider.Answer(begin, [dialect.whole(one)], len(one.tokens), False) for one in whole],
            [stream(one, False) for one in streamed],
            [stream(one, True) for one in streamed if dialect is dialects.OPENAI]
            or [stream(one, False) for one in streamed],
            streaming,
        )

    def _said(self, played: script.Played, size: int) -> Said:
        text = _TEXT * (size // len(_TEXT) + 1)
        step = played.token_bytes
        tokens = [text[at : min(at + step, size)] for at in range(0, size, step)]
        return Said(self._script.model, tokens, played.prompt_tokens)


def _dialect(path: str) -> tuple[Dialect, Streaming] | None:
    """Whose path this is, and when it streams."""
    if path.endswith("/chat/completions"):
        return dialects.OPENAI, "asked"
    if path.endswith("/messages"):
        return dialects.ANTHROPIC, "asked"
    if path.endswith(":generateContent"):
        return dialects.GEMINI, "never"
    if path.endswith(":streamGenerateContent"):
        return dialects.GEMINI, "always"
    return None


def _sizes(text_bytes: Draw) -> list[int]:
    count = 1 if text_bytes.kind == "fixed" else PREPARED
    shares = ((number + 0.5) / count for number in range(count))
    return [min(max(1, round(text_bytes.quantile(share))), script.MAX_TEXT_BYTES) for share in shares]


def _fault(fault: script.Fault, dialect: Dialect) -> provider.Fault:
    fields = [] if fault.retry_after_s is None else [f"retry-after: {fault.retry_after_s}"]
    answer = dialects.whole(fault.status, dialect.error(fault.status, "The script says so."), *fields)
    event = dialect.error_event("The script says so.") if fault.kind == "error_event" else b""
    return provider.Fault(fault.kind, fault.share, fault.at, fault.for_ms, answer, event)


def _fixed(status: int, body: bytes) -> provider.Route:
    return provider.Route(_INSTANT, _INSTANT, [], [], [], [], "never", dialects.whole(status, body))
