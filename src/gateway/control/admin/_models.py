"""What goes in and out of the admin API. Bodies are strict: an unknown field or a wrong type is an error."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.base.ports import Grouping
from gateway.base.snapshot import NANO_USD, Budget, Limits, Period
from gateway.base.usage import UsageRecord

MAX_USD = 1_000_000_000

Rate = Annotated[int, Meta(ge=1, le=1_000_000_000)]
ModelPattern = Annotated[str, Meta(min_length=1, max_length=256)]


class Error(msgspec.Struct, frozen=True):
    code: str
    message: str
    """What is wrong and what would be right."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    error: Error


# -- keys


class KeyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Absent or null: unlimited."""

    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    concurrency: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None

    def compiled(self) -> Limits:
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.concurrency)

    @classmethod
    def of(cls, limits: Limits) -> KeyLimits:
        return cls(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)


class KeyBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    usd: Annotated[float, Meta(gt=0, le=MAX_USD, description="US dollars, with at most nine decimals.")]
    per: Annotated[Period, Meta(description="The calendar period, in UTC.")]

    def compiled(self) -> Budget:
        """Exact to the nano-dollar: the shortest text of a float is what was written. Raises ValueError if finer."""
        nano = Decimal(repr(self.usd)) * NANO_USD
        if nano != int(nano):
            raise ValueError(f"budget.usd: {self.usd} is finer than a nano-dollar; write at most nine decimals")
        return Budget(int(nano), self.per)

    @classmethod
    def of(cls, budget: Budget) -> KeyBudget:
        return cls(budget.nano_usd / NANO_USD, budget.per)


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made."""

    name: Annotated[str, Meta(description="Not that of another live key; visible ASCII without `*`.", max_length=48)]
    team: Annotated[str | None, Meta(description="A team of the configuration.")] = None
    models: Annotated[
        tuple[ModelPattern, ...],
        Meta(min_length=1, max_length=1_000, description="What it may use: names, or patterns with `*`."),
    ] = ("*",)
    passthrough: Annotated[
        tuple[ModelPattern, ...],
        Meta(
            max_length=1_000,
            description="Names of the providers that it may ask as they stand, at /{provider}/...; or `*`.",
        ),
    ] = ()
    limits: KeyLimits = KeyLimits()
    budget: KeyBudget | None = None
    expires: Annotated[datetime, Meta(tz=True, description="When it stops to work; RFC 3339.")] | None = None


class KeyInfo(msgspec.Struct, frozen=True):
    """A key, without anything that opens something."""

    id: str
    name: str
    team: str | None
    models: tuple[str, ...]
    passthrough: tuple[str, ...]
    limits: KeyLimits
    budget: KeyBudget | None
    state: Literal["live", "expired", "revoked"]
    source: Annotated[
        Literal["store", "config"], Meta(description="Where it was made: the store of keys, or gateway.yaml.")
    ]
    created: datetime | None
    expires: datetime | None
    revoked: datetime | None


class NewKey(KeyInfo, frozen=True):
    """A key that has just been made."""

    secret: Annotated[str, Meta(description="Shown this once; nobody can find it again.")]


class KeyList(msgspec.Struct, frozen=True):
    keys: list[KeyInfo]


# -- usage


class UsageTotal(msgspec.Struct, frozen=True):
    """Sums over the requests of one group; the fields of `UsageReader.totals`."""

    name: Annotated[str, Meta(description='Of the group: a model, a key\'s id, a day of UTC such as "2026-03-01" ...')]
    requests: int
    errors: Annotated[int, Meta(description="Requests that ended with an error code.")]
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: Annotated[int, Meta(description="In billionths of a US dollar.")]
    estimated: Annotated[int, Meta(description="Requests whose tokens were counted by the gateway.")]
    unpriced: Annotated[int, Meta(description="Requests for whose model no price is known.")]


class UsageReport(msgspec.Struct, frozen=True):
    since: datetime
    until: datetime
    by: Grouping
    groups: list[UsageTotal]
    total: UsageTotal


class RequestRecord(UsageRecord, omit_defaults=False):
    """One governed request, however it ended. No text of prompt or answer stands in it."""


class RecentRequests(msgspec.Struct, frozen=True):
    records: Annotated[list[RequestRecord], Meta(description="Newest first.")]


# -- status


class NodeReport(msgspec.Struct, frozen=True):
    up: bool
    error: Annotated[str | None, Meta(description="Why nothing is known of the node.")]
    status: Annotated[dict[str, Any] | None, Meta(description="What the node's ops listener says at /status.")]


class StatusReport(msgspec.Struct, frozen=True):
    versions: Annotated[dict[str, str], Meta(description="Of the control plane and what it runs on.")]
    uptime_s: int
    node: NodeReport


MODELS = (
    ErrorAnswer,
    KeyRequest,
    KeyInfo,
    NewKey,
    KeyList,
    UsageReport,
    RecentRequests,
    StatusReport,
)
"""What the OpenAPI document describes."""
