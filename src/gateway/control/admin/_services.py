"""What the control plane is given by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.base.node import Node
from gateway.base.ports import UsageReader


class Log(Protocol):
    """JSON logs."""

    def event(self, level: str, event: str, **fields: object) -> None: ...
    def close(self, timeout: float) -> bool: ...


class Services(msgspec.Struct, frozen=True):
    """See the module.

    Args:
        node: whose settings these are; `node.admin` is not None.
        pepper: the key of callers' HMACs.
        open_usage: opens the ledger, for the time of one question.
        log: closed when the control plane ends.
    """

    node: Node
    pepper: bytes
    open_usage: Callable[[], UsageReader]
    log: Log

    def __repr__(self) -> str:
        return "Services(pepper=***)"
