"""CPU seconds of processes. Source of the format: proc(5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError

_PROC = Path("/proc")


class Stat(NamedTuple):
    """What /proc/PID/stat says that matters here."""

    pid: int
    parent: int
    cpu_ticks: int
    """User and system time of all its threads, without those of its children."""


def parse_stat(text: str) -> Stat:
    """Reads a line of /proc/PID/stat. The second field is the command in parentheses, and may itself hold some."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(int(head.partition(" ")[0]), int(fields[1]), int(fields[11]) + int(fields[12]))


def family(pid: int, stats: Iterable[Stat]) -> list[int]:
    """The process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat.pid)
    found = [pid]
    for one in found:  # grows while it is walked
        found += sorted(children.get(one, ()))
    return found


def all_stats() -> list[Stat]:
    """Of each process of this machine that did not end meanwhile."""
    return [stat for entry in _PROC.iterdir() if entry.name.isdigit() and (stat := _stat(int(entry.name)))]


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds that the processes have spent so far, together.

    Raises:
        BenchError: one of them has ended.
    """
    ticks = 0
    for pid in pids:
        stat = _stat(pid)
        if stat is None:
            raise BenchError(f"process {pid} ended while it was measured")
        ticks += stat.cpu_ticks
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pids: Iterable[int]) -> int:
    """Memory of the processes together, a page that n processes share counted 1/n to each (PSS, proc_pid_smaps(5)).

    Raises:
        BenchError: one of them has ended.
    """
    total = 0
    for pid in pids:
        try:
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            raise BenchError(f"process {pid} ended while it was measured") from None
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1_024
    return total


def _stat(pid: int) -> Stat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
