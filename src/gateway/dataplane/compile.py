"""A snapshot, made ready: models with their targets and pools, keys with their limits."""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Callable, Generator
from urllib.parse import quote, urlsplit

from _fastpath.wheel import Wheel
from gateway.base.context import (
    Compiled,
    KeyEntry,
    ModelEntry,
    ProviderEntry,
    ProviderPool,
    Signing,
    TargetEntry,
)
from gateway.base.snapshot import Aws, Key, Provider, Snapshot, is_reference
from gateway.codec import passthrough
from gateway.codec.dialects.openai_chat.quirks import quirks_of
from gateway.codec.kinds import KINDS
from gateway.codec.sigv4 import Credential, PathSigning, Signer
from gateway.dataplane.calibrations import Calibrations
from gateway.dataplane.credentials import Credentials
from gateway.net.dial import MAX_HANDSHAKES, Dialer, Resolver
from gateway.net.pool import UpstreamPool
from gateway.net.tls import TlsFiles
from gateway.phases.admit import Admission
from gateway.phases.route import schedule
from gateway.phases.transform import request_head

Resolve = Callable[[str], str]
"""The secret behind a reference; raises ValueError."""


class Pools:
    """The worker's pools, one a provider. A provider that a new snapshot leaves unchanged keeps its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> None:
        self._loop = loop
        self._wheel = wheel
        self._resolver = Resolver(loop)
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._by_provider: dict[Provider, UpstreamPool] = {}
        self._tls_files: dict[Provider, TlsFiles] = {}
        self._dialers: dict[Provider, Dialer] = {}
        """Of the snapshot that is being taken into use, for pools that it makes."""

    def prepare(self, providers: tuple[Provider, ...]) -> None:
        """Makes what takes long of the pools that will be new. Runs on a thread: a TLS context reads the system's authorities.

        Raises OSError or ValueError for a bad CA bundle or certificate.
        """
        self._dialers = {
            provider: Dialer(provider, self._loop, self._resolver, self._handshakes)
            for provider in providers
            if provider not in self._by_provider
        }

    def of(self, provider: Provider) -> UpstreamPool:
        """The provider's pool, made if it is new. Raises OSError or ValueError for a bad CA bundle or certificate."""
        pool = self._by_provider.get(provider)
        if pool is None:
            dialer = self._dialers.pop(provider, None)
            if dialer is None:
                dialer = Dialer(provider, self._loop, self._resolver, self._handshakes)
            if dialer.tls is not None and dialer.tls.files:
                self._tls_files[provider] = dialer.tls
            pool = self._by_provider[provider] = UpstreamPool(
                provider.name,
                self._loop,
                self._wheel,
                dialer,
                max_connections=provider.max_connections,
                warm_connections=provider.warm_connections,
                connect_ms=provider.timeouts.connect_ms,
            )
        return pool

    def keep(self, providers: tuple[Provider, ...]) -> None:
        """Closes the pools of all others."""
        for provider in self._by_provider.keys() - set(providers):
            self._by_provider.pop(provider).close()
            self._tls_files.pop(provider, None)

    def warm(self) -> None:
        """Opens the connections that wait for requests to come."""
        for pool in self._by_provider.values():
            pool.warm()

    def all(self) -> list[UpstreamPool]:
        return list(self._by_provider.values())

    def tls_files(self) -> list[TlsFiles]:
        """What connections to providers take from files."""
        return list(self._tls_files.values())


def compile_snapshot(
    snapshot: Snapshot,
    pools: Pools,
    resolve: Resolve,
    admission: Admission,
    calibrations: Calibrations | None = None,
    *,
    credentials: Credentials | None = None,
) -> Generator[None, None, Compiled]:
    """Makes what the pipeline uses, a model or a key at each step.

    Args:
        calibrations: None where no count is corrected.
        credentials: None where no provider has `auth`.

    Raises:
        ValueError: a provider's credential cannot be resolved on this node.
        OSError: a provider's CA bundle cannot be read.
    """
    compiled = Compiled(snapshot.version)
    providers = {p.name: p for p in snapshot.providers}
    heads = {p.name: Heads(p, resolve) for p in snapshot.providers}
    quirks = {p.name: quirks_of(p) for p in snapshot.providers}
    for provider in snapshot.providers:
        known = compiled.providers[provider.name] = heads[provider.name].entry(provider, pools.of(provider))
        if credentials is not None:
            known.free.credential = known.unpriced.credential = credentials.of(provider)
        if provider.responses:
            compiled.keepers.append(provider.name)
    for model in snapshot.models:
        targets = [
            TargetEntry(
                t,
                providers[t.provider],
                pools.of(providers[t.provider]),
                heads[t.provider].of(t.model),
                KINDS[providers[t.provider].kind],
                quirks=quirks[t.provider],
                signings=heads[t.provider].signings_of(t.model),
            )
            for t in model.targets
        ]
        if credentials is not None:
            for target in targets:
                target.credential = credentials.of(target.provider)
        if model.estimated and calibrations is not None:
            for target in targets:
                target.calibration = calibrations.of(target.provider.name, target.target.model)
        entry = compiled.models[model.name] = ModelEntry(model, targets)
        entry.schedule = schedule(targets)
        for target in targets:
            compiled.providers[target.provider.name].add(entry, target)
        yield
    for model in snapshot.models:
        compiled.models[model.name].fall_back_to([compiled.models[name] for name in model.fallbacks])
        yield
    allowed: dict[tuple[str, ...], dict[str, bool]] = {}
    for key in snapshot.keys:
        entry_of_key = KeyEntry(key)
        if key.models not in allowed:
            allowed[key.models] = yield from _allowed(key, compiled)
        entry_of_key.allowed = allowed[key.models]
        admission.compile(entry_of_key)
        compiled.key_by_hmac[key.hmac] = entry_of_key
        yield
    return compiled


