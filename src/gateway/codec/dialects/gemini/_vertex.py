"""What Vertex AI wants otherwise than the Gemini API, in a request that is passed on as it came.

Sources: Vertex AI, REST reference of `publishers.models` (generateContent: "role" of a content is "user" or "model" and must be there;
countTokens: fields of a request stand beside `contents`), Gemini API reference ("Counting tokens": `generateContentRequest` holds them).
What needs no change keeps its bytes.
"""

from __future__ import annotations

import msgspec

from ._names import camel

_ROLES = (b'"user"', b'"model"')
_USER = msgspec.Raw(_ROLES[0])
_COUNTED = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
"""What countTokens takes; nothing else of a request adds to the count."""

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_lists = msgspec.json.Decoder(list[msgspec.Raw])


def for_vertex(endpoint: str, body: bytes, model: str, version: bytes) -> bytes:
    """The body for Vertex AI.

    Args:
        endpoint: as the gateway calls it.
        body: a request of this dialect, found good before.
        model: stands in the path, and so in the body no more.
        version: Anthropic's; this dialect has none.
    """
    fields = _objects.decode(body)
    changed = False
    if endpoint == "gemini_count_tokens":
        inner = next((value for name, value in fields.items() if camel(name) == "generateContentRequest"), None)
        if inner is not None:
            fields = {n: v for n, v in _objects.decode(inner).items() if camel(n) in _COUNTED}
            changed = True
    if fields.pop("model", None) is not None:
        changed = True
    contents = fields.get("contents")
    if contents is not None and bytes(contents) != b"null":
        with_roles = [_with_role(each) for each in _lists.decode(contents)]
        if any(each is not None for each in with_roles):
            kept = zip(with_roles, _lists.decode(contents), strict=True)
            fields["contents"] = msgspec.Raw(msgspec.json.encode([new or old for new, old in kept]))
            changed = True
    return msgspec.json.encode(fields) if changed else body


def _with_role(content: msgspec.Raw) -> msgspec.Raw | None:
    """The content with a role that Vertex knows; None where it has one. Who says none is the user, and so is a function (its old name)."""
    fields = _objects.decode(content)
    if bytes(fields.get("role", b"")) in _ROLES:
        return None
    return msgspec.Raw(msgspec.json.encode({"role": _USER, **{n: v for n, v in fields.items() if n != "role"}}))
