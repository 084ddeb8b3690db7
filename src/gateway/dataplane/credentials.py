"""A worker's tokens for providers: fetched and renewed beside the requests, never by one of them.

Each provider with `auth` has a keeper: one task, so one question at a time. It renews the token when between 65 % and 75 % of its life
are over, and until it has another the old one is shown, up to shortly before its end: what is sent must still arrive. A question that
fails is repeated with back-off, and a token that its provider refuses (401) is replaced ahead of its time. A provider without a valid
token is answered for with 503 at once, or by another target.

Tokens stand in the worker's memory alone. They outlive snapshots: a provider whose `auth` a new one leaves unchanged keeps its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from _fastpath.metrics import Registry
from _fastpath.wheel import Wheel, now_ns
from gateway.base.context import Credential
from gateway.base.ports import Token, TokenError, TokenRequest, TokenSource
from gateway.base.snapshot import Auth, Provider, Timeouts
from gateway.net.dial import MAX_HANDSHAKES, Dialer, Resolver
from gateway.net.fetch import FetchError, fetch

FIRST_TOKENS_S = 5.0
"""So long a worker waits for the tokens of providers that are new, before it serves them."""
FETCH_MS = 10_000
"""Of one question, connecting included."""
MAX_ANSWER_BYTES = 65_536
RENEW_AFTER = 0.75
"""Of a token's life."""
JITTER = 0.1
"""Of a token's life, by which it is renewed earlier: workers and nodes that began together do not ask together."""
MARGIN = 0.05
"""Of a token's life, before whose end it is shown no more."""
MAX_MARGIN_S = 10.0
LEAST_PAUSE_S = 0.5
"""Between two questions, however short a token lives."""
MAX_PAUSE_S = 30.0
"""Between two questions that fail."""
REFUSED_PAUSE_S = 10.0
"""From a question to one that is asked because the provider has refused the token."""

_S = 1_000_000_000
"""In nanoseconds."""

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""
Source = Callable[[Auth], TokenSource]


def renewal_s(life_s: float, chance: float) -> float:
    """Seconds from a token's fetching to its renewal; `chance`: from 0 to 1."""
    return max(LEAST_PAUSE_S, life_s * (RENEW_AFTER - JITTER * chance))


def pause_s(failures: int, chance: float) -> float:
    """Seconds after so many failures in a row to the next question: back-off with jitter, of half its span at the least."""
    span_s = min(MAX_PAUSE_S, LEAST_PAUSE_S * (1 << min(failures, 16)))
    return span_s * (0.5 + 0.5 * chance)


def shown_s(life_s: float) -> float:
    """How long a token is shown."""
    return life_s - min(MAX_MARGIN_S, life_s * MARGIN)


