"""What providers' answers look like on the wire: whole, streamed, and refused. Pure: values in, bytes out.

Sources: OpenAI's API reference (chat completions, streaming, errors), Anthropic's (messages, streaming, errors), and Gemini's
(generateContent, streamGenerateContent with alt=sse, google.rpc.Status).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

_CREATED: Final = 1_760_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said.

    Args:
        model: as the answer names it.
        tokens: the text, in pieces: a stream has an event for each.
        prompt_tokens: for the usage.
    """

    model: str
    tokens: Sequence[str]
    prompt_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider puts it.

    Args:
        whole: the body of an answer.
        events: of a stream, each with its blank line; and whether the request asked for usage.
        error: the body of a refusal with a status and a message.
        error_event: what breaks off a stream.
    """

    name: Literal["openai", "anthropic", "gemini"]
    whole: Callable[[Said], bytes]
    events: Callable[[Said, bool], list[bytes]]
    error: Callable[[int, str], bytes]
    error_event: Callable[[str], bytes]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _per_token(tokens: Sequence[str], event: Callable[[str], bytes]) -> list[bytes]:
    """An event a token; equal tokens share theirs."""
    made = {token: event(token) for token in dict.fromkeys(tokens)}
    return [made[token] for token in tokens]


# -- OpenAI


def _openai_usage(said: Said) -> dict[str, object]:
    completion = len(said.tokens)
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": said.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _openai_whole(said: Said) -> bytes:
    message = {"role": "assistant", "content": said.text, "refusal": None}
    return _json(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": _CREATED,
            "model": said.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _openai_usage(said),
        }
    )


def _openai_events(said: Said, with_usage: bool) -> list[bytes]:
    base = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": _CREATED, "model": said.model}
    trailer: dict[str, object] = {"usage": None} if with_usage else {}

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return b"data: " + _json({**base, "choices": [choice], **trailer}) + b"\n\n"

    usage = [b"data: " + _json({**base, "choices": [], "usage": _openai_usage(said)}) + b"\n\n"] if with_usage else []
    return [
        chunk({"role": "assistant", "content": ""}),
        *_per_token(said.tokens, lambda token: chunk({"content": token})),
        chunk({}, "stop"),
        *usage,
        b"data: [DONE]\n\n",
    ]


def _openai_error(status: int, message: str) -> bytes:
    kind = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}.get(
        status, "server_error"
    )
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    return _json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _openai_error_event(message: str) -> bytes:
    return b"data: " + _openai_error(500, message) + b"\n\n"


def models(name: str) -> bytes:
    """What OpenAI's list of models holds."""
    return _json({"object": "list", "data": [{"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}]})


# -- Anthropic


def _anthropic_message(
    said: Said, content: list[dict[str, str]], usage: dict[str, int], ended: bool
) -> dict[str, object]:
    return {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": content,
        "stop_reason": "end_turn" if ended else None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            **usage,
        },
    }


def _anthropic_whole(said: Said) -> bytes:
    usage = {"output_tokens": len(said.tokens)}
    return _json(_anthropic_message(said, [{"type": "text", "text": said.text}], usage, ended=True))


def _anthropic_events(said: Said, _: bool) -> list[bytes]:
    def event(name: str, **fields: object) -> bytes:
        return f"event: {name}\ndata: ".encode() + _json({"type": name, **fields}) + b"\n\n"

    def delta(token: str) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "text_delta", "text": token})

    return [
        event("message_start", message=_anthropic_message(said, [], {"output_tokens": 1}, ended=False)),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *_per_token(said.tokens, delta),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": len(said.tokens)},
        ),
        event("message_stop"),
    ]


def _anthropic_error(status: int, message: str) -> bytes:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        529: "overloaded_error",
    }
    return _json({"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}})


def _anthropic_error_event(message: str) -> bytes:
    return b"event: error\ndata: " + _anthropic_error(529, message) + b"\n\n"


# -- Gemini


def _gemini_answer(said: Said, text: str, tokens: int, finish_reason: str | None) -> bytes:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    return _json(
        {
            "candidates": [{**candidate, "index": 0}],
            "usageMetadata": {
                "promptTokenCount": said.prompt_tokens,
                "candidatesTokenCount": tokens,
                "totalTokenCount": said.prompt_tokens + tokens,
            },
            "modelVersion": said.model,
            "responseId": "mock",
        }
    )


def _gemini_whole(said: Said) -> bytes:
    return _gemini_answer(said, said.text, len(said.tokens), "STOP")


def _gemini_events(said: Said, _: bool) -> list[bytes]:
    """The last token's event carries the finish reason and the final usage; the usage before it is a first estimate."""

    def event(token: str, tokens: int, finish_reason: str | None) -> bytes:
        return b"data: " + _gemini_answer(said, token, tokens, finish_reason) + b"\r\n\r\n"

    *before, last = said.tokens
    return [*_per_token(before, lambda token: event(token, 1, None)), event(last, len(said.tokens), "STOP")]


def _gemini_error(status: int, message: str) -> bytes:
    names = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    return _json({"error": {"code": status, "message": message, "status": names.get(status, "UNKNOWN")}})


def _gemini_error_event(message: str) -> bytes:
    return b"data: " + _gemini_error(503, message) + b"\r\n\r\n"


OPENAI: Final = Dialect("openai", _openai_whole, _openai_events, _openai_error, _openai_error_event)
ANTHROPIC: Final = Dialect("anthropic", _anthropic_whole, _anthropic_events, _anthropic_error, _anthropic_error_event)
GEMINI: Final = Dialect("gemini", _gemini_whole, _gemini_events, _gemini_error, _gemini_error_event)


# -- HTTP


def start(status: int, media_type: str, *fields: str) -> bytes:
    """The status line and fields of a head, without those that frame the body and without the blank line."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Overloaded" if status == 529 else "Refused"
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", f"content-type: {media_type}", *fields, ""]).encode()


def whole(status: int, body: bytes, *fields: str) -> bytes:
    """An answer in JSON, with its head."""
    return start(status, "application/json", *fields, f"content-length: {len(body)}") + b"\r\n" + body
