"""What a model behind Bedrock takes besides what Converse has for all, told by its id or ARN.

| | reasoning | `top_k` | cache points | parallel calls off |
|---|---|---|---|---|
| Claude | `thinking`, `outputConfig.effort` | `top_k` | all | `tool_choice` |
| Nova | `reasoningConfig` from Nova 2 on | `inferenceConfig.topK` | not after tools, no `ttl` | |
| gpt-oss | `reasoning_effort` | | | |
| an ARN that names no model: application inference profiles, deployments | | | as they were asked for | |
| others | | | | |

Sources: AWS's user guide of Amazon Bedrock, "Anthropic Claude models", "OpenAI models", "Prompt caching for faster model inference";
Amazon Nova 2's user guide, "Using the Converse API", "Extended thinking". What Anthropic's models take is in `anthropic.traits_of`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

_NAME = re.compile(r"(?:^|[./:])(anthropic\.claude-|amazon\.nova-2|amazon\.nova-|openai\.gpt-oss)")
FAMILIES_KEPT = 1_024
"""Models whose family is kept; others are worked out anew."""


class Family(StrEnum):
    CLAUDE = "claude"
    NOVA = "nova"
    NOVA_2 = "nova 2"
    GPT_OSS = "gpt-oss"
    HIDDEN = "hidden"
    """An ARN that does not tell."""
    OTHER = "other"

    @property
    def has_cache_points(self) -> bool:
        return self in (Family.CLAUDE, Family.NOVA, Family.NOVA_2, Family.HIDDEN)

    @property
    def is_nova(self) -> bool:
        return self in (Family.NOVA, Family.NOVA_2)


_BY_NAME = {
    "anthropic.claude-": Family.CLAUDE,
    "amazon.nova-2": Family.NOVA_2,
    "amazon.nova-": Family.NOVA,
    "openai.gpt-oss": Family.GPT_OSS,
}


@lru_cache(maxsize=FAMILIES_KEPT)
def family_of(model: str) -> Family:
    """Of a model's id, such as `us.anthropic.claude-sonnet-4-6-v1:0`, or an ARN."""
    found = _NAME.search(model)
    if found is not None:
        return _BY_NAME[found[1]]
    return Family.HIDDEN if model.startswith("arn:") else Family.OTHER
