"""What ends a run early. Each message is one sentence that says what to do."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot give a figure that may be trusted."""


class MissingError(BenchError):
    """Something that the bench needs is not on this machine."""


def keyed(error: Exception) -> str:
    """What msgspec says of a value that does not fit, with the key in front."""
    message, _, where = str(error).partition(" - at `")
    key = where.rpartition("`$")[2] if "`$" in where else where.removeprefix("$")
    key = key.removesuffix("`").lstrip(".")
    return f"{key}: {message}" if key else message
