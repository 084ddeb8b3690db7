"""Anthropic's Messages at Vertex AI: the model stands in the path, the version in the body.

Sources: Anthropic, "Claude on Vertex AI" (`vertex-2023-10-16`); `anthropic.AnthropicVertex` of its official client, release 2.13 (`2026-10-21` as it
is; where tokens are counted, the model stays in the body).
"""

from __future__ import annotations

import msgspec

VERSION = "vertex-2023-10-16"
"""What is called 2023-06-01 elsewhere."""
_OLD = (b"", b"2023-01-01", b"2023-06-01")
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def for_vertex(endpoint: str, body: bytes, model: str, version: bytes) -> bytes:
    """The body for Vertex AI; all else in it keeps its bytes.

    Args:
        endpoint: as the gateway calls it.
        body: a request of this dialect, found good before.
        model: the name that Vertex AI knows.
        version: the caller's `anthropic-version`; b"": none.
    """
    fields = _objects.decode(body)
    del fields["model"]
    if endpoint == "count_tokens":
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    fields.pop("anthropic_version", None)
    told = VERSION if version in _OLD else version.decode("latin-1")
    return msgspec.json.encode({"anthropic_version": told, **fields})
