"""A pipeline in the test's own process: callers, connections and pools are made up, all else is real."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from _fastpath.bucket import Table
from _fastpath.http1 import ResponseHead
from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from _fastpath.wheel import now_ns
from gateway.base.context import Compiled, KeyEntry, ModelEntry, PoolWaiter, ProviderEntry, Sink, TargetEntry
from gateway.base.snapshot import Key, Model, Price, Provider, ProviderKind, Target, Team
from gateway.base.usage import UsageRecord
from gateway.codec.dialects.openai_chat.quirks import quirks_of
from gateway.dataplane.compile import Heads
from gateway.dataplane.pipeline import Pipeline
from gateway.phases.account import Accountant
from gateway.phases.admit import Admission
from gateway.phases.authenticate import Authenticator
from gateway.phases.route import schedule

PEPPER = b"p" * 32
SECRET = b"sk-the-callers-secret"
PRICE = Price(input=150_000_000, output=600_000_000)


class FakeExchange:
    """A caller: `gateway.base.ports.Exchange`. What it was given stands in `calls`."""

    def __init__(
        self,
        body: bytes = b"",
        path: str = "/v1/chat/completions",
        method: str = "POST",
        headers: dict[bytes, bytes] | None = None,
        query: bytes = b"",
    ) -> None:
        self.headers = {b"content-type": b"application/json", b"authorization": b"Bearer " + SECRET, **(headers or {})}
        self.method, self.path, self.query, self.body, self.peer = method, path, query, body, "10.0.0.1:5"
        self.received_ns = now_ns()
        self.on_disconnect: Callable[[], object] | None = None
        self.on_drain: Callable[[], object] | None = None
        self.client: str | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.started = False
        self.takes_more = True

    @property
    def plain(self) -> bool:
        return False

    @property
    def content_type(self) -> bytes | None:
        return self.header(b"content-type")

    @property
    def traceparent(self) -> bytes | None:
        return self.header(b"traceparent")

    def credential(self) -> bytes | None:
        value = self.header(b"authorization")
        return None if value is None else value.removeprefix(b"Bearer ")

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def values(self, name: bytes) -> list[bytes]:
        return [self.headers[name]] if name in self.headers else []

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        assert not self.started
        self.started = True
        self.calls.append(("respond", status, headers, body))

    def start(self, status: int, headers: bytes, length: int = -1) -> None:
        assert not self.started
        self.started = True
        self.calls.append(("start", status, headers, length))

    def flush(self) -> None:
        self.calls.append(("flush",))

    def write(self, data: bytes) -> bool:
        self.calls.append(("write", data))
        return self.takes_more

    def end(self, data: bytes = b"") -> None:
        self.calls.append(("end", data))

    def abort(self) -> None:
        self.calls.append(("abort",))

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    @property
    def status(self) -> int:
        return int(self.calls[0][1])

    @property
    def answer_headers(self) -> dict[str, str]:
        lines = self.calls[0][2].decode().split("\r\n")
        return dict(line.split(": ", 1) for line in lines if line)

    @property
    def sent(self) -> bytes:
        """The body that the caller got."""
        parts = [
            call[3] if call[0] == "respond" else call[1]
            for call in self.calls
            if call[0] in ("respond", "write", "end")
        ]
        return b"".join(parts)


class FakeConnection:
    """A connection to a provider, which keeps what is sent on it."""

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.parts: bytes | list[bytes] = b""
        self.calls: list[str] = []
        self.deadline_ns = 0
        self.method = ""

    def send(
        self,
        parts: bytes | list[bytes],
        sink: Sink,
        method: str,
        first_byte_ms: int,
        gap_ms: int,
        total_deadline_ns: int,
    ) -> None:
        self.method = method
        self.parts, self.sink, self.deadline_ns = parts, sink, total_deadline_ns

    @property
    def request(self) -> bytes:
        return self.parts if isinstance(self.parts, bytes) else b"".join(self.parts)

    def close(self) -> None:
        self.calls.append("close")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class FakePool:
    """Gives out a new connection each time; none where `empty`."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.waiting: list[PoolWaiter] = []
        self.empty = False
        self.full: Exception | None = None

    def take(self) -> Any:
        if self.empty:
            return None
        self.made.append(FakeConnection())
        return self.made[-1]

    def wait(self, waiter: PoolWaiter) -> None:
        if self.full is not None:
            raise self.full
        self.waiting.append(waiter)


def response_head(status: int = 200, content_type: str = "application/json", *lines: str) -> ResponseHead:
    head = ResponseHead()
    text = "\r\n".join([f"HTTP/1.1 {status} X", f"content-type: {content_type}", *lines, "", ""]).encode()
    assert head.parse(text) == len(text)
    return head