def dismantle(compiled: Compiled) -> Generator[None, None, None]:
    """Lets go of a snapshot that nobody uses any more, a key or a model at each step: at once it would keep the loop for milliseconds."""
    for table in (compiled.keys_seen, compiled.key_by_hmac):
        while table:
            table.popitem()
            yield
    compiled.providers.clear()
    while compiled.models:
        _, model = compiled.models.popitem()
        model.fallbacks = []  # models that fall back to each other would never be free
        yield


def _allowed(key: Key, compiled: Compiled) -> Generator[None, None, dict[str, bool]]:
    """Names of models, by whether the key's patterns (`*` only) match them."""
    pattern = "|".join(fnmatch.translate(p.replace("[", "[[]").replace("?", "[?]")) for p in key.models)
    matches = re.compile(pattern).match if key.models else (lambda _: None)
    allowed = {}
    for name in compiled.models:
        allowed[name] = matches(name) is not None
        yield
    return allowed


class Heads:
    """The heads of requests to one provider, each made once."""

    def __init__(self, provider: Provider, resolve: Resolve) -> None:
        url = urlsplit(provider.base_url)
        kind = KINDS[provider.kind]
        self._path = url.path.rstrip("/")
        self._host = "localhost" if url.scheme == "http+unix" else url.netloc
        self._credential = kind.credential.format(resolve(provider.api_key)) if provider.api_key is not None else None
        self._accept = kind.accept
        self._signer = _signer(provider.aws, self._host, resolve) if provider.aws is not None else None
        self._fields = [(name, resolve(value) if is_reference(value) else value) for name, value in provider.headers]
        self._api_version = quote(provider.api_version or "", safe="")
        paths = kind.versioned_paths if provider.api_version else kind.paths
        asked = [(name, path) for name, path in paths if name != "responses" or provider.responses]
        self._fixed = {name: self._head(path) for name, path in asked if "{model}" not in path}
        self._of_model = [(name, path) for name, path in asked if "{model}" in path]

    def of(self, model: str) -> dict[str, bytes]:
        """By the endpoint's name."""
        if not self._of_model:
            return self._fixed
        quoted = _in_path(model)
        return self._fixed | {
            name: self._head(path.format(model=quoted, api_version=self._api_version)) for name, path in self._of_model
        }

    def signings_of(self, model: str) -> dict[str, Signing] | None:
        """What signs requests, by the endpoint's name; None where none are signed."""
        signer = self._signer
        if signer is None:
            return None
        quoted = _in_path(model)
        return {name: PathSigning(signer, self._path + path.format(model=quoted)) for name, path in self._of_model}

    def entry(self, provider: Provider, pool: ProviderPool) -> ProviderEntry:
        """The provider itself, to be asked for what no model stands for."""
        kind = KINDS[provider.kind]
        head = passthrough.fixed_fields(self._host, self._credential, self._fields)
        return ProviderEntry(
            provider, pool, kind, endpoint=passthrough.endpoint_of(kind), base_path=self._path, head=head
        )

    def _head(self, path: str) -> bytes:
        return request_head(self._path + path, self._host, self._credential, self._fields, self._accept)


def _in_path(model: str) -> str:
    """A model's name as one segment of a path (RFC 3986); `@`, which names at Vertex AI hold, stands in it as itself."""
    return quote(model, safe="@")


def _signer(aws: Aws, host: str, resolve: Resolve) -> Signer:
    token = resolve(aws.session_token) if aws.session_token is not None else ""
    credential = Credential(resolve(aws.access_key_id), resolve(aws.secret_access_key), token)
    return Signer(lambda: credential, aws.region, "bedrock", host)
