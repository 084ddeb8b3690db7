"""Event sequences, compared by what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.base.messages import Event, Noted
from tests.support.goldens import plain


def joined(events: Iterable[Event]) -> list[Any]:
    """Without what only shows that a stream is alive; the deltas of a block as one, where the block began.

    Blocks are told apart by their content: in what order several that are open at once are told is nobody's meaning.
    """
    blocks: dict[int, dict[str, Any]] = {}
    rest: list[Any] = []
    for event in events:
        if isinstance(event, Noted):
            continue
        told = plain(event)
        match told["type"]:
            case "block_began":
                blocks[told["index"]] = {"block": told["block"]}
                rest.append(blocks[told["index"]])
            case "delta":
                block = blocks[told["index"]]
                block[told["kind"]] = block.get(told["kind"], "") + told["text"]
            case "signed":
                # A signature may be known from the start or come at the end.
                blocks[told["index"]]["block"]["signature"] = told["signature"]
            case "cited":
                blocks[told["index"]].setdefault("citations", []).append(told["citation"])
            case "block_ended":
                pass
            case "used":
                rest = [each for each in rest if each.get("type") != "used"] + [told]
            case _:
                rest.append(told)
    return rest
