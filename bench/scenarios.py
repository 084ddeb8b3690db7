"""What is asked, and what the instant upstream answers: each scenario carries both.

The upstream answers from its configuration. One parameter there is shorter than 4,096 bytes, so that a longer answer
stands in several variables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

_PARAMETER_BYTES: Final = 3_800


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request.

    Args:
        name: as it is chosen on the command line.
        title: a few words for the report.
        body: what is asked of `/v1/chat/completions`.
        prefix: of the path under which the upstream has the answer; a bare proxy is asked for it by this path.
        answer: what the upstream answers.
        media_type: of the answer.
        proof: all of it is in an answer that came through whole.
    """

    name: str
    title: str
    body: str
    prefix: str
    answer: str
    media_type: str
    proof: tuple[str, ...]

    @property
    def upstream_path(self) -> str:
        return f"{self.prefix}/v1/chat/completions"

    def location(self) -> str:
        """The block of nginx's configuration that answers."""
        parts = [self.answer[at : at + _PARAMETER_BYTES] for at in range(0, len(self.answer), _PARAMETER_BYTES)]
        names = [f"${self.name}_{index}" for index in range(len(parts))]
        lines = [f"set {name} {_quoted(part)};" for name, part in zip(names, parts, strict=True)]
        lines += [f"default_type {self.media_type};", f'return 200 "{"".join(names)}";']
        inner = "\n".join(f"      {line}" for line in lines)
        return f"    location = {self.upstream_path} {{\n{inner}\n    }}"


def _quoted(text: str) -> str:
    """A parameter of nginx's configuration. Its quoting knows no escape for `$`: an answer has none."""
    if "$" in text:
        raise ValueError("nginx would take the dollar sign for a variable")
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"'{escaped}'"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


_QUESTION: Final = [
    {
        "role": "system",
        "content": "You help the people of a small library. Answer briefly, and name the shelf when you know it.",
    },
    {
        "role": "user",
        "content": "Which books on the history of tea would you lend to somebody who has an evening, likes maps, and reads no Latin?",
    },
]
_OPTIONS: Final = {"temperature": 0.4, "max_tokens": 200, "user": "reader-2718"}
_ANSWER: Final = (
    "Two would do for an evening: the illustrated atlas of the caravan routes on shelf 12, which is mostly maps, and the "
    "short history of the tea clippers on shelf 14. Neither asks for Latin."
)
_USAGE: Final = {"prompt_tokens": 53, "completion_tokens": 41, "total_tokens": 94}
_IDENTITY: Final[dict[str, object]] = {
    "id": "chatcmpl-Bx7Qm2",
    "created": 1_760_000_000,
    "model": "gpt-4o-mini-2024-07-18",
}


def _completion() -> str:
    return _compact(
        {
            **_IDENTITY,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _ANSWER, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                **_USAGE,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_51db84afab",
        }
    )


def _stream() -> str:
    """An event for each word, then the finish reason, the usage and the terminal."""
    chunk = {**_IDENTITY, "object": "chat.completion.chunk", "system_fingerprint": "fp_51db84afab"}
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [
        {"content": f"{word} "} for word in (_ANSWER + " The desk will show you both, and lend you a lamp.").split()
    ]
    choices: list[list[dict[str, object]]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    events = [_compact({**chunk, "choices": one}) for one in choices]
    events.append(_compact({**chunk, "choices": [], "usage": _USAGE}))
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="chat",
            title="a chat completion",
            body=_compact({"model": "gpt-4o-mini", "messages": _QUESTION, **_OPTIONS}),
            prefix="",
            answer=_completion(),
            media_type="application/json",
            proof=(_completion(),),
        ),
        Scenario(
            name="stream",
            title="a streamed chat completion, its events at once",
            body=_compact({"model": "gpt-4o-mini-streaming", "messages": _QUESTION, **_OPTIONS, "stream": True}),
            prefix="/streaming",
            answer=_stream(),
            media_type="text/event-stream",
            proof=('"delta":{"content":"Two "}', '"finish_reason":"stop"}]}\n\n', "data: [DONE]\n\n"),
        ),
    )
}
"""By name. The caller of `stream` does not ask for usage: the gateway does, and takes its event out again."""
