"""Log probabilities: `logprobsResult` and those of OpenAI's chat dialect, which the canonical form holds.

Source: Gemini API reference, "LogprobsResult": a chosen candidate and the top ones of each step. The bytes of a token, which
OpenAI's dialect tells and Google's does not, are those of its text.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Candidate(msgspec.Struct, rename="camel"):
    token: str | None = None
    log_probability: float | None = None


class _Top(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None


class _Result(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Candidate] | None = None
    top_candidates: list[_Top] | None = None


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Chat(msgspec.Struct):
    content: list[_Token] | None = None


_result_decoder = msgspec.json.Decoder(_Result)
_chat_decoder = msgspec.json.Decoder(_Chat)


def read_logprobs(raw: msgspec.Raw) -> msgspec.Raw | None:
    """None where they cannot be read: the answer stands without them."""
    try:
        told = _result_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        return None
    tops = told.top_candidates or []
    content = [
        _token(chosen)
        | {"top_logprobs": [_token(each) for each in (tops[i].candidates or [])] if i < len(tops) else []}
        for i, chosen in enumerate(told.chosen_candidates or ())
    ]
    return msgspec.Raw(msgspec.json.encode({"content": content, "refusal": None})) if content else None


def _token(told: _Candidate) -> dict[str, Any]:
    token = told.token or ""
    return {"token": token, "logprob": told.log_probability or 0.0, "bytes": list(token.encode())}


def write_logprobs(raw: msgspec.Raw) -> dict[str, Any] | None:
    """`logprobsResult`; None where there is nothing to tell."""
    try:
        content = _chat_decoder.decode(raw).content
    except (msgspec.DecodeError, UnicodeError):
        return None
    if not content:
        return None
    return {
        "chosenCandidates": [_candidate(each) for each in content],
        "topCandidates": [{"candidates": [_candidate(top) for top in each.top_logprobs]} for each in content],
    }


def _candidate(told: _Alternative) -> dict[str, Any]:
    return {"token": told.token, "logProbability": told.logprob}
