"""What providers that are compatible with OpenAI do otherwise, and a request of this dialect made to fit.

Which provider does what is data: `control/config/compatible.toml`, and the fields of the same names of any provider.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec

from gateway.base.messages import Lost, plain_path
from gateway.base.snapshot import Provider

_HINTS = frozenset(
    (
        "metadata",
        "messages.cache_control",
        "messages.provider_specific_fields",
        "messages.reasoning",
        "messages.reasoning_content",
        "messages.reasoning_details",
        "messages.thinking_blocks",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    )
)
"""What may go unasked (`Lost.hint`): what has been thought is no part of what was said."""

_SAY_NOTHING = {
    "frequency_penalty": (b"0", b"0.0"),
    "logit_bias": (b"{}",),
    "logprobs": (b"false",),
    "n": (b"1",),
    "parallel_tool_calls": (b"true",),
    "presence_penalty": (b"0", b"0.0"),
    "tools.function.strict": (b"false",),
}
"""Values that are as good as none: clients send them by default."""

_OPEN_OBJECT, _OPEN_LIST = b"{["
_BOUNDS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FITTING_ID = re.compile("[0-9A-Za-z]{9}", re.ASCII)

_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


class Quirks:
    """What one provider does otherwise."""

    __slots__ = ("_bound", "_renamed", "_short_ids", "_system", "_unsupported", "takes_stream_options")

    def __init__(self, provider: Provider) -> None:
        self._bound = provider.max_tokens_field
        self._unsupported = [tuple(path.split(".")) for path in provider.unsupported_params]
        self._renamed = provider.renamed_params
        self._system = provider.developer_role == "system"
        self._short_ids = provider.tool_call_ids == "alphanumeric_9"
        self.takes_stream_options = "stream_options" not in provider.unsupported_params

    def fit(self, body: bytes, model_json: bytes, lost: Lost, *, ask_usage: bool) -> bytes:
        """A request as this provider takes it; what is not touched stays byte for byte, and in its order.

        Args:
            body: one that was read: an object, no key in it twice.
            model_json: the name of its model.
            lost: is told of what is left out, as OpenAI calls it.
            ask_usage: whether a stream is to tell what it used; left out where the provider cannot be asked.
        """
        fields = _fields.decode(body)
        fields["model"] = msgspec.Raw(model_json)
        for path in self._unsupported:
            _leave_out(fields, path, lost)
        if self._bound is not None and self._bound not in fields and (other := _BOUNDS[self._bound]) in fields:
            fields[self._bound] = fields.pop(other)
        for ours, theirs in self._renamed:
            if ours in fields:
                fields[theirs] = fields.pop(ours)
        if self._system or self._short_ids:
            _each(fields, "messages", lambda message, _: self._message(message))
        if ask_usage and self.takes_stream_options:
            if bytes(fields.get("stream_options", b"null")) == b"null":
                fields["stream_options"] = msgspec.Raw(b"{}")
            _each(fields, "stream_options", _ask_for_usage)
        return _encode(fields)

    def _message(self, message: _Fields) -> None:
        if self._system and bytes(message.get("role", b"")) == b'"developer"':
            message["role"] = msgspec.Raw(b'"system"')
        if self._short_ids:
            _shorten(message, "tool_call_id")
            _each(message, "tool_calls", lambda call, _: _shorten(call, "id"))


def quirks_of(provider: Provider) -> Quirks | None:
    """None where it does all as OpenAI does."""
    odd = (
        provider.max_tokens_field,
        provider.unsupported_params,
        provider.renamed_params,
        provider.developer_role,
        provider.tool_call_ids,
    )
    return Quirks(provider) if any(odd) else None


def _each(fields: _Fields, name: str, change: Callable[[_Fields, str], None]) -> None:
    """Changes the object that stands under `name`, or each object of a list there; `change` is told which: "" or "[2]"."""
    value = fields.get(name)
    if value is None:
        return
    opening = memoryview(value)[0]
    if opening == _OPEN_OBJECT:
        inner = _fields.decode(value)
        change(inner, "")
        fields[name] = msgspec.Raw(_encode(inner))
    elif opening == _OPEN_LIST:
        items = _items.decode(value)
        for at, item in enumerate(items):
            if memoryview(item)[0] == _OPEN_OBJECT:
                inner = _fields.decode(item)
                change(inner, f"[{at}]")
                items[at] = msgspec.Raw(_encode(inner))
        fields[name] = msgspec.Raw(_encode(items))


def _leave_out(fields: _Fields, path: Sequence[str], lost: Lost, trail: str = "") -> None:
    """Takes what is at `path` out of `fields`, in each item of the lists on its way."""
    name, rest = path[0], path[1:]
    here = f"{trail}.{name}" if trail else name
    if rest:
        _each(fields, name, lambda inner, which: _leave_out(inner, rest, lost, here + which))
    elif name in fields:
        plain = plain_path(here)
        if plain == "messages.name" and bytes(fields.get("role", b"")) == b'"tool"':
            return  # it is the tool's, which all know
        value = bytes(fields.pop(name))
        if value not in _SAY_NOTHING.get(plain, ()) and value != b"null":
            (lost.hint if plain in _HINTS else lost.field)(here)


def _ask_for_usage(options: _Fields, _: str) -> None:
    options["include_usage"] = msgspec.Raw(b"true")


def _shorten(fields: _Fields, name: str) -> None:
    """An id in nine letters and digits: the same one wherever it stands."""
    try:
        whole = _text.decode(fields[name])
    except (KeyError, msgspec.ValidationError):
        return
    if _FITTING_ID.fullmatch(whole):
        return
    number = int.from_bytes(hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    letters = []
    for _ in range(9):
        number, digit = divmod(number, len(_BASE62))
        letters.append(_BASE62[digit])
    fields[name] = msgspec.Raw(_encode("".join(letters)))