class Fetcher:
    """Asks the issuers. Raises TokenError: there is no token."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> None:
        self._loop = loop
        self._wheel = wheel
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._public_names: set[str] = set()

    async def __call__(self, provider: Provider, source: TokenSource) -> Token:
        request, dialer = await asyncio.to_thread(self._prepare, provider, source)
        try:
            status, body = await fetch(
                dialer,
                self._wheel,
                request.method,
                request.url,
                headers=request.headers,
                body=request.body,
                within_ms=FETCH_MS,
                most_bytes=MAX_ANSWER_BYTES,
            )
        except FetchError as error:
            raise TokenError(f"cannot ask {dialer.host}: {error}") from error
        try:
            return source.token(status, body)
        except TokenError as error:
            raise TokenError(f"{dialer.host} {error}") from None

    def _prepare(self, provider: Provider, source: TokenSource) -> tuple[TokenRequest, Dialer]:
        """What to ask, and the way there. Runs on a thread: files are read, a JWT is signed, a TLS context made."""
        request = source.request()
        resolver = Resolver(self._loop)  # of its own: what it knows would be as old as the last token
        resolver.public_names = self._public_names
        issuer = Provider(
            provider.name,
            "openai",
            request.url,
            timeouts=Timeouts(connect_ms=FETCH_MS),
            proxy="" if source.metadata else provider.proxy,
            allow_addresses=source.metadata,
        )
        try:
            return request, Dialer(issuer, self._loop, resolver, self._handshakes)
        except (OSError, ValueError) as error:
            raise TokenError(f"cannot ask: {error}") from error


class _Keeper:
    """Keeps one provider's token valid."""

    def __init__(
        self, provider: Provider, source: TokenSource, fetcher: Fetcher, registry: Registry, report: Report
    ) -> None:
        self.credential = Credential(self._on_refused)
        self.tried = asyncio.Event()
        """The first question has an answer."""
        self._provider = provider
        self._source = source
        self._fetcher = fetcher
        self._report = report
        labels = {"provider": provider.name}
        self._renewals = registry.counter("throughway_provider_token_renewals_total", labels)
        self._failures = registry.counter("throughway_provider_token_failures_total", labels)
        self._missing = registry.gauge("throughway_provider_tokens_missing", labels)
        self._failed = 0
        """In a row."""
        self._asked_ns = 0
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> bool:
        """False if it had begun."""
        if self._task is not None:
            return False
        self.show()
        self._task = asyncio.get_running_loop().create_task(self._run())
        return True

    def hurry(self) -> None:
        """What made it fail may be mended: it asks again at once."""
        if self._failed:
            self._woken.set()

    def _on_refused(self) -> None:
        if now_ns() - self._asked_ns >= REFUSED_PAUSE_S * _S:
            self._woken.set()

    def show(self) -> None:
        """Tells the metrics whether there is a valid token."""
        self._missing.set(now_ns() >= self.credential.until_ns)

    def close(self) -> None:
        """Renews no more; what it has is shown as long as it is valid."""
        self._missing.set(0)
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            asked_ns = self._asked_ns = now_ns()
            try:
                token = await self._fetcher(self._provider, self._source)
            except TokenError as error:
                wait_s = self._note_failure(str(error))
            except Exception as error:  # a fault of ours must not cost the provider its tokens for ever
                wait_s = self._note_failure(f"{type(error).__name__}: the gateway failed to ask")
            else:
                wait_s = self._take(token, asked_ns)
            self.tried.set()
            self._woken.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def _take(self, token: Token, asked_ns: int) -> float:
        """Shows the token from now on; seconds to its renewal."""
        credential = self.credential
        credential.line = b"authorization: Bearer %b\r\n" % token.value.encode()
        credential.until_ns = asked_ns + int(shown_s(token.life_s) * _S)
        self._renewals.add(1)
        self.show()
        self._report(
            "info",
            "credential.renewed",
            provider=self._provider.name,
            life_s=round(token.life_s, 1),
            failed_before=self._failed,
        )
        self._failed = 0
        return max(0.0, renewal_s(token.life_s, random.random()) - (now_ns() - asked_ns) / _S)  # noqa: S311 - jitter

    def _note_failure(self, why: str) -> float:
        """Seconds to the next question; at the end of the old token one is asked in any case."""
        self._failed += 1
        self._failures.add(1)
        left_s = (self.credential.until_ns - now_ns()) / _S
        valid = left_s > 0
        self.show()
        self._report(
            "warning" if valid else "error",
            "credential.failed",
            provider=self._provider.name,
            error=why,
            valid_s=round(max(0.0, left_s), 1),
            failed=self._failed,
        )
        wait_s = pause_s(self._failed, random.random())  # noqa: S311 - jitter
        return min(wait_s, max(left_s, LEAST_PAUSE_S)) if valid else wait_s


class Credentials:
    """The keepers of a worker: one a provider with `auth`, at most as many as the configuration may have."""

    def __init__(self, source: Source, fetcher: Fetcher, registry: Registry, report: Report) -> None:
        self._source = source
        self._fetcher = fetcher
        self._registry = registry
        self._report = report
        self._keepers: dict[tuple[str, Auth, str | None], _Keeper] = {}

    def of(self, provider: Provider) -> Credential | None:
        """What the provider is shown; None where that is no token. New ones are fetched from `begin` on."""
        if provider.auth is None:
            return None
        known = (provider.name, provider.auth, provider.proxy)
        keeper = self._keepers.get(known)
        if keeper is None:
            keeper = _Keeper(provider, self._source(provider.auth), self._fetcher, self._registry, self._report)
            self._keepers[known] = keeper
        return keeper.credential

    async def begin(self) -> None:
        """Fetches the tokens that are new: returns when each was answered for, or after FIRST_TOKENS_S. What failed is tried again."""
        new = []
        for keeper in self._keepers.values():
            if keeper.begin():
                new.append(keeper)
            else:
                keeper.hurry()
        if new:
            waiting = [asyncio.ensure_future(keeper.tried.wait()) for keeper in new]
            _, late = await asyncio.wait(waiting, timeout=FIRST_TOKENS_S)
            for each in late:
                each.cancel()

    def keep(self, providers: Iterable[Provider]) -> None:
        """Ends all others."""
        used = {(p.name, p.auth, p.proxy) for p in providers}
        for gone in [known for known in self._keepers if known not in used]:
            self._keepers.pop(gone).close()
        for keeper in self._keepers.values():
            keeper.show()  # one that is gone may have had the same provider

    def close(self) -> None:
        self.keep(())
