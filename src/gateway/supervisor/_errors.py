"""Why a node cannot start, in one line with what to do about it."""

from __future__ import annotations


class StartError(Exception):
    """The node cannot start; `str()` is one line for a person."""


class ListenError(StartError):
    """An address cannot be listened on."""


class StateDirInUseError(StartError):
    """Another supervisor runs on the same state directory."""


class NoNodeError(Exception):
    """There is no node to be told something; `str()` is one line for a person."""
