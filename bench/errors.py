"""What ends a run early. Each message is one sentence that says what to do."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot give a figure that may be trusted."""


class MissingError(BenchError):
    """Something that the bench needs is not on this machine."""