_decoder = msgspec.json.Decoder(UsageRecord)


class Keeper:
    """Spool, log and report in one: keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []
        self.lines: list[tuple[UsageRecord, str]] = []
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def append(self, record: bytes) -> None:
        self.records.append(_decoder.decode(record))

    def request(self, record: bytes, error: str = "") -> None:
        self.lines.append((_decoder.decode(record), error))

    def event(self, level: str, event: str, **fields: Any) -> None:
        self.events.append((level, event, fields))


class WordCounter:
    """A token a word."""

    def count(self, texts: list[bytes], encoding: str) -> int:
        assert encoding == "o200k_base"
        return sum(len(text.split()) for text in texts)

    def exactly(self, texts: list[bytes], encoding: str) -> int | None:
        return self.count(texts, encoding)


class Rig:
    """A worker's pipeline with one key and, at first, one model `m` of one target."""

    def __init__(
        self,
        directory: Path,
        key: Key | None = None,
        team: Team | None = None,
        models: tuple[Model, ...] = (),
        kinds: dict[str, ProviderKind] | None = None,
        fields: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._kinds = kinds or {}
        """By the provider's name, where it is not `openai`."""
        self._fields = fields or {}
        """By the provider's name: what else is set of it."""
        self.memory = NodeMemory.create(str(directory / "node.mem"), 2, 64, 1 << 18)
        self.table = Table(self.memory, 0)
        self.keeper = Keeper()
        self.registry = Registry(self.memory, 0)
        self.accountant = Accountant(self.registry, self.keeper, self.keeper)
        self.pipeline = Pipeline(Authenticator(PEPPER), self.accountant, self.keeper.event)
        self.pools: dict[str, FakePool] = {}
        self.admission = Admission(self.table, WordCounter(), {team.name: team} if team is not None else {})
        self.compiled = Compiled("0123456789abcdef")
        for name in self._fields:
            self._provider(name)
        for model in models or (Model("m", (Target("one", "upstream-m", price=PRICE),)),):
            self.compiled.models[model.name] = entry = ModelEntry(model, [self._target(t) for t in model.targets])
            entry.schedule = schedule(entry.targets)
            for target in entry.targets:
                self.compiled.providers[target.provider.name].add(entry, target)
        for model in models:
            self.compiled.models[model.name].fall_back_to([self.compiled.models[name] for name in model.fallbacks])
        digest = hmac.digest(PEPPER, SECRET, "sha256").hex()
        self.key = KeyEntry(key if key is not None else Key("k1", "app", digest))
        self.key.allowed = dict.fromkeys(self.compiled.models, True)
        self.admission.compile(self.key)
        self.compiled.key_by_hmac[digest] = self.key
        self.pipeline.swap(self.compiled, self.admission)

    def _target(self, target: Target) -> TargetEntry:
        entry, heads = self._provider(target.provider)
        quirks = quirks_of(entry.provider)
        made, signings = heads.of(target.model), heads.signings_of(target.model)
        return TargetEntry(target, entry.provider, entry.pool, made, entry.kind, quirks=quirks, signings=signings)

    def _provider(self, name: str) -> tuple[ProviderEntry, Heads]:
        kind, fields = self._kinds.get(name, "openai"), {"api_key": "env:KEY", **self._fields.get(name, {})}
        provider = Provider(name, kind, f"http://{name}.example/v1", **fields)
        heads = Heads(provider, lambda _: "sk-ours")
        if name not in self.compiled.providers:
            self.compiled.providers[name] = heads.entry(provider, self.pools.setdefault(name, FakePool()))
            if provider.responses:
                self.compiled.keepers.append(name)
        return self.compiled.providers[name], heads

    def ask(self, body: bytes | None = None, **options: Any) -> FakeExchange:
        """Hands a request over; the answer comes when the test lets the provider speak."""
        exchange = FakeExchange(body if body is not None else b'{"model":"m","messages":[]}', **options)
        self.pipeline.on_request(exchange)
        return exchange

    def connection(self, provider: str = "one") -> FakeConnection:
        """The provider's newest."""
        return self.pools[provider].made[-1]

    def sink(self, provider: str = "one") -> Sink:
        sink = self.connection(provider).sink
        assert sink is not None
        return sink

    @property
    def in_flight(self) -> int:
        return self.table.in_flight(b"key/k1")

    @property
    def record(self) -> UsageRecord:
        (record,) = self.keeper.records
        return record
