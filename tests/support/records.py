"""Usage records as the data plane writes them."""

from __future__ import annotations

import msgspec

from gateway.base.usage import UsageRecord

_encoder = msgspec.json.Encoder()


def encode(record: UsageRecord) -> bytes:
    """A record as one JSON object on one line."""
    return _encoder.encode(record)
