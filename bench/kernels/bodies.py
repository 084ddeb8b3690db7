"""The requests that the micro-benchmarks read."""

from __future__ import annotations

import json

from bench.kernels.wire import SCHEMA, chat
from tests.support import texts

BODIES = {
    "a short chat": chat(texts.CHAT, 240, 1),
    "a long prompt": chat(texts.PROSE.replace("\n", " "), 100_000, 1),
    "100 turns": chat(texts.PROSE.replace("\n", " "), 200, 100),
    "code": chat(texts.CODE, 5_000, 20),
    "Chinese, Japanese, Korean": chat(texts.CJK, 5_000, 20),
    "other scripts, mixed": chat(texts.OTHER_SCRIPTS, 5_000, 20),
    "50 tools": json.dumps({"model": "m", "tools": [SCHEMA] * 50}).encode(),
    "10,000 numbers": json.dumps({"model": "m", "input": [(i * 7919) % 100_000 for i in range(10_000)]}).encode(),
}
