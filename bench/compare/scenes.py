"""What is asked in a comparison. The scriptable provider answers it: `conf/provider.toml`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from bench.scenarios import SCENARIOS


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of request.

    Args:
        name: as it is chosen on the command line.
        body: what is asked of `/v1/chat/completions`.
        prefix: of the path under which the provider plays the answer; a bare proxy is asked for it by this path.
        words: all of them are in an answer that came through whole, even if it was written anew.
    """

    name: str
    body: str
    prefix: str
    words: tuple[str, ...]


def _held() -> str:
    return json.dumps({**json.loads(SCENARIOS["stream"].body), "model": "gpt-4o-mini-held"}, separators=(",", ":"))


SCENES: Final = {
    scene.name: scene
    for scene in (
        Scene("chat", SCENARIOS["chat"].body, "", ("the harbour office keeps a ledger", "signed for i")),
        Scene("stream", SCENARIOS["stream"].body, "/streaming", ("harb", "eeps", "data: [DONE]")),
        Scene("held", _held(), "/held", ()),
    )
}
"""By name. Of `held` nobody waits for the end."""
